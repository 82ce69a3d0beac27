//! The published documents.

use serde_json::Value;
use service_kit::testing::wait_for;

use crate::past::{Stack, port};

const TARGETS: &str = "
version: 1
targets:
- name: app
  docker_host: unix:///nowhere/docker.sock
  selector: {service: app, com.docker.compose.project: nowhere}
  min_replicas: 1
  max_replicas: 3
  readiness: {healthcheck: true}
  stop_grace_period: 1s
";

/// Action Runner, out of any engine's reach: nothing is asked of it here.
async fn runner(stack: &mut Stack) -> String {
    let config = action_runner::Config {
        kit: stack.kit(&action_runner::MIGRATOR).await,
        targets_file: stack.file("nowhere.yaml", TARGETS).into(),
        docker_cert_path: None,
        sweep_interval: std::time::Duration::from_secs(10),
    };
    let (listener, url) = port().await;
    tokio::spawn(action_runner::run(config, listener, stack.shutdown.clone()));
    url
}

/// docs/openapi/ has what the services say of themselves. After a change of an API:
/// `EVENTPULSE_UPDATE_DOCS=1 cargo test -p eventpulse-cli --test it documents`.
#[tokio::test(flavor = "multi_thread")]
async fn the_published_documents_are_those_of_the_services() {
    let mut stack = Stack::start().await;
    let runner = runner(&mut stack).await;
    for (name, url) in [
        ("ingest", &stack.cli.ingest),
        ("rules", &stack.cli.rules),
        ("action-runner", &runner),
        ("incident-store", &stack.cli.store),
    ] {
        let document: Value = wait_for(name, async || {
            let answer = reqwest::get(format!("{url}/openapi.json")).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let document: Value = answer.json().await.map_err(|error| error.to_string())?;
            // before it is ready a service answers with a problem
            if document["openapi"].is_string() {
                Ok(document)
            } else {
                Err(document.to_string())
            }
        })
        .await;
        published(name, document);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings struct")]
fn published(name: &str, mut document: Value) {
    // what differs from build to build
    document["info"]["version"] = "1".into();
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    let path = format!("{}/../docs/openapi/{name}.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("EVENTPULSE_UPDATE_DOCS").is_ok() {
        std::fs::write(&path, &text).expect("docs/openapi is there");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi/{name}.json is not what {name} says: see this test"
    );
}

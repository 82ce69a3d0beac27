//! Each service's OpenAPI document, held against the running service by schemathesis.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use eventpulse_tests::{Member, Stack, stack::Setup, stack::TOKEN, webhook::Alert};
use futures::future::try_join_all;
use serde_json::Value;
use service_kit::testing::wait_for;
use tokio::process::Command;

/// What no generated request can end: a stream of events never does. Its own tests read it.
const ENDLESS: &str = "/api/v1/stream";

/// Generated requests, valid ones and others, to every operation of the four services: no answer is
/// a 500, and each has a status, a media type and a body that the document speaks of.
#[tokio::test(flavor = "multi_thread")]
async fn services_do_what_their_documents_say() -> Result<()> {
    let stack = Stack::start(&Setup {
        // no engine: a generated request to remove containers must not meet those of other tests
        docker_host: "unix:///nowhere/docker.sock".to_owned(),
        ..Setup::default()
    })
    .await?;
    stack
        .accept(&[
            Alert::firing("HighCPU", "app", Utc::now()),
            Alert::firing("Down", "shop", Utc::now()),
        ])
        .await?;
    stack.incidents_are(2, |_| true).await;
    let action = wait_for("an action", async || {
        let actions = stack.runner.get("/api/v1/actions").await?;
        text(&actions["items"][0]["action_id"])
    })
    .await;
    let alerts = stack.ingest.get("/api/v1/alerts").await?;
    let incidents = stack.incidents().await?;
    let decisions = stack.rules.get("/api/v1/decisions").await?;
    let incident = text(&incidents[0]["id"])?;
    // a parameter `id` is of what the service keeps
    let ids = [
        (&stack.ingest, String::new()),
        (&stack.rules, text(&decisions["items"][0]["decision_id"])?),
        (&stack.runner, action),
        (&stack.store, incident.clone()),
    ];
    let known = [
        ("EP_ALERT", text(&alerts["items"][0]["alert_id"])?),
        ("EP_RECEIPT", text(&alerts["items"][0]["receipt_id"])?),
        ("EP_INCIDENT", incident),
    ];
    let folder = stack.folder.path();
    try_join_all(ids.iter().map(async |(member, id)| {
        let known = known
            .iter()
            .chain([&("EP_ID", id.clone())])
            .cloned()
            .collect();
        exercised(member, folder, known).await
    }))
    .await?;
    // after all of that they still work
    for (member, _) in ids {
        member.ready().await;
    }
    Ok(())
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}

async fn exercised(
    member: &Member,
    folder: &Path,
    known: Vec<(&'static str, String)>,
) -> Result<()> {
    let python = std::env::var("EVENTPULSE_TEST_PYTHON").context(
        "EVENTPULSE_TEST_PYTHON is not set: run `make test`, or set it to `scripts/python-env`",
    )?;
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/python/schemathesis.toml");
    let output = Command::new(Path::new(&python).with_file_name("schemathesis"))
        .args(["--config-file", config, "run"])
        .arg(format!("{}/openapi.json", member.url))
        .args(["--exclude-path", ENDLESS])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .envs(known)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .context("schemathesis is not in the Python environment: `scripts/python-env`")?;
    ensure!(
        output.status.success(),
        "{}\n{}{}\n{}",
        member.name,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        member.last_words()
    );
    Ok(())
}

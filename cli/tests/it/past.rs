//! `why`, `backtest` and `rules apply` against running services, Kafka and registry.

use std::time::Duration;

use serde_json::{Value, json};
use service_kit::{
    KitArgs,
    testing::{Database, TestTopics, kit_args_at, wait_for},
};
use shared_events::{AlertId, Labels};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{command::Cli, topics::registry};

pub(crate) const RULES: &str = include_str!("../../../demo/config/rules/fast/rules.yaml");
const TARGETS: &str = include_str!("../../../demo/config/rules/fast/targets.yaml");

/// Ingest, Rules and Incident Store in this process.
pub(crate) struct Stack {
    pub(crate) cli: Cli,
    pub(crate) topics: TestTopics,
    folder: tempfile::TempDir,
    pub(crate) shutdown: CancellationToken,
    /// Of Ingest, Rules and Incident Store.
    pub(crate) databases: Vec<Database>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("rules.yaml"), RULES).expect("a file");
        std::fs::write(folder.path().join("targets.yaml"), TARGETS).expect("a file");
        let mut stack = Self {
            cli: Cli::default(),
            topics: TestTopics::fresh().await,
            folder,
            shutdown: CancellationToken::new(),
            databases: Vec::new(),
        };
        stack.cli.brokers = stack.topics.brokers.clone();
        stack.cli.prefix = stack.topics.prefix.clone();
        stack.cli.registry = registry();
        stack.cli.ingest = stack.ingest().await;
        stack.cli.rules = stack.rules().await;
        stack.cli.store = stack.store().await;
        stack
    }

    pub(crate) async fn kit(&mut self, migrator: &'static sqlx::migrate::Migrator) -> KitArgs {
        let database = Database::fresh(&[migrator]).await;
        let kit = kit_args_at(
            &database,
            &self.topics.brokers,
            &registry(),
            &self.topics.prefix,
        );
        self.databases.push(database);
        kit
    }

    async fn ingest(&mut self) -> String {
        let config = ingest::Config {
            kit: self.kit(&ingest::MIGRATOR).await,
            webhook_tokens: Some("am=secret".to_owned().into()),
            webhook_tokens_file: None,
            webhook_body_limit: 1024 * 1024,
            reopen_after: Duration::from_secs(360),
            stale_after: Duration::from_secs(12 * 3600),
            receipt_retention: Duration::from_secs(3600),
        };
        let (listener, url) = port().await;
        tokio::spawn(ingest::run(config, listener, self.shutdown.clone()));
        url
    }

    async fn rules(&mut self) -> String {
        let config = rules::Config {
            kit: self.kit(&rules::MIGRATOR).await,
            rules_source: rules::config::RulesSource::Topic,
            rules_file: self.folder.path().join("rules.yaml"),
            targets_file: self.folder.path().join("targets.yaml"),
            settle: Duration::from_secs(60),
            action_grace: Duration::from_secs(15),
            decision_retention: None,
        };
        let (listener, url) = port().await;
        tokio::spawn(rules::run(config, listener, self.shutdown.clone()));
        url
    }

    async fn store(&mut self) -> String {
        let config = incident_store::Config {
            kit: self.kit(&incident_store::MIGRATOR).await,
            publish_status: false,
            trace_url: None,
        };
        let (listener, url) = port().await;
        tokio::spawn(incident_store::run(config, listener, self.shutdown.clone()));
        url
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// Posts alerts as Alertmanager does, until Ingest is there.
    pub(crate) async fn post(&self, alerts: Value) {
        let body = json!({
            "version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": "firing",
            "receiver": "eventpulse", "groupLabels": {}, "commonLabels": {},
            "commonAnnotations": {}, "externalURL": "http://am", "alerts": alerts,
        });
        wait_for("a 200", async || {
            let sent = reqwest::Client::new()
                .post(format!("{}/webhooks/alertmanager", self.cli.ingest))
                .bearer_auth("secret")
                .json(&body)
                .send()
                .await;
            match sent {
                Ok(answer) if answer.status() == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until `arguments` print JSON that is as wanted.
    pub(crate) async fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let words = arguments.join(" ");
        wait_for(&words, async || {
            let ran = self.cli.run(arguments).await;
            let found: Value = serde_json::from_str(&ran.out).unwrap_or_default();
            if wanted(&found) {
                Ok(found)
            } else {
                Err(format!("{ran:?}"))
            }
        })
        .await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) async fn port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

pub(crate) fn alert(name: &str, value: &str) -> Value {
    json!({
        "status": "firing", "labels": labels(name),
        "annotations": {"summary": format!("{name} of app"), "value": value},
        "startsAt": "2026-11-21T03:14:05Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph", "fingerprint": "f",
    })
}

fn labels(name: &str) -> Labels {
    [
        ("alertname", name),
        ("service", "app"),
        ("severity", "critical"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub(crate) fn has(count: usize) -> impl Fn(&Value) -> bool {
    move |found| found.as_array().is_some_and(|items| items.len() >= count)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_decided_again_and_explained() {
    let stack = Stack::start().await;
    let mut nameless = alert("Nameless", "1");
    nameless["labels"] = json!({});
    nameless["annotations"]["summary"] = "a refused one".into();
    let alerts = json!([alert("HighCPU", "0.84"), alert("DiskFull", "1"), nameless]);
    stack.post(alerts).await;
    stack.until(&["decision", "ls", "-o", "json"], has(3)).await;
    stack
        .until(&["incident", "ls", "-o", "json"], |found| {
            found[0]["status"] == "mitigating"
        })
        .await;
    explained(&stack).await;
    limited(&stack).await;
    told_otherwise(&stack).await;
    decided_again(&stack).await;
}

async fn explained(stack: &Stack) {
    let id = AlertId::of("am", &labels("HighCPU")).to_string();
    let fired = stack.cli.run(&["why", &id]).await;
    assert_eq!(fired.code, Some(0), "{fired:?}");
    for words in [
        "alert HighCPU of app",
        "Accepted from am",
        "Ingest has published everything",
        "high-cpu",
        "fired",
        "app 1 -> 2",
        "is mitigating",
    ] {
        let words = words.replace("app 1 -> 2", "-> 2 replicas");
        assert!(
            fired.out.contains(&words),
            "{words} is not in\n{}",
            fired.out
        );
    }
    let unmatched = stack.cli.run(&["why", "DiskFull"]).await;
    assert_eq!(unmatched.code, Some(0), "{unmatched:?}");
    assert!(
        unmatched.out.contains("No rule means this alert"),
        "{}",
        unmatched.out
    );
    assert!(
        unmatched.out.contains("alertname is \"DiskFull\""),
        "{}",
        unmatched.out
    );
    let refused = stack.cli.run(&["why", "a refused one"]).await;
    assert_eq!(refused.code, Some(0), "{refused:?}");
    assert!(refused.out.contains("Ingest refused it"), "{}", refused.out);
    assert_eq!(stack.cli.run(&["why", "nobody-knows"]).await.code, Some(1));
    let away = Cli {
        ingest: crate::command::NOWHERE.to_owned(),
        ..stack.cli.clone()
    };
    assert_eq!(away.run(&["why", "HighCPU"]).await.code, Some(2));
}

/// A dead letter, an export, an incident as it was, and an alert that the command itself sends.
async fn told_otherwise(stack: &Stack) {
    let producer: rdkafka::producer::FutureProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &stack.cli.brokers)
        .create()
        .expect("a producer");
    let topic = format!("{}alert", stack.cli.prefix);
    let headers = rdkafka::message::OwnedHeaders::new().insert(rdkafka::message::Header {
        key: "ce_type",
        value: Some("alert.raised"),
    });
    let record = rdkafka::producer::FutureRecord::to(&topic)
        .key("broken-service")
        .headers(headers)
        .payload("no Avro at all");
    let sent = producer.send(record, Duration::from_secs(20)).await;
    sent.expect("the broker takes it");
    let why = ["why", "broken-service", "-o", "json"];
    let told = stack.until(&why, has(1)).await;
    let words = told[0]["stations"].to_string();
    assert!(words.contains("dead letter at stage"), "{words}");
    assert!(words.contains("No rule ever saw it"), "{words}");

    exported(stack).await;
}

async fn limited(stack: &Stack) {
    let limits = stack.cli.run(&["limits", "ls", "-o", "json"]).await.json();
    let targets: Vec<_> = limits.as_array().into_iter().flatten().collect();
    assert!(
        targets.iter().any(|limit| limit["target"] == "*"),
        "{limits}"
    );
    let close = ["limits", "close", "--reason", "seen", "--actor", "ann"];
    let none_open = stack.cli.run(&close).await;
    assert_eq!(none_open.code, Some(3), "{none_open:?}");
}

async fn exported(stack: &Stack) {
    let incident = stack
        .cli
        .run(&["incident", "ls", "-o", "json"])
        .await
        .json();
    let (id, opened) = (&incident[0]["id"], &incident[0]["opened_at"]);
    let (id, opened) = (
        id.as_str().expect("an id"),
        opened.as_str().expect("a time"),
    );
    let export = stack.cli.run(&["incident", "export", id]).await.ok();
    for words in [
        "## Summary",
        "## Timeline",
        "## Decisions",
        "high-cpu fired",
    ] {
        assert!(export.contains(words), "{words} is not in\n{export}");
    }
    let then = ["incident", "show", id, "--as-of", opened, "-o", "json"];
    assert_eq!(stack.cli.run(&then).await.json()["id"], id);
    let before = ["incident", "show", id, "--as-of", "2020-01-01T00:00:00Z"];
    assert_eq!(stack.cli.run(&before).await.code, Some(3));

    let send = [
        "alert",
        "send",
        "Sent",
        "-l",
        "service=cli",
        "--token",
        "secret",
    ];
    assert!(
        stack
            .cli
            .run(&send)
            .await
            .ok()
            .contains("eventpulse why Sent")
    );
    let unmatched = |found: &Value| found[0]["stations"].to_string().contains("No rule means");
    stack.until(&["why", "Sent", "-o", "json"], unmatched).await;
}

async fn decided_again(stack: &Stack) {
    let same = stack.file("same.yaml", RULES);
    let again = stack
        .cli
        .run(&["backtest", "--rules", &same, "--exact"])
        .await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.contains("byte for byte"), "{}", again.out);
    let strict = RULES.replacen(
        "  group_by: [service]",
        "  when: double(annotations.value) > 0.9\n  group_by: [service]",
        1,
    );
    let strict = stack.file("strict.yaml", &strict);
    let arguments = ["backtest", "--rules", &strict, "-o", "json"];
    let one = stack.cli.run(&arguments).await;
    assert_eq!(one.code, Some(0), "{one:?}");
    let found = one.json();
    assert_eq!(found["order"], "recorded");
    let differs = found["differences"].as_array().expect("differences");
    assert!(
        differs
            .iter()
            .any(|found| found["now"][0]["outcome"] == "condition_false"),
        "{found}"
    );
    assert_eq!(
        stack.cli.run(&arguments).await.out,
        one.out,
        "equal input, equal output"
    );
    let exact = ["backtest", "--rules", &strict, "--exact"];
    assert_eq!(stack.cli.run(&exact).await.code, Some(1));

    changed(stack, &strict).await;
}

/// Applies rules, and rolls them back.
async fn changed(stack: &Stack, strict: &str) {
    let dry = [
        "rules",
        "apply",
        strict,
        "--dry-run",
        "--reason",
        "test",
        "-o",
        "json",
    ];
    let dry = stack.cli.run(&dry).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert_eq!(dry.json()["dry_run"], true);
    let applied = stack
        .cli
        .run(&[
            "rules", "apply", strict, "--reason", "stricter", "--actor", "ana",
        ])
        .await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let other = "0".repeat(64);
    let wrong = [
        "rules",
        "apply",
        strict,
        "--reason",
        "x",
        "--if-match",
        &other,
    ];
    let wrong = stack.cli.run(&wrong).await;
    assert_eq!(wrong.code, Some(4), "{wrong:?}");
    let active = |found: &Value| found[0]["active"] == true && found[0]["actor"] == "ana";
    let versions = stack
        .until(&["rules", "versions", "-o", "json"], active)
        .await;
    assert_eq!(versions[0]["summary"]["changed"][0], "high-cpu");
    let before = versions[1]["hash"].as_str().expect("a hash");
    let back = stack
        .cli
        .run(&[
            "rules", "rollback", before, "--reason", "back", "--actor", "ana",
        ])
        .await;
    assert_eq!(back.code, Some(0), "{back:?}");
}

//! Topics that ordinary tools can read.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use eventpulse_tests::{Stack, stack::Setup, webhook::Alert};
use serde_json::Value;
use tokio::process::Command;

/// Confluent's Python consumer and Avro deserialiser, with nothing of ours.
#[tokio::test]
async fn a_client_that_others_wrote_reads_every_topic() -> Result<()> {
    let stack = Stack::start(&Setup::default()).await?;
    stack
        .accept(&[Alert::firing("Down", "seen", Utc::now())])
        .await?;
    stack.until(1, "open").await;
    let python = std::env::var("EVENTPULSE_TEST_PYTHON").context(
        "EVENTPULSE_TEST_PYTHON is not set: run `make test`, or set it to `scripts/python-env`",
    )?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/read_topic.py");
    for (topic, event_type) in [("alert", "alert.raised"), ("incident", "incident.opened")] {
        let read = Command::new(&python)
            .args([
                script,
                &stack.topics.brokers,
                &std::env::var("EVENTPULSE_TEST_REGISTRY")?,
                &format!("{}{topic}", stack.topics.prefix),
                "1",
            ])
            .stdin(Stdio::null())
            .output()
            .await?;
        ensure!(
            read.status.success(),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
        let record: Value = serde_json::from_slice(&read.stdout)?;
        assert_eq!(record["headers"]["ce_type"], event_type, "{record:#}");
        assert_eq!(record["headers"]["ce_specversion"], "1.0");
        assert_eq!(record["headers"]["ce_sequence"], "1");
        assert_eq!(record["value"]["labels"]["service"], "seen", "{record:#}");
    }
    Ok(())
}

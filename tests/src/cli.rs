//! The command `eventpulse`, as a process beside the services.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use service_kit::testing::wait_for;
use tokio::process::Command;

use crate::{Stack, member::binary};

/// The command, with the addresses of a stack.
#[derive(Clone, Debug)]
pub struct Cli {
    settings: Vec<(&'static str, String)>,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Cli {
    /// For people who look at `stack`.
    ///
    /// # Errors
    /// When the tests' registry is not known.
    pub fn of(stack: &Stack) -> Result<Self> {
        let registry = std::env::var("EVENTPULSE_TEST_REGISTRY")
            .context("EVENTPULSE_TEST_REGISTRY is not set: run `make test`")?;
        Ok(Self {
            settings: vec![
                ("TZ", "UTC".to_owned()),
                ("EVENTPULSE_INGEST_URL", stack.ingest.url.clone()),
                ("EVENTPULSE_RULES_URL", stack.rules.url.clone()),
                ("EVENTPULSE_ACTION_RUNNER_URL", stack.runner.url.clone()),
                ("EVENTPULSE_INCIDENT_STORE_URL", stack.store.url.clone()),
                ("EVENTPULSE_KAFKA_BROKERS", stack.topics.brokers.clone()),
                ("EVENTPULSE_TOPIC_PREFIX", stack.topics.prefix.clone()),
                ("EVENTPULSE_REGISTRY_URL", registry),
            ],
        })
    }

    /// For what needs none of them.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            settings: Vec::new(),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let output = Command::new(binary("eventpulse")?)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await?;
        Ok(Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What it prints; it must succeed.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub async fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == Some(0), "{arguments:?}: {ran:?}");
        Ok(ran.out)
    }

    /// What it prints with `-o json`, whatever its exit code.
    ///
    /// # Errors
    /// When that is no JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let ran = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&ran.out).with_context(|| format!("{arguments:?}: {ran:?}"))
    }

    /// Waits until it succeeds and prints each of `words`.
    pub async fn says(&self, arguments: &[&str], words: &[&str]) -> String {
        wait_for(&format!("{arguments:?} to say {words:?}"), async || {
            let out = self.ok(arguments).await?;
            match words.iter().find(|words| !out.contains(**words)) {
                None => Ok(out),
                Some(missing) => anyhow::bail!("{missing:?} is not in\n{out}"),
            }
        })
        .await
    }
}

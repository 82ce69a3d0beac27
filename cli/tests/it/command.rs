//! Runs the binary.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Where nothing listens.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";

/// Servers of a run; nothing of the machine's environment reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Cli {
    pub(crate) store: String,
    pub(crate) ingest: String,
    pub(crate) rules: String,
    pub(crate) brokers: String,
    pub(crate) prefix: String,
    pub(crate) registry: String,
}

impl Default for Cli {
    fn default() -> Self {
        Self {
            store: NOWHERE.to_owned(),
            ingest: NOWHERE.to_owned(),
            rules: NOWHERE.to_owned(),
            brokers: "127.0.0.1:1".to_owned(),
            prefix: String::new(),
            registry: NOWHERE.to_owned(),
        }
    }
}

impl Cli {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventpulse"));
        command
            .env_clear()
            .env("TZ", "UTC")
            .env("EVENTPULSE_INCIDENT_STORE_URL", &self.store)
            .env("EVENTPULSE_INGEST_URL", &self.ingest)
            .env("EVENTPULSE_RULES_URL", &self.rules)
            .env("EVENTPULSE_ACTION_RUNNER_URL", NOWHERE)
            .env("EVENTPULSE_KAFKA_BROKERS", &self.brokers)
            .env("EVENTPULSE_TOPIC_PREFIX", &self.prefix)
            .env("EVENTPULSE_REGISTRY_URL", &self.registry)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end, beside the services in this process.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("no panic")
            .expect("the binary runs");
        Ran::of(&output)
    }
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its standard output, of a run that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Its standard output as JSON, whatever the exit code.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A JSON object a line.
    pub(crate) fn lines(self) -> Vec<Value> {
        let lines = self.ok();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

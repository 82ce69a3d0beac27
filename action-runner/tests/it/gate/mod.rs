//! The gate between a runner and a real engine, and between somebody who is not a runner and it.

mod faults;
mod process;
mod refusals;
mod replicas;
mod story;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use action_runner::{
    docker::template::Template,
    gate::{Config, run},
};
use clap::Parser;
use serde_json::{Value, json};
use service_kit::{Error, testing::wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    host::{Host, engine},
    runner::{Setup, targets},
};

/// Whether every test's runner goes through a gate.
pub(crate) fn everywhere() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the tests are run is told by the environment"
    )]
    std::env::var("EVENTPULSE_TEST_GATE").is_ok_and(|value| value == "1")
}

/// Whether there is an engine that a gate could stand before.
pub(crate) fn is_local(docker_host: &str) -> bool {
    let path = docker_host.strip_prefix("unix://");
    path.is_some_and(|path| Path::new(path).exists())
}

/// `docker_host` of a gate that lives in `folder`.
pub(crate) fn host_in(folder: &Path) -> String {
    format!("unix://{}", socket_in(folder).display())
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("gate.sock")
}

/// A running gate: `targets.yaml`, its state and its socket are in one folder.
pub(crate) struct Gate {
    socket: PathBuf,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Gate {
    /// Starts one before an engine and waits until it is open.
    pub(crate) async fn start(folder: &Path, docker_host: &str) -> Self {
        let socket = socket_in(folder);
        let show = |path: &Path| path.display().to_string();
        let config = Config::try_parse_from([
            "docker-gate",
            "--docker-socket",
            docker_host.trim_start_matches("unix://"),
            "--gate-socket",
            &show(&socket),
            "--targets-file",
            &show(&folder.join("targets.yaml")),
            "--state-folder",
            &show(&state_in(folder)),
        ])
        .expect("these are all there are");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(config, shutdown.clone()));
        wait_for("the gate to open", async || {
            assert!(!task.is_finished(), "it cannot start");
            UnixStream::connect(&socket).await.map(drop)
        })
        .await;
        Self {
            socket,
            shutdown,
            task,
        }
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = (&mut self.task).await.expect("the gate does not panic");
        ended.expect("the gate ends well");
    }

    /// The answer to one request; `None` when the connection breaks without one.
    async fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.say(&format!("{head}{body}")).await
    }

    /// Says something word for word.
    async fn say(&self, words: &str) -> Option<(u16, Value)> {
        let mut stream = UnixStream::connect(&self.socket).await.expect("it listens");
        // What is refused at its head need not be read to its end.
        drop(stream.write_all(words.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let json = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        Some((status, json))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

fn state_in(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// A project with a gate, and nobody else who uses it.
struct Alone {
    host: Host,
    gate: Gate,
    folder: tempfile::TempDir,
}

impl Alone {
    async fn start(host: Host, max: u32) -> Self {
        Self::before(&engine(), host, max).await
    }

    async fn before(docker_host: &str, host: Host, max: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let setup = Setup {
            docker_host: host_in(folder.path()),
            max,
            ..Setup::default()
        };
        let text = targets(&host.project, &setup);
        std::fs::write(folder.path().join("targets.yaml"), text).expect("written");
        let gate = Gate::start(folder.path(), docker_host).await;
        Self { host, gate, folder }
    }

    /// Hash of the container that Compose made.
    async fn hash(&self) -> String {
        let container = self.host.inspect(&self.host.name(1)).await;
        let template = Template::of(&container.expect("the template is there"));
        template.expect("it can be copied").hash()
    }

    /// What a runner would say to make the replica of `slot`.
    async fn labels(&self, slot: u32) -> HashMap<String, String> {
        [
            ("eventpulse.managed", "true".to_owned()),
            ("eventpulse.target", "app".to_owned()),
            ("eventpulse.slot", slot.to_string()),
            ("eventpulse.epoch", "1".to_owned()),
            ("eventpulse.template", self.hash().await),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    async fn create(&self, name: &str, body: &Value) -> (u16, Value) {
        let target = format!("/containers/create?name={name}");
        let answer = self.gate.ask("POST", &target, Some(body)).await;
        answer.expect("an answer")
    }

    /// Makes the replica of `slot`, and does not start it.
    async fn replica(&self, slot: u32) -> String {
        let body = json!({"Labels": self.labels(slot).await});
        let (status, answer) = self.create(&self.host.name(slot), &body).await;
        assert_eq!(status, 201, "{answer}");
        answer["Id"].as_str().expect("an id").to_owned()
    }

    async fn asked(&self, method: &str, target: &str) -> (u16, Value) {
        let answer = self.gate.ask(method, target, None).await;
        answer.unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// It is refused, by the gate.
    async fn refused(&self, method: &str, target: &str) {
        refusal(self.asked(method, target).await, 403);
    }
}

/// It is the gate's own refusal.
fn refusal((status, answer): (u16, Value), wanted: u16) {
    let message = answer["message"].as_str().unwrap_or_default();
    let own = message.starts_with("docker-gate: ");
    assert!(status == wanted && own, "{status} {answer}");
}

//! A service as a process: signals, exit codes, its log, and its spans at a collector.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use service_kit::{
    clock::Stopwatch,
    testing::{Database, Port, wait_for},
};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::{NOBODY, PATIENCE};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Enough for every thread of the runtime to answer some.
const HELLOS: usize = 20;

/// `examples/idle.rs`, which `cargo test -p service-kit` builds beside this test.
fn program() -> Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let program = tests
        .parent()
        .and_then(|deps| deps.parent())
        .context("tests are in target/<profile>/deps")?
        .join("examples/idle");
    anyhow::ensure!(
        program.exists(),
        "{} is missing: run `cargo build -p service-kit --example idle`",
        program.display()
    );
    Ok(program)
}

struct Process {
    child: Child,
    url: String,
    _port: Port,
}

impl Process {
    async fn start(database: &Database, arguments: &[&str]) -> Result<Self> {
        let port = Port::reserve()?;
        let address = port.to_string();
        let child = Command::new(program()?)
            .args(["--database-url", &database.url, "--allow-unsafe-database"])
            .args(["--kafka-brokers", NOBODY, "--listen", &address])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let url = format!("http://{address}");
        Ok(Self {
            child,
            url,
            _port: port,
        })
    }

    async fn ready(&self) {
        let url = format!("{}/readyz", self.url);
        wait_for("the process to be ready", async || {
            match reqwest::get(&url).await {
                Ok(answer) if answer.status() == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it still runs")?;
        let kill = format!("kill -{name} {id}");
        let status = Command::new("sh").args(["-c", &kill]).status().await?;
        anyhow::ensure!(status.success(), "{kill}");
        Ok(())
    }

    /// Makes its runtime hang, and waits until it does.
    async fn hang(&self) {
        let client = reqwest::Client::new();
        let patience = Duration::from_millis(500);
        let (hang, livez) = (
            format!("{}/api/v1/hang", self.url),
            format!("{}/livez", self.url),
        );
        drop(client.post(hang).timeout(patience).send().await);
        wait_for("the process to hang", async || {
            match client.get(&livez).timeout(patience).send().await {
                Ok(answer) => Err(answer.status()),
                Err(_) => Ok(()),
            }
        })
        .await;
    }

    /// Exit status and log.
    async fn end(self) -> Result<(ExitStatus, Vec<Value>)> {
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await??;
        let text = String::from_utf8(output.stdout)?;
        let lines = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>();
        Ok((
            output.status,
            lines.with_context(|| format!("not JSON: {text}"))?,
        ))
    }
}

#[tokio::test]
async fn sigterm_ends_it_with_zero() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let process = Process::start(&database, &[]).await?;
    process.ready().await;
    let client = reqwest::Client::new();
    for _ in 0..HELLOS {
        let hello = client.get(format!("{}/api/v1/hello", process.url));
        let answer = hello.header("traceparent", PARENT).send().await?;
        assert_eq!(answer.text().await?, "hello");
    }
    let watch = Stopwatch::start();
    process.signal("TERM").await?;
    let (status, log) = process.end().await?;
    assert!(status.success(), "{status}");
    assert!(watch.elapsed() < Duration::from_secs(10));
    let said = |message: &str| -> Vec<&Value> {
        log.iter()
            .filter(|line| line["message"] == message)
            .collect()
    };
    let hellos = said("somebody said hello");
    assert_eq!(hellos.len(), HELLOS);
    for hello in hellos {
        assert_eq!(hello["trace_id"], PARENT[3..35], "{hello}");
        assert_eq!(hello["http.route"], "/api/v1/hello");
    }
    assert_eq!((said("ready").len(), said("stopping").len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let process = Process::start(&database, &[]).await?;
    process.ready().await;
    process.hang().await;
    let watch = Stopwatch::start();
    process.signal("INT").await?;
    process.signal("TERM").await?;
    let (status, _log) = process.end().await?;
    assert_eq!(status.code(), Some(1));
    assert!(watch.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn what_hangs_is_ended_within_ten_seconds() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let process = Process::start(&database, &[]).await?;
    process.ready().await;
    process.hang().await;
    let watch = Stopwatch::start();
    process.signal("TERM").await?;
    let (status, log) = process.end().await?;
    assert_eq!(status.code(), Some(1));
    assert!(watch.elapsed() < Duration::from_secs(10));
    assert!(
        log.iter()
            .any(|line| line["why"] == "the stop took too long")
    );
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_be_used_end_it_with_a_reason() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let process = Process::start(&database, &["--log", "a=b=c"]).await?;
    let (status, _log) = process.end().await?;
    assert_eq!(status.code(), Some(2));
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let output = Command::new(program()?)
        .args(["--database-url", &database.url, "--listen", &address])
        .output()
        .await?;
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stdout)?;
    assert!(log.contains(&format!("listening on {address}")), "{log}");
    Ok(())
}

//! One service as a process: its own binary, settings in the environment, a port on 127.0.0.1.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use service_kit::testing::{Port, wait_for};

const SIGABRT: i32 = 6;

/// A running service.
#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    /// `http://127.0.0.1:<port>`
    pub url: String,
    settings: Vec<(&'static str, String)>,
    log: PathBuf,
    _port: Port,
    child: Option<Child>,
}

/// Where cargo puts the binaries of this workspace.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"))
        .context("the test runs from cargo's target folder")?;
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: `cargo build --workspace --bins` (make test does it)",
        path.display()
    );
    Ok(path)
}

impl Member {
    /// Starts `name` with `settings`; its log goes to a file of `folder`.
    pub fn start(
        name: &'static str,
        settings: Vec<(&'static str, String)>,
        folder: &Path,
    ) -> Result<Self> {
        let port = Port::reserve()?;
        let address = port.to_string();
        let mut member = Self {
            name,
            url: format!("http://{address}"),
            settings,
            log: folder.join(format!("{name}-{}.log", port.number())),
            _port: port,
            child: None,
        };
        member.settings.push(("EVENTPULSE_LISTEN", address));
        member.spawn()?;
        Ok(member)
    }

    fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(binary(self.name)?)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it again on the same port, with `changed` settings.
    pub fn restart(&mut self, changed: &[(&'static str, String)]) -> Result<()> {
        ensure!(self.child.is_none(), "{} still runs", self.name);
        for (name, value) in changed {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push((name, value.clone()));
        }
        self.spawn()
    }

    /// Waits until `/readyz` says 200.
    pub async fn ready(&self) {
        wait_for(&format!("{} to be ready", self.name), async || {
            let answer = reqwest::get(format!("{}/readyz?verbose", self.url)).await;
            let answer = answer.map_err(|error| format!("{error:?}; {}", self.last_words()))?;
            if answer.status().is_success() {
                return Ok(());
            }
            Err(answer.text().await.unwrap_or_default())
        })
        .await;
    }

    /// kill -9
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until it has aborted by itself.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn died(&mut self) {
        let mut child = self.child.take().expect("it was started");
        let signal = wait_for(&format!("{} to die", self.name), async || {
            match child.try_wait()? {
                Some(status) => Ok::<_, anyhow::Error>(status.signal()),
                None => anyhow::bail!("it runs"),
            }
        })
        .await;
        assert_eq!(signal, Some(SIGABRT), "{}", self.last_words());
    }

    /// SIGTERM, and its exit code.
    pub async fn stop(&mut self) -> Result<Option<i32>> {
        let mut child = self.child.take().context("not running")?;
        let pid = child.id().to_string();
        ensure!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()?
                .success()
        );
        let exited = tokio::task::spawn_blocking(move || child.wait()).await??;
        Ok(exited.code())
    }

    /// The number of its process.
    pub fn pid(&self) -> Result<u32> {
        let child = self.child.as_ref().context("not running")?;
        Ok(child.id())
    }

    /// Sends a signal by its name, STOP or CONT say.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid()?.to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()?;
        ensure!(sent.success(), "kill -{name} {pid}: {sent}");
        Ok(())
    }

    /// Whether it is down; in words, if it ended by itself since this was asked last.
    pub fn is_down(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else {
            return Ok(Some("it was taken down".to_owned()));
        };
        let ended = child.try_wait()?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended.map(|status| status.to_string()))
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// POST of JSON, as JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url));
        let answer = request.json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "POST {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// The value of a metric whose line begins with `name`.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = reqwest::get(format!("{}/metrics", self.url))
            .await?
            .text()
            .await?;
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("no metric {name}"))?;
        let (_, value) = line.rsplit_once(' ').context("name and value")?;
        Ok(value.parse()?)
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}", self.name, self.last_words());
        }
    }
}

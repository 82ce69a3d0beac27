//! The command line of Docker, for what tests do as an operator does it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::app::docker_host;

/// Runs `docker` with these arguments; gives what it printed.
///
/// # Errors
/// Its words, when it does not end with 0.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(["-H", &docker_host()]).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {arguments:?}: {words}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The name of the container of the tests' Postgres: the one that publishes its port.
///
/// # Errors
/// When there is none.
pub async fn postgres() -> Result<String> {
    let server = std::env::var("EVENTPULSE_TEST_DATABASE_URL")?;
    let port = server
        .rsplit_once(':')
        .and_then(|(_, rest)| rest.split('/').next())
        .context("the URL has a port")?;
    let filter = format!("publish={port}");
    let found = docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"]).await?;
    let name = found.lines().next().context("no Postgres container")?;
    Ok(name.to_owned())
}

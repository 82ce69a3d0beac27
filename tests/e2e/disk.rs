//! The disk of Postgres is full: Ingest refuses, nothing that it has accepted is lost, and everything
//! goes on when there is room again.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use eventpulse_tests::{
    Stack,
    docker::{docker, postgres},
    stack::{Parts, Setup, try_post},
    webhook::{self, Alert},
};
use reqwest::StatusCode;
use service_kit::testing::{Database, Port, wait_for};
use uuid::Uuid;

/// A Postgres on a file system of its own, which is small.
struct SmallPostgres {
    name: String,
    url: String,
    port: Port,
}

impl SmallPostgres {
    async fn start() -> Result<Self> {
        let name = format!("eptest-disk-{}", Uuid::new_v4().simple());
        let port = Port::reserve()?;
        let small = Self {
            url: format!("postgres://postgres:postgres@{port}/postgres"),
            name,
            port,
        };
        let name = small.name.as_str();
        let server = postgres().await?;
        let image = docker(&["inspect", "--format", "{{.Config.Image}}", &server]).await?;
        docker(&[
            "volume",
            "create",
            "--driver",
            "local",
            "--opt",
            "type=tmpfs",
            "--opt",
            "device=tmpfs",
            "--opt",
            "o=size=400m",
            name,
        ])
        .await?;
        // the file system is there for as long as somebody has it mounted
        let (holder, disk) = (small.holder(), format!("{name}:/disk"));
        docker(&[
            "run",
            "-d",
            "--init",
            "--name",
            &holder,
            "--network",
            "none",
            "-v",
            &disk,
            "--entrypoint",
            "sleep",
            &image,
            "3600",
        ])
        .await?;
        let (publish, data) = (
            format!("{}:5432", small.port),
            format!("{name}:/var/lib/postgresql"),
        );
        docker(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            "unless-stopped",
            "-p",
            &publish,
            "-v",
            &data,
            "-e",
            "POSTGRES_PASSWORD=postgres",
            &image,
            "postgres",
            "-c",
            "max_connections=200",
            "-c",
            "min_wal_size=32MB",
            "-c",
            "max_wal_size=48MB",
        ])
        .await?;
        wait_for("the small Postgres", async || {
            let ready = ["exec", name, "pg_isready", "-q", "-h", "127.0.0.1"];
            docker(&ready).await
        })
        .await;
        Ok(small)
    }

    fn holder(&self) -> String {
        format!("{}-holder", self.name)
    }

    /// Fills what is free; `dd` ends when nothing is.
    async fn fill(&self) -> Result<()> {
        let fill = "dd if=/dev/zero of=/disk/ballast bs=64k 2>/dev/null; test -s /disk/ballast";
        docker(&["exec", &self.holder(), "sh", "-c", fill]).await?;
        Ok(())
    }

    async fn make_room(&self) -> Result<()> {
        docker(&["exec", &self.holder(), "rm", "/disk/ballast"]).await?;
        Ok(())
    }
}

impl Drop for SmallPostgres {
    fn drop(&mut self) {
        let engine = eventpulse_tests::app::docker_host();
        for arguments in [
            ["rm", "-f", "-v", &self.name],
            ["rm", "-f", "-v", &self.holder()],
            ["volume", "rm", "-f", &self.name],
        ] {
            let mut docker = std::process::Command::new("docker");
            drop(docker.args(["-H", &engine]).args(arguments).output());
        }
    }
}

/// Bodies of alerts, each alert of another service, and what was accepted of them.
#[derive(Default)]
struct Sent {
    services: usize,
    accepted: BTreeSet<String>,
}

impl Sent {
    async fn post(&mut self, stack: &Stack) -> Result<StatusCode> {
        let names: Vec<String> = (0..50)
            .map(|n| format!("service-{}", self.services + n))
            .collect();
        self.services += names.len();
        let alerts: Vec<Alert> = names
            .iter()
            .map(|name| Alert::firing("Down", name, Utc::now()))
            .collect();
        let status = try_post(&stack.ingest.url, &webhook::body(&alerts)).await?;
        if status == StatusCode::OK {
            self.accepted.extend(names);
        }
        Ok(status)
    }
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_loses_nothing() -> Result<()> {
    let small = SmallPostgres::start().await?;
    let parts = Parts {
        database: small.url.clone(),
        ..Parts::of_the_tests()?
    };
    let stack = Stack::start_on(&Setup::default(), parts).await?;
    let mut sent = Sent::default();
    for _ in 0..10 {
        ensure!(sent.post(&stack).await? == StatusCode::OK);
    }
    small.fill().await?;
    wait_for("a refusal", async || match sent.post(&stack).await {
        Ok(StatusCode::SERVICE_UNAVAILABLE) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let before = sent.accepted.len();
    small.make_room().await?;
    wait_for("an acceptance", async || match sent.post(&stack).await {
        Ok(StatusCode::OK) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    ensure!(sent.accepted.len() == before + 50 && before >= 500);
    stack.at_rest().await;
    wait_for("an incident of each accepted alert", async || {
        let known = services(&stack.databases.store).await?;
        let lost: Vec<&String> = sent.accepted.difference(&known).collect();
        ensure!(lost.is_empty(), "{} are lost: {lost:?}", lost.len());
        Ok(())
    })
    .await;
    Ok(())
}

async fn services(store: &Database) -> Result<BTreeSet<String>> {
    let known: Vec<String> = sqlx::query_scalar("SELECT DISTINCT service FROM incidents")
        .fetch_all(&store.pool)
        .await
        .context("reading incidents")?;
    Ok(known.into_iter().collect())
}

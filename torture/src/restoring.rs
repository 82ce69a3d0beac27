//! Each database in turn is lost under load and restored from a dump that is minutes old, as
//! `docs/OPERATING.md` says.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use eventpulse_tests::{cli::Cli, docker::docker};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    arena::Arena,
    checker::evidence::Lost,
    driver::now,
    fleet::{SERVICES, Slot},
    gather::databases,
};

/// How long a service may take to catch up.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a restore came to.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    pub service: &'static str,
    /// How old the dump was when the database was lost.
    pub dump_seconds: u64,
    /// From the loss until every instance was ready again.
    pub away_seconds: f64,
    /// What `eventpulse db lacked` counts, by its names.
    pub lacked: BTreeMap<String, i64>,
    /// For the checker.
    #[serde(skip)]
    pub lost: Lost,
}

impl Restored {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let lacked: Vec<String> = self
            .lacked
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        format!(
            "{}: dump {} s old, back after {:.1} s, lacked: {}",
            self.service,
            self.dump_seconds,
            self.away_seconds,
            lacked.join(", ")
        )
    }
}

/// Dumps all databases, lets `age` pass, and restores one after the other: each later one from a dump
/// that is older by the restores before it.
pub async fn restore_all(arena: &Arena, age: Duration) -> Result<Vec<Restored>> {
    let (taken, dumped_at) = (Instant::now(), now());
    for (service, pool) in databases(&arena.fleet.databases) {
        let name = name(pool).await?;
        let dump = format!("pg_dump -h 127.0.0.1 -U postgres -Fc -f /tmp/{service}.dump {name}");
        in_postgres(arena, &dump).await?;
    }
    sleep(age.saturating_sub(taken.elapsed())).await;
    let mut restored = Vec::new();
    for (service, pool) in databases(&arena.fleet.databases) {
        let dump_seconds = taken.elapsed().as_secs();
        let incarnation: Uuid = sqlx::query_scalar("SELECT id FROM incarnation")
            .fetch_one(pool)
            .await?;
        let (away, lacked) = restore(arena, service, pool)
            .await
            .with_context(|| format!("restoring the database of {service}"))?;
        let done = Restored {
            service,
            dump_seconds,
            away_seconds: away.as_secs_f64(),
            lacked,
            lost: Lost {
                source: format!("/{service}/{incarnation}"),
                between: (dumped_at, now()),
            },
        };
        eprintln!("{}", done.text());
        restored.push(done);
    }
    ensure!(restored.len() == SERVICES.len());
    Ok(restored)
}

/// Stops every instance of a service for good, replaces its database by the dump, and starts them.
async fn restore(
    arena: &Arena,
    service: &str,
    pool: &PgPool,
) -> Result<(Duration, BTreeMap<String, i64>)> {
    let slots: Vec<&Slot> = arena
        .fleet
        .slots
        .iter()
        .map(AsRef::as_ref)
        .filter(|slot| slot.service == service)
        .collect();
    let lost = Instant::now();
    let mut members = Vec::new();
    for slot in &slots {
        let mut member = slot.take().await;
        member.kill()?;
        members.push(member);
    }
    let name = name(pool).await?;
    let restore = format!(
        "psql -h 127.0.0.1 -U postgres -q -v ON_ERROR_STOP=1 -d {name} \
           -c 'DROP SCHEMA public, clock CASCADE; CREATE SCHEMA public' && \
         pg_restore -h 127.0.0.1 -U postgres -d {name} --exit-on-error /tmp/{service}.dump"
    );
    in_postgres(arena, &restore).await?;
    let url = arena.places.database_named(&name);
    let announce = ["db", "restored", "--database-url", &url];
    let because = ["--actor", "torture", "--reason", "its database was lost"];
    Cli::alone().ok(&[announce, because].concat()).await?;
    for member in &mut members {
        member.restart(&[])?;
    }
    drop(members);
    for slot in slots {
        slot.until_ready(PATIENCE).await?;
    }
    Ok((lost.elapsed(), lacked(pool).await?))
}

async fn in_postgres(arena: &Arena, command: &str) -> Result<()> {
    let server = arena.parts["postgres"].lock().await.name.clone();
    docker(&["exec", &server, "sh", "-ec", command]).await?;
    Ok(())
}

async fn name(pool: &PgPool) -> Result<String> {
    let name = sqlx::query_scalar("SELECT current_database()");
    Ok(name.fetch_one(pool).await?)
}

/// The counts of the only restoration's report.
async fn lacked(pool: &PgPool) -> Result<BTreeMap<String, i64>> {
    let report: Value = sqlx::query_scalar("SELECT report FROM restorations")
        .fetch_one(pool)
        .await
        .context("a restoration that has caught up")?;
    let counts = report.as_object().context("a report")?;
    Ok(counts
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_i64()?)))
        .collect())
}

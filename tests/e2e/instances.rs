//! Two instances of each service, one of each pair killed midway: the same ids as a single run.

use std::collections::BTreeSet;

use anyhow::Result;
use chrono::{DateTime, Utc};
use eventpulse_tests::{Member, Stack, stack::Setup, webhook::Alert};
use service_kit::testing::wait_for;
use sqlx::PgPool;
use uuid::Uuid;

const SERVICES: usize = 50;
const ALERTS: usize = 1_000;

/// 1,000 distinct alerts of 50 services; every tenth of each has no rule.
fn alerts(began: DateTime<Utc>) -> Vec<Alert> {
    (0..ALERTS)
        .map(|n| {
            let name = if (n / SERVICES) % 10 == 9 {
                "Unmatched"
            } else {
                "Down"
            };
            let service = format!("service-{}", n % SERVICES);
            Alert::firing(name, &service, began).label("instance", &n.to_string())
        })
        .collect()
}

async fn ids(pool: &PgPool, query: &'static str) -> Result<BTreeSet<Uuid>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(query).fetch_all(pool).await?;
    Ok(ids.into_iter().collect())
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    decided: BTreeSet<Uuid>,
    incidents: BTreeSet<Uuid>,
    actions: BTreeSet<Uuid>,
    episodes: BTreeSet<Uuid>,
}

async fn outcome(stack: &Stack) -> Result<Outcome> {
    let databases = &stack.databases;
    Ok(Outcome {
        decided: ids(
            &databases.rules.pool,
            "SELECT event_id FROM inbox_events WHERE topic <> 'rule'",
        )
        .await?,
        incidents: ids(&databases.store.pool, "SELECT incident_id FROM incidents").await?,
        actions: ids(&databases.store.pool, "SELECT action_id FROM actions").await?,
        episodes: ids(&databases.ingest.pool, "SELECT episode_id FROM alerts").await?,
    })
}

async fn settle(stack: &Stack) {
    wait_for("every incident", async || {
        let found = ids(
            &stack.databases.store.pool,
            "SELECT incident_id FROM incidents",
        )
        .await
        .map_err(|error| error.to_string())?
        .len();
        let decided = ids(
            &stack.databases.rules.pool,
            "SELECT event_id FROM inbox_events WHERE topic <> 'rule'",
        )
        .await
        .map_err(|error| error.to_string())?
        .len();
        if found == SERVICES && decided == ALERTS {
            return Ok(());
        }
        Err(format!("{found} incidents, {decided} decided"))
    })
    .await;
    stack.at_rest().await;
}

#[tokio::test]
async fn a_thousand_alerts_with_one_of_each_pair_killed() -> Result<()> {
    let began = Utc::now();
    let alone = Stack::start(&Setup::default()).await?;
    for body in alerts(began).chunks(50) {
        alone.accept(body).await?;
    }
    settle(&alone).await;

    let mut pair = Stack::start(&Setup::default()).await?;
    let mut second: Vec<Member> = Vec::new();
    for name in ["ingest", "rules", "action-runner", "incident-store"] {
        second.push(pair.another(name)?);
    }
    for member in &second {
        member.ready().await;
    }
    for (turn, body) in alerts(began).chunks(50).enumerate() {
        if turn == 10 {
            pair.rules.kill()?;
            pair.runner.kill()?;
            pair.store.kill()?;
            pair.ingest.kill()?;
        }
        let posted = body.to_vec();
        let ingest = if turn % 2 == 0 && turn < 10 {
            &pair.ingest
        } else {
            &second[0]
        };
        let status =
            eventpulse_tests::stack::post(ingest, &eventpulse_tests::webhook::body(&posted))
                .await?;
        anyhow::ensure!(status.is_success(), "{status}");
    }
    settle(&pair).await;
    assert_eq!(outcome(&pair).await?, outcome(&alone).await?);
    Ok(())
}

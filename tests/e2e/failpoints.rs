//! Each service dies at each named point, once, with the whole system around it, and comes back:
//! nothing is lost, and nothing is done twice.

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use eventpulse_tests::{
    App, Stack,
    app::Change,
    stack::{Setup, try_post},
    webhook::{Alert, body},
};
use service_kit::testing::wait_for;

/// Of the kit, where something is written to the outbox.
const RELAY: [&str; 4] = ["relay.sending", "relay.sent", "relay.acked", "relay.marked"];
/// Of the kit, around the one transaction.
const BATCH: [&str; 4] = [
    "batch.claimed",
    "batch.saved",
    "batch.written",
    "batch.committed",
];
/// Of the kit, after that transaction, where its input came from a topic.
const CONSUMER: [&str; 2] = ["consumer.committed", "consumer.stored"];
/// Of the Action Runner: those of an even place are passed when it scales up, the others when it
/// scales down.
const RUNNER: [&str; 5] = [
    "runner.created",
    "runner.stopped",
    "runner.started",
    "runner.removed",
    "runner.reached",
];

/// Arms a point, and starts the service again once it has died there.
async fn die(stack: &mut Stack, name: &str, point: &str, turn: &mut Turn<'_>) -> Result<()> {
    let member = stack.member(name)?;
    member.stop().await?;
    member.restart(&[("EVENTPULSE_FAILPOINT", point.to_owned())])?;
    let posted = turn.alerts();
    let dead = async {
        member.died().await;
        member.restart(&[("EVENTPULSE_FAILPOINT", String::new())])
    };
    // As Alertmanager: again until it is accepted, the service's death included.
    let url = turn.ingest.clone();
    let accepted = wait_for_accepted(&url, &posted);
    let (restarted, ()) = tokio::join!(dead, accepted);
    restarted.with_context(|| format!("{name} at {point}"))
}

async fn wait_for_accepted(ingest: &str, alerts: &[Alert]) {
    let body = body(alerts);
    wait_for("ingest to accept", async || {
        let status = try_post(ingest, &body).await?;
        ensure!(status.is_success(), "{status}");
        Ok(())
    })
    .await;
}

/// What is posted in one turn, and what must come of it.
struct Turn<'a> {
    ingest: String,
    number: usize,
    app: Option<&'a App>,
    posted: Vec<Alert>,
}

impl Turn<'_> {
    fn scales_up(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    fn alerts(&mut self) -> Vec<Alert> {
        let (name, service) = match (&self.app, self.scales_up()) {
            (None, _) => ("Down", format!("service-{}", self.number)),
            (Some(_), true) => ("HighCPU", "app".to_owned()),
            (Some(_), false) => ("LowCPU", "app".to_owned()),
        };
        self.posted = vec![Alert::firing(name, &service, Utc::now())];
        self.posted.clone()
    }

    async fn converges(&self, stack: &Stack) -> Result<()> {
        let Some(app) = self.app else {
            stack.until(self.number + 1, "open").await;
            return Ok(());
        };
        let wanted = if self.scales_up() { 2 } else { 1 };
        wait_for("the replicas", async || app.running(wanted).await).await;
        wait_for("the action to end", async || {
            let actions = stack.runner.get("/api/v1/actions?limit=200").await?;
            let items = actions["items"].as_array().context("items")?;
            let done = items
                .iter()
                .filter(|action| action["status"] == "completed");
            ensure!(done.count() == self.number + 1, "{actions:#}");
            Ok(())
        })
        .await;
        let over: Vec<Alert> = self
            .posted
            .iter()
            .map(|a| a.clone().resolved(Utc::now()))
            .collect();
        wait_for_accepted(&self.ingest, &over).await;
        stack.until(self.number / 2 + 1, "resolved").await;
        Ok(())
    }
}

async fn sweep(name: &str, points: &[&str], app: Option<&App>) -> Result<Stack> {
    let setup = app.map_or_else(Setup::default, |app| Setup {
        project: app.project.clone(),
        timeout: "60s",
        ..Setup::default()
    });
    let mut stack = Stack::start(&setup).await?;
    for (number, point) in points.iter().enumerate() {
        let mut turn = Turn {
            ingest: stack.ingest.url.clone(),
            number,
            app,
            posted: Vec::new(),
        };
        die(&mut stack, name, point, &mut turn).await?;
        turn.converges(&stack).await?;
    }
    stack.at_rest().await;
    stack.once_each().await?;
    Ok(stack)
}

#[tokio::test]
async fn ingest_dies_at_every_point() -> Result<()> {
    let points = [&BATCH[..], &RELAY].concat();
    sweep("ingest", &points, None).await.map(drop)
}

#[tokio::test]
async fn rules_die_at_every_point() -> Result<()> {
    let points = [&BATCH[..], &CONSUMER, &RELAY].concat();
    sweep("rules", &points, None).await.map(drop)
}

#[tokio::test]
async fn the_incident_store_dies_at_every_point() -> Result<()> {
    let points = [&BATCH[..], &CONSUMER].concat();
    sweep("incident-store", &points, None).await.map(drop)
}

#[tokio::test]
async fn the_action_runner_dies_at_every_point() -> Result<()> {
    let app = App::start("true").await?;
    let points = [&RUNNER[..], &BATCH, &CONSUMER, &RELAY].concat();
    let journal = app.journal();
    let _stack = sweep("action-runner", &points, Some(&app)).await?;
    // The same replica, made once each time that the load went up, removed once each time down.
    wait_for("the journal", async || {
        let changes = journal.changes();
        ensure!(changes.len() == points.len(), "{changes:#?}");
        Ok(())
    })
    .await;
    let replica = format!("{}-app-2", app.project);
    for (number, change) in journal.changes().into_iter().enumerate() {
        let made = number.is_multiple_of(2);
        let wanted = if made {
            Change::Created
        } else {
            Change::Removed
        };
        assert_eq!(change, wanted(replica.clone()), "change {number}");
    }
    Ok(())
}

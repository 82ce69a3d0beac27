//! Load comes: the alert, the incident, the second replica, and the incident is over.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    figures::{p95, percent, replicas, seconds, short},
    look::{
        alertmanager,
        docker::Container,
        eventpulse::{Alert, Receipt},
    },
    profile::Step,
    stage::{Missed, Stage},
    teller::{Teller, now},
    traffic::Traffic,
    until::{Link, Seen},
};

/// An alert that has come all the way into Ingest.
#[derive(Debug)]
pub(crate) struct Raised {
    pub(crate) alert: Alert,
    received_at: DateTime<Utc>,
    cpu: f64,
}

/// An incident that Rules opened and Incident Store tells of.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) incident_id: String,
    /// From the webhook's arrival to the row in Incident Store.
    pub(crate) stored_after: Duration,
}

/// Steps 2 to 6. Returns the incident's id.
pub(crate) async fn play(stage: &Stage, teller: &mut Teller) -> Result<String, Missed> {
    let at_start = stage.traffic().await.map_err(Missed::at(Step::Alert))?;
    load_on(stage, teller, Step::Alert, "").await?;
    let raised = stage
        .step(Step::Alert, async || high_cpu(stage).await)
        .await?;
    let opened = stage
        .step(Step::Incident, async || opened(stage, &raised).await)
        .await?;
    teller.say("HighCPU", &told(&raised, &opened));

    let incident = opened.incident_id;
    let second = stage
        .step(Step::Replica, async || {
            second_replica(stage, &incident).await
        })
        .await?;
    let mut servers = BTreeSet::new();
    stage
        .step(Step::ServedBy, async || {
            two_answer(stage, &mut servers).await
        })
        .await?;
    let healthy = second
        .healthy_at
        .zip(second.created)
        .and_then(|(at, from)| (at - from).to_std().ok());
    teller.say(
        "mitigating",
        &format!(
            "1 -> 2 replicas, {} healthy in {}, answering through Traefik",
            second.name,
            healthy.map_or_else(|| "?".to_owned(), seconds)
        ),
    );
    let at_two = stage.traffic().await.map_err(Missed::at(Step::ServedBy))?;

    let cpu = stage
        .step(Step::Resolved, async || resolved(stage, &incident).await)
        .await?;
    let at_end = stage.traffic().await.map_err(Missed::at(Step::Resolved))?;
    teller.say(
        "RESOLVED",
        &format!(
            "CPU {}; {}",
            percent(cpu),
            served(&at_start, &at_two, &at_end)
        ),
    );

    let report = stage.load_off(Step::Resolved).await?;
    teller.say(
        "load off",
        &format!(
            "hey: 0 of {} requests failed, p95 {}",
            report.requests(),
            p95(report.p95)
        ),
    );
    Ok(incident)
}

pub(crate) async fn load_on(
    stage: &Stage,
    teller: &mut Teller,
    step: Step,
    addition: &str,
) -> Result<(), Missed> {
    let cpu = stage.prometheus.cpu().await.map_err(Missed::at(step))?;
    let running = stage.app().await.map_err(Missed::at(step))?.len();
    stage.inputs.load_on().await.map_err(Missed::at(step))?;
    teller.load_on();
    let text = format!(
        "8 req/s, 50 ms CPU each{addition}; app: {}, CPU {} of its limit",
        replicas(running),
        percent(cpu)
    );
    teller.say("load on", &text);
    Ok(())
}

pub(crate) fn told(raised: &Raised, opened: &Opened) -> String {
    format!(
        "{} of limit -> incident {} opened (webhook to stored: {})",
        percent(raised.cpu),
        short(&opened.incident_id),
        seconds(opened.stored_after)
    )
}

/// `HighCPU` fires in Prometheus, is in Alertmanager, and came from there into Ingest.
pub(crate) async fn high_cpu(stage: &Stage) -> Result<Raised, Seen> {
    let cpu = stage.prometheus.cpu().await?;
    let alerts = stage.prometheus.alerts().await?;
    let state = alerts
        .iter()
        .find(|alert| alert.name() == "HighCPU")
        .map_or_else(
            || "is not pending".to_owned(),
            |alert| {
                format!(
                    "is {} since {} s",
                    alert.state,
                    (now() - alert.active_at).num_seconds()
                )
            },
        );
    if !state.starts_with("is firing") {
        let text = format!(
            "HighCPU {state} in Prometheus, CPU {} of limit",
            percent(cpu)
        );
        return Err(Seen::new(Link::Prometheus, text));
    }
    let sent = stage.alertmanager.alerts().await?;
    let sent = sent
        .into_iter()
        .find(|alert| alert.name() == "HighCPU")
        .ok_or_else(|| {
            Seen::new(
                Link::Alertmanager,
                "Prometheus fires HighCPU, Alertmanager has not got it",
            )
        })?;
    let receipts = stage.eventpulse.receipts().await?;
    let receipt = receipts
        .into_iter()
        .find(|receipt| carries(receipt, &sent))
        .ok_or_else(|| {
            Seen::new(
                Link::Ingest,
                "Ingest has no webhook of Alertmanager with this HighCPU",
            )
        })?;
    let kept = stage.eventpulse.alerts().await?;
    let alert = kept
        .into_iter()
        .find(|alert| {
            alert.status == "firing"
                && is_high_cpu(alert)
                && same_time(alert.starts_at, sent.starts_at)
        })
        .ok_or_else(|| Seen::new(Link::Ingest, "Ingest has the webhook and no firing HighCPU"))?;
    Ok(Raised {
        alert,
        received_at: receipt.received_at,
        cpu,
    })
}

fn is_high_cpu(alert: &Alert) -> bool {
    let label = |name| alert.labels.get(name).map(String::as_str);
    label("alertname") == Some("HighCPU") && label("service") == Some("app")
}

/// Alertmanager itself sent it, and the alert in it was made by Prometheus.
fn carries(receipt: &Receipt, sent: &alertmanager::Alert) -> bool {
    let by_alertmanager = receipt
        .user_agent
        .as_deref()
        .is_some_and(|agent| agent.starts_with("Alertmanager/"));
    let alerts = receipt
        .body
        .get("alerts")
        .and_then(|alerts| alerts.as_array());
    by_alertmanager
        && alerts.into_iter().flatten().any(|alert| {
            let text = |name: &str| alert.get(name).and_then(|value| value.as_str());
            let starts_at = text("startsAt").and_then(|at| at.parse().ok());
            text("status") == Some("firing")
                && text("generatorURL") == Some(sent.generator_url.as_str())
                && alert
                    .pointer("/labels/alertname")
                    .and_then(|name| name.as_str())
                    == Some("HighCPU")
                && same_time(starts_at, sent.starts_at)
        })
}

/// Alertmanager's API rounds times.
fn same_time(kept: Option<DateTime<Utc>>, sent: DateTime<Utc>) -> bool {
    kept.is_some_and(|kept| (kept - sent).abs() < TimeDelta::seconds(1))
}

/// Rules say that a rule fired, and Incident Store has the incident.
pub(crate) async fn opened(stage: &Stage, raised: &Raised) -> Result<Opened, Seen> {
    let episode = &raised.alert.episode_id;
    let decisions = stage.eventpulse.decisions(&raised.alert.alert_id).await?;
    let outcomes: Vec<_> = decisions
        .iter()
        .filter(|decision| decision.episode_id.as_ref() == Some(episode))
        .flat_map(|decision| &decision.outcomes)
        .collect();
    if !outcomes.iter().any(|outcome| outcome.outcome == "fired") {
        let said: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                format!(
                    "{}: {}",
                    outcome.rule.as_deref().unwrap_or("engine"),
                    outcome.outcome
                )
            })
            .collect();
        return Err(Seen::new(
            Link::Rules,
            format!("no rule fired; decided: [{}]", said.join(", ")),
        ));
    }
    let incident = stage.incident_of(episode).await?;
    let timeline = stage.eventpulse.timeline(&incident.incident_id).await?;
    let opened = timeline
        .iter()
        .find(|fact| fact.kind == "incident.opened")
        .ok_or_else(|| Seen::new(Link::IncidentStore, "the timeline has no incident.opened"))?;
    let stored_after = (opened.recorded_at - raised.received_at)
        .to_std()
        .unwrap_or_default();
    Ok(Opened {
        incident_id: incident.incident_id,
        stored_after,
    })
}

/// The action is completed and Docker runs two healthy replicas, one of them managed.
async fn second_replica(stage: &Stage, incident: &str) -> Result<Container, Seen> {
    let action = stage.action(incident, 2).await?;
    if action.status != "completed" {
        let text = format!(
            "the action for 2 replicas is {}: {}",
            action.status,
            action.why()
        );
        return Err(Seen::new(Link::ActionRunner, text));
    }
    let status = stage.eventpulse.incident(incident).await?.status;
    if status != "mitigating" && status != "resolved" {
        return Err(Seen::new(
            Link::IncidentStore,
            format!("the incident is {status}, not mitigating"),
        ));
    }
    let app = stage.app().await?;
    let healthy = app.iter().filter(|container| container.healthy).count();
    let second = app
        .into_iter()
        .find(|container| container.managed && container.healthy);
    match second {
        Some(second) if healthy == 2 => Ok(second),
        Some(_) | None => Err(Seen::new(
            Link::App,
            format!("{healthy} healthy containers of app, not 2"),
        )),
    }
}

async fn two_answer(stage: &Stage, servers: &mut BTreeSet<String>) -> Result<(), Seen> {
    servers.insert(stage.served_by().await?);
    if servers.len() > 1 {
        return Ok(());
    }
    Err(Seen::new(
        Link::Traefik,
        "every answer through Traefik comes from the same replica",
    ))
}

/// The incident is over because its alert cleared, under load, with both replicas running.
async fn resolved(stage: &Stage, incident: &str) -> Result<f64, Seen> {
    let cpu = stage.prometheus.cpu().await?;
    let found = stage.eventpulse.incident(incident).await?;
    if !found.is_over() {
        let text = format!(
            "the incident is {}, CPU {} of limit",
            found.status,
            percent(cpu)
        );
        return Err(Seen::new(Link::Prometheus, text));
    }
    if found.reason_code() != "alerts_cleared" {
        let text = format!("the incident is resolved, because: {}", found.reason_code());
        return Err(Seen::new(Link::Rules, text));
    }
    let healthy = stage
        .app()
        .await?
        .iter()
        .filter(|container| container.healthy)
        .count();
    if healthy == 2 {
        Ok(cpu)
    } else {
        Err(Seen::new(
            Link::App,
            format!("resolved with {healthy} healthy replicas, not 2"),
        ))
    }
}

/// Traefik's count of the requests so far, and their time to answer with one and with two replicas.
fn served(at_start: &Traffic, at_two: &Traffic, at_end: &Traffic) -> String {
    let all = at_end.since(at_start);
    format!(
        "{} of {} requests failed; p95 {} -> {}",
        all.failed,
        all.requests,
        p95(at_two.since(at_start).p95()),
        p95(at_end.since(at_two).p95())
    )
}

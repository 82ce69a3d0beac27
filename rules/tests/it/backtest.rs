//! The recorded past, decided again in memory.

use std::{collections::hash_map::Entry, sync::Arc};

use anyhow::Result;
use rules::{
    backtest::{
        Assume, Decision, DifferenceKind, Message, Order, Recorded, Report, Tried, Window, replay,
        report,
    },
    domain::RuleSet,
    files::{Source, Sources, compile},
    service::Input,
};
use service_kit::{Work, batch::Intake};
use shared_events::{
    ActionEvent,
    action::ActionRequested,
    codec::{self, Contract},
};

use crate::{
    replay::live_through,
    story::completed,
    support::{Engine, RULES, TARGETS, policy, record, timer_work},
    timers,
};

fn rules(text: &str) -> Result<Arc<RuleSet>> {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        rules: source("rules.yaml", text),
        targets: source("targets.yaml", TARGETS),
    };
    Ok(Arc::new(compile(&sources, policy())?))
}

/// What an engine decided on several connections at once, with what the topics hold of it.
async fn past(engine: &Engine) -> Result<Recorded> {
    let mut known = live_through(engine).await?;
    let last: ActionEvent = completed(&timers::requested(engine).await?, 400);
    let input = Input::Action(Arc::new(last.clone()));
    let last = record(&last, "/action-runner/two", (999, 999), input);
    // it may have ended long before
    if let Entry::Vacant(free) = known.entry(last.id) {
        engine.handle(Intake::local(vec![last.clone()])).await?;
        free.insert(last);
    }
    // commands may have come before there was any timer
    let first = engine.timers().await?.into_iter().take(1);
    let first: Vec<Work<Input>> = first.map(|timer| timer_work(&timer)).collect();
    engine.local(first).await?;
    let mut offset = 0;
    let mut place = |event| {
        offset += 1;
        Message {
            partition: 0,
            offset,
            event,
        }
    };
    let mut messages = Vec::new();
    for work in known.values() {
        match &work.input {
            Input::Alert(event) => messages.push(place((**event).clone().into())),
            Input::Action(event) => messages.push(place((**event).clone().into())),
            Input::Timer(_)
            | Input::Command(_)
            | Input::Activate(_)
            | Input::Changed(_)
            | Input::Propose(_) => {}
        }
    }
    for action in requested(engine).await? {
        messages.push(place(ActionEvent::from(action).into()));
    }
    let rows = engine
        .rows(
            "SELECT input_id AS event_id, input, alert_id, episode_id, incident_id, correlation_key,
                    seq, at, rules_hash AS rules_version, read AS state, outcomes, emitted, detail
             FROM decisions_log ORDER BY id",
        )
        .await?;
    let decisions: Result<Vec<Decision>, _> =
        rows.into_iter().map(serde_json::from_value).collect();
    Ok(Recorded {
        messages,
        decisions: decisions?,
        until: None,
    })
}

async fn requested(engine: &Engine) -> Result<Vec<ActionRequested>> {
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM outbox_events WHERE event_type = 'action.requested' ORDER BY id",
    )
    .fetch_all(&engine.database.pool)
    .await?;
    let schema = codec::contract("action.requested").map(Contract::dataschema);
    let writer = codec::writer(&schema.unwrap_or_default());
    let writer = writer.ok_or_else(|| anyhow::anyhow!("not compiled in"))?;
    let decode = |payload: Vec<u8>| codec::decode("action.requested", &writer, &payload);
    Ok(payloads.into_iter().map(decode).collect::<Result<_, _>>()?)
}

fn tried(past: &Recorded, text: &str, assume: Assume) -> Result<Report> {
    let set = rules(text)?;
    let hash = set.hash.clone();
    let replayed = replay(past, &Tried::throughout(set), assume, &mut |_, _| {});
    Ok(report(&past.decisions, replayed, &hash, Window::default()))
}

#[tokio::test]
async fn unchanged_rules_decide_the_past_byte_for_byte() -> Result<()> {
    let engine = Engine::fresh().await?;
    let past = past(&engine).await?;
    let again = tried(&past, RULES, Assume::Recorded)?;
    assert_eq!(again.order, Order::Recorded);
    assert!(again.then > 100, "{} decisions", again.then);
    let of = |family: &str| {
        let of = past.decisions.iter();
        of.filter(|made| made.input.starts_with(family)).count()
    };
    for family in ["alert.", "action.", "timer.", "command.", "rules."] {
        assert!(of(family) > 0, "no {family} in the past");
    }
    assert!(again.is_identical(), "{:#?}", again.differences);
    assert_eq!(again.assumed, []);
    for assume in [Assume::Completed, Assume::Failed] {
        assert!(tried(&past, RULES, assume)?.is_identical());
    }
    Ok(())
}

#[tokio::test]
async fn other_rules_show_what_would_differ() -> Result<()> {
    let engine = Engine::fresh().await?;
    let past = past(&engine).await?;
    let wants_three = RULES.replace("replicas: 2, direction: up", "replicas: 3, direction: up");
    let one = tried(&past, &wants_three, Assume::Failed)?;
    assert!(!one.assumed.is_empty(), "three were never asked for");
    assert!(
        one.assumed
            .iter()
            .all(|assumed| assumed.ended == "action.failed")
    );
    assert!(one.changed > 0 && one.identical > 0, "{:?}", one.table);
    let two = tried(&past, &wants_three, Assume::Failed)?;
    assert_eq!(serde_json::to_string(&one)?, serde_json::to_string(&two)?);
    let completed = tried(&past, &wants_three, Assume::Completed)?;
    assert_ne!(
        serde_json::to_string(&one)?,
        serde_json::to_string(&completed)?
    );

    let silent = RULES.replace("alertname=\"Down\"", "alertname=\"Nothing\"");
    let silent = tried(&past, &silent, Assume::Recorded)?;
    let of_down = |then: bool| -> usize {
        let rows = silent.table.iter();
        let rows = rows.filter(|row| row.rule.as_deref() == Some("down"));
        rows.map(|row| if then { row.then } else { row.now }).sum()
    };
    assert!(of_down(true) > 0);
    assert_eq!(of_down(false), 0);
    Ok(())
}

#[tokio::test]
async fn without_the_recorded_order_it_is_estimated() -> Result<()> {
    let engine = Engine::fresh().await?;
    let mut past = past(&engine).await?;
    let mut then = std::mem::take(&mut past.decisions);
    let estimated = tried(&past, RULES, Assume::Recorded)?;
    assert_eq!(estimated.order, Order::Estimated);
    assert_eq!(estimated.then, 0);
    assert_eq!(estimated.now, estimated.more);
    let kinds = estimated.differences.iter().map(|found| found.kind);
    assert!(kinds.clone().count() > 100);
    assert!(kinds.clone().all(|kind| kind == DifferenceKind::More));
    let fired = |table: &[rules::backtest::TableRow]| {
        let fired = table.iter().filter(|row| row.outcome == "fired");
        fired.map(|row| row.now).sum::<usize>()
    };
    assert!(fired(&estimated.table) > 0);

    // the first hour was pruned: what is before it is estimated, the rest has its order
    past.decisions = then.split_off(then.len() / 2);
    let partly = tried(&past, RULES, Assume::Recorded)?;
    assert_eq!(partly.order, Order::PartlyEstimated);
    Ok(())
}

//! How long a backtest of a generated past takes: `cargo run --release -p rules --example
//! backtest_speed [EVENTS]`.

use std::{sync::Arc, time::Instant};

use chrono::TimeDelta;
use rules::{
    backtest::{Assume, Message, Recorded, Tried, Window, replay, report},
    domain::Policy,
    files::{Source, Sources, compile},
};
use shared_events::{
    AlertEvent, AlertId, EpisodeId, Labels, Timestamp,
    alert::{AlertRaised, AlertResolved, ResolveReason},
};

const RULES: &str = include_str!("../../demo/config/rules/fast/rules.yaml");
const SERVICES: i64 = 200;

fn main() {
    let wanted = std::env::args().nth(1).map(|count| count.parse());
    let wanted: usize = wanted.transpose().expect("a number").unwrap_or(100_000);
    let targets: String = (0..SERVICES)
        .map(|n| format!("- {{name: s{n}, min_replicas: 1, max_replicas: 3}}\n"))
        .collect();
    let sources = Sources {
        rules: Source {
            name: "rules.yaml".to_owned(),
            text: RULES.to_owned(),
        },
        targets: Source {
            name: "targets.yaml".to_owned(),
            text: format!("version: 1\ntargets:\n{targets}"),
        },
    };
    let policy = Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(15),
    };
    let rules = Arc::new(compile(&sources, policy).expect("valid rules"));
    let tried = Tried::throughout(Arc::clone(&rules));
    let mut past = Recorded {
        messages: messages(wanted),
        decisions: Vec::new(),
        until: None,
    };
    // the first run makes the log that the second one has to reproduce
    let first = Instant::now();
    let made = replay(&past, &tried, Assume::Completed, &mut |_, _| {});
    println!(
        "estimated order: {wanted} events, {} decisions in {:?}",
        made.decisions.len(),
        first.elapsed()
    );
    past.decisions = made.decisions;
    let second = Instant::now();
    let again = replay(&past, &tried, Assume::Completed, &mut |_, _| {});
    let found = report(&past.decisions, again, &rules.hash, Window::default());
    println!(
        "recorded order, compared: {} of {} decisions identical, {} lost inputs, in {:?}",
        found.identical,
        found.then,
        found.lost_inputs,
        second.elapsed()
    );
}

/// Alerts of many services that fire, fire on, and clear.
fn messages(wanted: usize) -> Vec<Message> {
    let start = Timestamp::from_timestamp(1_700_000_000, 0).expect("a time");
    let turns = i64::try_from(wanted).expect("few");
    let event = |turn: i64| -> AlertEvent {
        let (service, round) = (turn % SERVICES, turn / SERVICES);
        let (number, phase) = (round / 5 + 1, round % 5);
        let labels: Labels = [
            ("alertname".to_owned(), "HighCPU".to_owned()),
            ("service".to_owned(), format!("s{service}")),
            ("severity".to_owned(), "warning".to_owned()),
        ]
        .into();
        let alert_id = AlertId::of("demo", &labels);
        let at = start + TimeDelta::milliseconds(turn * 50);
        let episode_id = EpisodeId::of(alert_id, number, start);
        let annotations: Labels = [("value".to_owned(), "0.84".to_owned())].into();
        if phase == 4 {
            return AlertResolved {
                alert_id,
                episode_id,
                at,
                reason: ResolveReason::Notified,
                source: "demo".to_owned(),
                labels,
                annotations,
                starts_at: None,
                ends_at: Some(at),
            }
            .into();
        }
        AlertRaised {
            alert_id,
            episode_id,
            occurrence: phase + 1,
            at,
            source: "demo".to_owned(),
            labels,
            annotations,
            starts_at: None,
            ends_at: None,
            reopens: None,
            generator_url: None,
            fingerprint: None,
            receipt_id: None,
        }
        .into()
    };
    (0..turns)
        .map(|turn| Message {
            partition: i32::try_from(turn % 6).expect("few"),
            offset: turn / 6,
            event: event(turn).into(),
        })
        .collect()
}

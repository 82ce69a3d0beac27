//! How incidents open, are joined, and close.

use std::ops::RangeInclusive;

use chrono::TimeDelta;
use shared_events::{
    IncidentEvent,
    alert::{AlertEvent, ResolveReason},
    incident::{AlertStatus, ReasonCode},
};

use super::world::{World, episode, place, raised, resolved};
use crate::domain::{Correlation, Phase, Verb};

const KEY: &str = "service=app";

fn resolved_as(world: &World) -> (ReasonCode, String) {
    match world.last_incident_event() {
        IncidentEvent::Resolved(event) => (event.reason_code.clone(), event.reason_message.clone()),
        other => panic!("not resolved: {other:?}"),
    }
}

#[test]
fn an_alert_opens_an_incident_and_its_end_closes_it() {
    let mut world = World::new();
    assert_eq!(world.raise("CPUDataMissing", "app"), ["fired"]);
    assert_eq!(world.types_since(0), ["incident.opened"]);
    let IncidentEvent::Opened(opened) = world.last_incident_event().clone() else {
        panic!("not opened");
    };
    assert_eq!(opened.correlation_key, KEY);
    assert_eq!(opened.title, "CPUDataMissing: 84 %");
    assert_eq!(opened.service.as_deref(), Some("app"));
    assert_eq!(opened.rule.as_deref(), Some("cpu-data-missing"));
    world.wait(95);
    assert_eq!(world.resolve("CPUDataMissing", "app"), ["cleared"]);
    let message = "CPUDataMissing cleared 1 min 35 s after the incident opened".to_owned();
    assert_eq!(resolved_as(&world), (ReasonCode::AlertsCleared, message));
    assert_eq!(world.incident(KEY).phase, Phase::Closed);
    assert!(world.timers.is_empty());
}

#[test]
fn a_second_alert_joins_and_both_must_clear() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    let again = raised("CPUDataMissing", "app", 2, 1, world.now);
    assert_eq!(world.alert(&again), ["already_open"]);
    assert_eq!(world.types_since(1), ["incident.updated"]);
    world.resolve("CPUDataMissing", "app");
    assert_eq!(world.types_since(2), ["incident.updated"]);
    let IncidentEvent::Updated(updated) = world.last_incident_event() else {
        panic!("not updated");
    };
    let statuses: Vec<_> = updated.alerts.iter().map(|alert| &alert.status).collect();
    assert_eq!(statuses, [&AlertStatus::Firing, &AlertStatus::Resolved]);
    let end = resolved("CPUDataMissing", "app", 2, world.now);
    world.alert(&end);
    assert_eq!(world.types_since(3), ["incident.resolved"]);
}

#[test]
fn still_firing_changes_nothing() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    let before = world.correlations[KEY].memory.clone();
    assert_eq!(
        world.raise_again("CPUDataMissing", "app", 2),
        ["already_open"]
    );
    assert_eq!(world.correlations[KEY].memory, before);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn an_alert_that_no_rule_means_is_logged_under_its_topic_key() {
    let mut world = World::new();
    assert!(world.raise("DiskFull", "app").is_empty());
    assert_eq!(world.correlations["app"].decisions, 1);
    assert!(world.events.is_empty());
}

#[test]
fn attach_joins_the_current_incident_or_the_latest_or_nothing() {
    let mut world = World::new();
    assert_eq!(world.raise("LowCPU", "app"), ["nothing_to_attach"]);
    world.resolve("LowCPU", "app");
    world.raise("CPUDataMissing", "app");
    world.resolve("CPUDataMissing", "app");
    let before = world.events.len();
    let again = raised("LowCPU", "app", 2, 1, world.now);
    assert_eq!(world.alert(&again), ["fired"]);
    assert_eq!(
        world.types_since(before),
        ["action.requested", "incident.updated"]
    );
    assert_eq!(world.incident(KEY).phase, Phase::Closed);
    assert!(world.incident(KEY).alerts.iter().any(|alert| !alert.holds));
}

#[test]
fn what_is_attached_never_holds() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    let attached = raised("LowCPU", "app", 1, 1, world.now);
    world.alert(&attached);
    world.completed(1);
    world.resolve("CPUDataMissing", "app");
    assert_eq!(resolved_as(&world).0, ReasonCode::AlertsCleared);
}

#[test]
fn born_closed_opens_and_resolves_without_an_action() {
    let mut world = World::new();
    let AlertEvent::Raised(mut alert) = raised("HighCPU", "app", 1, 1, world.now) else {
        panic!("not raised");
    };
    alert.ends_at = Some(world.now);
    assert_eq!(world.alert(&alert.into()), ["already_over"]);
    assert_eq!(
        world.types_since(0),
        ["incident.opened", "incident.resolved"]
    );
    assert_eq!(resolved_as(&world).0, ReasonCode::AlreadyOver);
    assert_eq!(world.resolve("HighCPU", "app"), ["cleared"]);
    assert_eq!(world.events.len(), 2);
}

#[test]
fn a_firing_that_comes_after_its_end_gets_its_incident_without_an_action() {
    let mut world = World::new();
    assert_eq!(world.resolve("HighCPU", "app"), ["cleared"]);
    assert_eq!(world.raise("HighCPU", "app"), ["already_over"]);
    assert_eq!(
        world.types_since(0),
        ["incident.opened", "incident.resolved"]
    );
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["already_over"]);
    assert_eq!(world.events.len(), 2);
}

#[test]
fn an_episode_belongs_to_one_incident_for_ever() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    world.resolve("CPUDataMissing", "app");
    let next = raised("CPUDataMissing", "app", 2, 1, world.now);
    world.alert(&next);
    let first = world.events.len();
    assert_eq!(
        world.raise_again("CPUDataMissing", "app", 2),
        ["already_over"]
    );
    assert_eq!(world.events.len(), first);
}

#[test]
fn a_silent_end_says_no_news() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    let AlertEvent::Resolved(mut end) = resolved("CPUDataMissing", "app", 1, world.now) else {
        panic!("not resolved");
    };
    end.reason = ResolveReason::Silent;
    world.alert(&end.into());
    assert_eq!(resolved_as(&world).0, ReasonCode::NoNews);
}

#[test]
fn the_highest_severity_holds() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    let AlertEvent::Raised(mut alert) = raised("CPUDataMissing", "app", 2, 1, world.now) else {
        panic!("not raised");
    };
    alert
        .labels
        .insert("severity".to_owned(), "critical".to_owned());
    world.alert(&alert.into());
    assert_eq!(world.incident(KEY).severity.as_deref(), Some("critical"));
    let end = resolved("CPUDataMissing", "app", 2, world.now);
    world.alert(&end);
    assert_eq!(world.incident(KEY).severity.as_deref(), Some("warning"));
}

#[test]
fn rules_with_other_labels_correlate_elsewhere() {
    let mut world = World::with_rules(
        r#"
version: 1
rules:
- {name: per-service, matchers: ['alertname="X"'], group_by: [service], incident: open}
- {name: per-severity, matchers: ['alertname=~"X|Y"'], group_by: [service, severity], incident: open}
"#,
    );
    assert_eq!(world.raise("X", "app"), ["fired", "fired"]);
    let keys: Vec<&String> = world.correlations.keys().collect();
    assert_eq!(keys, ["service=app", "service=app,severity=warning"]);
    world.resolve("X", "app");
    assert_eq!(world.events.len(), 4);
}

/// The rules changed while an alert fired: it stays where it is, and its end still counts.
#[test]
fn an_alert_that_no_rule_means_any_more_still_lets_go() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    world.rules = World::with_rules("{version: 1, rules: []}").rules;
    assert!(world.raise_again("CPUDataMissing", "app", 2).is_empty());
    assert_eq!(world.resolve("CPUDataMissing", "app"), ["cleared"]);
    assert_eq!(resolved_as(&world).0, ReasonCode::AlertsCleared);
}

#[test]
fn attach_before_open_for_the_same_alert_still_opens() {
    let mut world = World::with_rules(
        r#"
version: 1
rules:
- {name: joins, matchers: ['alertname="X"'], group_by: [service], incident: attach}
- {name: opens, matchers: ['alertname="X"'], group_by: [service], incident: open}
"#,
    );
    assert_eq!(world.raise("X", "app"), ["nothing_to_attach", "fired"]);
    world.resolve("X", "app");
    let again = raised("X", "app", 2, 1, world.now);
    assert_eq!(world.alert(&again), ["attached", "fired"]);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
}

#[test]
fn long_lists_of_alerts_are_cut_for_the_wire_and_bounded_in_memory() {
    let mut world = World::new();
    for number in 1..=250 {
        let alert = raised("CPUDataMissing", "app", number, 1, world.now);
        world.alert(&alert);
    }
    for number in 1..=240 {
        let end = resolved("CPUDataMissing", "app", number, world.now);
        world.alert(&end);
    }
    let alert = raised("CPUDataMissing", "app", 251, 1, world.now);
    world.alert(&alert);
    let IncidentEvent::Updated(updated) = world.last_incident_event() else {
        panic!("not updated");
    };
    assert_eq!(updated.alerts.len(), 100);
    let newest = episode("CPUDataMissing", "app", 251).1;
    assert!(
        updated
            .alerts
            .iter()
            .any(|alert| alert.episode_id == newest)
    );
    assert!(world.correlations[KEY].memory.over.len() <= 64);
}

/// More of them than are remembered of what has ended: each comes again with its next repeat.
#[test]
fn what_fires_on_after_its_incident_was_closed_opens_no_other() {
    let mut world = World::new();
    let fire = |world: &mut World, numbers: RangeInclusive<i64>, occurrence| {
        for number in numbers {
            let alert = raised("CPUDataMissing", "app", number, occurrence, world.now);
            world.alert(&alert);
        }
    };
    fire(&mut world, 1..=100, 1);
    let closed = world.incident(KEY).id;
    world.command(Verb::Close {
        incident_id: closed,
    });
    fire(&mut world, 101..=101, 1);
    let opened = world.incident(KEY).id;
    assert_ne!(opened, closed);
    fire(&mut world, 1..=100, 2);
    assert_eq!(world.incident(KEY).id, opened);
    assert_eq!(world.incident(KEY).alerts.len(), 1, "none of them joins");
    let end = resolved("CPUDataMissing", "app", 101, world.now);
    world.alert(&end);
    fire(&mut world, 1..=100, 3);
    assert_eq!(world.incident(KEY).phase, Phase::Closed);
    for number in 1..=100 {
        let end = resolved("CPUDataMissing", "app", number, world.now);
        world.alert(&end);
    }
    assert!(world.correlations[KEY].memory.over.len() <= 64);
}

#[test]
fn a_place_in_the_order_of_a_key_is_remembered() {
    let mut correlation = Correlation::new(KEY);
    assert!(!correlation.has_seen(&place(3)));
    correlation.see(&place(3));
    assert!(correlation.has_seen(&place(2)));
    assert!(!correlation.has_seen(&place(4)));
    let mut other = place(1);
    other.source = "/ingest/two".to_owned();
    assert!(!correlation.has_seen(&other));
}

#[test]
fn spans_read_well() {
    use crate::domain::sentence::span;
    let spans = [0, 35, 160, 3600, 3900].map(|seconds| span(TimeDelta::seconds(seconds)));
    assert_eq!(spans, ["0 s", "35 s", "2 min 40 s", "1 h", "1 h 5 min"]);
}

//! Whether and how a rule acts.

use shared_events::{
    IncidentEvent,
    action::{ActionKind, Direction},
};

use super::world::{World, raised};
use crate::domain::{Busy, Verb};

const KEY: &str = "service=app";

const STEPS: &str = r#"
version: 1
rules:
- name: grow
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  when: double(annotations.value) > 0.8 && (replicas == null || replicas < 3)
  action: {scale_docker: {step: 1}, timeout: 60s, cooldown: 2m, verify_within: 3m}
- name: shrink
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {scale_docker: {step: -1}, timeout: 60s, cooldown: 2m}
"#;

#[test]
fn an_open_rule_with_an_action_opens_and_asks() {
    let mut world = World::new();
    assert_eq!(world.raise("HighCPU", "app"), ["fired"]);
    assert_eq!(
        world.types_since(0),
        ["incident.opened", "action.requested", "incident.updated"]
    );
    let action = world.last_requested();
    assert_eq!(action.kind, ActionKind::ScaleDocker);
    assert_eq!(
        (action.target.as_str(), action.desired_replicas),
        ("app", 2)
    );
    assert_eq!(action.direction, Direction::Up);
    assert_eq!(action.previous_replicas, None);
    assert_eq!((action.deadline_at - action.at).num_seconds(), 60);
    assert_eq!(action.verify_within_ms, Some(240_000));
    assert_eq!(
        action
            .cooldown_until
            .map(|until| (until - action.at).num_seconds()),
        Some(300)
    );
    assert_eq!(action.correlation_key, KEY);
    let timeout = world.timers.values().next().expect("a time-out is set");
    assert_eq!((timeout.due - action.at).num_seconds(), 75);
    let IncidentEvent::Updated(updated) = world.last_incident_event() else {
        panic!("not updated");
    };
    assert_eq!(updated.next_due_at, Some(timeout.due));
}

#[test]
fn while_an_action_is_pending_no_other_is_asked_for() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["action_pending"]);
    assert_eq!(world.raise("LowCPU", "app"), ["action_pending"]);
    assert_eq!(world.requested().len(), 1);
    let waiting = &world.targets["app"].waiting;
    assert!(waiting.contains(KEY), "{waiting:?}");
}

#[test]
fn the_end_of_an_action_wakes_what_waits_for_its_target() {
    let mut world = World::with_rules(&format!(
        "{STEPS}- {{name: other, matchers: ['alertname=\"Other\"'], group_by: [service, severity], incident: open,\n   action: {{scale_docker: {{replicas: 3, direction: up}}}}}}\n"
    ));
    world.raise("HighCPU", "app");
    assert_eq!(world.raise("Other", "app"), ["action_pending"]);
    world.completed(2);
    assert!(world.targets["app"].waiting.is_empty());
    assert_eq!(world.fire_next(), ["fired"]);
    let action = world.last_requested();
    assert_eq!(action.correlation_key, "service=app,severity=warning");
    assert_eq!(
        (action.previous_replicas, action.desired_replicas),
        (Some(2), 3)
    );
}

#[test]
fn at_the_wanted_count_nothing_is_asked_for() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.completed(2);
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["at_limit"]);
    assert_eq!(world.requested().len(), 1);
}

#[test]
fn more_than_wanted_satisfies_at_least_and_fewer_satisfies_at_most() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.completed(3);
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["at_limit"]);
    assert_eq!(world.raise("LowCPU", "app"), ["fired"]);
    world.completed(1);
    assert_eq!(world.raise_again("LowCPU", "app", 2), ["at_limit"]);
}

#[test]
fn within_the_cooldown_the_incident_opens_and_the_action_waits_for_its_end() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.completed(2);
    world.resolve("HighCPU", "app");
    world.raise("LowCPU", "app");
    world.completed(1);
    world.resolve("LowCPU", "app");
    world.wait(60);
    let before = world.events.len();
    let again = raised("HighCPU", "app", 2, 1, world.now);
    assert_eq!(world.alert(&again), ["cooldown"]);
    assert_eq!(
        world.types_since(before),
        ["incident.opened", "incident.updated"]
    );
    let recheck = world
        .timers
        .values()
        .next()
        .expect("a recheck is set")
        .clone();
    let first = world.requested()[0].at;
    assert_eq!((recheck.due - first).num_seconds(), 300);
    assert_eq!(world.fire_next(), ["fired"]);
    assert_eq!(world.requested().len(), 3);
}

#[test]
fn a_recheck_after_the_alert_has_cleared_is_taken_back() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.completed(2);
    world.resolve("HighCPU", "app");
    world.raise("LowCPU", "app");
    world.completed(1);
    world.resolve("LowCPU", "app");
    let again = raised("HighCPU", "app", 2, 1, world.now);
    world.alert(&again);
    assert!(world.timer_names().contains("timer.recheck"));
    let end = super::world::resolved("HighCPU", "app", 2, world.now);
    world.alert(&end);
    assert!(world.timers.is_empty(), "{:?}", world.timers);
}

#[test]
fn relative_steps_are_made_absolute_from_the_known_count_and_clamped() {
    let mut world = World::with_rules(STEPS);
    world.raise("HighCPU", "app");
    assert_eq!(
        world.last_requested().desired_replicas,
        2,
        "from min_replicas"
    );
    world.completed(2);
    world.wait(120);
    assert_eq!(world.fire_next(), ["fired"], "verify takes the next step");
    assert_eq!(world.last_requested().desired_replicas, 3);
    world.completed(3);
    world.wait(120);
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["condition_false"]);
    assert_eq!(world.requested().len(), 2);
}

#[test]
fn a_step_down_from_an_unknown_count_begins_at_the_upper_bound() {
    let mut world = World::with_rules(STEPS);
    world.raise("HighCPU", "app");
    world.failed(shared_events::action::FailureReason::OutOfBounds);
    world.resolve("HighCPU", "app");
    assert_eq!(world.raise("LowCPU", "app"), ["fired"]);
    let action = world.last_requested();
    assert_eq!(
        (action.desired_replicas, action.direction),
        (2, Direction::Down)
    );
}

#[test]
fn a_condition_that_cannot_be_told_counts_as_false_and_says_so() {
    let mut world = World::with_rules(&STEPS.replace("annotations.value", "annotations.load"));
    assert_eq!(world.raise("HighCPU", "app"), ["condition_false"]);
    assert!(world.events.is_empty());
}

#[test]
fn without_a_declared_target_the_incident_opens_and_the_answer_names_the_file() {
    let mut world = World::new();
    assert_eq!(world.raise("HighCPU", "unknown"), ["no_target"]);
    assert_eq!(world.types_since(0), ["incident.opened"]);
}

#[test]
fn of_two_rules_that_want_one_target_the_first_wins() {
    let both = r#"
version: 1
rules:
- {name: first, matchers: ['alertname="X"'], group_by: [service], incident: open, action: {scale_docker: {replicas: 2, direction: up}}}
- {name: second, matchers: ['alertname="X"'], group_by: [service], incident: open, action: {scale_docker: {replicas: 3, direction: up}}}
"#;
    let mut world = World::with_rules(both);
    assert_eq!(world.raise("X", "app"), ["fired", "action_pending"]);
    let busy = world.targets["app"].pending.clone();
    assert!(matches!(busy, Some(Busy { rule, desired: 2, .. }) if rule == "first"));
    world.completed(2);
    assert_eq!(world.fire_next(), ["at_limit", "fired"]);
    assert_eq!(world.last_requested().rule, "second");
}

#[test]
fn while_paused_incidents_open_and_nothing_is_asked_for() {
    let mut world = World::new();
    let target = "app".to_owned();
    world.command(Verb::Pause {
        target: target.clone(),
        until: None,
    });
    assert_eq!(world.raise("HighCPU", "app"), ["paused"]);
    assert_eq!(world.types_since(1), ["incident.opened"]);
    world.command(Verb::Resume { target });
    assert_eq!(world.fire_next(), ["fired"]);
}

#[test]
fn a_pause_of_everything_ends_by_itself() {
    let mut world = World::new();
    let until = Some(world.now + chrono::TimeDelta::minutes(10));
    world.command(Verb::Pause {
        target: "*".to_owned(),
        until,
    });
    assert_eq!(world.raise("HighCPU", "shop"), ["paused"]);
    let recheck = world.timers.values().next().expect("a recheck is set");
    assert_eq!(Some(recheck.due), until);
    assert_eq!(world.fire_next(), ["fired"]);
}

//! At most so many actions an hour; a person closes what opened.

use shared_events::action::FailureReason;

use super::world::World;
use crate::domain::{Answer, Outcome, Verb};

const RULES: &str = r#"
version: 1
limits: {actions_per_hour: 3, actions_per_hour_per_target: 2}
rules:
- name: grow
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action: {scale_docker: {replicas: 2, direction: up}, timeout: 60s}
"#;

/// One action that changes nothing, `occurrence` times from `first` on.
fn act(world: &mut World, service: &str, occurrences: std::ops::RangeInclusive<i64>) {
    for occurrence in occurrences {
        world.wait(60);
        let codes = world.raise_again("HighCPU", service, occurrence);
        assert_eq!(codes, ["fired"], "{service} {occurrence}");
        world.completed(1);
    }
}

fn close(target: &str) -> Verb {
    Verb::CloseLimit {
        target: target.to_owned(),
    }
}

#[test]
fn the_action_that_would_be_too_many_opens_the_breaker() {
    let mut world = World::with_rules(RULES);
    act(&mut world, "app", 1..=2);
    let before = (world.requested().len(), world.timers.len());
    assert_eq!(world.raise_again("HighCPU", "app", 3), ["limit_reached"]);
    let opened = world.targets["app"].budget.opened.clone().expect("open");
    assert_eq!(
        opened.reason,
        "2 actions on app within an hour, and 2 are allowed"
    );
    // time alone does not close it, and nothing looks again by itself
    world.wait(3 * 3600);
    assert_eq!(world.raise_again("HighCPU", "app", 4), ["limit_reached"]);
    assert_eq!((world.requested().len(), world.timers.len()), before);
    assert_eq!(world.targets["app"].budget.opened, Some(opened));
}

#[test]
fn an_hour_later_an_action_counts_no_more() {
    let mut world = World::with_rules(RULES);
    act(&mut world, "app", 1..=2);
    world.wait(3600);
    act(&mut world, "app", 3..=4);
}

#[test]
fn a_person_closes_it_and_what_waited_is_decided_again() {
    let mut world = World::with_rules(RULES);
    act(&mut world, "app", 1..=2);
    assert_eq!(world.raise_again("HighCPU", "app", 3), ["limit_reached"]);
    assert_eq!(world.command(close("shop")), ["refused"]);
    assert!(matches!(world.answer, Some(Answer::Unknown { .. })));
    assert_eq!(world.command(close("app")), ["obeyed"]);
    assert_eq!(world.fire_next(), ["fired"]);
    assert_eq!(world.targets["app"].budget.asked.len(), 1);
}

#[test]
fn the_limit_of_all_targets_holds_every_one_back() {
    let mut world = World::with_rules(RULES);
    act(&mut world, "app", 1..=2);
    act(&mut world, "shop", 1..=1);
    assert_eq!(world.raise_again("HighCPU", "shop", 2), ["limit_reached"]);
    assert!(world.targets["shop"].budget.opened.is_none());
    assert!(world.total.opened.is_some());
    let incident_id = world.incident("service=shop").id;
    assert_eq!(
        world.command(Verb::Retry { incident_id }),
        ["limit_reached", "refused"]
    );
    let refused = matches!(
        &world.answer,
        Some(Answer::Refused {
            outcome: Outcome::LimitReached,
            ..
        })
    );
    assert!(refused, "{:?}", world.answer);
    assert_eq!(world.command(close("*")), ["obeyed"]);
    assert_eq!(world.fire_next(), ["fired"]);
}

/// What went wrong is undone, limit or not, and the undoing counts.
#[test]
fn an_undoing_is_never_refused() {
    let rules = RULES.replace("per_target: 2", "per_target: 1").replace(
        "timeout: 60s",
        "timeout: 60s, on_failure: {ensure_replicas: previous}",
    );
    let mut world = World::with_rules(&rules);
    world.raise("HighCPU", "app");
    assert_eq!(world.failed(FailureReason::Unhealthy), ["action_failed"]);
    assert!(world.last_requested().compensates.is_some());
    assert_eq!(world.targets["app"].budget.asked.len(), 2);
}

/// An incident that only the limit holds back fails where it is looked at: a person must come.
#[test]
fn a_look_at_a_limited_incident_gives_up() {
    let rules = RULES
        .replace("per_target: 2", "per_target: 1")
        .replace("timeout: 60s", "timeout: 60s, verify_within: 2m");
    let mut world = World::with_rules(&rules);
    world.raise("HighCPU", "app");
    world.completed(1);
    assert_eq!(world.fire_next(), ["limit_reached", "still_firing"]);
    assert!(world.timers.is_empty(), "{:?}", world.timers);
}

//! What follows when an action has ended.

use shared_events::{
    IncidentEvent,
    action::{ActionKind, Direction, FailureReason},
    incident::ReasonCode,
};

use super::world::{World, completed, failed};
use crate::domain::Phase;

const KEY: &str = "service=app";

fn failed_as(world: &World) -> (ReasonCode, String) {
    match world.last_incident_event() {
        IncidentEvent::Failed(event) => (event.reason_code.clone(), event.reason_message.clone()),
        other => panic!("not failed: {other:?}"),
    }
}

fn resolved_as(world: &World) -> ReasonCode {
    match world.last_incident_event() {
        IncidentEvent::Resolved(event) => event.reason_code.clone(),
        other => panic!("not resolved: {other:?}"),
    }
}

#[test]
fn an_action_that_helps_leads_to_resolved() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.wait(3);
    assert_eq!(world.completed(2), ["action_completed"]);
    assert_eq!(
        world.timer_names().into_iter().collect::<Vec<_>>(),
        ["timer.verify"]
    );
    world.wait(30);
    world.resolve("HighCPU", "app");
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
    assert!(world.timers.is_empty());
}

#[test]
fn a_resolve_during_an_action_closes_nothing_until_it_is_settled() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.resolve("HighCPU", "app");
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    world.completed(2);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    assert_eq!(
        world.timer_names().into_iter().collect::<Vec<_>>(),
        ["timer.settle"]
    );
    assert_eq!(world.fire_next(), ["recovered"]);
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
}

#[test]
fn an_alert_that_fires_again_before_it_is_settled_keeps_the_incident() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.resolve("HighCPU", "app");
    world.completed(2);
    let again = super::world::raised("HighCPU", "app", 2, 1, world.now);
    assert_eq!(world.alert(&again), ["at_limit"]);
    assert!(world.timers.is_empty(), "{:?}", world.timers);
    let end = super::world::resolved("HighCPU", "app", 2, world.now);
    world.alert(&end);
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
}

#[test]
fn an_action_that_does_not_help_fails_the_incident() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.wait(3);
    world.completed(2);
    assert_eq!(world.fire_next(), ["at_limit", "still_firing"]);
    let (code, message) = failed_as(&world);
    assert_eq!(code, ReasonCode::StillFiringAfterAction);
    let id = &world.incident(KEY).id.to_string()[..6];
    assert_eq!(
        message,
        format!(
            "Load stays high: 4 min after the action was done, no rule has a further step. HighCPU still fires: \"HighCPU: 84 %\". Nothing more will be tried until it clears: fix the cause, then `eventpulse incident retry {id} --reason ..`."
        )
    );
    assert_eq!(world.raise_again("HighCPU", "app", 3), ["gave_up"]);
    world.resolve("HighCPU", "app");
    assert_eq!(resolved_as(&world), ReasonCode::RecoveredAfterFailure);
}

#[test]
fn a_failed_action_is_undone_once_and_the_incident_fails_if_that_does_not_help() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.wait(16);
    assert_eq!(world.failed(FailureReason::Unhealthy), ["action_failed"]);
    let undo = world.last_requested();
    assert_eq!(undo.kind, ActionKind::EnsureReplicas);
    assert_eq!(
        (undo.desired_replicas, undo.direction.clone()),
        (1, Direction::Exact)
    );
    assert_eq!(undo.compensates, Some(world.requested()[0].action_id));
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    world.wait(1);
    world.completed(1);
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["gave_up"]);
    assert_eq!(world.fire_next(), ["still_firing"]);
    let (code, message) = failed_as(&world);
    assert_eq!(code, ReasonCode::ActionFailed);
    assert!(
        message.starts_with(
            "Scale app 1 -> 2 failed after 16 s: app-2 never healthy (503 cannot reach upstream cache.invalid:6379). Back to 1. HighCPU still fires"
        ),
        "{message}"
    );
    assert_eq!(world.requested().len(), 2);
    world.resolve("HighCPU", "app");
    assert_eq!(resolved_as(&world), ReasonCode::RecoveredAfterFailure);
}

#[test]
fn an_undone_action_whose_alert_clears_never_fails() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.failed(FailureReason::Docker);
    world.completed(1);
    world.resolve("HighCPU", "app");
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
}

#[test]
fn an_undoing_is_never_undone() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.failed(FailureReason::Deadline);
    assert_eq!(world.failed(FailureReason::Docker), ["action_failed"]);
    assert_eq!(failed_as(&world).0, ReasonCode::CompensationFailed);
    assert_eq!(world.requested().len(), 2);
}

#[test]
fn an_undoing_that_fails_after_the_alert_has_cleared_fails_and_then_settles() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.resolve("HighCPU", "app");
    world.failed(FailureReason::Deadline);
    world.failed(FailureReason::Docker);
    assert_eq!(world.incident(KEY).phase, Phase::Failed);
    assert_eq!(world.fire_next(), ["recovered"]);
    assert_eq!(resolved_as(&world), ReasonCode::RecoveredAfterFailure);
}

#[test]
fn no_news_is_undone_and_late_news_changes_nothing_but_the_count() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    let first = world.last_requested();
    assert_eq!(world.fire_next(), ["action_timed_out"]);
    let undo = world.last_requested();
    assert_eq!(
        (undo.kind.clone(), undo.desired_replicas),
        (ActionKind::EnsureReplicas, 1)
    );
    let late = completed(&first, 2, world.now);
    assert_eq!(world.action(&late), ["stale"]);
    assert_eq!(
        world.targets["app"].replicas, None,
        "the undoing is under way"
    );
    world.completed(1);
    world.fire_next();
    assert_eq!(failed_as(&world).0, ReasonCode::ActionTimedOut);
}

#[test]
fn late_news_of_the_latest_action_tell_the_count() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    world.raise("LowCPU", "app");
    let action = world.last_requested();
    world.fire_next();
    assert_eq!(failed_as(&world).0, ReasonCode::ActionTimedOut);
    let late = completed(&action, 1, world.now);
    assert_eq!(world.action(&late), ["stale"]);
    assert_eq!(world.targets["app"].replicas, Some(1));
}

#[test]
fn an_undoing_that_times_out_fails_the_incident() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.fire_next();
    world.fire_next();
    assert_eq!(failed_as(&world).0, ReasonCode::CompensationFailed);
}

#[test]
fn superseded_neither_undoes_nor_fails() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    assert_eq!(world.failed(FailureReason::Superseded), ["superseded"]);
    assert_eq!(world.requested().len(), 1);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    assert!(world.targets["app"].pending.is_none());
    // it still fires: a timer looks again, and once more when the cooldown is over
    assert_eq!(world.fire_next(), ["cooldown"]);
    assert_eq!(world.fire_next(), ["fired"]);
}

/// After an outage of minutes: the alert still fires, and nobody has tried anything.
#[test]
fn what_came_too_late_is_asked_again() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.wait(300);
    assert_eq!(world.too_late(), ["action_failed"]);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    assert_eq!(world.requested().len(), 1);
    assert_eq!(world.fire_next(), ["fired"]);
    let again = world.last_requested();
    assert_eq!(again.desired_replicas, 2);
    assert!(again.deadline_at > world.now, "{again:?}");
    world.completed(2);
    world.resolve("HighCPU", "app");
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
}

#[test]
fn an_undoing_that_came_too_late_is_not_asked_again() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.failed(FailureReason::Unhealthy);
    world.wait(300);
    world.too_late();
    assert_eq!(failed_as(&world).0, ReasonCode::CompensationFailed);
    assert_eq!(world.requested().len(), 2);
}

#[test]
fn what_was_never_begun_fails_without_an_undoing() {
    for reason in [FailureReason::UnknownTarget, FailureReason::OutOfBounds] {
        let mut world = World::new();
        world.raise("HighCPU", "app");
        assert_eq!(world.failed(reason), ["action_failed"]);
        assert_eq!(failed_as(&world).0, ReasonCode::ActionFailed);
        assert_eq!(world.requested().len(), 1);
    }
}

#[test]
fn the_story_of_a_closed_incident_takes_its_actions_without_a_change_of_status() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    world.resolve("CPUDataMissing", "app");
    world.raise("LowCPU", "app");
    assert_eq!(world.failed(FailureReason::Docker), ["action_failed"]);
    assert_eq!(world.incident(KEY).phase, Phase::Closed);
    assert!(world.timers.is_empty());
}

#[test]
fn an_action_of_an_earlier_incident_ends_beside_the_current_one() {
    let mut world = World::new();
    world.raise("CPUDataMissing", "app");
    world.resolve("CPUDataMissing", "app");
    world.raise("LowCPU", "app");
    let old = world.last_requested();
    let again = super::world::raised("CPUDataMissing", "app", 2, 1, world.now);
    world.alert(&again);
    let current = world.incident(KEY).id;
    assert_ne!(old.incident_id, current);
    let end = failed(&old, FailureReason::Unhealthy, world.now);
    assert_eq!(world.action(&end), ["action_failed"]);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    world.wait(1);
    let end = super::world::resolved("CPUDataMissing", "app", 2, world.now);
    world.alert(&end);
    assert_eq!(resolved_as(&world), ReasonCode::AlertsCleared);
}

#[test]
fn while_paused_nothing_is_undone() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.command(crate::domain::Verb::Pause {
        target: "app".to_owned(),
        until: None,
    });
    world.failed(FailureReason::Unhealthy);
    let (code, message) = failed_as(&world);
    assert_eq!(code, ReasonCode::ActionFailed);
    assert!(
        message.contains("Not undone: app is paused until resumed by ana"),
        "{message}"
    );
    assert_eq!(world.requested().len(), 1);
}

#[test]
fn a_verify_during_a_pause_looks_again_instead_of_failing() {
    let mut world = World::with_rules(&super::world::RULES.replace("replicas: 2", "step: 1"));
    world.raise("HighCPU", "app");
    world.completed(2);
    world.wait(60);
    world.command(crate::domain::Verb::Pause {
        target: "app".to_owned(),
        until: None,
    });
    assert_eq!(world.fire_next(), ["paused", "still_firing"]);
    assert_eq!(world.incident(KEY).phase, Phase::Open);
    world.command(crate::domain::Verb::Resume {
        target: "app".to_owned(),
    });
    world.wait(60);
    assert_eq!(world.fire_next(), ["cooldown"]);
    assert_eq!(world.fire_next(), ["fired"]);
    assert_eq!(world.last_requested().desired_replicas, 3);
}

#[test]
fn an_unknown_action_is_stale() {
    let mut world = World::new();
    let mut other = World::new();
    other.raise("HighCPU", "app");
    let news = completed(&other.last_requested(), 2, world.now);
    assert_eq!(world.action(&news), ["stale"]);
    assert_eq!(world.correlations["app"].decisions, 1);
}

//! What people command.

use shared_events::{IncidentEvent, action::FailureReason, incident::ReasonCode};

use super::world::World;
use crate::domain::{Answer, Outcome, Phase, Verb};

const KEY: &str = "service=app";

fn refusal(world: &World) -> Outcome {
    match &world.answer {
        Some(Answer::Refused { outcome, .. }) => *outcome,
        other => panic!("not refused: {other:?}"),
    }
}

fn failed_world() -> World {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    world.failed(FailureReason::Unhealthy);
    world.completed(1);
    world.fire_next();
    assert_eq!(world.incident(KEY).phase, Phase::Failed);
    world
}

fn retry(world: &World) -> Verb {
    Verb::Retry {
        incident_id: world.incident(KEY).id,
    }
}

#[test]
fn a_retry_tries_the_next_step_again_whatever_the_cooldown() {
    let mut world = failed_world();
    let verb = retry(&world);
    assert_eq!(world.command(verb), ["fired", "obeyed"]);
    let action = world.last_requested();
    assert_eq!(action.actor.as_deref(), Some("ana"));
    assert_eq!(action.desired_replicas, 2);
    assert!(
        matches!(&world.answer, Some(Answer::Done { action_id: Some(id), .. }) if *id == action.action_id)
    );
    world.completed(2);
    world.resolve("HighCPU", "app");
    let IncidentEvent::Resolved(event) = world.last_incident_event() else {
        panic!("not resolved");
    };
    assert_eq!(event.reason_code, ReasonCode::RecoveredAfterFailure);
}

#[test]
fn a_retry_is_an_attempt_of_its_own_and_undone_if_it_fails() {
    let mut world = failed_world();
    let verb = retry(&world);
    world.command(verb);
    world.failed(FailureReason::Unhealthy);
    assert!(world.last_requested().compensates.is_some());
    world.completed(1);
    world.fire_next();
    assert_eq!(world.incident(KEY).phase, Phase::Failed);
    assert_eq!(world.requested().len(), 4);
}

#[test]
fn a_retry_that_cannot_be_leaves_everything_as_it_is() {
    let mut world = failed_world();
    world.command(Verb::Pause {
        target: "app".to_owned(),
        until: None,
    });
    let before = world.correlations[KEY].memory.clone();
    let events = world.events.len();
    let verb = retry(&world);
    assert_eq!(world.command(verb), ["paused", "refused"]);
    assert_eq!(refusal(&world), Outcome::Paused);
    assert_eq!(world.correlations[KEY].memory, before);
    assert_eq!(world.events.len(), events);
}

#[test]
fn a_retry_during_an_action_or_after_the_end_is_refused() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    let verb = retry(&world);
    assert_eq!(world.command(verb.clone()), ["refused"]);
    assert_eq!(refusal(&world), Outcome::ActionPending);
    world.completed(2);
    world.resolve("HighCPU", "app");
    world.command(verb);
    assert_eq!(refusal(&world), Outcome::AlreadyOver);
}

#[test]
fn a_person_closes_an_incident_and_its_alerts_open_no_other() {
    let mut world = World::new();
    world.raise("HighCPU", "app");
    let incident_id = world.incident(KEY).id;
    assert_eq!(world.command(Verb::Close { incident_id }), ["obeyed"]);
    let IncidentEvent::Resolved(event) = world.last_incident_event().clone() else {
        panic!("not resolved");
    };
    assert_eq!(event.reason_code, ReasonCode::ClosedByPerson);
    assert_eq!(event.actor.as_deref(), Some("ana"));
    assert_eq!(event.reason_message, "Closed by ana: because");
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["already_over"]);
    world.completed(2);
    assert!(world.timers.is_empty());
    world.command(Verb::Close { incident_id });
    assert_eq!(refusal(&world), Outcome::AlreadyOver);
    let anew = super::world::raised("HighCPU", "app", 2, 1, world.now);
    assert_eq!(world.alert(&anew), ["at_limit"]);
    assert_ne!(world.incident(KEY).id, incident_id);
    assert_eq!(world.raise_again("HighCPU", "app", 3), ["already_over"]);
}

#[test]
fn pauses_and_their_ends_are_told_and_answered() {
    let mut world = World::new();
    let app = || "app".to_owned();
    assert_eq!(world.command(Verb::Resume { target: app() }), ["refused"]);
    assert!(matches!(world.answer, Some(Answer::Unknown { .. })));
    world.command(Verb::Pause {
        target: "nothing".to_owned(),
        until: None,
    });
    assert!(matches!(world.answer, Some(Answer::Unknown { .. })));
    let past = Some(world.now);
    world.command(Verb::Pause {
        target: app(),
        until: past,
    });
    assert_eq!(refusal(&world), Outcome::Refused);
    assert!(world.events.is_empty());
    world.command(Verb::Pause {
        target: app(),
        until: None,
    });
    world.command(Verb::Resume { target: app() });
    assert_eq!(world.types_since(0), ["target.paused", "target.resumed"]);
}

#[test]
fn the_end_of_a_pause_of_everything_wakes_every_target() {
    let mut world = World::new();
    let all = || "*".to_owned();
    world.command(Verb::Pause {
        target: all(),
        until: None,
    });
    world.raise("HighCPU", "app");
    world.raise("HighCPU", "shop");
    world.command(Verb::Resume { target: all() });
    assert_eq!(world.timers.len(), 2);
    world.fire_next();
    world.fire_next();
    assert_eq!(world.requested().len(), 2);
}

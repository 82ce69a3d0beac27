//! A rule in state `shadow` decides like a live one, on a copy of what was known before the live
//! rules answered: what it would have done is logged, and none of it happens.

use serde_json::{Value, json};
use shared_events::{ActionEvent, Timestamp, action::ActionRequested, alert::AlertRaised};

use super::{
    Effect, Event, Evidence, Rule, State,
    draft::{Draft, Said},
    raised::answer,
};

/// The answer that `rule` would give, with what it would have said in `would_emit`.
pub(super) fn shadow(
    draft: &mut Draft<'_>,
    rule: &Rule,
    alert: &AlertRaised,
    (evidence, over, before): (&Evidence, bool, &State),
) -> Said {
    let mut ghost = draft.ghost(before.clone());
    let said = answer(&mut ghost, rule, alert, (evidence, over));
    let effects = ghost.into_effects();
    let events: Vec<&Event> = effects.iter().filter_map(emitted).collect();
    for asked in events.iter().filter_map(|event| requested(event)) {
        remember(draft, rule, &asked.target, asked.at);
    }
    let told: Vec<Value> = events.into_iter().map(told).collect();
    said.with([("would_emit".to_owned(), Value::Array(told))].into())
}

/// Its cooldown is kept, so that it does not seem to act at every notification.
fn remember(draft: &mut Draft<'_>, rule: &Rule, target: &str, at: Timestamp) {
    let target = draft.state.target(target);
    target.asked_at.insert(rule.cooldown_key(), at);
}

fn emitted(effect: &Effect) -> Option<&Event> {
    match effect {
        Effect::Emit(event) => Some(event),
        Effect::Arm(_) | Effect::Disarm(_) => None,
    }
}

fn requested(event: &Event) -> Option<&ActionRequested> {
    match event {
        Event::Action(ActionEvent::Requested(action)) => Some(action),
        Event::Action(
            ActionEvent::Completed(_)
            | ActionEvent::Failed(_)
            | ActionEvent::Paused(_)
            | ActionEvent::Resumed(_),
        )
        | Event::Incident(_) => None,
    }
}

fn told(event: &Event) -> Value {
    match requested(event) {
        Some(action) => json!({
            "type": event.name(),
            "target": action.target,
            "desired_replicas": action.desired_replicas,
            "previous_replicas": action.previous_replicas,
        }),
        None => json!({"type": event.name()}),
    }
}

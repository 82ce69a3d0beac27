//! A timer is due.

use chrono::TimeDelta;
use shared_events::incident::ReasonCode;

use super::{
    Failure, Outcome, Timer, TimerKind, Verify,
    act::{Scope, act_again},
    draft::{Draft, Said},
    ended, life, sentence,
    step::{Held, Urgency},
};

/// Folds a due timer.
pub(super) fn woken(draft: &mut Draft<'_>, timer: &Timer) {
    match timer.kind {
        TimerKind::Timeout { action_id } => ended::timed_out(draft, action_id),
        TimerKind::Recheck => recheck(draft, timer),
        TimerKind::Verify { .. } => verify(draft, timer),
        TimerKind::Settle { .. } => settle(draft, timer),
    }
}

fn too_late(draft: &mut Draft<'_>) {
    draft.say(None, Said::new(Outcome::Stale, sentence::LATE_TIMER));
}

/// Refused steps are decided again. Harmless whenever it comes: it asks for what is due now.
fn recheck(draft: &mut Draft<'_>, timer: &Timer) {
    let memory = draft.memory_mut();
    if memory
        .recheck
        .as_ref()
        .is_some_and(|set| set.id == timer.id)
    {
        memory.recheck = None;
    }
    if memory.evidence.is_empty() {
        return draft.say(None, Said::new(Outcome::Stale, sentence::NOTHING_WAITS));
    }
    act_again(draft, Scope::Firing, (Urgency::Normal, None));
}

/// After an action: if an alert still holds the incident, the next step, else the incident fails.
fn verify(draft: &mut Draft<'_>, timer: &Timer) {
    let incident = draft.memory_mut().incident.as_mut();
    let due = incident.filter(|incident| {
        let set = incident.verify.as_ref();
        incident.is_current() && set.is_some_and(|verify| verify.timer.id == timer.id)
    });
    let Some(incident) = due else {
        return too_late(draft);
    };
    let (id, held, undone) = (incident.id, incident.is_held(), incident.undone.clone());
    let Some(verify) = incident.verify.take() else {
        return too_late(draft);
    };
    if !held {
        return draft.say(None, Said::new(Outcome::Recovered, sentence::NOTHING_FIRES));
    }
    if let Some(failure) = undone {
        let message = ended::fail_undone(draft, failure);
        return draft.say(None, Said::new(Outcome::StillFiring, message));
    }
    let before = draft.memory().pending.len();
    let refused = act_again(draft, Scope::Holding, (Urgency::Normal, None));
    if draft.memory().pending.len() > before {
        return;
    }
    let passing: Vec<&Held> = refused.iter().filter(|held| held.passes()).collect();
    if passing.is_empty() && !draft.memory().is_pending(id) {
        return still_firing(draft, &verify);
    }
    let due = look_again_at(draft, &passing, &verify);
    life::verify_at(draft, id, due, (verify.action_id, verify.within_ms));
    let said = Said::new(Outcome::StillFiring, sentence::looks_again(due));
    draft.say(None, said);
}

/// When the first refusal ends, but not later than after the time that the action was given.
fn look_again_at(
    draft: &Draft<'_>,
    waiting: &[&Held],
    verify: &Verify,
) -> shared_events::Timestamp {
    let latest = draft.at + TimeDelta::milliseconds(verify.within_ms);
    let ends = waiting.iter().filter_map(|held| held.until);
    ends.min().map_or(latest, |first| first.min(latest))
}

fn still_firing(draft: &mut Draft<'_>, verify: &Verify) {
    let within = TimeDelta::milliseconds(verify.within_ms);
    let message = sentence::load_stays_high(draft.memory(), within);
    life::fail(
        draft,
        Failure {
            code: ReasonCode::StillFiringAfterAction,
            message: message.clone(),
            action_id: verify.action_id,
        },
    );
    draft.say(None, Said::new(Outcome::StillFiring, message));
}

/// Nothing has fired since the last action ended: the incident is over.
fn settle(draft: &mut Draft<'_>, timer: &Timer) {
    let incident = draft.memory_mut().incident.as_mut();
    let due = incident.filter(|incident| {
        let set = incident.settle.as_ref();
        incident.is_current() && set.is_some_and(|settle| settle.id == timer.id)
    });
    let Some(incident) = due else {
        return too_late(draft);
    };
    incident.settle = None;
    let (id, held) = (incident.id, incident.is_held());
    if held || draft.memory().is_pending(id) {
        return too_late(draft);
    }
    let message = life::resolve_recovered(draft);
    draft.say(None, Said::new(Outcome::Recovered, message));
}

//! An episode is over.

use shared_events::alert::{AlertResolved, ResolveReason};

use super::{
    Outcome, Over, Rule,
    draft::{Draft, Said},
    life, sentence,
};

/// Folds `alert.resolved` under this key. What is over is over whether a rule still means it or
/// not; the rules that do get the answer.
pub(super) fn resolved(draft: &mut Draft<'_>, alert: &AlertResolved, rules: &[usize]) {
    let silent = match alert.reason {
        ResolveReason::Silent => true,
        ResolveReason::Notified | ResolveReason::Superseded | ResolveReason::Unknown(_) => false,
    };
    let held = life::end_alert(draft, alert.episode_id, silent);
    draft.memory_mut().evidence.remove(&alert.episode_id);
    let all = draft.rules;
    let seen: Vec<&Rule> = rules.iter().filter_map(|&at| all.rules.get(at)).collect();
    let known = draft.memory().over(alert.episode_id).is_some();
    if held || known || seen.iter().any(|rule| rule.is_live()) {
        draft.memory_mut().remember_over(Over {
            episode_id: alert.episode_id,
            held,
            fires: false,
        });
    }
    life::drop_idle_recheck(draft);
    let name = alert
        .labels
        .get("alertname")
        .map_or("the alert", String::as_str);
    let said = match held {
        true => release(draft, name),
        false => Said::new(Outcome::Cleared, sentence::cleared_without_hold(name)),
    };
    let mut seen: Vec<Option<&Rule>> = seen.into_iter().map(Some).collect();
    if seen.is_empty() {
        seen.push(None);
    }
    for rule in seen {
        draft.say(rule, said.clone());
    }
}

/// A holding alert has cleared: the incident is over when nothing else holds it and no action of it
/// is under way. A resolve during an action closes nothing by itself.
fn release(draft: &mut Draft<'_>, name: &str) -> Said {
    let Some(incident) = draft.memory().current() else {
        return Said::new(Outcome::Cleared, sentence::cleared_after_close(name));
    };
    let (id, left) = (incident.id, incident.holding().count());
    let reason = if left > 0 {
        sentence::still_held(name, left)
    } else if draft.memory().is_pending(id) {
        sentence::cleared_during_action(name)
    } else {
        life::resolve_recovered(draft)
    };
    Said::new(Outcome::Cleared, reason)
}

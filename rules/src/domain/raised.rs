//! An alert fires, or still fires.

use shared_events::{alert::AlertRaised, incident::ReasonCode};

use super::{
    Evidence, Outcome, Over, Role, Rule,
    act::{Acted, act, condition},
    draft::{Draft, Said},
    life, sentence,
    shadow::shadow,
    step::Urgency,
};

/// Folds `alert.raised` under this key.
pub(super) fn raised(draft: &mut Draft<'_>, alert: &AlertRaised, rules: &[usize]) {
    let over = alert.ends_at.is_some() || draft.memory().over(alert.episode_id).is_some();
    let all = draft.rules;
    let rules: Vec<&Rule> = rules.iter().filter_map(|&at| all.rules.get(at)).collect();
    let evidence = Evidence {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        occurrence: alert.occurrence,
    };
    let shadowed = rules.iter().any(|rule| !rule.is_live());
    let before = shadowed.then(|| draft.state.clone());
    if !over
        && rules
            .iter()
            .any(|rule| rule.is_live() && rule.action.is_some())
    {
        let evidence = evidence.clone();
        draft
            .memory_mut()
            .evidence
            .insert(alert.episode_id, evidence);
    }
    for rule in rules {
        let said = match &before {
            Some(before) if !rule.is_live() => {
                shadow(draft, rule, alert, (&evidence, over, before))
            }
            Some(_) | None => answer(draft, rule, alert, (&evidence, over)),
        };
        draft.say(Some(rule), said);
    }
    forget_useless_evidence(draft, alert);
}

/// What `rule` makes of the alert.
pub(super) fn answer(
    draft: &mut Draft<'_>,
    rule: &Rule,
    alert: &AlertRaised,
    (evidence, over): (&Evidence, bool),
) -> Said {
    if let Err(said) = condition(draft, rule, evidence) {
        return said;
    }
    let place = match rule.incident {
        Role::Open => hold(draft, rule, alert, over),
        Role::Attach => attach(draft, alert, over),
    };
    match (place, &rule.action) {
        (Place::Not(said), _) | (Place::There(said), None) => said,
        (Place::There(said), Some(action)) => {
            let normal = (Urgency::Normal, None);
            match act(draft, (rule, action), evidence, normal) {
                Acted::Asked(asked) => Said {
                    reason: format!("{}; {}", said.reason, asked.reason),
                    ..asked
                },
                Acted::Held(held) => {
                    let held = Said::from(held);
                    Said {
                        reason: format!("{}; {}", said.reason, held.reason),
                        ..held
                    }
                }
            }
        }
    }
}

/// An alert that joined nothing gives no reason to act later.
fn forget_useless_evidence(draft: &mut Draft<'_>, alert: &AlertRaised) {
    let memory = draft.memory_mut();
    let joined = memory
        .incident
        .as_ref()
        .and_then(|incident| incident.alert(alert.episode_id));
    if joined.is_none_or(|joined| !joined.firing) {
        memory.evidence.remove(&alert.episode_id);
    }
}

/// Where the alert is after the rule has seen it.
enum Place {
    /// In the kept incident, firing: the rule may act.
    There(Said),
    /// Not there, or not firing.
    Not(Said),
}

/// What a rule with `incident: open` makes of the alert.
fn hold(draft: &mut Draft<'_>, rule: &Rule, alert: &AlertRaised, over: bool) -> Place {
    let episode = alert.episode_id;
    let memory = draft.memory();
    let is_current = memory.current().is_some();
    let kept = memory.incident.as_ref();
    let known = kept
        .and_then(|incident| incident.alert(episode))
        .filter(|known| known.holds || is_current);
    if let Some(known) = known {
        let (firing, holds) = (known.firing && !over, known.holds);
        return match (firing, is_current) {
            (false, _) => Place::Not(Said::new(Outcome::AlreadyOver, sentence::OVER)),
            (true, false) => Place::Not(Said::new(Outcome::AlreadyOver, sentence::CLOSED)),
            (true, true) => {
                if !holds {
                    life::take_hold(draft, episode);
                }
                Place::There(already_open(draft, !holds))
            }
        };
    }
    if memory.over(episode).is_some_and(|over| over.held) {
        return Place::Not(Said::new(Outcome::AlreadyOver, sentence::OVER));
    }
    let place = if is_current {
        life::join(draft, life::alert_of(alert, !over, true));
        already_open(draft, true)
    } else {
        life::open(draft, rule, alert, !over);
        Said::new(Outcome::Fired, sentence::opened(&rule.name))
    };
    if !over {
        return Place::There(place);
    }
    draft.memory_mut().remember_over(Over {
        episode_id: episode,
        held: true,
        fires: false,
    });
    let message = sentence::already_over(alert);
    if !is_current {
        life::resolve(draft, ReasonCode::AlreadyOver, message.clone(), None);
    }
    Place::Not(Said::new(Outcome::AlreadyOver, message))
}

fn already_open(draft: &Draft<'_>, joined: bool) -> Said {
    let incident = draft.memory().incident.as_ref();
    let reason = incident.map_or_else(String::new, |incident| {
        sentence::already_open(incident, joined)
    });
    Said::new(Outcome::AlreadyOpen, reason)
}

/// What a rule with `incident: attach` makes of the alert.
fn attach(draft: &mut Draft<'_>, alert: &AlertRaised, over: bool) -> Place {
    if over {
        return Place::Not(Said::new(Outcome::AlreadyOver, sentence::OVER));
    }
    let Some(incident) = &draft.memory().incident else {
        let reason = sentence::nothing_to_attach(draft.key());
        return Place::Not(Said::new(Outcome::NothingToAttach, reason));
    };
    let reason = sentence::attached(incident);
    if incident.alert(alert.episode_id).is_none() {
        life::join(draft, life::alert_of(alert, true, false));
    }
    Place::There(Said::new(Outcome::Attached, reason))
}

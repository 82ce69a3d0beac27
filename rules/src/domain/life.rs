//! The life of an incident: open, join, resolve, fail, and what follows when an action has ended.

use shared_events::{
    ActionId, EpisodeId, IncidentId, Timestamp,
    alert::AlertRaised,
    incident::{IncidentFailed, IncidentOpened, IncidentResolved, ReasonCode},
};

use super::{
    Alert, Event, Failure, Incident, Over, Phase, Rule, TimerKind, Verify, draft::Draft, sentence,
};

/// The alert of an incident that `raised` is.
pub(super) fn alert_of(raised: &AlertRaised, firing: bool, holds: bool) -> Alert {
    Alert {
        episode_id: raised.episode_id,
        alert_id: raised.alert_id,
        name: raised.labels.get("alertname").cloned().unwrap_or_default(),
        severity: raised.labels.get("severity").cloned(),
        firing,
        holds,
    }
}

/// A new current incident, held by this alert.
pub(super) fn open(draft: &mut Draft<'_>, rule: &Rule, raised: &AlertRaised, firing: bool) {
    let id = IncidentId::of(draft.key(), raised.episode_id);
    let title = sentence::title(raised, draft.key());
    let mut incident = Incident::new(id, draft.at, title);
    incident.join(alert_of(raised, firing, true));
    incident.severity = raised.labels.get("severity").cloned();
    incident.revision = 1;
    let opened = IncidentOpened {
        incident_id: id,
        revision: incident.revision,
        at: draft.at,
        correlation_key: draft.key().to_owned(),
        service: raised.labels.get("service").cloned(),
        severity: incident.severity.clone(),
        title: incident.title.clone(),
        rule: Some(rule.name.clone()),
        rule_version: Some(rule.version.clone()),
        generator_url: raised.generator_url.clone(),
        runbook_url: raised.annotations.get("runbook_url").cloned(),
        labels: raised.labels.clone(),
        alerts: incident.listed(),
    };
    replace(draft, incident);
    draft.alerts_changed = false;
    draft.emit(Event::Incident(opened.into()));
}

/// Puts `incident` in the place of the latest one. What still fires of that belongs to it for ever.
fn replace(draft: &mut Draft<'_>, incident: Incident) {
    let id = incident.id;
    let memory = draft.memory_mut();
    let before = memory.incident.replace(incident);
    for alert in before.iter().flat_map(Incident::holding) {
        memory.evidence.remove(&alert.episode_id);
        memory.remember_over(Over {
            episode_id: alert.episode_id,
            held: true,
            fires: true,
        });
    }
    let pending: Vec<IncidentId> = memory.pending.values().map(|r| r.incident_id).collect();
    memory
        .asked
        .retain(|of, _| *of == id || pending.contains(of));
}

/// An alert of the current incident that did not hold it holds it now.
pub(super) fn take_hold(draft: &mut Draft<'_>, episode: EpisodeId) {
    let Some(incident) = &mut draft.memory_mut().incident else {
        return;
    };
    if let Some(alert) = incident.alert_mut(episode) {
        alert.holds = true;
        incident.settle = None;
        incident.fell_silent = false;
        incident.refresh_severity();
        draft.alerts_changed = true;
    }
}

/// The alert joins the kept incident.
pub(super) fn join(draft: &mut Draft<'_>, alert: Alert) {
    let held = alert.is_holding();
    if let Some(incident) = &mut draft.memory_mut().incident {
        incident.join(alert);
        if held {
            incident.settle = None;
            incident.fell_silent = false;
        }
        draft.alerts_changed = true;
    }
}

/// The current incident is over.
pub(super) fn resolve(
    draft: &mut Draft<'_>,
    code: ReasonCode,
    message: String,
    actor: Option<String>,
) {
    let (at, key) = (draft.at, draft.key().to_owned());
    let Some(incident) = &mut draft.memory_mut().incident else {
        return;
    };
    incident.phase = Phase::Closed;
    incident.revision += 1;
    incident.verify = None;
    incident.settle = None;
    incident.next = None;
    let resolved = IncidentResolved {
        incident_id: incident.id,
        revision: incident.revision,
        at,
        correlation_key: key,
        reason_code: code,
        reason_message: message,
        actor,
        alerts: incident.listed(),
    };
    draft.alerts_changed = false;
    drop_idle_recheck(draft);
    draft.emit(Event::Incident(resolved.into()));
}

/// Closes the current incident because nothing holds it any more.
pub(super) fn resolve_recovered(draft: &mut Draft<'_>) -> String {
    let Some(incident) = draft.memory().current() else {
        return String::new();
    };
    let code = if incident.has_failed {
        ReasonCode::RecoveredAfterFailure
    } else if incident.fell_silent {
        ReasonCode::NoNews
    } else {
        ReasonCode::AlertsCleared
    };
    let message = sentence::recovered(&code, incident, draft.at);
    resolve(draft, code, message.clone(), None);
    message
}

/// Rechecks are for alerts that fire.
pub(super) fn drop_idle_recheck(draft: &mut Draft<'_>) {
    let memory = draft.memory_mut();
    if memory.evidence.is_empty() {
        memory.recheck = None;
    }
}

/// The automation gives up on the current incident.
pub(super) fn fail(draft: &mut Draft<'_>, failure: Failure) {
    let (at, key) = (draft.at, draft.key().to_owned());
    let Some(incident) = &mut draft.memory_mut().incident else {
        return;
    };
    incident.phase = Phase::Failed;
    incident.has_failed = true;
    incident.revision += 1;
    incident.verify = None;
    incident.next = None;
    let id = incident.id;
    let failed = IncidentFailed {
        incident_id: id,
        revision: incident.revision,
        at,
        correlation_key: key,
        reason_code: failure.code,
        reason_message: failure.message,
        action_id: Some(failure.action_id),
        alerts: incident.listed(),
    };
    draft.alerts_changed = false;
    draft.emit(Event::Incident(failed.into()));
    settle_if_quiet(draft, id);
}

/// When nothing holds the incident and no action of it is under way: it closes after the policy's
/// settle time, unless an alert fires again.
pub(super) fn settle_if_quiet(draft: &mut Draft<'_>, id: IncidentId) -> bool {
    let quiet = !draft.memory().is_pending(id);
    let timer = draft.timer(
        TimerKind::Settle { incident_id: id },
        draft.at + draft.rules.policy.settle,
    );
    match draft.current(id) {
        Some(incident) if quiet && !incident.is_held() => {
            incident.verify = None;
            incident.settle = Some(timer);
            true
        }
        Some(_) | None => false,
    }
}

/// Looks at `due` whether `action_id` has helped, which was given `within_ms`.
pub(super) fn verify_at(
    draft: &mut Draft<'_>,
    id: IncidentId,
    due: Timestamp,
    (action_id, within_ms): (ActionId, i64),
) {
    let timer = draft.timer(TimerKind::Verify { incident_id: id }, due);
    if let Some(incident) = draft.current(id) {
        incident.verify = Some(Verify {
            timer,
            action_id,
            within_ms,
        });
    }
}

/// Marks the alert of this episode as over. Gives whether it held the incident until now.
pub(super) fn end_alert(draft: &mut Draft<'_>, episode: EpisodeId, silent: bool) -> bool {
    let Some(incident) = &mut draft.memory_mut().incident else {
        return false;
    };
    let Some(alert) = incident.alert_mut(episode) else {
        return false;
    };
    let was_firing = std::mem::replace(&mut alert.firing, false);
    let held = was_firing && alert.holds;
    if held {
        incident.fell_silent = silent;
    }
    incident.refresh_severity();
    draft.alerts_changed |= was_firing;
    held
}

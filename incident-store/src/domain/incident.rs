//! The state of an incident and how facts join it.
//!
//! Topics have no order among each other and records repeat, so the state is a join: each part of
//! it keeps the greatest (or the first) of what was said, by an order that is in the facts
//! themselves. Any interleaving and any repetition of the same facts gives the same state.

use std::collections::BTreeMap;

use serde::Serialize;
use shared_events::{
    ActionId, IncidentId, Labels, Timestamp,
    incident::{IncidentAlert, IncidentOpened},
};

use super::{Action, Body, Fact};

/// What is known of one incident. A stub until `opened` is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    pub id: IncidentId,
    pub opened: Option<Said<Opening>>,
    /// From opened, resolved and failed: the greatest tells the status.
    pub verdict: Option<Said<Verdict>>,
    /// Latest `at` of a resolve.
    pub resolved_at: Option<Timestamp>,
    /// Latest `at` of a failure; stays when the incident recovers.
    pub failed_at: Option<Timestamp>,
    /// Every alert of the incident.
    pub alerts: Option<Said<Vec<IncidentAlert>>>,
    /// Highest severity of the holding alerts.
    pub severity: Option<Said<Option<String>>>,
    pub title: Option<Said<String>>,
    /// What happens next, as Rules say it.
    pub next: Option<Said<Option<Next>>>,
    pub actions: BTreeMap<ActionId, Action>,
}

/// A value and the fact that it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said<T> {
    pub stamp: Stamp,
    pub value: T,
}

/// Order of the incident's facts: by revision; under one revision (which a writer that was restored
/// from an older dump may give twice) by type. A type and a revision are one event id, so equal
/// stamps are the same fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Stamp(pub i64);

impl Stamp {
    const OPENED: i64 = 0;
    const UPDATED: i64 = 1;
    const RESOLVED: i64 = 2;
    const FAILED: i64 = 3;

    /// Revisions are small; one beyond a quarter of the range is taken as its end, so that the rank
    /// is kept.
    fn of(revision: i64, rank: i64) -> Self {
        Self(revision.clamp(i64::MIN / 4, i64::MAX / 4) * 4 + rank)
    }

    /// The revision of the fact.
    #[must_use]
    pub const fn revision(self) -> i64 {
        self.0.div_euclid(4)
    }

    /// The ending that the fact is, given its reason; an opening is none.
    #[must_use]
    pub fn ending(self, reason: Reason) -> Option<Ending> {
        if self.0.rem_euclid(4) == Self::RESOLVED {
            Some(Ending::Resolved(reason))
        } else if self.0.rem_euclid(4) == Self::FAILED {
            Some(Ending::Failed(reason))
        } else {
            None
        }
    }
}

/// What `incident.opened` says; the first one stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    pub at: Timestamp,
    pub correlation_key: String,
    pub service: Option<String>,
    pub rule: Option<String>,
    pub rule_version: Option<String>,
    pub generator_url: Option<String>,
    pub runbook_url: Option<String>,
    pub labels: Labels,
    pub trace_id: Option<String>,
}

/// What was last said about the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub at: Timestamp,
    pub ending: Option<Ending>,
}

/// How an incident ended, for now: a failed one may still recover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Resolved(Reason),
    Failed(Reason),
}

/// A code with a row in `docs/OPERATING.md`, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub code: String,
    pub message: String,
}

impl Reason {
    /// `message` under `code`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// A step that will be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// In words.
    pub step: String,
    pub due_at: Option<Timestamp>,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    Mitigating,
    Resolved,
    Failed,
}

impl Status {
    /// Every status there is.
    pub const ALL: [Self; 4] = [Self::Open, Self::Mitigating, Self::Resolved, Self::Failed];

    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Mitigating => "mitigating",
            Self::Resolved => "resolved",
            Self::Failed => "failed",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// `incident` with what `fact` adds. Facts of another incident change nothing.
#[must_use]
pub fn apply(mut incident: Incident, fact: &Fact) -> Incident {
    if fact.body.incident_id() != incident.id {
        return incident;
    }
    match &fact.body {
        Body::Opened(event) => incident.open(event, fact.trace_id.clone()),
        Body::Updated(event) => {
            let stamp = Stamp::of(event.revision, Stamp::UPDATED);
            let next = event.next_step.clone().map(|step| Next {
                step,
                due_at: event.next_due_at,
            });
            incident.list(stamp, &event.alerts);
            greatest(&mut incident.severity, stamp, || event.severity.clone());
            greatest(&mut incident.next, stamp, || next);
            if let Some(title) = &event.title {
                greatest(&mut incident.title, stamp, || title.clone());
            }
        }
        Body::Resolved(event) => {
            let reason = Reason::new(event.reason_code.as_str(), &event.reason_message);
            incident.resolved_at = incident.resolved_at.max(Some(event.at));
            incident.end(
                Stamp::of(event.revision, Stamp::RESOLVED),
                event.at,
                Ending::Resolved(reason),
                &event.alerts,
            );
        }
        Body::Failed(event) => {
            let reason = Reason::new(event.reason_code.as_str(), &event.reason_message);
            incident.failed_at = incident.failed_at.max(Some(event.at));
            incident.end(
                Stamp::of(event.revision, Stamp::FAILED),
                event.at,
                Ending::Failed(reason),
                &event.alerts,
            );
        }
        Body::Requested(event) => incident
            .action(event.action_id)
            .requested(fact.event_id, event),
        Body::Completed(event) => incident
            .action(event.action_id)
            .completed(fact.event_id, event),
        Body::ActionFailed(event) => incident
            .action(event.action_id)
            .failed(fact.event_id, event),
    }
    incident
}

impl Incident {
    /// An incident of which nothing is known yet.
    #[must_use]
    pub const fn stub(id: IncidentId) -> Self {
        Self {
            id,
            opened: None,
            verdict: None,
            resolved_at: None,
            failed_at: None,
            alerts: None,
            severity: None,
            title: None,
            next: None,
            actions: BTreeMap::new(),
        }
    }

    fn open(&mut self, event: &IncidentOpened, trace_id: Option<String>) {
        let stamp = Stamp::of(event.revision, Stamp::OPENED);
        if self.opened.as_ref().is_none_or(|known| stamp < known.stamp) {
            let value = Opening {
                at: event.at,
                correlation_key: event.correlation_key.clone(),
                service: event.service.clone(),
                rule: event.rule.clone(),
                rule_version: event.rule_version.clone(),
                generator_url: event.generator_url.clone(),
                runbook_url: event.runbook_url.clone(),
                labels: event.labels.clone(),
                trace_id,
            };
            self.opened = Some(Said { stamp, value });
        }
        self.list(stamp, &event.alerts);
        greatest(&mut self.severity, stamp, || event.severity.clone());
        greatest(&mut self.title, stamp, || event.title.clone());
        greatest(&mut self.verdict, stamp, || Verdict {
            at: event.at,
            ending: None,
        });
    }

    fn end(&mut self, stamp: Stamp, at: Timestamp, ending: Ending, alerts: &[IncidentAlert]) {
        self.list(stamp, alerts);
        greatest(&mut self.verdict, stamp, || Verdict {
            at,
            ending: Some(ending),
        });
    }

    /// Every event carries the whole list of alerts; an incident without any does not exist, so an
    /// empty list is one that was left out.
    fn list(&mut self, stamp: Stamp, alerts: &[IncidentAlert]) {
        if !alerts.is_empty() {
            greatest(&mut self.alerts, stamp, || alerts.to_vec());
        }
    }

    fn action(&mut self, id: ActionId) -> &mut Action {
        self.actions.entry(id).or_insert_with(|| Action::new(id))
    }
}

fn greatest<T>(known: &mut Option<Said<T>>, stamp: Stamp, value: impl FnOnce() -> T) {
    if known.as_ref().is_none_or(|known| known.stamp < stamp) {
        *known = Some(Said {
            stamp,
            value: value(),
        });
    }
}

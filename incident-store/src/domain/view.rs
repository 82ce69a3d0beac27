//! What people are shown of an incident, derived from its state.

use shared_events::{Timestamp, incident::AlertStatus};

use super::{
    Action, Incident, Reason, Status,
    action::{Outcome, Request},
    incident::{Ending, Next},
};

/// What is the case now, and what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    pub replicas: Option<Replicas>,
    /// Names of the alerts that keep the incident open.
    pub holding_alerts: Vec<String>,
    pub next: Option<Next>,
}

/// The count of the target that was last acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub target: String,
    /// As last seen by Action Runner, else as Rules knew it.
    pub running: Option<i32>,
    pub desired: Option<i32>,
}

impl Incident {
    /// Its status; `None` for a stub, of which only actions are known.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.opened.as_ref()?;
        Some(match self.ending() {
            Some(Ending::Resolved(_)) => Status::Resolved,
            Some(Ending::Failed(_)) => Status::Failed,
            None if self.first_request().is_some() => Status::Mitigating,
            None => Status::Open,
        })
    }

    /// Why it resolved or failed.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self.ending()? {
            Ending::Resolved(reason) | Ending::Failed(reason) => Some(reason),
        }
    }

    /// The automation gave up, and a person has to look.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.status() == Some(Status::Failed)
    }

    /// When the first action was asked for, unless it was over by then.
    #[must_use]
    pub fn mitigating_at(&self) -> Option<Timestamp> {
        let first = self.first_request()?;
        match &self.verdict {
            Some(said) if said.value.ending.is_some() && said.value.at < first => None,
            Some(_) | None => Some(first),
        }
    }

    /// What is the case now, and what comes next.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            replicas: self.replicas(),
            holding_alerts: self.holding_alerts(),
            next: self.next_step(),
        }
    }

    fn ending(&self) -> Option<&Ending> {
        self.verdict.as_ref()?.value.ending.as_ref()
    }

    fn first_request(&self) -> Option<Timestamp> {
        self.requests().map(|(request, _)| request.at).min()
    }

    fn requests(&self) -> impl Iterator<Item = (&Request, Option<&Outcome>)> {
        self.actions
            .values()
            .filter_map(|action| Some((action.request.as_ref()?, action.outcome.as_ref())))
    }

    fn holding_alerts(&self) -> Vec<String> {
        let alerts = self.alerts.iter().flat_map(|said| &said.value);
        let mut names: Vec<String> = alerts
            .filter(|alert| alert.holds && alert.status == AlertStatus::Firing)
            .map(|alert| alert.name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        if self.status() == Some(Status::Resolved) {
            names.clear();
        }
        names
    }

    fn replicas(&self) -> Option<Replicas> {
        let last = |action: &&Action| (action.last_at(), action.id);
        let latest = self.actions.values().max_by_key(last)?;
        let target = latest.target();
        let seen = self
            .actions
            .values()
            .filter(|action| action.target() == target)
            .filter_map(|action| action.outcome.as_ref())
            .filter_map(|outcome| Some((outcome.at, outcome.event_id, outcome.running?)))
            .max()
            .map(|(_, _, running)| running);
        Some(Replicas {
            target: target.to_owned(),
            running: seen.or_else(|| latest.previous()),
            desired: latest.desired(),
        })
    }

    /// A pending action first, then what Rules said, then what follows from the rest.
    fn next_step(&self) -> Option<Next> {
        let status = self.status()?;
        let pending = self.pending().map(|request| Next {
            step: pending_step(request),
            due_at: Some(request.deadline_at),
        });
        let said = || {
            let said = self.next.as_ref()?;
            let verdict = self.verdict.as_ref().map(|verdict| verdict.stamp);
            said.value.clone().filter(|_| Some(said.stamp) > verdict)
        };
        let derived = || match status {
            Status::Mitigating => self.verification(),
            Status::Failed => Some(Next {
                step: format!(
                    "nothing more is tried until its alerts clear; remove the cause, then `eventpulse incident retry {} --reason ..`",
                    self.short_id()
                ),
                due_at: None,
            }),
            Status::Open | Status::Resolved => None,
        };
        pending.or_else(said).or_else(derived)
    }

    /// The latest request without an outcome, if it is younger than the last verdict: one that
    /// timed out is not waited for.
    fn pending(&self) -> Option<&Request> {
        let verdict = self.verdict.as_ref()?.value.at;
        self.requests()
            .filter(|(request, outcome)| outcome.is_none() && request.at >= verdict)
            .map(|(request, _)| request)
            .max_by_key(|request| (request.at, request.event_id))
    }

    /// After a completed action its effect is watched.
    fn verification(&self) -> Option<Next> {
        let (request, outcome) = self
            .requests()
            .filter_map(|(request, outcome)| Some((request, outcome?)))
            .max_by_key(|(_, outcome)| (outcome.at, outcome.event_id))?;
        let within = chrono::TimeDelta::try_milliseconds(request.verify_within_ms?)?;
        let due_at = outcome.at.checked_add_signed(within)?;
        let names = self.holding_alerts();
        (!outcome.failed && !names.is_empty()).then(|| Next {
            step: format!("{} must clear", names.join(", ")),
            due_at: Some(due_at),
        })
    }

    /// The first six digits of its id: what people type.
    #[must_use]
    pub fn short_id(&self) -> String {
        self.id.uuid().simple().to_string()[..6].to_owned()
    }
}

fn pending_step(request: &Request) -> String {
    let replicas = replicas(request.desired);
    match request.previous {
        Some(previous) => format!("{} from {previous} to {replicas}", request.target),
        None => format!("{} to {replicas}", request.target),
    }
}

/// `1 replica`, `2 replicas`.
pub(super) fn replicas(count: i32) -> String {
    match count {
        1 => "1 replica".to_owned(),
        other => format!("{other} replicas"),
    }
}

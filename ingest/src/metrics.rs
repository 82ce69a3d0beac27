//! What Ingest counts. Requests by route and status are the kit's.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use crate::{
    domain::{Outcome, Reason},
    service::Tally,
    tokens::Tokens,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labelled {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Did {
    outcome: &'static str,
}

/// Counters of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    accepted: Family<Source, Counter>,
    rejected: Family<Labelled, Counter>,
    truncated: Family<Source, Counter>,
    outcomes: Family<Did, Counter>,
    opened: Family<Labelled, Counter>,
    closed: Family<Labelled, Counter>,
    default_token: Gauge,
}

impl Metrics {
    /// Registers the counters; those that an alarm watches begin at 0.
    pub(crate) fn register(kit: &service_kit::Metrics, tokens: &Tokens) -> Self {
        let new = Self::default();
        for reason in Reason::ALL {
            new.reject(reason, 0);
        }
        let defaults = tokens.sources_with_default().len();
        new.default_token.set(i64::from(defaults > 0));
        kit.with(|registry| {
            let (name, help) = ("eventpulse_alerts_accepted", "Alerts accepted, by source");
            registry.register(name, help, new.accepted.clone());
            let (name, help) = ("eventpulse_alerts_rejected", "Alerts rejected, by reason");
            registry.register(name, help, new.rejected.clone());
            registry.register(
                "eventpulse_alerts_truncated",
                "Alerts that senders left out because of their max_alerts, by source",
                new.truncated.clone(),
            );
            registry.register(
                "eventpulse_notifications",
                "Notifications by what they did to their series",
                new.outcomes.clone(),
            );
            let (name, help) = ("eventpulse_episodes_opened", "Episodes opened, by reason");
            registry.register(name, help, new.opened.clone());
            let (name, help) = (
                "eventpulse_episodes_closed",
                "Episodes that ended, by reason",
            );
            registry.register(name, help, new.closed.clone());
            registry.register(
                "eventpulse_default_token_in_use",
                "1 while a source may send with the token that everybody knows",
                new.default_token.clone(),
            );
        });
        new
    }

    /// Counts a committed body.
    pub(crate) fn body(&self, source: &str, accepted: usize, rejected: &[Reason], truncated: u64) {
        let source = Source {
            source: source.to_owned(),
        };
        self.accepted.get_or_create(&source).inc_by(accepted as u64);
        for reason in rejected {
            self.reject(*reason, 1);
        }
        self.truncated.get_or_create(&source).inc_by(truncated);
    }

    fn reject(&self, reason: Reason, count: u64) {
        let reason = reason.as_str();
        self.rejected
            .get_or_create(&Labelled { reason })
            .inc_by(count);
    }

    /// Counts what committed notifications did.
    pub(crate) fn outcomes(&self, tally: &Tally) {
        for (&outcome, &count) in &tally.outcomes {
            let did = Did {
                outcome: name(outcome),
            };
            self.outcomes.get_or_create(&did).inc_by(count);
            if let Some(reason) = opens(outcome) {
                self.opened
                    .get_or_create(&Labelled { reason })
                    .inc_by(count);
            }
            if let Some(reason) = closes(outcome) {
                self.closed
                    .get_or_create(&Labelled { reason })
                    .inc_by(count);
            }
        }
    }
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Opened => "opened",
        Outcome::Reopened => "reopened",
        Outcome::BornClosed => "born_closed",
        Outcome::Superseded => "superseded",
        Outcome::Continued => "continued",
        Outcome::Replayed => "replayed",
        Outcome::Ended => "ended",
        Outcome::ResolvedLate => "resolved_late",
        Outcome::ResolvedAgain => "resolved_again",
        Outcome::ResolvedUnheard => "resolved_unheard",
        Outcome::Silenced => "silenced",
        Outcome::Heard => "heard",
    }
}

const fn opens(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Opened | Outcome::Superseded => Some("fired"),
        Outcome::Reopened => Some("reopened"),
        Outcome::BornClosed => Some("born_closed"),
        Outcome::Continued
        | Outcome::Replayed
        | Outcome::Ended
        | Outcome::ResolvedLate
        | Outcome::ResolvedAgain
        | Outcome::ResolvedUnheard
        | Outcome::Silenced
        | Outcome::Heard => None,
    }
}

const fn closes(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ended | Outcome::BornClosed => Some("notified"),
        Outcome::Superseded => Some("superseded"),
        Outcome::Silenced => Some("silent"),
        Outcome::Opened
        | Outcome::Reopened
        | Outcome::Continued
        | Outcome::Replayed
        | Outcome::ResolvedLate
        | Outcome::ResolvedAgain
        | Outcome::ResolvedUnheard
        | Outcome::Heard => None,
    }
}

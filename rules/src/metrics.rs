//! What Rules count.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use crate::{batch::Produced, domain::Outcome};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Took {
    input: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

/// Numbers of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    decisions: Family<Answered, Counter>,
    inputs: Family<Took, Counter>,
    repeats: Counter,
    incidents: Family<InPhase, Gauge>,
    timers_late: Gauge<f64, AtomicU64>,
    load_errors: Counter,
    loaded: Gauge,
    file_differs: Gauge,
    limits_open: Gauge,
}

impl Metrics {
    /// Registers them; those that an alarm watches begin at 0.
    pub(crate) fn register(&self, kit: &service_kit::Metrics) {
        for phase in ["open", "failed"] {
            self.incidents.get_or_create(&InPhase { phase }).set(0);
        }
        kit.with(|registry| {
            registry.register(
                "eventpulse_decisions",
                "Answers of rules, by outcome",
                self.decisions.clone(),
            );
            registry.register(
                "eventpulse_decision_inputs",
                "Inputs that were decided about, by kind",
                self.inputs.clone(),
            );
            registry.register(
                "eventpulse_decision_repeats",
                "Inputs that a correlation had seen before although the inbox had not",
                self.repeats.clone(),
            );
            registry.register(
                "eventpulse_current_incidents",
                "Incidents that alerts hold or whose action is under way, by phase",
                self.incidents.clone(),
            );
            registry.register(
                "eventpulse_timers_overdue_seconds",
                "How long the timer that is due first has been due",
                self.timers_late.clone(),
            );
            registry.register(
                "eventpulse_rule_load_errors",
                "Rule or target files that could not be loaded",
                self.load_errors.clone(),
            );
            registry.register(
                "eventpulse_rules_loaded",
                "Rules of the active set; 0 before the first load",
                self.loaded.clone(),
            );
            registry.register(
                "eventpulse_rules_file_differs",
                "1 while the rules file is another one than the rules in force",
                self.file_differs.clone(),
            );
            registry.register(
                "eventpulse_limits_open",
                "Limits that were reached and that no person has closed",
                self.limits_open.clone(),
            );
        });
    }

    /// Counts what a batch decided. A transaction that is run again counts again.
    pub(crate) fn decided(&self, produced: &Produced) {
        self.repeats.inc_by(produced.repeats);
        for row in &produced.rows {
            let input = row.input;
            self.inputs.get_or_create(&Took { input }).inc();
            // what a rule in shadow would have done is no reason for an alarm
            for answer in row.outcomes.iter().filter(|answer| !answer.shadow) {
                let known = Outcome::ALL
                    .iter()
                    .find(|known| known.code() == answer.outcome);
                if let Some(outcome) = known.map(|known| known.code()) {
                    self.decisions.get_or_create(&Answered { outcome }).inc();
                }
            }
        }
    }

    pub(crate) fn incidents(&self, open: i64, failed: i64) {
        for (phase, count) in [("open", open), ("failed", failed)] {
            self.incidents.get_or_create(&InPhase { phase }).set(count);
        }
    }

    pub(crate) fn overdue(&self, seconds: f64) {
        self.timers_late.set(seconds);
    }

    pub(crate) fn not_loaded(&self) {
        self.load_errors.inc();
    }

    pub(crate) fn limits_open(&self, open: usize) {
        self.limits_open
            .set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(crate) fn file_differs(&self, differs: bool) {
        self.file_differs.set(i64::from(differs));
    }

    pub(crate) fn loaded(&self, rules: usize) {
        self.loaded.set(i64::try_from(rules).unwrap_or(i64::MAX));
    }
}

//! Decides G1 to G9 and G12 from what was read, with a counter-example for each violation.
//!
//! It shares no id, key or fold code with the services: it knows the contracts in `schemas/`, the
//! tables, and what each guarantee says.

mod actions;
mod alerts;
mod effects;
pub mod evidence;
mod incidents;
mod index;
mod order;
mod refused;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use evidence::Evidence;
use index::Index;

/// At most so many counter-examples of one guarantee are told.
const TOLD: usize = 20;

/// A guarantee of the design, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Guarantee {
    G1,
    G2,
    G3,
    G4,
    G5,
    G6,
    G7,
    G8,
    G9,
    G12,
}

impl Guarantee {
    pub const ALL: [Self; 10] = [
        Self::G1,
        Self::G2,
        Self::G3,
        Self::G4,
        Self::G5,
        Self::G6,
        Self::G7,
        Self::G8,
        Self::G9,
        Self::G12,
    ];

    /// In words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::G1 => {
                "every accepted firing is one episode or reject, every opening episode in one incident"
            }
            Self::G2 => "no incident without a firing that was sent",
            Self::G3 => "at rest outboxes are empty and nothing lags",
            Self::G4 => {
                "first occurrences are in sequence, without gaps, per topic, key and source"
            }
            Self::G5 => "one effect per event and consumer; the dead letters are the poison",
            Self::G6 => {
                "one end per action; never more replicas than asked for; no slot made twice"
            }
            Self::G7 => "cooldowns and bounds hold",
            Self::G8 => "running = desired, and incidents agree with alerts",
            Self::G9 => {
                "the Incident Store is what the topics say; decisions are gapless and each once"
            }
            Self::G12 => "every refused firing alert has a timer or an outcome",
        }
    }
}

/// What breaks a guarantee, and where to look.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    pub guarantee: Guarantee,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.guarantee, self.what)
    }
}

/// What the checks came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Judgement {
    pub violations: Vec<Violation>,
    /// Also those that are not told in full.
    pub count: usize,
    /// Distinct firings (series and start) in 2xx bodies.
    pub accepted: usize,
    /// Of them, those without an episode or incident.
    pub lost: usize,
    /// Episodes or incidents that are one too many.
    pub doubled: usize,
    pub notifications: usize,
    pub episodes: usize,
    pub incidents: usize,
    pub actions: usize,
    pub dead_letters: usize,
    pub records: usize,
}

impl Judgement {
    #[must_use]
    pub fn holds(&self) -> bool {
        self.count == 0
    }

    /// Whether one more would be told: some words cost a search of everything.
    fn tells(&self, guarantee: Guarantee) -> bool {
        let told = self.violations.iter();
        told.filter(|told| told.guarantee == guarantee).count() < TOLD
    }

    fn breaks(&mut self, guarantee: Guarantee, what: impl Into<String>) {
        self.count += 1;
        if self.tells(guarantee) {
            let what = what.into();
            self.violations.push(Violation { guarantee, what });
        }
    }
}

/// Judges a system at rest.
#[must_use]
pub fn check(evidence: &Evidence) -> Judgement {
    let index = Index::of(evidence);
    let mut judgement = Judgement {
        records: evidence.records.len(),
        ..Judgement::default()
    };
    alerts::check(evidence, &index, &mut judgement);
    incidents::check(evidence, &index, &mut judgement);
    order::check(evidence, &index, &mut judgement);
    effects::check(evidence, &index, &mut judgement);
    actions::check(evidence, &index, &mut judgement);
    refused::check(evidence, &index, &mut judgement);
    judgement
}

//! At most so many actions in an hour: a circuit breaker. It opens with the action that would be one
//! too many, refuses every further one, and is closed by a person.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use shared_events::{Timestamp, action::ALL_TARGETS};

use super::{State, sentence};

/// What a limit counts over.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// Limits of a rules file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Of all targets together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions_per_hour_per_target: Option<u32>,
}

/// What was asked for of late, of one target or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Actions of the last hour, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Timestamp>,
    /// Set while the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
}

/// Why and since when nothing more is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub at: Timestamp,
    pub limit: u32,
    pub reason: String,
}

impl Limits {
    /// Whether there is any.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.actions_per_hour.is_some() || self.actions_per_hour_per_target.is_some()
    }

    /// The limit of this target, or of all (`*`).
    #[must_use]
    pub fn of(&self, target: &str) -> Option<u32> {
        match target {
            ALL_TARGETS => self.actions_per_hour,
            _target => self.actions_per_hour_per_target,
        }
    }
}

impl Budget {
    /// Actions within the hour before `at`.
    #[must_use]
    pub fn used(&self, at: Timestamp) -> usize {
        self.asked
            .iter()
            .filter(|asked| at - **asked < HOUR)
            .count()
    }

    fn note(&mut self, at: Timestamp) {
        let place = self.asked.partition_point(|asked| *asked <= at);
        self.asked.insert(place, at);
        if let Some(latest) = self.asked.last().copied() {
            self.asked.retain(|asked| latest - *asked < HOUR);
        }
    }

    /// Opens the breaker if one more action would be too many. Gives why nothing is asked for.
    fn refuses(&mut self, target: &str, limit: Option<u32>, at: Timestamp) -> Option<Opened> {
        let limit = limit?;
        if self.opened.is_none() {
            let used = self.used(at);
            if used < usize::try_from(limit).unwrap_or(usize::MAX) {
                return None;
            }
            let reason = sentence::limit_opened(target, used, limit);
            self.opened = Some(Opened { at, limit, reason });
        }
        self.opened.clone()
    }
}

/// Which breaker holds an action on `target` back, and why; it opens now if it must.
pub(super) fn refuses(
    state: &mut State,
    limits: Limits,
    target: &str,
    at: Timestamp,
) -> Option<(String, Opened)> {
    if !limits.is_set() {
        return None;
    }
    let own = &mut state.target(target).budget;
    let own = own.refuses(target, limits.of(target), at);
    if let Some(opened) = own {
        return Some((target.to_owned(), opened));
    }
    let opened = state
        .total
        .refuses(ALL_TARGETS, limits.of(ALL_TARGETS), at)?;
    Some((ALL_TARGETS.to_owned(), opened))
}

/// Counts an action that is asked for.
pub(super) fn count(state: &mut State, limits: Limits, target: &str, at: Timestamp) {
    if limits.is_set() {
        state.target(target).budget.note(at);
        state.total.note(at);
    }
}

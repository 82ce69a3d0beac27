//! What differs from what was decided then.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use shared_events::Timestamp;
use uuid::Uuid;

use super::{Answer, Assumed, Decision, Order, Replayed};

/// The part of the past that is reported.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Window {
    pub from: Option<Timestamp>,
    /// Not included.
    pub to: Option<Timestamp>,
}

/// A backtest, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub window: Window,
    /// Hash of the rule set that was tried.
    pub rules_version: String,
    pub order: Order,
    /// Decisions of the log in the window.
    pub then: usize,
    /// Decisions of the rule set that was tried in the window.
    pub now: usize,
    /// Byte for byte what was decided then: answers, reasons, values, state that was read, events.
    pub identical: usize,
    /// The same answers, reasons, values and events; another rule version, state or number.
    pub same: usize,
    pub changed: usize,
    /// Only now.
    pub more: usize,
    /// Only then.
    pub fewer: usize,
    /// Outcomes of actions that happened then and are not asked for now.
    pub moot_outcomes: usize,
    /// Inputs of the log that no topic has any more: they could not be decided again.
    pub lost_inputs: usize,
    pub table: Vec<TableRow>,
    pub assumed: Vec<Assumed>,
    pub differences: Vec<Difference>,
}

/// How often a rule gave an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRow {
    /// Missing where the engine itself answers.
    pub rule: Option<String>,
    pub outcome: String,
    pub then: usize,
    pub now: usize,
}

/// One decision that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub at: Timestamp,
    pub event_id: Uuid,
    pub input: String,
    pub correlation_key: String,
    pub then: Vec<Answer>,
    pub now: Vec<Answer>,
}

/// How a decision differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    More,
    Fewer,
    Changed,
}

impl Window {
    fn holds(&self, decision: &Decision) -> bool {
        self.from.is_none_or(|from| decision.at >= from)
            && self.to.is_none_or(|to| decision.at < to)
    }
}

/// Compares a replay with the log, within `window`.
#[must_use]
pub fn report(
    then: &[Decision],
    replayed: Replayed,
    rules_version: &str,
    window: Window,
) -> Report {
    let then: Vec<&Decision> = then.iter().filter(|made| window.holds(made)).collect();
    let now = replayed.decisions.iter();
    let now: Vec<&Decision> = now.filter(|made| window.holds(made)).collect();
    let mut report = Report {
        window,
        rules_version: rules_version.to_owned(),
        order: replayed.order,
        then: then.len(),
        now: now.len(),
        identical: 0,
        same: 0,
        changed: 0,
        more: 0,
        fewer: 0,
        moot_outcomes: replayed.moot,
        lost_inputs: replayed.lost,
        table: table(&then, &now),
        assumed: replayed.assumed,
        differences: Vec::new(),
    };
    for (before, after) in pairs(&then, &now) {
        report.count(before, after);
    }
    let key = |found: &Difference| (found.at, found.event_id, found.correlation_key.clone());
    report.differences.sort_by_key(key);
    report
}

impl Report {
    /// Whether every decision of the log was made again, byte for byte, and no other.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.identical == self.then && self.then == self.now
    }

    fn count(&mut self, then: Option<&Decision>, now: Option<&Decision>) {
        let (kind, shown) = match (then, now) {
            // equal values are written in equal bytes: their keys are sorted
            (Some(then), Some(now)) if then == now => {
                self.identical += 1;
                return;
            }
            (Some(then), Some(now)) if is_same(then, now) => {
                self.same += 1;
                return;
            }
            (Some(then), Some(_)) => {
                self.changed += 1;
                (DifferenceKind::Changed, then)
            }
            (Some(then), None) => {
                self.fewer += 1;
                (DifferenceKind::Fewer, then)
            }
            (None, Some(now)) => {
                self.more += 1;
                (DifferenceKind::More, now)
            }
            (None, None) => return,
        };
        let answers = |made: Option<&Decision>| made.map(|made| made.outcomes.clone());
        self.differences.push(Difference {
            kind,
            at: shown.at,
            event_id: shown.event_id,
            input: shown.input.clone(),
            correlation_key: shown.correlation_key.clone(),
            then: answers(then).unwrap_or_default(),
            now: answers(now).unwrap_or_default(),
        });
    }
}

type Pair<'a> = (Option<&'a Decision>, Option<&'a Decision>);

/// Decisions about one input that belong together: under one key, else in their order.
fn pairs<'a>(then: &[&'a Decision], now: &[&'a Decision]) -> Vec<Pair<'a>> {
    let mut left: HashMap<Uuid, VecDeque<&'a Decision>> = HashMap::new();
    for made in now {
        left.entry(made.event_id).or_default().push_back(made);
    }
    let mut pairs: Vec<Pair<'a>> = Vec::with_capacity(then.len().max(now.len()));
    let mut unpaired = Vec::new();
    for made in then {
        let others = left.get_mut(&made.event_id);
        let found = others.and_then(|others| {
            let same = |other: &&Decision| other.correlation_key == made.correlation_key;
            others.remove(others.iter().position(same)?)
        });
        match found {
            Some(other) => pairs.push((Some(made), Some(other))),
            None => unpaired.push(*made),
        }
    }
    for made in unpaired {
        let others = left.get_mut(&made.event_id);
        let other = others.and_then(VecDeque::pop_front);
        pairs.push((Some(made), other));
    }
    let more = left.into_values().flatten();
    pairs.extend(more.map(|made| (None, Some(made))));
    pairs
}

/// The same answers and events; versions aside.
pub(super) fn is_same(then: &Decision, now: &Decision) -> bool {
    then.correlation_key == now.correlation_key
        && then.emitted == now.emitted
        && then.outcomes.len() == now.outcomes.len()
        && then.outcomes.iter().zip(&now.outcomes).all(says_the_same)
}

fn says_the_same((then, now): (&Answer, &Answer)) -> bool {
    let Answer {
        rule,
        version: _,
        outcome,
        reason,
        inputs,
        emitted,
        shadow,
    } = then;
    *rule == now.rule
        && *outcome == now.outcome
        && *reason == now.reason
        && *inputs == now.inputs
        && *emitted == now.emitted
        && *shadow == now.shadow
}

fn table(then: &[&Decision], now: &[&Decision]) -> Vec<TableRow> {
    let mut counts: BTreeMap<(Option<&str>, &str), (usize, usize)> = BTreeMap::new();
    for (made, is_now) in then
        .iter()
        .map(|made| (made, false))
        .chain(now.iter().map(|made| (made, true)))
    {
        for answer in &made.outcomes {
            let key = (answer.rule.as_deref(), answer.outcome.as_str());
            let count = counts.entry(key).or_default();
            if is_now {
                count.1 += 1;
            } else {
                count.0 += 1;
            }
        }
    }
    let row = |((rule, outcome), (then, now)): ((Option<&str>, &str), (usize, usize))| TableRow {
        rule: rule.map(str::to_owned),
        outcome: outcome.to_owned(),
        then,
        now,
    };
    counts.into_iter().map(row).collect()
}

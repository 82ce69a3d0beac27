//! Why each rule did what it did: worked out on reading, by the matchers and the condition that
//! decided, from what the log kept of that moment.

use std::collections::BTreeMap;

use serde::Serialize;
use shared_events::{ActionId, Labels, Timestamp};

use super::{
    Action, Matcher, Outcome, Role, Rule, RuleRef, RuleSet, Snapshot, Standing, Verdict,
    condition::{Condition, Facts, Step},
};

/// An alert event, with what was read when it was decided about.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub labels: &'a Labels,
    pub annotations: &'a Labels,
    pub at: Timestamp,
    pub occurrence: i64,
    /// Conditions speak of firing alerts only.
    pub fires: bool,
    pub read: &'a Snapshot,
}

/// One rule in front of one alert event.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub rule: RuleRef,
    pub standing: Standing,
    pub incident: Role,
    pub matched: bool,
    pub matchers: Vec<MatcherSeen>,
    pub condition: Option<ConditionSeen>,
    pub action: Option<ActionSeen>,
    /// Set for a rule that does not mean the alert: its answer, which the log does not keep.
    pub silent: Option<Verdict>,
}

/// A matcher and the label that it looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatcherSeen {
    pub matcher: String,
    pub label: String,
    /// Missing when the alert has no such label, which counts as empty.
    pub value: Option<String>,
    pub matched: bool,
}

/// A condition, worked out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionSeen {
    pub source: String,
    /// Missing when it cannot be told, which counts as false.
    pub value: Option<bool>,
    pub error: Option<String>,
    /// With values in the place of what it compares: `0.84 > 0.9`.
    pub worked_out: String,
    pub steps: Vec<Step>,
}

/// The action of a rule in front of its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionSeen {
    /// Missing when the alert names none.
    pub target: Option<String>,
    pub min_replicas: Option<i32>,
    pub max_replicas: Option<i32>,
    pub replicas: Option<i32>,
    /// Set while the rule must not act on the target again.
    pub cooldown_until: Option<Timestamp>,
    pub pending_action: Option<ActionId>,
    pub paused: bool,
    /// Why nothing may be asked for: too many actions of late.
    pub limit: Option<String>,
}

/// Every rule in front of an alert event, in the order of evaluation.
#[must_use]
pub fn explain(rules: &RuleSet, seen: &Seen<'_>) -> Vec<Explained> {
    let explained = |rule: &Rule| {
        let matched = rule.matches(seen.labels);
        let action = rule.action.as_ref();
        Explained {
            rule: RuleRef::from(rule),
            standing: rule.standing,
            incident: rule.incident,
            matched,
            matchers: rule.matchers.iter().map(|m| matcher(m, seen)).collect(),
            condition: rule
                .when
                .as_ref()
                .filter(|_| seen.fires)
                .map(|when| condition(when, rule, seen)),
            action: action.map(|action| acting(rules, (rule, action), seen)),
            silent: (!matched).then(|| no_match(rule, seen.labels)),
        }
    };
    rules.rules.iter().map(explained).collect()
}

fn matcher(matcher: &Matcher, seen: &Seen<'_>) -> MatcherSeen {
    MatcherSeen {
        matcher: matcher.to_string(),
        label: matcher.label.clone(),
        value: seen.labels.get(&matcher.label).cloned(),
        matched: matcher.is_match(seen.labels),
    }
}

fn condition(when: &Condition, rule: &Rule, seen: &Seen<'_>) -> ConditionSeen {
    let target = rule
        .action
        .as_ref()
        .and_then(|action| seen.labels.get(&action.target_label));
    let facts = Facts {
        labels: seen.labels,
        annotations: seen.annotations,
        at: seen.at,
        occurrence: seen.occurrence,
        replicas: target.and_then(|name| seen.read.targets.get(name)?.replicas),
    };
    let (value, error) = match when.holds(&facts) {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    };
    ConditionSeen {
        source: when.source().to_owned(),
        value,
        error,
        worked_out: when.worked_out(&facts),
        steps: when.steps(&facts),
    }
}

fn acting(rules: &RuleSet, (rule, action): (&Rule, &Action), seen: &Seen<'_>) -> ActionSeen {
    let target = seen.labels.get(&action.target_label);
    let bounds = target.and_then(|name| rules.targets.get(name));
    let known = target.and_then(|name| seen.read.targets.get(name));
    let asked = known.and_then(|known| known.asked_at.get(&rule.cooldown_key()));
    let until = asked.zip(action.cooldown).map(|(at, delta)| *at + delta);
    ActionSeen {
        target: target.cloned(),
        min_replicas: bounds.map(|bounds| bounds.min_replicas),
        max_replicas: bounds.map(|bounds| bounds.max_replicas),
        replicas: known.and_then(|known| known.replicas),
        cooldown_until: until.filter(|until| seen.at < *until),
        pending_action: known.and_then(|known| known.pending),
        paused: known.is_some_and(|known| known.paused),
        limit: known
            .and_then(|known| known.limit.as_ref())
            .or(seen.read.limit.as_ref())
            .map(|opened| opened.reason.clone()),
    }
}

/// The answer of every rule that does not mean an alert with these labels.
#[must_use]
pub fn why_not(rules: &RuleSet, labels: &Labels) -> Vec<Verdict> {
    let silent = rules.rules.iter().filter(|rule| !rule.matches(labels));
    silent.map(|rule| no_match(rule, labels)).collect()
}

fn no_match(rule: &Rule, labels: &Labels) -> Verdict {
    let failing = rule
        .matchers
        .iter()
        .filter(|matcher| !matcher.is_match(labels));
    let causes: Vec<String> = failing
        .map(|matcher| match labels.get(&matcher.label) {
            Some(found) => format!("{matcher}, but {} is {found:?}", matcher.label),
            None => format!("{matcher}, but there is no label {}", matcher.label),
        })
        .collect();
    Verdict {
        rule: Some(RuleRef::from(rule)),
        outcome: Outcome::NoMatch,
        reason: format!("{} wants {}", rule.name, causes.join("; ")),
        inputs: BTreeMap::new(),
        emitted: Vec::new(),
        shadow: !rule.is_live(),
    }
}

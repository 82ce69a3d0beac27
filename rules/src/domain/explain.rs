//! Why the other rules did not answer: worked out on reading, from the same matchers.

use shared_events::Labels;

use super::{Outcome, Rule, RuleRef, RuleSet, Verdict};

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
        inputs: std::collections::BTreeMap::new(),
        emitted: Vec::new(),
    }
}

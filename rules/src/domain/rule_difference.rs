//! What a change of the rules comes to, rule by rule.

use serde::{Deserialize, Serialize};

use super::{Rule, RuleSet};

/// Names of the rules that differ between two sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// In both, in another version.
    pub changed: Vec<String>,
}

impl Difference {
    /// What `after` has that `before` has not, and so on. Without `before` everything is added.
    #[must_use]
    pub fn between(before: Option<&RuleSet>, after: &RuleSet) -> Self {
        let old = |rule: &Rule| before.and_then(|set| set.rule(&rule.name));
        let names = |wanted: &dyn Fn(&Rule) -> bool, set: &RuleSet| -> Vec<String> {
            let found = set.rules.iter().filter(|rule| wanted(rule));
            found.map(|rule| rule.name.clone()).collect()
        };
        Self {
            added: names(&|rule| old(rule).is_none(), after),
            removed: before.map_or_else(Vec::new, |set| {
                names(&|rule| after.rule(&rule.name).is_none(), set)
            }),
            changed: names(
                &|rule| old(rule).is_some_and(|old| old.version != rule.version),
                after,
            ),
        }
    }
}

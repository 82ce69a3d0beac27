//! Which correlation keys an alert touches, and which rules see it there.

use shared_events::Labels;

use super::RuleSet;

/// One correlation that an event is folded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub key: String,
    /// Positions in the rule set of the rules that match and correlate under this key, in order.
    pub rules: Vec<usize>,
}

/// Where an alert with these labels goes. `held`: keys whose incident has the episode already,
/// perhaps by an earlier version of the rules; it stays there, and if no rule that matches has such a
/// key any more, those rules see it there. An alert that no rule means goes to its `topic_key`, to be logged.
#[must_use]
pub fn route(rules: &RuleSet, labels: &Labels, held: &[String], topic_key: &str) -> Vec<Route> {
    let mut routes: Vec<Route> = held.iter().map(|key| Route::to(key)).collect();
    let rules = rules.rules.iter().enumerate();
    let matching = rules.filter(|(_, rule)| rule.matches(labels));
    let matching: Vec<(usize, String)> =
        matching.map(|(at, rule)| (at, rule.key(labels))).collect();
    // else the rule that put it there has another key now
    let is_known = held.is_empty() || matching.iter().any(|(_, key)| held.contains(key));
    for (at, key) in matching {
        match routes.iter_mut().find(|route| route.key == key) {
            Some(route) => route.rules.push(at),
            None if is_known => routes.push(Route {
                key,
                rules: vec![at],
            }),
            None => routes[0].rules.push(at),
        }
    }
    if routes.is_empty() {
        routes.push(Route::to(topic_key));
    }
    routes
}

impl Route {
    fn to(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            rules: Vec::new(),
        }
    }
}

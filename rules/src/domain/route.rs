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
/// perhaps by an earlier version of the rules; an episode belongs to one incident for ever, so it
/// stays there. An alert that no rule means goes to its `topic_key`, to be logged.
#[must_use]
pub fn route(rules: &RuleSet, labels: &Labels, held: &[String], topic_key: &str) -> Vec<Route> {
    let mut routes: Vec<Route> = held.iter().map(|key| Route::to(key)).collect();
    for (at, rule) in rules.rules.iter().enumerate() {
        if !rule.matches(labels) {
            continue;
        }
        let key = rule.key(labels);
        match routes.iter_mut().find(|route| route.key == key) {
            Some(route) => route.rules.push(at),
            None if held.is_empty() => routes.push(Route {
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

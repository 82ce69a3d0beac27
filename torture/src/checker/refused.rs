//! G12: no firing alert waits for nothing.

use std::collections::{HashMap, HashSet};

use super::{
    Evidence, Guarantee, Judgement,
    evidence::DecisionRow,
    index::{Index, matching},
};

/// Refusals that must be decided again.
const AGAIN: [&str; 3] = ["cooldown", "action_pending", "paused"];

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let rows = &evidence.rules_rows;
    let mut answered: HashMap<(uuid::Uuid, &str), &str> = HashMap::new();
    let mut last: HashMap<(&str, &str), &DecisionRow> = HashMap::new();
    for row in &rows.decisions {
        for (rule, _) in &row.outcomes {
            if let Some(episode) = row.episode {
                answered.insert((episode, rule), &row.key);
            }
            last.insert((&row.key, rule), row);
        }
    }
    let timed: HashSet<&str> = rows.timers.iter().map(|(key, _)| key.as_str()).collect();
    let firing = index.episodes.iter().filter(|(_, e)| e.over.is_empty());
    for (id, episode) in firing {
        for rule in matching(evidence, episode.labels) {
            let name = rule.name.as_str();
            let Some(key) = answered.get(&(*id, name)) else {
                let what = format!("rule {name} has no answer to {}", episode.raised.place());
                judgement.breaks(Guarantee::G12, what);
                continue;
            };
            let row = last[&(*key, name)];
            let refused = row
                .outcomes
                .iter()
                .any(|(rule, outcome)| rule == name && AGAIN.contains(&outcome.as_str()));
            if refused && !timed.contains(key) && !rows.waiting.contains(*key) {
                let what = format!(
                    "{} was refused ({:?}, decision {} of {key}) and nothing wakes it",
                    episode.raised.place(),
                    row.outcomes,
                    row.seq
                );
                judgement.breaks(Guarantee::G12, what);
            }
        }
    }
}

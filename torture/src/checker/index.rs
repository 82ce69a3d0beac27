//! The evidence by what it is about, and how far an event came.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::evidence::{Evidence, Fact, IncidentFact, Labels, Record, Requested, Rule};

/// First occurrences, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// The first record of each id, in the order of the evidence.
    pub(super) first: Vec<&'a Record>,
    pub(super) by_id: HashMap<Uuid, &'a Record>,
    /// Episodes by their series' labels.
    pub(super) of_labels: HashMap<&'a Labels, BTreeSet<Uuid>>,
    pub(super) episodes: HashMap<Uuid, Episode<'a>>,
    pub(super) incidents: BTreeMap<Uuid, Vec<(&'a str, &'a IncidentFact)>>,
    /// Incidents that an episode holds, and all that it is in.
    pub(super) held_by: HashMap<Uuid, BTreeSet<Uuid>>,
    pub(super) requested: BTreeMap<Uuid, (&'a Record, &'a Requested)>,
    /// Ends of each action.
    pub(super) ends: HashMap<Uuid, Vec<&'a Record>>,
}

#[derive(Debug)]
pub(super) struct Episode<'a> {
    pub(super) labels: &'a Labels,
    /// Beginnings that it was raised with: a firing that began earlier may be heard later.
    pub(super) starts: BTreeSet<i64>,
    pub(super) raised: &'a Record,
    /// `alert.resolved` of it.
    pub(super) over: Vec<&'a Record>,
}

impl<'a> Index<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let mut index = Self::default();
        let mut seen = HashSet::new();
        for record in &evidence.records {
            if record.injected || record.died.is_some() {
                continue;
            }
            let Some(id) = record.id else { continue };
            if seen.insert(id) {
                index.first.push(record);
                index.by_id.insert(id, record);
                index.add(record);
            }
        }
        // An end may stand before its beginning where a topic was published twice.
        for record in index.first.clone() {
            if let Fact::Over { episode } = &record.fact
                && let Some(known) = index.episodes.get_mut(episode)
            {
                known.over.push(record);
            }
        }
        index
    }

    fn add(&mut self, record: &'a Record) {
        match &record.fact {
            Fact::Raised {
                episode,
                labels,
                starts_at,
                ..
            } => {
                self.of_labels.entry(labels).or_default().insert(*episode);
                let known = self.episodes.entry(*episode).or_insert(Episode {
                    labels,
                    starts: BTreeSet::new(),
                    raised: record,
                    over: Vec::new(),
                });
                known.starts.extend(starts_at);
            }
            Fact::Incident(fact) => {
                let facts = self.incidents.entry(fact.incident).or_default();
                facts.push((&record.kind, fact));
                for (episode, holds, _) in &fact.alerts {
                    if *holds {
                        let held = self.held_by.entry(*episode).or_default();
                        held.insert(fact.incident);
                    }
                }
            }
            Fact::Requested(asked) => {
                self.requested.insert(asked.action, (record, asked));
            }
            Fact::Ended { action, .. } => self.ends.entry(*action).or_default().push(record),
            Fact::Over { .. } | Fact::Unreadable(_) | Fact::Other => {}
        }
    }
}

/// Rules that match these labels.
pub(super) fn matching<'a>(
    evidence: &'a Evidence,
    labels: &'a Labels,
) -> impl Iterator<Item = &'a Rule> {
    let name = labels.get("alertname");
    evidence
        .rules
        .iter()
        .filter(move |rule| Some(&rule.alertname) == name)
}

/// How far the series of these labels came, in words.
pub(super) fn story(evidence: &Evidence, index: &Index<'_>, labels: &Labels) -> String {
    let mut steps = Vec::new();
    let row = evidence
        .ingest
        .alerts
        .iter()
        .find(|(_, row)| row.labels == *labels);
    let Some((alert, row)) = row else {
        return "it stopped before Ingest's table alerts".to_owned();
    };
    steps.push(format!(
        "alerts has {alert} (firing: {}, episode {:?})",
        row.firing, row.episode
    ));
    let none = BTreeSet::new();
    let raised = index.of_labels.get(labels).unwrap_or(&none);
    if raised.is_empty() {
        let waiting = evidence
            .kits
            .get("ingest")
            .map_or(0, |kit| kit.outbox.len());
        steps.push(format!(
            "no alert.raised on the topic; {waiting} wait in Ingest's outbox"
        ));
    }
    for episode in raised {
        steps.push(episode_story(evidence, index, *episode));
    }
    steps.join("; ")
}

fn episode_story(evidence: &Evidence, index: &Index<'_>, episode: Uuid) -> String {
    let Some(known) = index.episodes.get(&episode) else {
        return format!("episode {episode} was never raised");
    };
    let place = known.raised.place();
    let id = known.raised.id.unwrap_or_default();
    let rules = evidence.kits.get("rules");
    if !rules.is_some_and(|kit| kit.done.contains_key(&id)) {
        let dead = rules.is_some_and(|kit| kit.dead.contains_key(&id));
        return format!("{place} is not in Rules' inbox (dead: {dead})");
    }
    let decisions: Vec<String> = evidence
        .rules_rows
        .decisions
        .iter()
        .filter(|row| row.episode == Some(episode))
        .map(|row| format!("{} {} {} {:?}", row.key, row.seq, row.kind, row.outcomes))
        .collect();
    let held: Vec<String> = index
        .held_by
        .get(&episode)
        .into_iter()
        .flatten()
        .map(|incident| {
            let row = evidence.store.incidents.get(incident);
            let status = row.and_then(|row| row.status.clone());
            format!("{incident} (store: {status:?})")
        })
        .collect();
    format!(
        "{place}, over: {}, decided {decisions:?}, incidents {held:?}",
        known.over.len()
    )
}

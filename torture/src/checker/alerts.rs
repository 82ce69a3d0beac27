//! G1 and G2: from accepted firings to episodes and incidents, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Evidence, Guarantee, Judgement,
    evidence::{Labels, Told},
    index::{Index, matching, story},
};

/// What was said about one series.
#[derive(Debug, Default)]
struct Heard {
    /// Starts of firings in 2xx bodies, and when the first of those was answered.
    accepted: BTreeMap<i64, i64>,
    /// Starts of firings in any body, and when each was first sent.
    tried: BTreeMap<i64, i64>,
    /// Ends in 2xx bodies: start, end, when it was accepted first.
    ended: BTreeMap<(i64, i64), i64>,
}

impl Heard {
    fn hear(&mut self, told: &Told, sent_at: i64, accepted_at: Option<i64>) {
        match told.ends_at {
            None => {
                let first = self.tried.entry(told.starts_at).or_insert(sent_at);
                *first = sent_at.min(*first);
                if let Some(at) = accepted_at {
                    let first = self.accepted.entry(told.starts_at).or_insert(at);
                    *first = at.min(*first);
                }
            }
            Some(end) => {
                if let Some(at) = accepted_at {
                    let first = self.ended.entry((told.starts_at, end)).or_insert(at);
                    *first = at.min(*first);
                }
            }
        }
    }

    /// Whether the body of a firing was under way while its end, or that of a later one, and a later
    /// firing were told: stored last, it is one more occurrence of the later one, or over for long.
    fn overtaken(&self, start: i64) -> bool {
        let Some(answered) = self.accepted.get(&start) else {
            return false;
        };
        let mut ended = self.ended.iter();
        let over = ended.any(|((began, _), known)| *began >= start && known < answered);
        let mut later = self.tried.range(start + 1..);
        over && later.any(|(_, sent)| sent < answered)
    }

    /// Whether each firing after the first was sent after the one before was known to be over:
    /// only then is it an episode of its own for certain.
    fn apart(&self) -> bool {
        let starts: Vec<(&i64, &i64)> = self.tried.iter().collect();
        starts.windows(2).all(|pair| {
            let ((one, _), (two, sent)) = (pair[0], pair[1]);
            self.ended
                .iter()
                .any(|((start, end), known)| start >= one && end < two && known < sent)
        })
    }
}

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut heard: HashMap<usize, Heard> = HashMap::new();
    for sent in &evidence.sent {
        let accepted_at = sent.answer.filter(|_| sent.accepted()).map(|(at, _)| at);
        for told in &*sent.told {
            let series = heard.entry(told.series).or_default();
            series.hear(told, sent.at, accepted_at);
            if accepted_at.is_some() && told.ends_at.is_none() {
                judgement.notifications += 1;
            }
        }
    }
    judgement.episodes = index.episodes.len();
    let mut series: Vec<_> = heard.iter().collect();
    series.sort_by_key(|(number, _)| **number);
    for (number, heard) in series {
        let labels = &evidence.series[*number];
        judgement.accepted += heard.accepted.len();
        episodes(evidence, index, (labels, heard), judgement);
    }
    rejects(evidence, judgement);
    one_incident(evidence, index, judgement);
    no_phantom(evidence, index, &heard, judgement);
}

fn episodes(
    evidence: &Evidence,
    index: &Index<'_>,
    (labels, heard): (&Labels, &Heard),
    judgement: &mut Judgement,
) {
    let none = BTreeSet::new();
    let episodes = index.of_labels.get(labels).unwrap_or(&none);
    let starts: BTreeSet<i64> = episodes
        .iter()
        .filter_map(|episode| index.episodes.get(episode))
        .flat_map(|episode| &episode.starts)
        .copied()
        .collect();
    let (apart, first) = (heard.apart(), starts.first());
    let lost = |start: &&i64| match apart {
        true => !starts.contains(start),
        // One that fired on may have swallowed the next.
        false => first.is_none_or(|first| first > *start),
    };
    let accepted = heard.accepted.keys();
    let accepted = accepted.filter(|start| !heard.overtaken(**start));
    let missing: Vec<&i64> = accepted.filter(lost).collect();
    let words = |judgement: &Judgement| match judgement.tells(Guarantee::G1) {
        true => story(evidence, index, labels),
        false => String::new(),
    };
    if !missing.is_empty() {
        judgement.lost += missing.len();
        let words = words(judgement);
        judgement.breaks(
            Guarantee::G1,
            format!(
                "firings of {labels:?} that began at {missing:?} were accepted and have no episode: {words}"
            ),
        );
    }
    if episodes.len() > heard.tried.len() {
        judgement.doubled += episodes.len() - heard.tried.len();
        let words = words(judgement);
        judgement.breaks(
            Guarantee::G1,
            format!(
                "{} episodes of {labels:?}, which fired {} times: {words}",
                episodes.len(),
                heard.tried.len(),
            ),
        );
    }
}

fn rejects(evidence: &Evidence, judgement: &mut Judgement) {
    let mut accepted = BTreeMap::<&str, usize>::new();
    let mut tried = BTreeMap::<&str, usize>::new();
    let lost = evidence.lost.get("ingest").map(|lost| lost.between);
    for sent in &evidence.sent {
        let answered = sent.answer.map_or(sent.at, |(at, _)| at);
        let lost = lost.is_some_and(|(from, until)| from <= answered && sent.at <= until);
        let kept = evidence.forgotten_before.is_none_or(|then| sent.at > then) && !lost;
        for mark in &*sent.bad {
            *tried.entry(mark).or_default() += 1;
            *accepted.entry(mark).or_default() += usize::from(kept && sent.accepted());
        }
    }
    for (mark, tried) in tried {
        let rows = evidence.ingest.rejects.iter();
        let rows = rows.filter(|raw| raw.contains(mark)).count();
        let accepted = accepted[mark];
        if rows < accepted || rows > tried {
            judgement.breaks(
                Guarantee::G1,
                format!("{rows} rows of alert_rejects for bad alert {mark}, accepted {accepted} times of {tried}"),
            );
        }
    }
}

/// Every episode that an `open` rule matches is in exactly one incident, on the topic and in the store.
fn one_incident(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let none = BTreeSet::new();
    let mut in_store: HashMap<_, usize> = HashMap::new();
    for row in evidence.store.incidents.values() {
        for episode in row.alerts.keys() {
            *in_store.entry(*episode).or_default() += 1;
        }
    }
    let mut episodes: Vec<_> = index.episodes.iter().collect();
    episodes.sort_by_key(|(id, _)| **id);
    for (id, episode) in episodes {
        if !matching(evidence, episode.labels).any(|rule| rule.opens) {
            continue;
        }
        let held = index.held_by.get(id).unwrap_or(&none);
        // Of many alerts that are over an incident lists the latest only.
        let known = |incident| {
            let row = evidence.store.incidents.get(incident);
            row.is_some_and(|row| row.status.is_some())
        };
        let kept = held.iter().filter(|incident| known(incident)).count();
        let stored = in_store.get(id).copied().unwrap_or(0).max(kept);
        if held.len() == 1 && stored == 1 {
            continue;
        }
        judgement.lost += usize::from(held.is_empty() || stored == 0);
        judgement.doubled += usize::from(held.len() > 1 || stored > 1);
        if !judgement.tells(Guarantee::G1) {
            judgement.count += 1;
            continue;
        }
        judgement.breaks(
            Guarantee::G1,
            format!(
                "episode {id} holds {} incidents on the topic and is in {stored} of the store: {}",
                held.len(),
                story(evidence, index, episode.labels)
            ),
        );
    }
}

fn no_phantom(
    evidence: &Evidence,
    index: &Index<'_>,
    heard: &HashMap<usize, Heard>,
    judgement: &mut Judgement,
) {
    let fired: BTreeSet<&Labels> = heard
        .iter()
        .filter(|(_, heard)| !heard.tried.is_empty())
        .map(|(series, _)| &evidence.series[*series])
        .collect();
    let stored = evidence.store.incidents.keys();
    let incidents: BTreeSet<_> = index.incidents.keys().chain(stored).collect();
    judgement.incidents = incidents.len();
    for incident in incidents {
        let facts = index.incidents.get(incident);
        let mut alerts = facts
            .into_iter()
            .flatten()
            .flat_map(|(_, fact)| &fact.alerts)
            .map(|(episode, ..)| episode)
            .peekable();
        if alerts.peek().is_none() {
            judgement.breaks(
                Guarantee::G2,
                format!("incident {incident} has no alert on the topic"),
            );
        }
        let unheard = alerts.find(|episode| {
            let known = index.episodes.get(episode);
            !known.is_some_and(|known| fired.contains(known.labels))
        });
        if let Some(episode) = unheard {
            let what =
                format!("incident {incident} has episode {episode}, of which no firing was sent");
            judgement.breaks(Guarantee::G2, what);
        }
    }
}

//! The incidents of G8, and G9: what the topics say is what the tables have.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::{
    Evidence, Guarantee, Judgement,
    evidence::{IncidentFact, IncidentRow, Labels},
    index::Index,
};

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    alerts_agree(evidence, index, judgement);
    agree(evidence, index, judgement);
    rebuilt(evidence, index, judgement);
    gapless(evidence, index, judgement);
}

/// What Ingest believes of a series is what it was told last, and what it published.
fn alerts_agree(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut starts: HashMap<usize, i64> = HashMap::new();
    let mut ended: HashSet<(usize, i64)> = HashSet::new();
    // A body without an answer may have been stored all the same.
    let mut doubtful: HashSet<(usize, i64)> = HashSet::new();
    let mut latest_doubt: HashMap<usize, i64> = HashMap::new();
    for sent in &evidence.sent {
        for told in &*sent.told {
            let place = (told.series, told.starts_at);
            if !sent.accepted() {
                doubtful.insert(place);
                let latest = latest_doubt.entry(told.series).or_insert(told.starts_at);
                *latest = told.starts_at.max(*latest);
                continue;
            }
            if told.ends_at.is_some() {
                ended.insert(place);
            }
            let start = starts.entry(told.series).or_insert(told.starts_at);
            *start = told.starts_at.max(*start);
        }
    }
    let rows: HashMap<&Labels, _> = evidence
        .ingest
        .alerts
        .values()
        .map(|row| (&row.labels, row))
        .collect();
    for (series, start) in starts {
        let Some(row) = rows.get(&evidence.series[series]) else {
            continue; // G1 tells
        };
        let mut fires = !ended.contains(&(series, start));
        // An Alertmanager whose firing was never accepted does not tell of its end.
        let later = latest_doubt
            .get(&series)
            .is_some_and(|doubt| *doubt > start);
        if later || fires && doubtful.contains(&(series, start)) {
            fires = row.firing;
        }
        let open = row.episode.map_or(Some(false), |episode| {
            let published = index.episodes.get(&episode);
            published.map(|episode| episode.over.is_empty())
        });
        if row.firing != fires || open != Some(fires) {
            let what = format!(
                "{:?} fires: {fires}; Ingest says {}, the topic {open:?} ({:?})",
                row.labels, row.firing, row.episode
            );
            judgement.breaks(Guarantee::G8, what);
        }
    }
}

/// An incident is over exactly when nothing holds it any more.
fn agree(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut holding: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for (episode, incidents) in &index.held_by {
        let fires = index
            .episodes
            .get(episode)
            .is_some_and(|e| e.over.is_empty());
        for incident in incidents {
            let holding = holding.entry(*incident).or_default();
            if fires {
                holding.push(*episode);
            }
        }
    }
    for (incident, fires) in holding {
        let row = evidence.store.incidents.get(&incident);
        let status = row.and_then(|row| row.status.as_deref());
        let resolved = status == Some("resolved");
        if resolved != fires.is_empty() {
            let what =
                format!("incident {incident} is {status:?}, and of its alerts {fires:?} fire");
            judgement.breaks(Guarantee::G8, what);
        }
    }
}

/// The row that the facts of one incident come to.
fn derive(facts: &[(&str, &IncidentFact)], acted: bool) -> IncidentRow {
    let rank = |kind: &str| match kind {
        "incident.opened" => 0,
        "incident.updated" => 1,
        "incident.resolved" => 2,
        _ => 3,
    };
    let mut facts = facts.to_vec();
    facts.sort_by_key(|(kind, fact)| (fact.revision, rank(kind)));
    let last_at = |name: &str| {
        let of_kind = facts.iter().filter(|(kind, _)| *kind == name);
        of_kind.map(|(_, fact)| fact.at).max()
    };
    let opened = facts.iter().find(|(kind, _)| *kind == "incident.opened");
    let verdict = facts.iter().rfind(|(kind, _)| *kind != "incident.updated");
    let status = match verdict.map(|(kind, _)| *kind) {
        Some("incident.resolved") => "resolved",
        Some("incident.failed") => "failed",
        _ if acted => "mitigating",
        _ => "open",
    };
    let listed = facts.last().map(|(_, fact)| fact.alerts.as_slice());
    IncidentRow {
        status: opened.map(|_| status.to_owned()),
        opened_at: opened.map(|(_, fact)| fact.at),
        resolved_at: last_at("incident.resolved"),
        failed_at: last_at("incident.failed"),
        alerts: listed
            .unwrap_or_default()
            .iter()
            .map(|(episode, _, fires)| (*episode, *fires))
            .collect(),
    }
}

fn rebuilt(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let acted: HashSet<Uuid> = index
        .requested
        .values()
        .map(|(_, asked)| asked.incident)
        .collect();
    for (incident, facts) in &index.incidents {
        let wanted = derive(facts, acted.contains(incident));
        let row = evidence.store.incidents.get(incident);
        if row != Some(&wanted) {
            let what =
                format!("incident {incident} is {row:?} in the store, {wanted:?} on the topics");
            judgement.breaks(Guarantee::G9, what);
        }
    }
    for incident in evidence.store.incidents.keys() {
        if !index.incidents.contains_key(incident) {
            let what = format!("incident {incident} of the store is on no topic");
            judgement.breaks(Guarantee::G9, what);
        }
    }
    for (action, (record, _)) in &index.requested {
        let end = index.ends.get(action).and_then(|ends| ends.first());
        let wanted = match end.map(|end| &*end.kind) {
            Some("action.completed") => "completed",
            Some(_) => "failed",
            None => "requested",
        };
        let stored = evidence.store.actions.get(action).map(|(_, status)| status);
        if stored.is_none_or(|status| status != wanted) {
            let what = format!("{} is {wanted}, in the store {stored:?}", record.place());
            judgement.breaks(Guarantee::G9, what);
        }
    }
}

/// Replay stands on the recorded order: no number missing, and each decision's words published.
fn gapless(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut keys: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in &evidence.rules_rows.decisions {
        keys.entry(&row.key).or_default().push(row.seq);
        for id in &row.emitted {
            if !index.by_id.contains_key(id) {
                let what = format!(
                    "decision {} of {} emitted {id}, which is on no topic",
                    row.seq, row.key
                );
                judgement.breaks(Guarantee::G9, what);
            }
        }
    }
    for (key, mut numbers) in keys {
        numbers.sort_unstable();
        let hole = numbers
            .iter()
            .zip(1..)
            .find(|(number, wanted)| **number != *wanted);
        if let Some((number, wanted)) = hole {
            let what = format!("decisions of {key}: {number} where {wanted} is due");
            judgement.breaks(Guarantee::G9, what);
        }
    }
}

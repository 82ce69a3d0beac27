//! G5: one effect per event and consumer, and dead letters of the poison only.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{Evidence, Guarantee, Judgement, evidence::Record, index::Index, order::LISTENS};

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    for service in ["rules", "action-runner", "incident-store"] {
        inbox(evidence, index, service, judgement);
        letters(evidence, service, judgement);
    }
    decided_once(evidence, judgement);
    effects(evidence, index, judgement);
}

fn listens(service: &str, record: &Record) -> bool {
    LISTENS.iter().any(|(name, topic, kinds)| {
        *name == service
            && *topic == &*record.topic
            && (record.kind.is_empty() || kinds.contains(&&*record.kind))
    })
}

fn inbox(evidence: &Evidence, index: &Index<'_>, service: &str, judgement: &mut Judgement) {
    let Some(kit) = evidence.kits.get(service) else {
        return;
    };
    for record in index.first.iter().filter(|record| listens(service, record)) {
        let id = record.id.unwrap_or_default();
        if !kit.done.contains_key(&id) && !kit.may_forget(record) {
            let dead = kit.dead.contains_key(&id);
            let what = format!(
                "{} has no effect in {service} (dead: {dead})",
                record.place()
            );
            judgement.breaks(Guarantee::G5, what);
        }
    }
    for (id, seen) in &kit.done {
        if !index.by_id.contains_key(id) {
            let what = format!("{service} has handled {id} of {seen:?}, which is on no topic");
            judgement.breaks(Guarantee::G5, what);
        }
    }
}

/// A dead letter by what died: topic, partition, offset.
type Place = (String, i32, i64);

fn letters(evidence: &Evidence, service: &str, judgement: &mut Judgement) {
    let poison: BTreeSet<Place> = evidence
        .records
        .iter()
        .filter(|record| record.injected && record.died.is_none() && listens(service, record))
        .map(|record| (record.topic.to_string(), record.partition, record.offset))
        .collect();
    let suffix = format!(".dlq.{service}");
    let letters: BTreeSet<Place> = evidence
        .records
        .iter()
        .filter(|record| record.topic.ends_with(&suffix))
        .filter_map(|record| record.died.clone())
        .collect();
    judgement.dead_letters += letters.len();
    for place in poison.difference(&letters) {
        let what = format!("poison {place:?} is no dead letter of {service}");
        judgement.breaks(Guarantee::G5, what);
    }
    for place in letters.difference(&poison) {
        let what = format!("{service} has a dead letter of {place:?}, which is no poison");
        judgement.breaks(Guarantee::G5, what);
    }
    let dead: BTreeSet<Place> = evidence
        .kits
        .get(service)
        .map_or_else(BTreeSet::new, |kit| {
            kit.dead
                .values()
                .map(|seen| (seen.topic.clone(), seen.partition, seen.offset))
                .collect()
        });
    if dead.len() != poison.len() {
        let what = format!(
            "{} records are dead in {service}, {} are poison: {:?}",
            dead.len(),
            poison.len(),
            dead.symmetric_difference(&poison).next()
        );
        judgement.breaks(Guarantee::G5, what);
    }
}

fn decided_once(evidence: &Evidence, judgement: &mut Judgement) {
    let mut seen: HashMap<(Uuid, &str), i64> = HashMap::new();
    for row in &evidence.rules_rows.decisions {
        if let Some(before) = seen.insert((row.input, &row.key), row.seq) {
            let what = format!(
                "{} {} was decided twice under {}: {before} and {}",
                row.kind, row.input, row.key, row.seq
            );
            judgement.breaks(Guarantee::G5, what);
        }
    }
}

fn effects(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let decided: BTreeSet<Uuid> = evidence
        .rules_rows
        .decisions
        .iter()
        .map(|row| row.input)
        .collect();
    let asked: BTreeSet<Uuid> = evidence
        .runner
        .actions
        .values()
        .map(|(event, _)| *event)
        .collect();
    for record in &index.first {
        let id = record.id.unwrap_or_default();
        let missing = match &*record.kind {
            "alert.raised" | "alert.resolved" if !decided.contains(&id) => "Rules' decisions_log",
            "action.requested" if !asked.contains(&id) => "action_exec",
            _ if listens("incident-store", record) && !evidence.store.story.contains_key(&id) => {
                "incident_events"
            }
            _ => continue,
        };
        let what = format!("{} left nothing in {missing}", record.place());
        judgement.breaks(Guarantee::G5, what);
    }
    for id in evidence.store.story.keys() {
        if !index.by_id.contains_key(id) {
            let what = format!("incident_events has {id}, which is on no topic");
            judgement.breaks(Guarantee::G5, what);
        }
    }
}

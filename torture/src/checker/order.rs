//! G3 and G4: the outboxes, the lag, and the order of what was published.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::{Evidence, Guarantee, Judgement, evidence::Record, index::Index};

/// Who reads what, as the design has it.
pub(super) const LISTENS: [(&str, &str, &[&str]); 6] = [
    ("rules", "alert", &["alert.raised", "alert.resolved"]),
    ("rules", "action", &["action.completed", "action.failed"]),
    ("rules", "rule", &["rule.changed"]),
    (
        "action-runner",
        "action",
        &["action.requested", "target.paused", "target.resumed"],
    ),
    (
        "incident-store",
        "incident",
        &[
            "incident.opened",
            "incident.updated",
            "incident.resolved",
            "incident.failed",
        ],
    ),
    (
        "incident-store",
        "action",
        &["action.requested", "action.completed", "action.failed"],
    ),
];

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    at_rest(evidence, judgement);
    in_sequence(evidence, judgement);
    published(evidence, index, judgement);
    for record in &evidence.records {
        if let (super::evidence::Fact::Unreadable(why), false) = (&record.fact, record.injected) {
            let what = format!("{} cannot be read: {why}", record.place());
            judgement.breaks(Guarantee::G4, what);
        }
    }
}

fn at_rest(evidence: &Evidence, judgement: &mut Judgement) {
    for (service, kit) in &evidence.kits {
        if let Some((id, kind)) = kit.outbox.first() {
            let waiting = kit.outbox.len();
            let what =
                format!("{waiting} events wait in the outbox of {service}: {kind} {id} first");
            judgement.breaks(Guarantee::G3, what);
        }
    }
    for (service, topic, kinds) in LISTENS {
        let Some(kit) = evidence.kits.get(service) else {
            continue;
        };
        let behind = |record: &&Record| {
            let place = (topic.to_owned(), record.partition);
            let next = kit.next.get(&place).copied().unwrap_or(0);
            &*record.topic == topic && kinds.contains(&&*record.kind) && record.offset >= next
        };
        let mut lagging = evidence.records.iter().filter(behind).peekable();
        if let Some(first) = lagging.peek() {
            let first = first.place();
            let count = lagging.count();
            let what = format!("{service} lags {count} records behind on {topic}: {first} first");
            judgement.breaks(Guarantee::G3, what);
        }
    }
}

/// The first occurrence of each event of each source: a database that was restored says some of what
/// it had said once more, under numbers of its own.
fn of_each_source(evidence: &Evidence) -> impl Iterator<Item = &Record> {
    let mut seen = HashSet::new();
    evidence.records.iter().filter(move |record| {
        let counts = !record.injected && record.died.is_none();
        counts
            && record
                .id
                .is_some_and(|id| seen.insert((id, &*record.source)))
    })
}

fn in_sequence(evidence: &Evidence, judgement: &mut Judgement) {
    let mut last: HashMap<(&str, &str, &str), (u64, &Record)> = HashMap::new();
    let mut homes: HashMap<(&str, &str), i32> = HashMap::new();
    for record in of_each_source(evidence) {
        let home = homes
            .entry((&record.topic, &record.key))
            .or_insert(record.partition);
        if *home != record.partition {
            let what = format!(
                "{} has a key that is in partition {home} too",
                record.place()
            );
            judgement.breaks(Guarantee::G4, what);
        }
        let Some(number) = record.sequence else {
            judgement.breaks(Guarantee::G4, format!("{} has no sequence", record.place()));
            continue;
        };
        let place = (&*record.topic, &*record.key, &*record.source);
        let before = last.get(&place).map_or(0, |(number, _)| *number);
        // What was restored goes on from the dump: after any number that the lost one had given.
        let goes_on = before == 0
            && evidence.before(record).is_some_and(|source| {
                let given = last.get(&(&*record.topic, &*record.key, source));
                given.is_some_and(|(given, _)| number <= given + 1)
            });
        if number != before + 1 && !goes_on {
            let previous = last.get(&place).map(|(_, record)| record.place());
            let what = format!(
                "{number} follows {before}: {} after {previous:?}",
                record.place()
            );
            judgement.breaks(Guarantee::G4, what);
        }
        last.insert(place, (number.max(before), record));
    }
}

/// What was sent is on the topics, and nothing else is.
fn published(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut sent: BTreeMap<Uuid, (&str, &str)> = BTreeMap::new();
    for (service, kit) in &evidence.kits {
        for (id, topic) in &kit.sent {
            if !topic.contains(".dlq.") {
                sent.insert(*id, (service, topic));
            }
        }
    }
    let there: HashSet<Uuid> = index.by_id.keys().copied().collect();
    for (id, (service, topic)) in &sent {
        if !there.contains(id) {
            let what = format!("{service} marked {id} as sent to {topic}, where it is not");
            judgement.breaks(Guarantee::G3, what);
        }
    }
    for record in &index.first {
        if evidence.is_of_lost(record) {
            continue; // that outbox is lost
        }
        if !record.id.is_some_and(|id| sent.contains_key(&id)) {
            let what = format!("{} is no row of an outbox_sent", record.place());
            judgement.breaks(Guarantee::G3, what);
        }
    }
}

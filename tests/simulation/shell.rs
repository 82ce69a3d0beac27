//! What a service's database holds besides its states: inbox, outbox, sequences, offsets. And the
//! guards that a test can take away.

use std::collections::{BTreeMap, HashSet, VecDeque};

use std::sync::Arc;

use shared_events::EventId;

use crate::log::{Event, Log, PARTITIONS, Record};

pub(crate) const NAMES: [&str; 4] = ["ingest", "rules", "action-runner", "incident-store"];
pub(crate) const INGEST: usize = 0;
pub(crate) const RULES: usize = 1;
pub(crate) const RUNNER: usize = 2;
pub(crate) const STORE: usize = 3;

/// A guard that is taken away, to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The inbox forgets at once, and Rules do not look at sequences.
    Dedup,
    /// The inbox alone: the second line must hold.
    InboxOnly,
    /// The relay sends any row of a key, not the oldest.
    KeyOrder,
    /// The relay deletes a row before the broker has it.
    MarkBeforeAck,
    /// An id is drawn for each sending.
    DrawnIds,
    /// When a process dies before the commit, its state stays and its outbox is lost.
    HalfCommit,
    /// The offset is stored before the commit.
    OffsetBeforeCommit,
    /// A timer fires whatever waits in Kafka.
    Watermarks,
    /// A step is done although something newer was asked for.
    Epoch,
}

/// A row of the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: EventId,
    pub(crate) sequence: i64,
    pub(crate) event: Arc<Event>,
}

type Key = (usize, String);

/// The tables of the kit in one service's database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shell {
    pub(crate) inbox: HashSet<EventId>,
    pub(crate) outbox: BTreeMap<Key, VecDeque<Row>>,
    sequences: BTreeMap<Key, i64>,
    /// `consumer_offsets`
    pub(crate) next: [[usize; PARTITIONS]; 3],
}

impl Shell {
    pub(crate) fn emit(&mut self, events: Vec<Event>) {
        for event in events {
            let key = (event.topic(), event.key());
            let sequence = self.sequences.entry(key.clone()).or_default();
            *sequence += 1;
            let row = Row {
                id: event.id(),
                sequence: *sequence,
                event: Arc::new(event),
            };
            self.outbox.entry(key).or_default().push_back(row);
        }
    }

    /// The row goes after the broker's ack; one that another relay has marked is gone already.
    pub(crate) fn mark(&mut self, key: &Key, sequence: i64) {
        if let Some(rows) = self.outbox.get_mut(key) {
            rows.retain(|row| row.sequence != sequence);
            if rows.is_empty() {
                self.outbox.remove(key);
            }
        }
    }
}

/// Records that an instance has fetched, of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) topic: usize,
    pub(crate) partition: usize,
    pub(crate) from: usize,
    pub(crate) records: Vec<Record>,
}

/// The consumer group of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Where the owner of each partition reads next.
    pub(crate) position: [[usize; PARTITIONS]; 3],
    /// Offsets in Kafka.
    pub(crate) stored: [[usize; PARTITIONS]; 3],
    pub(crate) owner: [[usize; PARTITIONS]; 3],
    pub(crate) in_hand: [Option<Fetched>; 2],
}

impl Group {
    /// A new owner begins at the lower of database and group.
    pub(crate) fn assign(&mut self, shell: &Shell, (topic, partition): (usize, usize), to: usize) {
        self.owner[topic][partition] = to;
        let stored = self.stored[topic][partition];
        self.position[topic][partition] = stored.min(shell.next[topic][partition]);
    }

    pub(crate) fn die(&mut self, shell: &Shell, instance: usize) {
        self.in_hand[instance] = None;
        for topic in 0..3 {
            for partition in 0..PARTITIONS {
                if self.owner[topic][partition] == instance {
                    self.assign(shell, (topic, partition), 1 - instance);
                }
            }
        }
    }

    /// Partitions whose owner could fetch more.
    pub(crate) fn fetchable(&self, log: &Log, topics: &[usize]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for &topic in topics {
            for partition in 0..PARTITIONS {
                let owner = self.owner[topic][partition];
                let more = self.position[topic][partition] < log.end(topic, partition);
                if more && self.in_hand[owner].is_none() {
                    found.push((topic, partition));
                }
            }
        }
        found
    }

    pub(crate) fn fetch(&mut self, log: &Log, (topic, partition): (usize, usize), most: usize) {
        let from = self.position[topic][partition];
        let records = log.records(topic, partition)[from..].iter().take(most);
        let records: Vec<Record> = records.cloned().collect();
        self.position[topic][partition] = from + records.len();
        let owner = self.owner[topic][partition];
        self.in_hand[owner] = Some(Fetched {
            topic,
            partition,
            from,
            records,
        });
    }

    /// Only the owner stores an offset, and never a lower one.
    pub(crate) fn store(&mut self, instance: usize, batch: &Fetched) {
        let (topic, partition) = (batch.topic, batch.partition);
        if self.owner[topic][partition] == instance {
            let end = batch.from + batch.records.len();
            let stored = &mut self.stored[topic][partition];
            *stored = (*stored).max(end);
        }
    }
}

/// Topics that each service listens to.
pub(crate) const LISTENS: [&[usize]; 4] = [&[], &[0, 2], &[2], &[1, 2]];

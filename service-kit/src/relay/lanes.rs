//! Rows in memory, one lane per (topic, key): at most one of a lane is with the broker.
//!
//! Row n+1 of a key is sent only after the broker has acknowledged n. So the first occurrence of
//! each sequence number is in order, whatever retries, restarts or overlapping relays add to it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// What a lane is: topic without prefix, and Kafka key.
pub(super) type LaneKey = Arc<(String, Vec<u8>)>;

/// A row of `outbox_events`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) key: Vec<u8>,
    pub(super) shard: i16,
    pub(super) event_type: String,
    pub(super) headers: Vec<u8>,
    /// Whether the payload is framed with a schema id.
    pub(super) framed: bool,
    pub(super) payload: Vec<u8>,
}

impl Row {
    fn size(&self) -> usize {
        self.headers.len() + self.payload.len()
    }
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Row>,
    /// With the broker: row id and the producer that has it.
    flying: Option<(i64, u64)>,
    shard: i16,
}

/// Every row that was read and is not yet marked as sent.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    ready: VecDeque<LaneKey>,
    /// Waiting, with the broker, or acknowledged and not yet marked.
    known: HashSet<i64>,
    bytes: usize,
    flying: usize,
}

impl Lanes {
    /// Takes rows in id order; those that are known already are dropped.
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            if !self.known.insert(row.id) {
                continue;
            }
            self.bytes += row.size();
            let key: LaneKey = Arc::new((row.topic.clone(), row.key.clone()));
            let lane = self.lanes.entry(Arc::clone(&key)).or_default();
            lane.shard = row.shard;
            if lane.flying.is_none() && lane.waiting.is_empty() {
                self.ready.push_back(key);
            }
            lane.waiting.push_back(row);
        }
    }

    /// The next row to send; it counts as flying with `producer` from now on.
    pub(super) fn take(&mut self, producer: u64) -> Option<(LaneKey, Row)> {
        loop {
            let key = self.ready.pop_front()?;
            // a lane that was dropped or is flying again may have left its key behind
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            if lane.flying.is_some() {
                continue;
            }
            let Some(row) = lane.waiting.pop_front() else {
                continue;
            };
            lane.flying = Some((row.id, producer));
            self.flying += 1;
            self.bytes -= row.size();
            return Some((key, row));
        }
    }

    /// The producer's queue is full: `row` waits again, at the head of its lane.
    pub(super) fn put_back(&mut self, key: LaneKey, row: Row) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            self.flying -= usize::from(lane.flying.take().is_some());
            self.bytes += row.size();
            lane.waiting.push_front(row);
            self.ready.push_front(key);
        }
    }

    /// The broker has `id`. It stays known until [`forget`](Self::forget).
    pub(super) fn acknowledged(&mut self, key: &LaneKey, id: i64) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        if lane.flying.is_none_or(|(flying, _)| flying != id) {
            return;
        }
        lane.flying = None;
        self.flying -= 1;
        if lane.waiting.is_empty() {
            self.lanes.remove(key);
        } else {
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// The lane's head cannot be sent now: everything of the lane is dropped and read again later.
    /// Returns the lowest id that was dropped.
    pub(super) fn drop_lane(&mut self, key: &LaneKey) -> Option<i64> {
        let lane = self.lanes.remove(key)?;
        let mut lowest = None;
        if let Some((id, _)) = lane.flying {
            self.flying -= 1;
            self.known.remove(&id);
            lowest = Some(id);
        }
        for row in lane.waiting {
            self.bytes -= row.size();
            self.known.remove(&row.id);
            lowest = lowest.or(Some(row.id));
        }
        lowest
    }

    /// Drops what waits in shards that are not `owned`; what flies is awaited.
    pub(super) fn keep_shards(&mut self, owned: &[i16]) {
        let (known, bytes) = (&mut self.known, &mut self.bytes);
        self.lanes.retain(|_, lane| {
            if !owned.contains(&lane.shard) {
                for row in lane.waiting.drain(..) {
                    *bytes -= row.size();
                    known.remove(&row.id);
                }
            }
            lane.flying.is_some() || !lane.waiting.is_empty()
        });
    }

    /// Whether `id` is with `producer`.
    pub(super) fn is_flying(&self, key: &LaneKey, id: i64, producer: u64) -> bool {
        self.lanes
            .get(key)
            .is_some_and(|lane| lane.flying == Some((id, producer)))
    }

    /// Heads that are with `producer`.
    pub(super) fn flying_with(&self, producer: u64) -> Vec<(LaneKey, i64)> {
        self.lanes
            .iter()
            .filter_map(|(key, lane)| {
                let (id, with) = lane.flying?;
                (with == producer).then(|| (Arc::clone(key), id))
            })
            .collect()
    }

    /// These rows are out of the outbox.
    pub(super) fn forget(&mut self, ids: &[i64]) {
        for id in ids {
            self.known.remove(id);
        }
    }

    /// In ascending order.
    pub(super) fn known(&self) -> Vec<i64> {
        let mut known: Vec<i64> = self.known.iter().copied().collect();
        known.sort_unstable();
        known
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn flying(&self) -> usize {
        self.flying
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: i64, key: &str) -> Row {
        Row {
            id,
            topic: "t".into(),
            key: key.into(),
            payload: vec![0; 10],
            ..Row::default()
        }
    }

    #[test]
    fn one_of_a_key_flies_and_many_keys_do() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
        let (a, first) = lanes.take(0).expect("a waits");
        let (_, second) = lanes.take(0).expect("b waits");
        assert_eq!((first.id, second.id), (1, 3));
        assert!(lanes.take(0).is_none(), "2 must wait for 1");
        lanes.acknowledged(&a, 1);
        assert_eq!(lanes.take(0).expect("2 is next").1.id, 2);
        assert_eq!(lanes.len(), 3, "known until marked");
        lanes.forget(&[1]);
        assert_eq!(lanes.len(), 2);
    }

    #[test]
    fn what_is_read_twice_is_sent_once() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a")]);
        let (key, _) = lanes.take(0).expect("waits");
        lanes.add(vec![row(1, "a")]);
        lanes.acknowledged(&key, 1);
        lanes.add(vec![row(1, "a")]);
        assert!(lanes.take(0).is_none());
    }

    #[test]
    fn a_failed_head_takes_its_lane_along_and_no_other() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "b"), row(3, "a")]);
        let (key, _) = lanes.take(0).expect("waits");
        assert_eq!(lanes.drop_lane(&key), Some(1));
        assert_eq!(lanes.take(0).expect("b goes on").1.id, 2);
        assert!(lanes.take(0).is_none());
        lanes.add(vec![row(1, "a"), row(3, "a")]);
        assert_eq!(lanes.take(0).expect("read again").1.id, 1);
    }

    #[test]
    fn a_full_queue_puts_the_row_back_in_its_place() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "a")]);
        let before = lanes.bytes();
        let (key, first) = lanes.take(0).expect("waits");
        lanes.put_back(key, first);
        assert_eq!((lanes.bytes(), lanes.flying()), (before, 0));
        assert_eq!(lanes.take(0).expect("waits again").1.id, 1);
    }

    #[test]
    fn lost_shards_keep_only_what_flies() {
        let mut lanes = Lanes::default();
        lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
        let (key, _) = lanes.take(0).expect("waits");
        lanes.keep_shards(&[]);
        assert!(lanes.take(0).is_none());
        assert_eq!(lanes.len(), 1);
        lanes.acknowledged(&key, 1);
        lanes.forget(&[1]);
        assert_eq!((lanes.len(), lanes.bytes(), lanes.flying()), (0, 0, 0));
    }

    proptest! {
        /// Any run of reads, sends, acknowledgements and failures sends each key's rows in order.
        #[test]
        fn first_sendings_of_a_key_are_in_order(steps in prop::collection::vec((0u8..5, 0usize..8), 1..200)) {
            let mut lanes = Lanes::default();
            let mut outbox: Vec<Row> = (0..60).map(|n| row(n, ["a", "b", "c"][n as usize % 3])).collect();
            let mut flying: Vec<(LaneKey, i64)> = Vec::new();
            let mut unmarked: Vec<i64> = Vec::new();
            let mut sent: HashMap<Vec<u8>, Vec<i64>> = HashMap::new();
            for (step, n) in steps {
                match step {
                    0 => lanes.add(outbox.iter().take(n * 4).cloned().collect()),
                    1 => if let Some((key, row)) = lanes.take(0) {
                        sent.entry(row.key.clone()).or_default().push(row.id);
                        flying.push((key, row.id));
                    },
                    2 if !flying.is_empty() => {
                        let (key, id) = flying.swap_remove(n % flying.len());
                        lanes.acknowledged(&key, id);
                        unmarked.push(id);
                    }
                    3 => {
                        outbox.retain(|row| !unmarked.contains(&row.id));
                        lanes.forget(&std::mem::take(&mut unmarked));
                    }
                    4 if !flying.is_empty() => {
                        let (key, _) = flying.swap_remove(n % flying.len());
                        lanes.drop_lane(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(lanes.flying(), flying.len());
            }
            for ids in sent.values() {
                let mut highest = -1;
                for id in ids {
                    // a repeat after a failure is the row that failed, never one that was skipped
                    prop_assert!(*id == highest || *id == highest + 3 || highest == -1);
                    highest = highest.max(*id);
                }
            }
        }
    }
}

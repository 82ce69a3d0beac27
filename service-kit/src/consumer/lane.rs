//! What the loop and the worker of one partition share.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::watermarks::Place;
use crate::dlq::Raw;

/// From here on a partition is paused, and below which it goes on.
const RECORDS: (usize, usize) = (1500, 500);
/// The same in bytes.
const BYTES: (usize, usize) = (2 * 1024 * 1024, 512 * 1024);

/// What the loop hands to a worker.
#[derive(Debug)]
pub(super) enum Item {
    /// Of a type that this service does not want: only its offset counts.
    Skipped(i64),
    Record(Raw),
}

impl Item {
    pub(super) fn offset(&self) -> i64 {
        match self {
            Self::Skipped(offset) => *offset,
            Self::Record(raw) => raw.offset,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Skipped(_) => 0,
            Self::Record(raw) => raw.value.len() + 1024,
        }
    }
}

/// One partition during one assignment: the next assignment of it is another lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// With prefix.
    pub(super) place: Place,
    /// Topic without prefix.
    pub(super) name: String,
    /// No further batch begins.
    pub(super) ended: CancellationToken,
    /// Another member may have it: its offset is not ours to store.
    revoked: AtomicBool,
    /// First offset whose effect is not in the database.
    next: AtomicI64,
    records: AtomicUsize,
    bytes: AtomicUsize,
    paused: AtomicBool,
    began: Instant,
    /// Milliseconds after `began` at which the attempt under way began, plus one; 0: none.
    busy: AtomicU64,
}

impl Lane {
    pub(super) fn new(place: Place, name: String, next: i64) -> Self {
        Self {
            place,
            name,
            ended: CancellationToken::new(),
            revoked: AtomicBool::new(false),
            next: AtomicI64::new(next),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            began: Instant::now(),
            busy: AtomicU64::new(0),
        }
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.ended.cancel();
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self, next: i64) {
        self.next.fetch_max(next, Ordering::Relaxed);
    }

    /// An item is queued; whether the partition must be paused for it.
    pub(super) fn queue(&self, bytes: usize) -> bool {
        let records = self.records.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (records >= RECORDS.0 || bytes >= BYTES.0) && !self.paused.swap(true, Ordering::AcqRel)
    }

    /// Items are done with; whether the partition may go on for it.
    pub(super) fn release(&self, records: usize, bytes: usize) -> bool {
        let records = self.records.fetch_sub(records, Ordering::Relaxed) - records;
        let bytes = self.bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        records <= RECORDS.1 && bytes <= BYTES.1 && self.paused.load(Ordering::Acquire)
    }

    /// The client goes on with it.
    pub(super) fn resumed(&self) {
        self.paused.store(false, Ordering::Release);
    }

    pub(super) fn attempt_begins(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.busy.store(millis + 1, Ordering::Relaxed);
    }

    pub(super) fn attempt_ends(&self) {
        self.busy.store(0, Ordering::Relaxed);
    }

    /// How long the attempt under way has taken.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let since = self.busy.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.began
                .elapsed()
                .saturating_sub(Duration::from_millis(since)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane::new(("p.t".into(), 0), "t".into(), 0)
    }

    #[test]
    fn pauses_once_when_full_and_goes_on_when_low() {
        let lane = lane();
        let pauses = (0..2000).filter(|_| lane.queue(1)).count();
        assert_eq!(pauses, 1);
        assert!(!lane.release(1000, 1000));
        assert!(lane.release(500, 500));
        lane.resumed();
        assert!(!lane.release(1, 1));
    }

    #[test]
    fn bytes_pause_too() {
        let lane = lane();
        assert!(!lane.queue(10));
        assert!(lane.queue(2 * 1024 * 1024));
        assert!(!lane.release(1, 10));
        assert!(lane.release(1, 2 * 1024 * 1024));
    }

    #[test]
    fn only_an_attempt_makes_it_busy() {
        let lane = lane();
        assert_eq!(lane.busy_for(), None);
        lane.attempt_begins();
        assert!(lane.busy_for().is_some());
        lane.attempt_ends();
        assert_eq!(lane.busy_for(), None);
    }
}

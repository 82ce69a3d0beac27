//! A series: what Ingest remembers of one set of labels from one source.

use shared_events::{AlertId, EpisodeId, Timestamp};

/// State of a series. Times named `_at` of ours (`at`, `first_seen`, `last_seen`,
/// `resolve_heard_at`) are database times; `starts_at`, `ends_at` and `over_until` are the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    pub alert_id: AlertId,
    /// When it last changed; no later event of it has an earlier `at`.
    pub at: Timestamp,
    pub first_seen: Timestamp,
    /// When something that counted was last heard: not a replay, not a late resolve.
    pub last_seen: Timestamp,
    /// Occurrences of all its episodes.
    pub total_occurrences: i64,
    /// Latest end that a resolve has told: a firing that started no later is known to be over,
    /// for as long as [`resolve_heard_at`](Self::resolve_heard_at) is fresh.
    pub over_until: Option<Timestamp>,
    /// When a resolve that counted was last heard.
    pub resolve_heard_at: Option<Timestamp>,
    pub phase: Phase,
}

/// Where a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No firing was ever accepted.
    Quiet,
    /// Its latest episode fires.
    Open(Episode),
    /// Its latest episode is over.
    Closed(Episode, Closing),
}

/// One stretch of firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    pub id: EpisodeId,
    /// 1 for the first of the series.
    pub number: i64,
    /// Earliest `startsAt` heard of it.
    pub starts_at: Timestamp,
    /// Latest `startsAt` heard of it: a resolve that ends before it is of something older.
    pub last_starts_at: Timestamp,
    /// Accepted notifications, from 1.
    pub occurrences: i64,
    /// The episode that this one reopens.
    pub reopens: Option<EpisodeId>,
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// As the sender told; `None` while the end is only inferred.
    pub ends_at: Option<Timestamp>,
    pub reason: CloseReason,
}

/// Why the latest episode of a series is taken to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The sender said so.
    Notified,
    /// Unheard of for `stale_after`.
    Silent,
}

impl Series {
    /// A series of which nothing was decided yet.
    #[must_use]
    pub const fn new(alert_id: AlertId, at: Timestamp) -> Self {
        Self {
            alert_id,
            at,
            first_seen: at,
            last_seen: at,
            total_occurrences: 0,
            over_until: None,
            resolve_heard_at: None,
            phase: Phase::Quiet,
        }
    }

    /// Number of the next episode.
    #[must_use]
    pub const fn next_number(&self) -> i64 {
        match self.phase {
            Phase::Quiet => 1,
            Phase::Open(episode) | Phase::Closed(episode, _) => episode.number + 1,
        }
    }
}

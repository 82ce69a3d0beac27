//! What a notification does to its series: the table of episodes.
//!
//! | news | series | then |
//! |---|---|---|
//! | firing s | quiet, or closed before s | the next episode opens |
//! | | a fresh resolve told an end at or after s | the next episode is born closed |
//! | | open | one more occurrence; `starts_at` is the earliest heard |
//! | | open, unheard of for `stale_after`, s never heard | superseded: the old one ends, the next opens |
//! | | closed at or after s, a resolve heard within `reopen_after` | a peer's replay: nothing |
//! | | closed at or after s, later; or closed as silent | a new episode that reopens the old one |
//! | resolved s, e | open, e not before its latest start | it ends |
//! | | open, e before its latest start | late, of something older: nothing |
//! | | closed | its end moves up to e |
//! | | quiet, or closed before s | remembered: what fires up to e is known to be over |
//! | nothing | open, unheard of for `stale_after` | it ends as silent |
//!
//! Without time passing, whatever the order and however often each notification comes, a series
//! ends open exactly when its latest start is after its latest end.

use chrono::TimeDelta;
use shared_events::{
    AlertEvent, EpisodeId, Timestamp,
    alert::{AlertRaised, AlertResolved, ResolveReason},
};
use uuid::Uuid;

use super::{
    notice::{About, News},
    series::{CloseReason, Closing, Episode, Phase, Series},
};

/// How long to believe what was heard.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Firings that a resolve has answered are replays for so long after it; more than
    /// Alertmanager's `group_interval` and its peers' waits.
    pub reopen_after: TimeDelta,
    /// An open episode that is unheard of for so long is over; several `repeat_interval`s.
    pub stale_after: TimeDelta,
}

/// One notification of a series as it meets the database.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// Database time; the decision never goes below the series' last.
    pub at: Timestamp,
    pub news: News,
    pub about: &'a About,
    /// The stored body that brought it.
    pub receipt_id: Option<Uuid>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub series: Series,
    /// For topic `alert`, in this order.
    pub events: Vec<AlertEvent>,
    pub outcome: Outcome,
}

/// Which line of the table it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// An episode opened.
    Opened,
    /// An episode opened that reopens the one before.
    Reopened,
    /// An episode opened and ended at once: known to be over.
    BornClosed,
    /// The open episode was unheard of for too long; it ended and the next opened.
    Superseded,
    /// One more occurrence of the open episode.
    Continued,
    /// A firing of an episode that is known to be over: nothing changed.
    Replayed,
    /// The open episode ended.
    Ended,
    /// A resolve of something older than the open episode: nothing changed.
    ResolvedLate,
    /// A resolve of an episode that was over.
    ResolvedAgain,
    /// A resolve of something of which no firing was heard.
    ResolvedUnheard,
    /// The open episode ended because nothing was heard of it.
    Silenced,
    /// Asked for silence, but there is none: nothing changed.
    Heard,
}

/// What a notification does to its series.
#[must_use]
pub fn decide(policy: &Policy, series: &Series, notification: &Notification<'_>) -> Decision {
    let step = Step {
        policy,
        series,
        at: notification.at.max(series.at),
        about: notification.about,
        receipt_id: notification.receipt_id,
    };
    match notification.news {
        News::Firing { starts_at } => step.firing(starts_at),
        News::Resolved { starts_at, ends_at } => step.resolved(starts_at, ends_at),
    }
}

/// What it means for a series that nothing was heard of it until `at`.
#[must_use]
pub fn decide_silence(policy: &Policy, series: &Series, about: &About, at: Timestamp) -> Decision {
    let step = Step {
        policy,
        series,
        at: at.max(series.at),
        about,
        receipt_id: None,
    };
    match series.phase {
        Phase::Open(episode) if step.is_stale() => step.end(episode, None, CloseReason::Silent),
        Phase::Open(_) | Phase::Quiet | Phase::Closed(..) => step.nothing(Outcome::Heard),
    }
}

struct Step<'a> {
    policy: &'a Policy,
    series: &'a Series,
    at: Timestamp,
    about: &'a About,
    receipt_id: Option<Uuid>,
}

impl Step<'_> {
    fn firing(&self, starts_at: Timestamp) -> Decision {
        match self.series.phase {
            Phase::Open(episode) if self.is_stale() && starts_at > episode.last_starts_at => {
                self.supersede(episode, starts_at)
            }
            Phase::Open(episode) => self.continue_episode(episode, starts_at),
            Phase::Quiet => match self.known_end(starts_at) {
                Some(end) => self.bear_closed(starts_at, end),
                None => self.open(starts_at, None, Outcome::Opened),
            },
            Phase::Closed(episode, closing) => {
                match (
                    is_within(&episode, &closing, starts_at),
                    self.known_end(starts_at),
                ) {
                    (true, Some(_)) => self.nothing(Outcome::Replayed),
                    (true, None) => self.open(starts_at, Some(episode.id), Outcome::Reopened),
                    (false, Some(end)) => self.bear_closed(starts_at, end),
                    (false, None) => self.open(starts_at, None, Outcome::Opened),
                }
            }
        }
    }

    fn resolved(&self, starts_at: Timestamp, ends_at: Timestamp) -> Decision {
        match self.series.phase {
            Phase::Open(episode) if ends_at < episode.last_starts_at => {
                self.nothing(Outcome::ResolvedLate)
            }
            Phase::Open(episode) => self.end(episode, Some(ends_at), CloseReason::Notified),
            Phase::Quiet => self.remember(Phase::Quiet, ends_at, Outcome::ResolvedUnheard),
            Phase::Closed(episode, closing) if is_within(&episode, &closing, starts_at) => {
                if closing.ends_at.is_none() && ends_at < episode.last_starts_at {
                    return self.nothing(Outcome::ResolvedLate);
                }
                let closing = Closing {
                    ends_at: closing.ends_at.max(Some(ends_at)),
                    reason: closing.reason,
                };
                let phase = Phase::Closed(episode, closing);
                self.remember(phase, ends_at, Outcome::ResolvedAgain)
            }
            closed @ Phase::Closed(..) => self.remember(closed, ends_at, Outcome::ResolvedUnheard),
        }
    }

    /// Whether the series was unheard of for `stale_after`.
    fn is_stale(&self) -> bool {
        self.at - self.series.last_seen >= self.policy.stale_after
    }

    /// The end that is known of something that started at `starts_at`, while the resolve that told
    /// it is fresh. What still arrives later than that is the truth, not a replay.
    fn known_end(&self, starts_at: Timestamp) -> Option<Timestamp> {
        let fresh = self
            .series
            .resolve_heard_at
            .is_some_and(|heard| self.at - heard < self.policy.reopen_after);
        self.series
            .over_until
            .filter(|end| fresh && starts_at <= *end)
    }

    fn nothing(&self, outcome: Outcome) -> Decision {
        Decision {
            series: *self.series,
            events: Vec::new(),
            outcome,
        }
    }

    fn open(&self, starts_at: Timestamp, reopens: Option<EpisodeId>, outcome: Outcome) -> Decision {
        let number = self.series.next_number();
        let episode = Episode {
            id: EpisodeId::of(self.series.alert_id, number, starts_at),
            number,
            starts_at,
            last_starts_at: starts_at,
            occurrences: 1,
            reopens,
        };
        let mut series = self.touched(Phase::Open(episode));
        series.total_occurrences += 1;
        if series.over_until.is_some_and(|end| starts_at <= end) {
            // It still fires: the resolve that told this end is refuted.
            series.over_until = None;
        }
        Decision {
            series,
            events: vec![self.raised(&episode, None)],
            outcome,
        }
    }

    fn bear_closed(&self, starts_at: Timestamp, end: Timestamp) -> Decision {
        let mut decision = self.open(starts_at, None, Outcome::BornClosed);
        if let Phase::Open(episode) = decision.series.phase {
            let closing = Closing {
                ends_at: Some(end),
                reason: CloseReason::Notified,
            };
            decision.series.phase = Phase::Closed(episode, closing);
            decision.series.over_until = self.series.over_until;
            decision.events = vec![
                self.raised(&episode, Some(end)),
                self.ended(&episode, Some(end), ResolveReason::Notified),
            ];
        }
        decision
    }

    fn continue_episode(&self, mut episode: Episode, starts_at: Timestamp) -> Decision {
        episode.occurrences += 1;
        episode.last_starts_at = episode.last_starts_at.max(starts_at);
        // A stale peer may still tell of the episode before: that is no start of this one.
        if self.series.over_until.is_none_or(|end| starts_at > end) {
            episode.starts_at = episode.starts_at.min(starts_at);
        }
        let mut series = self.touched(Phase::Open(episode));
        series.total_occurrences += 1;
        Decision {
            series,
            events: vec![self.raised(&episode, None)],
            outcome: Outcome::Continued,
        }
    }

    fn supersede(&self, old: Episode, starts_at: Timestamp) -> Decision {
        let mut decision = self.open(starts_at, None, Outcome::Superseded);
        let ended = self.ended(&old, None, ResolveReason::Superseded);
        decision.events.insert(0, ended);
        decision
    }

    fn end(&self, episode: Episode, ends_at: Option<Timestamp>, why: CloseReason) -> Decision {
        let phase = Phase::Closed(
            episode,
            Closing {
                ends_at,
                reason: why,
            },
        );
        let (said, outcome) = match why {
            CloseReason::Notified => (ResolveReason::Notified, Outcome::Ended),
            CloseReason::Silent => (ResolveReason::Silent, Outcome::Silenced),
        };
        let mut decision = match ends_at {
            Some(end) => self.remember(phase, end, outcome),
            None => Decision {
                series: Series {
                    phase,
                    at: self.at,
                    ..*self.series
                },
                events: Vec::new(),
                outcome,
            },
        };
        decision.events.push(self.ended(&episode, ends_at, said));
        decision
    }

    /// The series in `phase`, knowing that all is over up to `end`.
    fn remember(&self, phase: Phase, end: Timestamp, outcome: Outcome) -> Decision {
        let mut series = self.touched(phase);
        series.over_until = series.over_until.max(Some(end));
        series.resolve_heard_at = Some(self.at);
        Decision {
            series,
            events: Vec::new(),
            outcome,
        }
    }

    fn touched(&self, phase: Phase) -> Series {
        Series {
            phase,
            at: self.at,
            last_seen: self.at,
            ..*self.series
        }
    }

    fn raised(&self, episode: &Episode, ends_at: Option<Timestamp>) -> AlertEvent {
        AlertEvent::Raised(AlertRaised {
            alert_id: self.series.alert_id,
            episode_id: episode.id,
            occurrence: episode.occurrences,
            at: self.at,
            source: self.about.source.clone(),
            labels: self.about.labels.clone(),
            annotations: self.about.annotations.clone(),
            starts_at: Some(episode.starts_at),
            ends_at,
            reopens: episode.reopens,
            generator_url: self.about.generator_url.clone(),
            fingerprint: self.about.fingerprint.clone(),
            receipt_id: self.receipt_id,
        })
    }

    fn ended(
        &self,
        episode: &Episode,
        ends_at: Option<Timestamp>,
        reason: ResolveReason,
    ) -> AlertEvent {
        AlertEvent::Resolved(AlertResolved {
            alert_id: self.series.alert_id,
            episode_id: episode.id,
            at: self.at,
            reason,
            source: self.about.source.clone(),
            labels: self.about.labels.clone(),
            annotations: self.about.annotations.clone(),
            starts_at: Some(episode.starts_at),
            ends_at,
        })
    }
}

/// Whether something that started at `starts_at` is part of this episode, which is over.
fn is_within(episode: &Episode, closing: &Closing, starts_at: Timestamp) -> bool {
    starts_at <= closing.ends_at.unwrap_or(episode.last_starts_at)
}

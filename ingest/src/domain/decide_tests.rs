//! The table of episodes, line by line.

use chrono::TimeDelta;
use shared_events::{AlertEvent, AlertId, Timestamp, alert::ResolveReason};

use super::{
    decide::{Decision, Notification, Outcome, Policy, decide, decide_silence},
    notice::{About, News},
    series::{CloseReason, Phase, Series},
};

pub(super) const POLICY: Policy = Policy {
    reopen_after: TimeDelta::minutes(6),
    stale_after: TimeDelta::hours(12),
};

/// `n` seconds on the sender's clock.
pub(super) fn sent(n: i64) -> Timestamp {
    Timestamp::from_timestamp(1_000_000_000 + n, 0).expect("a time")
}

/// `n` seconds on the database's clock, which is far from the sender's.
pub(super) fn ours(n: i64) -> Timestamp {
    Timestamp::from_timestamp(2_000_000_000 + n, 0).expect("a time")
}

pub(super) fn about() -> About {
    About {
        source: "am".to_owned(),
        labels: [("alertname".to_owned(), "HighCPU".to_owned())].into(),
        annotations: [("summary".to_owned(), "hot".to_owned())].into(),
        generator_url: None,
        fingerprint: None,
    }
}

pub(super) fn quiet() -> Series {
    Series::new(AlertId::of("am", &about().labels), ours(0))
}

fn firing(starts_at: i64) -> News {
    News::Firing {
        starts_at: sent(starts_at),
    }
}

fn resolved(starts_at: i64, ends_at: i64) -> News {
    News::Resolved {
        starts_at: sent(starts_at),
        ends_at: sent(ends_at),
    }
}

/// A series and all that was said of it, told step by step.
struct Story {
    series: Series,
    events: Vec<AlertEvent>,
}

impl Story {
    fn new() -> Self {
        Self {
            series: quiet(),
            events: Vec::new(),
        }
    }

    fn take(mut self, decision: Decision, expected: Outcome) -> Self {
        assert_eq!(decision.outcome, expected);
        self.series = decision.series;
        self.events.extend(decision.events);
        self
    }

    fn then(self, at: i64, news: News, expected: Outcome) -> Self {
        let notification = Notification {
            at: ours(at),
            news,
            about: &about(),
            receipt_id: None,
        };
        let decision = decide(&POLICY, &self.series, &notification);
        self.take(decision, expected)
    }

    fn silence(self, at: i64, expected: Outcome) -> Self {
        let decision = decide_silence(&POLICY, &self.series, &about(), ours(at));
        self.take(decision, expected)
    }

    /// `raised <number of the episode>.<occurrence>`, `resolved <number> <reason>`.
    fn said(&self) -> Vec<String> {
        let mut order = Vec::new();
        for event in &self.events {
            if !order.contains(&event.episode_id()) {
                order.push(event.episode_id());
            }
        }
        let number = |id| {
            order
                .iter()
                .position(|known| *known == id)
                .map_or(0, |n| n + 1)
        };
        let tell = |event: &AlertEvent| match event {
            AlertEvent::Raised(raised) => {
                format!("raised {}.{}", number(raised.episode_id), raised.occurrence)
            }
            AlertEvent::Resolved(over) => {
                format!("resolved {} {}", number(over.episode_id), over.reason)
            }
        };
        self.events.iter().map(tell).collect()
    }
}

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

#[test]
fn an_episode_opens_continues_and_ends() {
    let story = Story::new()
        .then(1, firing(10), Outcome::Opened)
        .then(2, firing(10), Outcome::Continued)
        .then(3, firing(8), Outcome::Continued)
        .then(4, resolved(10, 20), Outcome::Ended);
    assert_eq!(
        story.said(),
        [
            "raised 1.1",
            "raised 1.2",
            "raised 1.3",
            "resolved 1 notified"
        ]
    );
    let Phase::Closed(episode, closing) = story.series.phase else {
        panic!("not closed: {story:?}", story = story.series);
    };
    assert_eq!(
        (episode.starts_at, closing.ends_at),
        (sent(8), Some(sent(20)))
    );
    assert_eq!(
        (story.series.first_seen, story.series.last_seen),
        (ours(0), ours(4))
    );
    assert_eq!(story.series.total_occurrences, 3);
}

#[test]
fn firing_after_the_end_is_the_next_episode() {
    let story = Story::new()
        .then(1, firing(10), Outcome::Opened)
        .then(2, resolved(10, 20), Outcome::Ended)
        .then(3, firing(21), Outcome::Opened);
    assert_eq!(
        story.said(),
        ["raised 1.1", "resolved 1 notified", "raised 2.1"]
    );
    assert!(matches!(story.series.phase, Phase::Open(episode) if episode.number == 2));
}

#[test]
fn a_peer_replays_firing_after_resolved() {
    let story =
        Story::new()
            .then(1, firing(10), Outcome::Opened)
            .then(2, resolved(10, 20), Outcome::Ended);
    let before = story.series;
    let story = story.then(3, firing(10), Outcome::Replayed).then(
        6 * MINUTE + 1,
        firing(20),
        Outcome::Replayed,
    );
    assert_eq!(story.series, before, "a replay changes nothing");
    assert_eq!(story.said().len(), 2);
}

#[test]
fn a_firing_that_goes_on_arriving_reopens_as_a_new_episode() {
    let story = Story::new()
        .then(0, firing(10), Outcome::Opened)
        .then(1, resolved(10, 20), Outcome::Ended)
        .then(6 * MINUTE + 1, firing(10), Outcome::Reopened)
        .then(6 * MINUTE + 2, firing(10), Outcome::Continued)
        .then(6 * MINUTE + 3, resolved(10, 30), Outcome::Ended);
    assert_eq!(
        story.said(),
        [
            "raised 1.1",
            "resolved 1 notified",
            "raised 2.1",
            "raised 2.2",
            "resolved 2 notified"
        ]
    );
    let AlertEvent::Raised(reopened) = &story.events[3] else {
        panic!("no raised: {:?}", story.events);
    };
    assert_eq!(reopened.reopens, Some(story.events[0].episode_id()));
}

#[test]
fn a_repeated_resolve_starts_the_wait_for_reopening_anew() {
    Story::new()
        .then(0, firing(10), Outcome::Opened)
        .then(1, resolved(10, 20), Outcome::Ended)
        .then(5 * MINUTE, resolved(10, 25), Outcome::ResolvedAgain)
        .then(10 * MINUTE, firing(25), Outcome::Replayed)
        .then(11 * MINUTE, firing(25), Outcome::Reopened);
}

#[test]
fn resolved_before_firing_is_born_closed() {
    let story = Story::new()
        .then(1, resolved(10, 20), Outcome::ResolvedUnheard)
        .then(2, firing(10), Outcome::BornClosed)
        .then(3, firing(10), Outcome::Replayed)
        .then(4, resolved(10, 20), Outcome::ResolvedAgain);
    assert_eq!(story.said(), ["raised 1.1", "resolved 1 notified"]);
    let AlertEvent::Raised(born) = &story.events[0] else {
        panic!("no raised: {:?}", story.events);
    };
    assert_eq!(born.ends_at, Some(sent(20)), "it tells that it is over");
}

#[test]
fn resolved_before_firing_is_born_closed_after_an_earlier_episode_too() {
    let story = Story::new()
        .then(1, firing(10), Outcome::Opened)
        .then(2, resolved(10, 20), Outcome::Ended)
        .then(3, resolved(30, 40), Outcome::ResolvedUnheard)
        .then(4, firing(15), Outcome::Replayed)
        .then(5, firing(30), Outcome::BornClosed)
        .then(6, firing(41), Outcome::Opened);
    assert_eq!(
        story.said(),
        [
            "raised 1.1",
            "resolved 1 notified",
            "raised 2.1",
            "resolved 2 notified",
            "raised 3.1"
        ]
    );
}

#[test]
fn an_old_resolve_does_not_bury_a_firing_that_goes_on_arriving() {
    let story = Story::new()
        .then(0, resolved(10, 100), Outcome::ResolvedUnheard)
        .then(6 * MINUTE, firing(50), Outcome::Opened)
        .then(6 * MINUTE + 1, resolved(50, 60), Outcome::Ended)
        .then(6 * MINUTE + 2, firing(70), Outcome::Opened);
    assert_eq!(
        story.said(),
        ["raised 1.1", "resolved 1 notified", "raised 2.1"]
    );
}

#[test]
fn a_late_resolve_of_something_older_ends_nothing() {
    let story = Story::new()
        .then(1, firing(10), Outcome::Opened)
        .then(2, firing(30), Outcome::Continued)
        .then(3, resolved(10, 20), Outcome::ResolvedLate)
        .then(4, resolved(30, 30), Outcome::Ended);
    assert_eq!(
        story.said().last().map(String::as_str),
        Some("resolved 1 notified")
    );
}

#[test]
fn a_stale_peer_does_not_move_the_start_before_the_last_end() {
    let story = Story::new()
        .then(1, firing(10), Outcome::Opened)
        .then(2, resolved(10, 20), Outcome::Ended)
        .then(3, firing(30), Outcome::Opened)
        .then(4, firing(10), Outcome::Continued);
    assert!(matches!(story.series.phase, Phase::Open(episode) if episode.starts_at == sent(30)));
}

#[test]
fn silence_ends_an_episode_and_hearing_again_reopens_it() {
    let story = Story::new()
        .then(0, firing(10), Outcome::Opened)
        .silence(12 * HOUR - 1, Outcome::Heard)
        .silence(12 * HOUR, Outcome::Silenced)
        .silence(24 * HOUR, Outcome::Heard)
        .then(24 * HOUR + 1, firing(10), Outcome::Reopened);
    assert_eq!(
        story.said(),
        ["raised 1.1", "resolved 1 silent", "raised 2.1"]
    );
}

#[test]
fn a_resolve_after_silence_tells_the_end() {
    let story = Story::new()
        .then(0, firing(10), Outcome::Opened)
        .silence(12 * HOUR, Outcome::Silenced)
        .then(12 * HOUR + 1, resolved(5, 9), Outcome::ResolvedLate)
        .then(12 * HOUR + 2, resolved(10, 20), Outcome::ResolvedAgain)
        .then(12 * HOUR + 3, firing(10), Outcome::Replayed)
        .then(12 * HOUR + 4, firing(21), Outcome::Opened);
    assert_eq!(
        story.said(),
        ["raised 1.1", "resolved 1 silent", "raised 2.1"]
    );
}

#[test]
fn after_silence_a_new_start_is_the_next_episode() {
    let story = Story::new()
        .then(0, firing(10), Outcome::Opened)
        .silence(12 * HOUR, Outcome::Silenced)
        .then(13 * HOUR, firing(11), Outcome::Opened);
    assert!(matches!(story.series.phase, Phase::Open(episode) if episode.reopens.is_none()));
}

#[test]
fn a_new_start_after_long_silence_supersedes() {
    let story = Story::new().then(0, firing(10), Outcome::Opened).then(
        12 * HOUR,
        firing(11),
        Outcome::Superseded,
    );
    assert_eq!(
        story.said(),
        ["raised 1.1", "resolved 1 superseded", "raised 2.1"]
    );
    let AlertEvent::Resolved(old) = &story.events[1] else {
        panic!("no resolved: {:?}", story.events);
    };
    assert_eq!(
        (old.ends_at, &old.reason),
        (None, &ResolveReason::Superseded)
    );
}

#[test]
fn the_same_start_after_long_silence_goes_on() {
    Story::new()
        .then(0, firing(10), Outcome::Opened)
        .then(12 * HOUR, firing(10), Outcome::Continued)
        .silence(13 * HOUR, Outcome::Heard);
}

#[test]
fn at_never_goes_back() {
    let story = Story::new()
        .then(100, firing(10), Outcome::Opened)
        .then(50, firing(10), Outcome::Continued)
        .then(60, resolved(10, 20), Outcome::Ended);
    assert_eq!(story.series.at, ours(100));
    let AlertEvent::Resolved(over) = &story.events[2] else {
        panic!("no resolved: {:?}", story.events);
    };
    assert_eq!(over.at, ours(100));
    let Phase::Closed(_, closing) = story.series.phase else {
        panic!("not closed");
    };
    assert_eq!(closing.reason, CloseReason::Notified);
}

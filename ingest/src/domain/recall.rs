//! What a series must have been, told from the events that were said of it: for a database that was
//! restored from an older dump.

use shared_events::{
    AlertEvent, AlertId,
    alert::{AlertRaised, AlertResolved, ResolveReason},
};

use super::{
    notice::About,
    series::{CloseReason, Closing, Episode, Phase, Series},
};

impl About {
    /// What an event tells of its series.
    #[must_use]
    pub fn said(event: &AlertEvent) -> Self {
        match event {
            AlertEvent::Raised(raised) => Self {
                source: raised.source.clone(),
                labels: raised.labels.clone(),
                annotations: raised.annotations.clone(),
                generator_url: raised.generator_url.clone(),
                fingerprint: raised.fingerprint.clone(),
            },
            AlertEvent::Resolved(resolved) => Self {
                source: resolved.source.clone(),
                labels: resolved.labels.clone(),
                annotations: resolved.annotations.clone(),
                generator_url: None,
                fingerprint: None,
            },
        }
    }
}

/// The series that an event is about.
#[must_use]
pub const fn series_of(event: &AlertEvent) -> AlertId {
    match event {
        AlertEvent::Raised(raised) => raised.alert_id,
        AlertEvent::Resolved(resolved) => resolved.alert_id,
    }
}

/// `series` after `event` was said of it. Events come in their order; one that is known changes
/// nothing.
#[must_use]
pub fn recall(series: &Series, event: &AlertEvent) -> Series {
    match event {
        AlertEvent::Raised(raised) => raise(*series, raised),
        AlertEvent::Resolved(resolved) => resolve(*series, resolved),
    }
}

fn raise(mut series: Series, raised: &AlertRaised) -> Series {
    let starts_at = raised.starts_at.unwrap_or(raised.at);
    let known = match series.phase {
        Phase::Quiet => None,
        Phase::Open(episode) | Phase::Closed(episode, _) => Some(episode),
    };
    let known = known.filter(|episode| episode.id == raised.episode_id);
    let before = known.map_or(0, |episode| episode.occurrences);
    if raised.occurrence <= before {
        return series;
    }
    let episode = match known {
        Some(episode) => Episode {
            starts_at: episode.starts_at.min(starts_at),
            last_starts_at: episode.last_starts_at.max(starts_at),
            occurrences: raised.occurrence,
            ..episode
        },
        None => Episode {
            id: raised.episode_id,
            number: series.next_number(),
            starts_at,
            last_starts_at: starts_at,
            occurrences: raised.occurrence,
            reopens: raised.reopens,
        },
    };
    series.total_occurrences += raised.occurrence - before;
    series.at = series.at.max(raised.at);
    series.last_seen = series.last_seen.max(raised.at);
    series.phase = match raised.ends_at {
        None => Phase::Open(episode),
        Some(end) => Phase::Closed(
            episode,
            Closing {
                ends_at: Some(end),
                reason: CloseReason::Notified,
            },
        ),
    };
    series
}

fn resolve(mut series: Series, resolved: &AlertResolved) -> Series {
    let Phase::Open(episode) = series.phase else {
        return series;
    };
    if episode.id != resolved.episode_id {
        return series;
    }
    series.at = series.at.max(resolved.at);
    let reason = match resolved.reason {
        ResolveReason::Notified => {
            series.over_until = series.over_until.max(resolved.ends_at);
            series.resolve_heard_at = Some(series.at);
            series.last_seen = series.last_seen.max(resolved.at);
            CloseReason::Notified
        }
        ResolveReason::Superseded | ResolveReason::Silent | ResolveReason::Unknown(_) => {
            CloseReason::Silent
        }
    };
    series.phase = Phase::Closed(
        episode,
        Closing {
            ends_at: resolved.ends_at,
            reason,
        },
    );
    series
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use shared_events::{AlertId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::domain::{News, Notification, Policy, decide};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_795_230_872 + seconds, 0).expect("in range")
    }

    /// Two episodes, a repeat, a replay, and one that is born closed.
    #[test]
    fn a_series_is_what_was_said_of_it() {
        let policy = Policy {
            reopen_after: TimeDelta::minutes(6),
            stale_after: TimeDelta::hours(12),
        };
        let about = About {
            source: "am".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            generator_url: None,
            fingerprint: None,
        };
        let firing = |starts| News::Firing {
            starts_at: at(starts),
        };
        let over = |starts, ends| News::Resolved {
            starts_at: at(starts),
            ends_at: at(ends),
        };
        let mut live = Series::new(AlertId(Uuid::from_u128(1)), at(0));
        let mut told = live;
        let mut said = 0;
        for (seconds, news) in [
            (1, firing(0)),
            (2, firing(0)),
            (3, over(0, 3)),
            (4, firing(0)),
            (5, firing(4)),
            (1_000, over(4, 900)),
            (1_001, firing(950)),
            (90_000, firing(80_000)),
        ] {
            let notification = Notification {
                at: at(seconds),
                news,
                about: &about,
                receipt_id: None,
            };
            let decision = decide(&policy, &live, &notification);
            live = decision.series;
            for event in &decision.events {
                said += 1;
                told = recall(&told, event);
                assert_eq!(recall(&told, event), told, "once is enough");
            }
            let known = |series: &Series| (series.phase, series.total_occurrences);
            assert_eq!(known(&told), known(&live), "at {seconds}");
        }
        assert!(said >= 7, "{said} events");
    }
}

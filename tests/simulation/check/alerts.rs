//! G1, G2: what was accepted, and episodes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use shared_events::{AlertEvent, AlertId, EpisodeId, Timestamp};

use super::{Verdict, ensure};
use crate::{
    ingest::REOPEN_AFTER,
    log::{Event, Record},
    script::SERIES,
    senders::{self, Body, View, alert_id},
};

/// Clocks are stepped by so much at most, back and forth.
const SKEW: TimeDelta = TimeDelta::minutes(10);

/// One alert of a body that was answered with 2xx.
#[derive(Clone, Debug)]
struct Answered {
    series: usize,
    starts_at: Timestamp,
    /// Ingest's clock at the commit, and the latest that it had shown before.
    at: Timestamp,
    high: Timestamp,
}

/// An episode as topic `alert` tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Episode {
    pub(crate) series: usize,
    pub(crate) occurrences: i64,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) resolved: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Alerts {
    ids: BTreeMap<AlertId, usize>,
    posted: [BTreeSet<Timestamp>; SERIES],
    attempts: [i64; SERIES],
    resolves: Vec<(usize, Timestamp, Timestamp)>,
    answered: Vec<Answered>,
    high: Option<Timestamp>,
    pub(crate) episodes: BTreeMap<EpisodeId, Episode>,
    /// `at` of each alert.raised.
    raised_at: [BTreeSet<Timestamp>; SERIES],
}

impl Alerts {
    pub(crate) fn posted(&mut self, body: &Body, now: Timestamp) {
        for &(series, view) in body {
            self.ids.entry(alert_id(series)).or_insert(series);
            match view {
                View::Never => {}
                View::Firing(start) => {
                    self.posted[series].insert(start);
                    self.attempts[series] += 1;
                }
                View::Resolved(_, end) => self.resolves.push((series, end, now)),
            }
        }
    }

    pub(crate) fn answered(&mut self, body: &Body, at: Timestamp) {
        for &(series, view) in body {
            if let View::Firing(starts_at) = view {
                let high = self.high.unwrap_or(at).max(at);
                self.answered.push(Answered {
                    series,
                    starts_at,
                    at,
                    high,
                });
            }
        }
    }

    /// Ingest's clock stood at `now` in a transaction.
    pub(crate) fn clock(&mut self, now: Timestamp) {
        self.high = self.high.max(Some(now));
    }

    pub(crate) fn appended(&mut self, record: &Record) -> Verdict {
        let Event::Alert(event) = &*record.event else {
            return Ok(());
        };
        match event {
            AlertEvent::Raised(raised) => {
                let series = self.ids.get(&raised.alert_id).copied();
                let Some(series) = series else {
                    return ensure(false, "G2", || format!("nobody posted {}", raised.alert_id));
                };
                let starts = raised
                    .starts_at
                    .is_some_and(|at| self.posted[series].contains(&at));
                ensure(starts, "G2", || {
                    format!("no firing of {} that began so", senders::name(series))
                })?;
                let episode = self.episodes.entry(raised.episode_id).or_default();
                episode.series = series;
                episode.occurrences = episode.occurrences.max(raised.occurrence);
                episode.last_at = episode.last_at.max(Some(raised.at));
                self.raised_at[series].insert(raised.at);
                let told: i64 = self.of_series(series).map(|e| e.occurrences).sum();
                let attempts = self.attempts[series];
                ensure(told <= attempts, "G2", || {
                    let name = senders::name(series);
                    format!("{told} occurrences of {name}, posted {attempts} times")
                })
            }
            AlertEvent::Resolved(resolved) => {
                let known = self.episodes.get_mut(&resolved.episode_id);
                let is_known = known.is_some();
                if let Some(episode) = known {
                    episode.resolved = true;
                }
                ensure(is_known, "G4", || {
                    format!("{} resolved before it was raised", resolved.episode_id)
                })
            }
        }
    }

    pub(crate) fn of_series(&self, series: usize) -> impl Iterator<Item = &Episode> {
        self.episodes
            .values()
            .filter(move |episode| episode.series == series)
    }

    /// G1 at rest: each accepted firing is an occurrence, or the replay of one that was resolved
    /// not long before.
    pub(crate) fn at_rest(&self) -> Verdict {
        let mut replays = [0_i64; SERIES];
        let mut counted = [0_i64; SERIES];
        for one in &self.answered {
            let replay = self.resolves.iter().any(|&(series, end, heard)| {
                let fresh = (one.at - heard).abs() < REOPEN_AFTER + SKEW;
                series == one.series && end >= one.starts_at && fresh
            });
            let mut raised = self.raised_at[one.series].range(one.at..=one.high);
            ensure(replay || raised.next().is_some(), "G1", || {
                let name = senders::name(one.series);
                format!(
                    "the firing of {name} that was accepted at {} is nowhere",
                    one.at
                )
            })?;
            replays[one.series] += i64::from(replay);
            counted[one.series] += 1;
        }
        for series in 0..SERIES {
            let told: i64 = self.of_series(series).map(|e| e.occurrences).sum();
            let (accepted, replays) = (counted[series], replays[series]);
            ensure(told >= accepted - replays, "G1", || {
                let name = senders::name(series);
                format!(
                    "{accepted} firings of {name} accepted, {replays} may be replays, {told} told"
                )
            })?;
        }
        Ok(())
    }
}

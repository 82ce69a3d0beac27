//! Which alerts fire: what Prometheus says to both Alertmanagers again and again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::{Book, now};
use crate::checker::evidence::{Labels, Told};

/// Alertmanagers of the pair.
pub(super) const MEMBERS: usize = 2;
/// In microseconds.
pub(super) const SECOND: i64 = 1_000_000;

/// The alerts of all groups.
#[derive(Debug)]
pub struct World(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    series: Vec<Labels>,
    groups: Vec<BTreeMap<usize, Stretch>>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    starts_at: i64,
    ends_at: Option<i64>,
    /// Members that have notified of the end, and need not be told again.
    done: [bool; MEMBERS],
}

impl World {
    #[must_use]
    pub fn new(groups: usize) -> Self {
        Self(Mutex::new(Inner {
            series: Vec::new(),
            groups: vec![BTreeMap::new(); groups],
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no writer panics")
    }

    /// A series that never fired.
    pub fn add(&self, labels: Labels) -> usize {
        let mut inner = self.inner();
        inner.series.push(labels);
        inner.series.len() - 1
    }

    #[must_use]
    pub fn series(&self) -> Vec<Labels> {
        self.inner().series.clone()
    }

    pub(super) fn labels(&self, series: impl Iterator<Item = usize>) -> Vec<Labels> {
        let inner = self.inner();
        series.map(|number| inner.series[number].clone()).collect()
    }

    /// It fires from now on; its start.
    pub(super) fn fire(&self, group: usize, series: usize) -> i64 {
        let starts_at = now();
        let stretch = Stretch {
            starts_at,
            ends_at: None,
            done: [false; MEMBERS],
        };
        self.inner().groups[group].insert(series, stretch);
        starts_at
    }

    /// It is over.
    pub(super) fn resolve(&self, group: usize, series: usize) {
        let now = now();
        if let Some(stretch) = self.inner().groups[group].get_mut(&series) {
            // Alertmanager never says that it ended before it began.
            let end = now.max(stretch.starts_at + 1000);
            stretch.ends_at = stretch.ends_at.or(Some(end));
        }
    }

    /// When its current or last stretch began, as long as that is not forgotten.
    pub(super) fn start_of(&self, group: usize, series: usize) -> Option<i64> {
        let inner = self.inner();
        inner.groups[group]
            .get(&series)
            .map(|known| known.starts_at)
    }

    /// The alerts of a group as a member knows them.
    pub(super) fn snapshot(&self, group: usize, member: usize) -> Vec<Told> {
        let inner = self.inner();
        let alerts = inner.groups[group].iter();
        let alerts = alerts.filter(|(_, stretch)| !stretch.done[member]);
        alerts
            .map(|(series, stretch)| Told {
                series: *series,
                starts_at: stretch.starts_at,
                ends_at: stretch.ends_at,
            })
            .collect()
    }

    /// A flush of `told` succeeded: a member forgets what it has told to be over. Forgotten by both,
    /// it is gone.
    pub(super) fn flushed(&self, group: usize, member: usize, told: &[Told]) {
        let mut inner = self.inner();
        let alerts = &mut inner.groups[group];
        for told in told.iter().filter(|told| told.ends_at.is_some()) {
            if let Some(stretch) = alerts.get_mut(&told.series)
                && stretch.starts_at == told.starts_at
            {
                stretch.done[member] = true;
                if stretch.done.iter().all(|done| *done) {
                    alerts.remove(&told.series);
                }
            }
        }
    }

    /// A member starts anew: Prometheus tells it what it still knows.
    pub(super) fn forgotten_by(&self, member: usize) {
        for alerts in &mut self.inner().groups {
            for stretch in alerts.values_mut() {
                stretch.done[member] = false;
            }
        }
    }

    /// Ends everything but a part, which fires on.
    pub fn wind_down(&self, keep: impl Fn(&Labels) -> bool) {
        let now = now();
        let mut inner = self.inner();
        let Inner { series, groups } = &mut *inner;
        for (number, stretch) in groups.iter_mut().flatten() {
            if !keep(&series[*number]) {
                let end = now.max(stretch.starts_at + 1000);
                stretch.ends_at = stretch.ends_at.or(Some(end));
            }
        }
    }

    /// What nobody has accepted yet.
    #[must_use]
    pub fn untold(&self, book: &Book) -> usize {
        let inner = self.inner();
        let alerts = inner.groups.iter().flatten();
        alerts
            .filter(|(series, stretch)| match stretch.ends_at {
                None => !book.knows_the_start(**series, stretch.starts_at),
                Some(_) => !book.knows_the_end(**series, stretch.starts_at),
            })
            .count()
    }
}

//! What was sent and how it was answered.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::now;
use crate::checker::evidence::{Sent, Told};

/// The driver's log.
#[derive(Debug, Default)]
pub struct Book(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sent: Vec<Sent>,
    /// Series and start.
    tried: HashSet<(usize, i64)>,
    fired: HashSet<(usize, i64)>,
    ended: HashSet<(usize, i64)>,
}

impl Book {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no writer panics")
    }

    /// An attempt begins; its number.
    pub(super) fn begin(&self, member: usize, told: &Arc<[Told]>, bad: &Arc<[String]>) -> usize {
        let mut inner = self.inner();
        for told in told.iter().filter(|told| told.ends_at.is_none()) {
            inner.tried.insert((told.series, told.starts_at));
        }
        inner.sent.push(Sent {
            member,
            at: now(),
            answer: None,
            told: Arc::clone(told),
            bad: Arc::clone(bad),
        });
        inner.sent.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        let mut inner = self.inner();
        inner.sent[number].answer = Some((now(), status));
        if inner.sent[number].accepted() {
            let told = Arc::clone(&inner.sent[number].told);
            for told in &*told {
                let set = match told.ends_at {
                    None => &mut inner.fired,
                    Some(_) => &mut inner.ended,
                };
                set.insert((told.series, told.starts_at));
            }
        }
    }

    /// Whether somebody was told that it is over, or nobody ever that it fires.
    #[must_use]
    pub fn knows_the_end(&self, series: usize, starts_at: i64) -> bool {
        let inner = self.inner();
        let place = (series, starts_at);
        inner.ended.contains(&place) || !inner.tried.contains(&place)
    }

    /// Whether it was accepted that it fires.
    #[must_use]
    pub fn knows_the_start(&self, series: usize, starts_at: i64) -> bool {
        self.inner().fired.contains(&(series, starts_at))
    }

    /// Everything, in the order of sending.
    #[must_use]
    pub fn all(&self) -> Vec<Sent> {
        self.inner().sent.clone()
    }
}

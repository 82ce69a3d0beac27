use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// What is told of them, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn quantiles(mut self) -> Option<Quantiles> {
        self.0.sort_unstable();
        let at = |share: f64| {
            let last = self.0.len().checked_sub(1)?;
            let index = (last as f64 * share).round() as usize;
            self.0.get(index).map(|took| took.as_secs_f64() * 1000.0)
        };
        Some(Quantiles {
            count: self.0.len(),
            p50: at(0.5)?,
            p99: at(0.99)?,
            max: at(1.0)?,
        })
    }
}

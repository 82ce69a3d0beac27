//! The only place that reads this machine's clock or lets time pass.
//!
//! Nothing that is decided may depend on it: decisions take the `at` of their input, or database
//! time ([`Kit::database_now`](crate::Kit::database_now)).

use std::time::Duration;

use chrono::SubsecRound;
use shared_events::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, Sleep};
use tokio_util::sync::CancellationToken;

pub use crate::pace::{Backoff, Stopped, wait};

/// This machine's time, in whole microseconds: for logs and for asking other systems, never for
/// deciding.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    let now = chrono::Utc::now();
    now.trunc_subsecs(6)
}

/// Lets `delay` pass. For what cannot be stopped; else [`wait`].
pub async fn pause(delay: Duration) {
    alarm(delay).await;
}

/// Rings once, after `delay`.
pub(crate) fn alarm(delay: Duration) -> Sleep {
    tokio::time::sleep_until(Instant::now() + delay)
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `budget`; nothing when it is spent.
    #[must_use]
    pub fn left_of(&self, budget: Duration) -> Duration {
        budget.saturating_sub(self.elapsed())
    }
}

/// Ticks at once and then in a fixed rhythm, until the service stops. Late ticks are not caught up.
///
/// ```
/// # async fn prune() {}
/// # async fn example(stop: tokio_util::sync::CancellationToken) {
/// let mut ticker = service_kit::clock::Ticker::new(std::time::Duration::from_secs(60), stop);
/// while ticker.tick().await {
///     prune().await;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Ticker {
    interval: tokio::time::Interval,
    stop: CancellationToken,
}

impl Ticker {
    /// A rhythm of `period` until `stop`.
    #[must_use]
    pub fn new(period: Duration, stop: CancellationToken) -> Self {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, stop }
    }

    /// Waits for the next tick; false when the service stops. Safe to drop while it waits.
    pub async fn tick(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            _ = self.interval.tick() => true,
        }
    }

    /// Begins the rhythm anew: the next tick comes a whole period from now.
    pub fn reset(&mut self) {
        self.interval.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_has_whole_microseconds() {
        assert_eq!(now().timestamp_subsec_nanos() % 1000, 0);
    }

    #[tokio::test]
    async fn a_ticker_ticks_at_once_and_ends_with_the_service() {
        let stop = CancellationToken::new();
        let mut ticker = Ticker::new(Duration::from_secs(3600), stop.clone());
        assert!(ticker.tick().await);
        stop.cancel();
        assert!(!ticker.tick().await);
    }
}

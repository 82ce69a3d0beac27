//! Waiting between attempts: longer each time, jittered, and over at once when the service stops.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// The service is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Waits `delay`, or until `stop` is cancelled.
///
/// # Errors
/// When it was cancelled.
pub async fn wait(delay: Duration, stop: &CancellationToken) -> Result<(), Stopped> {
    match tokio::time::timeout(delay, stop.cancelled()).await {
        Ok(()) => Err(Stopped),
        Err(_) => Ok(()),
    }
}

/// Delays that double from `first` to `most`, each with jitter.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// Begins with `first` and never exceeds about `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            delays: delays(first, most),
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.most)
    }

    /// Begins with the first delay again: something worked.
    pub fn reset(&mut self) {
        self.delays = delays(self.first, self.most);
    }

    /// Waits the next delay, or until `stop` is cancelled.
    ///
    /// # Errors
    /// When it was cancelled.
    pub async fn wait(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        wait(self.next_delay(), stop).await
    }
}

fn delays(first: Duration, most: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(most)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_most_and_begin_again() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(80));
        let mut backoff = Backoff::new(first, most);
        let delays: Vec<Duration> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= first && delays[0] < first * 2 + first);
        // jitter adds up to one delay
        assert!(delays.iter().all(|delay| *delay <= most * 2));
        assert!(delays[100..].iter().all(|delay| *delay >= most));
        backoff.reset();
        assert!(backoff.next_delay() < first * 3);
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_service_stops() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(wait(Duration::from_secs(3600), &stop).await, Err(Stopped));
    }
}

//! Leaving without losing a request: after SIGTERM the app turns unhealthy but still answers, until the
//! balancer sends nothing more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::timeout,
};

/// No request for this long means that the balancer has forgotten this replica. Longer than the pause of a
/// client that sends once a second.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    leaving: Arc<AtomicBool>,
    request: Arc<Notify>,
}

impl Drain {
    /// Tells that a request has come.
    pub(crate) fn request(&self) {
        self.request.notify_one();
    }

    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Waits for SIGTERM or SIGINT, then until requests stay away, `longest` at most.
    pub(crate) async fn wait(self, longest: Duration) {
        let mut terminate = signal(SignalKind::terminate()).expect("a handler can be installed");
        let mut interrupt = signal(SignalKind::interrupt()).expect("a handler can be installed");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.depart(longest).await;
    }

    pub(crate) async fn depart(&self, longest: Duration) {
        self.leaving.store(true, Ordering::Relaxed);
        tracing::info!("leaving: unhealthy from now on, requests are still answered");
        let quiet = async { while timeout(QUIET, self.request.notified()).await.is_ok() {} };
        if timeout(longest, quiet).await.is_err() {
            tracing::warn!("requests still come: leaving all the same");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, interval};

    #[tokio::test(start_paused = true)]
    async fn it_leaves_when_requests_stay_away() {
        let drain = Drain::default();
        let began = Instant::now();
        drain.depart(Duration::from_secs(8)).await;
        assert!(drain.leaving());
        assert_eq!(began.elapsed(), QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_while_requests_come_but_not_for_ever() {
        let drain = Drain::default();
        let balancer = drain.clone();
        let requests = async move {
            let mut ticks = interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                balancer.request();
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = drain.depart(Duration::from_secs(8)) => {}
            () = requests => {}
        }
        assert_eq!(began.elapsed(), Duration::from_secs(8));
    }
}

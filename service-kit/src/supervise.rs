//! Parts of a service that run beside its requests: begun again after a failure, until it is one
//! that the process must not survive.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Class, Error,
    clock::{Backoff, Stopwatch},
    error::chain,
    metrics::PartMetrics,
};

/// First and longest pause before a part is begun again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A part that ran for longer than this begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// A part of a service: something that runs until the service stops.
///
/// `Ok` ends it. An error of class [`Fatal`](Class::Fatal), or a panic, stops the process with a
/// failure; after any other it is made again, with a growing pause. It must end by itself soon
/// after [`Kit::shutdown`](crate::Kit::shutdown) is cancelled.
///
/// ```
/// # use service_kit::{Worker, clock::Ticker};
/// # async fn prune() -> Result<(), service_kit::Error> { Ok(()) }
/// fn pruning(stop: tokio_util::sync::CancellationToken) -> Worker {
///     Worker::new("prune", move || {
///         let mut ticker = Ticker::new(std::time::Duration::from_secs(60), stop.clone());
///         async move {
///             while ticker.tick().await {
///                 prune().await?;
///             }
///             Ok(())
///         }
///     })
/// }
/// ```
pub struct Worker {
    pub(crate) name: &'static str,
    make: Box<dyn FnMut() -> BoxFuture<'static, Result<(), Error>> + Send>,
}

impl Worker {
    /// A part that `make` begins, at first and after each failure.
    pub fn new<F, Fut>(name: &'static str, mut make: F) -> Self
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Self {
            name,
            make: Box::new(move || Box::pin(make())),
        }
    }

    /// Runs it until it ends, `stop` is cancelled between two attempts, or the process must stop.
    pub(crate) async fn supervise(
        mut self,
        stop: CancellationToken,
        metrics: PartMetrics,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let since = Stopwatch::start();
            metrics.up(self.name, true);
            let outcome = self.attempt().await;
            metrics.up(self.name, false);
            let error = match outcome {
                Ok(()) => return Ok(()),
                Err(error) if stop.is_cancelled() && error.class() != Class::Fatal => {
                    tracing::debug!(
                        part = self.name,
                        error = chain(&error),
                        "ended while stopping"
                    );
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.class() == Class::Fatal || matches!(error, Error::Panic { .. }) {
                tracing::error!(
                    part = self.name,
                    error = chain(&error),
                    "the service must stop"
                );
                return Err(error);
            }
            if since.elapsed() > STEADY {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            tracing::warn!(
                part = self.name,
                error = chain(&error),
                ?pause,
                "beginning again"
            );
            if crate::clock::wait(pause, &stop).await.is_err() {
                return Ok(());
            }
            metrics.restarted(self.name);
        }
    }

    async fn attempt(&mut self) -> Result<(), Error> {
        let task = AbortOnDropHandle::new(tokio::spawn((self.make)()));
        match task.await {
            Ok(outcome) => outcome,
            Err(stopped) if stopped.is_cancelled() => Err(Error::Stopping),
            Err(_) => Err(Error::Panic {
                task: self.name.into(),
            }),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish()
    }
}

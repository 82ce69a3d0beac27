//! The parts of a service while they run, and the order of their end.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Error, Metrics, Worker, clock::Stopwatch, database::Pools, metrics::PartMetrics};

/// From the signal to the end of requests, consumer and workers.
const INTAKE: Duration = Duration::from_secs(6);
/// From there to the end of the relay.
const OUTFLOW: Duration = Duration::from_millis(2500);
/// How long closing connections may take.
const CLOSE: Duration = Duration::from_millis(500);

type Outcome = Result<(), Error>;

/// See the module.
pub(crate) struct Running {
    stop: CancellationToken,
    pub(crate) outflow_stop: CancellationToken,
    metrics: PartMetrics,
    intake: JoinSet<Outcome>,
    outflow: JoinSet<Outcome>,
    /// Why the service must stop, if it must.
    failure: Option<Error>,
}

impl Running {
    pub(crate) fn new(metrics: &Metrics, stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            outflow_stop: CancellationToken::new(),
            metrics: PartMetrics::register(metrics),
            intake: JoinSet::new(),
            outflow: JoinSet::new(),
            failure: None,
        }
    }

    pub(crate) fn serve(&mut self, server: impl Future<Output = Outcome> + Send + 'static) {
        self.intake.spawn(server);
    }

    pub(crate) fn intake(&mut self, worker: Worker) {
        let supervised = worker.supervise(self.stop.clone(), self.metrics.clone());
        self.intake.spawn(supervised);
    }

    pub(crate) fn outflow(&mut self, worker: Worker) {
        let supervised = worker.supervise(self.outflow_stop.clone(), self.metrics.clone());
        self.outflow.spawn(supervised);
    }

    /// Keeps the first failure and begins to stop.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
        self.stop.cancel();
    }

    fn ended(&mut self, ended: Result<Outcome, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(error),
            Err(stopped) if stopped.is_cancelled() => {}
            Err(_) => self.fail(Error::Panic {
                task: "http server".into(),
            }),
        }
    }

    /// Waits until the service must stop, or a part fails for good.
    pub(crate) async fn supervise(&mut self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(ended) = self.intake.join_next() => self.ended(ended),
                Some(ended) = self.outflow.join_next() => self.ended(ended),
            }
        }
    }

    /// Stops intake, then outflow, then the pools.
    pub(crate) async fn finish(mut self, pools: Option<&Pools>) -> Result<(), Error> {
        self.stop.cancel();
        let watch = Stopwatch::start();
        while let Ok(Some(ended)) =
            tokio::time::timeout(watch.left_of(INTAKE), self.intake.join_next()).await
        {
            self.ended(ended);
        }
        if !self.intake.is_empty() {
            tracing::warn!(parts = self.intake.len(), "parts cut off at the end");
            self.intake.shutdown().await;
        }
        self.outflow_stop.cancel();
        let watch = Stopwatch::start();
        while let Ok(Some(ended)) =
            tokio::time::timeout(watch.left_of(OUTFLOW), self.outflow.join_next()).await
        {
            self.ended(ended);
        }
        self.outflow.shutdown().await;
        if let Some(pools) = pools {
            drop(tokio::time::timeout(CLOSE, pools.close()).await);
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

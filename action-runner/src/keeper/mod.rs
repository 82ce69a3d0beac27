//! Keeps one target: observes, plans, does idempotent steps, observes again.
//!
//! A keeper works under the target's lease. Before each step it makes sure that the lease holds for
//! long enough, that the epoch is the one it planned under, that nobody has paused the target, and
//! that the service is not stopping.
//!
//! | to find | look in |
//! |---|---|
//! | one look and what follows from it | [`turn`] |
//! | a pending action | [`pursuit`] |
//! | drift, zombies, replicas of an earlier deploy | [`upkeep`] |
//! | doing steps | [`steps`] |

mod pursuit;
mod steps;
mod turn;
mod upkeep;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use service_kit::{
    Error, Kit,
    clock::{Backoff, Stopwatch, wait},
    in_time,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    docker::{Engines, observe::Memory},
    domain::target::Target,
    metrics::RunnerMetrics,
    service::ActionRunner,
    store::{self, Holder, Lease},
};

/// Between two looks while something is awaited.
const LOOK: Duration = Duration::from_millis(250);
/// How often another instance's news is looked for.
const NEWS: Duration = Duration::from_secs(1);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// First and longest pause between repairs that do not last.
const REPAIR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// What every keeper shares.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) kit: Kit<ActionRunner>,
    pub(crate) engines: Engines,
    pub(crate) metrics: RunnerMetrics,
    /// Between two looks at a target where nothing is due.
    pub(crate) sweep: Duration,
}

/// Keeps one target.
pub(crate) struct Keeper {
    tools: Tools,
    target: Target,
    /// Who holds the lease.
    holder: Holder,
    bell: Arc<Notify>,
    stop: CancellationToken,
    memory: Memory,
    /// Slots whose names belong to strangers; forgotten when nothing is due any more.
    blocked: BTreeSet<u32>,
    /// What the engine said when it last failed, until something works.
    trouble: Option<String>,
    /// The epoch under which the engine refused for good, and its words.
    refusal: Option<(i64, String)>,
    /// Server errors in a row.
    errors: u32,
    /// Pauses after looks that failed, and after steps that failed.
    failing: Backoff,
    stumbling: Backoff,
    repair: upkeep::Repair,
    shown: Option<(serde_json::Value, Stopwatch)>,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Look again after this long.
    Again(Duration),
    /// Nothing is due: give the lease back, and look again after this long or when there is news.
    Rest(Duration),
}

impl Keeper {
    pub(crate) fn new(
        tools: Tools,
        target: Target,
        holder: Holder,
        stop: CancellationToken,
    ) -> Self {
        let bell = tools.kit.service().bell(&target.name);
        Self {
            tools,
            target,
            holder,
            bell,
            stop,
            memory: Memory::default(),
            blocked: BTreeSet::new(),
            trouble: None,
            refusal: None,
            errors: 0,
            failing: Backoff::new(PAUSE.0, PAUSE.1),
            stumbling: Backoff::new(PAUSE.0, PAUSE.1),
            repair: upkeep::Repair::new(),
            shown: None,
        }
    }

    /// Keeps the target until it is told to stop.
    pub(crate) async fn run(mut self) {
        let mut failing = Backoff::new(PAUSE.0, PAUSE.1);
        while !self.stop.is_cancelled() {
            let outcome = match self.round().await {
                Ok((rest, epoch)) => {
                    failing.reset();
                    self.rest(rest, epoch).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    target.name = self.target.name,
                    error = service_kit::error::chain(&error),
                    "keeping the target fails; again soon"
                );
                if failing.wait(&self.stop).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Works on the target under its lease until nothing is due. How long that will be so, and the
    /// epoch for which it is.
    async fn round(&mut self) -> Result<(Duration, i64), Error> {
        let pool = self.tools.kit.pool().clone();
        let Some(mut lease) = Lease::take(&pool, &self.target.name, self.holder).await? else {
            // Another instance is at it; its own news reach it.
            return Ok((NEWS, i64::MAX));
        };
        let outcome = self.under(&mut lease).await;
        if let Err(error) = lease.release().await {
            tracing::debug!(
                error = service_kit::error::chain(&error),
                "the lease ends by itself"
            );
        }
        outcome
    }

    async fn under(&mut self, lease: &mut Lease) -> Result<(Duration, i64), Error> {
        loop {
            if self.stop.is_cancelled() || !lease.hold(Duration::ZERO).await? {
                return Ok((NEWS, i64::MAX));
            }
            let looking = store::situation(self.tools.kit.pool(), &self.target.name);
            let situation = in_time("reading a target", looking).await?;
            match Box::pin(self.turn(&situation, lease)).await? {
                Turn::Rest(delay) => return Ok((delay, situation.target.epoch)),
                Turn::Again(delay) => self.nap(delay).await,
            }
        }
    }

    /// Waits for `delay`, news, or the end.
    async fn nap(&self, delay: Duration) {
        tokio::select! {
            biased;
            () = self.bell.notified() => {}
            // It only says whether the service stops, which the caller asks itself.
            _ = wait(delay, &self.stop) => {}
        }
    }

    /// Waits for `delay` or until there is something to do under a later epoch than `epoch`.
    async fn rest(&self, delay: Duration, epoch: i64) -> Result<(), Error> {
        let since = Stopwatch::start();
        loop {
            let left = since.left_of(delay);
            if left.is_zero() || self.stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.bell.notified() => return Ok(()),
                _ = wait(left.min(NEWS), &self.stop) => {}
            }
            if store::epoch(self.tools.kit.pool(), &self.target.name).await? > epoch {
                return Ok(());
            }
        }
    }
}

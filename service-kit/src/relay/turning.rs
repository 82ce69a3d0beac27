//! The relay's loop: one read and one write may be under way beside it.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Relay,
    engine::Engine,
    producer::Report,
    shards::Shards,
    store::{Acks, Failures, Page, Store},
};
use crate::{Error, database::in_time, error::chain, failpoint, outbox::SHARDS, pace::Backoff};

/// How often time itself makes something due: polling, back-offs that end.
const TICK: Duration = Duration::from_millis(50);
/// Ticks after which the outbox is read although nobody rang: 250 ms.
const POLL_TICKS: u32 = 5;
/// Ticks after which it is read from its beginning again: 5 s.
const REWIND_TICKS: u32 = 100;
/// Ids above the floor that make raising it worth two statements.
const FLOOR_STEP: i64 = 1024;
/// How long a stopping relay waits for what is with the broker.
const LANDING: Duration = Duration::from_millis(1500);
/// Reports taken in at once.
const REPORTS: usize = 1024;

/// What a finished write was about.
enum Written {
    Acks(Acks, Result<(), Error>),
    Failures(Failures, Result<Vec<i64>, Error>),
    Relented(Result<(), Error>),
}

/// What a finished read has found.
struct Found {
    /// The engine's epoch when the read began.
    epoch: u64,
    page: Result<Page, Error>,
    barrier: Option<Barrier>,
    floor: Option<i64>,
}

/// Once every transaction below `xid` has ended, no row can appear at or below `candidate`.
#[derive(Clone, Copy, Debug)]
struct Barrier {
    candidate: i64,
    xid: i64,
}

/// The loop and the two statements that may be under way beside it.
pub(super) struct Turning {
    engine: Engine,
    store: Store,
    heard: mpsc::UnboundedReceiver<Report>,
    reading: Option<BoxFuture<'static, Found>>,
    writing: Option<BoxFuture<'static, Written>>,
    /// Something may be in the outbox that was not read.
    wanted: bool,
    trouble: Backoff,
    /// After a database failure nothing is read or written until then.
    silent_until: Instant,
    barrier: Option<Barrier>,
    ticks: u32,
}

impl Turning {
    pub(super) fn new(
        engine: Engine,
        store: Store,
        heard: mpsc::UnboundedReceiver<Report>,
    ) -> Self {
        Self {
            engine,
            store,
            heard,
            reading: None,
            writing: None,
            wanted: true,
            trouble: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            silent_until: Instant::now(),
            barrier: None,
            ticks: 0,
        }
    }

    /// Relays until `stop` is cancelled and what is with the broker has landed.
    pub(super) async fn run(
        mut self,
        relay: &Relay,
        shards: &Shards,
        stop: &CancellationToken,
    ) -> Engine {
        let mut owned = shards.owned.subscribe();
        let mut known = relay.registry.known();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::with_capacity(REPORTS);
        while !stop.is_cancelled() {
            self.engine.send_ready();
            self.start_writing();
            self.start_reading();
            tokio::select! {
                _ = self.heard.recv_many(&mut reports, REPORTS) => self.engine.hear(&mut reports),
                found = under_way(&mut self.reading) => self.found(found),
                written = under_way(&mut self.writing) => self.written(written),
                () = relay.wake.notified() => {
                    self.wanted = true;
                    if self.engine.shards.len() < usize::try_from(SHARDS).unwrap_or_default() {
                        shards.bell.notify_one();
                    }
                }
                // rung by another instance: answered with a bell it would never end
                () = shards.heard.notified() => self.wanted = true,
                _ = owned.changed() => {
                    let now_owned = owned.borrow_and_update().clone();
                    self.engine.own(now_owned);
                    self.barrier = None;
                    self.wanted = true;
                }
                _ = known.changed() => {
                    self.engine.resume_topics();
                    self.wanted = true;
                }
                _ = ticks.tick() => self.tick(),
                () = stop.cancelled() => {}
            }
        }
        self.land().await
    }

    fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        self.wanted |= self.ticks.is_multiple_of(POLL_TICKS);
        if self.ticks.is_multiple_of(REWIND_TICKS) {
            self.engine.floor = 0;
        }
    }

    /// Starts a read if one is wanted, none is under way and there is room.
    fn start_reading(&mut self) {
        let may = self.wanted && self.reading.is_none() && self.silent_until <= Instant::now();
        if !may || !self.engine.has_room() {
            return;
        }
        self.wanted = false;
        let filter = self.engine.filter();
        let (store, epoch, barrier) = (self.store.clone(), self.engine.epoch, self.barrier);
        let highest = self.engine.highest;
        self.reading = Some(
            async move {
                let mut found = Found {
                    epoch,
                    page: Ok(Page::default()),
                    barrier,
                    floor: None,
                };
                let looking = async {
                    match barrier {
                        Some(Barrier { candidate, xid }) => {
                            found.floor = store.floor(&filter, candidate, xid).await?;
                        }
                        None if highest - filter.floor > FLOOR_STEP => {
                            let xid = store.barrier().await?;
                            found.barrier = Some(Barrier {
                                candidate: highest,
                                xid,
                            });
                        }
                        None => {}
                    }
                    store.page(&filter).await
                };
                let page = in_time("reading the outbox", looking).await;
                found.page = page;
                found
            }
            .boxed(),
        );
    }

    fn found(&mut self, found: Found) {
        let page = match found.page {
            Ok(page) => page,
            Err(error) => return self.database_failed(&error),
        };
        if found.epoch != self.engine.epoch {
            // Rows were dropped meanwhile: the page may hold rows that belong behind them.
            self.wanted = true;
            return;
        }
        self.barrier = found.barrier;
        if let Some(floor) = found.floor {
            self.engine.floor = self.engine.floor.max(floor);
            self.barrier = None;
        }
        self.trouble.reset();
        self.wanted |= page.full;
        self.engine.take_page(page.rows);
    }

    /// Starts the most urgent write if none is under way.
    fn start_writing(&mut self) {
        if self.writing.is_some() || self.silent_until > Instant::now() {
            return;
        }
        let store = self.store.clone();
        if !self.engine.acks.ids.is_empty() {
            let acks = std::mem::take(&mut self.engine.acks);
            self.writing = Some(
                async move {
                    let outcome = in_time("marking sent events", store.mark(&acks)).await;
                    failpoint::pass("relay.marked");
                    Written::Acks(acks, outcome)
                }
                .boxed(),
            );
        } else if !self.engine.failures.ids.is_empty() {
            // They stay in the engine until they are written: nothing is read before that.
            let failures = self.engine.failures.clone();
            self.writing = Some(
                async move {
                    let putting_off = store.put_off(&failures);
                    let outcome = in_time("putting off failed events", putting_off).await;
                    Written::Failures(failures, outcome)
                }
                .boxed(),
            );
        } else if std::mem::take(&mut self.engine.recovered) {
            let shards = self.engine.shards.clone();
            self.writing = Some(
                async move {
                    let relenting = store.relent(&shards);
                    Written::Relented(in_time("taking up events", relenting).await)
                }
                .boxed(),
            );
        }
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Acks(acks, Ok(())) => self.engine.lanes.forget(&acks.ids),
            Written::Acks(acks, Err(error)) => {
                // the broker has them whatever the database says: mark them later
                self.engine.acks.append(acks);
                self.database_failed(&error);
            }
            Written::Failures(written, Ok(parked)) => {
                self.engine.failures.remove_first(written.ids.len());
                for id in parked {
                    tracing::error!(id, "event parked: its key waits until a person decides");
                }
                self.wanted = true;
            }
            Written::Relented(Ok(())) => self.wanted = true,
            Written::Failures(_, Err(error)) => self.database_failed(&error),
            Written::Relented(Err(error)) => {
                self.engine.recovered = true;
                self.database_failed(&error);
            }
        }
    }

    fn database_failed(&mut self, error: &Error) {
        let delay = self.trouble.next_delay();
        tracing::warn!(
            error = chain(error),
            ?delay,
            "the relay waits for its database"
        );
        self.silent_until = Instant::now() + delay;
        self.wanted = true;
    }

    /// Sends nothing more; waits for the reports of what was sent, and marks it.
    async fn land(mut self) -> Engine {
        let deadline = Instant::now() + LANDING;
        self.engine.lanes.keep_shards(&[]);
        let mut reports = Vec::with_capacity(REPORTS);
        loop {
            self.start_writing();
            let marked = self.writing.is_none() && self.engine.acks.ids.is_empty();
            if marked && self.engine.lanes.flying() == 0 {
                break;
            }
            let silent_until = self.silent_until;
            let turn = async {
                tokio::select! {
                    _ = self.heard.recv_many(&mut reports, REPORTS) => {}
                    written = under_way(&mut self.writing) => self.written(written),
                    // after a failed mark there is another, while there is time
                    () = sleep_until(silent_until), if silent_until > Instant::now() => {}
                }
            };
            if timeout_at(deadline, turn).await.is_err() {
                let flying = self.engine.lanes.flying();
                tracing::warn!(
                    flying,
                    "stopping before every acknowledgement: these may repeat"
                );
                break;
            }
            self.engine.hear(&mut reports);
        }
        self.engine
    }
}

/// Waits for what is under way, if anything; it stays under way when the wait is given up.
async fn under_way<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(running) => {
            let value = running.await;
            *future = None;
            value
        }
        None => std::future::pending().await,
    }
}

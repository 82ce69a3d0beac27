//! The loop that owns the client.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use rdkafka::{
    Message, Offset, TopicPartitionList, consumer::Consumer, error::KafkaError,
    message::BorrowedMessage,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Command,
    assign::{Start, starts},
    context::Rebalance,
    intake,
    lane::{Item, Lane},
    metrics::PartitionLabels,
    watermarks::{Place, Scope},
    worker::{Shared, Worker},
};
use crate::{Error, Health, Service, database::in_time, error::chain, pace::Backoff};

/// How often the loop looks around although nothing happens. It also polls the client, should a
/// wake-up of it be missed.
const TICK: Duration = Duration::from_millis(250);
/// Ticks after which the lag is measured: 5 s.
const LAG_TICKS: u32 = 20;
/// An attempt at one transaction that takes this long hangs.
const HANGS: Duration = Duration::from_secs(120);
/// Records taken from the client before the loop looks around.
const GREED: usize = 256;
/// The same complaint of the client is repeated in the log after this.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Names of the checks in `/readyz`.
const CONSUMER: &str = "consumer";
const POISON: &str = "poison";

struct Partition {
    lane: Arc<Lane>,
    items: mpsc::UnboundedSender<Item>,
}

pub(super) struct Turn<S: Service> {
    shared: Arc<Shared<S>>,
    health: Health,
    /// By topic with prefix, then partition.
    partitions: HashMap<String, HashMap<i32, Partition>>,
    /// Types that are wanted, by topic with prefix.
    wanted: HashMap<String, &'static [&'static str]>,
    workers: JoinSet<()>,
    /// Counts rebalances: what was asked for an earlier one is void.
    generation: u64,
    /// Finds out where to begin; the client waits for `assign` meanwhile.
    starting: Option<AbortOnDropHandle<()>>,
    measuring: Option<AbortOnDropHandle<()>>,
    ticks: u32,
    complaint: Option<(String, Instant)>,
}

impl<S: Service> Turn<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, health: Health) -> Self {
        let wanted = S::LISTENS
            .iter()
            .map(|(topic, types)| (shared.cluster.topic(topic), *types))
            .collect();
        Self {
            shared,
            health,
            partitions: HashMap::new(),
            wanted,
            workers: JoinSet::new(),
            generation: 0,
            starting: None,
            measuring: None,
            ticks: 0,
            complaint: None,
        }
    }

    pub(super) async fn run(
        &mut self,
        mut rebalanced: mpsc::UnboundedReceiver<Rebalance>,
        mut commanded: mpsc::UnboundedReceiver<Command>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let consumer = Arc::clone(&self.shared.consumer);
        let mut stream = consumer.stream();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(event) = rebalanced.recv() => self.rebalance(event),
                Some(command) = commanded.recv() => self.obey(command)?,
                Some(ended) = self.workers.join_next() => {
                    ended.map_err(|_| Error::Panic { task: "consumer worker".into() })?;
                }
                _ = ticks.tick() => self.tick()?,
                Some(delivered) = stream.next() => {
                    self.take(delivered)?;
                    for _ in 0..GREED {
                        let Some(Some(delivered)) = stream.next().now_or_never() else {
                            break;
                        };
                        self.take(delivered)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, delivered: Result<BorrowedMessage<'_>, KafkaError>) -> Result<(), Error> {
        match delivered {
            Ok(message) => {
                self.queue(&message);
                Ok(())
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                Err(Error::kafka("consuming")(error))
            }
            Err(error) => {
                self.complain(&error.to_string());
                Ok(())
            }
        }
    }

    fn complain(&mut self, text: &str) {
        let now = Instant::now();
        let known = self.complaint.as_ref();
        if known.is_some_and(|(known, at)| known == text && now - *at < COMPLAINT) {
            return;
        }
        tracing::warn!(error = text, "the consumer's client complains");
        self.complaint = Some((text.to_owned(), now));
    }

    /// Copies the record at once: a borrowed one pins the whole fetch that it came in.
    fn queue(&self, message: &BorrowedMessage<'_>) {
        let topic = message.topic();
        let partition = self
            .partitions
            .get(topic)
            .and_then(|p| p.get(&message.partition()));
        let Some(partition) = partition else {
            return;
        };
        let types = self.wanted.get(topic).copied().unwrap_or_default();
        let item = intake::item(message, types);
        if partition.lane.queue(item.bytes()) {
            self.pause(&partition.lane);
        }
        // a worker that has ended wants no more
        drop(partition.items.send(item));
    }

    fn pause(&self, lane: &Lane) {
        if let Err(error) = self.shared.consumer.pause(&list(&lane.place)) {
            tracing::debug!(%error, "partition not paused");
        }
    }

    fn rebalance(&mut self, event: Rebalance) {
        self.generation += 1;
        self.shared.metrics.rebalances.inc();
        self.revoke();
        match event {
            Rebalance::Revoked => tracing::info!("partitions revoked"),
            Rebalance::Assigned(places) => {
                tracing::info!(partitions = places.len(), "partitions assigned");
                let (shared, generation) = (Arc::clone(&self.shared), self.generation);
                let starting = tokio::spawn(find_starts(shared, generation, places));
                self.starting = Some(AbortOnDropHandle::new(starting));
            }
        }
    }

    /// The partitions may be another's now. Their workers finish what they have begun.
    fn revoke(&mut self) {
        self.starting = None;
        self.measuring = None;
        for partition in std::mem::take(&mut self.partitions)
            .into_values()
            .flat_map(HashMap::into_values)
        {
            partition.lane.revoke();
            let labels = labels(&partition.lane);
            self.shared.metrics.lag.remove(&labels);
            self.shared.metrics.stopped.remove(&labels);
        }
        // whoever gets them begins with a new breaker
        self.health.lift(POISON);
    }

    fn obey(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Start(generation, starts) => {
                if generation == self.generation {
                    self.begin(&starts)?;
                }
            }
            // another lane may have it by now, and be full
            Command::Resume(lane) if lane.is_revoked() => {}
            Command::Resume(lane) => {
                // before the client goes on: what it delivers may fill the queue again
                lane.resumed();
                if let Err(error) = self.shared.consumer.resume(&list(&lane.place)) {
                    tracing::debug!(%error, "partition not resumed");
                }
            }
            Command::Tripped(lane) => self.tripped(&lane),
            Command::Ends(Ok(ends)) => self.measured(&ends),
            Command::Ends(Err(error)) => self
                .health
                .report(CONSUMER, Err::<String, _>(chain(&error))),
        }
        Ok(())
    }

    /// Takes up the assignment.
    fn begin(&mut self, starts: &[Start]) -> Result<(), Error> {
        self.starting = None;
        let mut assignment = TopicPartitionList::with_capacity(starts.len());
        for Start {
            place: (topic, partition),
            offset,
        } in starts
        {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            assignment
                .add_partition_offset(topic, *partition, offset)
                .map_err(Error::kafka("choosing where to begin"))?;
        }
        // A pause outlives its assignment: the client keeps it until it is lifted, and a lane that
        // gets nothing has nothing to resume after.
        if let Err(error) = self.shared.consumer.resume(&assignment) {
            tracing::debug!(%error, "partitions not resumed");
        }
        self.shared
            .consumer
            .assign(&assignment)
            .map_err(Error::kafka("taking up partitions"))?;
        for start in starts {
            let (topic, partition) = &start.place;
            let name = self
                .shared
                .cluster
                .unprefixed(topic)
                .unwrap_or(topic)
                .to_owned();
            let lane = Lane::new(start.place.clone(), name, start.offset.unwrap_or_default());
            let lane = Arc::new(lane);
            let (items, queued) = mpsc::unbounded_channel();
            let worker = Worker::new(Arc::clone(&self.shared), Arc::clone(&lane), queued);
            self.workers.spawn(worker.run());
            self.partitions
                .entry(topic.clone())
                .or_default()
                .insert(*partition, Partition { lane, items });
        }
        let begun = format!("{} partitions", starts.len());
        self.health.report(CONSUMER, Ok::<_, String>(begun));
        Ok(())
    }

    fn tripped(&mut self, lane: &Arc<Lane>) {
        if lane.is_revoked() {
            return;
        }
        self.pause(lane);
        let labels = labels(lane);
        self.shared.metrics.stopped.get_or_create(&labels).set(1);
        tracing::error!(
            topic = labels.topic,
            partition = labels.partition,
            next_offset = lane.next(),
            "too much poison: this partition is not consumed any further until a restart or a rebalance"
        );
        let what = format!(
            "{} {}: too much poison, stopped",
            labels.topic, labels.partition
        );
        self.health.gate(POISON);
        self.health.report(POISON, Err::<String, _>(what));
    }

    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.partitions
            .values()
            .flat_map(HashMap::values)
            .map(|partition| &partition.lane)
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.ticks = self.ticks.wrapping_add(1);
        for lane in self.lanes() {
            if let Some(busy) = lane.busy_for().filter(|busy| *busy > HANGS) {
                return Err(Error::Stalled {
                    task: format!("consumer of {} {}", lane.place.0, lane.place.1).into(),
                    seconds: busy.as_secs(),
                });
            }
        }
        if self.ticks.is_multiple_of(LAG_TICKS) {
            let places: Vec<Place> = self.lanes().map(|lane| lane.place.clone()).collect();
            let shared = Arc::clone(&self.shared);
            self.measuring = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                let ends = shared.watermarks.ends(Scope::Places(places)).await;
                drop(shared.commands.send(Command::Ends(ends)));
            })));
        }
        Ok(())
    }

    fn measured(&mut self, ends: &HashMap<Place, i64>) {
        let mut total = 0;
        for lane in self.lanes() {
            if let Some(end) = ends.get(&lane.place) {
                let lag = (end - lane.next()).max(0);
                total += lag;
                self.shared
                    .metrics
                    .lag
                    .get_or_create(&labels(lane))
                    .set(lag);
            }
        }
        let state = format!("{} partitions, lag {total}", self.lanes().count());
        self.health.report(CONSUMER, Ok::<_, String>(state));
    }

    /// No new batches; waits for those in hand.
    pub(super) async fn finish(&mut self, patience: Duration) {
        let pending = self.starting.take().is_some();
        for lane in self.lanes() {
            lane.ended.cancel();
        }
        let workers = &mut self.workers;
        let ending = async { while workers.join_next().await.is_some() {} };
        if timeout(patience, ending).await.is_err() {
            tracing::warn!(
                workers = self.workers.len(),
                "stopping before their last commit"
            );
            self.workers.shutdown().await;
        }
        // the client waits for an answer to its assignment before it can close
        if pending && let Err(error) = self.shared.consumer.unassign() {
            tracing::debug!(%error, "assignment not refused");
        }
    }
}

async fn find_starts<S: Service>(shared: Arc<Shared<S>>, generation: u64, places: Vec<Place>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    // given up by aborting the task
    let never = CancellationToken::new();
    loop {
        let pool = shared.watermarks.pool();
        let looking = starts(pool, &shared.consumer, &shared.watermarks, &places);
        match in_time("looking where to begin", looking).await {
            Ok(starts) => {
                drop(shared.commands.send(Command::Start(generation, starts)));
                return;
            }
            Err(error) => tracing::warn!(error = chain(&error), "not known yet where to begin"),
        }
        if backoff.wait(&never).await.is_err() {
            return;
        }
    }
}

fn list((topic, partition): &Place) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, *partition);
    list
}

fn labels(lane: &Lane) -> PartitionLabels {
    PartitionLabels {
        topic: lane.name.clone(),
        partition: lane.place.1,
    }
}

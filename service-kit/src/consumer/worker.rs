//! One partition's worker: whatever is queued becomes one transaction.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use shared_events::EventId;
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use super::{
    Command,
    breaker::Breaker,
    context::Context,
    lane::{Item, Lane},
    metrics::{Metrics, TopicLabel},
    open::{Opened, Opening, Verdict, open},
    watermarks::Watermarks,
};
use crate::{
    Class, Error, Outgoing, Poison, Service,
    batch::{Handled, Handler, Intake, handle},
    dlq,
    error::chain,
    failpoint,
    inbox::Progress,
    kafka::Cluster,
    pace::{Backoff, Stopped},
    registry::Registry,
};

/// Records of one transaction at most.
const MOST: usize = 500;
/// Records of the first transaction, and of the first after a poison: a bad build is found out
/// before it has made many dead letters.
const FIRST: usize = 8;

/// Traces that the span of one transaction is linked to.
const LINKS: usize = 16;

/// What the workers of all partitions use.
pub(super) struct Shared<S: Service> {
    pub(super) handler: Handler<S>,
    pub(super) cluster: Cluster,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    pub(super) watermarks: Watermarks,
    pub(super) consumer: Arc<StreamConsumer<Context>>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

pub(super) struct Worker<S: Service> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) lane: Arc<Lane>,
    pub(super) items: mpsc::UnboundedReceiver<Item>,
    breaker: Breaker,
    /// Records of the next transaction at most.
    most: usize,
    topic: TopicLabel,
}

/// What one batch came to.
enum Outcome {
    Done,
    Tripped,
}

impl<S: Service> Worker<S> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        lane: Arc<Lane>,
        items: mpsc::UnboundedReceiver<Item>,
    ) -> Self {
        Self {
            topic: TopicLabel {
                topic: lane.name.clone(),
            },
            shared,
            lane,
            items,
            breaker: Breaker::default(),
            most: FIRST,
        }
    }

    /// Works until the lane ends or the breaker trips.
    pub(super) async fn run(mut self) {
        loop {
            let mut items = Vec::new();
            let count = tokio::select! {
                biased;
                () = self.lane.ended.cancelled() => return,
                count = self.items.recv_many(&mut items, self.most) => count,
            };
            if count == 0 {
                return;
            }
            let items = Arc::new(items);
            match self.batch(&items).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Tripped) => {
                    self.tell(Command::Tripped(Arc::clone(&self.lane)));
                    return;
                }
                Err(Stopped) => return,
            }
            let bytes = items.iter().map(Item::bytes).sum();
            if self.lane.release(count, bytes) {
                self.tell(Command::Resume(Arc::clone(&self.lane)));
            }
        }
    }

    fn opening(&self) -> Opening<'_, S> {
        Opening {
            service: &*self.shared.handler.service,
            registry: &self.shared.registry,
            cluster: &self.shared.cluster,
        }
    }

    fn tell(&self, command: Command) {
        // the loop ends after its workers
        drop(self.shared.commands.send(command));
    }

    /// Tries until the batch is committed: what is not the records' fault passes.
    async fn batch(&mut self, items: &Arc<Vec<Item>>) -> Result<Outcome, Stopped> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut opened = loop {
            let name = &self.lane.name;
            match open(self.opening(), name, items, self.breaker.clone()).await {
                Ok(opened) => break opened,
                Err(error) => self.hold_off(&error, &mut backoff).await?,
            }
        };
        let span = self.span(&opened);
        let intake = Arc::new(self.intake(&mut opened));
        let undertaker = self.undertaker(items);
        let (handled, took) = loop {
            let began = Instant::now();
            self.lane.attempt_begins();
            let intake = Arc::clone(&intake);
            let outcome = handle(&self.shared.handler, intake, Arc::clone(&undertaker))
                .instrument(span.clone())
                .await;
            self.lane.attempt_ends();
            match outcome {
                Ok(handled) => break (handled, began.elapsed()),
                Err(error) => self.hold_off(&error, &mut backoff).await?,
            }
        };
        self.committed(&opened, took);
        Ok(self.judge(opened, handled))
    }

    /// One span for the transaction, linked to the traces of its first inputs.
    fn span(&self, opened: &Opened<S::Input>) -> Span {
        let span = tracing::info_span!(
            "consume",
            otel.kind = "consumer",
            otel.name = format!("consume {}", self.lane.name),
            messaging.system = "kafka",
            messaging.destination.name = self.lane.place.0,
            messaging.destination.partition.id = self.lane.place.1,
            messaging.batch.message_count = opened.taken,
        );
        if !span.is_disabled() {
            for work in opened.works.iter().take(LINKS) {
                work.trace.link(&span);
            }
        }
        span
    }

    fn intake(&self, opened: &mut Opened<S::Input>) -> Intake<S::Input> {
        Intake {
            works: std::mem::take(&mut opened.works),
            dead: std::mem::take(&mut opened.dead),
            redriven: std::mem::take(&mut opened.redriven),
            progress: vec![Progress {
                topic: self.lane.place.0.clone(),
                partition: self.lane.place.1,
                next_offset: opened.next,
            }],
        }
    }

    /// Makes the letters of records that the fold or the database refuses.
    fn undertaker(&self, items: &Arc<Vec<Item>>) -> Arc<crate::batch::Undertaker<'static>> {
        let (items, lane) = (Arc::clone(items), Arc::clone(&self.lane));
        let cluster = self.shared.cluster.clone();
        Arc::new(move |id: EventId, poison: &Poison| -> Option<Outgoing> {
            let raw = items.iter().find_map(|item| match item {
                Item::Record(raw) => (dlq::inbox_id(raw, &lane.name, S::NAME) == id).then_some(raw),
                Item::Skipped(_) => None,
            })?;
            Some(dlq::letter(&cluster, &lane.name, raw, poison))
        })
    }

    async fn hold_off(&self, error: &Error, backoff: &mut Backoff) -> Result<(), Stopped> {
        let delay = backoff.next_delay();
        let (topic, partition) = &self.lane.place;
        if error.class() == Class::Retry {
            tracing::warn!(
                topic,
                partition,
                error = chain(error),
                ?delay,
                "batch waits"
            );
        } else {
            tracing::error!(
                topic,
                partition,
                error = chain(error),
                ?delay,
                "batch cannot be committed"
            );
        }
        crate::pace::wait(delay, &self.lane.ended).await
    }

    /// The effect is in the database: the group may know.
    fn committed(&self, opened: &Opened<S::Input>, took: Duration) {
        let shared = &self.shared;
        self.lane.advance(opened.next);
        failpoint::pass("consumer.committed");
        if !self.lane.is_revoked() {
            let (topic, partition) = &self.lane.place;
            let mut offsets = TopicPartitionList::with_capacity(1);
            let stored = offsets
                .add_partition_offset(topic, *partition, Offset::Offset(opened.next))
                .and_then(|()| shared.consumer.store_offsets(&offsets));
            if let Err(error) = stored {
                // revoked in this moment: its next owner begins with the database's offset
                tracing::debug!(topic, partition, %error, "offset not stored");
            }
        }
        failpoint::pass("consumer.stored");
        shared.watermarks.progressed();
        shared.metrics.transaction.observe(took.as_secs_f64());
        shared.metrics.batch.observe(opened.taken as f64);
    }

    /// Counts, tells people of what is dead, and looks whether it is too much.
    fn judge(&mut self, opened: Opened<S::Input>, handled: Handled<S::Reply>) -> Outcome {
        let metrics = &self.shared.metrics;
        let add = |family: &super::metrics::PerTopic, count: usize| {
            if count > 0 {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                family.get_or_create(&self.topic).inc_by(count);
            }
        };
        add(&metrics.records, opened.taken);
        add(&metrics.skipped, opened.taken - opened.verdicts.len());
        add(&metrics.duplicates, handled.duplicates);
        add(&metrics.dead_letters, handled.buried);
        let refused: HashMap<EventId, Poison> = handled.rejected.into_iter().collect();
        let mut tripped = opened.trips;
        let mut poisons = 0;
        for verdict in &opened.verdicts {
            let poison = verdict.poison.as_ref().or_else(|| refused.get(&verdict.id));
            if let Some(poison) = poison {
                poisons += 1;
                self.lament(verdict, poison);
            }
            tripped |= self.breaker.trips(poison.is_some());
        }
        self.most = match poisons {
            0 => (self.most * 2).min(MOST),
            _ => FIRST,
        };
        if tripped {
            Outcome::Tripped
        } else {
            Outcome::Done
        }
    }

    fn lament(&self, verdict: &Verdict, poison: &Poison) {
        tracing::warn!(
            topic = self.lane.name,
            partition = self.lane.place.1,
            offset = verdict.offset,
            event_id = %verdict.id,
            stage = poison.stage,
            reason = poison.reason,
            "record is poison: it is a dead letter now"
        );
    }
}

//! What the relay knows and does between two waits: no awaiting in here.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;

use super::{
    lanes::{LaneKey, Lanes, Row},
    metrics::Metrics,
    producer::{Fault, Producer, Report, Ticket},
    sending::Kinds,
    store::{Acks, Failures, Filter},
    trace::Spans,
};
use crate::{Error, failpoint, kafka::Cluster, pace::Backoff, registry::Registry};

/// Rows in memory at most, waiting, with the broker or unmarked.
const ROWS: usize = 4096;
/// Bytes that wait in memory at most, plus one page.
const BYTES: usize = 8 * 1024 * 1024;
/// How long a topic that takes nothing is left alone, at first and at most.
const TOPIC_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long a row that was refused waits for its next try, in seconds.
const ROW_PAUSE: f64 = 1.0;

pub(super) struct Engine {
    pub(super) cluster: Cluster,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    pub(super) lanes: Lanes,
    pub(super) shards: Vec<i16>,
    pub(super) producer: Producer,
    reports: mpsc::UnboundedSender<Report>,
    pub(super) acks: Acks,
    pub(super) failures: Failures,
    /// Topics that take nothing.
    stopped: HashMap<String, Stopped>,
    pub(super) kinds: Kinds,
    pub(super) spans: Spans,
    trouble: Backoff,
    /// How long rows are put off now, and until when that holds for all that fail.
    put_off: (Duration, Instant),
    /// Rows were put off because the broker was away.
    pub(super) troubled: bool,
    /// The broker is back after that.
    pub(super) recovered: bool,
    /// Rows up to here are marked or known.
    pub(super) floor: i64,
    /// Highest id seen.
    pub(super) highest: i64,
    /// Counts what makes a page or floor that is being read unusable.
    pub(super) epoch: u64,
    /// The client's queue took no more.
    pub(super) full: bool,
}

impl Engine {
    pub(super) fn new(
        cluster: Cluster,
        registry: Registry,
        metrics: Metrics,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, Error> {
        Ok(Self {
            producer: Producer::new(&cluster, 0, reports.clone())?,
            cluster,
            registry,
            metrics,
            lanes: Lanes::default(),
            shards: Vec::new(),
            reports,
            acks: Acks::default(),
            failures: Failures::default(),
            stopped: HashMap::new(),
            kinds: Kinds::default(),
            spans: Spans::new(),
            trouble: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            put_off: (Duration::ZERO, Instant::now()),
            troubled: false,
            recovered: false,
            floor: 0,
            highest: 0,
            epoch: 0,
            full: false,
        })
    }

    /// Whether another page may be read. Not while failures are unwritten: their rows would come
    /// again at once, or rows behind them without them.
    pub(super) fn has_room(&self) -> bool {
        !self.shards.is_empty()
            && self.failures.ids.is_empty()
            && self.lanes.len() < ROWS
            && self.lanes.bytes() < BYTES
    }

    pub(super) fn filter(&self) -> Filter {
        let stopped = self.stopped.iter().filter(|(_, stopped)| stopped.holds());
        Filter {
            floor: self.floor,
            shards: self.shards.clone(),
            known: self.lanes.known(),
            stopped: stopped.map(|(topic, _)| topic.clone()).collect(),
        }
    }

    /// Further schemas have ids now: topics that waited for one are tried again.
    pub(super) fn resume_topics(&mut self) {
        self.stopped.clear();
    }

    pub(super) fn take_page(&mut self, rows: Vec<Row>) {
        if let Some(last) = rows.last() {
            self.highest = self.highest.max(last.id);
        }
        self.lanes.add(rows);
    }

    /// The shards to send have changed.
    pub(super) fn own(&mut self, shards: Vec<i16>) {
        self.metrics
            .shards
            .set(i64::try_from(shards.len()).unwrap_or(0));
        self.lanes.keep_shards(&shards);
        self.shards = shards;
        self.floor = 0;
        self.epoch += 1;
    }

    /// Takes in what the client reports.
    pub(super) fn hear(&mut self, reports: &mut Vec<Report>) {
        self.full = false;
        for report in reports.drain(..) {
            match report {
                Report::Acknowledged {
                    ticket,
                    partition,
                    offset,
                    took,
                } => {
                    self.metrics.send.observe(took.as_secs_f64());
                    self.acknowledged(&ticket, partition, offset);
                }
                Report::Failed { ticket, error } => {
                    self.failed(&ticket.lane, ticket.id, ticket.producer, &error);
                }
                Report::Gone { producer } => {
                    let error = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeInflight);
                    for (lane, id) in self.lanes.flying_with(producer) {
                        self.failed(&lane, id, producer, &error);
                    }
                }
            }
        }
    }

    fn acknowledged(&mut self, ticket: &Ticket, partition: i32, offset: i64) {
        failpoint::pass("relay.acked");
        self.lanes.acknowledged(&ticket.lane, ticket.id);
        self.acks.ids.push(ticket.id);
        self.acks.partitions.push(partition);
        self.acks.offsets.push(offset);
        if let Some(span) = &ticket.span {
            span.record("messaging.kafka.offset", offset);
        }
        ticket.kind.published.inc();
        if !self.stopped.is_empty() && self.stopped.remove(&ticket.lane.0).is_some() {
            tracing::info!(topic = ticket.lane.0, "events go to this topic again");
        }
        if std::mem::take(&mut self.troubled) {
            self.trouble.reset();
            self.recovered = true;
        }
    }

    pub(super) fn failed(&mut self, lane: &LaneKey, id: i64, producer: u64, error: &KafkaError) {
        self.metrics.failures.inc();
        if !self.lanes.is_flying(lane, id, producer) {
            // an earlier producer's: the row has been taken up again since
            return;
        }
        let (topic, _) = &**lane;
        self.drop_lane(lane);
        match Fault::of(error) {
            Fault::Surroundings => {
                if !std::mem::replace(&mut self.troubled, true) {
                    tracing::warn!(topic, %error, "the broker does not acknowledge");
                }
                let delay = self.delay().as_secs_f64();
                self.failures.push(id, delay, 0, error);
            }
            Fault::Row => {
                tracing::error!(topic, id, %error, "the broker refuses this event");
                self.failures.push(id, ROW_PAUSE, 1, error);
            }
            Fault::Topic => self.stop_topic(topic, &error.to_string()),
            Fault::Producer if producer == self.producer.number() => self.rebuild(error),
            // its successor is at work
            Fault::Producer => {}
        }
    }

    /// One delay for all that fail together.
    fn delay(&mut self) -> Duration {
        let now = Instant::now();
        if self.put_off.1 <= now {
            let delay = self.trouble.next_delay();
            self.put_off = (delay, now + delay);
        }
        self.put_off.0
    }

    pub(super) fn drop_lane(&mut self, lane: &LaneKey) {
        if let Some(lowest) = self.lanes.drop_lane(lane) {
            self.floor = self.floor.min(lowest - 1);
            self.epoch += 1;
        }
    }

    pub(super) fn has_stopped(&self, topic: &str) -> bool {
        self.stopped.get(topic).is_some_and(Stopped::holds)
    }

    pub(super) fn stop_topic(&mut self, topic: &str, reason: &str) {
        let stopped = self.stopped.entry(topic.to_owned()).or_insert_with(|| {
            tracing::warn!(topic, reason, "nothing can be sent to this topic now");
            Stopped {
                until: Instant::now(),
                pauses: Backoff::new(TOPIC_PAUSE.0, TOPIC_PAUSE.1),
            }
        });
        if !stopped.holds() {
            stopped.until = Instant::now() + stopped.pauses.next_delay();
        }
    }

    fn rebuild(&mut self, error: &KafkaError) {
        tracing::error!(%error, "the producer is of no more use: making another");
        match Producer::new(
            &self.cluster,
            self.producer.number() + 1,
            self.reports.clone(),
        ) {
            Ok(producer) => {
                // its end is reported on the channel
                drop(std::mem::replace(&mut self.producer, producer).destroy());
            }
            Err(error) => tracing::error!(%error, "no producer can be made"),
        }
    }

    /// Ends the producer; what it still has is reported as failed.
    pub(super) fn into_producer(self) -> Producer {
        self.producer
    }
}

/// A topic that takes nothing, until its next acknowledgement.
struct Stopped {
    until: Instant,
    pauses: Backoff,
}

impl Stopped {
    fn holds(&self) -> bool {
        self.until > Instant::now()
    }
}

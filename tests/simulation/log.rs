//! Kafka: topics with partitions, records in the order in which they came.

use std::sync::Arc;

use shared_events::{ActionEvent, AlertEvent, EventId, IncidentEvent, Topic, TopicEvent as _};

pub(crate) const PARTITIONS: usize = 3;
pub(crate) const TOPICS: [Topic; 3] = [Topic::Alert, Topic::Incident, Topic::Action];

/// An event of any topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Alert(AlertEvent),
    Incident(IncidentEvent),
    Action(ActionEvent),
}

macro_rules! each {
    ($self:expr, $event:ident => $what:expr) => {
        match $self {
            Event::Alert($event) => $what,
            Event::Incident($event) => $what,
            Event::Action($event) => $what,
        }
    };
}

impl Event {
    pub(crate) fn topic(&self) -> usize {
        match self {
            Self::Alert(_) => 0,
            Self::Incident(_) => 1,
            Self::Action(_) => 2,
        }
    }
    pub(crate) fn id(&self) -> EventId {
        each!(self, event => event.event_id())
    }
    pub(crate) fn key(&self) -> String {
        each!(self, event => event.key())
    }
    pub(crate) fn name(&self) -> &'static str {
        each!(self, event => event.event_type())
    }
    pub(crate) fn subject(&self) -> String {
        each!(self, event => event.subject())
    }
}

/// A record as a consumer gets it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: EventId,
    pub(crate) key: String,
    /// Who wrote it: `ce_source`.
    pub(crate) source: &'static str,
    /// `ce_sequence`
    pub(crate) sequence: i64,
    pub(crate) event: Arc<Event>,
}

/// The broker.
#[derive(Debug, Default)]
pub(crate) struct Log {
    places: [[Vec<Record>; PARTITIONS]; 3],
}

impl Log {
    pub(crate) fn append(&mut self, record: Record) -> (usize, usize) {
        let topic = record.event.topic();
        let hash = record.key.bytes().fold(7_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        let partition = hash % PARTITIONS;
        self.places[topic][partition].push(record);
        (topic, partition)
    }

    pub(crate) fn records(&self, topic: usize, partition: usize) -> &[Record] {
        &self.places[topic][partition]
    }

    pub(crate) fn end(&self, topic: usize, partition: usize) -> usize {
        self.places[topic][partition].len()
    }

    pub(crate) fn of_topic(&self, topic: usize) -> impl Iterator<Item = &Record> {
        self.places[topic].iter().flatten()
    }
}

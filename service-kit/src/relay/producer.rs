//! A Kafka producer whose reports come in on a channel, and what its failures mean.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use tokio::sync::mpsc;

use super::{lanes::LaneKey, sending::Kind};
use crate::{
    Error,
    kafka::{Cluster, Quiet},
};

/// What travels with a record to the broker and back.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) lane: LaneKey,
    pub(super) id: i64,
    /// Number of the producer that has it.
    pub(super) producer: u64,
    pub(super) kind: Arc<Kind>,
    pub(super) sent: Instant,
    /// Lasts until the report.
    pub(super) span: Option<tracing::Span>,
}

/// What the producer says of a record, or of itself.
#[derive(Debug)]
pub(super) enum Report {
    Acknowledged {
        ticket: Ticket,
        partition: i32,
        offset: i64,
        took: Duration,
    },
    /// Not acknowledged: the broker may have it all the same.
    Failed { ticket: Ticket, error: KafkaError },
    /// This producer is destroyed: nothing more of its records is heard.
    Gone { producer: u64 },
}

/// What a failure is about, and so what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Broker or network: again later, counted against nobody.
    Surroundings,
    /// This record can not be written as it is.
    Row,
    /// Nothing can be written to this topic now.
    Topic,
    /// This producer is of no more use.
    Producer,
}

impl Fault {
    pub(super) fn of(error: &KafkaError) -> Self {
        let Some(code) = error.rdkafka_error_code() else {
            return Self::Surroundings;
        };
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::MessageBatchTooLarge => Self::Row,
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation => Self::Topic,
            RDKafkaErrorCode::Fatal => Self::Producer,
            // librdkafka's list grows: what is not known to be somebody's fault is nobody's
            _ => Self::Surroundings,
        }
    }
}

struct Context {
    reports: mpsc::UnboundedSender<Report>,
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        Quiet.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            Ok(message) => Report::Acknowledged {
                partition: message.partition(),
                offset: message.offset(),
                took: ticket.sent.elapsed(),
                ticket: *ticket,
            },
            Err((error, _)) => Report::Failed {
                error: error.clone(),
                ticket: *ticket,
            },
        };
        // nobody listens any more only after the relay has ended
        drop(self.reports.send(report));
    }
}

/// A record to send; borrowed, for the client copies it.
pub(super) struct Outbound<'a> {
    /// With prefix.
    pub(super) topic: &'a str,
    /// Empty: none.
    pub(super) key: &'a [u8],
    pub(super) headers: OwnedHeaders,
    pub(super) value: &'a [u8],
}

/// One producer session.
pub(super) struct Producer {
    inner: ThreadedProducer<Context>,
    number: u64,
    reports: mpsc::UnboundedSender<Report>,
}

impl Producer {
    pub(super) fn new(
        cluster: &Cluster,
        number: u64,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, Error> {
        let context = Context {
            reports: reports.clone(),
        };
        let inner = cluster
            .producer()
            .create_with_context(context)
            .map_err(Error::kafka("creating a producer"))?;
        Ok(Self {
            inner,
            number,
            reports,
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Hands a record to the client; the report comes later.
    pub(super) fn send(&self, record: Outbound<'_>, ticket: Ticket) -> Result<(), KafkaError> {
        let ticket = Box::new(ticket);
        let mut outbound = BaseRecord::with_opaque_to(record.topic, ticket)
            .payload(record.value)
            .headers(record.headers);
        if !record.key.is_empty() {
            outbound = outbound.key(record.key);
        }
        self.inner.send(outbound).map_err(|(error, _)| error)
    }

    /// Destroys the producer, which may block for long, and reports when it is done.
    pub(super) fn destroy(self) -> tokio::task::JoinHandle<()> {
        tokio::task::spawn_blocking(move || {
            let Self {
                inner,
                number,
                reports,
            } = self;
            drop(inner);
            drop(reports.send(Report::Gone { producer: number }));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_laid_where_it_belongs() {
        let fault = |code| Fault::of(&KafkaError::MessageProduction(code));
        assert_eq!(
            fault(RDKafkaErrorCode::MessageTimedOut),
            Fault::Surroundings
        );
        assert_eq!(
            fault(RDKafkaErrorCode::NotEnoughReplicas),
            Fault::Surroundings
        );
        assert_eq!(fault(RDKafkaErrorCode::MessageSizeTooLarge), Fault::Row);
        assert_eq!(
            fault(RDKafkaErrorCode::UnknownTopicOrPartition),
            Fault::Topic
        );
        assert_eq!(
            fault(RDKafkaErrorCode::TopicAuthorizationFailed),
            Fault::Topic
        );
        assert_eq!(fault(RDKafkaErrorCode::Fatal), Fault::Producer);
    }
}

//! What the client library calls when partitions come and go.

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc;

use crate::kafka::Quiet;

/// What the group has decided.
#[derive(Debug)]
pub(super) enum Rebalance {
    /// Begin with these, once it is known where: the client waits for `assign`.
    Assigned(Vec<(String, i32)>),
    /// All partitions are gone: the assignor is an eager one.
    Revoked,
}

/// Passes rebalances on. Never holds the consumer: that would be a cycle.
pub(super) struct Context {
    pub(super) events: mpsc::UnboundedSender<Rebalance>,
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        Quiet.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ConsumerContext for Context {
    /// Instead of the default, which assigns at once and so begins at the group's offsets: where to
    /// begin is known only after the database was asked. Until `assign` is called the client keeps
    /// its membership and delivers nothing.
    fn rebalance(
        &self,
        base_consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        tpl: &mut TopicPartitionList,
    ) {
        let event = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let partitions = tpl.elements();
            Rebalance::Assigned(
                partitions
                    .iter()
                    .map(|element| (element.topic().to_owned(), element.partition()))
                    .collect(),
            )
        } else {
            if let Err(error) = base_consumer.unassign() {
                tracing::error!(%error, "giving partitions back");
            }
            Rebalance::Revoked
        };
        // nobody listens any more only while the consumer is being dropped
        drop(self.events.send(event));
    }
}

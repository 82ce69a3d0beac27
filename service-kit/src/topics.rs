//! Topics that this service writes: created in the background, never changed.
//!
//! Auto-creation is off on every client of ours: a topic made with the broker's defaults would
//! lose events to retention and put keys in other partitions.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    error::RDKafkaErrorCode,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    error::chain,
    kafka::{Cluster, Quiet, ask},
    pace::Backoff,
};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long dead letters are kept.
const DEAD_LETTERS_DAYS: u32 = 30;

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As the broker knows it, with prefix.
    pub topic: String,
    pub partitions: i32,
    /// Copies of each partition; -1: the brokers' default.
    pub replication: i32,
    pub retention: Retention,
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// The log is the source of truth.
    Forever,
    Days(u32),
}

impl Retention {
    fn millis(self) -> String {
        match self {
            Self::Forever => "-1".to_owned(),
            Self::Days(days) => (u64::from(days) * 24 * 60 * 60 * 1000).to_string(),
        }
    }
}

impl Wanted {
    /// A topic of events: kept for ever.
    pub fn events(cluster: &Cluster, topic: &str, partitions: i32, replication: i32) -> Self {
        Self {
            topic: cluster.topic(topic),
            partitions,
            replication,
            retention: Retention::Forever,
        }
    }

    /// The dead letters of this service from `topic`.
    pub fn dead_letters(cluster: &Cluster, topic: &str, partitions: i32, replication: i32) -> Self {
        Self {
            topic: cluster.topic(&cluster.dead_letter_topic(topic)),
            partitions,
            replication,
            retention: Retention::Days(DEAD_LETTERS_DAYS),
        }
    }
}

/// Sees to it that every wanted topic exists; returns when they do or when `stop` is cancelled.
/// A topic that exists is left alone; another number of partitions than wanted is logged, because
/// adding some would move keys.
pub async fn ensure(cluster: &Cluster, wanted: &[Wanted], stop: &CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = attempt(cluster, wanted) => outcome,
        };
        match outcome {
            Ok(()) => return,
            Err(error) => tracing::warn!(error = chain(&error), "topics are not ready yet"),
        }
        if backoff.wait(stop).await.is_err() {
            return;
        }
    }
}

async fn attempt(cluster: &Cluster, wanted: &[Wanted]) -> Result<(), Error> {
    let admin: AdminClient<Quiet> = cluster
        .admin()
        .create_with_context(Quiet)
        .map_err(Error::kafka("creating an admin client"))?;
    let existing = {
        let cluster = cluster.clone();
        ask("reading topic metadata", move || partitions(&cluster)).await??
    };
    for topic in wanted {
        match existing.get(&topic.topic) {
            Some(partitions) => compare(topic, *partitions),
            None => create(&admin, topic).await?,
        }
    }
    Ok(())
}

fn compare(wanted: &Wanted, partitions: usize) {
    if usize::try_from(wanted.partitions) != Ok(partitions) {
        tracing::warn!(
            topic = wanted.topic,
            partitions,
            wanted = wanted.partitions,
            "the topic has another number of partitions than configured; it stays as it is"
        );
    }
}

async fn create(admin: &AdminClient<Quiet>, wanted: &Wanted) -> Result<(), Error> {
    let millis = wanted.retention.millis();
    let topic = NewTopic::new(
        &wanted.topic,
        wanted.partitions,
        TopicReplication::Fixed(wanted.replication),
    )
    .set("retention.ms", &millis)
    .set("cleanup.policy", "delete");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let results = admin
        .create_topics([&topic], &options)
        .await
        .map_err(Error::kafka(format!("creating topic {}", wanted.topic)))?;
    for result in results {
        match result {
            Ok(name) => tracing::info!(
                topic = name,
                partitions = wanted.partitions,
                "topic created"
            ),
            // another service, or another instance, was quicker
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(Error::Kafka {
                    doing: format!("creating topic {name}").into(),
                    source: rdkafka::error::KafkaError::AdminOp(code),
                });
            }
        }
    }
    Ok(())
}

/// Every topic of the cluster with its number of partitions. Blocks.
fn partitions(cluster: &Cluster) -> Result<BTreeMap<String, usize>, Error> {
    // asking for one topic by name would create it where the broker allows that: ask for all
    let client: AdminClient<Quiet> = cluster
        .admin()
        .create_with_context(Quiet)
        .map_err(Error::kafka("creating an admin client"))?;
    let metadata = client
        .inner()
        .fetch_metadata(None, PATIENCE)
        .map_err(Error::kafka("reading topic metadata"))?;
    Ok(metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none())
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect())
}

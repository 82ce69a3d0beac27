//! How far topics reach, and whether this service has come that far.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use sqlx::PgPool;
use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    Error,
    database::in_time,
    kafka::{Cluster, Quiet, ask},
};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the database is asked what other instances have consumed.
const LOOK: Duration = Duration::from_millis(50);

/// Topic with prefix, and partition.
pub(super) type Place = (String, i32);

/// Reads the ends of topics. Cheap to clone.
#[derive(Clone)]
pub struct Watermarks(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    pool: PgPool,
    probe: BaseConsumer<Quiet>,
    progress: Notify,
}

impl std::fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermarks").finish_non_exhaustive()
    }
}

impl Watermarks {
    /// For looks at the database that may be given up: batches keep theirs to their ends.
    pub(super) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// For the topics of `cluster` as far as the database behind `pool` has them.
    ///
    /// # Errors
    /// When no Kafka client can be made: settings are wrong.
    pub fn new(cluster: Cluster, pool: PgPool) -> Result<Self, Error> {
        let probe = cluster
            .probe()
            .create_with_context(Quiet)
            .map_err(Error::kafka("creating a client for watermarks"))?;
        Ok(Self(Arc::new(Inner {
            cluster,
            pool,
            probe,
            progress: Notify::new(),
        })))
    }

    /// Waits until everything that `topics` (without prefix) hold now has its effect in this
    /// service's database, whichever instance consumes it.
    ///
    /// # Errors
    /// Class `Retry`: the broker or the database does not answer, or the broker knows no such
    /// topic, which one that has just started may say of any.
    pub async fn caught_up(&self, topics: &[&str]) -> Result<(), Error> {
        let topics: Vec<String> = topics.iter().map(|t| self.0.cluster.topic(t)).collect();
        let mut wanted = self.ends(Scope::Topics(topics)).await?;
        wanted.retain(|_, end| *end > 0);
        let mut ticks = ticks();
        let mut begun = false;
        loop {
            let notified = self.0.progress.notified();
            tokio::pin!(notified);
            // registered before the look: a commit in between is not missed
            notified.as_mut().enable();
            self.strike_out(&mut wanted).await?;
            if wanted.is_empty() {
                return Ok(());
            }
            if !begun {
                begun = true;
                self.strike_out_empty(&mut wanted).await?;
                continue;
            }
            tokio::select! {
                () = notified => {}
                _ = ticks.tick() => {}
            }
        }
    }

    /// Whether the brokers answer, and know `topic` (without prefix).
    pub(crate) async fn answers(&self, topic: &str) -> Result<(), Error> {
        let topics = vec![self.0.cluster.topic(topic)];
        self.ends(Scope::Topics(topics)).await.map(drop)
    }

    /// Strikes out the places that were consumed to their end.
    async fn strike_out(&self, wanted: &mut HashMap<Place, i64>) -> Result<(), Error> {
        let topics: Vec<String> = wanted.keys().map(|(topic, _)| topic.clone()).collect();
        let reading = async {
            sqlx::query!(
                "SELECT topic, partition, next_offset FROM consumer_offsets WHERE topic = ANY($1)",
                &topics
            )
            .fetch_all(&self.0.pool)
            .await
            .map_err(Error::database("reading the consumer's offsets"))
        };
        for row in in_time("reading the consumer's offsets", reading).await? {
            let place = (row.topic, row.partition);
            if wanted
                .get(&place)
                .is_some_and(|end| row.next_offset >= *end)
            {
                wanted.remove(&place);
            }
        }
        Ok(())
    }

    /// Strikes out the places whose records are all deleted: nobody will ever consume them.
    async fn strike_out_empty(&self, wanted: &mut HashMap<Place, i64>) -> Result<(), Error> {
        let places: Vec<Place> = wanted.keys().cloned().collect();
        let starts = self
            .offsets(Scope::Places(places), Offset::Beginning)
            .await?;
        wanted.retain(|place, end| starts.get(place).is_none_or(|start| start < end));
        Ok(())
    }

    /// One past the last record of each place.
    pub(super) async fn ends(&self, scope: Scope) -> Result<HashMap<Place, i64>, Error> {
        self.offsets(scope, Offset::End).await
    }

    pub(super) async fn offsets(
        &self,
        scope: Scope,
        at: Offset,
    ) -> Result<HashMap<Place, i64>, Error> {
        let inner = Arc::clone(&self.0);
        ask("reading watermarks", move || inner.offsets(scope, at)).await?
    }

    /// Ends with the next batch that this instance commits after the first poll of it, or after
    /// `enable` was called on it.
    pub fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.progress.notified()
    }

    /// A batch was committed: whoever waits looks again.
    pub(super) fn progressed(&self) {
        self.0.progress.notify_waiters();
    }
}

/// Which partitions are meant.
pub(super) enum Scope {
    /// All of these topics, with prefix.
    Topics(Vec<String>),
    Places(Vec<Place>),
}

impl Inner {
    /// Blocks.
    fn offsets(&self, scope: Scope, at: Offset) -> Result<HashMap<Place, i64>, Error> {
        let failed = || Error::kafka("reading watermarks");
        let places = match scope {
            Scope::Places(places) => places,
            Scope::Topics(topics) => self.partitions(&topics)?,
        };
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let mut asked = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in &places {
            asked
                .add_partition_offset(topic, *partition, at)
                .map_err(failed())?;
        }
        // End and Beginning are the protocol's special timestamps too: one request for all
        let told = self
            .probe
            .offsets_for_times(asked, PATIENCE)
            .map_err(failed())?;
        let mut offsets = HashMap::with_capacity(places.len());
        for element in told.elements() {
            element.error().map_err(failed())?;
            let Offset::Offset(offset) = element.offset() else {
                return Err(failed()(KafkaError::NoMessageReceived));
            };
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
        Ok(offsets)
    }

    fn partitions(&self, topics: &[String]) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for topic in topics {
            let metadata = self
                .probe
                .fetch_metadata(Some(topic), PATIENCE)
                .map_err(Error::kafka("reading topic metadata"))?;
            for found in metadata.topics() {
                if let Some(error) = found.error() {
                    let source = KafkaError::MetadataFetch(error.into());
                    return Err(Error::kafka(format!("reading the partitions of {topic}"))(
                        source,
                    ));
                }
                let partitions = found.partitions().iter();
                places.extend(partitions.map(|partition| (topic.clone(), partition.id())));
            }
        }
        Ok(places)
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

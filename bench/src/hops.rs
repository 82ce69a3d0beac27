//! When the records of an alert can be read in their topics: where its way spends its time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    metadata::MetadataTopic,
};
use tokio::task::JoinHandle;

use crate::{
    error::Error,
    floor::client,
    latency::{Latencies, Quantiles},
};

/// Topics on the way, in this order.
const TOPICS: [&str; 2] = ["alert", "incident"];
const PATIENCE: Duration = Duration::from_secs(10);

/// When each alert's first record was read in each of [`TOPICS`], by the alert's number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hops(Arc<Mutex<HashMap<(usize, u64), Instant>>>);

impl Hops {
    /// Begins to read what comes from now on about services that are called `run` and a number.
    pub(crate) fn begin(&self, brokers: &str, run: &str) -> Result<JoinHandle<()>, Error> {
        let consumer: StreamConsumer = client(brokers, "0")
            .create()
            .map_err(Error::kafka("a consumer"))?;
        consumer
            .assign(&ends(&consumer)?)
            .map_err(Error::kafka("taking up partitions"))?;
        let (seen, service) = (Arc::clone(&self.0), format!("{run}-"));
        Ok(tokio::spawn(async move {
            while let Ok(message) = consumer.recv().await {
                let now = Instant::now();
                let topic = TOPICS.iter().position(|topic| *topic == message.topic());
                let alert = number(message.payload().unwrap_or_default(), service.as_bytes());
                if let (Some(topic), Some(alert)) = (topic, alert) {
                    let mut seen = seen.lock().expect("no writer panics");
                    seen.entry((topic, alert)).or_insert(now);
                }
            }
        }))
    }

    /// How long each hop took, for alerts that were `due` then and visible at `seen`.
    pub(crate) fn took(
        &self,
        ways: impl Iterator<Item = (u64, Instant, Instant)>,
    ) -> BTreeMap<String, Quantiles> {
        let read = self.0.lock().expect("no writer panics");
        let mut hops: [Latencies; 3] = Default::default();
        for (alert, due, visible) in ways {
            let at = |topic| read.get(&(topic, alert)).copied();
            let (Some(raised), Some(opened)) = (at(0), at(1)) else {
                continue;
            };
            let moments = [due, raised, opened, visible];
            for (hop, pair) in hops.iter_mut().zip(moments.windows(2)) {
                hop.add(pair[1].saturating_duration_since(pair[0]));
            }
        }
        let names = ["1 ingest", "2 rules", "3 store"];
        let named = names.iter().zip(hops);
        named
            .filter_map(|(name, hop)| Some(((*name).to_owned(), hop.quantiles()?)))
            .collect()
    }
}

/// The ends of all partitions.
fn ends(consumer: &StreamConsumer) -> Result<TopicPartitionList, Error> {
    let failed = || Error::kafka("looking for the ends of topics");
    let mut list = TopicPartitionList::new();
    for topic in TOPICS {
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(failed())?;
        let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        for partition in found {
            let (_, end) = consumer
                .fetch_watermarks(topic, partition.id(), PATIENCE)
                .map_err(failed())?;
            list.add_partition_offset(topic, partition.id(), Offset::Offset(end))
                .map_err(failed())?;
        }
    }
    Ok(list)
}

/// The digits after the first `service` in an Avro datum: its texts are as they are.
fn number(datum: &[u8], service: &[u8]) -> Option<u64> {
    let at = datum
        .windows(service.len())
        .position(|part| part == service)?;
    let digits = datum[at + service.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

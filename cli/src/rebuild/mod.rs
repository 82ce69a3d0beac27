//! `rebuild incident-store|rules --verify`: what the topics make of a service's tables, in memory and
//! with the service's own code, beside what it has. Nothing is written anywhere.

mod compare;
mod rules;
mod store;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use service_kit::content::{Content, Item, ReadTo};
use shared_events::Topic;

use self::compare::Compared;
use crate::{
    args::Servers,
    backtest::Progress,
    client::{Client, Server},
    error::Error,
    kafka,
    output::Output,
    topic::record::{self, Opened, Opener},
};

/// Whose tables.
#[derive(Clone, Debug, Args)]
pub(crate) struct RebuildArgs {
    /// incident-store: facts in any order. rules: inputs in the order of the log of decisions
    service: Which,
    /// Compare, and exit with 1 if anything differs. (To fill the Incident Store anew, stop it, give it
    /// an empty database and start it: it reads the topics from their beginning.)
    #[arg(long, required = true)]
    verify: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    IncidentStore,
    Rules,
}

/// `rebuild`
pub(crate) async fn run(
    servers: &Servers,
    client: &Client,
    output: Output,
    args: &RebuildArgs,
) -> Result<(), Error> {
    let progress = Progress::new();
    let server = match args.service {
        Which::IncidentStore => Server::IncidentStore,
        Which::Rules => Server::Rules,
    };
    progress.say(&format!("reading what {} has", server.name()));
    let live = client.get(server, "/api/v1/content", &[]).await?;
    let live: Content = serde_json::from_value(live)
        .map_err(|error| Error::Failed(format!("{}: {error}", server.name())))?;
    let past = Past {
        servers,
        client,
        live: &live,
    };
    let made = match args.service {
        Which::IncidentStore => store::rebuild(&past, &progress).await?,
        Which::Rules => rules::rebuild(&past, &progress).await?,
    };
    progress.end();
    let compared = Compared::of(client, server, (&live, &*made)).await?;
    compared.show(output)
}

/// Tables made from the topics.
trait Made {
    fn items(&self) -> Vec<Item>;
    fn document(&self, id: &str) -> Option<serde_json::Value>;
}

/// The topics up to where the service had read them when it told its content.
struct Past<'a> {
    servers: &'a Servers,
    client: &'a Client,
    live: &'a Content,
}

impl Past<'_> {
    /// Hands every event of a topic to `take`; what is no event is left out, as the service did.
    async fn read(
        &self,
        family: Topic,
        progress: &Progress,
        mut take: impl FnMut(Opened),
    ) -> Result<(), Error> {
        let name = format!("{}{}", self.servers.topic_prefix, family.name());
        let ends: BTreeMap<i32, i64> = self
            .live
            .read_to
            .iter()
            .filter(|read: &&ReadTo| read.topic == name)
            .map(|read| (read.partition, read.next_offset))
            .collect();
        if ends.is_empty() {
            return Ok(());
        }
        let topics = kafka::topics(self.servers).await?;
        let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
            return Err(Error::NoTopic {
                topic: name,
                brokers: self.servers.brokers.clone(),
            });
        };
        whole(topic, &ends)?;
        let mut opener = Opener::new(self.client);
        let mut read = 0;
        record::read(self.servers, topic, Some(&ends), async |record| {
            read += 1;
            progress.say(&format!("reading {name}: {read}"));
            if let Ok(opened) = opener.open(&record).await {
                let dead = self.live.dead.contains(&opened.envelope.id.uuid());
                if !dead {
                    take(opened);
                }
            }
        })
        .await
    }
}

/// Whether the topic has everything that was read of it.
fn whole(topic: &kafka::Topic, ends: &BTreeMap<i32, i64>) -> Result<(), Error> {
    for (partition, end) in ends {
        let (low, high) = topic.partitions.get(partition).copied().unwrap_or_default();
        if low > 0 || high < *end {
            return Err(Error::Failed(format!(
                "topic {} partition {partition} has records {low} to {high}, and the service has read 0 to {end}: \
                 nothing can be made again from that",
                topic.name
            )));
        }
    }
    Ok(())
}

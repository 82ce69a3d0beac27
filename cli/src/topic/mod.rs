//! `topic ls`, `topic tail`.

mod decode;
mod json;
pub(crate) mod record;
mod tail;

use serde_json::{Value, json};

pub(crate) use self::{
    decode::{Decoder, hex},
    tail::tail,
};
use crate::{
    args::Servers,
    error::Error,
    kafka,
    output::{As, Column, Output},
};

/// `topic ls`
pub(crate) async fn list(servers: &Servers, output: Output) -> Result<(), Error> {
    let items: Vec<Value> = kafka::topics(servers)
        .await?
        .iter()
        .map(|topic| {
            let name = topic.name.strip_prefix(&servers.topic_prefix);
            json!({
                "topic": topic.name,
                "kind": kind(name.unwrap_or(&topic.name)),
                "partitions": topic.partitions.len(),
                "messages": topic.messages(),
            })
        })
        .collect();
    let columns = [
        Column("TOPIC", "/topic", As::Text),
        Column("KIND", "/kind", As::Text),
        Column("PARTITIONS", "/partitions", As::Text),
        Column("MESSAGES", "/messages", As::Text),
    ];
    output.list(
        &items,
        &columns,
        "no topics: the services make them when they start",
    )
}

fn kind(name: &str) -> &'static str {
    if name.contains(".dlq.") {
        "dead letters"
    } else if shared_events::Topic::by_name(name).is_some() {
        "events"
    } else {
        "other"
    }
}

//! `dlq ls`, `dlq show`, `dlq redrive`: records that a consumer could not handle.

mod letter;
mod redrive;

use serde_json::{Value, json};

use self::letter::{Letter, letters};
pub(crate) use self::redrive::redrive;
use crate::{
    args::{DlqList, Servers},
    client::Client,
    error::Error,
    output::{As, Column, Output},
    topic::Decoder,
};

/// `dlq ls`: newest first.
pub(crate) async fn list(servers: &Servers, output: Output, args: &DlqList) -> Result<(), Error> {
    let mut found = letters(servers, args.consumer.as_deref()).await?;
    found.reverse();
    found.truncate(args.limit.limit);
    let items: Vec<Value> = found.iter().map(Letter::summary).collect();
    let columns = [
        Column("EVENT", "/event_id", As::Text),
        Column("TYPE", "/type", As::Text),
        Column("CONSUMER", "/consumer", As::Text),
        Column("STAGE", "/stage", As::Text),
        Column("WHY", "/error", As::Text),
        Column("FROM", "/from", As::Text),
        Column("DIED", "/died_at", As::Time),
    ];
    output.list(&items, &columns, "no dead letters")
}

/// `dlq show`: everything about one letter, its value decoded if that is possible.
pub(crate) async fn show(
    servers: &Servers,
    client: &Client,
    output: Output,
    id: &str,
) -> Result<(), Error> {
    let found = letters(servers, None).await?;
    let letter = letter::one(found, id)?;
    let mut shown = letter.summary();
    shown["headers"] = letter.headers_json();
    shown["key"] = String::from_utf8_lossy(&letter.key).into_owned().into();
    let dataschema = letter.header("ce_dataschema");
    let decoded = Decoder::new(client)
        .decode(&letter.value, dataschema.as_deref())
        .await;
    match decoded {
        Ok(value) => shown["value"] = value,
        Err(reason) => {
            shown["undecodable"] = json!(reason);
            shown["value_hex"] = json!(crate::topic::hex(&letter.value));
        }
    }
    output.json(&shown)
}

//! `incident watch`: what happens, as it happens.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::{
    client::{Client, Server},
    error::{Error, chain},
    output::{As, Output, line},
};

/// Prints every fact as it comes, for ever; a lost connection is taken up where it was cut.
pub(crate) async fn watch(client: &Client, output: Output, id: Option<&str>) -> Result<(), Error> {
    let query: Vec<_> = id
        .map(|id| ("incident_id", id.to_owned()))
        .into_iter()
        .collect();
    let mut last: Option<String> = None;
    let mut first = true;
    loop {
        let path = "/api/v1/stream";
        match client
            .stream(Server::IncidentStore, path, &query, last.as_deref())
            .await
        {
            Ok(response) => {
                first = false;
                read(response, output, &mut last).await?;
            }
            // what is refused at first is refused for ever
            Err(error) if first => return Err(error),
            Err(
                error @ Error::Refused {
                    status: 400..500, ..
                },
            ) => return Err(error),
            Err(error) => eprintln!("eventpulse: {}; trying again", chain(&error)),
        }
        pause().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "between two attempts to connect")]
async fn pause() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Prints events until the connection ends.
async fn read(
    response: reqwest::Response,
    output: Output,
    last: &mut Option<String>,
) -> Result<(), Error> {
    let mut body = response.bytes_stream();
    let mut parser = Parser::default();
    while let Some(Ok(chunk)) = body.next().await {
        for event in parser.feed(&chunk) {
            if let Some(id) = event.id {
                *last = Some(id);
            }
            print(output, &event.name, &event.data)?;
        }
    }
    Ok(())
}

fn print(output: Output, name: &str, data: &str) -> Result<(), Error> {
    if name == "reset" {
        eprintln!("eventpulse: the store was restored; what was missed is in `incident ls`");
        return Ok(());
    }
    let entry: Value = serde_json::from_str(data).unwrap_or_default();
    if output.is_json() {
        return line(&entry.to_string());
    }
    let at = output.clock(entry["at"].as_str().unwrap_or_default());
    let id = output.text(&entry["incident_id"], As::Id);
    let summary = output.text(&entry["summary"], As::Text);
    let status = name.rsplit('.').next().unwrap_or_default();
    line(&format!("{at}  {id}  {}", output.paint(&summary, status)))
}

/// Server-sent events out of a stream of bytes.
#[derive(Default)]
struct Parser {
    bytes: Vec<u8>,
    event: Event,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    name: String,
    data: String,
}

impl Parser {
    /// The events that are complete now.
    fn feed(&mut self, chunk: &[u8]) -> Vec<Event> {
        self.bytes.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    events.push(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // a comment keeps the connection alive
                _ => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        let text = ": hello\n\nid: 7-1\nevent: incident.opened\ndata: {\"a\":\ndata: 1}\n\nid: 7-2\r\ndata:x\r\n\r\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let chunks = text.as_bytes().chunks(size);
            let events: Vec<Event> = chunks.flat_map(|chunk| parser.feed(chunk)).collect();
            assert_eq!(events.len(), 2, "chunks of {size}");
            assert_eq!(events[0].id.as_deref(), Some("7-1"));
            assert_eq!(events[0].name, "incident.opened");
            assert_eq!(events[0].data, "{\"a\":\n1}");
            assert_eq!(events[1].data, "x");
        }
    }
}

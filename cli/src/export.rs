//! `incident export`: a post-mortem to start from.

use clap::ValueEnum;
use serde_json::Value;

use crate::{
    client::{Client, Server, segment},
    error::{Error, chain},
    list::items,
    output::{Output, line, printable},
};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Markdown,
    Json,
}

/// The store's export, with the decisions and their reasons when the Rule Engine is there.
pub(crate) async fn export(
    client: &Client,
    output: Output,
    (id, format): (&str, Option<ExportFormat>),
) -> Result<(), Error> {
    let path = format!("/api/v1/incidents/{}/export", segment(id));
    let json = format == Some(ExportFormat::Json) || (format.is_none() && output.is_json());
    let mut export = client.get(Server::IncidentStore, &path, &[]).await?;
    let decisions = decisions(client, &export).await;
    if json {
        if let Some(decisions) = decisions {
            export["decisions"] = Value::Array(decisions);
        }
        return output.json(&export);
    }
    let path = format!("{path}?format=markdown");
    let text = client.text(Server::IncidentStore, &path).await?;
    line(text.trim_end())?;
    if let Some(decisions) = decisions {
        line("\n## Decisions\n")?;
        for words in decisions.iter().rev().flat_map(words) {
            line(&words)?;
        }
    }
    Ok(())
}

async fn decisions(client: &Client, export: &Value) -> Option<Vec<Value>> {
    let id = export["incident"]["id"].as_str()?.to_owned();
    let query = [("incident_id", id), ("limit", "500".to_owned())];
    let path = "/api/v1/decisions";
    match items(client, Server::Rules, path, &query, usize::MAX).await {
        Ok(decisions) => Some(decisions),
        Err(error) => {
            eprintln!("eventpulse: without decisions: {}", chain(&error));
            None
        }
    }
}

fn words(decision: &Value) -> Vec<String> {
    let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
    let outcomes = decision["outcomes"].as_array();
    outcomes
        .into_iter()
        .flatten()
        .filter(|outcome| outcome["outcome"] != "no_match")
        .map(|outcome| {
            format!(
                "- {} {}: {} {}: {}",
                text(&decision["at"]),
                text(&decision["input"]),
                outcome["rule"]
                    .as_str()
                    .map_or_else(|| "(engine)".to_owned(), printable),
                text(&outcome["outcome"]),
                text(&outcome["reason"]),
            )
        })
        .collect()
}

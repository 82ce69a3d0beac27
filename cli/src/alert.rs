//! `alert show`, `alert send`, `decision show`, `action show`.

use std::io::Read;

use chrono::SecondsFormat;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    client::{Client, Server, segment},
    error::Error,
    list::items,
    output::{As, Output, line},
};

/// An alert to send.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// `alertname`; with --file, nothing
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// Labels: service=app; repeatable
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Annotations: value=0.84; repeatable
    #[arg(short, long = "annotation", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
    /// It clears
    #[arg(long)]
    pub(crate) resolved: bool,
    /// A whole webhook body of Alertmanager (version 4); `-`: standard input
    #[arg(long, conflicts_with_all = ["labels", "annotations", "resolved"])]
    pub(crate) file: Option<String>,
    /// Ingest's token of a source
    #[arg(long, env = "EVENTPULSE_WEBHOOK_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `alert send`
pub(crate) async fn send(client: &Client, output: Output, args: &SendArgs) -> Result<(), Error> {
    let body = match &args.file {
        Some(file) => read(file)?,
        None => body(output, args),
    };
    let answer = client
        .post_as(Server::Ingest, "/webhooks/alertmanager", &args.token, &body)
        .await?;
    if output.is_json() {
        return output.json(&answer);
    }
    let name = args.name.as_deref().unwrap_or_default();
    line(&format!(
        "accepted; `eventpulse why {}` follows it",
        if name.is_empty() { "WORD" } else { name }
    ))
}

fn read(file: &str) -> Result<Value, Error> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        let failed = |error| Error::Failed(format!("{file}: {error}"));
        text = std::fs::read_to_string(file).map_err(failed)?;
    }
    serde_json::from_str(&text).map_err(|error| Error::Failed(format!("{file}: {error}")))
}

fn body(output: Output, args: &SendArgs) -> Value {
    let map = |pairs: &[(String, String)]| -> Map<String, Value> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect()
    };
    let mut labels = map(&args.labels);
    labels.insert("alertname".to_owned(), json!(args.name));
    let now = output.now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let (status, ends) = match args.resolved {
        true => ("resolved", now.as_str()),
        false => ("firing", "0001-01-01T00:00:00Z"),
    };
    json!({
        "version": "4", "groupKey": "eventpulse-cli", "truncatedAlerts": 0, "status": status,
        "receiver": "eventpulse-cli", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "",
        "alerts": [{
            "status": status, "labels": labels, "annotations": map(&args.annotations),
            "startsAt": now, "endsAt": ends, "generatorURL": "", "fingerprint": "",
        }],
    })
}

/// `alert show`
pub(crate) async fn show(client: &Client, output: Output, id: &str) -> Result<(), Error> {
    let path = format!("/api/v1/alerts/{}", segment(id));
    let alert = client.get(Server::Ingest, &path, &[]).await?;
    fields(output, &alert)
}

/// `decision show`
pub(crate) async fn decision(client: &Client, output: Output, id: &str) -> Result<(), Error> {
    let path = format!("/api/v1/decisions/{}", segment(id));
    let decision = client.get(Server::Rules, &path, &[]).await?;
    fields(output, &decision)
}

/// `action show`
pub(crate) async fn action(client: &Client, output: Output, id: &str) -> Result<(), Error> {
    let path = "/api/v1/actions";
    let query = [("limit", "100".to_owned())];
    let actions = items(client, Server::ActionRunner, path, &query, usize::MAX).await?;
    let begins = |action: &&Value| {
        let own = action["action_id"].as_str().unwrap_or_default();
        own == id || (id.len() >= 6 && own.starts_with(id))
    };
    match actions.iter().find(begins) {
        Some(action) => fields(output, action),
        None => Err(Error::Refused {
            server: Server::ActionRunner.name(),
            status: 404,
            detail: format!("there is no action {id}"),
        }),
    }
}

/// Every field of a thing, the nested ones indented.
fn fields(output: Output, value: &Value) -> Result<(), Error> {
    if output.is_json() {
        return output.json(value);
    }
    tell(output, value, 0)
}

fn tell(output: Output, value: &Value, depth: usize) -> Result<(), Error> {
    for (name, field) in value.as_object().into_iter().flatten() {
        let indent = "  ".repeat(depth);
        match field {
            Value::Object(nested) if !nested.is_empty() => {
                line(&format!("{indent}{name}:"))?;
                tell(output, field, depth + 1)?;
            }
            Value::Array(all) if all.iter().any(Value::is_object) => {
                for one in all {
                    line(&format!("{indent}{name}:"))?;
                    tell(output, one, depth + 1)?;
                }
            }
            Value::Null => {}
            other => {
                let how = if name.ends_with("at") || name.ends_with("_seen") {
                    As::Time
                } else {
                    As::Names
                };
                line(&format!("{indent}{name:<18} {}", output.text(other, how)))?;
            }
        }
    }
    Ok(())
}

//! Incidents as Incident Store tells them.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::Value;

use crate::{
    args::IncidentList,
    client::{Client, Server, segment},
    error::Error,
    list::{action_columns, items, of_incident, page},
    output::{As, Column, Output, line},
};

/// `incident ls`
pub(crate) async fn list(
    client: &Client,
    output: Output,
    wanted: &IncidentList,
) -> Result<(), Error> {
    let mut query = vec![page(wanted.limit.limit)];
    for (name, value) in [
        ("status", &wanted.status),
        ("service", &wanted.service),
        ("severity", &wanted.severity),
    ] {
        query.extend(value.clone().map(|value| (name, value)));
    }
    for (name, value) in [("since", &wanted.since), ("until", &wanted.until)] {
        if let Some(text) = value {
            query.push((name, moment(output, text)?));
        }
    }
    if let Some(text) = &wanted.as_of {
        query.push(("as_of", moment(output, text)?));
    }
    if wanted.needs_attention {
        query.push(("needs_attention", "true".to_owned()));
    }
    query.extend(wanted.matchers.iter().map(|text| ("matcher", text.clone())));
    let path = "/api/v1/incidents";
    let items = items(
        client,
        Server::IncidentStore,
        path,
        &query,
        wanted.limit.limit,
    )
    .await?;
    let columns = [
        Column("INCIDENT", "/id", As::Id),
        Column("STATUS", "/status", As::Status),
        Column("SEVERITY", "/severity", As::Text),
        Column("SERVICE", "/service", As::Text),
        Column("OPENED", "/opened_at", As::Time),
        Column("HOLDS", "/now/holding_alerts", As::Names),
        Column("ACTIONS", "/actions", As::Text),
        Column("TITLE", "/title", As::Text),
    ];
    output.list(&items, &columns, "no incidents")
}

/// A time, or how long ago.
pub(crate) fn moment(output: Output, text: &str) -> Result<String, Error> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true));
    }
    let ago = humantime::parse_duration(text).ok();
    let at = ago
        .and_then(|ago| TimeDelta::from_std(ago).ok())
        .and_then(|ago| output.now().checked_sub_signed(ago))
        .ok_or_else(|| {
            Error::Usage(format!(
                "{text:?} is neither a time (2026-11-21T03:14:05Z) nor a duration (30m, 2d)"
            ))
        })?;
    Ok(at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// `incident show`
pub(crate) async fn show(
    client: &Client,
    output: Output,
    (id, as_of): (&str, Option<&str>),
) -> Result<(), Error> {
    let path = format!("/api/v1/incidents/{}", segment(id));
    let then = as_of.map(|text| moment(output, text)).transpose()?;
    let query: Vec<_> = then.iter().map(|at| ("as_of", at.clone())).collect();
    let incident = client.get(Server::IncidentStore, &path, &query).await?;
    if let Some(then) = then {
        if output.is_json() {
            return output.json(&incident);
        }
        headline(output, &incident)?;
        line(&format!("  as of       {}", output.clock(&then)))?;
        return facts(output, &incident);
    }
    let actions = of_incident(client, id).await?;
    let story = story(client, id).await?;
    if output.is_json() {
        let mut whole = incident;
        whole["action_list"] = Value::Array(actions);
        whole["timeline"] = Value::Array(story);
        return output.json(&whole);
    }
    headline(output, &incident)?;
    facts(output, &incident)?;
    let alerts = incident["alerts"].as_array().cloned().unwrap_or_default();
    line("")?;
    let columns = [
        Column("ALERT", "/name", As::Text),
        Column("STATUS", "/status", As::Status),
        Column("HOLDS", "/holds", As::Text),
        Column("ALERT ID", "/alert_id", As::Text),
    ];
    output.list(&alerts, &columns, "no alerts")?;
    if !actions.is_empty() {
        line("")?;
        output.list(&actions, &action_columns(), "")?;
        evidence(output, &actions)?;
    }
    line("")?;
    tell(output, &story)
}

fn headline(output: Output, incident: &Value) -> Result<(), Error> {
    let status = incident["status"].as_str().unwrap_or_default();
    // A bare "failed" reads like a failed service.
    let words = match status {
        "failed" => "FAILED (automation gave up; needs you)",
        other => other,
    };
    let id = output.text(&incident["id"], As::Id);
    let title = output.text(&incident["title"], As::Text);
    line(&format!("{id}  {}  {title}", output.paint(words, status)))
}

fn facts(output: Output, incident: &Value) -> Result<(), Error> {
    let rows = [
        ("incident", "/id", As::Text),
        ("service", "/service", As::Text),
        ("severity", "/severity", As::Text),
        ("rule", "/rule", As::Text),
        ("key", "/correlation_key", As::Text),
        ("opened", "/opened_at", As::Time),
        ("mitigating", "/mitigating_at", As::Time),
        ("failed", "/failed_at", As::Time),
        ("resolved", "/resolved_at", As::Time),
        ("code", "/reason/code", As::Text),
        ("reason", "/reason/message", As::Text),
        ("holds", "/now/holding_alerts", As::Names),
        ("replicas", "/now/replicas", As::Replicas),
        ("next", "/now/next_step", As::Text),
        ("due", "/now/next_due_at", As::Time),
        ("graph", "/links/graph", As::Text),
        ("runbook", "/links/runbook", As::Text),
        ("trace", "/links/trace", As::Text),
    ];
    for (name, pointer, how) in rows {
        let value = incident.pointer(pointer).unwrap_or(&Value::Null);
        let text = output.text(value, how);
        if text != "-" {
            line(&format!("  {name:<11} {text}"))?;
        }
    }
    Ok(())
}

fn evidence(output: Output, actions: &[Value]) -> Result<(), Error> {
    for action in actions {
        let pieces = action["evidence"].as_array().cloned().unwrap_or_default();
        for piece in pieces {
            let container = output.text(&piece["container"], As::Text);
            let exit = output.text(&piece["exit_code"], As::Text);
            let oom = piece["oom_killed"].as_bool().unwrap_or_default();
            let oom = if oom { ", out of memory" } else { "" };
            line(&format!("\n{container}: exit code {exit}{oom}"))?;
            for (name, lines) in [("log", &piece["logs"]), ("health", &piece["health"])] {
                for text in lines.as_array().into_iter().flatten() {
                    line(&format!("  {name}: {}", output.text(text, As::Text)))?;
                }
            }
        }
    }
    Ok(())
}

/// `incident timeline`
pub(crate) async fn timeline(client: &Client, output: Output, id: &str) -> Result<(), Error> {
    let story = story(client, id).await?;
    if output.is_json() {
        return output.json(&Value::Array(story));
    }
    tell(output, &story)
}

async fn story(client: &Client, id: &str) -> Result<Vec<Value>, Error> {
    let path = format!("/api/v1/incidents/{}/timeline", segment(id));
    items(client, Server::IncidentStore, &path, &[], usize::MAX).await
}

fn tell(output: Output, story: &[Value]) -> Result<(), Error> {
    let columns = [
        Column("AT", "/at", As::Time),
        Column("WHO", "/actor", As::Text),
        Column("WHAT", "/summary", As::Text),
    ];
    output.list(story, &columns, "nothing happened yet")
}

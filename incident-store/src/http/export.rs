//! An incident as a post-mortem to start from: for people in Markdown, for programs in JSON.

use std::fmt::Write;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use service_kit::http::Problem;
use utoipa::ToSchema;

use super::{Api, Error, dto, incidents::find, query::read_moment};
use crate::store::story;

type Pairs = Query<Vec<(String, String)>>;

/// Lines of a story that an export has at most.
const LINES: i64 = 10_000;

/// An incident from its beginning to now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Export {
    incident: dto::Incident,
    durations: Durations,
    actions: Vec<dto::Action>,
    timeline: Vec<dto::Entry>,
}

/// Seconds between the moments of an incident's life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Durations {
    /// From opened to the first action asked for.
    to_mitigating: Option<f64>,
    /// From opened to resolved.
    to_resolved: Option<f64>,
    /// From opened to failed.
    to_failed: Option<f64>,
}

/// The whole incident: summary, durations, actions with their outcomes, timeline, links.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/export", tag = "incidents",
    params(
        ("id" = String, Path, description = "UUID, or its first 6 or more digits", pattern = "^[0-9a-fA-F-]{6,36}$"),
        ("format" = Option<String>, Query, description = "json (default) or markdown"),
    ),
    responses(
        (status = 200, description = "JSON, or text/markdown", body = Export),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn export(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, Error> {
    let (_, format) = read_moment(&pairs, &["format"])?;
    let stored = find(&api, &id).await?;
    let incident_id = stored.incident.id;
    let mut conn = api.connection().await?;
    let rows = story::entries(&mut conn, incident_id.uuid(), None, LINES).await?;
    drop(conn);
    let own = stored.incident.actions.values().cloned();
    let mut actions: Vec<dto::Action> = own
        .map(|action| dto::Action::of(incident_id, action))
        .collect();
    actions.sort_by_key(|action| (action.requested_at.or(action.finished_at), action.action_id));
    let incident =
        dto::Incident::of(stored, api.traces.as_deref()).ok_or_else(|| Error::Unknown(id))?;
    let since = |at: Option<DateTime<Utc>>| at.map(|at| seconds(at - incident.opened_at));
    let export = Export {
        durations: Durations {
            to_mitigating: since(incident.mitigating_at),
            to_resolved: since(incident.resolved_at),
            to_failed: since(incident.failed_at),
        },
        actions,
        timeline: rows.into_iter().map(Into::into).collect(),
        incident,
    };
    match format.as_deref() {
        None | Some("json") => Ok(Json(export).into_response()),
        Some("markdown") => {
            let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
            Ok((kind, markdown(&export)).into_response())
        }
        Some(other) => Err(Error::Parameter(format!(
            "format {other:?} is neither json nor markdown"
        ))),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of an incident's life fit"
)]
fn seconds(time: TimeDelta) -> f64 {
    time.num_milliseconds() as f64 / 1e3
}

fn markdown(export: &Export) -> String {
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = head(&mut text, export);
    let _ = actions(&mut text, export);
    let _ = timeline(&mut text, export);
    text
}

fn head(text: &mut String, export: &Export) -> std::fmt::Result {
    let incident = &export.incident;
    writeln!(text, "# {}\n", plain(&incident.title))?;
    writeln!(text, "## Summary\n")?;
    writeln!(text, "- Incident: `{}`", incident.id)?;
    writeln!(text, "- Status: {}", incident.status)?;
    let service = incident.service.as_deref().unwrap_or("-");
    writeln!(text, "- Service: {}", plain(service))?;
    let severity = incident.severity.as_deref().unwrap_or("-");
    writeln!(text, "- Severity: {}", plain(severity))?;
    if let Some(rule) = &incident.rule {
        writeln!(text, "- Opened by rule: {}", plain(rule))?;
    }
    writeln!(text, "- Opened: {}", time(incident.opened_at))?;
    for (name, at, after) in [
        (
            "First action",
            incident.mitigating_at,
            export.durations.to_mitigating,
        ),
        ("Failed", incident.failed_at, export.durations.to_failed),
        (
            "Resolved",
            incident.resolved_at,
            export.durations.to_resolved,
        ),
    ] {
        if let (Some(at), Some(after)) = (at, after) {
            writeln!(text, "- {name}: {} (after {})", time(at), lasted(after))?;
        }
    }
    if let Some(reason) = &incident.reason {
        writeln!(
            text,
            "- Reason: {} (`{}`)",
            plain(&reason.message),
            reason.code
        )?;
    }
    let alerts: Vec<String> = incident
        .alerts
        .iter()
        .map(|alert| format!("{} ({})", plain(&alert.name), alert.status))
        .collect();
    writeln!(text, "- Alerts: {}", alerts.join(", "))?;
    for (name, link) in [
        ("Graph", &incident.links.graph),
        ("Runbook", &incident.links.runbook),
        ("Trace", &incident.links.trace),
    ] {
        if let Some(link) = link {
            writeln!(text, "- {name}: <{link}>")?;
        }
    }
    Ok(())
}

fn actions(text: &mut String, export: &Export) -> std::fmt::Result {
    writeln!(text, "\n## Actions\n")?;
    if export.actions.is_empty() {
        return writeln!(text, "None.");
    }
    writeln!(
        text,
        "| Asked for | Target | Replicas | Outcome | Took | Why |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for action in &export.actions {
        let took = action.requested_at.zip(action.finished_at);
        writeln!(
            text,
            "| {} | {} | {} -> {} | {} | {} | {} |",
            action.requested_at.map_or_else(|| "-".to_owned(), time),
            plain(&action.target),
            count(action.previous_replicas),
            count(action.desired_replicas),
            action.status,
            took.map_or_else(|| "-".to_owned(), |(from, to)| lasted(seconds(to - from))),
            action
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| plain(&reason.message)),
        )?;
    }
    Ok(())
}

fn timeline(text: &mut String, export: &Export) -> std::fmt::Result {
    writeln!(text, "\n## Timeline\n")?;
    writeln!(text, "| Time | After | Who | What |")?;
    writeln!(text, "|---|---|---|---|")?;
    for entry in &export.timeline {
        let after = seconds(entry.at - export.incident.opened_at);
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            time(entry.at),
            lasted(after),
            plain(&entry.actor),
            plain(&entry.summary)
        )?;
    }
    Ok(())
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn count(replicas: Option<i32>) -> String {
    replicas.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

/// `0.4 s`, `2 m 05 s`, `1 h 02 m`.
fn lasted(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds of an incident's life"
    )]
    let whole = seconds as i64;
    match whole {
        i64::MIN..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} m {:02} s", whole / 60, whole % 60),
        3_600.. => format!("{} h {:02} m", whole / 3_600, whole % 3_600 / 60),
    }
}

/// Words that anybody wrote, without what would be a table, a link or HTML.
fn plain(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => text.push(' '),
            // turns what follows around
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

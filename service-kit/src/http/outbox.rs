//! What waits for Kafka, and what people do about it: the same API in every service.

mod resend;
mod restorations;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::Notify;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::problem::Problem;
use crate::outbox::held::{self, Because, Settled, Waiting, Which};

/// Longest actor and reason, characters.
const LONGEST: usize = 1000;

/// The outbox of this service and the bell of its relay.
#[derive(Clone, Debug)]
pub struct Desk {
    pub pool: PgPool,
    pub wake: Arc<Notify>,
}

/// Routes below `/api/v1/outbox`.
pub fn outbox(desk: Desk) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retry))
        .routes(routes!(skip))
        .routes(routes!(resend::resend))
        .routes(routes!(interventions))
        .routes(routes!(restorations::list))
        .with_state(desk)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// `parked`: given up until a person decides; `held` (default): those and what was put off; `all`
    state: Option<String>,
    /// At most so many, 1 to 500
    limit: Option<i64>,
}

/// Events that wait, oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct Outbox {
    /// Events that wait in all
    depth: i64,
    items: Vec<WaitingEvent>,
}

/// One event that waits.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingEvent {
    event_id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    /// Without prefix
    topic: String,
    key: String,
    sequence: i64,
    created_at: DateTime<Utc>,
    /// Refusals by the broker for its own fault
    attempts: i32,
    /// Given up until a person decides: retry or skip
    parked: bool,
    bytes: i32,
    /// What the broker said
    last_error: Option<String>,
    /// Later events of the same key, which wait for it
    behind: i64,
}

impl From<Waiting> for WaitingEvent {
    fn from(waiting: Waiting) -> Self {
        Self {
            event_id: waiting.event_id,
            event_type: waiting.event_type,
            topic: waiting.topic,
            key: String::from_utf8_lossy(&waiting.key).into_owned(),
            sequence: waiting.key_seq,
            created_at: waiting.created_at,
            attempts: waiting.attempts,
            parked: waiting.parked,
            bytes: waiting.bytes,
            last_error: waiting.last_error,
            behind: waiting.behind,
        }
    }
}

/// Lists events that wait for Kafka.
#[utoipa::path(get, path = "/api/v1/outbox", tag = "outbox", params(Listing), responses(
    (status = 200, description = "what waits", body = Outbox),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(desk): State<Desk>,
    Query(listing): Query<Listing>,
) -> Result<Json<Outbox>, Problem> {
    let which = match listing.state.as_deref() {
        None | Some("held") => Which::Held,
        Some("parked") => Which::Parked,
        Some("all") => Which::All,
        Some(_) => return Err(Problem::bad_request("state is parked, held or all")),
    };
    let limit = listing.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(Problem::bad_request("limit is from 1 to 500"));
    }
    let items = held::list(&desk.pool, which, limit).await?;
    Ok(Json(Outbox {
        depth: held::depth(&desk.pool).await?,
        items: items.into_iter().map(Into::into).collect(),
    }))
}

/// Who wants it, and why: both are kept.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OutboxOrder {
    #[schema(example = "ana")]
    actor: String,
    #[schema(example = "the broker takes larger records now")]
    reason: String,
}

impl OutboxOrder {
    fn because(self) -> Result<Because, Problem> {
        because(&self.actor, &self.reason)
    }
}

fn because(actor: &str, reason: &str) -> Result<Because, Problem> {
    for (name, text) in [("actor", actor), ("reason", reason)] {
        let why = match text {
            text if text.trim().is_empty() => "is empty",
            text if text.chars().count() > LONGEST => "is longer than 1000 characters",
            text if text.contains('\0') => "holds a NUL character",
            _ => continue,
        };
        return Err(Problem::bad_request(format!("{name} {why}")));
    }
    Ok(Because {
        actor: actor.trim().to_owned(),
        reason: reason.trim().to_owned(),
    })
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
struct OutboxDone {
    message: String,
}

fn told(settled: Settled, id: Uuid, done: &str, held: &str) -> Result<Json<OutboxDone>, Problem> {
    match settled {
        Settled::Done { topic, key_seq } => Ok(Json(OutboxDone {
            message: format!("{id}, number {key_seq} of its key on {topic}: {done}"),
        })),
        Settled::Unknown => Err(Problem::not_found(format!("{id} does not wait here"))),
        Settled::NotHeld => Err(Problem::conflict(format!("{id} {held}"))),
    }
}

/// Sends a held event once more.
#[utoipa::path(post, path = "/api/v1/outbox/{event_id}/retry", tag = "outbox",
    params(("event_id" = Uuid, Path, description = "`ce_id`")),
    request_body = OutboxOrder,
    responses(
        (status = 200, description = "it is tried again", body = OutboxDone),
        (status = 404, description = "it does not wait here", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "it is not held: it waits its turn", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn retry(
    State(desk): State<Desk>,
    Path(id): Path<Uuid>,
    Json(order): Json<OutboxOrder>,
) -> Result<Json<OutboxDone>, Problem> {
    let settled = held::retry(&desk.pool, id, &order.because()?).await?;
    desk.wake.notify_one();
    told(settled, id, "tried again", "is not held: it waits its turn")
}

/// Never sends a parked event. Its bytes are kept; readers of the topic see a gap in its key.
#[utoipa::path(post, path = "/api/v1/outbox/{event_id}/skip", tag = "outbox",
    params(("event_id" = Uuid, Path, description = "`ce_id`")),
    request_body = OutboxOrder,
    responses(
        (status = 200, description = "it is never sent; those behind it go", body = OutboxDone),
        (status = 404, description = "it does not wait here", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "it is not parked: it will be sent", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn skip(
    State(desk): State<Desk>,
    Path(id): Path<Uuid>,
    Json(order): Json<OutboxOrder>,
) -> Result<Json<OutboxDone>, Problem> {
    let because = order.because()?;
    let settled = held::skip(&desk.pool, id, &because).await?;
    if let Settled::Done { topic, key_seq } = &settled {
        let Because { actor, reason } = &because;
        tracing::warn!(%id, topic, key_seq, actor, reason, "an event is skipped by a person");
    }
    desk.wake.notify_one();
    told(settled, id, "skipped", "is not parked: it will be sent")
}

/// What people did to the outbox.
#[derive(Debug, Serialize, ToSchema)]
struct Interventions {
    items: Vec<InterventionItem>,
}

/// Who did what, when and why.
#[derive(Debug, Serialize, ToSchema)]
struct InterventionItem {
    at: DateTime<Utc>,
    /// `retry`, `skip` or `resend`
    verb: String,
    actor: String,
    reason: String,
    /// The one event; missing for `resend`
    event_id: Option<Uuid>,
    topic: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Of `resend`: acknowledged from then on
    since: Option<DateTime<Utc>>,
    /// How many events it concerned
    events: i64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Newest {
    /// At most so many, 1 to 500
    limit: Option<i64>,
}

/// Lists what people did to the outbox, newest first.
#[utoipa::path(get, path = "/api/v1/outbox/interventions", tag = "outbox", params(Newest), responses(
    (status = 200, description = "who did what", body = Interventions),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
async fn interventions(
    State(desk): State<Desk>,
    Query(newest): Query<Newest>,
) -> Result<Json<Interventions>, Problem> {
    let limit = newest.limit.unwrap_or(100).clamp(1, 500);
    let items = held::interventions(&desk.pool, limit).await?;
    let item = |done: held::Intervention| InterventionItem {
        at: done.at,
        verb: done.verb,
        actor: done.actor,
        reason: done.reason,
        event_id: done.event_id,
        topic: done.topic,
        event_type: done.event_type,
        since: done.sent_since,
        events: done.events,
    };
    Ok(Json(Interventions {
        items: items.into_iter().map(item).collect(),
    }))
}

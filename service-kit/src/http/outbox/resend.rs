//! Sending again what a broker has lost.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::{Desk, because};
use crate::{
    Error, Problem,
    outbox::resend::{Span, count, resend as put_back},
};

/// Which sent events to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResendOrder {
    /// Events that the broker acknowledged from then on
    since: DateTime<Utc>,
    /// And before then: what the first answer said, when a part is asked for again. Now, if missing
    until: Option<DateTime<Utc>>,
    /// Only count them
    #[serde(default)]
    dry_run: bool,
    actor: String,
    reason: String,
}

/// How far a resending has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Resent {
    /// Events that this request put back into the outbox, or would
    events: i64,
    /// To be given as `until` in the next request
    until: DateTime<Utc>,
    /// Nothing of the span is left: no further request is due
    complete: bool,
    /// The oldest sent event that was kept, before this request
    kept_since: Option<DateTime<Utc>>,
}

/// Sends sent events again, after the broker has lost them: a part at a time, until `complete`.
/// They keep their ids: whoever has handled them drops them.
#[utoipa::path(post, path = "/api/v1/outbox/resend", tag = "outbox",
    request_body = ResendOrder,
    responses(
        (status = 200, description = "a part is on its way", body = Resent),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn resend(
    State(desk): State<Desk>,
    Json(order): Json<ResendOrder>,
) -> Result<Json<Resent>, Problem> {
    let because = because(&order.actor, &order.reason)?;
    let until = match order.until {
        Some(until) => until,
        None => now(&desk.pool).await?,
    };
    if order.since >= until {
        let words = "since lies in the future, or behind until";
        return Err(Problem::bad_request(words));
    }
    let span = Span {
        since: order.since,
        until,
    };
    let (events, kept_since) = count(&desk.pool, span).await?;
    let mut answer = Resent {
        events,
        until,
        complete: true,
        kept_since,
    };
    if !order.dry_run {
        let part = put_back(&desk.pool, span, &because).await?;
        answer.events = i64::try_from(part.events).unwrap_or(i64::MAX);
        answer.complete = part.complete;
        desk.wake.notify_one();
    }
    Ok(Json(answer))
}

async fn now(pool: &PgPool) -> Result<DateTime<Utc>, Error> {
    let connecting = Error::database("waiting for a connection");
    let mut connection = pool.acquire().await.map_err(connecting)?;
    crate::database::now(&mut connection).await
}

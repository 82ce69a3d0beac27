//! What dumps lacked that the database was restored from.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Desk;
use crate::{Problem, restore};

/// Restorations of this service's database.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Restorations {
    items: Vec<RestorationItem>,
}

/// A restored database.
#[derive(Debug, Serialize, ToSchema)]
struct RestorationItem {
    at: DateTime<Utc>,
    actor: String,
    reason: String,
    /// Second part of `ce_source` when the dump was made
    incarnation_before: Uuid,
    incarnation: Uuid,
    caught_up_at: Option<DateTime<Utc>>,
    /// What the dump lacked: `read` records were read again, `said` events had been said since;
    /// `not_said_again` of those did not follow again, `said_anew` had not been said before
    #[schema(value_type = Option<Object>)]
    report: Option<serde_json::Value>,
}

/// Lists restorations, newest first, with what the dumps lacked.
#[utoipa::path(get, path = "/api/v1/restorations", tag = "outbox", responses(
    (status = 200, description = "restorations", body = Restorations),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(desk): State<Desk>) -> Result<Json<Restorations>, Problem> {
    let all = restore::all(&desk.pool).await?.into_iter();
    let item = |found: restore::Restoration| RestorationItem {
        at: found.at,
        actor: found.actor,
        reason: found.reason,
        incarnation_before: found.incarnation_before,
        incarnation: found.incarnation,
        caught_up_at: found.caught_up_at,
        report: found.report,
    };
    Ok(Json(Restorations {
        items: all.map(item).collect(),
    }))
}

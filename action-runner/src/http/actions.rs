use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use shared_events::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use crate::store::{self, ActionFilter, ActionRow, Place};

/// Actions of a page unless it is told otherwise, and at most.
const PAGE: (i64, i64) = (50, 500);

/// Which actions, as the route's description tells.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    target: Option<String>,
    status: Option<String>,
    incident_id: Option<Uuid>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// A page of actions, newest request first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Actions {
    items: Vec<ActionRow>,
    /// Of the next page; null at the end
    next_cursor: Option<String>,
}

/// Actions, newest first.
#[utoipa::path(get, path = "/api/v1/actions", params(
    ("target" = Option<String>, Query, description = "name of a target"),
    ("status" = Option<String>, Query, description = "`requested`, `completed` or `failed`"),
    ("incident_id" = Option<Uuid>, Query, description = "actions of one incident"),
    ("limit" = Option<i64>, Query, description = "1 to 500, else 50", minimum = 1, maximum = 500),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
), responses(
    (status = 200, body = Actions),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Actions>, Problem> {
    let limit = wanted.limit.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is 1 to {}", PAGE.1)));
    }
    let place = wanted.cursor.as_deref().map(read).transpose()?;
    let filter = ActionFilter {
        target: wanted.target,
        status: wanted.status.as_deref().map(stored).transpose()?,
        incident_id: wanted.incident_id,
    };
    // One more than asked for tells whether there is another page.
    let pool = api.tools.kit.pool();
    let mut items = store::list_actions(pool, &filter, place, limit + 1).await?;
    let more = i64::try_from(items.len()).is_ok_and(|found| found > limit);
    if more {
        items.pop();
    }
    let last = items.last().filter(|_| more);
    Ok(Json(Actions {
        next_cursor: last.map(cursor),
        items,
    }))
}

/// One action.
#[utoipa::path(get, path = "/api/v1/actions/{id}", params(("id" = Uuid, Path)), responses(
    (status = 200, body = ActionRow),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<Uuid>,
) -> Result<Json<ActionRow>, Problem> {
    let action = store::action(api.tools.kit.pool(), id).await?;
    let unknown = || Problem::not_found(format!("there is no action {id}"));
    action.map(Json).ok_or_else(unknown)
}

/// The column's word for a status.
fn stored(status: &str) -> Result<String, Problem> {
    match status {
        "requested" => Ok("pending".to_owned()),
        "completed" | "failed" => Ok(status.to_owned()),
        _ => Err(Problem::bad_request(
            "status is requested, completed or failed",
        )),
    }
}

fn cursor(last: &ActionRow) -> String {
    let mut bytes = last.requested_at.timestamp_micros().to_be_bytes().to_vec();
    bytes.extend(last.action_id.as_bytes());
    hex::encode(bytes)
}

fn read(cursor: &str) -> Result<Place, Problem> {
    let place = || {
        let bytes = hex::decode(cursor).ok()?;
        let (micros, id) = bytes.split_first_chunk::<8>()?;
        Some(Place {
            requested_at: Timestamp::from_timestamp_micros(i64::from_be_bytes(*micros))?,
            action_id: Uuid::from_slice(id).ok()?,
        })
    };
    place().ok_or_else(|| Problem::bad_request("cursor: take it from next_cursor"))
}

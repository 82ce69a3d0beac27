//! What the tables hold, for `eventpulse rebuild rules --verify`.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;
use service_kit::{Problem, content::Content};

use super::Api;
use crate::store::content;

/// The hash of every correlation and target in one snapshot, and how far the topics were read for it.
#[utoipa::path(get, path = "/api/v1/content", tag = "content", responses(
    (status = 200, description = "every item", body = Content),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn all(State(api): State<Api>) -> Result<Json<Content>, Problem> {
    Ok(Json(content::content(api.kit.pool()).await?))
}

/// Which item.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemOf {
    /// Its id in `/api/v1/content`
    #[param(example = "correlation service=app")]
    id: String,
}

/// Everything that the tables hold of one item, as it is hashed.
#[utoipa::path(get, path = "/api/v1/content/item", tag = "content", params(ItemOf), responses(
    (status = 200, description = "the item", body = Object),
    (status = 404, description = "no such item", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn item(
    State(api): State<Api>,
    Query(item): Query<ItemOf>,
) -> Result<Json<serde_json::Value>, Problem> {
    let found = content::document(api.kit.pool(), item.id.clone()).await?;
    let none = || Problem::not_found(format!("there is no {}", item.id));
    Ok(Json(found.ok_or_else(none)?))
}

//! What the tables hold, for `eventpulse rebuild rules --verify`.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use service_kit::{Problem, content::Content};
use utoipa::ToSchema;

use super::Api;
use crate::store::{content, rule_sets};

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

/// A rule set as it was loaded: enough to compile it again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleSetSources {
    hash: String,
    rules_name: String,
    rules: String,
    targets_name: String,
    targets: String,
    settle_ms: i64,
    action_grace_ms: i64,
}

/// The files and settings of a rule set that decisions were made under.
#[utoipa::path(get, path = "/api/v1/rule-sets/{hash}", tag = "content",
    params(("hash" = String, Path, description = "`rules_version` of a decision")),
    responses(
        (status = 200, description = "its files", body = RuleSetSources),
        (status = 404, description = "no such rule set", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn rule_set(
    State(api): State<Api>,
    Path(hash): Path<String>,
) -> Result<Json<RuleSetSources>, Problem> {
    let stored = rule_sets::stored(api.kit.pool(), &hash).await?;
    let none = || Problem::not_found(format!("there is no rule set {hash}"));
    let stored = stored.ok_or_else(none)?;
    Ok(Json(RuleSetSources {
        rules_name: stored.sources.rules.name,
        rules: stored.sources.rules.text,
        targets_name: stored.sources.targets.name,
        targets: stored.sources.targets.text,
        settle_ms: stored.policy.settle.num_milliseconds(),
        action_grace_ms: stored.policy.action_grace.num_milliseconds(),
        hash,
    }))
}

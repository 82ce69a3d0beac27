//! Rule sets as decisions name them: everything that a decision was made with.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use service_kit::Problem;
use utoipa::ToSchema;

use super::Api;
use crate::store::rule_sets;

/// What `rules_version` of a decision stands for: enough to decide again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleSetText {
    /// Hash of all of it
    version: String,
    /// Name of the rules file
    rules_name: String,
    /// The rules file
    rules: String,
    /// Name of the targets file
    targets_name: String,
    /// The targets file
    targets: String,
    /// EVENTPULSE_SETTLE
    settle_ms: i64,
    /// EVENTPULSE_ACTION_GRACE
    action_grace_ms: i64,
}

/// The files and settings of a rule set that is, or was, in force.
#[utoipa::path(get, path = "/api/v1/rules/sets/{version}", tag = "rules",
    params(("version" = String, Path, description = "`rules_version` of a decision")),
    responses(
        (status = 200, description = "the rule set", body = RuleSetText),
        (status = 404, description = "no such rule set", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(version): Path<String>,
) -> Result<Json<RuleSetText>, Problem> {
    let found = match version.contains('\0') {
        true => None,
        false => rule_sets::stored(api.kit.pool(), &version).await?,
    };
    let stored = found.ok_or_else(|| Problem::not_found(format!("no rule set {version:?}")))?;
    Ok(Json(RuleSetText {
        version,
        rules_name: stored.sources.rules.name,
        rules: stored.sources.rules.text,
        targets_name: stored.sources.targets.name,
        targets: stored.sources.targets.text,
        settle_ms: stored.policy.settle.num_milliseconds(),
        action_grace_ms: stored.policy.action_grace.num_milliseconds(),
    }))
}

//! The active rules.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use service_kit::Problem;
use utoipa::ToSchema;

use super::Api;
use crate::{
    domain::{Role, Rule},
    store::rule_sets,
    workers::reload::Failure,
};

/// The active rules, in the order in which they are evaluated.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rules {
    items: Vec<RuleItem>,
    /// Always missing: there is one page
    next_cursor: Option<String>,
    /// Hash of the rules, the bounds of targets and the settings that decisions depend on
    version: String,
    /// When this version became active
    loaded_at: Option<DateTime<Utc>>,
}

/// One rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleItem {
    name: String,
    /// SHA-256 of what the rule says
    version: String,
    #[schema(example = json!(["alertname=\"HighCPU\""]))]
    matchers: Vec<String>,
    /// CEL
    when: Option<String>,
    group_by: Vec<String>,
    /// `open` or `attach`
    incident: &'static str,
    /// As in the file, times in milliseconds
    action: Option<serde_json::Value>,
}

impl From<&Rule> for RuleItem {
    fn from(rule: &Rule) -> Self {
        Self {
            name: rule.name.clone(),
            version: rule.version.clone(),
            matchers: rule.matchers.iter().map(ToString::to_string).collect(),
            when: rule.when.as_ref().map(|when| when.source().to_owned()),
            group_by: rule.group_by.clone(),
            incident: match rule.incident {
                Role::Open => "open",
                Role::Attach => "attach",
            },
            action: rule
                .action
                .as_ref()
                .and_then(|action| serde_json::to_value(action).ok()),
        }
    }
}

/// Lists the active rules.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", responses(
    (status = 200, description = "the active rules", body = Rules),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Rules>, Problem> {
    let pool = api.kit.pool();
    let set = api.kit.service().rules.read(pool).await?;
    let loaded_at = rule_sets::loaded_at(pool).await?;
    Ok(Json(Rules {
        items: set.rules.iter().map(RuleItem::from).collect(),
        next_cursor: None,
        version: set.hash.clone(),
        loaded_at,
    }))
}

/// What a reload came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Loaded {
    /// Hash of what is active now
    version: String,
    rules: usize,
    /// It was active before
    unchanged: bool,
}

/// Reads the rule and target files again. A file that is not valid is answered 422, with its place
/// and what was probably meant; the last good rules stay active.
#[utoipa::path(post, path = "/-/reload", tag = "rules", responses(
    (status = 200, description = "the files are active", body = Loaded),
    (status = 422, description = "a file is not valid; the last good rules stay", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reload(State(api): State<Api>) -> Result<Json<Loaded>, Problem> {
    match api.reloader.reload(&api.kit).await {
        Ok(reloaded) => Ok(Json(Loaded {
            version: reloaded.set.hash.clone(),
            rules: reloaded.set.rules.len(),
            unchanged: reloaded.unchanged,
        })),
        Err(failure @ Failure::Files { .. }) => {
            let detail = failure.to_string();
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        Err(Failure::Kit(error)) => Err(error.into()),
    }
}

//! The active rules.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use service_kit::Problem;
use utoipa::ToSchema;

use super::{
    Api,
    versions::{current, tag},
};
use crate::{
    domain::{Role, Rule},
    store::{rule_changes, rule_sets},
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
    /// `topic`, or `file`: EVENTPULSE_RULES_SOURCE
    source: &'static str,
    /// SHA-256 of the rules file in force: what If-Match wants
    hash: String,
    /// Number of the change that is in force; missing when rules come from the file
    change: Option<i64>,
    /// The rules file of this instance is another one, and was left alone
    file_differs: bool,
    /// A change is on its way through the topic
    pending: bool,
}

/// One rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleItem {
    name: String,
    /// SHA-256 of what the rule says
    version: String,
    /// `live`, or `shadow`: it decides, and none of it happens
    state: &'static str,
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
            state: rule.standing.as_str(),
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
pub(super) async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let pool = api.kit.pool();
    let set = api.kit.service().rules.read(pool).await?;
    let loaded_at = rule_sets::loaded_at(pool).await?;
    let engine = api.kit.service();
    let (hash, _) = current(&api).await?;
    let in_force = match engine.file_rules {
        true => None,
        false => rule_changes::in_force(pool).await?,
    };
    let newest = rule_changes::newest(pool).await?;
    let (change, newest) = (
        in_force.map(|file| file.number),
        newest.map(|file| file.number),
    );
    let file = engine.rules.file_hash();
    let rules = Rules {
        items: set.rules.iter().map(RuleItem::from).collect(),
        next_cursor: None,
        version: set.hash.clone(),
        loaded_at,
        source: if engine.file_rules { "file" } else { "topic" },
        file_differs: change.is_some() && file.is_some_and(|file| file != hash),
        pending: !engine.file_rules && newest != change,
        hash,
        change,
    };
    Ok(([(header::ETAG, tag(&rules.hash))], Json(rules)).into_response())
}

/// Shows one of the active rules.
#[utoipa::path(get, path = "/api/v1/rules/{name}", tag = "rules",
    params(("name" = String, Path, description = "name of the rule")),
    responses(
        (status = 200, description = "the rule", body = RuleItem),
        (status = 404, description = "no such rule", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<RuleItem>, Problem> {
    let set = api.kit.service().rules.read(api.kit.pool()).await?;
    let rule = set.rule(&name).map(RuleItem::from).map(Json);
    rule.ok_or_else(|| Problem::not_found(format!("no active rule {name:?}")))
}

/// What a reload came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Loaded {
    /// Hash of what is active now
    version: String,
    rules: usize,
    /// It was active before
    unchanged: bool,
    /// Why the rules file was left alone, and how to apply it
    ignored: Option<String>,
}

/// Reads the rule and target files again; a rules file that differs from what topic `rule` holds is
/// left alone, and `ignored` says how to apply it. A file that is not valid is answered 422, with its place
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
            ignored: reloaded.ignored,
        })),
        Err(failure @ Failure::Files { .. }) => {
            let detail = failure.to_string();
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        Err(Failure::Kit(error)) => Err(error.into()),
    }
}

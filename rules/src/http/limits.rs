//! Limits: how many actions are asked for at most, and closing a breaker that opened.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use shared_events::action::ALL_TARGETS;
use utoipa::ToSchema;

use super::{
    Api, Page,
    commands::{Because, Obeyed, check, now, obey},
};
use crate::{
    domain::{Budget, Verb},
    store::targets,
};

/// One limit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitItem {
    /// Name of the target, or `*` for all together
    target: String,
    /// Actions an hour; missing when the rules set none
    limit: Option<u32>,
    asked_last_hour: usize,
    /// Set while nothing is asked for because the limit was reached
    open: Option<OpenLimit>,
}

/// Why and since when nothing is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenLimit {
    at: DateTime<Utc>,
    reason: String,
}

/// Which limit a person closes, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseOrder {
    /// Name of the target, or `*` for all together
    #[serde(default = "all")]
    #[schema(example = "app", default = "*")]
    target: String,
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

fn all() -> String {
    ALL_TARGETS.to_owned()
}

/// Lists the limits of all targets together and of each.
#[utoipa::path(get, path = "/api/v1/limits", tag = "limits", responses(
    (status = 200, description = "every limit", body = Page<LimitItem>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Page<LimitItem>>, Problem> {
    let pool = api.kit.pool();
    let set = api.kit.service().rules.read(pool).await?;
    let now = now(&api).await?;
    let mut budgets: BTreeMap<String, Budget> = BTreeMap::from([(all(), Budget::default())]);
    let declared = set.targets.keys().cloned();
    budgets.extend(declared.map(|name| (name, Budget::default())));
    budgets.extend(targets::budgets(pool).await?);
    let item = |(target, budget): (String, Budget)| LimitItem {
        limit: set.limits.of(&target),
        asked_last_hour: budget.used(now),
        open: budget.opened.map(|opened| OpenLimit {
            at: opened.at,
            reason: opened.reason,
        }),
        target,
    };
    Ok(Json(Page {
        items: budgets.into_iter().map(item).collect(),
        next_cursor: None,
    }))
}

/// Lets actions be asked for again after a limit was reached. What waits is decided again at once.
#[utoipa::path(post, path = "/api/v1/limits/close", tag = "limits",
    request_body = CloseOrder,
    responses(
        (status = 200, description = "it is closed", body = Obeyed),
        (status = 404, description = "that limit is not reached", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn close(
    State(api): State<Api>,
    Json(order): Json<CloseOrder>,
) -> Result<Json<Obeyed>, Problem> {
    check("target", &order.target)?;
    let because = Because {
        actor: order.actor,
        reason: order.reason,
    };
    let target = order.target;
    obey(&api, &because, |_| Ok(Verb::CloseLimit { target })).await
}

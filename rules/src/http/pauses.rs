//! The kill switch: pausing targets, and letting them work again.

use axum::{
    Json,
    extract::{Path, State},
};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use shared_events::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, Page,
    commands::{Because, Obeyed, check, now, obey},
};
use crate::{domain::Verb, store::read};

/// How long a pause may be.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// Who pauses, why, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseOrder {
    #[schema(example = "ana", min_length = 1, max_length = 1000)]
    actor: String,
    #[schema(example = "deploy", min_length = 1, max_length = 1000)]
    reason: String,
    /// How long; with neither this nor `until`, until resumed
    #[serde(rename = "for")]
    #[schema(example = "1h")]
    how_long: Option<String>,
    until: Option<DateTime<Utc>>,
}

/// A pause that is on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PauseItem {
    pause_id: Uuid,
    /// Name of the target, or `*` for all
    target: String,
    at: DateTime<Utc>,
    /// Missing: until resumed
    until: Option<DateTime<Utc>>,
    actor: String,
    reason: String,
}

/// Lists the pauses that are on.
#[utoipa::path(get, path = "/api/v1/pauses", tag = "pauses", responses(
    (status = 200, description = "every pause that is on", body = Page<PauseItem>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Page<PauseItem>>, Problem> {
    let now = now(&api).await?;
    let pauses = read::pauses(api.kit.pool(), now).await?;
    let item = |(target, pause): (String, crate::domain::Pause)| PauseItem {
        pause_id: pause.pause_id,
        target,
        at: pause.at,
        until: pause.until,
        actor: pause.actor,
        reason: pause.reason,
    };
    Ok(Json(Page {
        items: pauses.into_iter().map(item).collect(),
        next_cursor: None,
    }))
}

/// Stops the automation of a target, or of all (`*`): incidents still open, decisions say `paused`,
/// nothing is scaled, drift is not repaired.
#[utoipa::path(post, path = "/api/v1/targets/{target}/pause", tag = "pauses",
    params(("target" = String, Path, description = "name in targets.yaml, or `*`")),
    request_body = PauseOrder,
    responses(
        (status = 200, description = "it is paused", body = Obeyed),
        (status = 404, description = "no such target", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn pause(
    State(api): State<Api>,
    Path(target): Path<String>,
    Json(order): Json<PauseOrder>,
) -> Result<Json<Obeyed>, Problem> {
    check("target", &target)?;
    let because = Because {
        actor: order.actor.clone(),
        reason: order.reason.clone(),
    };
    obey(&api, &because, |now| {
        let until = order.end(now)?;
        Ok(Verb::Pause { target, until })
    })
    .await
}

impl PauseOrder {
    fn end(&self, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let bad = |why: String| Problem::bad_request(why);
        let until = match (&self.how_long, self.until) {
            (Some(_), Some(_)) => return Err(bad("give `for` or `until`, not both".to_owned())),
            (Some(text), None) => {
                let span = humantime::parse_duration(text)
                    .map_err(|error| bad(format!("for: {text:?} is no duration: {error}")))?;
                let span = TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
                Some(now + span.min(LONGEST + TimeDelta::days(1)))
            }
            (None, until) => until.map(|until| until.trunc_subsecs(6)),
        };
        match until {
            Some(until) if until > now + LONGEST => Err(bad("at most 366 days".to_owned())),
            Some(until) if until <= now => Err(bad("the pause would be over already".to_owned())),
            Some(_) | None => Ok(until),
        }
    }
}

/// Lets a target, or all (`*`), work again. What waited for it is decided again now.
#[utoipa::path(post, path = "/api/v1/targets/{target}/resume", tag = "pauses",
    params(("target" = String, Path, description = "name in targets.yaml, or `*`")),
    request_body = Because,
    responses(
        (status = 200, description = "it works again", body = Obeyed),
        (status = 404, description = "it is not paused", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn resume(
    State(api): State<Api>,
    Path(target): Path<String>,
    Json(because): Json<Because>,
) -> Result<Json<Obeyed>, Problem> {
    check("target", &target)?;
    obey(&api, &because, |_| Ok(Verb::Resume { target })).await
}

//! What people command about incidents, and how commands are carried out.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use service_kit::{Error, Problem, Trace, Work};
use shared_events::{ActionId, IncidentId, Timestamp};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use crate::{
    domain::{Answer, Command, Outcome, Verb},
    service::{Input, command_id},
};

/// Longest actor and reason, characters.
const LONGEST: usize = 1000;

/// Who commands, and why: both are in the incident's story.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    #[schema(example = "ana", min_length = 1, max_length = 1000)]
    pub(super) actor: String,
    #[schema(example = "the upstream is back", min_length = 1, max_length = 1000)]
    pub(super) reason: String,
}

/// What a command came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Obeyed {
    message: String,
    /// The action that was asked for
    action_id: Option<Uuid>,
    /// The pause that began or ended
    pause_id: Option<Uuid>,
}

/// Tries the next step of a current incident now, cooldown or not. It is a new attempt: if it fails
/// it is undone.
#[utoipa::path(post, path = "/api/v1/incidents/{incident_id}/retry", tag = "commands",
    params(("incident_id" = Uuid, Path, description = "the incident")),
    request_body = Because,
    responses(
        (status = 200, description = "an action was asked for", body = Obeyed),
        (status = 404, description = "no such current incident", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "no step can be taken; `outcome` and `detail` say why", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn retry(
    State(api): State<Api>,
    Path(incident_id): Path<Uuid>,
    Json(because): Json<Because>,
) -> Result<Json<Obeyed>, Problem> {
    let incident_id = IncidentId(incident_id);
    obey(&api, &because, |_| Ok(Verb::Retry { incident_id })).await
}

/// Closes a current incident. Alerts that still fire open no other until they clear and fire anew.
#[utoipa::path(post, path = "/api/v1/incidents/{incident_id}/close", tag = "commands",
    params(("incident_id" = Uuid, Path, description = "the incident")),
    request_body = Because,
    responses(
        (status = 200, description = "it is closed", body = Obeyed),
        (status = 404, description = "no such current incident", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "it is closed already", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn close(
    State(api): State<Api>,
    Path(incident_id): Path<Uuid>,
    Json(because): Json<Because>,
) -> Result<Json<Obeyed>, Problem> {
    let incident_id = IncidentId(incident_id);
    obey(&api, &because, |_| Ok(Verb::Close { incident_id })).await
}

/// Carries a command out, at the database's time.
pub(super) async fn obey(
    api: &Api,
    because: &Because,
    verb: impl FnOnce(Timestamp) -> Result<Verb, Problem>,
) -> Result<Json<Obeyed>, Problem> {
    for (name, text) in [("actor", &because.actor), ("reason", &because.reason)] {
        check(name, text)?;
    }
    let at = now(api).await?;
    let command = Command {
        at,
        actor: because.actor.trim().to_owned(),
        reason: because.reason.trim().to_owned(),
        verb: verb(at)?,
    };
    let id = command_id(&command);
    let work = Work::local(id, Trace::current(), Input::Command(command));
    let mut handled = api.kit.handle(vec![work]).await?;
    match handled.reply.answers.remove(&id) {
        Some(Answer::Done {
            message,
            action_id,
            pause_id,
        }) => Ok(Json(Obeyed {
            message,
            action_id: action_id.map(ActionId::uuid),
            pause_id,
        })),
        Some(Answer::Refused { outcome, message }) => Err(refusal(outcome, &message)),
        Some(Answer::Unknown { message }) => Err(Problem::not_found(message)),
        None => Err(Problem::unavailable("the command was not decided about")),
    }
}

/// Names and words for the log: not empty, not endless, storable.
pub(super) fn check(name: &str, text: &str) -> Result<(), Problem> {
    let why = match text {
        text if text.trim().is_empty() => "is empty",
        text if text.chars().count() > LONGEST => "is longer than 1000 characters",
        text if text.contains('\0') => "holds a NUL character",
        _ => return Ok(()),
    };
    Err(Problem::bad_request(format!("{name} {why}")))
}

fn refusal(outcome: Outcome, message: &str) -> Problem {
    Problem::conflict(message).with("outcome", outcome.code())
}

pub(super) async fn now(api: &Api) -> Result<Timestamp, Problem> {
    let connecting = Error::database("connecting");
    let mut conn = api.kit.pool().acquire().await.map_err(connecting)?;
    Ok(api.kit.database_now(&mut conn).await?)
}

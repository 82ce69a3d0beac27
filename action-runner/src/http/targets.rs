use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use service_kit::{Problem, error::chain};
use shared_events::{Timestamp, action::ALL_TARGETS};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use crate::{
    domain::target::Target,
    shown::{Shown, ShownForeign, ShownReplica},
    store::{self, TargetRow},
    sweep::{self, Unknown},
};

/// Every declared target, and containers of ours that belong to none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Targets {
    items: Vec<TargetView>,
    /// Containers that this service made and no declared target selects, as of the last sweep
    unknown: Vec<UnknownView>,
    /// Hash of `targets.yaml`
    version: String,
    /// Always null: there is one page
    next_cursor: Option<String>,
}

/// One declared target.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct TargetView {
    target: String,
    docker_host: String,
    selector: BTreeMap<String, String>,
    min_replicas: u32,
    max_replicas: u32,
    /// `healthcheck`, `http_get` or `tcp_socket`
    readiness: &'static str,
    /// What the pending action asks for, else what is kept; missing before the first action
    desired_replicas: Option<i32>,
    /// Running containers, whoever made them; missing when the engine does not tell
    running_replicas: Option<u32>,
    /// Of them, made by this service
    managed_replicas: Option<u32>,
    /// Of them, ready
    serving_replicas: Option<u32>,
    /// Running minus desired while no action is pending
    drift: Option<i64>,
    /// `ok`: as desired and ready; `working`: an action is pending; `drift`, `degraded`: replicas
    /// are not ready; `blind`: the engine does not tell; `idle`: no action yet
    health: &'static str,
    /// Whether people have stopped the automation
    paused: bool,
    pause: Option<PauseView>,
    /// The action that is under way
    pending_action: Option<Uuid>,
    replicas: Vec<ShownReplica>,
    /// Containers of the target that this service did not make and never touches
    foreign: Vec<ShownForeign>,
    /// Container that replicas are made from, and the hash of what is copied
    template_of: Option<String>,
    template: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    observed_at: Option<Timestamp>,
    /// Why the target cannot be seen
    error: Option<String>,
}

/// Who paused, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct PauseView {
    pause_id: Uuid,
    /// `*`: every target is paused
    target: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    actor: Option<String>,
    reason: Option<String>,
}

/// A container that this service made and no declared target selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct UnknownView {
    container_id: String,
    name: String,
    /// Target that it was made for
    target: String,
    docker_host: String,
    running: bool,
}

/// Targets with what they should have and what they have.
#[utoipa::path(get, path = "/api/v1/targets", responses(
    (status = 200, body = Targets),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Targets>, Problem> {
    let declared = api.tools.kit.service().targets();
    let rows = store::list_targets(api.tools.kit.pool()).await?;
    let all = rows.iter().find(|row| row.name == ALL_TARGETS).cloned();
    let mut rows: BTreeMap<String, TargetRow> = rows
        .into_iter()
        .map(|row| (row.name.clone(), row))
        .collect();
    let items = declared.by_name.values().map(|target| {
        let row = rows.remove(&target.name);
        view(target, row, all.as_ref())
    });
    Ok(Json(Targets {
        items: items.collect(),
        unknown: api.found.list().iter().map(UnknownView::of).collect(),
        version: declared.version.clone(),
        next_cursor: None,
    }))
}

fn view(target: &Target, row: Option<TargetRow>, all: Option<&TargetRow>) -> TargetView {
    let shown: Option<Shown> = row
        .as_ref()
        .and_then(|row| serde_json::from_value(row.observed.clone()?).ok());
    let seen = shown.is_some();
    let shown = shown.unwrap_or_default();
    let pending = row.as_ref().and_then(|row| row.pending);
    let settled = row.as_ref().and_then(|row| row.settled);
    let desired = row.as_ref().and_then(|row| row.pending_desired).or(settled);
    let pause = all.and_then(pause).or_else(|| row.as_ref().and_then(pause));
    let drift = desired
        .zip(shown.running)
        .filter(|_| pending.is_none())
        .map(|(desired, running)| i64::from(running) - i64::from(desired));
    let health = match (seen, &shown.error, pending, drift) {
        (_, Some(_), _, _) => "blind",
        (_, None, Some(_), _) => "working",
        (false, None, None, _) | (true, None, None, None) => "idle",
        (true, None, None, Some(0)) if shown.serving == shown.running => "ok",
        (true, None, None, Some(0)) => "degraded",
        (true, None, None, Some(_)) => "drift",
    };
    TargetView {
        target: target.name.clone(),
        docker_host: target.docker_host.clone(),
        selector: target.selector.clone(),
        min_replicas: target.bounds.min_replicas,
        max_replicas: target.bounds.max_replicas,
        readiness: target.readiness.name(),
        desired_replicas: desired,
        running_replicas: shown.running,
        managed_replicas: shown.managed,
        serving_replicas: shown.serving,
        drift,
        health,
        paused: pause.is_some(),
        pause,
        pending_action: pending,
        replicas: shown.replicas,
        foreign: shown.foreign,
        template_of: row.as_ref().and_then(|row| row.template_of.clone()),
        template: row.as_ref().and_then(|row| row.template_hash.clone()),
        observed_at: row.and_then(|row| row.observed_at),
        error: shown.error,
    }
}

fn pause(row: &TargetRow) -> Option<PauseView> {
    Some(PauseView {
        pause_id: row.pause_id?,
        target: row.name.clone(),
        since: row.paused_at,
        until: row.paused_until,
        actor: row.pause_actor.clone(),
        reason: row.pause_reason.clone(),
    })
}

impl UnknownView {
    fn of(unknown: &Unknown) -> Self {
        Self {
            container_id: unknown.container.id.clone(),
            name: unknown.container.name.clone(),
            target: unknown.container.target.clone(),
            docker_host: unknown.docker_host.clone(),
            running: unknown.container.running,
        }
    }
}

/// Whether to do it.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Prune {
    /// `true`: remove; else only tell what would be removed
    yes: bool,
    /// `false`: the same as `yes`
    dry_run: Option<bool>,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Pruned {
    /// Nothing was removed
    dry_run: bool,
    containers: Vec<UnknownView>,
    /// What could not be removed, and why
    errors: Vec<String>,
}

/// Removes containers that this service made and no declared target selects, running ones too.
#[utoipa::path(post, path = "/api/v1/targets/prune", request_body = Prune, responses(
    (status = 200, body = Pruned),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn prune_all(State(api): State<Api>, Json(prune): Json<Prune>) -> Json<Pruned> {
    Json(sweep_away(&api, None, prune).await)
}

/// The same, of those that were made for one target.
#[utoipa::path(post, path = "/api/v1/targets/{name}/prune", params(("name" = String, Path)),
    request_body = Prune, responses(
    (status = 200, body = Pruned),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn prune(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(prune): Json<Prune>,
) -> Json<Pruned> {
    Json(sweep_away(&api, Some(&name), prune).await)
}

async fn sweep_away(api: &Api, target: Option<&str>, prune: Prune) -> Pruned {
    let dry_run = !(prune.yes || prune.dry_run == Some(false));
    let mut unknown = sweep::look(&api.tools).await;
    unknown.retain(|one| target.is_none_or(|target| one.container.target == target));
    let mut pruned = Pruned {
        dry_run,
        containers: Vec::new(),
        errors: Vec::new(),
    };
    for one in &unknown {
        let removed = if dry_run {
            Ok(())
        } else {
            remove(api, one).await
        };
        match removed {
            Ok(()) => pruned.containers.push(UnknownView::of(one)),
            Err(why) => pruned.errors.push(format!("{}: {why}", one.container.name)),
        }
    }
    pruned
}

async fn remove(api: &Api, unknown: &Unknown) -> Result<(), String> {
    let engine = api.tools.engines.at(&unknown.docker_host).await;
    let engine = engine.map_err(|error| chain(&error))?;
    tracing::info!(
        container = unknown.container.name,
        target.name = unknown.container.target,
        "a person prunes a container of no target"
    );
    // The client waits: no longer than its request may take.
    let grace = Duration::from_secs(5);
    let removed = engine.remove(&unknown.container.id, grace).await;
    removed.map_err(|error| chain(&error))
}

/// What is in force after a reload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// Hash of `targets.yaml`
    version: String,
    targets: Vec<String>,
}

/// Reads `targets.yaml` again; an invalid file changes nothing.
#[utoipa::path(post, path = "/-/reload", responses(
    (status = 200, body = Reloaded),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reload(State(api): State<Api>) -> Result<Json<Reloaded>, Problem> {
    let targets = crate::reload(&api.tools, &api.file).map_err(|error| {
        let running = &api.tools.kit.service().targets().version;
        Problem::bad_request(format!("{error}; still running version {running}"))
    })?;
    Ok(Json(Reloaded {
        version: targets.version.clone(),
        targets: targets.by_name.keys().cloned().collect(),
    }))
}

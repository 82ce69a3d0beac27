//! What people are shown of a target.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    evidence::line,
    observed::{Observed, Phase, Replica},
};

/// What was last seen of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Shown {
    /// Running containers, whoever made them; missing when the engine does not tell
    pub running: Option<u32>,
    /// Of them, made by this service
    pub managed: Option<u32>,
    /// Of them, ready (containers of others count as ready)
    pub serving: Option<u32>,
    pub replicas: Vec<ShownReplica>,
    /// Containers of the target that this service did not make and never touches
    pub foreign: Vec<ShownForeign>,
    /// Why the target cannot be seen
    pub error: Option<String>,
}

/// A container that this service made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownReplica {
    pub container_id: String,
    pub name: String,
    pub slot: u32,
    /// `created`, `running`, `removing` or `exited`
    pub state: String,
    pub ready: bool,
    /// What the last look at its readiness said
    pub health: String,
    /// Hash of the template that it was made from
    pub template: String,
    /// The action that asked for it
    pub action_id: Option<String>,
}

/// A container of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownForeign {
    pub name: String,
    pub state: String,
}

impl Shown {
    pub(crate) fn of(observed: &Observed) -> Self {
        let foreign = observed.foreign.iter().map(|container| ShownForeign {
            name: container.name.clone(),
            state: state(container.phase).to_owned(),
        });
        Self {
            running: Some(observed.running()),
            managed: Some(observed.running_managed()),
            serving: Some(observed.serving()),
            replicas: observed.replicas.iter().map(replica).collect(),
            foreign: foreign.collect(),
            error: None,
        }
    }

    pub(crate) fn blind(why: &str) -> Self {
        Self {
            error: Some(line(why)),
            ..Self::default()
        }
    }
}

fn replica(replica: &Replica) -> ShownReplica {
    ShownReplica {
        container_id: replica.id.clone(),
        name: replica.name.clone(),
        slot: replica.slot,
        state: state(replica.phase).to_owned(),
        ready: replica.ready,
        health: line(&replica.health),
        template: replica.template.clone(),
        action_id: replica.action_id.map(|id| id.to_string()),
    }
}

fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Created => "created",
        Phase::Live => "running",
        Phase::Removing => "removing",
        Phase::Exited => "exited",
    }
}

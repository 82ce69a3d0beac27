//! What is seen of a target on its Docker host.

use std::collections::BTreeSet;

use shared_events::ActionId;

/// Everything that the selector finds, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What Compose or a person made. Never touched.
    pub foreign: Vec<Foreign>,
    /// What this service made.
    pub replicas: Vec<Replica>,
    /// Hash of the current template; `None` when there has never been one.
    pub template: Option<String>,
}

/// A container that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub name: String,
    /// Compose's container number: a slot that is taken.
    pub number: Option<u32>,
    pub phase: Phase,
}

/// A container that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub id: String,
    pub name: String,
    pub slot: u32,
    pub phase: Phase,
    /// Hash of the template that it was made from.
    pub template: String,
    /// The action that asked for it.
    pub action_id: Option<ActionId>,
    /// Ready in two observations in a row.
    pub ready: bool,
    /// What the last look at its readiness said.
    pub health: String,
    pub exit_code: Option<i64>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, and never started.
    Created,
    /// Its process exists: running, paused, restarting, stopping.
    Live,
    /// Being removed by somebody.
    Removing,
    /// Its process ended.
    Exited,
}

impl Observed {
    /// Running containers, whoever made them: what an action counts.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running_foreign() + self.running_managed()
    }

    /// Running containers that are not ours.
    #[must_use]
    pub fn running_foreign(&self) -> u32 {
        count(self.foreign.iter().map(|container| container.phase))
    }

    /// Running replicas of ours.
    #[must_use]
    pub fn running_managed(&self) -> u32 {
        count(self.replicas.iter().map(|replica| replica.phase))
    }

    /// Running replicas of ours that are ready, and all running containers that are not ours.
    #[must_use]
    pub fn serving(&self) -> u32 {
        let ready = self.replicas.iter().filter(|replica| replica.ready);
        self.running_foreign() + count(ready.map(|replica| replica.phase))
    }

    /// Slots that a new replica cannot take.
    #[must_use]
    pub fn taken(&self) -> BTreeSet<u32> {
        let foreign = self.foreign.iter().filter_map(|container| container.number);
        foreign
            .chain(self.replicas.iter().map(|replica| replica.slot))
            .collect()
    }
}

impl Replica {
    /// Whether its process exists.
    #[must_use]
    pub fn live(&self) -> bool {
        self.phase == Phase::Live
    }
}

fn count(phases: impl Iterator<Item = Phase>) -> u32 {
    let live = phases.filter(|phase| *phase == Phase::Live).count();
    u32::try_from(live).expect("a host has far fewer than 2^32 containers")
}

//! A Docker host: names are unique, what was asked for is done or not, and containers have a life
//! of their own.

use std::collections::BTreeMap;

use action_runner::domain::observed::{Foreign, Observed, Phase, Replica};
use chrono::TimeDelta;
use shared_events::{ActionId, Timestamp};

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) target: &'static str,
    pub(crate) managed: bool,
    pub(crate) slot: u32,
    pub(crate) phase: Phase,
    pub(crate) template: u32,
    pub(crate) action_id: Option<ActionId>,
    /// Healthy from then on; `None`: never.
    healthy_at: Option<Timestamp>,
    /// Gone at this time, while it is being removed.
    gone_at: Option<Timestamp>,
}

/// How replicas that are started now will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fortune {
    Well,
    NeverReady,
    ExitsAtOnce,
}

#[derive(Clone, Debug)]
pub(crate) struct Docker {
    pub(crate) containers: BTreeMap<u64, Container>,
    pub(crate) fortune: Fortune,
    /// Creates are refused for good.
    pub(crate) image_missing: bool,
    /// The engine does not answer.
    pub(crate) away: bool,
    /// Template of a target's foreign containers.
    pub(crate) template: BTreeMap<&'static str, u32>,
    last: u64,
}

/// What came of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Done,
    Blocked,
}

impl Docker {
    pub(crate) fn new(targets: &[&'static str]) -> Self {
        let mut docker = Self {
            containers: BTreeMap::new(),
            fortune: Fortune::Well,
            image_missing: false,
            away: false,
            template: targets.iter().map(|&name| (name, 1)).collect(),
            last: 0,
        };
        for &target in targets {
            docker.by_hand(target, 1);
        }
        docker
    }

    /// Compose or a person starts a container.
    pub(crate) fn by_hand(&mut self, target: &'static str, slot: u32) {
        let taken = self
            .containers
            .values()
            .any(|c| c.target == target && c.slot == slot);
        if taken {
            return;
        }
        self.last += 1;
        let container = Container {
            target,
            managed: false,
            slot,
            phase: Phase::Live,
            template: self.template[target],
            action_id: None,
            healthy_at: None,
            gone_at: None,
        };
        self.containers.insert(self.last, container);
    }

    /// Time passes on the host.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.containers
            .retain(|_, c| c.gone_at.is_none_or(|gone| gone > now));
    }

    pub(crate) fn create(
        &mut self,
        target: &'static str,
        slot: u32,
        template: u32,
        action_id: Option<ActionId>,
        now: Timestamp,
    ) -> Made {
        let holder = self
            .containers
            .values()
            .find(|c| c.target == target && c.slot == slot);
        if let Some(holder) = holder {
            return match holder.managed && holder.template == template {
                true => Made::Done,
                false => Made::Blocked,
            };
        }
        self.last += 1;
        let container = Container {
            target,
            managed: true,
            slot,
            phase: Phase::Created,
            template,
            action_id,
            healthy_at: None,
            gone_at: None,
        };
        self.containers.insert(self.last, container);
        self.start(self.last, now);
        Made::Done
    }

    /// Makes it and does not come to starting it.
    pub(crate) fn create_only(
        &mut self,
        target: &'static str,
        slot: u32,
        template: u32,
        action_id: Option<ActionId>,
        now: Timestamp,
    ) {
        let last = self.last;
        self.create(target, slot, template, action_id, now);
        if self.last > last {
            let container = self.containers.get_mut(&self.last).expect("made just now");
            container.phase = Phase::Created;
        }
    }

    pub(crate) fn start(&mut self, id: u64, now: Timestamp) {
        let fortune = self.fortune;
        let Some(container) = self.containers.get_mut(&id) else {
            return;
        };
        if container.phase != Phase::Created {
            return;
        }
        container.phase = Phase::Live;
        match fortune {
            Fortune::Well => container.healthy_at = Some(now + TimeDelta::seconds(2)),
            Fortune::NeverReady => container.healthy_at = None,
            Fortune::ExitsAtOnce => container.phase = Phase::Exited,
        }
    }

    pub(crate) fn remove(&mut self, id: u64, graceful: bool, now: Timestamp) {
        if !graceful {
            self.containers.remove(&id);
        } else if let Some(container) = self.containers.get_mut(&id) {
            container.phase = Phase::Removing;
            container.gone_at = Some(now + TimeDelta::seconds(3));
        }
    }

    /// What the engine tells of a target; readiness as of one look.
    pub(crate) fn observe(&self, target: &str, kept: Option<u32>, now: Timestamp) -> Observed {
        let of = || self.containers.iter().filter(|(_, c)| c.target == target);
        let foreign = of().filter(|(_, c)| !c.managed);
        let template = foreign.clone().max_by_key(|(id, c)| {
            let live = c.phase == Phase::Live;
            (live, std::cmp::Reverse(**id))
        });
        let template = template.map(|(_, c)| c.template).or(kept);
        let replica = |(id, c): (&u64, &Container)| Replica {
            id: id.to_string(),
            name: format!("{target}-{}", c.slot),
            slot: c.slot,
            phase: c.phase,
            template: c.template.to_string(),
            action_id: c.action_id,
            ready: c.phase == Phase::Live && c.healthy_at.is_some_and(|at| at <= now),
            health: String::new(),
            exit_code: (c.phase == Phase::Exited).then_some(1),
        };
        Observed {
            foreign: foreign
                .map(|(_, c)| Foreign {
                    name: format!("{target}-{}", c.slot),
                    number: Some(c.slot),
                    phase: c.phase,
                })
                .collect(),
            replicas: of().filter(|(_, c)| c.managed).map(replica).collect(),
            template: template.map(|hash| hash.to_string()),
        }
    }

    /// Running containers of a target: of ours, of others.
    pub(crate) fn running(&self, target: &str) -> (usize, usize) {
        let live = self
            .containers
            .values()
            .filter(|c| c.target == target && c.phase == Phase::Live);
        let managed = live.clone().filter(|c| c.managed).count();
        (managed, live.count() - managed)
    }
}

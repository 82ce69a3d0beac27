//! Steps that come from outside: disasters, people, and what happens on the Docker host.

use action_runner::domain::observed::Phase;
use chrono::TimeDelta;
use rules::domain::{Command, Verb};
use shared_events::action::ALL_TARGETS;

use crate::{
    check::Verdict,
    docker::Fortune,
    log::PARTITIONS,
    rules::{Input, TARGETS, Work},
    script::Step,
    shell::{INGEST, RULES, RUNNER, STORE},
    world::World,
};

impl World {
    pub(crate) fn disaster(&mut self, step: &Step) -> Verdict {
        self.tell(|| format!("{step:?}"));
        match *step {
            Step::Die { service, instance } => self.die(service, instance),
            Step::Rebalance { service, which } => self.rebalance(service, which),
            Step::ResetOffsets { service } => {
                let group = &mut self.groups[service];
                group.stored = Default::default();
                group.position = Default::default();
            }
            Step::PruneInbox { service } => self.shells[service].inbox.clear(),
            Step::Republish(topic) => {
                let records: Vec<_> = self.log.of_topic(topic).cloned().collect();
                for record in records {
                    self.append(record)?;
                }
            }
            Step::Skew { service, millis } => {
                self.skew[service] = TimeDelta::milliseconds(millis);
            }
            Step::RestoreStore => match self.dump.take() {
                None => self.dump = Some((self.store.clone(), self.shells[STORE].clone())),
                Some(dump) => {
                    (self.store, self.shells[STORE]) = dump;
                    self.checks.order.restored();
                    self.die(STORE, 0);
                    self.die(STORE, 1);
                }
            },
            _ => {}
        }
        Ok(())
    }

    /// Partitions and shards change hands. What the old owner holds it still holds.
    fn rebalance(&mut self, service: usize, which: u64) {
        for topic in 0..3 {
            for partition in 0..PARTITIONS {
                if which & (1 << (topic * PARTITIONS + partition)) != 0 {
                    let to = 1 - self.groups[service].owner[topic][partition];
                    self.groups[service].assign(&self.shells[service], (topic, partition), to);
                }
            }
        }
        self.relay_owner[service] = 1 - self.relay_owner[service];
    }

    pub(crate) fn command(&mut self, verb: usize, which: u64) -> Verdict {
        let at = self.clock(RULES);
        let target = match which % 3 {
            0 => ALL_TARGETS,
            1 => TARGETS[1],
            _ => TARGETS[0],
        };
        let kept = self.rules.correlations.values();
        let mut incidents: Vec<_> = kept
            .filter_map(|c| Some(c.memory.incident.as_ref()?.id))
            .collect();
        incidents.sort();
        let chosen = incidents
            .get(usize::try_from(which % 4).expect("small"))
            .copied();
        let verb = match (verb, chosen) {
            (0, _) => Verb::Pause {
                target: target.to_owned(),
                until: (which.is_multiple_of(2)).then(|| at + TimeDelta::minutes(4)),
            },
            (1, _) => Verb::Resume {
                target: target.to_owned(),
            },
            (2, Some(incident_id)) => Verb::Retry { incident_id },
            (_, Some(incident_id)) => Verb::Close { incident_id },
            (_, None) => return Ok(()),
        };
        self.obey(verb)
    }

    pub(crate) fn obey(&mut self, verb: Verb) -> Verdict {
        let id = self.draw("command");
        self.tell(|| format!("a person says {verb:?}"));
        let command = Command {
            at: self.clock(RULES),
            actor: "ann".to_owned(),
            reason: "because".to_owned(),
            verb,
        };
        let work = Work {
            id,
            place: None,
            input: Input::Command(command),
        };
        let tx = self.rules.transact(&[work], true);
        let (rows, events) = self.rules.commit(tx);
        self.checks.decided(&rows, &self.rules)?;
        self.shells[RULES].emit(events);
        Ok(())
    }

    pub(crate) fn happen_on_host(&mut self, what: usize, which: u64) -> Verdict {
        let target = TARGETS[usize::from(which.is_multiple_of(4))];
        let ids: Vec<u64> = self.docker.containers.keys().copied().collect();
        let at = usize::try_from(which % ids.len().max(1) as u64).expect("small");
        match what {
            0 => {
                self.docker.fortune = match which % 3 {
                    0 => Fortune::Well,
                    1 => Fortune::NeverReady,
                    _ => Fortune::ExitsAtOnce,
                }
            }
            1 => self.docker.image_missing = which.is_multiple_of(2),
            2 => self.docker.away = which.is_multiple_of(2),
            3 => self.docker.by_hand(target, 5),
            4 => {
                if let Some(container) = ids
                    .get(at)
                    .and_then(|id| self.docker.containers.get_mut(id))
                    && container.managed
                {
                    container.phase = Phase::Exited;
                }
            }
            _ => {
                if let Some(id) = ids.get(at)
                    && self.docker.containers[id].managed
                {
                    self.docker.containers.remove(id);
                }
            }
        }
        self.tell(|| {
            let words = [
                "replicas fare otherwise",
                "the image comes or goes",
                "the engine comes or goes",
                "a person adds a container",
                "a replica exits",
                "a person removes a replica",
            ];
            format!("on the host: {}", words[what.min(5)])
        });
        self.checks.actions.host(&self.docker, self.count)
    }

    /// Everything that is broken is mended; what was decided stays.
    pub(crate) fn heal(&mut self) -> Verdict {
        self.tell(|| "all is mended".to_owned());
        self.skew = [TimeDelta::zero(); 4];
        self.docker.fortune = Fortune::Well;
        self.docker.image_missing = false;
        self.docker.away = false;
        let paused = self
            .rules
            .targets
            .iter()
            .filter(|(_, target)| target.pause.is_some());
        let mut paused: Vec<String> = paused.map(|(name, _)| name.clone()).collect();
        if self.rules.everything.is_some() {
            paused.push(ALL_TARGETS.to_owned());
        }
        for target in paused {
            self.obey(Verb::Resume { target })?;
        }
        for service in [INGEST, RULES, RUNNER, STORE] {
            for topic in 0..3 {
                for partition in 0..PARTITIONS {
                    let owner = self.groups[service].owner[topic][partition];
                    self.groups[service].assign(&self.shells[service], (topic, partition), owner);
                }
            }
        }
        Ok(())
    }
}

//! G6, G7, G12: actions, cooldowns, bounds, containers, and that nobody waits for nothing.

use std::collections::{BTreeMap, BTreeSet};

use action_runner::domain::state::Input;
use chrono::TimeDelta;
use rules::domain::{Outcome, TimerKind};
use shared_events::{
    ActionEvent, ActionId, IncidentEvent, IncidentId, Timestamp, action::ActionRequested,
};

use super::{Verdict, ensure};
use crate::{
    docker::Docker,
    log::{Event, Record},
    rules::{Row, Rules, TARGETS},
};

/// Cooldown of each rule: what the file says.
const COOLDOWNS: [(&str, TimeDelta); 3] = [
    ("high-cpu", TimeDelta::minutes(5)),
    ("low-cpu", TimeDelta::minutes(3)),
    ("zone-cpu", TimeDelta::minutes(2)),
];

/// The last that Action Runner said of a target.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) running: Option<i32>,
    pub(crate) foreign: usize,
    pub(crate) completed: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Actions {
    /// Terminal event of each action: its name, and when it was on the topic first.
    ended: BTreeMap<ActionId, (&'static str, usize)>,
    requested: BTreeSet<ActionId>,
    /// Highest count ever asked for, by target.
    most: BTreeMap<String, i32>,
    /// Last action of each rule and target.
    asked_at: BTreeMap<(String, String), Timestamp>,
    /// The action that Rules wait for, by target.
    busy: BTreeMap<String, ActionId>,
    undone: BTreeSet<IncidentId>,
    retried: bool,
    revisions: BTreeMap<IncidentId, i64>,
    /// The incident of each key that is not over.
    current: BTreeMap<String, IncidentId>,
    pub(crate) said: BTreeMap<String, Said>,
    /// Containers of others when a keeper looked for the last time before it told of an action.
    foreign: BTreeMap<ActionId, usize>,
}

impl Actions {
    pub(crate) fn appended(&mut self, record: &Record, stamp: usize) -> Verdict {
        let Event::Action(event) = &*record.event else {
            return Ok(());
        };
        let (id, target, running, completed) = match event {
            ActionEvent::Requested(asked) => {
                self.requested.insert(asked.action_id);
                let most = self.most.entry(asked.target.clone()).or_default();
                *most = (*most).max(asked.desired_replicas);
                return Ok(());
            }
            ActionEvent::Completed(said) => (
                said.action_id,
                &said.target,
                Some(said.running_replicas),
                true,
            ),
            ActionEvent::Failed(said) => {
                (said.action_id, &said.target, said.running_replicas, false)
            }
            ActionEvent::Paused(_) | ActionEvent::Resumed(_) => return Ok(()),
        };
        ensure(self.requested.contains(&id), "G6", || {
            format!("nobody asked for {id}")
        })?;
        let name = record.event.name();
        let first = !self.ended.contains_key(&id);
        let known = *self.ended.entry(id).or_insert((name, stamp));
        ensure(known.0 == name, "G6", || {
            format!("{id}: {} and {name}", known.0)
        })?;
        if first && (completed || running.is_some()) {
            let foreign = self.foreign.get(&id).copied().unwrap_or(1);
            let said = Said {
                running,
                foreign,
                completed,
            };
            self.said.insert(target.clone(), said);
        }
        Ok(())
    }

    /// Timers fired that were read when there were `looked` records: what was there counts first.
    pub(crate) fn fired(&self, rows: &[Row], looked: usize) -> Verdict {
        for row in rows.iter().filter(|row| row.kind == "timer.timeout") {
            let late = row
                .outcomes
                .iter()
                .any(|(_, outcome)| *outcome == Outcome::ActionTimedOut);
            let known = row.ends.and_then(|id| self.ended.get(&id));
            let waits = late && known.is_some_and(|(_, stamp)| *stamp <= looked);
            ensure(!waits, "evidence first", || {
                format!(
                    "an action of {} timed out while its end was on the topic",
                    row.key
                )
            })?;
        }
        Ok(())
    }

    pub(crate) fn decided(&mut self, row: &Row) -> Verdict {
        if let Some(id) = row.ends {
            self.busy.retain(|_, busy| *busy != id);
        }
        self.retried |= row.kind == "command.retry";
        for event in &row.emitted {
            match event {
                Event::Action(ActionEvent::Requested(asked)) => self.request(asked)?,
                Event::Incident(event) => self.incident(event, &row.key)?,
                Event::Action(_) | Event::Alert(_) => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, asked: &ActionRequested) -> Verdict {
        let (id, target) = (asked.action_id, &asked.target);
        ensure((1..=3).contains(&asked.desired_replicas), "G7", || {
            format!("{target} to {}: out of bounds", asked.desired_replicas)
        })?;
        let busy = self.busy.insert(target.clone(), id);
        ensure(busy.is_none(), "G7", || {
            format!("{target} was busy with {busy:?}, then {id}")
        })?;
        if asked.compensates.is_some() {
            let once = self.undone.insert(asked.incident_id) || self.retried;
            return ensure(once, "G7", || {
                format!("{} is undone twice", asked.incident_id)
            });
        }
        let of = (asked.rule.clone(), target.clone());
        let before = self.asked_at.insert(of, asked.at);
        let (_, cooldown) = COOLDOWNS
            .into_iter()
            .find(|(rule, _)| *rule == asked.rule)
            .expect("a rule of the file");
        let cool = before.is_none_or(|before| asked.at - before >= cooldown);
        ensure(cool || asked.actor.is_some(), "G7", || {
            format!("{} of {target} at {before:?} and {}", asked.rule, asked.at)
        })
    }

    fn incident(&mut self, event: &IncidentEvent, key: &str) -> Verdict {
        let (id, revision) = match event {
            IncidentEvent::Opened(event) => (event.incident_id, event.revision),
            IncidentEvent::Updated(event) => (event.incident_id, event.revision),
            IncidentEvent::Resolved(event) => (event.incident_id, event.revision),
            IncidentEvent::Failed(event) => (event.incident_id, event.revision),
        };
        let last = self.revisions.insert(id, revision).unwrap_or(0);
        ensure(revision == last + 1, "G4", || {
            format!("{id}: revision {revision} after {last}")
        })?;
        match event {
            IncidentEvent::Opened(_) => {
                let before = self.current.insert(key.to_owned(), id);
                ensure(before.is_none(), "G1", || {
                    format!("{key}: {id} opens beside {before:?}")
                })
            }
            IncidentEvent::Resolved(_) => {
                let was = self.current.remove(key);
                ensure(was == Some(id), "G8", || {
                    format!("{id} resolves, {was:?} was current")
                })
            }
            IncidentEvent::Updated(_) | IncidentEvent::Failed(_) => Ok(()),
        }
    }

    /// G12: whoever was refused for a while has a timer, or waits for a target that will be free.
    pub(crate) fn waits(&self, rows: &[Row], rules: &Rules) -> Verdict {
        for row in rows {
            let passes = [Outcome::Cooldown, Outcome::ActionPending, Outcome::Paused];
            let later = || {
                let of_key = rows.iter().filter(|later| later.key == row.key);
                of_key.filter(|later| later.sequence > row.sequence)
            };
            // A later answer of the same rule in the same transaction stands in the place of this one.
            let refused = row.outcomes.iter().any(|(rule, outcome)| {
                rule.is_some()
                    && passes.contains(outcome)
                    && !later().any(|row| row.outcomes.iter().any(|(other, _)| other == rule))
            });
            let memory = rules.correlations.get(&row.key).map(|c| &c.memory);
            let fires = memory.is_some_and(|memory| !memory.evidence.is_empty());
            // What a refused command says is an answer to the person who gave it: it changes nothing.
            let answer = row.outcomes.contains(&(None, Outcome::Refused));
            // What was refused fires no more where nothing fires after it.
            let over = rows
                .iter()
                .any(|later| later.idle && later.key == row.key && later.sequence >= row.sequence);
            if !refused || !fires || answer || over {
                continue;
            }
            let timer = rules
                .timers
                .values()
                .any(|timer| timer.key == row.key && timer.kind == TimerKind::Recheck);
            let waits = rules
                .targets
                .values()
                .any(|target| target.waiting.contains(&row.key));
            ensure(timer || waits, "G12", || {
                format!(
                    "{}: {:?}, and nothing will decide again",
                    row.key, row.outcomes
                )
            })?;
        }
        Ok(())
    }

    /// A keeper saw the containers as they are now, and will tell the end of an action. What others
    /// add before it is told cannot be in the report.
    pub(crate) fn looked(&mut self, target: &str, input: &Input, docker: &Docker) {
        if let Input::Reached { action_id, .. } | Input::Missed { action_id, .. } = input {
            let (_, foreign) = docker.running(target);
            self.foreign.insert(*action_id, foreign);
        }
    }

    /// Containers changed.
    pub(crate) fn host(&mut self, docker: &Docker, _stamp: usize) -> Verdict {
        for target in TARGETS {
            let (managed, _) = docker.running(target);
            let most = self.most.get(target).copied().unwrap_or(0);
            let most = usize::try_from(most).unwrap_or(0);
            ensure(managed <= most, "G6", || {
                format!("{managed} replicas of {target} run, at most {most} were ever asked for")
            })?;
        }
        Ok(())
    }
}

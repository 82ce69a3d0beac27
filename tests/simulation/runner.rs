//! Action Runner's database: its transaction around the real core, and the leases of targets.

use std::collections::BTreeMap;

use action_runner::domain::{
    decide::decide,
    plan::Ask,
    state::{Action, Input, Pause, Request, State, Status, TargetState},
    target::Bounds,
};
use chrono::TimeDelta;
use shared_events::{ActionEvent, ActionId, Timestamp, TopicEvent as _, action::ALL_TARGETS};

use crate::{
    log::{Event, Record},
    rules::TARGETS,
};

const BOUNDS: Bounds = Bounds {
    min_replicas: 1,
    max_replicas: 3,
};
/// How long a lease holds after its last renewal.
const HOLDS: TimeDelta = TimeDelta::seconds(12);

/// Tables of Action Runner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runner {
    pub(crate) targets: BTreeMap<String, TargetState>,
    pub(crate) actions: BTreeMap<ActionId, Action>,
    /// Hash of the template that was kept of each target.
    pub(crate) kept: BTreeMap<String, u32>,
    leases: BTreeMap<String, (usize, Timestamp)>,
}

/// What a transaction would write.
#[derive(Default)]
pub(crate) struct Tx {
    targets: BTreeMap<String, TargetState>,
    actions: BTreeMap<ActionId, Action>,
    pub(crate) events: Vec<Event>,
}

/// What a record says to a target; `None`: the service does not list its type.
pub(crate) fn input(record: &Record) -> Option<(String, Input)> {
    let Event::Action(event) = &*record.event else {
        return None;
    };
    let input = match event {
        ActionEvent::Requested(asked) => Input::Requested(Request {
            event_id: record.id,
            action_id: asked.action_id,
            incident_id: asked.incident_id,
            target: asked.target.clone(),
            kind: asked.kind.clone(),
            ask: Ask::of(&asked.direction).expect("Rules say directions that the runner knows"),
            desired: asked.desired_replicas,
            previous: asked.previous_replicas,
            at: asked.at,
            deadline_at: asked.deadline_at,
            rule: asked.rule.clone(),
            reason: asked.reason.clone(),
        }),
        ActionEvent::Paused(paused) => Input::Paused(Pause {
            pause_id: paused.pause_id,
            at: paused.at,
            until: paused.until,
            actor: paused.actor.clone(),
            reason: paused.reason.clone(),
        }),
        ActionEvent::Resumed(resumed) => Input::Resumed { at: resumed.at },
        ActionEvent::Completed(_) | ActionEvent::Failed(_) => return None,
    };
    Some((event.key(), input))
}

impl Runner {
    /// One transaction at `now`.
    pub(crate) fn transact(&self, inputs: &[(String, Input)], now: Timestamp) -> Tx {
        let mut tx = Tx::default();
        for (name, input) in inputs {
            let decision = decide(&self.state(&tx, name), input, now);
            tx.targets.insert(name.clone(), decision.state.target);
            tx.actions.extend(decision.state.actions);
            tx.events
                .extend(decision.events.into_iter().map(Event::Action));
        }
        tx
    }

    fn state(&self, tx: &Tx, name: &str) -> State {
        let known = tx.targets.get(name).or_else(|| self.targets.get(name));
        let fresh = || TargetState {
            name: name.to_owned(),
            ..TargetState::default()
        };
        let stored = self.actions.iter().chain(&tx.actions);
        State {
            target: known.cloned().unwrap_or_else(fresh),
            bounds: TARGETS.contains(&name).then_some(BOUNDS),
            actions: stored
                .filter(|(_, action)| action.request.target == name)
                .map(|(id, action)| (*id, action.clone()))
                .collect(),
        }
    }

    pub(crate) fn commit(&mut self, tx: Tx) -> Vec<Event> {
        self.targets.extend(tx.targets);
        self.actions.extend(tx.actions);
        tx.events
    }

    pub(crate) fn target(&self, name: &str) -> TargetState {
        self.targets.get(name).cloned().unwrap_or_default()
    }

    /// The action that is under way.
    pub(crate) fn pending(&self, name: &str) -> Option<&Action> {
        let id = self.targets.get(name)?.pending?;
        let action = self.actions.get(&id);
        action.filter(|action| action.status == Status::Pending)
    }

    /// Whether people hold this target back.
    pub(crate) fn paused(&self, name: &str, now: Timestamp) -> Option<&Pause> {
        let of = |name: &str| self.targets.get(name)?.pause.as_ref();
        let pauses = [of(name), of(ALL_TARGETS)].into_iter().flatten();
        pauses.into_iter().find(|pause| pause.holds(now))
    }

    /// Takes or renews a lease; false: somebody else holds it.
    pub(crate) fn lease(&mut self, name: &str, owner: usize, now: Timestamp) -> bool {
        let free = self
            .leases
            .get(name)
            .is_none_or(|(holder, until)| *holder == owner || *until < now);
        if free {
            self.leases.insert(name.to_owned(), (owner, now + HOLDS));
        }
        free
    }

    /// Renews a lease that is still ours.
    pub(crate) fn renew(&mut self, name: &str, owner: usize, now: Timestamp) -> bool {
        let ours = self
            .leases
            .get(name)
            .is_some_and(|(holder, _)| *holder == owner);
        if ours {
            self.leases.insert(name.to_owned(), (owner, now + HOLDS));
        }
        ours
    }

    pub(crate) fn release(&mut self, name: &str, owner: usize) {
        if self
            .leases
            .get(name)
            .is_some_and(|(holder, _)| *holder == owner)
        {
            self.leases.remove(name);
        }
    }
}

//! Joins the pure `decide` to the shell: topics in, topics out, rows in between.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use service_kit::{Error, Outgoing, Poison, Record, Saved, Service, Trace, Work};
use shared_events::{
    ActionEvent, ActionId, EventId, Timestamp, TopicEvent,
    action::{ALL_TARGETS, ActionKind, ActionRequested, TargetPaused},
};
use sqlx::PgConnection;
use tokio::sync::Notify;

use crate::{
    domain::{
        decide::decide,
        plan::Ask,
        state::{Action, Input, Pause, Request, State, Status},
    },
    metrics::RunnerMetrics,
    store,
    targets::Targets,
};

/// Something that happens to one target.
#[derive(Clone, Debug)]
pub struct TargetInput {
    pub target: String,
    pub input: Input,
}

/// The service: what may be touched, and the bells of those who touch it.
#[derive(Debug)]
pub struct ActionRunner {
    targets: ArcSwap<Targets>,
    reloaded: Notify,
    bells: Mutex<HashMap<String, Arc<Notify>>>,
    metrics: RunnerMetrics,
    /// Now, while a restored database catches up.
    then: Mutex<Option<Timestamp>>,
}

impl ActionRunner {
    /// A service that may touch `targets`.
    #[must_use]
    pub fn new(targets: Targets, metrics: RunnerMetrics) -> Self {
        Self {
            targets: ArcSwap::from_pointee(targets),
            reloaded: Notify::new(),
            bells: Mutex::default(),
            metrics,
            then: Mutex::default(),
        }
    }

    /// What may be touched now.
    #[must_use]
    pub fn targets(&self) -> Arc<Targets> {
        self.targets.load_full()
    }

    /// From now on these may be touched.
    pub fn reload(&self, targets: Targets) {
        self.targets.store(Arc::new(targets));
        self.reloaded.notify_one();
    }

    /// Waits until something else may be touched. For one listener.
    pub(crate) async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Rings when something happened to a target. It can ring shortly before the commit; taking
    /// the target's lease waits for that.
    #[must_use]
    pub fn bell(&self, target: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(target.to_owned()).or_default())
    }

    fn ring(&self, targets: &BTreeSet<String>) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, bell) in bells.iter() {
            if targets.contains(name) || targets.contains(ALL_TARGETS) {
                bell.notify_one();
            }
        }
    }
}

/// States of the targets that a batch touches, and what was said.
#[derive(Clone, Debug)]
pub struct Batch {
    now: Timestamp,
    states: BTreeMap<String, State>,
    traces: BTreeMap<ActionId, Trace>,
    /// Actions as they were loaded.
    loaded: BTreeMap<ActionId, Action>,
    events: Vec<(ActionEvent, EventId)>,
    /// Targets whose workers must hear of it.
    heard: BTreeSet<String>,
}

impl Service for ActionRunner {
    const NAME: &'static str = "action-runner";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[(
        "action",
        &["action.requested", "target.paused", "target.resumed"],
    )];
    const SAYS: &'static [(&'static str, &'static [&'static str])] =
        &[("action", &["action.completed", "action.failed"])];

    type Input = TargetInput;
    type Batch = Batch;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<TargetInput, Poison> {
        let event: ActionEvent = record.event()?;
        let target = event.key();
        let input = match event {
            ActionEvent::Requested(asked) => Input::Requested(request(record.envelope.id, asked)?),
            ActionEvent::Paused(paused) => Input::Paused(pause(paused)),
            ActionEvent::Resumed(resumed) => Input::Resumed { at: resumed.at },
            ActionEvent::Completed(_) | ActionEvent::Failed(_) => {
                return Err(Poison {
                    stage: "type",
                    reason: format!("{} is what this service says itself", event.event_type()),
                });
            }
        };
        Ok(TargetInput { target, input })
    }

    async fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<TargetInput>>,
    ) -> Result<Batch, Error> {
        let names: BTreeSet<String> = works.iter().map(|work| work.input.target.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let ids: BTreeSet<_> = works
            .iter()
            .filter_map(|work| concerned(&work.input.input))
            .collect();
        let ids: Vec<_> = ids.into_iter().map(ActionId::uuid).collect();
        let targets = self.targets();
        let mut states: BTreeMap<String, State> = store::lock(conn, &names)
            .await?
            .into_iter()
            .map(|target| {
                let declared = targets.by_name.get(&target.name);
                let state = State {
                    bounds: declared.map(|target| target.bounds),
                    actions: BTreeMap::new(),
                    target,
                };
                (state.target.name.clone(), state)
            })
            .collect();
        let (mut traces, mut loaded) = (BTreeMap::new(), BTreeMap::new());
        for (action, trace) in store::actions(conn, &ids, &names).await? {
            let id = action.request.action_id;
            if let Some(state) = states.get_mut(&action.request.target) {
                state.actions.insert(id, action.clone());
            }
            traces.insert(id, trace);
            loaded.insert(id, action);
        }
        let then = *self.then.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Batch {
            now: match then {
                Some(then) => then,
                None => store::now(conn).await?,
            },
            states,
            traces,
            loaded,
            events: Vec::new(),
            heard: BTreeSet::new(),
        })
    }

    fn fold(&self, batch: &mut Batch, work: &Work<TargetInput>) -> Result<(), Poison> {
        let TargetInput { target, input } = &work.input;
        let state = batch.states.get_mut(target).ok_or_else(|| Poison {
            stage: "fold",
            reason: format!("target {target} was not loaded"),
        })?;
        let input = &self.recalled(input, state);
        let decision = decide(state, input, batch.now);
        *state = decision.state;
        match input {
            Input::Requested(request) => {
                let trace = batch.traces.entry(request.action_id);
                trace.or_insert_with(|| work.trace.clone());
                batch.heard.insert(target.clone());
            }
            Input::Paused(_) | Input::Resumed { .. } => drop(batch.heard.insert(target.clone())),
            // Said by the worker that would hear it.
            Input::Began { .. }
            | Input::Reached { .. }
            | Input::Missed { .. }
            | Input::Buried { .. } => {}
        }
        for event in decision.events {
            let cause = match (work.delivery(), ended(&event)) {
                (None, Some(id)) => state.actions.get(&id).map(|a| a.request.event_id),
                (Some(_), _) | (None, None) => None,
            };
            batch.events.push((event, cause.unwrap_or(work.id)));
        }
        Ok(())
    }

    async fn save(&self, conn: &mut PgConnection, batch: Batch) -> Result<Saved<()>, Error> {
        let (mut targets, mut changed) = (Vec::new(), Vec::new());
        for state in batch.states.into_values() {
            for (id, action) in state.actions {
                if batch.loaded.get(&id) != Some(&action) {
                    let trace = batch.traces.get(&id).cloned().unwrap_or_default();
                    changed.push((action, trace));
                }
            }
            targets.push(state.target);
        }
        store::save_targets(conn, &targets).await?;
        store::save_actions(conn, &changed).await?;
        for (action, _) in &changed {
            self.count(action);
        }
        self.ring(&batch.heard);
        let outgoing = batch.events.iter().map(|(event, cause)| {
            let trace = ended(event).and_then(|id| batch.traces.get(&id));
            Outgoing::event(event, *cause, &trace.cloned().unwrap_or_default())
        });
        Ok(Saved {
            outgoing: outgoing.collect::<Result<_, _>>()?,
            reply: (),
        })
    }

    fn as_of(&self, moment: Option<Timestamp>) {
        *self.then.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// How an action ended is in no topic that this service listens to: it said so itself. Without it
    /// the action would be done once more.
    fn recall(&self, record: &Record<'_>) -> Result<Option<(EventId, TargetInput)>, Poison> {
        let event: ActionEvent = record.event()?;
        let target = event.key();
        let input = match event {
            ActionEvent::Completed(completed) => Input::Reached {
                action_id: completed.action_id,
                outcome: completed.result,
                running: counted(completed.running_replicas),
                foreign: 0,
                message: completed.message,
            },
            ActionEvent::Failed(failed) => Input::Missed {
                action_id: failed.action_id,
                reason: failed.reason,
                running: failed.running_replicas.map(counted),
                foreign: None,
                culprits: Vec::new(),
                message: failed.message,
                evidence: failed.evidence,
            },
            ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => {
                return Ok(None);
            }
        };
        Ok(Some((record.envelope.id, TargetInput { target, input })))
    }
}

fn counted(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or(0)
}

impl ActionRunner {
    /// An event does not tell how many containers of others ran: while a restored database catches up,
    /// as many as were known.
    fn recalled(&self, input: &Input, state: &State) -> Input {
        let mut input = input.clone();
        let then = *self.then.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Input::Reached { foreign, .. }, Some(_)) = (&mut input, then) {
            *foreign = state.target.foreign.unwrap_or_default();
        }
        input
    }

    /// Before the commit, so a transaction that runs again counts twice: figures, not facts.
    fn count(&self, action: &Action) {
        let (result, at) = match &action.status {
            Status::Pending => return,
            Status::Completed { outcome, at, .. } => (outcome.as_str(), at),
            Status::Failed { reason, at, .. } => (reason.as_str(), at),
        };
        let taken = (*at - action.request.at).num_milliseconds();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of an action")]
        self.metrics.ended(result, taken as f64 / 1000.0);
    }
}

/// The action that an input is about.
fn concerned(input: &Input) -> Option<ActionId> {
    match input {
        Input::Requested(request) => Some(request.action_id),
        Input::Began { action_id, .. }
        | Input::Reached { action_id, .. }
        | Input::Missed { action_id, .. } => Some(*action_id),
        Input::Paused(_) | Input::Resumed { .. } | Input::Buried { .. } => None,
    }
}

/// The action that an event ends.
fn ended(event: &ActionEvent) -> Option<ActionId> {
    match event {
        ActionEvent::Completed(completed) => Some(completed.action_id),
        ActionEvent::Failed(failed) => Some(failed.action_id),
        ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => None,
    }
}

/// A request that this build understands: a kind or direction that it does not know is a dead
/// letter, to be sent again after an upgrade.
fn request(event_id: EventId, asked: ActionRequested) -> Result<Request, Poison> {
    let unknown = |what: &str, value: &str| Poison {
        stage: "decode",
        reason: format!("{what} {value:?} is not known to this build"),
    };
    if let ActionKind::Unknown(kind) = &asked.kind {
        return Err(unknown("kind", kind));
    }
    let ask =
        Ask::of(&asked.direction).ok_or_else(|| unknown("direction", asked.direction.as_str()))?;
    Ok(Request {
        event_id,
        action_id: asked.action_id,
        incident_id: asked.incident_id,
        target: asked.target,
        kind: asked.kind,
        ask,
        desired: asked.desired_replicas,
        previous: asked.previous_replicas,
        at: asked.at,
        deadline_at: asked.deadline_at,
        rule: asked.rule,
        reason: asked.reason,
    })
}

fn pause(paused: TargetPaused) -> Pause {
    Pause {
        pause_id: paused.pause_id,
        at: paused.at,
        until: paused.until,
        actor: paused.actor,
        reason: paused.reason,
    }
}

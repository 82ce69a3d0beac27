//! Rules' states, and its transaction around the real core: what is locked, folded and saved as the
//! service's own shell does it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use chrono::TimeDelta;
use rules::{
    domain::{
        Answer, Command, Correlation, Effect, Event as Decided, Input as Asked, Kind, Outcome,
        Pause, Policy, Route, RuleSet, Sequence, State, Target, Timer, Verb, decide_owned, route,
    },
    files::{Source, Sources, compile},
};
use shared_events::{
    ActionEvent, ActionId, AlertEvent, EventId, IncidentId, Timestamp, TopicEvent as _,
    action::ALL_TARGETS,
};

use crate::log::Event;

pub(crate) const TARGETS: [&str; 2] = ["app", "shop"];

const RULES: &str = r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action: {scale_docker: {step: 1, direction: up}, timeout: 60s, cooldown: 5m, verify_within: 5m,
           on_failure: {ensure_replicas: previous}}
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {scale_docker: {replicas: 1, direction: down}, timeout: 60s, cooldown: 3m}
- name: data-missing
  matchers: ['alertname="CPUDataMissing"']
  group_by: [service]
  incident: open
- name: zone-cpu
  matchers: ['alertname="ZoneCPU"']
  group_by: [service, zone]
  incident: open
  action: {scale_docker: {replicas: 3, direction: up}, timeout: 30s, cooldown: 2m,
           on_failure: {ensure_replicas: "1"}}
"#;
const BOUNDS: &str = "version: 1
targets:
- {name: app, min_replicas: 1, max_replicas: 3}
- {name: shop, min_replicas: 1, max_replicas: 3}
";

/// The files of the simulated site, compiled once.
static SET: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        rules: source("rules.yaml", RULES),
        targets: source("targets.yaml", BOUNDS),
    };
    let policy = Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(30),
    };
    Arc::new(compile(&sources, policy).expect("the files of the simulation are valid"))
});

/// What is decided about, before it is routed.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Alert(AlertEvent),
    Action(ActionEvent),
    Timer(Timer),
    Command(Command),
}

/// One input of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) id: EventId,
    pub(crate) place: Option<Sequence>,
    pub(crate) input: Input,
}

/// A row of `decisions_log`, as far as it is checked.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) sequence: i64,
    pub(crate) input: EventId,
    pub(crate) kind: &'static str,
    pub(crate) outcomes: Vec<(Option<String>, Outcome)>,
    /// The action that the input ends or times out.
    pub(crate) ends: Option<ActionId>,
    /// Whether no alert fires after it.
    pub(crate) idle: bool,
    pub(crate) emitted: Vec<Event>,
}

/// Tables of Rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) correlations: HashMap<String, Correlation>,
    pub(crate) targets: BTreeMap<String, Target>,
    pub(crate) everything: Option<Pause>,
    pub(crate) timers: BTreeMap<EventId, Timer>,
    actions: HashMap<ActionId, (String, String)>,
}

/// What a transaction would write.
#[derive(Default)]
pub(crate) struct Tx {
    correlations: HashMap<String, Correlation>,
    targets: BTreeMap<String, Target>,
    everything: Option<Pause>,
    armed: BTreeMap<EventId, Timer>,
    disarmed: BTreeSet<EventId>,
    pub(crate) rows: Vec<Row>,
    pub(crate) events: Vec<Event>,
    pub(crate) answers: Vec<Answer>,
}

struct Plan {
    routes: Vec<Route>,
    targets: BTreeSet<String>,
}

impl Rules {
    /// One transaction. `by_sequence`: the second line against repeats is there.
    pub(crate) fn transact(&self, works: &[Work], by_sequence: bool) -> Tx {
        let mut tx = Tx {
            everything: self.everything.clone(),
            ..Tx::default()
        };
        for work in works {
            if let Input::Timer(timer) = &work.input {
                if !self.timers.contains_key(&timer.id) {
                    continue;
                }
                tx.disarm(timer.id);
            }
            let Some(plan) = self.plan(&tx, work) else {
                continue;
            };
            for route in &plan.routes {
                self.fold(&mut tx, work, (route, &plan.targets), by_sequence);
            }
        }
        tx
    }

    fn correlation(&self, tx: &Tx, key: &str) -> Correlation {
        let known = tx
            .correlations
            .get(key)
            .or_else(|| self.correlations.get(key));
        known.cloned().unwrap_or_else(|| Correlation::new(key))
    }

    fn plan(&self, tx: &Tx, work: &Work) -> Option<Plan> {
        let to = |key: &str| {
            vec![Route {
                key: key.to_owned(),
                rules: Vec::new(),
            }]
        };
        let mut targets = BTreeSet::new();
        let routes = match &work.input {
            Input::Alert(alert) => {
                let routes = route(&SET, alert.labels(), &[], &alert.key());
                let seen = routes.iter().flat_map(|route| &route.rules);
                let acting = seen.filter_map(|&at| SET.rules[at].action.as_ref());
                let named = acting.filter_map(|a| alert.labels().get(&a.target_label).cloned());
                targets.extend(named);
                routes
            }
            Input::Action(action) => {
                let id = ended(action)?;
                match self.actions.get(&id) {
                    Some((key, target)) => {
                        targets.insert(target.clone());
                        to(key)
                    }
                    None => to(&action.key()),
                }
            }
            Input::Timer(timer) => {
                targets = self.of_memory(tx, &timer.key);
                to(&timer.key)
            }
            Input::Command(command) => match &command.verb {
                Verb::Pause { target, .. }
                | Verb::Resume { target }
                | Verb::CloseLimit { target } => {
                    if target == ALL_TARGETS {
                        targets.extend(self.targets.keys().cloned());
                    } else {
                        targets.insert(target.clone());
                    }
                    to(target)
                }
                Verb::Retry { incident_id } | Verb::Close { incident_id } => {
                    let key = self.key_of(*incident_id)?;
                    targets = self.of_memory(tx, &key);
                    to(&key)
                }
            },
        };
        targets.retain(|name| SET.targets.contains_key(name));
        Some(Plan { routes, targets })
    }

    fn key_of(&self, incident: IncidentId) -> Option<String> {
        let of = |c: &&Correlation| c.memory.incident.as_ref().is_some_and(|i| i.id == incident);
        self.correlations.values().find(of).map(|c| c.key.clone())
    }

    /// Targets of actions under way, and those that the rules name for alerts that fire.
    fn of_memory(&self, tx: &Tx, key: &str) -> BTreeSet<String> {
        let memory = self.correlation(tx, key).memory;
        let pending = memory.pending.values().map(|asked| asked.target.clone());
        let mut names: BTreeSet<String> = pending.collect();
        for alert in memory.evidence.values() {
            names.extend(SET.matching(&alert.labels).filter_map(|rule| {
                let label = &rule.action.as_ref()?.target_label;
                alert.labels.get(label).cloned()
            }));
        }
        names
    }

    fn fold(
        &self,
        tx: &mut Tx,
        work: &Work,
        (route, names): (&Route, &BTreeSet<String>),
        by_sequence: bool,
    ) {
        let mut correlation = self.correlation(tx, &route.key);
        if let Some(place) = &work.place {
            if by_sequence && correlation.has_seen(place) {
                return;
            }
            correlation.see(place);
        }
        let Some(kind) = kind(&work.input, route) else {
            return;
        };
        let target = |name: &String| {
            let known = tx.targets.get(name).or_else(|| self.targets.get(name));
            (name.clone(), known.cloned().unwrap_or_default())
        };
        let state = State {
            correlation,
            targets: names.iter().map(target).collect(),
            everything: tx.everything.clone(),
            // its rules have no limits
            total: rules::domain::Budget::default(),
        };
        let asked = Asked { id: work.id, kind };
        let decision = decide_owned(&SET, state, &asked);
        let outcomes = decision.facts.verdicts.iter();
        let mut row = Row {
            key: decision.state.correlation.key.clone(),
            sequence: decision.state.correlation.decisions,
            idle: decision.state.correlation.memory.evidence.is_empty(),
            input: work.id,
            kind: asked.kind.name(),
            outcomes: outcomes
                .map(|verdict| {
                    (
                        verdict.rule.as_ref().map(|r| r.name.clone()),
                        verdict.outcome,
                    )
                })
                .collect(),
            ends: ends(&work.input),
            emitted: Vec::new(),
        };
        for effect in decision.effects {
            match effect {
                Effect::Emit(event) => row.emitted.push(match *event {
                    Decided::Incident(event) => Event::Incident(event),
                    Decided::Action(event) => Event::Action(event),
                }),
                Effect::Arm(timer) => {
                    tx.disarmed.remove(&timer.id);
                    tx.armed.insert(timer.id, timer);
                }
                Effect::Disarm(id) => tx.disarm(id),
            }
        }
        tx.answers.extend(decision.answer);
        tx.events.extend(row.emitted.iter().cloned());
        tx.rows.push(row);
        let state = decision.state;
        tx.correlations
            .insert(state.correlation.key.clone(), state.correlation);
        let locked = |(name, _): &(String, Target)| names.contains(name);
        tx.targets.extend(state.targets.into_iter().filter(locked));
        tx.everything = state.everything;
    }

    pub(crate) fn commit(&mut self, tx: Tx) -> (Vec<Row>, Vec<Event>) {
        self.correlations.extend(tx.correlations);
        self.targets.extend(tx.targets);
        self.everything = tx.everything;
        for id in tx.disarmed {
            self.timers.remove(&id);
        }
        self.timers.extend(tx.armed);
        for event in &tx.events {
            if let Event::Action(ActionEvent::Requested(asked)) = event {
                let of = (asked.correlation_key.clone(), asked.target.clone());
                self.actions.insert(asked.action_id, of);
            }
        }
        (tx.rows, tx.events)
    }

    /// Timers that are due at `now`, the longest due first.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Timer> {
        let mut due: Vec<Timer> = self
            .timers
            .values()
            .filter(|t| t.due <= now)
            .cloned()
            .collect();
        due.sort_by_key(|timer| (timer.due, timer.id));
        due
    }
}

impl Tx {
    fn disarm(&mut self, id: EventId) {
        self.armed.remove(&id);
        self.disarmed.insert(id);
    }
}

fn ended(event: &ActionEvent) -> Option<ActionId> {
    match event {
        ActionEvent::Completed(action) => Some(action.action_id),
        ActionEvent::Failed(action) => Some(action.action_id),
        ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => None,
    }
}

fn ends(input: &Input) -> Option<ActionId> {
    use rules::domain::TimerKind;
    match input {
        Input::Action(event) => ended(event),
        Input::Timer(timer) => match timer.kind {
            TimerKind::Timeout { action_id } => Some(action_id),
            TimerKind::Recheck | TimerKind::Verify { .. } | TimerKind::Settle { .. } => None,
        },
        Input::Alert(_) | Input::Command(_) => None,
    }
}

fn kind(input: &Input, route: &Route) -> Option<Kind> {
    let rules = route.rules.clone();
    Some(match input {
        Input::Alert(AlertEvent::Raised(alert)) => Kind::Raised {
            alert: Box::new(alert.clone()),
            rules,
        },
        Input::Alert(AlertEvent::Resolved(alert)) => Kind::Resolved {
            alert: Box::new(alert.clone()),
            rules,
        },
        Input::Action(ActionEvent::Completed(action)) => Kind::Completed(Box::new(action.clone())),
        Input::Action(ActionEvent::Failed(action)) => Kind::Failed(Box::new(action.clone())),
        Input::Action(_) => return None,
        Input::Timer(timer) => Kind::Timer(timer.clone()),
        Input::Command(command) => Kind::Command(command.clone()),
    })
}

//! A shell without database and broker: routes, remembers ids, keeps states and timers, folds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::TimeDelta;
use shared_events::{
    ActionEvent, ActionId, EpisodeId, EventId, IncidentEvent, Timestamp, TopicEvent,
    action::{ActionRequested, FailureReason},
    alert::AlertEvent,
    ids,
    incident::{AlertStatus, ReasonCode},
};

pub(super) use super::facts::{completed, episode, failed, place, raised, resolved};
use crate::{
    domain::{
        Answer, Budget, Command, Correlation, Decision, Effect, Event, Incident, Input, Kind,
        Pause, Policy, RuleSet, Sequence, State, Target, Timer, Verb, decide, route,
    },
    files::{Source, Sources, compile},
};

pub(super) const RULES: &str = r#"
version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action:
    scale_docker: {replicas: 2, direction: up}
    timeout: 60s
    cooldown: 5m
    verify_within: 4m
    on_failure: {ensure_replicas: previous}
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {scale_docker: {replicas: 1, direction: down}, timeout: 60s, cooldown: 5m}
- {name: cpu-data-missing, matchers: ['alertname="CPUDataMissing"'], group_by: [service], incident: open}
"#;

pub(super) const TARGETS: &str = "
version: 1
targets:
- {name: app, min_replicas: 1, max_replicas: 3}
- {name: shop, min_replicas: 1, max_replicas: 3}
";

/// Everything that the shell would keep.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rules: RuleSet,
    pub(super) now: Timestamp,
    pub(super) correlations: BTreeMap<String, Correlation>,
    pub(super) targets: BTreeMap<String, Target>,
    pub(super) everything: Option<Pause>,
    pub(super) total: Budget,
    pub(super) timers: BTreeMap<EventId, Timer>,
    /// Everything emitted, in order.
    pub(super) events: Vec<Event>,
    /// Answers to the last input.
    pub(super) answer: Option<Answer>,
    inbox: HashSet<EventId>,
    /// Sequence of each event on its topic and key, as the relay would give it.
    sequences: BTreeMap<EventId, Sequence>,
    /// Correlation of each action that was asked for.
    actions: BTreeMap<ActionId, String>,
    /// Commands so far, by key.
    commands: BTreeMap<String, u32>,
}

/// Codes of the answers to one input, in order.
pub(super) type Codes = Vec<&'static str>;

impl World {
    pub(super) fn new() -> Self {
        Self::with_rules(RULES)
    }

    pub(super) fn with_rules(rules: &str) -> Self {
        let source = |name: &str, text: &str| Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let sources = Sources {
            rules: source("rules.yaml", rules),
            targets: source("targets.yaml", TARGETS),
        };
        let policy = Policy {
            settle: TimeDelta::minutes(1),
            action_grace: TimeDelta::seconds(15),
        };
        Self {
            rules: compile(&sources, policy).expect("the rules of a test are valid"),
            now: Timestamp::from_timestamp(1_700_000_000, 0).expect("valid"),
            correlations: BTreeMap::new(),
            targets: BTreeMap::new(),
            everything: None,
            total: Budget::default(),
            timers: BTreeMap::new(),
            events: Vec::new(),
            answer: None,
            inbox: HashSet::new(),
            sequences: BTreeMap::new(),
            actions: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// Folds an event as the shell does: once, wherever it belongs.
    pub(super) fn alert(&mut self, event: &AlertEvent) -> Codes {
        if !self.inbox.insert(event.event_id()) {
            return vec!["duplicate"];
        }
        self.sequence("alert", event.key(), event.event_id());
        let held = self.keys_holding(event.episode_id());
        let routes = route(&self.rules, event.labels(), &held, &event.key());
        let mut codes = Vec::new();
        for to in routes {
            let kind = match event {
                AlertEvent::Raised(alert) => Kind::Raised {
                    alert: Box::new(alert.clone()),
                    rules: to.rules,
                },
                AlertEvent::Resolved(alert) => Kind::Resolved {
                    alert: Box::new(alert.clone()),
                    rules: to.rules,
                },
            };
            codes.extend(self.fold(&to.key, event.event_id(), kind));
        }
        codes
    }

    fn keys_holding(&self, episode: EpisodeId) -> Vec<String> {
        let holds = |correlation: &Correlation| {
            let current = correlation.memory.current();
            current
                .and_then(|incident| incident.alert(episode))
                .is_some()
        };
        let keys = self.correlations.values().filter(|c| holds(c));
        keys.map(|correlation| correlation.key.clone()).collect()
    }

    /// Folds the outcome of an action.
    pub(super) fn action(&mut self, event: &ActionEvent) -> Codes {
        if !self.inbox.insert(event.event_id()) {
            return vec!["duplicate"];
        }
        self.sequence("action", event.key(), event.event_id());
        let (id, kind) = match event {
            ActionEvent::Completed(action) => {
                (action.action_id, Kind::Completed(Box::new(action.clone())))
            }
            ActionEvent::Failed(action) => {
                (action.action_id, Kind::Failed(Box::new(action.clone())))
            }
            ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => {
                return Vec::new();
            }
        };
        let key = self
            .actions
            .get(&id)
            .cloned()
            .unwrap_or_else(|| event.key());
        self.fold(&key, event.event_id(), kind)
    }

    /// Fires the timer that is due first, and moves the clock there if it is ahead.
    pub(super) fn fire_next(&mut self) -> Codes {
        let next = self
            .timers
            .values()
            .min_by_key(|timer| (timer.due, timer.id));
        let timer = next.expect("a timer is set").clone();
        self.now = self.now.max(timer.due);
        self.fire(&timer)
    }

    pub(super) fn fire(&mut self, timer: &Timer) -> Codes {
        self.timers.remove(&timer.id);
        self.fold(&timer.key, timer.id, Kind::Timer(timer.clone()))
    }

    pub(super) fn command(&mut self, verb: Verb) -> Codes {
        let key = match &verb {
            Verb::Pause { target, .. } | Verb::Resume { target } | Verb::CloseLimit { target } => {
                target.clone()
            }
            Verb::Retry { incident_id } | Verb::Close { incident_id } => {
                let of = |c: &&Correlation| {
                    let kept = c.memory.incident.as_ref();
                    kept.is_some_and(|incident| incident.id == *incident_id)
                };
                let found = self.correlations.values().find(of);
                found.map_or_else(String::new, |correlation| correlation.key.clone())
            }
        };
        let number = self.commands.entry(key.clone()).or_default();
        *number += 1;
        let id = EventId(ids::derive(["command", &key, &number.to_string()]));
        let command = Command {
            at: self.now,
            actor: "ana".to_owned(),
            reason: "because".to_owned(),
            verb,
        };
        self.fold(&key, id, Kind::Command(command))
    }

    /// Forgets which events were folded, as an inbox does that is pruned.
    pub(super) fn prune_inbox(&mut self) {
        self.inbox.clear();
    }

    fn sequence(&mut self, topic: &str, key: String, id: EventId) {
        let of_key = |known: &&Sequence| known.topic == topic && known.key == key;
        let last = self.sequences.values().filter(of_key).count();
        self.sequences.entry(id).or_insert_with(|| Sequence {
            topic: topic.to_owned(),
            key,
            source: "/somebody/one".to_owned(),
            last: i64::try_from(last).expect("few") + 1,
        });
    }

    fn fold(&mut self, key: &str, id: EventId, kind: Kind) -> Codes {
        let input = Input { id, kind };
        let mut correlation = match self.correlations.get(key) {
            Some(known) => known.clone(),
            None => Correlation::new(key),
        };
        if let Some(place) = self.sequences.get(&id) {
            if correlation.has_seen(place) {
                return vec!["duplicate"];
            }
            correlation.see(place);
        }
        let state = State {
            correlation,
            targets: self.targets.clone(),
            everything: self.everything.clone(),
            total: self.total.clone(),
        };
        let decision = decide(&self.rules, &state, &input);
        assert_eq!(
            decision,
            decide(&self.rules, &state, &input),
            "decided twice"
        );
        self.apply(decision)
    }

    fn apply(&mut self, decision: Decision) -> Codes {
        let State {
            correlation,
            targets,
            everything,
            total,
        } = decision.state;
        let json = serde_json::to_string(&correlation.memory).expect("it serialises");
        let stored = serde_json::from_str(&json).expect("it deserialises");
        assert_eq!(
            correlation.memory, stored,
            "what is stored is what was decided"
        );
        self.correlations
            .insert(correlation.key.clone(), correlation);
        self.targets = targets;
        self.everything = everything;
        self.total = total;
        self.answer = decision.answer;
        check_closing(&decision.effects, &self.correlations);
        for effect in decision.effects {
            match effect {
                Effect::Emit(event) => self.emit(*event),
                Effect::Arm(timer) => {
                    self.timers.insert(timer.id, timer);
                }
                Effect::Disarm(id) => {
                    self.timers.remove(&id);
                }
            }
        }
        let verdicts = decision.facts.verdicts.iter();
        verdicts.map(|verdict| verdict.outcome.code()).collect()
    }

    fn emit(&mut self, event: Event) {
        if let Event::Action(ActionEvent::Requested(action)) = &event {
            let key = action.correlation_key.clone();
            self.actions.insert(action.action_id, key);
        }
        assert!(
            self.events.iter().all(|earlier| earlier.id() != event.id()),
            "an event id is used twice: {event:?}"
        );
        self.events.push(event);
    }

    /// Types of the events since `from`.
    pub(super) fn types_since(&self, from: usize) -> Vec<&'static str> {
        self.events[from..].iter().map(Event::name).collect()
    }

    pub(super) fn requested(&self) -> Vec<ActionRequested> {
        let requested = |event: &Event| match event {
            Event::Action(ActionEvent::Requested(action)) => Some(action.clone()),
            Event::Action(
                ActionEvent::Completed(_)
                | ActionEvent::Failed(_)
                | ActionEvent::Paused(_)
                | ActionEvent::Resumed(_),
            )
            | Event::Incident(_) => None,
        };
        self.events.iter().filter_map(requested).collect()
    }

    pub(super) fn last_requested(&self) -> ActionRequested {
        self.requested().pop().expect("an action was asked for")
    }

    pub(super) fn incident(&self, key: &str) -> &Incident {
        let kept = self.correlations[key].memory.incident.as_ref();
        kept.expect("there is an incident")
    }

    pub(super) fn last_incident_event(&self) -> &IncidentEvent {
        let incident = |event: &'_ Event| match event {
            Event::Incident(event) => Some(event.clone()),
            Event::Action(_) => None,
        };
        let found = self
            .events
            .iter()
            .rev()
            .position(|event| incident(event).is_some());
        let at = self.events.len() - 1 - found.expect("an incident event");
        match &self.events[at] {
            Event::Incident(event) => event,
            Event::Action(_) => unreachable!("found as an incident event"),
        }
    }

    pub(super) fn completed(&mut self, running: i32) -> Codes {
        let action = self.last_requested();
        self.action(&completed(&action, running, self.now))
    }

    pub(super) fn failed(&mut self, reason: FailureReason) -> Codes {
        let action = self.last_requested();
        self.action(&failed(&action, reason, self.now))
    }

    /// Action Runner says that the deadline was over before it heard of the action.
    pub(super) fn too_late(&mut self) -> Codes {
        let action = self.last_requested();
        let mut news = failed(&action, FailureReason::Deadline, self.now);
        if let ActionEvent::Failed(failed) = &mut news {
            (failed.running_replicas, failed.previous_replicas) = (None, None);
        }
        self.action(&news)
    }

    pub(super) fn raise(&mut self, name: &str, service: &str) -> Codes {
        let event = raised(name, service, 1, 1, self.now);
        self.alert(&event)
    }

    pub(super) fn raise_again(&mut self, name: &str, service: &str, occurrence: i64) -> Codes {
        let event = raised(name, service, 1, occurrence, self.now);
        self.alert(&event)
    }

    pub(super) fn resolve(&mut self, name: &str, service: &str) -> Codes {
        let event = resolved(name, service, 1, self.now);
        self.alert(&event)
    }

    pub(super) fn timer_names(&self) -> BTreeSet<&'static str> {
        let kinds = self
            .timers
            .values()
            .map(|timer| Kind::Timer(timer.clone()).name());
        kinds.collect()
    }
}

/// Only a person closes an incident that an alert holds or whose action is under way.
fn check_closing(effects: &[Effect], correlations: &BTreeMap<String, Correlation>) {
    for effect in effects {
        if let Effect::Emit(event) = effect
            && let Event::Incident(IncidentEvent::Resolved(event)) = &**event
            && event.reason_code != ReasonCode::ClosedByPerson
        {
            let memory = &correlations[&event.correlation_key].memory;
            assert!(
                !memory.is_pending(event.incident_id),
                "closed during an action"
            );
            let held = event
                .alerts
                .iter()
                .any(|alert| alert.holds && alert.status == AlertStatus::Firing);
            assert!(!held, "closed while held");
        }
    }
}

//! A decision in the making: the state that changes, and what is collected on the way.

use std::collections::BTreeMap;

use serde_json::Value;
use shared_events::{EventId, IncidentId, Timestamp, incident::IncidentUpdated};

use super::{
    Action, Answer, Decision, Effect, Event, Facts, Incident, Input, Memory, Next, Outcome, Rule,
    RuleRef, RuleSet, Snapshot, State, Timer, TimerKind, Verdict, sentence,
};

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub(super) rules: &'a RuleSet,
    pub(super) at: Timestamp,
    pub(super) cause: EventId,
    pub(super) state: State,
    pub(super) answer: Option<Answer>,
    /// The alerts of the incident changed, and nobody was told yet.
    pub(super) alerts_changed: bool,
    read: Snapshot,
    timers_before: BTreeMap<EventId, Timer>,
    verdicts: Vec<Verdict>,
    effects: Vec<Effect>,
    /// Events since the last verdict.
    emitted: Vec<EventId>,
}

/// An answer before the events that follow from it are known.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) inputs: BTreeMap<String, Value>,
}

impl Said {
    pub(super) fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            inputs: BTreeMap::new(),
        }
    }

    pub(super) fn with(mut self, inputs: BTreeMap<String, Value>) -> Self {
        self.inputs.extend(inputs);
        self
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(rules: &'a RuleSet, state: State, input: &Input) -> Self {
        let at = input.at();
        Self {
            rules,
            at,
            cause: input.id,
            read: Snapshot::of(&state, at),
            timers_before: timers(&state.correlation.memory),
            state,
            answer: None,
            alerts_changed: false,
            verdicts: Vec::new(),
            effects: Vec::new(),
            emitted: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.state.correlation.key
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.state.correlation.memory
    }

    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.state.correlation.memory
    }

    /// The incident of this id, while it is current.
    pub(super) fn current(&mut self, id: IncidentId) -> Option<&mut Incident> {
        self.memory_mut()
            .incident
            .as_mut()
            .filter(|incident| incident.id == id && incident.is_current())
    }

    pub(super) fn timer(&self, kind: TimerKind, due: Timestamp) -> Timer {
        Timer::new(self.key(), kind, due, self.cause)
    }

    /// Decides refused steps of this correlation again at `due`, or earlier if that is set already.
    pub(super) fn recheck_at(&mut self, due: Timestamp) {
        let set = &self.memory().recheck;
        if set.as_ref().is_none_or(|timer| due < timer.due) {
            self.memory_mut().recheck = Some(self.timer(TimerKind::Recheck, due));
        }
    }

    /// Decides refused steps of every correlation that waits for `target` again, now, if it is free.
    pub(super) fn wake_waiting(&mut self, target: &str) {
        if self.state.target(target).pending.is_some() {
            return;
        }
        for key in std::mem::take(&mut self.state.target(target).waiting) {
            if key == self.key() {
                self.recheck_at(self.at);
            } else {
                let timer = Timer::new(&key, TimerKind::Recheck, self.at, self.cause);
                self.effects.push(Effect::Arm(timer));
            }
        }
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.emitted.push(event.id());
        self.effects.push(Effect::Emit(Box::new(event)));
    }

    /// Records the answer of a rule (or of the engine), with every event since the last one.
    pub(super) fn say(&mut self, rule: Option<&Rule>, said: Said) {
        self.verdicts.push(Verdict {
            rule: rule.map(RuleRef::from),
            outcome: said.outcome,
            reason: said.reason,
            inputs: said.inputs,
            emitted: std::mem::take(&mut self.emitted),
            shadow: rule.is_some_and(|rule| !rule.is_live()),
        });
    }

    /// Records the answer to something that `rule` asked for earlier, in the version of that time.
    pub(super) fn say_of(&mut self, rule: RuleRef, said: Said) {
        self.say(None, said);
        if let Some(verdict) = self.verdicts.last_mut() {
            verdict.rule = Some(rule);
        }
    }

    /// The same decision about the same input, begun in `state`, to be thrown away.
    pub(super) fn ghost(&self, state: State) -> Self {
        Self {
            rules: self.rules,
            at: self.at,
            cause: self.cause,
            read: Snapshot::default(),
            timers_before: BTreeMap::new(),
            state,
            answer: None,
            alerts_changed: false,
            verdicts: Vec::new(),
            effects: Vec::new(),
            emitted: Vec::new(),
        }
    }

    /// What it came to so far.
    pub(super) fn into_effects(self) -> Vec<Effect> {
        self.effects
    }

    /// The live rules with an action, in order.
    pub(super) fn acting_rules(&self) -> impl Iterator<Item = (&'a Rule, &'a Action)> + use<'a> {
        let acting = |rule: &'a Rule| Some((rule, rule.action.as_ref()?));
        let live = self.rules.rules.iter().filter(|rule| rule.is_live());
        live.filter_map(acting)
    }

    /// Tells people what changed without a change of status, and closes the decision.
    pub(super) fn finish(mut self) -> Decision {
        self.update();
        let after = timers(self.memory());
        for (id, timer) in &after {
            if self.timers_before.get(id) != Some(timer) {
                self.effects.push(Effect::Arm(timer.clone()));
            }
        }
        for id in self.timers_before.keys() {
            if !after.contains_key(id) {
                self.effects.push(Effect::Disarm(*id));
            }
        }
        if let Some(verdict) = self.verdicts.last_mut() {
            verdict.emitted.append(&mut self.emitted);
        }
        self.state.correlation.decisions += 1;
        let incident = self.memory().incident.as_ref().map(|incident| incident.id);
        Decision {
            facts: Facts {
                read: self.read,
                verdicts: self.verdicts,
                incident,
            },
            state: self.state,
            effects: self.effects,
            answer: self.answer,
        }
    }

    fn update(&mut self) {
        let next = self.next();
        let key = self.key().to_owned();
        let (at, changed) = (self.at, self.alerts_changed);
        let Some(incident) = &mut self.memory_mut().incident else {
            return;
        };
        let news = incident.next != next;
        incident.next = next;
        let worth_telling = changed || news && incident.is_current();
        if !worth_telling {
            return;
        }
        incident.revision += 1;
        let event = IncidentUpdated {
            incident_id: incident.id,
            revision: incident.revision,
            at,
            correlation_key: key,
            severity: incident.severity.clone(),
            title: None,
            next_step: incident.next.as_ref().map(|next| next.step.clone()),
            next_due_at: incident.next.as_ref().and_then(|next| next.due),
            alerts: incident.listed(),
        };
        self.alerts_changed = false;
        self.emit(Event::Incident(event.into()));
    }

    /// What people can expect next, with everything that is set now.
    fn next(&self) -> Option<Next> {
        let incident = self.memory().current()?;
        let of_incident = |due: Option<Timestamp>, step: String| Some(Next { step, due });
        let under_way = self
            .memory()
            .pending
            .values()
            .filter(|requested| requested.incident_id == incident.id)
            .min_by_key(|requested| requested.timeout.due);
        if let Some(requested) = under_way {
            return of_incident(Some(requested.timeout.due), sentence::awaits(requested));
        }
        if let Some(timer) = &incident.settle {
            return of_incident(Some(timer.due), sentence::SETTLES.to_owned());
        }
        if let Some(verify) = &incident.verify {
            return of_incident(Some(verify.timer.due), sentence::VERIFIES.to_owned());
        }
        if incident.has_given_up() {
            return None;
        }
        let timer = self.memory().recheck.as_ref()?;
        of_incident(Some(timer.due), sentence::RECHECKS.to_owned())
    }
}

fn timers(memory: &Memory) -> BTreeMap<EventId, Timer> {
    let pair = |timer: &Timer| (timer.id, timer.clone());
    memory.timers().map(pair).collect()
}

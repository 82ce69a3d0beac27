//! What a running engine keeps in its tables, in memory; one input is one batch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use service_kit::Work;
use shared_events::{
    ActionId, EventId, IncidentId,
    action::{ALL_TARGETS, ActionRequested},
};

use crate::{
    batch::{Batch, Produced},
    domain::{Budget, Correlation, RuleSet, Target, Timer},
    fold,
    load::{self, Known},
    save,
    service::Input,
    store::decisions::Row,
};

/// Everything that decisions are made from.
pub(super) struct World {
    batch: Batch,
    known: Known,
    /// The incident that each correlation has in `known`.
    incidents: HashMap<String, IncidentId>,
    timers: BTreeMap<EventId, Timer>,
    /// What was asked for of all targets, while an input does not touch it.
    total: Option<Budget>,
}

/// What an input gave.
pub(super) struct Folded {
    pub(super) rows: Vec<Row>,
    pub(super) armed: Vec<Timer>,
    pub(super) requested: Vec<ActionRequested>,
}

impl World {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        Self {
            batch: Batch {
                rules,
                correlations: HashMap::new(),
                fresh: Vec::new(),
                targets: BTreeMap::new(),
                everything: None,
                // kept from input to input
                total: Some(Budget::default()),
                changes: crate::changes::Changes::default(),
                plans: HashMap::new(),
                produced: Produced::default(),
            },
            known: Known::default(),
            incidents: HashMap::new(),
            timers: BTreeMap::new(),
            total: None,
        }
    }

    /// Decides under these rules from now on.
    pub(super) fn under(&mut self, rules: Arc<RuleSet>) {
        self.batch.rules = rules;
    }

    /// Hash of the rules that are decided under.
    pub(super) fn version(&self) -> &str {
        &self.batch.rules.hash
    }

    /// Whether this action was asked for here.
    pub(super) fn asked_for(&self, action: ActionId) -> bool {
        self.known.actions.contains_key(&action)
    }

    /// Takes a timer that is due; false when it is not set, or set for another time.
    pub(super) fn take(&mut self, timer: &Timer) -> bool {
        let set = self.timers.get(&timer.id).is_some_and(|set| set == timer);
        if set {
            self.timers.remove(&timer.id);
        }
        set
    }

    /// Decides about one input.
    pub(super) fn fold(&mut self, work: Work<Input>) -> Folded {
        let mut works = vec![work];
        load::refuse_unknown(&mut works, &self.known, &mut self.batch.produced);
        for work in &works {
            self.load(work);
            fold::fold(&mut self.batch, work);
        }
        self.batch.plans.clear();
        let total = self.total.take();
        self.batch.total = self.batch.total.take().or(total);
        self.save()
    }

    /// Decides under these rules from now on.
    pub(super) fn use_rules(&mut self, rules: Arc<RuleSet>) {
        self.batch.rules = rules;
    }

    /// These rules become the active ones: what fires in a current incident stays there.
    pub(super) fn activate(&mut self, rules: Arc<RuleSet>) {
        self.rules_changed();
        self.use_rules(rules);
    }

    /// Decides about one input as the engine does, which reads what was asked of all targets together
    /// only where limits make that a matter of the batch.
    pub(super) fn fold_as_recorded(&mut self, work: Work<Input>) {
        let mut works = vec![work];
        load::refuse_unknown(&mut works, &self.known, &mut self.batch.produced);
        for work in &works {
            self.load(work);
            let targets = self.batch.plans.get(&work.id);
            let named = targets.is_some_and(|plan| !plan.targets.is_empty());
            let total = self.batch.total.take();
            let needed = self.batch.rules.limits.is_set() && named || load::about_all(work);
            self.batch.total = total.clone().filter(|_| needed);
            fold::fold(&mut self.batch, work);
            self.batch.total = self.batch.total.take().or(total);
        }
        self.batch.plans.clear();
        self.save();
    }

    /// Every correlation.
    pub(super) fn correlations(&self) -> impl Iterator<Item = &Correlation> {
        self.batch.correlations.values()
    }

    /// Every target, and what holds for all of them together.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, Target)> {
        let all = Target {
            pause: self.batch.everything.clone(),
            budget: self.batch.total.clone().unwrap_or_default(),
            ..Target::default()
        };
        let each = self.batch.targets.iter();
        each.map(|(name, target)| (name.as_str(), target.clone()))
            .chain([(ALL_TARGETS, all)])
    }

    fn load(&mut self, work: &Work<Input>) {
        let batch = &mut self.batch;
        let mut plan = load::plan(&batch.rules, &self.known, work);
        for route in &plan.routes {
            batch
                .correlations
                .entry(route.key.clone())
                .or_insert_with(|| Correlation::new(route.key.clone()));
        }
        plan.targets = load::targets_of(
            &batch.rules,
            &self.known,
            &batch.correlations,
            (work, &plan),
        );
        if load::about_all(work) {
            plan.targets.extend(batch.targets.keys().cloned());
        }
        for name in &plan.targets {
            batch.targets.entry(name.clone()).or_default();
        }
        // the engine reads it only where it matters, and the log says what was read
        let limited = batch.rules.limits.is_set() && !plan.targets.is_empty();
        if !limited && !load::about_all(work) {
            self.total = batch.total.take();
        }
        batch.plans.insert(work.id, plan);
    }

    fn save(&mut self) -> Folded {
        let produced = std::mem::take(&mut self.batch.produced);
        for key in &produced.correlations {
            self.note_incident(key);
        }
        for id in &produced.disarmed {
            self.timers.remove(id);
        }
        let armed = produced.armed.into_values().map(|(timer, _)| timer);
        let armed: Vec<Timer> = armed.collect();
        let pairs = armed.iter().map(|timer| (timer.id, timer.clone()));
        self.timers.extend(pairs);
        let requested = save::requested(&produced.events);
        let requested: Vec<ActionRequested> = requested.into_iter().cloned().collect();
        for action in &requested {
            let place = (action.correlation_key.clone(), action.target.clone());
            self.known.actions.insert(action.action_id, place);
        }
        for episode in &produced.strays_over {
            self.known.strays.remove(episode);
        }
        Folded {
            rows: produced.rows,
            armed,
            requested,
        }
    }

    /// Commands find a correlation by the incident that it has, not by earlier ones.
    fn note_incident(&mut self, key: &str) {
        let correlation = self.batch.correlations.get(key);
        let incident = correlation.and_then(|found| found.memory.incident.as_ref());
        let Some(id) = incident.map(|incident| incident.id) else {
            return;
        };
        if let Some(before) = self.incidents.insert(key.to_owned(), id)
            && before != id
        {
            self.known.incidents.remove(&before);
        }
        self.known.incidents.insert(id, key.to_owned());
    }

    /// Other rules became active then: what fires and belongs to a correlation stays there.
    pub(super) fn rules_changed(&mut self) {
        for correlation in self.batch.correlations.values() {
            for (episode, stays) in correlation.memory.belonging() {
                let keys = self.known.strays.entry(episode).or_default();
                *keys.entry(correlation.key.clone()).or_default() |= stays;
            }
        }
    }
}

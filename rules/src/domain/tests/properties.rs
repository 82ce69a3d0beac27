//! What holds whatever comes, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::prelude::*;
use shared_events::{
    ActionEvent, IncidentEvent, IncidentId, Timestamp,
    action::{ActionRequested, FailureReason},
    alert::AlertEvent,
};

use super::world::{World, completed, failed, raised, resolved};
use crate::domain::{Event, Outcome, Phase, Verb};

const NAMES: [&str; 3] = ["HighCPU", "LowCPU", "CPUDataMissing"];

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A series fires anew, or again.
    Fire(usize),
    /// It clears, if it fires.
    Clear(usize),
    /// The runner answers the oldest request.
    Answer(Answer),
    /// Time passes; due timers fire.
    Wait(i64),
    /// An earlier event comes once more.
    Repeat(usize),
    /// The inbox forgets.
    Prune,
    Pause(Option<i64>),
    Resume,
}

#[derive(Clone, Debug)]
enum Answer {
    Completed,
    Failed(FailureReason),
    /// Never.
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        4 => Just(Answer::Completed),
        2 => Just(Answer::Failed(FailureReason::Unhealthy)),
        1 => Just(Answer::Failed(FailureReason::Deadline)),
        1 => Just(Answer::Failed(FailureReason::Superseded)),
        1 => Just(Answer::Failed(FailureReason::OutOfBounds)),
        1 => Just(Answer::Lost),
    ];
    prop_oneof![
        6 => (0..NAMES.len()).prop_map(Step::Fire),
        4 => (0..NAMES.len()).prop_map(Step::Clear),
        5 => answer.prop_map(Step::Answer),
        5 => (1..400_i64).prop_map(Step::Wait),
        2 => (0..100_usize).prop_map(Step::Repeat),
        1 => Just(Step::Prune),
        1 => proptest::option::of(1..600_i64).prop_map(Step::Pause),
        1 => Just(Step::Resume),
    ]
}

/// One service with its series, and a runner.
struct Drill {
    world: World,
    service: &'static str,
    /// Episode and occurrence of each series, while it fires.
    firing: [Option<(i64, i64)>; 3],
    episodes: [i64; 3],
    told: Vec<AlertEvent>,
    answered: Vec<ActionEvent>,
    /// Requests that the runner has dealt with.
    handled: usize,
}

impl Drill {
    fn new(service: &'static str) -> Self {
        Self {
            world: World::new(),
            service,
            firing: [None; 3],
            episodes: [0; 3],
            told: Vec::new(),
            answered: Vec::new(),
            handled: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Fire(series) => self.fire(*series),
            Step::Clear(series) => self.clear(*series),
            Step::Answer(answer) => self.answer(answer),
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Repeat(which) => self.repeat(*which),
            Step::Prune => self.world.prune_inbox(),
            Step::Pause(seconds) => {
                let until = seconds.map(|seconds| self.world.now + TimeDelta::seconds(seconds));
                let target = self.service.to_owned();
                self.world.command(Verb::Pause { target, until });
            }
            Step::Resume => {
                let target = self.service.to_owned();
                self.world.command(Verb::Resume { target });
            }
        }
    }

    fn fire(&mut self, series: usize) {
        let (episode, occurrence) = match self.firing[series] {
            Some((episode, occurrence)) => (episode, occurrence + 1),
            None => {
                self.episodes[series] += 1;
                (self.episodes[series], 1)
            }
        };
        self.firing[series] = Some((episode, occurrence));
        let now = self.world.now;
        let event = raised(NAMES[series], self.service, episode, occurrence, now);
        let codes = self.world.alert(&event);
        self.told.push(event);
        assert!(
            !codes.is_empty(),
            "every firing that a rule means is answered"
        );
        self.check_refusals(&codes);
    }

    fn clear(&mut self, series: usize) {
        if let Some((episode, _)) = self.firing[series].take() {
            let event = resolved(NAMES[series], self.service, episode, self.world.now);
            self.world.alert(&event);
            self.told.push(event);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        let requested = self.world.requested();
        let Some(action) = requested.get(self.handled) else {
            return;
        };
        self.handled += 1;
        let now = self.world.now;
        let event = match answer {
            Answer::Completed => completed(action, action.desired_replicas, now),
            Answer::Failed(reason) => failed(action, reason.clone(), now),
            Answer::Lost => return,
        };
        self.world.action(&event);
        self.answered.push(event);
    }

    fn wait(&mut self, seconds: i64) {
        let then = self.world.now + TimeDelta::seconds(seconds);
        self.fire_due(then);
        self.world.now = then;
    }

    fn fire_due(&mut self, until: Timestamp) {
        for _ in 0..1000 {
            let due = self.world.timers.values().any(|timer| timer.due <= until);
            if !due {
                return;
            }
            self.world.fire_next();
        }
        panic!("timers set each other for ever: {:?}", self.world.timers);
    }

    fn repeat(&mut self, which: usize) {
        if let Some(event) = self.told.get(which).cloned() {
            assert_eq!(self.world.alert(&event), ["duplicate"]);
        }
        if let Some(event) = self.answered.get(which).cloned() {
            assert_eq!(self.world.action(&event), ["duplicate"]);
        }
    }

    /// G12: a refused firing has a timer, or waits for its target, which has one or is paused.
    fn check_refusals(&self, codes: &[&'static str]) {
        let key = format!("service={}", self.service);
        let target = &self.world.targets.get(self.service);
        let waits = target.is_some_and(|target| target.waiting.contains(&key));
        let recheck = self.world.correlations[&key].memory.recheck.is_some();
        for code in codes {
            if *code == Outcome::Cooldown.code() {
                assert!(recheck, "a cooldown without a recheck");
            }
            if *code == Outcome::ActionPending.code() || *code == Outcome::Paused.code() {
                assert!(waits, "{code}, and nothing will decide again");
            }
        }
    }

    /// Everything that is under way ends well, every pause ends, every timer fires.
    fn come_to_rest(&mut self) {
        self.run(&Step::Resume);
        for _ in 0..200 {
            let open = self.world.requested().len() > self.handled;
            if open {
                self.answer(&Answer::Completed);
            } else if self.world.timers.is_empty() {
                return;
            } else {
                self.world.fire_next();
            }
        }
        panic!("it does not come to rest: {:?}", self.world.timers);
    }
}

/// What holds at every moment.
fn check(world: &World) {
    check_events(&world.events);
    for (key, correlation) in &world.correlations {
        for requested in correlation.memory.pending.values() {
            let busy = world.targets[&requested.target].pending.as_ref();
            let busy = busy.expect("the target of a pending action is busy");
            assert_eq!(
                (busy.action_id, &busy.correlation_key),
                (requested.action_id, key)
            );
        }
        let set: BTreeSet<_> = correlation.memory.timers().map(|timer| timer.id).collect();
        let stored: BTreeSet<_> = world
            .timers
            .values()
            .filter(|timer| timer.key == *key)
            .map(|timer| timer.id)
            .collect();
        assert!(set.is_subset(&stored), "a timer of the state is not set");
    }
}

fn check_events(events: &[Event]) {
    let mut revisions: BTreeMap<IncidentId, (i64, Phase)> = BTreeMap::new();
    let mut undone: BTreeMap<IncidentId, u32> = BTreeMap::new();
    let mut cooldowns: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
    for event in events {
        match event {
            Event::Incident(event) => {
                let (id, revision, phase) = told(event);
                let (last, before) = revisions.get(&id).copied().unwrap_or((0, Phase::Open));
                assert_eq!(revision, last + 1, "revisions have no gap");
                let status = !matches!(event, IncidentEvent::Updated(_));
                assert!(
                    !(status && before == Phase::Closed),
                    "an incident closes once"
                );
                revisions.insert(id, (revision, if status { phase } else { before }));
                let current = revisions
                    .values()
                    .filter(|(_, phase)| *phase != Phase::Closed);
                assert!(current.count() <= 1, "one current incident of a key");
            }
            Event::Action(ActionEvent::Requested(action)) => {
                check_request(action, &mut cooldowns);
                let undoes = undone.entry(action.incident_id).or_default();
                *undoes += u32::from(action.compensates.is_some());
                assert!(*undoes <= 1, "one compensation of an incident");
            }
            Event::Action(
                ActionEvent::Completed(_)
                | ActionEvent::Failed(_)
                | ActionEvent::Paused(_)
                | ActionEvent::Resumed(_),
            ) => {}
        }
    }
}

fn told(event: &IncidentEvent) -> (IncidentId, i64, Phase) {
    match event {
        IncidentEvent::Opened(event) => (event.incident_id, event.revision, Phase::Open),
        IncidentEvent::Updated(event) => (event.incident_id, event.revision, Phase::Open),
        IncidentEvent::Resolved(event) => (event.incident_id, event.revision, Phase::Closed),
        IncidentEvent::Failed(event) => (event.incident_id, event.revision, Phase::Failed),
    }
}

fn check_request(action: &ActionRequested, cooldowns: &mut BTreeMap<(String, String), Timestamp>) {
    assert!(
        (1..=3).contains(&action.desired_replicas),
        "within the bounds"
    );
    if action.compensates.is_some() {
        return;
    }
    let of = (action.rule.clone(), action.target.clone());
    if let Some(until) = cooldowns.get(&of) {
        assert!(action.at >= *until, "the cooldown holds");
    }
    cooldowns.extend(action.cooldown_until.map(|until| (of, until)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_promises_hold_at_every_step_and_at_rest(steps in proptest::collection::vec(step(), 1..60)) {
        let mut drill = Drill::new("app");
        for step in &steps {
            drill.run(step);
            check(&drill.world);
        }
        drill.come_to_rest();
        check(&drill.world);
        let held = [0, 2].iter().any(|&series| drill.firing[series].is_some());
        if let Some(correlation) = drill.world.correlations.get("service=app") {
            prop_assert_eq!(correlation.memory.current().is_some(), held);
            prop_assert!(correlation.memory.pending.is_empty());
        }
    }

    /// Duplicates and a pruned inbox change nothing at all.
    #[test]
    fn repeats_change_nothing(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut plain, mut noisy) = (Drill::new("app"), Drill::new("app"));
        for step in &steps {
            if matches!(step, Step::Repeat(_) | Step::Prune) {
                continue;
            }
            plain.run(step);
            noisy.run(step);
            noisy.run(&Step::Prune);
            for which in 0..noisy.told.len().max(noisy.answered.len()) {
                noisy.repeat(which);
            }
        }
        prop_assert_eq!(&plain.world.correlations, &noisy.world.correlations);
        prop_assert_eq!(&plain.world.targets, &noisy.world.targets);
        prop_assert_eq!(&plain.world.timers, &noisy.world.timers);
        prop_assert_eq!(&plain.world.events, &noisy.world.events);
    }

    /// Services that share neither key nor target do not see each other, however they interleave.
    #[test]
    fn services_do_not_see_each_other(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..60),
    ) {
        let (mut app, mut shop) = (Drill::new("app"), Drill::new("shop"));
        for (to_app, step) in &steps {
            let drill = if *to_app { &mut app } else { &mut shop };
            drill.run(step);
        }
        let mut shared = World::new();
        let (mut left, mut right) = (Drill::new("app"), Drill::new("shop"));
        for (to_app, step) in &steps {
            let drill = if *to_app { &mut left } else { &mut right };
            share(drill, &mut shared, step);
        }
        for (key, correlation) in app.world.correlations.iter().chain(&shop.world.correlations) {
            prop_assert_eq!(Some(correlation), shared.correlations.get(key));
        }
        for (name, target) in app.world.targets.iter().chain(&shop.world.targets) {
            prop_assert_eq!(Some(target), shared.targets.get(name));
        }
    }
}

/// Runs a step of one service in a world that it shares: its own clock, requests and timers.
fn share(drill: &mut Drill, shared: &mut World, step: &Step) {
    let own = drill.world.now;
    let is_own = |event: &Event| event_service(event) == Some(drill.service);
    let mut world = shared.clone();
    world.now = own;
    let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut world.events)
        .into_iter()
        .partition(is_own);
    world.events = mine;
    let key = format!("service={}", drill.service);
    let (timers, rest) = std::mem::take(&mut world.timers)
        .into_iter()
        .partition(|(_, timer)| timer.key == key);
    world.timers = timers;
    let before = std::mem::replace(&mut drill.world, world);
    drop(before);
    drill.run(step);
    let after = drill.world.clone();
    *shared = after;
    shared.events.extend(others);
    shared.timers.extend::<BTreeMap<_, _>>(rest);
}

fn event_service(event: &Event) -> Option<&'static str> {
    let name = match event {
        Event::Incident(IncidentEvent::Opened(event)) => &event.correlation_key,
        Event::Incident(IncidentEvent::Updated(event)) => &event.correlation_key,
        Event::Incident(IncidentEvent::Resolved(event)) => &event.correlation_key,
        Event::Incident(IncidentEvent::Failed(event)) => &event.correlation_key,
        Event::Action(ActionEvent::Requested(event)) => &event.target,
        Event::Action(ActionEvent::Completed(event)) => &event.target,
        Event::Action(ActionEvent::Failed(event)) => &event.target,
        Event::Action(ActionEvent::Paused(event)) => &event.target,
        Event::Action(ActionEvent::Resumed(event)) => &event.target,
    };
    ["app", "shop"]
        .into_iter()
        .find(|service| name.contains(service))
}

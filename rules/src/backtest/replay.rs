//! Folds the past through a rule set.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::Serialize;
use service_kit::{Trace, Work};
use shared_events::{ActionEvent, ActionId, EventId, Timestamp, TopicEvent};
use uuid::Uuid;

use super::{
    Assume, Decision, Event, Message, Order, Recorded,
    assume::Happened,
    report::is_same,
    steps::{Placed, Step, Steps},
    world::World,
};
use crate::{
    domain::{RuleSet, Timer},
    service::Input,
};

/// Steps between two reports of progress.
const STRIDE: usize = 1000;

/// What a rule set makes of the past.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub order: Order,
    /// In the order in which they were made.
    pub decisions: Vec<Decision>,
    /// Actions that were never asked for then, and how they were taken to end.
    pub assumed: Vec<Assumed>,
    /// Outcomes that happened then, of actions that are not asked for now.
    pub moot: usize,
    /// Inputs of the log that no topic has any more.
    pub lost: usize,
}

/// An action that never happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assumed {
    pub action_id: ActionId,
    pub target: String,
    pub rule: String,
    pub desired_replicas: i32,
    pub requested_at: Timestamp,
    /// `action.completed` or `action.failed`
    pub ended: &'static str,
    pub ended_at: Timestamp,
}

/// What is tried on the past.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Rule sets of then, by hash: each decides where it decided then.
    pub then: BTreeMap<String, Arc<RuleSet>>,
    /// Decides everywhere else.
    pub otherwise: Arc<RuleSet>,
}

impl Tried {
    /// One rule set, as if it had been active from the beginning.
    #[must_use]
    pub const fn throughout(rules: Arc<RuleSet>) -> Self {
        Self {
            then: BTreeMap::new(),
            otherwise: rules,
        }
    }

    fn under(&self, version: &str) -> &Arc<RuleSet> {
        self.then.get(version).unwrap_or(&self.otherwise)
    }
}

/// Something that did not happen then, and is due now.
enum Due {
    Timer(Timer),
    Ending(Box<ActionEvent>),
}

struct Replay<'a> {
    world: World,
    tried: &'a Tried,
    assume: Assume,
    happened: Happened,
    then: HashMap<Uuid, Vec<&'a Decision>>,
    /// Timers that fired then, with the time that they were set for.
    fired: HashSet<(EventId, Timestamp)>,
    /// Correlations that are not as they were then: their timers go by time. Those of the others
    /// fire when they fired then, however late, and not at all when they did not.
    apart: BTreeSet<String>,
    /// There is no order to keep to: every correlation goes by time.
    free: bool,
    due: BTreeMap<(Timestamp, EventId), Due>,
    /// Due timers of correlations that are as they were, and that did not fire then.
    held: BTreeMap<String, Vec<Timer>>,
    end: Timestamp,
    replayed: Replayed,
}

/// Decides about all of `recorded` with the rules that are `tried`. The same past, rules and
/// assumption always give the same decisions. `progress` hears of steps done and of steps in all.
pub fn replay(
    recorded: &Recorded,
    tried: &Tried,
    assume: Assume,
    progress: &mut dyn FnMut(usize, usize),
) -> Replayed {
    let steps = Steps::of(recorded);
    let last = steps.end().unwrap_or(Timestamp::UNIX_EPOCH);
    let mut replay = Replay {
        assume,
        tried,
        world: World::new(Arc::clone(&tried.otherwise)),
        happened: Happened::of(&recorded.messages),
        then: then(&recorded.decisions),
        fired: fired(&steps),
        apart: BTreeSet::new(),
        free: match steps.order {
            Order::Recorded => false,
            Order::PartlyEstimated | Order::Estimated => true,
        },
        due: BTreeMap::new(),
        held: BTreeMap::new(),
        end: recorded.until.map_or(last, |until| until.max(last)),
        replayed: Replayed {
            order: steps.order,
            decisions: Vec::with_capacity(steps.steps.len()),
            assumed: Vec::new(),
            moot: 0,
            lost: 0,
        },
    };
    let total = steps.steps.len();
    for (done, placed) in steps.steps.into_iter().enumerate() {
        if done % STRIDE == 0 {
            progress(done, total);
        }
        replay.pass_time(placed.at);
        replay.rules_of(placed.version);
        replay.step(placed.step);
    }
    let end = replay.end;
    replay.pass_time(end);
    progress(total, total);
    replay.replayed
}

fn then(decisions: &[Decision]) -> HashMap<Uuid, Vec<&Decision>> {
    let mut then: HashMap<Uuid, Vec<&Decision>> = HashMap::new();
    for made in decisions {
        then.entry(made.event_id).or_default().push(made);
    }
    then
}

/// Whether these rules became active: a change may be refused.
fn took_effect(decision: &Decision) -> bool {
    let detail = decision.detail.as_ref();
    detail.is_none_or(|detail| detail.get("fault").is_none_or(serde_json::Value::is_null))
}

fn fired(steps: &Steps<'_>) -> HashSet<(EventId, Timestamp)> {
    let timer = |placed: &Placed<'_>| match &placed.step {
        Step::Timer(timer) => Some((timer.id, timer.due)),
        Step::Message(_) | Step::Command(..) | Step::Rules(_) | Step::Lost => None,
    };
    steps.steps.iter().filter_map(timer).collect()
}

impl Replay<'_> {
    /// What is due before `at` and was not then.
    fn pass_time(&mut self, at: Timestamp) {
        let until = at.min(self.end);
        while let Some(first) = self.due.first_entry() {
            if first.key().0 >= until {
                return;
            }
            match first.remove() {
                Due::Timer(timer) if self.is_apart(&timer.key) => self.wake(timer),
                Due::Timer(timer) => {
                    let held = self.held.entry(timer.key.clone()).or_default();
                    held.push(timer);
                }
                Due::Ending(event) => self.end_action(*event),
            }
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Message(message) => self.message(message),
            Step::Timer(timer) => self.wake(timer),
            Step::Command(id, command) => self.fold(id, Input::Command(command)),
            Step::Rules(decision) => {
                if took_effect(decision) {
                    self.world.rules_changed();
                }
                self.replayed.decisions.push(decision.clone());
            }
            Step::Lost => self.replayed.lost += 1,
        }
    }

    /// The rules that decide from here on.
    fn rules_of(&mut self, version: Option<&str>) {
        if let Some(version) = version {
            let rules = self.tried.under(version);
            if rules.hash != self.world.version() {
                self.world.under(Arc::clone(rules));
            }
        }
    }

    fn message(&mut self, message: &Message) {
        let input = match &message.event {
            Event::Alert(event) => Input::Alert(Arc::clone(event)),
            Event::Action(event) => {
                let action = match &**event {
                    ActionEvent::Completed(action) => action.action_id,
                    ActionEvent::Failed(action) => action.action_id,
                    ActionEvent::Requested(_)
                    | ActionEvent::Paused(_)
                    | ActionEvent::Resumed(_) => return,
                };
                if self.is_moot(action) {
                    self.replayed.moot += 1;
                    self.compare(message.event.id(), &[]);
                    return;
                }
                Input::Action(Arc::clone(event))
            }
        };
        self.fold(message.event.id(), input);
    }

    /// An action that was asked for then is not asked for now, or for another count.
    fn is_moot(&self, action: ActionId) -> bool {
        let other = self
            .replayed
            .assumed
            .iter()
            .any(|assumed| assumed.action_id == action);
        other || self.happened.knows(action) && !self.world.asked_for(action)
    }

    fn wake(&mut self, timer: Timer) {
        if self.world.take(&timer) {
            self.fold(timer.id, Input::Timer(timer));
        } else {
            self.compare(timer.id, &[]);
        }
    }

    fn is_apart(&self, key: &str) -> bool {
        self.free || self.apart.contains(key)
    }

    /// Notes which correlations are not as they were then.
    fn compare(&mut self, id: EventId, made: &[Decision]) {
        let then = self.then.get(&id.uuid()).map_or(&[][..], Vec::as_slice);
        let differ = |made: &Decision| {
            let twin = then
                .iter()
                .find(|then| then.correlation_key == made.correlation_key);
            twin.is_none_or(|twin| !is_same(twin, made))
        };
        let other = made.iter().filter(|made| differ(made));
        let gone = then.iter().copied().filter(|then| {
            !made
                .iter()
                .any(|made| made.correlation_key == then.correlation_key)
        });
        let keys: Vec<String> = other
            .chain(gone)
            .map(|made| made.correlation_key.clone())
            .collect();
        for key in keys {
            self.part(key);
        }
    }

    /// From now on this correlation goes by time.
    fn part(&mut self, key: String) {
        for timer in self.held.remove(&key).unwrap_or_default() {
            self.due.insert((timer.due, timer.id), Due::Timer(timer));
        }
        self.apart.insert(key);
    }

    fn end_action(&mut self, event: ActionEvent) {
        self.fold(event.event_id(), Input::Action(Arc::new(event)));
    }

    fn fold(&mut self, id: EventId, input: Input) {
        let folded = self.world.fold(Work::local(id, Trace::default(), input));
        let made = folded.rows.into_iter();
        let made = made.map(|row| Decision::of(row, self.world.version()));
        let made: Vec<Decision> = made.collect();
        self.compare(id, &made);
        let parted = made.iter().any(|made| self.is_apart(&made.correlation_key));
        self.replayed.decisions.extend(made);
        for timer in folded.armed {
            if parted && !self.is_apart(&timer.key) {
                self.part(timer.key.clone());
            }
            // one that fired then waits for its place in the order
            if !self.fired.contains(&(timer.id, timer.due)) {
                self.due.insert((timer.due, timer.id), Due::Timer(timer));
            }
        }
        for action in folded.requested {
            if self.happened.includes(&action) {
                continue;
            }
            let ending = self.happened.ending(&action, self.assume);
            self.replayed.assumed.push(Assumed {
                action_id: action.action_id,
                target: action.target,
                rule: action.rule,
                desired_replicas: action.desired_replicas,
                requested_at: action.at,
                ended: ending.event_type(),
                ended_at: ending.at(),
            });
            let key = (ending.at(), ending.event_id());
            self.due.insert(key, Due::Ending(Box::new(ending)));
        }
    }
}

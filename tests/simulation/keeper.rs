//! A keeper of one target, one await at a time: look, tell or plan, ask again whether the plan is
//! still good, call Docker. Between any two of them the world moves on.

use std::collections::{BTreeMap, BTreeSet};

use action_runner::domain::{
    decide::wanted,
    observed::{Observed, Phase},
    plan::{Ask, Goal, Removal, Step, plan},
    state::{Action, Input, TargetState},
    target::Bounds,
    verdict::{Pursuit, Verdict, verdict},
};
use chrono::TimeDelta;
use shared_events::{ActionId, Timestamp, action::FailureReason};

use crate::{docker::Docker, runner::Runner};

const LOOK: TimeDelta = TimeDelta::milliseconds(250);
const NEWS: TimeDelta = TimeDelta::seconds(1);
const SWEEP: TimeDelta = TimeDelta::seconds(60);
/// Looks in a row in which a replica must be ready.
const IN_A_ROW: u8 = 2;
/// Server errors in a row that count as a refusal.
const ERRORS: u32 = 3;

/// Where a keeper is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Resting,
    /// It has something to tell the database.
    Telling(Input),
    /// It is about to ask whether its plan is still good.
    Planned(Planned),
    /// It is about to call Docker.
    Calling(Planned),
}

/// Steps under the epoch and template of their plan.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) steps: Vec<Step>,
    pub(crate) epoch: i64,
    pub(crate) template: Option<u32>,
    pub(crate) action: Option<ActionId>,
}

/// One keeper of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    pub(crate) instance: usize,
    pub(crate) target: &'static str,
    pub(crate) place: Place,
    /// It looks again then, or when there is news.
    pub(crate) next_look: Timestamp,
    /// Epoch of its last look.
    pub(crate) seen: i64,
    streaks: BTreeMap<String, u8>,
    blocked: BTreeSet<u32>,
    trouble: bool,
    refusal: Option<i64>,
    errors: u32,
    /// Nothing was due at its last look.
    pub(crate) content: bool,
    awaits: bool,
}

impl Keeper {
    pub(crate) fn new(instance: usize, target: &'static str, now: Timestamp) -> Self {
        Self {
            instance,
            target,
            place: Place::Resting,
            next_look: now,
            seen: -1,
            streaks: BTreeMap::new(),
            blocked: BTreeSet::new(),
            trouble: false,
            refusal: None,
            errors: 0,
            content: false,
            awaits: false,
        }
    }

    /// Whether nothing was due at its last look, and nothing was awaited.
    pub(crate) fn is_content(&self) -> bool {
        self.content && !self.awaits && matches!(self.place, Place::Resting)
    }

    /// Whether it can do something now.
    pub(crate) fn is_awake(&self, db: &Runner, now: Timestamp) -> bool {
        match self.place {
            Place::Resting => {
                now >= self.next_look || db.target(self.target).epoch > self.seen && self.content
            }
            Place::Telling(_) | Place::Planned(_) | Place::Calling(_) => true,
        }
    }

    /// Takes the lease, looks, and knows what to do next.
    pub(crate) fn look(
        &mut self,
        db: &mut Runner,
        docker: &Docker,
        clocks: (Timestamp, Timestamp),
    ) {
        let (now, real) = clocks;
        (self.content, self.awaits) = (false, false);
        if !db.lease(self.target, self.instance, now) {
            self.seen = i64::MAX;
            self.rest(db, real, NEWS);
            return;
        }
        let state = db.target(self.target);
        let pending = db.pending(self.target).cloned();
        self.seen = state.epoch;
        if docker.away {
            match pending {
                Some(action) if now >= action.request.deadline_at => {
                    self.miss(&action, FailureReason::Docker, None, Vec::new());
                }
                Some(_) | None => self.rest(db, real, NEWS),
            }
            return;
        }
        let kept = db.kept.get(self.target).copied();
        let mut observed = docker.observe(self.target, kept, real);
        self.count(&mut observed);
        if let Some(hash) = hash(&observed) {
            db.kept.insert(self.target.to_owned(), hash);
        }
        if db.paused(self.target, now).is_some() {
            match pending {
                Some(action) if now >= action.request.deadline_at => {
                    self.miss(
                        &action,
                        FailureReason::Deadline,
                        Some(&observed),
                        Vec::new(),
                    );
                }
                Some(_) | None => self.rest(db, real, NEWS),
            }
            return;
        }
        let there = |id: &String| observed.replicas.iter().any(|replica| replica.id == *id);
        let gone: Vec<String> = state
            .doomed
            .iter()
            .filter(|id| !there(id))
            .cloned()
            .collect();
        if !gone.is_empty() {
            self.place = Place::Telling(Input::Buried { ids: gone });
            return;
        }
        match pending {
            Some(action) => self.pursue(db, &state, &action, &observed, clocks),
            None => self.upkeep(db, &state, &observed, real),
        }
    }

    fn count(&mut self, observed: &mut Observed) {
        let mut streaks = BTreeMap::new();
        for replica in observed.replicas.iter_mut().filter(|replica| replica.ready) {
            let before = self.streaks.get(&replica.id).copied().unwrap_or(0);
            let streak = (before + 1).min(IN_A_ROW);
            replica.ready = streak >= IN_A_ROW;
            streaks.insert(replica.id.clone(), streak);
        }
        self.streaks = streaks;
    }

    fn rest(&mut self, db: &mut Runner, real: Timestamp, delay: TimeDelta) {
        db.release(self.target, self.instance);
        self.place = Place::Resting;
        self.next_look = real + delay;
    }

    fn pursue(
        &mut self,
        db: &mut Runner,
        state: &TargetState,
        action: &Action,
        observed: &Observed,
        (now, real): (Timestamp, Timestamp),
    ) {
        let action_id = action.request.action_id;
        if action.previous.is_none() {
            self.trouble = false;
            let running = observed.running();
            self.place = Place::Telling(Input::Began { action_id, running });
            return;
        }
        if self.refusal == Some(state.epoch) {
            let culprits = unstarted(action, observed);
            return self.miss(action, FailureReason::Docker, Some(observed), culprits);
        }
        let mut goal = Goal::action(wanted(&action.request), action.request.ask);
        goal.doomed.clone_from(&state.doomed);
        goal.blocked.clone_from(&self.blocked);
        let pursuit = Pursuit {
            action_id,
            ask: action.request.ask,
            desired: wanted(&action.request),
            previous: action.previous,
            expired: now >= action.request.deadline_at,
        };
        match verdict(&pursuit, &goal, observed) {
            Verdict::Reached(outcome) => {
                self.trouble = false;
                self.place = Place::Telling(Input::Reached {
                    action_id,
                    outcome,
                    running: observed.running(),
                    foreign: observed.running_foreign(),
                    message: String::new(),
                });
            }
            Verdict::Unhealthy { culprits } => {
                self.miss(action, FailureReason::Unhealthy, Some(observed), culprits);
            }
            Verdict::Expired => {
                let reason = match self.trouble {
                    true => FailureReason::Docker,
                    false => FailureReason::Deadline,
                };
                self.miss(action, reason, Some(observed), unstarted(action, observed));
            }
            Verdict::GoOn => {
                let steps = plan(&goal, observed);
                if steps.is_empty() {
                    self.rest(db, real, LOOK);
                } else {
                    self.planned(state, steps, observed);
                }
            }
        }
    }

    fn planned(&mut self, state: &TargetState, steps: Vec<Step>, observed: &Observed) {
        self.place = Place::Planned(Planned {
            steps,
            epoch: state.epoch,
            template: hash(observed),
            action: state.last_action,
        });
    }

    fn miss(
        &mut self,
        action: &Action,
        reason: FailureReason,
        observed: Option<&Observed>,
        mut doomed: Vec<String>,
    ) {
        let replicas = observed.iter().flat_map(|observed| &observed.replicas);
        let unproven = replicas.filter(|replica| {
            replica.action_id == Some(action.request.action_id) && !replica.ready
        });
        doomed.extend(unproven.map(|replica| replica.id.clone()));
        doomed.sort();
        doomed.dedup();
        let running = observed.map(|observed| {
            let live = observed.replicas.iter().filter(|replica| replica.live());
            let going = live.filter(|replica| doomed.contains(&replica.id)).count();
            let going = u32::try_from(going).expect("few");
            observed.running().saturating_sub(going)
        });
        self.trouble = false;
        self.refusal = None;
        self.place = Place::Telling(Input::Missed {
            action_id: action.request.action_id,
            reason,
            running,
            foreign: observed.map(Observed::running_foreign),
            culprits: doomed,
            message: String::new(),
            evidence: Vec::new(),
        });
    }

    fn upkeep(
        &mut self,
        db: &mut Runner,
        state: &TargetState,
        observed: &Observed,
        real: Timestamp,
    ) {
        let bounds = Bounds {
            min_replicas: 1,
            max_replicas: 3,
        };
        let steps = if state.last_action.is_none() {
            Vec::new()
        } else {
            let mut goal = match state.settled {
                Some(settled) => Goal::upkeep(bounds.nearest(settled), state.foreign),
                None => Goal::action(0, Ask::Up),
            };
            goal.doomed.clone_from(&state.doomed);
            goal.blocked.clone_from(&self.blocked);
            plan(&goal, observed)
        };
        if !steps.is_empty() {
            return self.planned(state, steps, observed);
        }
        let awaited = observed.replicas.iter().any(|replica| match replica.phase {
            Phase::Live => !replica.ready,
            Phase::Removing => true,
            Phase::Created | Phase::Exited => false,
        });
        if !awaited {
            self.blocked.clear();
        }
        self.content = true;
        self.awaits = awaited;
        self.rest(db, real, if awaited { NEWS } else { SWEEP });
    }

    /// Whether the plan is still good; the step of it that is next is then about to be done.
    pub(crate) fn ask(&mut self, db: &mut Runner, clocks: (Timestamp, Timestamp), by_epoch: bool) {
        let (now, real) = clocks;
        let Place::Planned(planned) = std::mem::take(&mut self.place) else {
            return;
        };
        let ours = !by_epoch || db.renew(self.target, self.instance, now);
        let same = !by_epoch || db.target(self.target).epoch == planned.epoch;
        if ours && same && db.paused(self.target, now).is_none() {
            self.place = Place::Calling(planned);
        } else {
            self.rest(db, real, TimeDelta::zero());
        }
    }

    /// The call came back: the next step, or another look.
    pub(crate) fn called(&mut self, mut planned: Planned, blocked: Option<u32>, real: Timestamp) {
        self.blocked.extend(blocked);
        self.trouble = false;
        self.errors = 0;
        planned.steps.remove(0);
        self.next_look = real;
        if !planned.steps.is_empty() {
            self.place = Place::Planned(planned);
        }
    }

    /// The call failed; `definite`: the engine said no.
    pub(crate) fn stumbled(&mut self, planned: &Planned, definite: bool, real: Timestamp) {
        self.errors += 1;
        if definite || self.errors >= ERRORS {
            self.errors = 0;
            self.refusal = Some(planned.epoch);
        }
        self.trouble = true;
        self.next_look = real + LOOK;
    }
}

/// Whether a removal waits for the container's process.
pub(crate) fn graceful(why: Removal) -> bool {
    match why {
        Removal::Failed | Removal::Zombie => false,
        Removal::Surplus | Removal::Replaced => true,
    }
}

fn hash(observed: &Observed) -> Option<u32> {
    observed.template.as_ref()?.parse().ok()
}

fn unstarted(action: &Action, observed: &Observed) -> Vec<String> {
    let own = observed.replicas.iter().filter(|replica| {
        replica.phase == Phase::Created && replica.action_id == Some(action.request.action_id)
    });
    own.map(|replica| replica.id.clone()).collect()
}

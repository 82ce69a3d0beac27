//! What a batch has loaded and what it has produced so far.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use service_kit::{Trace, Work};
use shared_events::{AlertId, EpisodeId, EventId, Labels};

use crate::{
    changes::{Changes, Proposed, Returned},
    domain::{Answer, Budget, Correlation, Event, Pause, Route, RuleSet, Target, Timer},
    service::{Activation, Input},
    store::decisions::Row,
};

/// Every state that a batch touches, and everything that its decisions gave.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rule set that all of it is decided under.
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) correlations: HashMap<String, Correlation>,
    /// Keys of correlations that have no row yet.
    pub(crate) fresh: Vec<String>,
    pub(crate) targets: BTreeMap<String, Target>,
    pub(crate) everything: Option<Pause>,
    /// Actions of all targets, when limits make that a matter of this batch.
    pub(crate) total: Option<Budget>,
    /// Where each work goes.
    pub(crate) plans: HashMap<EventId, Plan>,
    /// Changes of the rules, by work.
    pub(crate) changes: Changes,
    pub(crate) produced: Produced,
}

/// Where a work goes: the correlations that it is folded into, and the targets that it may act on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<Route>,
    pub(crate) targets: BTreeSet<String>,
    /// The episode fired when the rules changed.
    pub(crate) stray: bool,
}

/// What decisions gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Produced {
    pub(crate) rows: Vec<Row>,
    pub(crate) events: Vec<Said>,
    pub(crate) armed: BTreeMap<EventId, (Timer, Trace)>,
    pub(crate) disarmed: BTreeSet<EventId>,
    pub(crate) series: BTreeMap<AlertId, Labels>,
    pub(crate) strays_over: BTreeSet<EpisodeId>,
    pub(crate) correlations: BTreeSet<String>,
    pub(crate) targets: BTreeSet<String>,
    pub(crate) everything: bool,
    pub(crate) activation: Option<Arc<Activation>>,
    pub(crate) returned: Vec<(Work<Input>, Returned)>,
    /// Proposals with their answers.
    pub(crate) proposals: Vec<(Work<Input>, Proposed)>,
    pub(crate) answers: BTreeMap<EventId, Answer>,
    /// Inputs that a correlation had seen before.
    pub(crate) repeats: u64,
}

/// An event with its cause.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) event: Event,
    pub(crate) cause: EventId,
    pub(crate) trace: Trace,
}

impl Produced {
    pub(crate) fn arm(&mut self, timer: Timer, trace: &Trace) {
        self.disarmed.remove(&timer.id);
        self.armed.insert(timer.id, (timer, trace.clone()));
    }

    pub(crate) fn disarm(&mut self, id: EventId) {
        // an older row may be there under the same id
        self.armed.remove(&id);
        self.disarmed.insert(id);
    }
}

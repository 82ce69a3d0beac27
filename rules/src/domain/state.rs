//! What a decision reads and changes: one correlation, and the targets that it may act on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use shared_events::{ActionId, EpisodeId, IncidentId, Labels, Timestamp};
use uuid::Uuid;

use super::{Budget, Incident, Requested, Timer};

/// Episodes known to be over, and places in the order of keys, that a correlation remembers.
const REMEMBERED: usize = 64;

/// The state of a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub correlation: Correlation,
    /// Every target that the decision may act on, by name.
    pub targets: BTreeMap<String, Target>,
    /// The pause of all targets.
    pub everything: Option<Pause>,
    /// Actions of all targets together.
    pub total: Budget,
}

/// Everything known under one correlation key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correlation {
    pub key: String,
    /// Decisions so far: the sequence of the last one.
    pub decisions: i64,
    /// Last sequence that was folded, per topic, key and source: a repeat is known as one even when
    /// the inbox has forgotten it.
    pub sequences: Vec<Sequence>,
    pub memory: Memory,
}

/// The part of a correlation that decisions are about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The current incident, else the latest.
    pub incident: Option<Incident>,
    /// Episodes that fire and that a rule with an action matched: what a later decision needs.
    pub evidence: BTreeMap<EpisodeId, Evidence>,
    /// Actions under way, of this incident or of an earlier one.
    pub pending: BTreeMap<ActionId, Requested>,
    /// Actions asked for so far, of this incident and of earlier ones that have one under way.
    pub asked: BTreeMap<IncidentId, u32>,
    /// Episodes known to be over, oldest first.
    pub over: VecDeque<Over>,
    /// Decides refused steps again.
    pub recheck: Option<Timer>,
}

/// An episode that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    pub episode_id: EpisodeId,
    /// It held an incident: a late firing of it opens no other.
    pub held: bool,
    /// Its alert fires on: the incident that it held has made room for the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fires: bool,
}

/// What an alert said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub labels: Labels,
    pub annotations: Labels,
    pub occurrence: i64,
}

/// Place of an event in the order of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub topic: String,
    pub key: String,
    /// `ce_source`
    pub source: String,
    pub last: i64,
}

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Replicas as an action last reported them.
    pub replicas: Option<i32>,
    /// The action under way.
    pub pending: Option<Busy>,
    /// The action that was asked for last.
    pub latest: Option<ActionId>,
    /// When each rule last asked for an action.
    pub asked_at: BTreeMap<String, Timestamp>,
    /// Correlations with a step that was refused because of `pending` or a pause.
    pub waiting: BTreeSet<String>,
    pub pause: Option<Pause>,
    /// Actions of the last hour.
    pub budget: Budget,
}

/// The action that a target is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    pub action_id: ActionId,
    pub correlation_key: String,
    pub rule: String,
    pub desired: i32,
}

/// A person stopped the automation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub pause_id: Uuid,
    pub at: Timestamp,
    pub until: Option<Timestamp>,
    pub actor: String,
    pub reason: String,
}

impl State {
    /// The pause that holds `target` back at this time, if one does.
    #[must_use]
    pub fn pause_of(&self, target: &str, at: Timestamp) -> Option<&Pause> {
        let own = self
            .targets
            .get(target)
            .and_then(|target| target.pause.as_ref());
        [own, self.everything.as_ref()]
            .into_iter()
            .flatten()
            .find(|pause| pause.is_on(at))
    }

    /// The target of this name; unknown ones begin with nothing known.
    pub(super) fn target(&mut self, name: &str) -> &mut Target {
        self.targets.entry(name.to_owned()).or_default()
    }
}

impl Pause {
    /// Whether it still holds.
    #[must_use]
    pub fn is_on(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

impl Correlation {
    /// Nothing known yet.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// Whether an event at this place of its key was folded before.
    #[must_use]
    pub fn has_seen(&self, event: &Sequence) -> bool {
        self.sequences
            .iter()
            .any(|seen| seen.is_of(event) && event.last <= seen.last)
    }

    /// Remembers that it was.
    pub fn see(&mut self, event: &Sequence) {
        match self.sequences.iter_mut().find(|seen| seen.is_of(event)) {
            Some(seen) => seen.last = seen.last.max(event.last),
            None => {
                if self.sequences.len() == REMEMBERED {
                    self.sequences.remove(0);
                }
                self.sequences.push(event.clone());
            }
        }
    }
}

impl Sequence {
    fn is_of(&self, other: &Self) -> bool {
        (&self.topic, &self.key, &self.source) == (&other.topic, &other.key, &other.source)
    }
}

impl Memory {
    /// What is known of an episode that is over.
    #[must_use]
    pub fn over(&self, episode: EpisodeId) -> Option<&Over> {
        self.over.iter().find(|over| over.episode_id == episode)
    }

    /// Remembers an episode that is over here, for a while after its alert has ended: one that
    /// fires on comes again with each repeat.
    pub(super) fn remember_over(&mut self, over: Over) {
        let known = self
            .over
            .iter()
            .position(|known| known.episode_id == over.episode_id);
        let before = known.and_then(|at| self.over.remove(at));
        let ended = self.over.iter().filter(|over| !over.fires).count();
        let oldest = self.over.iter().position(|over| !over.fires);
        if let (true, Some(oldest)) = (ended >= REMEMBERED, oldest) {
            self.over.remove(oldest);
        }
        let held = over.held || before.is_some_and(|before| before.held);
        self.over.push_back(Over { held, ..over });
    }

    /// Episodes that fire and belong here, whatever rules say later. True: it stays here, in the current
    /// incident, or because it holds a closed one or held an earlier one. False: only its end matters,
    /// for what it said last is kept here.
    pub fn belonging(&self) -> impl Iterator<Item = (EpisodeId, bool)> {
        let incidents = self.incident.iter();
        let staying = incidents.flat_map(|incident| {
            let alerts = incident.alerts.iter();
            alerts.filter(|alert| alert.firing && (incident.is_current() || alert.holds))
        });
        let earlier = self.over.iter().filter(|over| over.fires);
        let staying = staying.map(|alert| alert.episode_id);
        let staying = staying.chain(earlier.map(|over| over.episode_id));
        let said = self.evidence.keys().map(|episode| (*episode, false));
        staying.map(|episode| (episode, true)).chain(said)
    }

    /// Whether nothing is current here, and an alert fires that belongs here.
    #[must_use]
    pub fn lingers(&self) -> bool {
        self.current().is_none() && self.belonging().next().is_some()
    }

    /// The incident, while it is current.
    #[must_use]
    pub fn current(&self) -> Option<&Incident> {
        self.incident
            .as_ref()
            .filter(|incident| incident.is_current())
    }

    /// Whether an action of this incident is under way.
    #[must_use]
    pub fn is_pending(&self, incident: IncidentId) -> bool {
        self.pending
            .values()
            .any(|requested| requested.incident_id == incident)
    }

    /// Every timer that should be set.
    pub fn timers(&self) -> impl Iterator<Item = &Timer> {
        let incident = self.incident.as_ref();
        let timeouts = self.pending.values().map(|requested| &requested.timeout);
        timeouts
            .chain(self.recheck.as_ref())
            .chain(incident.and_then(|incident| Some(&incident.verify.as_ref()?.timer)))
            .chain(incident.and_then(|incident| incident.settle.as_ref()))
    }
}

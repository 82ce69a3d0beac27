//! In which order the past is folded.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use shared_events::{ActionEvent, EventId, Timestamp};

use super::{Decision, Event, Message, Recorded};
use crate::domain::{Command, Timer, Verb};

/// Where the order of a backtest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The log of decisions has all of it.
    Recorded,
    /// The log begins later than the topics: what is before it goes by (at, topic, partition, offset).
    PartlyEstimated,
    /// There is no log: everything goes by (at, topic, partition, offset).
    Estimated,
}

/// One thing to fold.
pub(super) enum Step<'a> {
    Message(&'a Message),
    Timer(Timer),
    Command(EventId, Command),
    /// Other rules became active then, or were refused; the decision is kept as it was.
    Rules(&'a Decision),
    /// The input is in no topic any more.
    Lost,
}

/// The past, in the order in which it is folded.
pub(super) struct Steps<'a> {
    pub(super) order: Order,
    pub(super) steps: Vec<Placed<'a>>,
}

/// A step at its time.
pub(super) struct Placed<'a> {
    pub(super) at: Timestamp,
    /// Hash of the rule set that was in force, where the log says so.
    pub(super) version: Option<&'a str>,
    pub(super) step: Step<'a>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(recorded: &'a Recorded) -> Self {
        if recorded.decisions.is_empty() {
            let messages = recorded.messages.iter();
            return Self {
                order: Order::Estimated,
                steps: estimated(messages),
            };
        }
        let mut steps = Vec::with_capacity(recorded.decisions.len());
        let mut order = Order::Recorded;
        if begins_late(&recorded.decisions) {
            order = Order::PartlyEstimated;
            let decided = recorded.decisions.iter();
            let decided: HashSet<_> = decided.map(|decision| decision.event_id).collect();
            let first = recorded.decisions.iter().map(|decision| decision.at).min();
            let before = recorded.messages.iter().filter(|message| {
                Some(message.event.at()) < first && !decided.contains(&message.event.id().uuid())
            });
            steps = estimated(before);
        }
        steps.extend(in_order(recorded));
        Self { order, steps }
    }

    /// The last moment that the past knows of.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.steps.iter().map(|placed| placed.at).max()
    }
}

/// Whether the log misses the first decisions of a key: they were pruned.
fn begins_late(decisions: &[Decision]) -> bool {
    let mut first: HashMap<&str, i64> = HashMap::new();
    for decision in decisions {
        let seq = first.entry(&decision.correlation_key).or_insert(i64::MAX);
        *seq = decision.seq.min(*seq);
    }
    first.into_values().any(|seq| seq > 1)
}

fn in_order(recorded: &Recorded) -> Vec<Placed<'_>> {
    let by_id: HashMap<_, _> = recorded
        .messages
        .iter()
        .map(|message| (message.event.id().uuid(), message))
        .collect();
    let mut seen = HashSet::new();
    let mut steps = Vec::with_capacity(recorded.decisions.len());
    for decision in &recorded.decisions {
        // an event that touches two correlations has two rows, and is folded once
        if seen.insert(decision.event_id) {
            steps.push(Placed {
                at: decision.at,
                version: Some(&decision.rules_version),
                step: step(decision, &by_id),
            });
        }
    }
    steps
}

fn step<'a>(decision: &'a Decision, messages: &HashMap<uuid::Uuid, &'a Message>) -> Step<'a> {
    let detail = || decision.detail.clone().unwrap_or_default();
    let family = decision.input.split('.').next().unwrap_or_default();
    let found = match family {
        "rules" | "rule" => Some(Step::Rules(decision)),
        "timer" => serde_json::from_value(detail()).ok().map(Step::Timer),
        "command" => serde_json::from_value(detail())
            .ok()
            .map(|command| Step::Command(EventId(decision.event_id), command)),
        _ => messages
            .get(&decision.event_id)
            .map(|message| Step::Message(message)),
    };
    found.unwrap_or(Step::Lost)
}

/// Messages by (at, topic, partition, offset); each event once.
fn estimated<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<Placed<'a>> {
    let mut messages: Vec<&Message> = messages.collect();
    messages.sort_by_key(|message| {
        let event = &message.event;
        (event.at(), event.topic(), message.partition, message.offset)
    });
    let mut seen = HashSet::new();
    messages.retain(|message| seen.insert(message.event.id()));
    let step = |message: &'a Message| {
        let told = match &message.event {
            Event::Action(event) => command(event),
            Event::Alert(_) => None,
        };
        let step = match told {
            Some(command) => Step::Command(message.event.id(), command),
            None => Step::Message(message),
        };
        Placed {
            at: message.event.at(),
            version: None,
            step,
        }
    };
    messages.into_iter().map(step).collect()
}

/// The command that an event tells of: the only trace of it when there is no log.
pub(crate) fn command(event: &ActionEvent) -> Option<Command> {
    match event {
        ActionEvent::Paused(pause) => Some(Command {
            at: pause.at,
            actor: pause.actor.clone(),
            reason: pause.reason.clone(),
            verb: Verb::Pause {
                target: pause.target.clone(),
                until: pause.until,
            },
        }),
        ActionEvent::Resumed(resume) => Some(Command {
            at: resume.at,
            actor: resume.actor.clone(),
            reason: resume.reason.clone(),
            verb: Verb::Resume {
                target: resume.target.clone(),
            },
        }),
        ActionEvent::Requested(_) | ActionEvent::Completed(_) | ActionEvent::Failed(_) => None,
    }
}

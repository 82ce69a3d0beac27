//! Folds one work through the domain, into each correlation that it belongs to.

use std::collections::BTreeMap;

use service_kit::Work;
use shared_events::{ActionEvent, AlertEvent, AlertId, EpisodeId, Labels, action::ALL_TARGETS};

use crate::{
    batch::{Batch, Plan, Produced, Said},
    changes::Returned,
    domain::{
        Correlation, Decision, Effect, Input as Decided, Kind, Route, Sequence, State, Verb,
        decide_owned,
    },
    service::Input,
    store::decisions::{Row, StoredOutcome, decision_id},
};

pub(crate) fn fold(batch: &mut Batch, work: &Work<Input>) {
    let plan = batch.plans.get(&work.id).cloned().unwrap_or_default();
    let place = place(work);
    for route in &plan.routes {
        let Some(mut correlation) = batch.correlations.remove(&route.key) else {
            continue;
        };
        let repeated = place
            .as_ref()
            .is_some_and(|place| correlation.has_seen(place));
        if repeated && !work.is_redriven() {
            batch.produced.repeats += 1;
            dropped(work, place.as_ref(), &route.key);
            batch.correlations.insert(route.key.clone(), correlation);
            continue;
        }
        if let Some(place) = &place {
            correlation.see(place);
        }
        decide_one(batch, work, (correlation, route, &plan));
    }
    note(&mut batch.produced, &work.input, &plan);
}

fn decide_one(
    batch: &mut Batch,
    work: &Work<Input>,
    (correlation, route, plan): (Correlation, &Route, &Plan),
) {
    let returned = batch.changes.get(&work.id).cloned();
    let Some(kind) = kind(&work.input, route, returned.as_ref()) else {
        batch.correlations.insert(route.key.clone(), correlation);
        return;
    };
    let input = Decided { id: work.id, kind };
    let known = |name: &String| Some((name.clone(), batch.targets.remove(name)?));
    let targets: BTreeMap<_, _> = plan.targets.iter().filter_map(known).collect();
    let state = State {
        correlation,
        targets,
        everything: batch.everything.take(),
        total: batch.total.clone().unwrap_or_default(),
    };
    let decision = decide_owned(&batch.rules, state, &input);
    let row = row(work, &input, &decision, plan.routes.len() > 1);
    keep(batch, work, plan, decision);
    batch.produced.rows.push(row);
    if let Some(returned) = returned {
        batch.produced.returned.push((work.clone(), returned));
    }
}

/// Puts the states back and collects what must be done.
fn keep(batch: &mut Batch, work: &Work<Input>, plan: &Plan, decision: Decision) {
    let State {
        correlation,
        targets,
        everything,
        total,
    } = decision.state;
    let produced = &mut batch.produced;
    produced.correlations.insert(correlation.key.clone());
    batch
        .correlations
        .insert(correlation.key.clone(), correlation);
    for (name, target) in targets {
        // what was not locked is not written
        if plan.targets.contains(&name) {
            produced.targets.insert(name.clone());
            batch.targets.insert(name, target);
        }
    }
    batch.everything = everything;
    // what was not locked is not written
    batch.total = batch.total.take().map(|_| total);
    for effect in decision.effects {
        match effect {
            Effect::Emit(event) => produced.events.push(Said {
                event: *event,
                cause: work.id,
                trace: work.trace.clone(),
            }),
            Effect::Arm(timer) => produced.arm(timer, &work.trace),
            Effect::Disarm(id) => produced.disarm(id),
        }
    }
    if let Some(answer) = decision.answer {
        produced.answers.insert(work.id, answer);
    }
}

/// What the domain sees of an input under this route.
fn kind(input: &Input, route: &Route, returned: Option<&Returned>) -> Option<Kind> {
    let rules = route.rules.clone();
    Some(match input {
        Input::Alert(alert) => match &**alert {
            AlertEvent::Raised(alert) => Kind::Raised {
                alert: Box::new(alert.clone()),
                rules,
            },
            AlertEvent::Resolved(alert) => Kind::Resolved {
                alert: Box::new(alert.clone()),
                rules,
            },
        },
        Input::Action(action) => match &**action {
            ActionEvent::Completed(action) => Kind::Completed(Box::new(action.clone())),
            ActionEvent::Failed(action) => Kind::Failed(Box::new(action.clone())),
            ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => {
                return None;
            }
        },
        Input::Timer(timer) => Kind::Timer(timer.clone()),
        Input::Command(command) => Kind::Command(command.clone()),
        Input::Activate(activation) => Kind::RulesLoaded(activation.loaded.clone()),
        Input::Changed(_) => Kind::RulesLoaded(returned?.loaded.clone()),
        Input::Propose(_) => return None,
    })
}

fn row(work: &Work<Input>, input: &Decided, decision: &Decision, shared: bool) -> Row {
    let emitted = decision.effects.iter().filter_map(|effect| match effect {
        Effect::Emit(event) => Some((event.id().uuid(), event.name())),
        Effect::Arm(_) | Effect::Disarm(_) => None,
    });
    let (emitted, emitted_types) = emitted.unzip();
    let verdicts = decision.facts.verdicts.iter().cloned();
    let key = &decision.state.correlation.key;
    Row {
        decision_id: shared.then(|| decision_id(work.id.uuid(), key)),
        key: key.clone(),
        seq: decision.state.correlation.decisions,
        input_id: work.id,
        input: input.kind.name(),
        detail: detail(&work.input, &input.kind),
        position: work.delivery().map(|delivery| delivery.position.clone()),
        alert: alert(&work.input),
        incident: decision.facts.incident,
        at: input.at(),
        read: decision.facts.read.clone(),
        outcomes: verdicts.map(StoredOutcome::from).collect(),
        emitted,
        emitted_types,
        said: said(&work.input),
    }
}

/// The input itself, when no topic has it; of a change of rules what it came to.
fn detail(input: &Input, kind: &Kind) -> Option<serde_json::Value> {
    let detail = match input {
        Input::Alert(_) | Input::Action(_) | Input::Propose(_) => return None,
        Input::Changed(_) => match kind {
            Kind::RulesLoaded(loaded) => serde_json::to_value(loaded),
            Kind::Raised { .. }
            | Kind::Resolved { .. }
            | Kind::Completed(_)
            | Kind::Failed(_)
            | Kind::Timer(_)
            | Kind::Command(_) => return None,
        },
        Input::Timer(timer) => serde_json::to_value(timer),
        Input::Command(command) => serde_json::to_value(command),
        Input::Activate(activation) => serde_json::to_value(&activation.loaded),
    };
    Some(detail.expect("strings, numbers and times only"))
}

fn alert(input: &Input) -> Option<(AlertId, EpisodeId)> {
    match input {
        Input::Alert(alert) => Some(match &**alert {
            AlertEvent::Raised(alert) => (alert.alert_id, alert.episode_id),
            AlertEvent::Resolved(alert) => (alert.alert_id, alert.episode_id),
        }),
        Input::Action(_)
        | Input::Timer(_)
        | Input::Command(_)
        | Input::Activate(_)
        | Input::Changed(_)
        | Input::Propose(_) => None,
    }
}

/// What an alert said, but for the labels of its series.
fn said(input: &Input) -> Option<(Labels, Option<i64>)> {
    match input {
        Input::Alert(alert) => Some(match &**alert {
            AlertEvent::Raised(alert) => (alert.annotations.clone(), Some(alert.occurrence)),
            AlertEvent::Resolved(alert) => (alert.annotations.clone(), None),
        }),
        Input::Action(_)
        | Input::Timer(_)
        | Input::Command(_)
        | Input::Activate(_)
        | Input::Changed(_)
        | Input::Propose(_) => None,
    }
}

/// What is kept of an input besides its decisions.
fn note(produced: &mut Produced, input: &Input, plan: &Plan) {
    match input {
        Input::Alert(event) => match &**event {
            // labels never change: once for an episode is enough
            AlertEvent::Raised(alert) if alert.occurrence == 1 => {
                produced.series.insert(alert.alert_id, alert.labels.clone());
            }
            AlertEvent::Resolved(alert) if plan.stray => {
                produced.strays_over.insert(alert.episode_id);
            }
            AlertEvent::Raised(_) | AlertEvent::Resolved(_) => {}
        },
        Input::Activate(activation) => produced.activation = Some(activation.clone()),
        Input::Command(command) => match &command.verb {
            Verb::Pause { target, .. } | Verb::Resume { target } => {
                produced.everything |= target == ALL_TARGETS;
            }
            Verb::Retry { .. } | Verb::Close { .. } | Verb::CloseLimit { .. } => {}
        },
        Input::Action(_) | Input::Timer(_) | Input::Changed(_) | Input::Propose(_) => {}
    }
}

/// The place of an event in the order of its key.
/// New to the inbox and older than what its correlation has seen: ids that the inbox has forgotten
/// come again like this, and so does an event that its sender has put out of order.
fn dropped(work: &Work<Input>, place: Option<&Sequence>, correlation: &str) {
    tracing::warn!(
        event_id = %work.id,
        correlation,
        source = place.map(|place| place.source.as_str()),
        key = place.map(|place| place.key.as_str()),
        sequence = place.map(|place| place.last),
        "an event comes after later ones of its key and is not decided about"
    );
}

fn place(work: &Work<Input>) -> Option<Sequence> {
    let delivery = work.delivery()?;
    Some(Sequence {
        topic: delivery.position.topic.clone(),
        key: String::from_utf8_lossy(&delivery.key).into_owned(),
        source: delivery.envelope.source.clone(),
        last: delivery.envelope.sequence,
    })
}

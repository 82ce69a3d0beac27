//! Taking the step of a rule: ask for the action, or note why not and when to look again.

use shared_events::{
    ActionEvent, ActionId,
    action::{ActionKind, ActionRequested, Direction},
};

use super::{
    Action, Alert, Busy, Event, Evidence, Incident, Outcome, Requested, Role, Rule, TimerKind,
    condition::{Condition, Facts},
    draft::{Draft, Said},
    limit,
    rule::Undo,
    sentence,
    step::{Held, Plan, Step, Urgency, next_step},
};

/// Everything that a request says besides what the incident and the moment give.
pub(super) struct Request {
    pub(super) target: String,
    pub(super) kind: ActionKind,
    pub(super) rule: String,
    pub(super) rule_version: String,
    pub(super) direction: Direction,
    pub(super) desired: i32,
    pub(super) previous: Option<i32>,
    pub(super) timeout_ms: i64,
    pub(super) cooldown_ms: Option<i64>,
    pub(super) verify_within_ms: Option<i64>,
    pub(super) on_failure: Option<Undo>,
    pub(super) compensates: Option<ActionId>,
    pub(super) actor: Option<String>,
    pub(super) reason: String,
}

/// What came of a step.
pub(super) enum Acted {
    Asked(Said),
    Held(Held),
}

/// Whether `when` holds for this alert; if not, the answer.
pub(super) fn condition(draft: &Draft<'_>, rule: &Rule, alert: &Evidence) -> Result<(), Said> {
    let Some(when) = &rule.when else {
        return Ok(());
    };
    let target = rule
        .action
        .as_ref()
        .and_then(|action| alert.labels.get(&action.target_label));
    let facts = Facts {
        labels: &alert.labels,
        annotations: &alert.annotations,
        at: draft.at,
        occurrence: alert.occurrence,
        replicas: target
            .and_then(|name| draft.state.targets.get(name))
            .and_then(|target| target.replicas),
    };
    check(when, &facts)
}

fn check(when: &Condition, facts: &Facts<'_>) -> Result<(), Said> {
    let reason = match when.holds(facts) {
        Ok(true) => return Ok(()),
        Ok(false) => sentence::condition_false(when.source(), &when.worked_out(facts)),
        Err(error) => sentence::condition_unclear(when.source(), &error),
    };
    Err(Said::new(Outcome::ConditionFalse, reason).with(when.inputs(facts)))
}

/// Takes the step of `rule` for an alert of the kept incident. A step that is refused for a while
/// is decided again: at its time, or when its target is free.
pub(super) fn act(
    draft: &mut Draft<'_>,
    (rule, action): (&Rule, &Action),
    alert: &Evidence,
    (urgency, actor): (Urgency, Option<&str>),
) -> Acted {
    if let Some(incident) = gave_up(draft, urgency) {
        let reason = sentence::gave_up(incident);
        return Acted::Asked(Said::new(Outcome::GaveUp, reason));
    }
    let step = next_step(
        draft.rules,
        &draft.state,
        (rule, action),
        &alert.labels,
        (draft.at, urgency),
    );
    match step {
        Step::Held(held) => {
            wait(draft, &held);
            Acted::Held(held)
        }
        Step::Go(plan) => {
            if let Some(held) = limited(draft, &plan) {
                wait(draft, &held);
                return Acted::Held(held);
            }
            let reason = sentence::asks(&rule.name, &plan.target, plan.previous, plan.desired);
            let inputs = [
                ("target".to_owned(), plan.target.clone().into()),
                ("replicas".to_owned(), plan.previous.into()),
                ("desired".to_owned(), plan.desired.into()),
            ];
            let said = Said::new(Outcome::Fired, reason.clone()).with(inputs.into());
            let wish = Request::of_rule((rule, action), plan, (actor, reason));
            request(draft, wish);
            Acted::Asked(said)
        }
    }
}

/// Too many actions of late: refused until a person closes the limit, and nothing looks again before.
fn limited(draft: &mut Draft<'_>, plan: &Plan) -> Option<Held> {
    let (limits, at) = (draft.rules.limits, draft.at);
    let (of, opened) = limit::refuses(&mut draft.state, limits, &plan.target, at)?;
    Some(Held::limited(
        plan,
        sentence::limit_reached(&of, &opened),
        &opened,
    ))
}

fn gave_up<'d>(draft: &'d Draft<'_>, urgency: Urgency) -> Option<&'d Incident> {
    let current = draft.memory().current()?;
    (urgency == Urgency::Normal && current.has_given_up()).then_some(current)
}

fn wait(draft: &mut Draft<'_>, held: &Held) {
    if let Some(until) = held.until {
        draft.recheck_at(until);
    }
    if let Some(target) = &held.waits_for {
        let key = draft.key().to_owned();
        draft.state.target(target).waiting.insert(key);
    }
}

impl Request {
    fn of_rule(
        (rule, action): (&Rule, &Action),
        plan: Plan,
        (actor, reason): (Option<&str>, String),
    ) -> Self {
        Self {
            target: plan.target,
            kind: ActionKind::ScaleDocker,
            rule: rule.name.clone(),
            rule_version: rule.version.clone(),
            direction: action.direction.clone(),
            desired: plan.desired,
            previous: plan.previous,
            timeout_ms: action.timeout.num_milliseconds(),
            cooldown_ms: action.cooldown.map(|delta| delta.num_milliseconds()),
            verify_within_ms: action.verify_within.map(|delta| delta.num_milliseconds()),
            on_failure: action.on_failure,
            compensates: None,
            actor: actor.map(str::to_owned),
            reason,
        }
    }
}

/// Asks Action Runner, in the name of the kept incident.
pub(super) fn request(draft: &mut Draft<'_>, wish: Request) {
    let incident = draft.memory().incident.as_ref().map(|incident| incident.id);
    let incident_id =
        incident.expect("a rule acts in the name of an incident that it opened or joined");
    request_for(draft, incident_id, wish);
}

/// Asks Action Runner, in the name of this incident.
pub(super) fn request_for(
    draft: &mut Draft<'_>,
    incident_id: shared_events::IncidentId,
    wish: Request,
) {
    let millis = chrono::TimeDelta::milliseconds;
    let earlier = draft.memory_mut().asked.entry(incident_id).or_default();
    let action_id = ActionId::of(incident_id, *earlier);
    *earlier += 1;
    let deadline_at = draft.at + millis(wish.timeout_ms);
    let timeout = draft.timer(
        TimerKind::Timeout { action_id },
        deadline_at + draft.rules.policy.action_grace,
    );
    let requested = Requested {
        action_id,
        incident_id,
        target: wish.target.clone(),
        rule: wish.rule.clone(),
        rule_version: wish.rule_version.clone(),
        kind: wish.kind.clone(),
        direction: wish.direction.clone(),
        desired: wish.desired,
        previous: wish.previous,
        requested_at: draft.at,
        timeout_ms: wish.timeout_ms,
        verify_within_ms: wish.verify_within_ms,
        on_failure: wish.on_failure,
        compensates: wish.compensates,
        timeout,
    };
    occupy(draft, &requested);
    draft.memory_mut().pending.insert(action_id, requested);
    if let Some(incident) = draft.current(incident_id) {
        incident.verify = None;
        incident.settle = None;
    }
    let event = ActionRequested {
        action_id,
        incident_id,
        target: wish.target,
        at: draft.at,
        kind: wish.kind,
        desired_replicas: wish.desired,
        direction: wish.direction,
        previous_replicas: wish.previous,
        rule: wish.rule,
        rule_version: wish.rule_version,
        correlation_key: draft.key().to_owned(),
        deadline_at,
        cooldown_until: wish.cooldown_ms.map(|ms| draft.at + millis(ms)),
        verify_within_ms: wish.verify_within_ms,
        compensates: wish.compensates,
        actor: wish.actor,
        reason: wish.reason,
    };
    draft.emit(Event::Action(ActionEvent::Requested(event)));
}

fn occupy(draft: &mut Draft<'_>, requested: &Requested) {
    let (at, key) = (draft.at, draft.key().to_owned());
    limit::count(&mut draft.state, draft.rules.limits, &requested.target, at);
    let target = draft.state.target(&requested.target);
    target.latest = Some(requested.action_id);
    if requested.compensates.is_none() {
        target.asked_at.insert(requested.rule.clone(), at);
    }
    target.pending = Some(Busy {
        action_id: requested.action_id,
        correlation_key: key,
        rule: requested.rule.clone(),
        desired: requested.desired,
    });
}

/// Which alerts a second look is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that hold the incident.
    Holding,
    /// Every one that fires and that a rule may act for.
    Firing,
}

/// Decides the steps of alerts that fire again: what was refused may be possible now. Gives what is
/// still refused.
pub(super) fn act_again(
    draft: &mut Draft<'_>,
    scope: Scope,
    (urgency, actor): (Urgency, Option<&str>),
) -> Vec<Held> {
    let mut held = Vec::new();
    for (rule, action) in draft.acting_rules() {
        for alert in candidates(draft, rule, scope) {
            if let Err(said) = condition(draft, rule, &alert) {
                draft.say(Some(rule), said);
                continue;
            }
            let said = match act(draft, (rule, action), &alert, (urgency, actor)) {
                Acted::Asked(said) => said,
                Acted::Held(refused) => {
                    held.push(refused.clone());
                    refused.into()
                }
            };
            draft.say(Some(rule), said);
        }
    }
    held
}

fn candidates(draft: &Draft<'_>, rule: &Rule, scope: Scope) -> Vec<Evidence> {
    let memory = draft.memory();
    let Some(incident) = &memory.incident else {
        return Vec::new();
    };
    let holds = |episode| {
        let alert = incident.alert(episode);
        incident.is_current() && alert.is_some_and(Alert::is_holding)
    };
    memory
        .evidence
        .iter()
        .filter(|&(&episode, _)| match (rule.incident, scope) {
            (Role::Open, Scope::Holding | Scope::Firing) | (Role::Attach, Scope::Holding) => {
                holds(episode)
            }
            (Role::Attach, Scope::Firing) => true,
        })
        .filter(|(_, alert)| rule.matches(&alert.labels))
        .map(|(_, alert)| alert.clone())
        .collect()
}

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shared_events::{
    ActionEvent, ActionId, EventId, IncidentId, Timestamp, TopicEvent,
    action::{ActionKind, FailureReason, Outcome},
};
use uuid::Uuid;

use super::{
    decide::decide,
    plan::Ask,
    state::{Input, Pause, Request, State, Status},
    target::Bounds,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + second, 0).expect("valid")
}

fn id(n: u128) -> ActionId {
    ActionId(Uuid::from_u128(n))
}

fn request(n: u128, ask: Ask, desired: i32) -> Request {
    let second = i64::try_from(n).expect("small");
    Request {
        event_id: EventId(Uuid::from_u128(1000 + n)),
        action_id: id(n),
        incident_id: IncidentId(Uuid::from_u128(1)),
        target: "app".to_owned(),
        kind: ActionKind::ScaleDocker,
        ask,
        desired,
        previous: None,
        at: at(second),
        deadline_at: at(second + 60),
        rule: "high-cpu".to_owned(),
        reason: "HighCPU".to_owned(),
    }
}

fn app() -> State {
    let mut state = State {
        bounds: Some(Bounds {
            min_replicas: 1,
            max_replicas: 4,
        }),
        ..State::default()
    };
    state.target.name = "app".to_owned();
    state
}

/// Folds inputs at second 10, and keeps what was said.
fn fold(state: State, inputs: &[Input]) -> (State, Vec<ActionEvent>) {
    let mut events = Vec::new();
    let state = inputs.iter().fold(state, |state, input| {
        let decision = decide(&state, input, at(10));
        events.extend(decision.events);
        decision.state
    });
    (state, events)
}

fn reached(n: u128, running: u32, foreign: u32) -> Input {
    Input::Reached {
        action_id: id(n),
        outcome: Outcome::Scaled,
        running,
        foreign,
        message: "app: 1 -> 2, all ready".to_owned(),
    }
}

fn missed(n: u128, running: Option<u32>) -> Input {
    Input::Missed {
        action_id: id(n),
        reason: FailureReason::Unhealthy,
        running,
        foreign: running.map(|_| 1),
        culprits: vec!["id-2".to_owned()],
        message: "app-2 never ready".to_owned(),
        evidence: Vec::new(),
    }
}

fn reasons(events: &[ActionEvent]) -> Vec<(ActionId, String)> {
    events
        .iter()
        .map(|event| match event {
            ActionEvent::Completed(done) => (done.action_id, done.result.to_string()),
            ActionEvent::Failed(failed) => (failed.action_id, failed.reason.to_string()),
            ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => {
                panic!("not ours to say: {event:?}")
            }
        })
        .collect()
}

#[test]
fn a_request_is_accepted_under_a_new_epoch_and_completes_once() {
    let up = Input::Requested(request(1, Ask::Up, 2));
    let (state, events) = fold(app(), std::slice::from_ref(&up));
    assert_eq!(events, []);
    assert_eq!(state.target.pending, Some(id(1)));
    assert_eq!(state.target.epoch, 1);
    assert_eq!(state.target.settled, None, "nothing has settled yet");
    let began = Input::Began {
        action_id: id(1),
        running: 1,
    };
    let (state, events) = fold(
        state,
        &[
            began,
            reached(1, 2, 1),
            up,
            reached(1, 2, 1),
            missed(1, None),
        ],
    );
    assert_eq!(reasons(&events), [(id(1), "scaled".to_owned())]);
    let ActionEvent::Completed(done) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(done.previous_replicas, Some(1));
    assert_eq!(done.running_replicas, 2);
    assert_eq!(done.at, at(10));
    assert_eq!(state.target.pending, None);
    assert_eq!(state.target.settled, Some(2));
    assert_eq!(state.target.foreign, Some(1));
}

#[test]
fn a_newer_request_supersedes_an_unfinished_older_one() {
    let (state, events) = fold(
        app(),
        &[
            Input::Requested(request(1, Ask::Up, 3)),
            Input::Requested(request(2, Ask::Exact, 1)),
            missed(1, Some(1)),
            reached(2, 1, 1),
        ],
    );
    assert_eq!(
        reasons(&events),
        [
            (id(1), "superseded".to_owned()),
            (id(2), "scaled".to_owned())
        ]
    );
    assert_eq!(state.target.settled, Some(1));
}

#[test]
fn one_that_comes_after_a_newer_one_is_the_superseded_one() {
    let (state, events) = fold(
        app(),
        &[
            Input::Requested(request(2, Ask::Up, 2)),
            Input::Requested(request(1, Ask::Up, 4)),
        ],
    );
    assert_eq!(reasons(&events), [(id(1), "superseded".to_owned())]);
    assert_eq!(state.target.pending, Some(id(2)));
}

#[test]
fn what_must_not_be_done_fails_and_changes_nothing() {
    let mut unknown = app();
    unknown.bounds = None;
    let (state, events) = fold(unknown, &[Input::Requested(request(1, Ask::Up, 2))]);
    assert_eq!(reasons(&events), [(id(1), "unknown_target".to_owned())]);
    assert_eq!((state.target.epoch, state.target.pending), (0, None));

    let pending = Input::Requested(request(1, Ask::Up, 2));
    for desired in [0, 5, -1] {
        let (state, events) = fold(
            app(),
            &[
                pending.clone(),
                Input::Requested(request(2, Ask::Exact, desired)),
            ],
        );
        assert_eq!(reasons(&events), [(id(2), "out_of_bounds".to_owned())]);
        assert_eq!(state.target.pending, Some(id(1)), "the older one goes on");
    }

    let mut late = request(3, Ask::Up, 2);
    late.deadline_at = at(10);
    let (state, events) = fold(app(), &[pending, Input::Requested(late)]);
    assert_eq!(reasons(&events), [(id(3), "deadline".to_owned())]);
    assert_eq!(state.target.pending, Some(id(1)));
}

#[test]
fn an_outcome_is_never_dated_before_its_request() {
    let (_, events) = fold(
        app(),
        &[Input::Requested(request(30, Ask::Up, 2)), reached(30, 2, 1)],
    );
    assert_eq!(events[0].at(), at(30), "clocks of two databases differ");
}

#[test]
fn after_a_failure_what_works_is_kept() {
    let settled = |settled: Option<u32>, ask: Ask, desired: i32, running: Option<u32>| {
        let mut state = app();
        state.target.settled = settled;
        let (state, _) = fold(
            state,
            &[
                Input::Requested(request(1, ask, desired)),
                missed(1, running),
            ],
        );
        assert_eq!(state.target.doomed, BTreeSet::from(["id-2".to_owned()]));
        state.target.settled
    };
    assert_eq!(settled(Some(1), Ask::Up, 3, Some(1)), Some(1));
    assert_eq!(settled(Some(1), Ask::Up, 3, Some(2)), Some(2));
    assert_eq!(settled(Some(1), Ask::Up, 3, Some(0)), Some(1));
    assert_eq!(settled(Some(1), Ask::Up, 2, Some(4)), Some(2));
    assert_eq!(settled(Some(1), Ask::Up, 2, None), Some(1));
    assert_eq!(settled(None, Ask::Up, 2, Some(1)), Some(1));
    assert_eq!(settled(None, Ask::Up, 2, Some(0)), None);
    assert_eq!(settled(Some(3), Ask::Down, 1, Some(2)), Some(2));
    assert_eq!(settled(Some(3), Ask::Down, 1, Some(0)), Some(1));
}

#[test]
fn after_success_the_count_that_was_told_is_kept() {
    let settled = |before: Option<u32>, ask: Ask, desired: i32, running: u32, foreign: u32| {
        let mut state = app();
        state.target.settled = before;
        state.target.foreign = before.map(|_| 1);
        let (state, _) = fold(
            state,
            &[
                Input::Requested(request(1, ask, desired)),
                reached(1, running, foreign),
            ],
        );
        state.target.settled
    };
    assert_eq!(settled(None, Ask::Up, 2, 2, 1), Some(2));
    assert_eq!(
        settled(Some(3), Ask::Up, 2, 3, 1),
        Some(3),
        "up never removes"
    );
    assert_eq!(settled(Some(3), Ask::Up, 2, 2, 1), Some(2));
    assert_eq!(
        settled(Some(1), Ask::Up, 2, 4, 4),
        Some(2),
        "others are not ours to keep"
    );
    assert_eq!(
        settled(Some(2), Ask::Up, 2, 3, 2),
        Some(2),
        "nor those that a person added"
    );
    assert_eq!(settled(Some(3), Ask::Down, 1, 1, 1), Some(1));
    assert_eq!(settled(Some(3), Ask::Down, 1, 3, 3), Some(1));
    assert_eq!(
        settled(Some(1), Ask::Down, 3, 1, 1),
        Some(1),
        "down never creates"
    );
    assert_eq!(settled(Some(2), Ask::Exact, 1, 1, 1), Some(1));
}

#[test]
fn a_pause_holds_until_its_end_or_a_resume_and_an_older_one_changes_nothing() {
    let pause = |second: i64, until: Option<i64>| {
        Input::Paused(Pause {
            pause_id: Uuid::from_u128(9),
            at: at(second),
            until: until.map(at),
            actor: "ann".to_owned(),
            reason: "deploy".to_owned(),
        })
    };
    let holds = |state: &State, second: i64| {
        let pause = state.target.pause.as_ref();
        pause.is_some_and(|pause| pause.holds(at(second)))
    };
    let (state, events) = fold(app(), &[pause(1, Some(20))]);
    assert_eq!(events, []);
    assert!(holds(&state, 19) && !holds(&state, 20));
    let (state, _) = fold(state, &[Input::Resumed { at: at(5) }, pause(1, None)]);
    assert!(!holds(&state, 6), "the older pause came again");
}

#[test]
fn doomed_replicas_are_forgotten_when_they_are_gone() {
    let (state, _) = fold(
        app(),
        &[
            Input::Requested(request(1, Ask::Up, 2)),
            missed(1, Some(1)),
            Input::Buried {
                ids: vec!["id-2".to_owned()],
            },
        ],
    );
    assert_eq!(state.target.doomed, BTreeSet::new());
}

fn inputs() -> impl Strategy<Value = Input> {
    let action = 1u128..6;
    let asks = prop_oneof![Just(Ask::Up), Just(Ask::Down), Just(Ask::Exact)];
    prop_oneof![
        4 => (action.clone(), asks, -1i32..6).prop_map(|(n, ask, desired)| {
            // One action is one request, however often it comes.
            let fixed = if n == 5 { 9 } else { desired.clamp(1, 1 + i32::try_from(n).expect("small")) };
            Input::Requested(request(n, ask, fixed))
        }),
        2 => (action.clone(), 0u32..6, 0u32..3).prop_map(|(n, more, foreign)| reached(n, foreign + more, foreign)),
        2 => (action.clone(), prop::option::of(0u32..6)).prop_map(|(n, running)| missed(n, running)),
        1 => (action, 0u32..6).prop_map(|(n, running)| Input::Began { action_id: id(n), running }),
        1 => Just(Input::Buried { ids: vec!["id-2".to_owned()] }),
        1 => (0i64..9).prop_map(|second| Input::Resumed { at: at(second) }),
    ]
}

proptest! {
    #[test]
    fn each_action_ends_once_under_any_interleaving_and_repetition(
        inputs in prop::collection::vec(inputs(), 0..40),
    ) {
        let mut state = app();
        let mut requested = BTreeSet::new();
        let mut ended: BTreeMap<ActionId, String> = BTreeMap::new();
        for input in &inputs {
            if let Input::Requested(request) = input {
                requested.insert(request.action_id);
            }
            let decision = decide(&state, input, at(10));
            for (action, how) in reasons(&decision.events) {
                prop_assert!(requested.contains(&action), "an end without a request");
                prop_assert_eq!(ended.insert(action, how), None, "a second end of {}", action);
            }
            prop_assert!(decision.state.target.epoch >= state.target.epoch);
            if decision.state.target.pending != state.target.pending {
                prop_assert!(decision.state.target.epoch > state.target.epoch);
            }
            let again = decide(&decision.state, input, at(10));
            prop_assert_eq!(&again.events, &[], "the same input twice says nothing new");
            prop_assert_eq!(&again.state, &decision.state);
            state = decision.state;
            let pending: Vec<ActionId> = state
                .actions
                .iter()
                .filter(|(_, action)| action.status == Status::Pending)
                .map(|(id, _)| *id)
                .collect();
            prop_assert_eq!(pending, Vec::from_iter(state.target.pending), "one is pending, and known");
        }
        // The deadline ends whatever is left.
        if let Some(last) = state.target.pending {
            let input = Input::Missed {
                action_id: last,
                reason: FailureReason::Deadline,
                running: None,
                foreign: None,
                culprits: Vec::new(),
                message: String::new(),
                evidence: Vec::new(),
            };
            for (action, how) in reasons(&decide(&state, &input, at(99)).events) {
                prop_assert_eq!(ended.insert(action, how), None);
            }
        }
        let ended: BTreeSet<ActionId> = ended.into_keys().collect();
        prop_assert_eq!(ended, requested, "every request has its end");
    }

    #[test]
    fn the_settled_count_stays_in_bounds_and_within_what_was_asked(
        inputs in prop::collection::vec(inputs(), 0..40),
    ) {
        let mut state = app();
        for input in &inputs {
            state = decide(&state, input, at(10)).state;
            if let Some(settled) = state.target.settled {
                prop_assert!((1..=4).contains(&settled), "{settled} after {input:?}");
            }
        }
    }
}

use shared_events::{
    ActionId,
    action::{FailureReason, Outcome},
};
use uuid::Uuid;

use super::{
    observed::{Foreign, Observed, Phase, Replica},
    plan::{Ask, Goal},
    verdict::{Pursuit, Verdict, verdict},
};

const ACTION: ActionId = ActionId(Uuid::from_u128(7));

fn pursuit(desired: u32, ask: Ask) -> Pursuit {
    Pursuit {
        action_id: ACTION,
        ask,
        desired,
        previous: Some(1),
        expired: false,
    }
}

fn replica(slot: u32, phase: Phase, ready: bool) -> Replica {
    Replica {
        id: format!("id-{slot}"),
        name: format!("shop-app-{slot}"),
        slot,
        phase,
        template: "t1".to_owned(),
        action_id: Some(ACTION),
        ready,
        health: String::new(),
        exit_code: None,
    }
}

fn seen(replicas: Vec<Replica>) -> Observed {
    Observed {
        foreign: vec![Foreign {
            name: "shop-app-1".to_owned(),
            number: Some(1),
            phase: Phase::Live,
        }],
        replicas,
        template: Some("t1".to_owned()),
    }
}

fn judge(pursuit: &Pursuit, observed: &Observed) -> Verdict {
    verdict(
        pursuit,
        &Goal::action(pursuit.desired, pursuit.ask),
        observed,
    )
}

fn unhealthy(ids: &[&str]) -> Verdict {
    Verdict::Unhealthy {
        culprits: ids.iter().map(|&id| id.to_owned()).collect(),
    }
}

#[test]
fn an_action_is_reached_when_enough_run_and_ours_are_ready() {
    let up = pursuit(2, Ask::Up);
    assert_eq!(judge(&up, &seen(vec![])), Verdict::GoOn);
    let starting = seen(vec![replica(2, Phase::Live, false)]);
    assert_eq!(judge(&up, &starting), Verdict::GoOn);
    let ready = seen(vec![replica(2, Phase::Live, true)]);
    assert_eq!(judge(&up, &ready), Verdict::Reached(Outcome::Scaled));
}

#[test]
fn nothing_to_do_is_decided_on_what_is_observed() {
    let mut kept = replica(2, Phase::Live, true);
    kept.action_id = None;
    let two = seen(vec![kept]);
    let mut up = pursuit(2, Ask::Up);
    up.previous = Some(2);
    assert_eq!(judge(&up, &two), Verdict::Reached(Outcome::NothingToDo));
    up.desired = 1;
    assert_eq!(judge(&up, &two), Verdict::Reached(Outcome::NothingToDo));
    let mut down = pursuit(3, Ask::Down);
    down.previous = Some(2);
    assert_eq!(judge(&down, &two), Verdict::Reached(Outcome::NothingToDo));
}

#[test]
fn what_others_made_beyond_the_count_is_drift() {
    let mut observed = seen(vec![]);
    observed.foreign.push(Foreign {
        name: "by-hand".to_owned(),
        number: None,
        phase: Phase::Live,
    });
    for ask in [Ask::Down, Ask::Exact] {
        let verdict = judge(&pursuit(1, ask), &observed);
        assert_eq!(verdict, Verdict::Reached(Outcome::Drift));
    }
}

#[test]
fn a_replica_of_the_action_that_exits_fails_it_at_once() {
    let observed = seen(vec![
        replica(2, Phase::Live, true),
        replica(3, Phase::Exited, false),
    ]);
    assert_eq!(judge(&pursuit(3, Ask::Up), &observed), unhealthy(&["id-3"]));
    let mut other = observed;
    other.replicas[1].action_id = None;
    assert_eq!(
        judge(&pursuit(3, Ask::Up), &other),
        Verdict::GoOn,
        "an earlier action's zombie is removed, not blamed"
    );
}

#[test]
fn at_the_deadline_the_unready_are_to_blame_else_nobody() {
    let mut up = pursuit(3, Ask::Up);
    up.expired = true;
    let observed = seen(vec![
        replica(2, Phase::Live, true),
        replica(3, Phase::Live, false),
    ]);
    assert_eq!(judge(&up, &observed), unhealthy(&["id-3"]));
    let missing = seen(vec![replica(2, Phase::Live, true)]);
    assert_eq!(judge(&up, &missing), Verdict::Expired);
    let done = seen(vec![
        replica(2, Phase::Live, true),
        replica(3, Phase::Live, true),
    ]);
    assert_eq!(
        judge(&up, &done),
        Verdict::Reached(Outcome::Scaled),
        "true is true, however late it is seen"
    );
}

#[test]
fn going_down_does_not_wait_for_health() {
    let down = pursuit(2, Ask::Down);
    let observed = seen(vec![replica(2, Phase::Live, false)]);
    assert!(matches!(judge(&down, &observed), Verdict::Reached(_)));
}

#[test]
fn without_a_template_an_action_waits_and_expires() {
    let nothing = Observed::default();
    let mut up = pursuit(2, Ask::Up);
    assert_eq!(judge(&up, &nothing), Verdict::GoOn);
    up.expired = true;
    assert_eq!(judge(&up, &nothing), Verdict::Expired);
}

#[test]
fn a_doomed_replica_is_neither_awaited_nor_blamed() {
    let up = pursuit(2, Ask::Up);
    let mut goal = Goal::action(2, Ask::Up);
    goal.doomed = ["id-2".to_owned()].into();
    let observed = seen(vec![replica(2, Phase::Exited, false)]);
    assert_eq!(verdict(&up, &goal, &observed), Verdict::GoOn);
}

/// The closed list of the contract: a reason that is not in it cannot be said.
#[test]
fn reasons_are_the_documented_ones() {
    assert_eq!(
        FailureReason::DOCUMENTED,
        [
            "unhealthy",
            "docker",
            "deadline",
            "superseded",
            "unknown_target",
            "out_of_bounds"
        ]
    );
}

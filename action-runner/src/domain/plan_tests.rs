use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    observed::{Foreign, Observed, Phase, Replica},
    plan::{Ask, Goal, Removal, Step, plan},
};

fn foreign(number: u32, phase: Phase) -> Foreign {
    Foreign {
        name: format!("shop-app-{number}"),
        number: Some(number),
        phase,
    }
}

fn replica(slot: u32) -> Replica {
    Replica {
        id: format!("id-{slot}"),
        name: format!("shop-app-{slot}"),
        slot,
        phase: Phase::Live,
        template: "t1".to_owned(),
        action_id: None,
        ready: true,
        health: String::new(),
        exit_code: None,
    }
}

/// Compose's one container, and replicas of ours.
fn seen(replicas: Vec<Replica>) -> Observed {
    Observed {
        foreign: vec![foreign(1, Phase::Live)],
        replicas,
        template: Some("t1".to_owned()),
    }
}

fn removed(steps: &[Step]) -> Vec<(&str, Removal)> {
    steps
        .iter()
        .map(|step| match step {
            Step::Remove { name, why, .. } => (name.as_str(), *why),
            Step::Start { .. } | Step::Create { .. } => panic!("not a removal: {step:?}"),
        })
        .collect()
}

#[test]
fn up_creates_in_the_lowest_free_slots() {
    let observed = seen(vec![replica(3)]);
    let steps = plan(&Goal::action(5, Ask::Up), &observed);
    assert_eq!(
        steps,
        [2, 4, 5].map(|slot| Step::Create { slot }),
        "1 is Compose's, 3 is ours"
    );
}

#[test]
fn a_slot_whose_name_is_taken_by_a_stranger_is_left_out() {
    let mut goal = Goal::action(3, Ask::Up);
    goal.blocked = [2].into();
    let steps = plan(&goal, &seen(vec![]));
    assert_eq!(steps, [3, 4].map(|slot| Step::Create { slot }));
}

#[test]
fn up_never_removes_and_down_never_creates() {
    let three = seen(vec![replica(2), replica(3)]);
    assert_eq!(plan(&Goal::action(2, Ask::Up), &three), []);
    assert_eq!(plan(&Goal::action(5, Ask::Down), &three), []);
}

#[test]
fn down_removes_the_highest_slots_first_and_only_ours() {
    let mut observed = seen(vec![replica(2), replica(4), replica(3)]);
    let steps = plan(&Goal::action(2, Ask::Down), &observed);
    assert_eq!(
        removed(&steps),
        [
            ("shop-app-4", Removal::Surplus),
            ("shop-app-3", Removal::Surplus)
        ]
    );
    observed.foreign.push(foreign(7, Phase::Live));
    observed.replicas.truncate(1);
    let steps = plan(&Goal::action(1, Ask::Down), &observed);
    assert_eq!(removed(&steps), [("shop-app-2", Removal::Surplus)]);
    observed.replicas.clear();
    assert_eq!(plan(&Goal::action(1, Ask::Down), &observed), []);
}

#[test]
fn the_dead_go_first_and_free_their_slots() {
    let mut exited = replica(2);
    exited.phase = Phase::Exited;
    let observed = seen(vec![exited]);
    let steps = plan(&Goal::action(2, Ask::Up), &observed);
    assert_eq!(removed(&steps), [("shop-app-2", Removal::Zombie)]);
    let steps = plan(&Goal::action(2, Ask::Up), &seen(vec![]));
    assert_eq!(steps, [Step::Create { slot: 2 }]);
}

#[test]
fn one_that_was_never_started_is_started_if_it_is_needed_else_removed() {
    let mut made = replica(2);
    made.phase = Phase::Created;
    let observed = seen(vec![made.clone()]);
    let start = Step::Start {
        id: "id-2".to_owned(),
        name: "shop-app-2".to_owned(),
    };
    assert_eq!(plan(&Goal::action(2, Ask::Up), &observed), [start]);
    for goal in [Goal::action(1, Ask::Exact), Goal::upkeep(1, Some(1))] {
        assert_eq!(
            removed(&plan(&goal, &observed)),
            [("shop-app-2", Removal::Zombie)]
        );
    }
    made.template = "t0".to_owned();
    let steps = plan(&Goal::action(2, Ask::Up), &seen(vec![made]));
    assert_eq!(removed(&steps), [("shop-app-2", Removal::Zombie)]);
}

#[test]
fn what_failed_an_action_goes_before_anything_is_made() {
    let mut goal = Goal::action(2, Ask::Exact);
    goal.doomed = ["id-2".to_owned()].into();
    let steps = plan(&goal, &seen(vec![replica(2)]));
    assert_eq!(removed(&steps), [("shop-app-2", Removal::Failed)]);
}

#[test]
fn nothing_is_created_without_a_template() {
    let observed = Observed::default();
    assert_eq!(plan(&Goal::action(2, Ask::Up), &observed), []);
}

#[test]
fn upkeep_repairs_what_is_missing_and_does_not_fight_what_a_person_added() {
    let goal = Goal::upkeep(2, Some(1));
    assert_eq!(plan(&goal, &seen(vec![])), [Step::Create { slot: 2 }]);
    let mut added = seen(vec![replica(2)]);
    added.foreign.push(foreign(3, Phase::Live));
    assert_eq!(plan(&goal, &added), [], "drift is shown, not fought");
    let surplus = seen(vec![replica(2), replica(3)]);
    assert_eq!(
        removed(&plan(&goal, &surplus)),
        [("shop-app-3", Removal::Surplus)]
    );
}

#[test]
fn after_a_deploy_replicas_are_replaced_one_at_a_time_the_new_one_ready_first() {
    let goal = Goal::upkeep(3, Some(1));
    let mut observed = seen(vec![replica(2), replica(3)]);
    observed.template = Some("t2".to_owned());
    let new = |slot: u32, ready: bool| Replica {
        template: "t2".to_owned(),
        ready,
        ..replica(slot)
    };
    assert_eq!(plan(&goal, &observed), [Step::Create { slot: 4 }]);
    observed.replicas.push(new(4, false));
    assert_eq!(plan(&goal, &observed), [], "awaits the new one");
    observed.replicas[2] = new(4, true);
    assert_eq!(
        removed(&plan(&goal, &observed)),
        [("shop-app-3", Removal::Replaced)]
    );
    observed.replicas.remove(1);
    assert_eq!(plan(&goal, &observed), [Step::Create { slot: 3 }]);
    observed.replicas.push(new(3, true));
    assert_eq!(
        removed(&plan(&goal, &observed)),
        [("shop-app-2", Removal::Replaced)]
    );
    observed.replicas.remove(0);
    assert_eq!(plan(&goal, &observed), []);
    for action in [Goal::action(3, Ask::Up), Goal::action(3, Ask::Exact)] {
        observed.template = Some("t3".to_owned());
        assert_eq!(plan(&action, &observed), [], "an action replaces nothing");
    }
}

/// A Docker host in memory: what steps do to it, and what others do to it meanwhile.
#[derive(Clone, Debug)]
struct World {
    observed: Observed,
    made: u32,
}

#[derive(Clone, Debug)]
enum Meddling {
    Nothing,
    AddForeign,
    RemoveForeign,
    RemoveReplica(usize),
    Exit(usize),
    Deploy,
}

impl World {
    fn perform(&mut self, step: &Step) {
        match step {
            Step::Remove { id, .. } => self.observed.replicas.retain(|r| r.id != *id),
            Step::Start { id, .. } => {
                for replica in &mut self.observed.replicas {
                    if replica.id == *id {
                        replica.phase = Phase::Live;
                    }
                }
            }
            Step::Create { slot } => {
                assert!(
                    !self.observed.taken().contains(slot),
                    "slot {slot} is created twice"
                );
                self.made += 1;
                self.observed.replicas.push(Replica {
                    id: format!("made-{}", self.made),
                    template: self.observed.template.clone().expect("a template"),
                    ready: false,
                    ..replica(*slot)
                });
            }
        }
    }

    fn become_ready(&mut self) {
        for replica in &mut self.observed.replicas {
            replica.ready = true;
        }
    }

    fn meddle(&mut self, meddling: &Meddling) {
        let replicas = &mut self.observed.replicas;
        match meddling {
            Meddling::Nothing => {}
            Meddling::AddForeign => {
                let free = (1..).find(|n| !self.observed.taken().contains(n));
                let number = free.expect("a number");
                self.observed.foreign.push(foreign(number, Phase::Live));
            }
            Meddling::RemoveForeign => drop(self.observed.foreign.pop()),
            Meddling::RemoveReplica(n) if !replicas.is_empty() => {
                let n = n % replicas.len();
                replicas.remove(n);
            }
            Meddling::Exit(n) if !replicas.is_empty() => {
                let n = n % replicas.len();
                replicas[n].phase = Phase::Exited;
            }
            Meddling::RemoveReplica(_) | Meddling::Exit(_) => {}
            Meddling::Deploy => {
                let next = self.made + 100;
                self.observed.template = Some(format!("t{next}"));
            }
        }
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let phases = prop_oneof![
        5 => Just(Phase::Live),
        1 => Just(Phase::Exited),
        1 => Just(Phase::Created),
    ];
    let templates = prop_oneof![3 => Just("t1"), 1 => Just("t0")];
    let replicas = prop::collection::btree_map(2u32..9, (phases, templates, any::<bool>()), 0..4);
    (1usize..3, replicas).prop_map(|(others, replicas)| {
        let foreign = (0..others).map(|n| foreign(1 + 10 * n as u32, Phase::Live));
        let replicas = replicas
            .into_iter()
            .map(|(slot, (phase, template, ready))| Replica {
                phase,
                template: template.to_owned(),
                ready,
                ..replica(slot)
            });
        World {
            observed: Observed {
                foreign: foreign.collect(),
                replicas: replicas.collect(),
                template: Some("t1".to_owned()),
            },
            made: 0,
        }
    })
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![Just(Ask::Up), Just(Ask::Down), Just(Ask::Exact)]
}

fn meddlings() -> impl Strategy<Value = Vec<Meddling>> {
    let one = prop_oneof![
        4 => Just(Meddling::Nothing),
        1 => Just(Meddling::AddForeign),
        1 => Just(Meddling::RemoveForeign),
        1 => any::<usize>().prop_map(Meddling::RemoveReplica),
        1 => any::<usize>().prop_map(Meddling::Exit),
        1 => Just(Meddling::Deploy),
    ];
    prop::collection::vec(one, 0..12)
}

/// Steps until nothing is due; the number of rounds is bounded.
fn converge(world: &mut World, goal: &Goal, limit: u32) -> Result<(), TestCaseError> {
    let at_start = world.observed.running_managed();
    for _ in 0..200 {
        let steps = plan(goal, &world.observed);
        if steps.is_empty() {
            if world.observed.replicas.iter().all(|replica| replica.ready) {
                return Ok(());
            }
            world.become_ready();
            continue;
        }
        for step in &steps {
            world.perform(step);
            let running = world.observed.running_managed();
            prop_assert!(
                running <= limit.max(at_start),
                "{running} of ours run, {limit} are allowed"
            );
        }
    }
    Err(TestCaseError::fail(format!("does not converge: {world:?}")))
}

proptest! {
    #[test]
    fn an_action_converges_and_is_true(world in worlds(), desired in 0u32..6, ask in asks()) {
        let mut world = world;
        let before = world.observed.running();
        let goal = Goal::action(desired, ask);
        converge(&mut world, &goal, desired)?;
        let (after, ours) = (world.observed.running(), world.observed.running_managed());
        match ask {
            Ask::Up => prop_assert_eq!(after, before.max(desired)),
            Ask::Down => prop_assert!(after <= before && (after <= desired || ours == 0)),
            Ask::Exact => prop_assert!(after == desired || (after > desired && ours == 0)),
        }
        prop_assert!(world.observed.replicas.iter().all(Replica::live), "no zombie is left");
    }

    #[test]
    fn upkeep_converges_whatever_others_do(
        world in worlds(),
        settled in 1u32..6,
        foreign in prop::option::of(0u32..3),
        meddlings in meddlings(),
    ) {
        let mut world = world;
        let goal = Goal::upkeep(settled, foreign);
        for meddling in meddlings {
            world.meddle(&meddling);
            if let Some(step) = plan(&goal, &world.observed).first() {
                world.perform(step);
            }
        }
        // Others are quiet now.
        converge(&mut world, &goal, settled)?;
        prop_assert!(world.observed.running() >= settled);
        let counted = foreign.map_or(u32::MAX, |n| n).min(world.observed.running_foreign());
        let allowed = settled.saturating_sub(counted);
        prop_assert!(world.observed.running_managed() <= allowed.max(settled.saturating_sub(world.observed.running_foreign())));
        if world.observed.running_foreign() > 0 && counted > 0 {
            let template = world.observed.template.clone();
            prop_assert!(world.observed.replicas.iter().all(|r| Some(&r.template) == template.as_ref()));
        }
    }

    #[test]
    fn a_plan_names_no_foreign_container_and_no_slot_twice(
        world in worlds(),
        desired in 0u32..6,
        ask in asks(),
        blocked in prop::collection::btree_set(1u32..6, 0..3),
    ) {
        let mut goal = Goal::action(desired, ask);
        goal.blocked = blocked.clone();
        let ours: BTreeSet<&String> = world.observed.replicas.iter().map(|r| &r.id).collect();
        let mut slots = world.observed.taken();
        for step in plan(&goal, &world.observed) {
            match step {
                Step::Remove { id, .. } | Step::Start { id, .. } => prop_assert!(ours.contains(&id)),
                Step::Create { slot } => {
                    prop_assert!(!blocked.contains(&slot));
                    prop_assert!(slots.insert(slot));
                }
            }
        }
    }
}

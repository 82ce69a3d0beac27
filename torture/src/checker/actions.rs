//! G6, G7, and the containers of G8.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Evidence, Guarantee, Judgement,
    evidence::{Change, Fact, Record, Requested},
    index::Index,
};

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    judgement.actions = index.requested.len();
    one_end(index, judgement);
    journal(evidence, index, judgement);
    bounds(evidence, index, judgement);
    running(evidence, index, judgement);
}

fn one_end(index: &Index<'_>, judgement: &mut Judgement) {
    for (action, (record, _)) in &index.requested {
        let ends = index.ends.get(action).map_or(&[][..], Vec::as_slice);
        if ends.len() != 1 {
            let ends: Vec<String> = ends.iter().map(|end| end.place()).collect();
            let what = format!("{} has {} ends: {ends:?}", record.place(), ends.len());
            judgement.breaks(Guarantee::G6, what);
        }
    }
    for (action, ends) in &index.ends {
        if !index.requested.contains_key(action) {
            let what = format!("{} ends what nobody asked for", ends[0].place());
            judgement.breaks(Guarantee::G6, what);
        }
    }
}

fn journal(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    let mut most: HashMap<&str, i64> = HashMap::new();
    for (_, asked) in index.requested.values() {
        let most = most.entry(&asked.target).or_default();
        *most = asked.desired.max(*most);
    }
    let mut there: HashMap<&str, &Change> = HashMap::new();
    let mut live: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut epochs: HashMap<&str, i64> = HashMap::new();
    for change in evidence.docker.iter().filter(|change| change.managed) {
        match change.what.as_str() {
            "create" => {
                if let Some(before) = there.insert(&change.name, change) {
                    let what = format!(
                        "{} was created at {} and again at {} without a removal",
                        change.name, before.at, change.at
                    );
                    judgement.breaks(Guarantee::G6, what);
                }
                let seen = epochs.entry(&change.target).or_default();
                let epoch = change.epoch.unwrap_or_default();
                if epoch < *seen {
                    let what = format!(
                        "{} was created under epoch {epoch} after {seen}",
                        change.name
                    );
                    judgement.breaks(Guarantee::G6, what);
                }
                *seen = epoch.max(*seen);
            }
            "start" => {
                let live = live.entry(&change.target).or_default();
                live.insert(&change.id);
                let allowed = most.get(&*change.target).copied().unwrap_or(0);
                if i64::try_from(live.len()).unwrap_or(i64::MAX) > allowed {
                    let what = format!(
                        "{} managed replicas of {} ran at {}, at most {allowed} were asked for",
                        live.len(),
                        change.target,
                        change.at
                    );
                    judgement.breaks(Guarantee::G6, what);
                }
            }
            "destroy" => {
                there.remove(&*change.name);
                live.entry(&change.target).or_default().remove(&*change.id);
            }
            _ => {
                live.entry(&change.target).or_default().remove(&*change.id);
            }
        }
    }
}

/// Requests of each target, in the order of its partition.
fn by_target<'a>(index: &Index<'a>) -> BTreeMap<&'a str, Vec<(&'a Record, &'a Requested)>> {
    let mut targets: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for record in &index.first {
        if let Fact::Requested(asked) = &record.fact {
            let requests = targets.entry(&asked.target).or_default();
            requests.push((*record, &**asked));
        }
    }
    targets
}

fn bounds(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    for (target, requests) in by_target(index) {
        let mut asked_at: HashMap<&str, i64> = HashMap::new();
        for (record, asked) in &requests {
            let known = evidence.targets.get(target);
            if !known.is_some_and(|b| (b.min..=b.max).contains(&asked.desired)) {
                let what = format!(
                    "{} wants {}, beyond {known:?}",
                    record.place(),
                    asked.desired
                );
                judgement.breaks(Guarantee::G7, what);
            }
            let rule = evidence.rules.iter().find(|rule| rule.name == asked.rule);
            let cooldown = rule.and_then(|rule| rule.cooldown).unwrap_or(0);
            if asked.by_person || asked.kind != "scale_docker" {
                continue;
            }
            if let Some(before) = asked_at.insert(&asked.rule, asked.at)
                && asked.at - before < cooldown
            {
                let what = format!(
                    "{} comes {} us after the last of rule {}, whose cooldown is {cooldown} us",
                    record.place(),
                    asked.at - before,
                    asked.rule
                );
                judgement.breaks(Guarantee::G7, what);
            }
        }
        for pair in requests.windows(2) {
            one_at_a_time(evidence, index, (pair[0], pair[1]), judgement);
        }
    }
}

fn one_at_a_time(
    evidence: &Evidence,
    index: &Index<'_>,
    ((first, one), (next, two)): ((&Record, &Requested), (&Record, &Requested)),
    judgement: &mut Judgement,
) {
    let ends = index.ends.get(&one.action).into_iter().flatten();
    let ended = ends.map(|end| end.offset).any(|end| end < next.offset);
    if !ended && two.at < one.deadline && !given_up(evidence, first, next) {
        let what = format!(
            "{} was asked for while {} of the same target was under way",
            next.place(),
            one.action
        );
        judgement.breaks(Guarantee::G7, what);
    }
}

/// Whether Rules decided on a time-out of an action between two requests: the second one may then be
/// for an alert that is older than the first one's deadline, and came late.
fn given_up(evidence: &Evidence, first: &Record, next: &Record) -> bool {
    let decisions = &evidence.rules_rows.decisions;
    let of = |record: &Record| {
        let id = record.id?;
        decisions.iter().find(|row| row.emitted.contains(&id))
    };
    let (Some(one), Some(two)) = (of(first), of(next)) else {
        return false;
    };
    decisions.iter().any(|row| {
        let between = row.key == two.key && (one.seq < row.seq || one.key != row.key);
        let timed_out = row
            .outcomes
            .iter()
            .any(|(_, what)| what == "action_timed_out");
        between && row.seq <= two.seq && timed_out
    })
}

/// What the last action came to is what runs now.
fn running(evidence: &Evidence, index: &Index<'_>, judgement: &mut Judgement) {
    for (target, requests) in by_target(index) {
        let ended = requests.iter().rev().find_map(|(record, asked)| {
            let end = index.ends.get(&asked.action)?.first()?;
            let completed = matches!(
                end.fact,
                Fact::Ended {
                    completed: true,
                    ..
                }
            );
            completed.then_some((record, asked))
        });
        let Some((record, asked)) = ended else {
            continue;
        };
        let mine = || {
            evidence
                .containers
                .iter()
                .filter(|c| c.target == target && c.running)
        };
        let running = mine().count();
        let foreign = mine().filter(|container| !container.managed).count();
        let desired = usize::try_from(asked.desired).unwrap_or(0).max(foreign);
        if running != desired {
            let what = format!(
                "{running} of {target} run ({foreign} not ours), {desired} were asked for last, by {}",
                record.place()
            );
            judgement.breaks(Guarantee::G8, what);
        }
    }
}

//! What holds for every history of a series.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::prelude::*;
use shared_events::{AlertEvent, EpisodeId, TopicEvent};

use super::{
    decide::{Decision, Notification, decide, decide_silence},
    decide_tests::{POLICY, about, ours, quiet, sent},
    journal::Journal,
    notice::News,
    series::{Phase, Series},
};

/// Something that happens to a series.
#[derive(Clone, Copy, Debug)]
enum Happening {
    News(News),
    Sweep,
}

fn news() -> impl Strategy<Value = News> {
    // Few different times: ties and meetings are what goes wrong.
    let start = 0_i64..12;
    prop_oneof![
        start
            .clone()
            .prop_map(|s| News::Firing { starts_at: sent(s) }),
        (start, 0_i64..6).prop_map(|(s, length)| News::Resolved {
            starts_at: sent(s),
            ends_at: sent(s + length)
        }),
    ]
}

/// Happenings, each with the seconds that pass before it: mostly none, sometimes enough to reopen
/// or to be stale.
fn history() -> impl Strategy<Value = Vec<(i64, Happening)>> {
    let pause = prop_oneof![6 => Just(0_i64), 3 => 1..60_i64, 2 => Just(400), 1 => Just(13 * 3600)];
    let happening = prop_oneof![
        9 => news().prop_map(Happening::News),
        1 => Just(Happening::Sweep),
    ];
    prop::collection::vec((pause, happening), 0..40)
}

fn step(series: &Series, at: i64, happening: Happening) -> Decision {
    match happening {
        Happening::News(news) => {
            let notification = Notification {
                at: ours(at),
                news,
                about: &about(),
                receipt_id: None,
            };
            decide(&POLICY, series, &notification)
        }
        Happening::Sweep => decide_silence(&POLICY, series, &about(), ours(at)),
    }
}

/// The history run in batches of the given sizes (the last one repeats): end state and events.
fn run(history: &[(i64, Happening)], cuts: &[usize]) -> (Series, Vec<AlertEvent>) {
    let (mut series, mut said, mut now) = (quiet(), Vec::new(), 0);
    let mut cuts = cuts.iter().copied();
    let (mut journal, mut left) = (Journal::default(), cuts.next().unwrap_or(1));
    for (pause, happening) in history {
        now += pause;
        if left == 0 {
            said.extend_from_slice(std::mem::take(&mut journal).events());
            left = cuts.next().unwrap_or(1);
        }
        left -= 1;
        let decision = step(&series, now, *happening);
        series = decision.series;
        journal.record(decision.events);
    }
    said.extend_from_slice(journal.events());
    (series, said)
}

/// Episodes of `events` that have no resolve; panics where the order is wrong.
fn still_open(events: &[AlertEvent]) -> BTreeSet<EpisodeId> {
    let (mut open, mut over) = (BTreeSet::new(), BTreeSet::new());
    let mut occurrences: BTreeMap<EpisodeId, i64> = BTreeMap::new();
    for event in events {
        match event {
            AlertEvent::Raised(raised) => {
                let last = occurrences.insert(raised.episode_id, raised.occurrence);
                assert!(
                    last.is_none_or(|last| last < raised.occurrence),
                    "{events:?}"
                );
                assert!(
                    !over.contains(&raised.episode_id),
                    "raised after its end: {events:?}"
                );
                open.insert(raised.episode_id);
            }
            AlertEvent::Resolved(resolved) => {
                assert!(
                    open.remove(&resolved.episode_id),
                    "resolved unraised: {events:?}"
                );
                assert!(
                    over.insert(resolved.episode_id),
                    "resolved twice: {events:?}"
                );
            }
        }
        assert!(open.len() <= 1, "two open episodes: {events:?}");
    }
    open
}

fn last_raised(events: &[AlertEvent]) -> BTreeMap<EpisodeId, i64> {
    let raised = events.iter().filter_map(|event| match event {
        AlertEvent::Raised(raised) => Some((raised.episode_id, raised.occurrence)),
        AlertEvent::Resolved(_) => None,
    });
    raised.collect()
}

fn resolves(events: &[AlertEvent]) -> BTreeSet<EpisodeId> {
    let over = events.iter().filter_map(|event| match event {
        AlertEvent::Raised(_) => None,
        AlertEvent::Resolved(resolved) => Some(resolved.episode_id),
    });
    over.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Each episode is raised first and resolved at most once; at most one is open; `at` never
    /// goes back; the state and what was said agree.
    #[test]
    fn what_is_said_is_what_is_so(history in history()) {
        let (series, events) = run(&history, &[]);
        let open = still_open(&events);
        match series.phase {
            Phase::Open(episode) => prop_assert_eq!(open, BTreeSet::from([episode.id])),
            Phase::Quiet | Phase::Closed(..) => prop_assert!(open.is_empty()),
        }
        let total: i64 = last_raised(&events).values().sum();
        prop_assert_eq!(series.total_occurrences, total);
        prop_assert_eq!(series.next_number() - 1, last_raised(&events).len() as i64);
        prop_assert!(events.windows(2).all(|pair| pair[0].committed_at() <= pair[1].committed_at()));
    }

    /// However batches are cut: the same state, the same episodes with the same ids, the same
    /// resolves; a coarser cut only leaves out raised events that a later one covers.
    #[test]
    fn cuts_change_nothing_but_how_often(
        history in history(),
        cuts in prop::collection::vec(1_usize..8, 0..20),
    ) {
        let (fine, each) = run(&history, &[]);
        let (coarse, some) = run(&history, &cuts);
        still_open(&some);
        prop_assert_eq!(fine, coarse);
        prop_assert_eq!(last_raised(&each), last_raised(&some));
        prop_assert_eq!(resolves(&each), resolves(&some));
        let ids: BTreeSet<_> = each.iter().map(TopicEvent::event_id).collect();
        let kept: Vec<_> = some.iter().map(TopicEvent::event_id).collect();
        prop_assert!(kept.iter().all(|id| ids.contains(id)), "an id of its own");
        prop_assert_eq!(kept.iter().collect::<BTreeSet<_>>().len(), kept.len());
    }

    /// Without time passing, in whatever order and however often notifications come, a series ends
    /// open exactly when its latest start is after its latest end.
    #[test]
    fn any_order_and_repetition_ends_the_same(
        told in prop::collection::vec(news(), 1..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        // Everything at least once, in an order of its own, with repeats anywhere.
        let repeats = order.iter().map(|index| told[index.index(told.len())]);
        let history: Vec<_> = repeats
            .clone()
            .chain(told.iter().copied())
            .chain(repeats)
            .map(|news| (0, Happening::News(news)))
            .collect();
        let (series, events) = run(&history, &[]);
        still_open(&events);
        let starts = told.iter().filter_map(|news| match news {
            News::Firing { starts_at } => Some(*starts_at),
            News::Resolved { .. } => None,
        });
        let ends = told.iter().filter_map(|news| match news {
            News::Firing { .. } => None,
            News::Resolved { ends_at, .. } => Some(*ends_at),
        });
        let fires = starts.max() > ends.max();
        prop_assert_eq!(matches!(series.phase, Phase::Open(_)), fires);
    }

    /// A firing that was accepted belongs to an episode, always: the first one opens one.
    #[test]
    fn a_firing_is_never_without_an_episode(history in history()) {
        let (mut series, mut now, mut fired) = (quiet(), 0, false);
        for (pause, happening) in history {
            now += pause;
            series = step(&series, now, happening).series;
            fired |= matches!(happening, Happening::News(News::Firing { .. }));
            prop_assert_eq!(matches!(series.phase, Phase::Quiet), !fired);
        }
    }

    /// The same notification twice in a row opens nothing and ends nothing the second time.
    #[test]
    fn a_repeat_opens_and_ends_nothing(history in history(), news in news()) {
        let (series, _) = run(&history, &[]);
        let now = (series.at - ours(0)).num_seconds();
        let once = step(&series, now, Happening::News(news));
        let twice = step(&once.series, now, Happening::News(news));
        prop_assert_eq!(once.series.next_number(), twice.series.next_number());
        prop_assert!(resolves(&twice.events).is_empty());
    }

    /// A firing that goes on arriving is open again `reopen_after` after the last resolve.
    #[test]
    fn the_truth_wins_after_reopen_after(history in history(), start in 0_i64..12) {
        let (series, _) = run(&history, &[]);
        let now = (series.at - ours(0)).num_seconds() + POLICY.reopen_after.num_seconds();
        let news = News::Firing { starts_at: sent(start) };
        let after = step(&series, now, Happening::News(news)).series;
        prop_assert!(matches!(after.phase, Phase::Open(_)), "{:?}", after);
        prop_assert!(after.at - series.at >= TimeDelta::zero());
    }
}

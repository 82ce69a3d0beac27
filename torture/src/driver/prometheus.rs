//! What makes alerts fire and end.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Book, World, now, world::SECOND};
use crate::{checker::evidence::Labels, dice::Dice};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// New series a second.
    pub rate: usize,
    /// Groups that they are spread over; each target has one more.
    pub groups: usize,
    pub services: usize,
}

const TICK: Duration = Duration::from_millis(100);

fn labels(alertname: &str, service: &str, more: &[(&str, String)]) -> Labels {
    let fixed = [
        ("alertname", alertname.to_owned()),
        ("service", service.to_owned()),
        ("severity", "warning".to_owned()),
    ];
    let all = fixed.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// One that fires or has ended.
struct Live {
    group: usize,
    series: usize,
    /// How often it fires again after its end.
    again: usize,
}

/// Makes series until `stop`; each fires for some seconds, some of them again and again.
pub async fn generate(
    load: Load,
    world: Arc<World>,
    book: Arc<Book>,
    mut dice: Dice,
    stop: CancellationToken,
) {
    let mut ticks = interval(TICK);
    // By when they end.
    let mut firing: BTreeMap<i64, Vec<Live>> = BTreeMap::new();
    // Ended, and to fire again once that is known.
    let mut resting: VecDeque<(i64, Live)> = VecDeque::new();
    let (mut number, mut owed) = (0, 0.0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let later = firing.split_off(&now());
        for live in std::mem::replace(&mut firing, later)
            .into_values()
            .flatten()
        {
            world.resolve(live.group, live.series);
            if live.again > 0 {
                resting.push_back((live_start(&world, &live), live));
            }
        }
        let mut start = |live: Live, dice: &mut Dice| {
            let began = world.fire(live.group, live.series);
            let life = i64::try_from(dice.between(4, 12)).unwrap_or(4) * SECOND;
            firing.entry(began + life).or_default().push(live);
        };
        for _ in 0..resting.len() {
            let Some((started, mut live)) = resting.pop_front() else {
                break;
            };
            if book.knows_the_end(live.series, started) {
                live.again -= 1;
                start(live, &mut dice);
            } else {
                resting.push_back((started, live));
            }
        }
        owed += load.rate as f64 * TICK.as_secs_f64();
        while owed >= 1.0 {
            owed -= 1.0;
            let live = fresh(&load, number, &world, &mut dice);
            start(live, &mut dice);
            number += 1;
        }
    }
}

fn live_start(world: &World, live: &Live) -> i64 {
    world.start_of(live.group, live.series).unwrap_or_default()
}

fn fresh(load: &Load, number: usize, world: &World, dice: &mut Dice) -> Live {
    let alertname = if dice.percent(50) {
        "Down"
    } else {
        "Unmatched"
    };
    let service = format!("svc-{}", dice.below(load.services));
    let more = [("instance", format!("i-{number}"))];
    Live {
        group: number % load.groups,
        series: world.add(labels(alertname, &service, &more)),
        again: if dice.percent(5) { 2 } else { 0 },
    }
}

/// Load that comes and goes on one target: HighCPU, then LowCPU, until `stop`.
pub async fn scale(
    target: String,
    group: usize,
    world: Arc<World>,
    book: Arc<Book>,
    mut dice: Dice,
    stop: CancellationToken,
) {
    let high = world.add(labels("HighCPU", &target, &[]));
    let low = world.add(labels("LowCPU", &target, &[]));
    let cycle = async {
        loop {
            for (series, least, most) in [(high, 5, 14), (low, 4, 8)] {
                let started = world.fire(group, series);
                sleep(Duration::from_secs(dice.between(least, most))).await;
                world.resolve(group, series);
                // Both members may have forgotten what none of them ever managed to tell.
                while !book.knows_the_end(series, started)
                    && world.start_of(group, series).is_some()
                {
                    sleep(TICK).await;
                }
                sleep(Duration::from_secs(dice.between(1, 3))).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = cycle => {}
    }
}

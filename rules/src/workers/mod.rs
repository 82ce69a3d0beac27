//! What runs beside the consumer: timers, the reading of rule files, pruning, gauges.

mod gauges;
mod prune;
pub(crate) mod reload;
mod seed;
mod timers;

use std::time::Duration;

use service_kit::{Kit, Worker};

use crate::service::RuleEngine;

/// Every worker of this service.
pub(crate) fn all(
    kit: &Kit<RuleEngine>,
    reloader: &reload::Reloader,
    retention: Option<Duration>,
) -> Vec<Worker> {
    let mut workers = vec![
        reload::worker(kit, reloader),
        timers::worker(kit),
        gauges::worker(kit),
        gauges::census(kit),
        seed::worker(kit),
    ];
    workers.extend(retention.map(|keep| prune::worker(kit, keep)));
    workers
}

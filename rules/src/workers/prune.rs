//! Forgets old decisions, when a retention is set.

use std::time::Duration;

use service_kit::{Kit, Worker, clock::Ticker};

use crate::{service::RuleEngine, store::read};

/// Rows of one statement.
const AT_ONCE: i64 = 5000;

pub(super) fn worker(kit: &Kit<RuleEngine>, keep: Duration) -> Worker {
    let kit = kit.clone();
    Worker::new("prune", move || {
        let kit = kit.clone();
        async move {
            let rest = (keep / 100).clamp(Duration::from_secs(1), Duration::from_secs(600));
            let mut ticker = Ticker::new(rest, kit.shutdown().clone());
            while ticker.tick().await {
                while read::prune(kit.pool(), keep, AT_ONCE).await? > 0 {
                    if kit.shutdown().is_cancelled() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
    })
}

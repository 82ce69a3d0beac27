//! Numbers that are read from the database.

use std::time::Duration;

use service_kit::{Error, Kit, Worker, census::Census, clock::Ticker};

use crate::{
    service::RuleEngine,
    store::{read, rule_changes, targets, timers},
};

const REST: Duration = Duration::from_secs(5);

pub(super) fn worker(kit: &Kit<RuleEngine>) -> Worker {
    let kit = kit.clone();
    Worker::new("gauges", move || {
        let kit = kit.clone();
        async move {
            let mut ticker = Ticker::new(REST, kit.shutdown().clone());
            while ticker.tick().await {
                look(&kit).await?;
            }
            Ok(())
        }
    })
}

/// Counts incidents: apart from the rest, because that takes longer the more there are.
pub(super) fn census(kit: &Kit<RuleEngine>) -> Worker {
    let kit = kit.clone();
    Worker::new("census", move || {
        let kit = kit.clone();
        async move {
            let mut census = Census::new(kit.pool(), REST, kit.shutdown().clone());
            while census.due().await {
                let counted = census.look("counting incidents", |conn| {
                    Box::pin(read::current_incidents(conn))
                });
                if let Some((open, failed)) = counted.await {
                    kit.service().metrics.incidents(open, failed);
                }
            }
            Ok(())
        }
    })
}

async fn look(kit: &Kit<RuleEngine>) -> Result<(), Error> {
    let mut conn = kit
        .pool()
        .acquire()
        .await
        .map_err(Error::database("connecting"))?;
    let now = kit.database_now(&mut conn).await?;
    let first = timers::overdue(&mut *conn, now).await?;
    let late = first.map_or(0, |due| (now - due).num_milliseconds());
    let metrics = &kit.service().metrics;
    metrics.overdue(f64::from(i32::try_from(late).unwrap_or(i32::MAX)) / 1000.0);
    drop(conn);
    let engine = kit.service();
    let in_force = match engine.file_rules {
        true => None,
        false => rule_changes::in_force(kit.pool()).await?,
    };
    let file = engine.rules.file_hash();
    let differs = in_force
        .zip(file)
        .is_some_and(|(rules, file)| rules.hash != file);
    metrics.file_differs(differs);
    let budgets = targets::budgets(kit.pool()).await?;
    let open = budgets.iter().filter(|(_, budget)| budget.opened.is_some());
    metrics.limits_open(open.count());
    Ok(())
}

//! Which targets are kept: one keeper for each that `targets.yaml` declares, begun and ended as the
//! file changes. Also shows figures, and ends actions whose target is not declared any more.

use std::{collections::BTreeMap, time::Duration};

use service_kit::{Error, Trace, Work, clock::wait, in_time};
use shared_events::{
    action::{ALL_TARGETS, FailureReason},
    ids::derive,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{state::Input, target::Target, wording},
    keeper::{Keeper, Tools},
    metrics::Figures,
    service::TargetInput,
    shown::Shown,
    store::{self, Holder},
};

/// Between two showings of figures.
const FIGURES: Duration = Duration::from_secs(2);

struct Kept {
    target: Target,
    stop: CancellationToken,
}

/// Runs the keepers until the service stops.
pub(crate) async fn run(tools: Tools) -> Result<(), Error> {
    let stop = tools.kit.shutdown().clone();
    let instance = store::instance(tools.kit.pool()).await?;
    let _presence = store::show(tools.kit.pool(), instance, stop.clone()).await?;
    let mut keepers = JoinSet::new();
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut begun: u64 = 0;
    let outcome = loop {
        let declared = tools.kit.service().targets();
        kept.retain(|name, keeper| {
            let same = declared.by_name.get(name) == Some(&keeper.target);
            if !same {
                keeper.stop.cancel();
                tools.metrics.forget(name);
            }
            same
        });
        for (name, target) in &declared.by_name {
            if kept.contains_key(name) {
                continue;
            }
            begun += 1;
            let holder = Holder {
                instance,
                keeper: derive(["keeper", &instance.to_string(), &begun.to_string()]),
            };
            let token = stop.child_token();
            let keeper = Keeper::new(tools.clone(), target.clone(), holder, token.clone());
            keepers.spawn(keeper.run());
            let entry = Kept {
                target: target.clone(),
                stop: token,
            };
            kept.insert(name.clone(), entry);
        }
        if let Err(error) = tidy(&tools).await {
            break Err(error);
        }
        tokio::select! {
            biased;
            () = tools.kit.service().reloaded() => {}
            Some(ended) = keepers.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    break Err(Error::Panic { task: "a target's keeper".into() });
                }
            }
            stopped = wait(FIGURES, &stop) => {
                if stopped.is_err() {
                    break Ok(());
                }
            }
        }
    };
    for keeper in kept.values() {
        keeper.stop.cancel();
    }
    while keepers.join_next().await.is_some() {}
    outcome
}

async fn tidy(tools: &Tools) -> Result<(), Error> {
    let pool = tools.kit.pool();
    let declared = tools.kit.service().targets();
    let names: Vec<String> = declared.by_name.keys().cloned().collect();
    let undeclared = in_time(
        "looking for undeclared targets",
        store::undeclared(pool, &names),
    );
    for (target, action_id) in undeclared.await? {
        let input = Input::Missed {
            action_id,
            reason: FailureReason::UnknownTarget,
            running: None,
            foreign: None,
            culprits: Vec::new(),
            message: wording::no_longer_declared(&target),
            evidence: Vec::new(),
        };
        let id = derive(["undeclared", &action_id.to_string()]);
        let input = TargetInput { target, input };
        let work = Work::local(id.into(), Trace::default(), input);
        tools.kit.handle(vec![work]).await?;
    }
    let rows = in_time("listing targets", store::list_targets(pool)).await?;
    let all = rows
        .iter()
        .any(|row| row.name == ALL_TARGETS && row.pause_id.is_some());
    for row in rows {
        if !declared.by_name.contains_key(&row.name) {
            continue;
        }
        let observed = row
            .observed
            .and_then(|seen| serde_json::from_value::<Shown>(seen).ok());
        let Some((running, managed)) = observed.and_then(|seen| seen.running.zip(seen.managed))
        else {
            continue;
        };
        let desired = row.pending_desired.or(row.settled);
        let figures = Figures {
            running,
            managed,
            desired: desired.and_then(|desired| u32::try_from(desired).ok()),
            paused: all || row.pause_id.is_some(),
        };
        tools
            .metrics
            .show(&row.name, &figures, row.pending.is_some());
    }
    Ok(())
}

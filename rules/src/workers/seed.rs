//! Begins topic `rule`: when it is empty, the rules that are active are its first change.

use std::{sync::Arc, time::Duration};

use service_kit::{Error, Kit, Trace, Work, Worker, clock::Ticker};
use shared_events::{
    Topic,
    rule::{FILE, RuleChanged},
};

use crate::{
    changes::{Base, Proposal},
    domain::Difference,
    files,
    service::{Input, RuleEngine, local_id},
    store::{rule_changes, rule_sets},
};

/// Rest between two questions to a broker that does not know the topic yet.
const REST: Duration = Duration::from_millis(250);

pub(super) fn worker(kit: &Kit<RuleEngine>) -> Worker {
    let kit = kit.clone();
    Worker::new("seed", move || {
        let kit = kit.clone();
        async move {
            if !kit.service().file_rules {
                seed(&kit).await?;
            }
            kit.shutdown().cancelled().await;
            Ok(())
        }
    })
}

/// Waits until everything that topic `rule` holds has its effect; false when the service stops.
pub(super) async fn topic_known(kit: &Kit<RuleEngine>) -> Result<bool, Error> {
    let mut ticker = Ticker::new(REST, kit.shutdown().clone());
    let topics = [Topic::Rule.name()];
    while ticker.tick().await {
        let known = tokio::select! {
            known = kit.watermarks().caught_up(&topics) => known,
            () = kit.shutdown().cancelled() => return Ok(false),
        };
        match known {
            Ok(()) => return Ok(true),
            // the broker is away, or does not know the topic yet
            Err(error) => tracing::debug!(%error, "topic rule cannot be read yet"),
        }
    }
    Ok(false)
}

async fn seed(kit: &Kit<RuleEngine>) -> Result<(), Error> {
    let pool = kit.pool();
    if rule_changes::newest(pool).await?.is_some() || !topic_known(kit).await? {
        return Ok(());
    }
    let mut ticker = Ticker::new(REST, kit.shutdown().clone());
    while ticker.tick().await {
        if rule_changes::newest(pool).await?.is_some() {
            return Ok(());
        }
        let Some(hash) = rule_sets::active(pool).await?.hash else {
            continue;
        };
        if let Some(stored) = rule_sets::stored(pool, &hash).await? {
            return propose(kit, stored.sources.rules.text).await;
        }
    }
    Ok(())
}

async fn propose(kit: &Kit<RuleEngine>, text: String) -> Result<(), Error> {
    let set = kit.service().rules.read(kit.pool()).await?;
    let at = {
        let connecting = Error::database("connecting");
        let mut conn = kit.pool().acquire().await.map_err(connecting)?;
        kit.database_now(&mut conn).await?
    };
    let change = RuleChanged {
        hash: files::content_hash(&text),
        text,
        at,
        number: 0,
        previous: None,
        actor: FILE.to_owned(),
        reason: "the rules file, because topic rule was empty".to_owned(),
    };
    let proposal = Proposal {
        summary: Difference::between(None, &set),
        change,
        based_on: Base::Nothing,
    };
    let id = local_id(&["seed", &proposal.change.hash]);
    let input = Input::Propose(Arc::new(proposal));
    kit.handle(vec![Work::local(id, Trace::current(), input)])
        .await?;
    tracing::info!("topic rule begins with the rules file");
    Ok(())
}

//! The Rule Engine from topics `alert`, `action` and `rule`, in the order of its log of decisions.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rules::{
    backtest::{Decision, Events, Rebuilt, rebuild as fold},
    domain::RuleSet,
};
use serde_json::Value;
use service_kit::{Position, Record, content::Item, service::Delivery};
use shared_events::Topic;

use super::{Made, Past};
use crate::{
    backtest::{Progress, read},
    error::Error,
    rules::sets::set,
};

impl Made for Rebuilt {
    fn items(&self) -> Vec<Item> {
        Self::items(self)
    }

    fn document(&self, id: &str) -> Option<Value> {
        Self::document(self, id).cloned()
    }
}

pub(super) async fn rebuild(past: &Past<'_>, progress: &Progress) -> Result<Box<dyn Made>, Error> {
    let mut decisions = read::decisions(past.client, progress, None).await?;
    decisions.retain(|decision| counted(past, decision));
    let mut events = Events::default();
    for family in [Topic::Alert, Topic::Action, Topic::Rule] {
        past.read(family, progress, |opened| {
            let delivery = Delivery {
                position: Position {
                    topic: family.name().to_owned(),
                    partition: opened.partition,
                    offset: opened.offset,
                },
                key: opened.key,
                envelope: opened.envelope.clone(),
            };
            let record = Record {
                topic: family.name(),
                envelope: &opened.envelope,
                writer: &opened.writer,
                datum: &opened.datum,
            };
            // poison is in the dead letters, and was not decided about
            drop(events.record(&record, delivery));
        })
        .await?;
    }
    let sets = sets(past, &decisions).await?;
    progress.say(&format!("deciding {} times", decisions.len()));
    let rebuilt = fold(&decisions, &events, &sets);
    let rebuilt = rebuilt.map_err(|gap| Error::Failed(gap.to_string()))?;
    Ok(Box::new(rebuilt))
}

/// Whether a decision was made when the content was told: the correlation says how many it had.
fn counted(past: &Past<'_>, decision: &Decision) -> bool {
    let id = format!("correlation {}", decision.correlation_key);
    let item = past.live.items.iter().find(|item| item.id == id);
    item.and_then(|item| item.inputs)
        .is_some_and(|decisions| decision.seq <= decisions)
}

/// The rules of every decision.
async fn sets(
    past: &Past<'_>,
    decisions: &[Decision],
) -> Result<HashMap<String, Arc<RuleSet>>, Error> {
    let loaded = decisions.iter().filter_map(|decision| {
        let loaded = decision.detail.as_ref()?;
        loaded["hash"].as_str().map(str::to_owned)
    });
    let under = decisions
        .iter()
        .map(|decision| decision.rules_version.clone());
    let hashes: BTreeSet<String> = loaded
        .chain(under)
        .filter(|hash| !hash.is_empty())
        .collect();
    let mut sets = HashMap::new();
    for hash in hashes {
        let set = set(past.client, &hash).await?;
        sets.insert(hash, Arc::new(set));
    }
    Ok(sets)
}

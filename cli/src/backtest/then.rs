//! The rules of then, each where it was in force.

use std::{collections::BTreeMap, sync::Arc};

use rules::{
    backtest::{Decision, Tried},
    domain::RuleSet,
};

use crate::{client::Client, error::Error, rules::sets::set};

/// Every rule set that the log names; `last` stands for the one that was in force last.
pub(super) async fn rules(
    client: &Client,
    decisions: &[Decision],
    last: Option<Arc<RuleSet>>,
) -> Result<Tried, Error> {
    let Some(newest) = decisions.last() else {
        let nothing = "there is no log of decisions, so nobody knows the rules of then: name rules with --rules";
        return last
            .map(Tried::throughout)
            .ok_or_else(|| Error::Failed(nothing.to_owned()));
    };
    let mut then: BTreeMap<String, Arc<RuleSet>> = BTreeMap::new();
    for decision in decisions {
        let version = &decision.rules_version;
        let stands_in = last.is_some() && *version == newest.rules_version;
        if !stands_in && !then.contains_key(version) {
            then.insert(version.clone(), Arc::new(set(client, version).await?));
        }
    }
    let otherwise = last.or_else(|| then.get(&newest.rules_version).cloned());
    Ok(Tried {
        then,
        otherwise: otherwise.expect("the newest was fetched, or something stands for it"),
    })
}

//! The rules of then, each where it was in force.

use std::{collections::BTreeMap, sync::Arc};

use chrono::TimeDelta;
use rules::{
    backtest::{Decision, Tried},
    domain::{Policy, RuleSet},
    files::{Source, Sources, compile},
};
use serde_json::Value;

use crate::{
    client::{Client, Server, segment},
    error::Error,
};

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
            then.insert(version.clone(), Arc::new(fetched(client, version).await?));
        }
    }
    let otherwise = last.or_else(|| then.get(&newest.rules_version).cloned());
    Ok(Tried {
        then,
        otherwise: otherwise.expect("the newest was fetched, or something stands for it"),
    })
}

async fn fetched(client: &Client, version: &str) -> Result<RuleSet, Error> {
    let path = format!("/api/v1/rules/sets/{}", segment(version));
    let answer = client.get(Server::Rules, &path, &[]).await?;
    let source = |field: &str| Source {
        name: format!("{field} of {}", version.get(..6).unwrap_or(version)),
        text: answer[field].as_str().unwrap_or_default().to_owned(),
    };
    let sources = Sources {
        rules: source("rules"),
        targets: source("targets"),
    };
    let millis = |value: &Value| TimeDelta::milliseconds(value.as_i64().unwrap_or_default());
    let policy = Policy {
        settle: millis(&answer["settle_ms"]),
        action_grace: millis(&answer["action_grace_ms"]),
    };
    let set = compile(&sources, policy)?;
    if set.hash == version {
        return Ok(set);
    }
    Err(Error::Failed(format!(
        "this build takes rule set {version} for {}: use the command of the Rule Engine's version",
        set.hash
    )))
}

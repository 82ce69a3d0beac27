//! `rules diff`: what changes, rule by rule and field by field.

use std::collections::BTreeMap;

use rules::{
    domain::RuleSet,
    files::{Source, Sources, compile},
};
use serde_json::{Map, Value, json};

use super::{DiffArgs, files::targets_of};
use crate::{
    client::{Client, Server},
    error::Error,
    output::{Output, line, printable},
};

/// Runs it: exit code 0 when nothing changes, 1 when something does.
pub(super) async fn run(client: &Client, output: Output, args: &DiffArgs) -> Result<(), Error> {
    let set = |source: Source| -> Result<RuleSet, Error> {
        let sources = Sources {
            rules: source,
            targets: targets_of(&args.one, None)?,
        };
        Ok(compile(&sources, args.settings.policy()?)?)
    };
    let (before, after) = match &args.other {
        Some(other) => (Source::read(&args.one)?, Source::read(other)?),
        None => (active(client).await?, Source::read(&args.one)?),
    };
    let changes = changes(&set(before)?, &set(after)?);
    if output.is_json() {
        output.json(&Value::Array(changes.clone()))?;
    } else if changes.is_empty() {
        line("no difference")?;
    } else {
        for change in &changes {
            for text in words(change) {
                line(&text)?;
            }
        }
    }
    if changes.is_empty() {
        Ok(())
    } else {
        Err(Error::Unwell)
    }
}

/// The active rules as they were written.
async fn active(client: &Client) -> Result<Source, Error> {
    let path = "/api/v1/rules/versions/current";
    Ok(Source {
        name: "(active rules)".to_owned(),
        text: client.text(Server::Rules, path).await?,
    })
}

/// Rules added, removed and changed; and an order that changed, since the first of two wins.
fn changes(before: &RuleSet, after: &RuleSet) -> Vec<Value> {
    let mut changes = Vec::new();
    for rule in &before.rules {
        match after.rule(&rule.name) {
            None => changes.push(json!({"rule": rule.name, "change": "removed"})),
            Some(now) if now.version != rule.version => {
                let fields = fields(&flat(rule), &flat(now));
                changes.push(json!({"rule": rule.name, "change": "changed", "fields": fields}));
            }
            Some(_) => {}
        }
    }
    for rule in &after.rules {
        if before.rule(&rule.name).is_none() {
            changes.push(json!({"rule": rule.name, "change": "added", "fields": flat(rule)}));
        }
    }
    let common = |one: &RuleSet, other: &RuleSet| -> Vec<String> {
        let rules = one.rules.iter().map(|rule| rule.name.clone());
        rules.filter(|name| other.rule(name).is_some()).collect()
    };
    let (then, now) = (common(before, after), common(after, before));
    if then != now {
        changes.push(json!({"rule": "(order)", "change": "changed",
            "fields": {"order": {"before": then, "after": now}}}));
    }
    if before.limits != after.limits {
        let fields = fields(&flat(&before.limits), &flat(&after.limits));
        changes.push(json!({"rule": "(limits)", "change": "changed", "fields": fields}));
    }
    changes
}

/// Every leaf of a rule by its path: `action.replicas`.
fn flat(rule: &impl serde::Serialize) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(rule) {
        collect(&value, "", &mut leaves);
    }
    leaves
}

fn collect(value: &Value, path: &str, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                collect(field, &path, leaves);
            }
        }
        Value::Null => {}
        other => {
            leaves.insert(path.to_owned(), other.clone());
        }
    }
}

fn fields(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Map<String, Value> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let change = json!({"before": before.get(name), "after": after.get(name)});
            (name.clone(), change)
        })
        .collect()
}

fn words(change: &Value) -> Vec<String> {
    let rule = change["rule"].as_str().unwrap_or_default();
    match change["change"].as_str() {
        Some("removed") => vec![format!("- {rule}")],
        Some("added") => vec![format!("+ {rule}")],
        Some(_) | None => {
            let mut lines = vec![format!("~ {rule}")];
            for (name, change) in change["fields"].as_object().into_iter().flatten() {
                let show = |value: &Value| match value {
                    Value::Null => "(nothing)".to_owned(),
                    other => printable(&other.to_string()),
                };
                let (before, after) = (show(&change["before"]), show(&change["after"]));
                lines.push(format!("    {name}: {before} -> {after}"));
            }
            lines
        }
    }
}

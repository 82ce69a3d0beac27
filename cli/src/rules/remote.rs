//! The rules of a running Rule Engine.

use serde_json::{Value, json};

use super::ApplyArgs;
use crate::{
    args::Because,
    client::{Client, Server, segment},
    error::Error,
    incident::moment,
    list::items,
    output::{As, Column, Output, line},
    verbs::because,
};

/// `rules show`
pub(super) async fn show(client: &Client, output: Output, name: &str) -> Result<(), Error> {
    let path = format!("/api/v1/rules/{}", segment(name));
    let rule = client.get(Server::Rules, &path, &[]).await?;
    if output.is_json() {
        return output.json(&rule);
    }
    for (name, value) in rule.as_object().into_iter().flatten() {
        let text = output.text(value, As::Names);
        if text != "-" {
            line(&format!("{name:<10} {text}"))?;
        }
    }
    Ok(())
}

/// `rules apply`
pub(super) async fn apply(client: &Client, output: Output, args: &ApplyArgs) -> Result<(), Error> {
    let source = rules::files::Source::read(&args.file)?;
    let held = match &args.if_match {
        Some(hash) => hash.clone(),
        None => {
            let rules = client.get(Server::Rules, "/api/v1/rules", &[]).await?;
            rules["hash"].as_str().unwrap_or("*").to_owned()
        }
    };
    let who = because(&args.because);
    let text = |name: &str| who[name].as_str().unwrap_or_default().to_owned();
    let mut query = vec![("actor", text("actor")), ("reason", text("reason"))];
    if args.dry_run {
        query.push(("dry_run", "true".to_owned()));
    }
    let held = match held.as_str() {
        "*" => "*".to_owned(),
        hash => format!("\"{hash}\""),
    };
    let answer = client
        .put_text(Server::Rules, "/api/v1/rules", &query, &held, source.text)
        .await?;
    applied(output, &answer)
}

/// `rules rollback`
pub(super) async fn rollback(
    client: &Client,
    output: Output,
    hash: &str,
    why: &Because,
) -> Result<(), Error> {
    let mut body = because(why);
    body["hash"] = hash.into();
    let answer = client
        .post(Server::Rules, "/api/v1/rules/rollback", &body)
        .await?;
    applied(output, &answer)
}

fn applied(output: Output, answer: &Value) -> Result<(), Error> {
    if output.is_json() {
        return output.json(answer);
    }
    let hash = output.text(&answer["hash"], As::Id);
    let number = output.text(&answer["number"], As::Text);
    let is = |name: &str| answer[name] == true;
    line(&if is("dry_run") {
        format!("valid: {hash} would become the active rules")
    } else if is("unchanged") {
        format!("nothing changed: {hash} is active")
    } else if is("applied") {
        let place = &answer["position"];
        let place = match place["offset"].as_i64() {
            Some(offset) => format!(
                " from {}/{} offset {offset} on",
                output.text(&place["topic"], As::Text),
                output.text(&place["partition"], As::Text)
            ),
            None => String::new(),
        };
        format!(
            "{hash} is active as number {number}{place}; `eventpulse rules rollback --reason ..` undoes it"
        )
    } else {
        format!(
            "{hash} is accepted as number {number}, and not active yet: `eventpulse rules versions` shows when"
        )
    })?;
    for name in ["added", "removed", "changed"] {
        let rules = output.text(&answer["summary"][name], As::Names);
        if rules != "-" {
            line(&format!("  {name}: {rules}"))?;
        }
    }
    Ok(())
}

/// `rules versions`
pub(super) async fn versions(client: &Client, output: Output) -> Result<(), Error> {
    let path = "/api/v1/rules/versions";
    let items = items(client, Server::Rules, path, &[], usize::MAX).await?;
    let columns = [
        Column("NUMBER", "/number", As::Text),
        Column("HASH", "/hash", As::Id),
        Column("ACTIVE", "/active", As::Text),
        Column("AT", "/at", As::Time),
        Column("WHO", "/actor", As::Text),
        Column("WHY", "/reason", As::Text),
        Column("ADDED", "/summary/added", As::Names),
        Column("REMOVED", "/summary/removed", As::Names),
        Column("CHANGED", "/summary/changed", As::Names),
        Column("OFFSET", "/position/offset", As::Text),
        Column("FAULT", "/fault", As::Text),
    ];
    output.list(&items, &columns, "no versions")
}

/// `rules shadow-report`
pub(super) async fn shadow_report(
    client: &Client,
    output: Output,
    since: &str,
) -> Result<(), Error> {
    let query = [("since", moment(output, since)?)];
    let path = "/api/v1/rules/shadow-report";
    let report = client.get(Server::Rules, path, &query).await?;
    if output.is_json() {
        return output.json(&report);
    }
    let items = report["items"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Value> = items
        .into_iter()
        .map(|mut item| {
            let live = item["live"].as_array().cloned().unwrap_or_default();
            let live = live.iter().map(|live| {
                let text = |name: &str| output.text(&live[name], As::Text);
                json!(format!(
                    "{} {} {}",
                    text("rule"),
                    text("outcome"),
                    text("count")
                ))
            });
            item["live_words"] = live.collect();
            item
        })
        .collect();
    let columns = [
        Column("SHADOW RULE", "/rule", As::Text),
        Column("INPUTS", "/inputs", As::Text),
        Column("WOULD HAVE FIRED", "/would_have_fired", As::Text),
        Column("ONLY SHADOW", "/only_shadow", As::Text),
        Column("ONLY LIVE", "/only_live", As::Text),
        Column("BOTH", "/both", As::Text),
        Column("LIVE RULES DID", "/live_words", As::Names),
    ];
    output.list(&rows, &columns, "no rule is in state shadow")
}

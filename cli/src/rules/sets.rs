//! The rules of then.

use chrono::TimeDelta;
use rules::{
    domain::{Policy, RuleSet},
    files::{Source, Sources, compile},
};

use crate::{
    client::{Client, Server, segment},
    error::Error,
};

/// The rule set that decisions name as their `rules_version`, compiled again.
///
/// # Errors
/// When the Rule Engine does not have it, and when this build makes another set of its text.
pub(crate) async fn set(client: &Client, version: &str) -> Result<RuleSet, Error> {
    let path = format!("/api/v1/rules/sets/{}", segment(version));
    let kept = client.get(Server::Rules, &path, &[]).await?;
    let text = |field: &str| kept[field].as_str().unwrap_or_default().to_owned();
    let millis = |field: &str| TimeDelta::milliseconds(kept[field].as_i64().unwrap_or_default());
    let source = |name: &str| Source {
        name: text(&format!("{name}_name")),
        text: text(name),
    };
    let sources = Sources {
        rules: source("rules"),
        targets: source("targets"),
    };
    let policy = Policy {
        settle: millis("settle_ms"),
        action_grace: millis("action_grace_ms"),
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

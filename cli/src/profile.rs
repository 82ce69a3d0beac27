//! Profiles: servers by name, in a small file.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Command;
use serde::Deserialize;

use crate::error::Error;

/// `~/.config/eventpulse/config.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile of a run that names none.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, BTreeMap<String, String>>,
}

/// Options that a profile may set.
const KEYS: [&str; 7] = [
    "ingest_url",
    "rules_url",
    "action_runner_url",
    "incident_store_url",
    "brokers",
    "topic_prefix",
    "registry_url",
];

/// `command` with the servers of the wanted profile as defaults: options and environment go first.
///
/// # Errors
/// When the file is not valid, or has no such profile.
pub(crate) fn with_profile(command: Command, arguments: &[String]) -> Result<Command, Error> {
    let wanted = named(arguments);
    let Some((path, text)) = read() else {
        return match wanted {
            None => Ok(command),
            Some(name) => Err(Error::Usage(format!(
                "there is no profile {name:?}: no ~/.config/eventpulse/config.toml"
            ))),
        };
    };
    let file: File = toml::from_str(&text)
        .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    let Some(name) = wanted.or(file.default) else {
        return Ok(command);
    };
    let Some(profile) = file.profiles.get(&name) else {
        let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
        return Err(Error::Usage(format!(
            "{}: there is no profile {name:?}; known are {}",
            path.display(),
            known.join(", ")
        )));
    };
    let mut command = command;
    for (key, value) in profile {
        if !KEYS.contains(&key.as_str()) {
            return Err(Error::Usage(format!(
                "{}: unknown key {key:?} in profile {name:?}; known are {}",
                path.display(),
                KEYS.join(", ")
            )));
        }
        // the parser lives as long as the process, and so do its defaults
        let value: &'static str = Box::leak(value.clone().into_boxed_str());
        command = command.mut_arg(key, |argument| argument.default_value(value));
    }
    Ok(command)
}

/// `--profile NAME`, `--profile=NAME`, or the environment's.
fn named(arguments: &[String]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--profile" {
            return rest.next().cloned();
        }
        if let Some(name) = argument.strip_prefix("--profile=") {
            return Some(name.to_owned());
        }
    }
    variable("EVENTPULSE_CLI_PROFILE")
}

fn read() -> Option<(PathBuf, String)> {
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    let path = folder.join("eventpulse").join("config.toml");
    let text = std::fs::read_to_string(&path).ok()?;
    Some((path, text))
}

#[expect(
    clippy::disallowed_methods,
    reason = "needed before the options are known"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

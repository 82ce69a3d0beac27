//! `rules test`: given alerts, expected decisions; decided by the same fold as in the engine.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use chrono::TimeDelta;
use rules::{
    backtest::{Answer, Assume, Decision, Message, Recorded, Replayed, Tried, replay},
    domain::RuleSet,
    files::{Source, Sources, compile},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared_events::{
    ActionEvent, AlertEvent, AlertId, EpisodeId, Labels, Timestamp,
    action::{TargetPaused, TargetResumed},
    alert::{AlertRaised, AlertResolved, ResolveReason},
};
use uuid::Uuid;

use super::files::{Settings, targets_of};
use crate::{
    error::Error,
    output::{Output, line},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// Beside this file.
    #[serde(default = "default_rules")]
    rules: String,
    targets: Option<String>,
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// How actions end: completed (a second after they were asked for) or failed (at their deadline).
    #[serde(default)]
    actions: Ends,
    /// Timers fire until then; the last `given` when it is missing.
    until: Option<String>,
    given: Vec<Given>,
    #[serde(default)]
    expect: Vec<Expected>,
    /// What no decision may be.
    #[serde(default)]
    never: Vec<Expected>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ends {
    #[default]
    Completed,
    Failed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    at: String,
    /// `alertname` of an alert that fires (again).
    fire: Option<String>,
    /// `alertname` of an alert that clears.
    clear: Option<String>,
    /// Name of a target, or `*`.
    pause: Option<String>,
    resume: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    at: Option<String>,
    rule: Option<String>,
    outcome: Option<String>,
    /// Words in the reason.
    reason: Option<String>,
    /// An action on this target to this count was asked for.
    scale: Option<BTreeMap<String, i32>>,
}

fn default_rules() -> String {
    "rules.yaml".to_owned()
}

/// Runs every test of a file.
pub(super) fn run(output: Output, path: &Path, settings: &Settings) -> Result<(), Error> {
    let text = Source::read(path)?.text;
    let wrong = |words: String| Error::Failed(format!("{}: {words}", path.display()));
    let file: File = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if file.version != 1 {
        return Err(wrong("this build reads version 1".to_owned()));
    }
    let rules = path.with_file_name(&file.rules);
    let targets = file.targets.as_ref().map(|name| path.with_file_name(name));
    let sources = Sources {
        rules: Source::read(&rules)?,
        targets: targets_of(&rules, targets.as_deref())?,
    };
    let set = Arc::new(compile(&sources, settings.policy()?)?);
    let mut results = Vec::new();
    for test in &file.tests {
        let faults = test.faults(&set).map_err(&wrong)?;
        results.push((test.name.as_str(), faults));
    }
    show(output, &results)
}

fn show(output: Output, results: &[(&str, Vec<String>)]) -> Result<(), Error> {
    let failed = results.iter().filter(|(_, faults)| !faults.is_empty());
    let failed = failed.count();
    if output.is_json() {
        let result = |(name, faults): &(&str, Vec<String>)| json!({"test": name, "passed": faults.is_empty(), "faults": faults});
        output.json(&results.iter().map(result).collect::<Value>())?;
    } else {
        for (name, faults) in results {
            line(&format!(
                "{}  {name}",
                if faults.is_empty() {
                    output.paint("ok    ", "ok")
                } else {
                    output.paint("FAILED", "failed")
                }
            ))?;
            for fault in faults {
                line(&format!("        {fault}"))?;
            }
        }
        line(&format!(
            "{} of {} passed",
            results.len() - failed,
            results.len()
        ))?;
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::Unwell)
    }
}

impl Test {
    /// What is not as expected. An error is one of the test itself.
    fn faults(&self, set: &Arc<RuleSet>) -> Result<Vec<String>, String> {
        let mut past = Recorded::default();
        let mut series = Series::default();
        for given in &self.given {
            let offset = i64::try_from(past.messages.len()).unwrap_or(i64::MAX);
            past.messages.push(Message {
                partition: 0,
                offset,
                event: given.event(&mut series)?,
            });
        }
        past.until = self.until.as_deref().map(time).transpose()?;
        let assume = match self.actions {
            Ends::Completed => Assume::Completed,
            Ends::Failed => Assume::Failed,
        };
        let tried = Tried::throughout(Arc::clone(set));
        let replayed = replay(&past, &tried, assume, &mut |_, _| {});
        let mut faults = Vec::new();
        let mut from = 0;
        for expected in &self.expect {
            match expected.find(&replayed, from)? {
                Some(at) => from = at + 1,
                None => faults.push(format!(
                    "expected {}; decided: {}",
                    expected.words(),
                    decided(&replayed)
                )),
            }
        }
        for never in &self.never {
            if never.find(&replayed, 0)?.is_some() {
                let decided = decided(&replayed);
                faults.push(format!("never {}; decided: {decided}", never.words()));
            }
        }
        Ok(faults)
    }
}

/// Episodes of the alerts of a test.
#[derive(Default)]
struct Series {
    /// Number of the episode, and occurrences of it while it fires.
    known: BTreeMap<AlertId, (i64, Option<i64>)>,
}

impl Given {
    fn event(&self, series: &mut Series) -> Result<rules::backtest::Event, String> {
        let at = time(&self.at)?;
        match (&self.fire, &self.clear, &self.pause, &self.resume) {
            (Some(name), None, None, None) => Ok(self.raised(name, at, series).into()),
            (None, Some(name), None, None) => Ok(self.resolved(name, at, series).into()),
            (None, None, Some(target), None) => Ok(ActionEvent::from(TargetPaused {
                pause_id: Uuid::nil(),
                target: target.clone(),
                at,
                until: None,
                actor: "test".to_owned(),
                reason: "test".to_owned(),
            })
            .into()),
            (None, None, None, Some(target)) => Ok(ActionEvent::from(TargetResumed {
                pause_id: Uuid::nil(),
                target: target.clone(),
                at,
                actor: "test".to_owned(),
                reason: "test".to_owned(),
            })
            .into()),
            _ => Err(format!(
                "given at {}: exactly one of fire, clear, pause, resume",
                self.at
            )),
        }
    }

    fn named(&self, name: &str) -> (Labels, AlertId) {
        let mut labels = self.labels.clone();
        labels.insert("alertname".to_owned(), name.to_owned());
        let id = AlertId::of("test", &labels);
        (labels, id)
    }

    fn raised(&self, name: &str, at: Timestamp, series: &mut Series) -> AlertEvent {
        let (labels, alert_id) = self.named(name);
        let (number, occurrences) = series.known.entry(alert_id).or_default();
        let occurrence = match occurrences {
            Some(before) => *before + 1,
            None => {
                *number += 1;
                1
            }
        };
        *occurrences = Some(occurrence);
        AlertRaised {
            alert_id,
            episode_id: EpisodeId::of(alert_id, *number, Timestamp::UNIX_EPOCH),
            occurrence,
            at,
            source: "test".to_owned(),
            labels,
            annotations: self.annotations.clone(),
            starts_at: None,
            ends_at: None,
            reopens: None,
            generator_url: None,
            fingerprint: None,
            receipt_id: None,
        }
        .into()
    }

    fn resolved(&self, name: &str, at: Timestamp, series: &mut Series) -> AlertEvent {
        let (labels, alert_id) = self.named(name);
        let (number, occurrences) = series.known.entry(alert_id).or_default();
        *occurrences = None;
        AlertResolved {
            alert_id,
            episode_id: EpisodeId::of(alert_id, *number, Timestamp::UNIX_EPOCH),
            at,
            reason: ResolveReason::Notified,
            source: "test".to_owned(),
            labels,
            annotations: self.annotations.clone(),
            starts_at: None,
            ends_at: Some(at),
        }
        .into()
    }
}

impl Expected {
    /// Position of the first answer from `from` on that is as expected.
    fn find(&self, replayed: &Replayed, from: usize) -> Result<Option<usize>, String> {
        let at = self.at.as_deref().map(time).transpose()?;
        if let Some(scale) = &self.scale {
            let asked = scale.iter().all(|(target, count)| {
                replayed.assumed.iter().any(|action| {
                    (&action.target, action.desired_replicas) == (target, *count)
                        && at.is_none_or(|at| action.requested_at == at)
                        && self.rule.as_ref().is_none_or(|rule| *rule == action.rule)
                })
            });
            if !asked {
                return Ok(None);
            }
            if self.outcome.is_none() && self.reason.is_none() {
                return Ok(Some(from.saturating_sub(1)));
            }
        }
        let found = answers(replayed)
            .enumerate()
            .skip(from)
            .find(|(_, (made, answer))| {
                at.is_none_or(|at| made.at == at)
                    && (self.rule.is_none() || self.rule == answer.rule)
                    && self
                        .outcome
                        .as_ref()
                        .is_none_or(|code| *code == answer.outcome)
                    && self
                        .reason
                        .as_ref()
                        .is_none_or(|words| answer.reason.contains(words))
            });
        Ok(found.map(|(position, _)| position))
    }

    fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.rule.clone());
        words.extend(self.outcome.clone());
        words.extend(self.reason.as_ref().map(|reason| format!("{reason:?}")));
        for (target, count) in self.scale.iter().flatten() {
            words.push(format!("scale {target} to {count}"));
        }
        words.extend(self.at.as_ref().map(|at| format!("at {at}")));
        words.join(" ")
    }
}

fn answers(replayed: &Replayed) -> impl Iterator<Item = (&Decision, &Answer)> {
    let decisions = replayed.decisions.iter();
    decisions.flat_map(|made| made.outcomes.iter().map(move |answer| (made, answer)))
}

fn decided(replayed: &Replayed) -> String {
    let word = |(made, answer): (&Decision, &Answer)| {
        let since = (made.at - Timestamp::UNIX_EPOCH)
            .to_std()
            .unwrap_or_default();
        let rule = answer.rule.as_deref().unwrap_or("(engine)");
        format!(
            "{} {rule} {} ({})",
            humantime::format_duration(since),
            answer.outcome,
            answer.reason
        )
    };
    let all: Vec<String> = answers(replayed).map(word).collect();
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join("; ")
    }
}

/// `90s`, `2m`: since the beginning of the test.
fn time(text: &str) -> Result<Timestamp, String> {
    let since = humantime::parse_duration(text)
        .ok()
        .and_then(|since| TimeDelta::from_std(since).ok());
    let at = since.and_then(|since| Timestamp::UNIX_EPOCH.checked_add_signed(since));
    at.ok_or_else(|| format!("{text:?} is no time since the beginning, as 0s or 1m30s"))
}

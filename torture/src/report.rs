//! What a run came to, for people and for machines.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    Mode, Plan,
    checker::{Evidence, Guarantee, Judgement},
    faults::{Done, Kind},
    restoring::Restored,
    soak::Soak,
};

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub duration_seconds: u64,
    pub instances: usize,
    pub passed: bool,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<Kind, usize>,
    pub faults_total: usize,
    /// Services that ended by themselves, and the like.
    pub notes: Vec<String>,
    /// Distinct firings in 2xx bodies.
    pub alerts_accepted: usize,
    pub notifications_accepted: usize,
    pub bodies_accepted: usize,
    pub bodies_tried: usize,
    pub lost: usize,
    pub doubled: usize,
    pub episodes: usize,
    pub incidents: usize,
    pub actions: usize,
    pub container_changes: usize,
    pub records: usize,
    pub dead_letters: usize,
    /// Until everything was at rest and right: from the end of the faults.
    pub converged_after_seconds: Option<f64>,
    /// The same, from when the last alert had been told.
    pub converged_after_told_seconds: Option<f64>,
    /// Of a calm run: what grew without a bound. Faults make processes that hold nothing yet.
    pub grown: Vec<String>,
    pub soak: Option<Soak>,
    /// Databases that were lost and restored.
    pub restored: Vec<Restored>,
    pub violations: Judgement,
}

/// How long it took to come to rest.
#[derive(Clone, Copy, Debug)]
pub struct Converged {
    /// Since the end of the faults.
    pub healed: Duration,
    /// Since the last alert had been told.
    pub told: Duration,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub judgement: Judgement,
    pub faults: &'a [Done],
    /// Missing: it did not come to rest.
    pub converged: Option<Converged>,
    pub notes: Vec<String>,
    pub soak: Soak,
    pub restored: Vec<Restored>,
}

impl Report {
    #[must_use]
    pub fn of(plan: &Plan, evidence: &Evidence, outcome: Outcome<'_>) -> Self {
        let judgement = outcome.judgement;
        let mut faults = BTreeMap::new();
        let worked = outcome.faults.iter().filter(|fault| fault.worked);
        for fault in worked.clone() {
            *faults.entry(fault.kind).or_default() += 1;
        }
        let soak = (plan.mode == Mode::Calm).then_some(outcome.soak);
        let grown = soak.as_ref().map(Soak::growth).unwrap_or_default();
        Self {
            seed: plan.seed,
            duration_seconds: plan.duration.as_secs(),
            instances: plan.instances,
            passed: judgement.holds() && outcome.converged.is_some() && grown.is_empty(),
            faults,
            faults_total: worked.count(),
            notes: outcome.notes,
            alerts_accepted: judgement.accepted,
            notifications_accepted: judgement.notifications,
            bodies_accepted: evidence.sent.iter().filter(|sent| sent.accepted()).count(),
            bodies_tried: evidence.sent.len(),
            lost: judgement.lost,
            doubled: judgement.doubled,
            episodes: judgement.episodes,
            incidents: judgement.incidents,
            actions: judgement.actions,
            container_changes: evidence.docker.len(),
            records: judgement.records,
            dead_letters: judgement.dead_letters,
            converged_after_seconds: outcome.converged.map(|after| after.healed.as_secs_f64()),
            converged_after_told_seconds: outcome.converged.map(|after| after.told.as_secs_f64()),
            grown,
            soak,
            restored: outcome.restored,
            violations: judgement,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let verdict = if self.passed { "PASSED" } else { "FAILED" };
        let _ = writeln!(
            text,
            "torture {verdict}: seed {}, {} s, {} instances of each service",
            self.seed, self.duration_seconds, self.instances
        );
        let kinds: Vec<String> = self
            .faults
            .iter()
            .map(|(kind, count)| format!("{} {count}", name(*kind)))
            .collect();
        let _ = writeln!(
            text,
            "  faults    {}: {}",
            self.faults_total,
            kinds.join(", ")
        );
        let _ = writeln!(
            text,
            "  alerts    {} accepted ({} notifications in {} bodies, {} tried), {} lost, {} doubled",
            self.alerts_accepted,
            self.notifications_accepted,
            self.bodies_accepted,
            self.bodies_tried,
            self.lost,
            self.doubled
        );
        let _ = writeln!(
            text,
            "  came to   {} episodes, {} incidents, {} actions, {} container changes, {} records, {} dead letters",
            self.episodes,
            self.incidents,
            self.actions,
            self.container_changes,
            self.records,
            self.dead_letters
        );
        let times = self
            .converged_after_seconds
            .zip(self.converged_after_told_seconds);
        let _ = match times {
            Some((healed, told)) => writeln!(
                text,
                "  converged {healed:.1} s after the last fault, {told:.1} s after the last alert was told"
            ),
            None => writeln!(text, "  did not come to rest"),
        };
        for restored in &self.restored {
            let _ = writeln!(text, "  restored  {}", restored.text());
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note      {note}");
        }
        if let Some(soak) = &self.soak {
            let _ = writeln!(
                text,
                "  held (MiB/file handles/tasks by process; MiB by database)"
            );
            text.push_str(&soak.text());
            for grown in &self.grown {
                let _ = writeln!(text, "  FAIL grows: {grown}");
            }
        }
        for guarantee in Guarantee::ALL {
            let found = self.violations.violations.iter();
            let found: Vec<_> = found.filter(|v| v.guarantee == guarantee).collect();
            let sign = if found.is_empty() { "ok  " } else { "FAIL" };
            let _ = writeln!(text, "  {sign} {guarantee:?} {}", guarantee.says());
            for violation in found {
                let _ = writeln!(text, "       - {}", violation.what);
            }
        }
        text
    }
}

fn name(kind: Kind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Writes the report, and the story of the faults.
pub fn write(folder: &Path, report: &Report, faults: &[Done]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    fs::write(folder.join("report.txt"), report.text())?;
    fs::write(
        folder.join("report.json"),
        serde_json::to_vec_pretty(report)?,
    )?;
    story(folder, faults)
}

fn story(folder: &Path, faults: &[Done]) -> Result<()> {
    let faults = serde_json::to_vec_pretty(faults)?;
    fs::write(folder.join("faults.json"), faults).with_context(|| folder.display().to_string())
}

/// Writes what there is of a run that could not be judged.
pub fn unfinished(folder: &Path, faults: &[Done], logs: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    story(folder, faults)?;
    copy(logs, folder)
}

fn copy(logs: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(logs)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            continue;
        }
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// Writes what a failure is looked into with.
pub fn keep(folder: &Path, evidence: &Evidence, logs: &Path) -> Result<()> {
    let mut sent = String::new();
    for (number, body) in evidence.sent.iter().enumerate() {
        let _ = writeln!(
            sent,
            "{number} member {} at {} answer {:?} bad {:?}",
            body.member, body.at, body.answer, body.bad
        );
        for told in &*body.told {
            let _ = writeln!(sent, "  {told:?} {:?}", evidence.series[told.series]);
        }
    }
    fs::write(folder.join("sent.txt"), sent)?;
    let mut records = String::new();
    for record in &evidence.records {
        let place = record.place();
        let _ = writeln!(
            records,
            "{place} seq {:?} {} {:?}",
            record.sequence, record.source, record.fact
        );
    }
    fs::write(folder.join("records.txt"), records)?;
    fs::write(
        folder.join("docker.json"),
        serde_json::to_vec_pretty(&evidence.docker)?,
    )?;
    copy(logs, folder)
}

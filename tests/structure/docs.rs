//! The manuals keep up with the code.

use anyhow::{Result, ensure};
use regex::Regex;
use shared_events::incident::ReasonCode;

use crate::tree::{read, sources};

/// Every code that an operator can meet has a row (cause, check, command) in OPERATING.md.
#[test]
fn every_code_has_a_row() -> Result<()> {
    let manual = read("docs/OPERATING.md")?;
    let decisions = rules::domain::Outcome::ALL
        .iter()
        .map(|outcome| outcome.code());
    let missing: Vec<&str> = ReasonCode::DOCUMENTED
        .iter()
        .copied()
        .chain(decisions)
        .filter(|code| !manual.contains(&format!("| `{code}` |")))
        .collect();
    ensure!(
        missing.is_empty(),
        "no row in docs/OPERATING.md: {missing:?}"
    );
    Ok(())
}

/// Links between the documents lead somewhere.
#[test]
fn links_lead_somewhere() -> Result<()> {
    let link = Regex::new(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")?;
    let mut broken = Vec::new();
    for source in sources(".md")? {
        let folder = crate::tree::root().join(&source.path);
        for found in link.captures_iter(&source.text) {
            let target = folder.parent().map(|folder| folder.join(&found[1]));
            if !target.is_some_and(|target| target.exists()) {
                broken.push(format!("{}: {}", source.path, &found[1]));
            }
        }
    }
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

/// Alarms are about metrics that some service exports.
#[test]
fn every_metric_of_the_alert_rules_exists() -> Result<()> {
    let rules = read("deploy/eventpulse-alerts.yml")?;
    let name = Regex::new(r"\beventpulse_[a-z0-9_]+")?;
    let code: String = sources(".rs")?
        .into_iter()
        .map(|source| source.text)
        .collect();
    let mut unknown: Vec<String> = name
        .find_iter(&rules)
        .map(|found| found.as_str().to_owned())
        .filter(|metric| {
            let bare = metric
                .trim_start_matches("eventpulse_")
                .trim_end_matches("_bucket")
                .trim_end_matches("_count")
                .trim_end_matches("_sum")
                .trim_end_matches("_total")
                .trim_end_matches("_seconds");
            !code.contains(&format!("\"{bare}")) && !code.contains(&format!("\"eventpulse_{bare}"))
        })
        .collect();
    unknown.dedup();
    ensure!(unknown.is_empty(), "no code exports {unknown:?}");
    Ok(())
}

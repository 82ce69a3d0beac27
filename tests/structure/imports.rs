//! Imports go one way: shared-events <- service-kit <- services; never service -> service; a
//! `domain` module is pure; the kit has no word of the domain.

use anyhow::{Result, ensure};
use regex::Regex;

use crate::tree::{Source, read, sources};

const SERVICES: [&str; 4] = ["ingest", "rules", "action-runner", "incident-store"];

/// The source without tests, comments and string literals' doc lines.
fn code(source: &Source) -> String {
    let text = source.text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn offences(files: &[Source], forbidden: &Regex) -> Vec<String> {
    files
        .iter()
        .flat_map(|source| {
            code(source)
                .lines()
                .filter(|line| forbidden.is_match(line))
                .map(|line| format!("{}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_domain(path: &str) -> bool {
    SERVICES
        .iter()
        .any(|service| path.starts_with(&format!("{service}/src/domain/")))
        || SERVICES
            .iter()
            .any(|service| path == format!("{service}/src/domain.rs"))
}

fn non_test(path: &str) -> bool {
    !path.contains("/tests/") && !path.ends_with("tests.rs") && !path.contains("/tests_")
}

#[test]
fn domains_are_pure() -> Result<()> {
    let files: Vec<Source> = sources(".rs")?
        .into_iter()
        .filter(|source| is_domain(&source.path) && non_test(&source.path))
        .collect();
    ensure!(!files.is_empty(), "no domain module found");
    let forbidden = Regex::new(
        r"\b(service_kit|tokio|sqlx|async|await|rdkafka|bollard|axum|tracing|SystemTime|Instant|Utc::now|new_v4|now_v7|rand)\b",
    )?;
    let found = offences(&files, &forbidden);
    ensure!(found.is_empty(), "a domain is pure:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn domains_match_without_wildcards() -> Result<()> {
    let files: Vec<Source> = sources(".rs")?
        .into_iter()
        .filter(|source| is_domain(&source.path) && non_test(&source.path))
        .collect();
    let found = offences(&files, &Regex::new(r"^\s*_ =>")?);
    ensure!(
        found.is_empty(),
        "write the variants out:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn the_kit_has_no_word_of_the_domain() -> Result<()> {
    let files: Vec<Source> = sources(".rs")?
        .into_iter()
        .filter(|source| source.path.starts_with("service-kit/src/"))
        .filter(|source| !source.path.ends_with("/testing.rs"))
        .collect();
    let words = Regex::new(r"(?i)\b\w*(alert|incident|episode|replicas|cooldown)\w*\b")?;
    let found: Vec<String> = offences(&files, &words)
        .into_iter()
        // fields that logs promise to operators (trace_id, event_id, incident_id)
        .filter(|line| !line.contains("incident_id") && !line.contains("incident.id"))
        .collect();
    ensure!(
        found.is_empty(),
        "domain in the shell:\n{}",
        found.join("\n")
    );
    Ok(())
}

/// What judges the services must not err as they do.
#[test]
fn the_checker_shares_no_code_with_the_services() -> Result<()> {
    let files: Vec<Source> = sources(".rs")?
        .into_iter()
        .filter(|source| source.path.starts_with("torture/src/checker/"))
        .collect();
    ensure!(!files.is_empty(), "no checker found");
    let theirs = Regex::new(
        r"\b(shared_events|service_kit|action_runner|incident_store|eventpulse_tests)\b|use (ingest|rules)\b",
    )?;
    let found = offences(&files, &theirs);
    ensure!(
        found.is_empty(),
        "it judges by its own code:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn crates_depend_one_way() -> Result<()> {
    let depends = |manifest: &str, name: &str| -> Result<bool> {
        let text = read(&format!("{manifest}/Cargo.toml"))?;
        let normal = text.split("[dev-dependencies]").next().unwrap_or_default();
        Ok(Regex::new(&format!(r"(?m)^{name}(\.| =)"))?.is_match(normal))
    };
    let mut wrong = Vec::new();
    for other in SERVICES.iter().chain(&["service-kit"]) {
        if depends("shared-events", other)? {
            wrong.push(format!("shared-events -> {other}"));
        }
    }
    for service in SERVICES {
        if depends("service-kit", service)? {
            wrong.push(format!("service-kit -> {service}"));
        }
        for other in SERVICES.iter().filter(|other| **other != service) {
            if depends(service, other)? {
                wrong.push(format!("{service} -> {other}"));
            }
        }
        if depends(service, "rdkafka")? {
            wrong.push(format!("{service} -> rdkafka: only the kit holds a client"));
        }
        if service != "action-runner" && depends(service, "bollard")? {
            wrong.push(format!(
                "{service} -> bollard: only action-runner touches Docker"
            ));
        }
    }
    for io in ["tokio", "sqlx", "rdkafka", "axum", "tracing"] {
        if depends("shared-events", io)? {
            wrong.push(format!("shared-events -> {io}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "imports go one way:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

#[test]
fn only_in_tx_begins_transactions() -> Result<()> {
    let files: Vec<Source> = sources(".rs")?
        .into_iter()
        .filter(|source| source.path.contains("/src/") && source.path != "service-kit/src/tx.rs")
        .collect();
    let found = offences(
        &files,
        &Regex::new(r"(pool|connection|conn|pool\(\))\.begin(_with)?\(|Transaction::begin")?,
    );
    ensure!(
        found.is_empty(),
        "sqlx's begin() is not cancel safe: use service_kit::tx::in_tx:\n{}",
        found.join("\n")
    );
    Ok(())
}

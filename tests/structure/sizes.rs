//! Short files: 500 lines at most, 800 for tests, a `main.rs` of a service 25.

use anyhow::{Result, ensure};

use crate::tree::sources;

const LIMIT: usize = 500;
const TEST_LIMIT: usize = 800;
const MAIN_LIMIT: usize = 25;

#[test]
fn files_are_short() -> Result<()> {
    let long: Vec<String> = sources(".rs")?
        .iter()
        .filter_map(|source| {
            let lines = source.text.lines().count();
            let limit = limit(&source.path);
            (lines > limit).then(|| format!("{}: {lines} lines, at most {limit}", source.path))
        })
        .collect();
    ensure!(long.is_empty(), "too long:\n{}", long.join("\n"));
    Ok(())
}

fn limit(path: &str) -> usize {
    let service_main = ["ingest", "rules", "action-runner", "incident-store"]
        .iter()
        .any(|service| path == format!("{service}/src/main.rs"));
    if service_main {
        MAIN_LIMIT
    } else if path.contains("/tests/") || path.starts_with("tests/") {
        TEST_LIMIT
    } else {
        LIMIT
    }
}

#[test]
fn readme_is_short() -> Result<()> {
    let lines = crate::tree::read("README.md")?.lines().count();
    ensure!(lines < 120, "README.md has {lines} lines, under 120 wanted");
    Ok(())
}

//! Every point at which a process can be made to die is one at which a test lets it die.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use regex::Regex;

use crate::tree::{read, sources};

#[test]
fn every_failpoint_is_swept() -> Result<()> {
    let sweep = read("tests/e2e/failpoints.rs")? + &read("tests/e2e/restore.rs")?;
    let pass = Regex::new(r#"failpoint::pass\("([a-z.]+)"\)"#)?;
    let mut points = BTreeSet::new();
    for source in sources(".rs")? {
        for found in pass.captures_iter(&source.text) {
            points.insert(found[1].to_owned());
        }
    }
    ensure!(!points.is_empty(), "no source passes a failpoint");
    let missed: Vec<_> = points
        .iter()
        .filter(|point| !sweep.contains(&format!("\"{point}\"")))
        .collect();
    ensure!(missed.is_empty(), "nobody dies at {missed:?}");
    Ok(())
}

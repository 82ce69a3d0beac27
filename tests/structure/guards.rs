//! The patches that take guards away still fit the sources: else nobody could show what notices it.

use std::{fs, process::Command};

use anyhow::{Result, ensure};

use crate::tree::root;

#[test]
fn every_guard_can_still_be_taken_away() -> Result<()> {
    let mut patches = 0;
    for entry in fs::read_dir(root().join("torture/guards"))? {
        let path = entry?.path();
        let applied = Command::new("git")
            .args(["apply", "--check"])
            .arg(&path)
            .current_dir(root())
            .output()?;
        let why = String::from_utf8_lossy(&applied.stderr);
        ensure!(applied.status.success(), "{}: {why}", path.display());
        patches += 1;
    }
    ensure!(patches >= 7, "{patches} guards");
    Ok(())
}

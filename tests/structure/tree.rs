//! The files of the repository as git knows them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// A tracked (or new, not ignored) text file.
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

/// Files whose name ends with `suffix`.
pub(crate) fn sources(suffix: &str) -> Result<Vec<Source>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()?;
    ensure!(listed.status.success(), "git ls-files failed");
    let found: Vec<Source> = String::from_utf8(listed.stdout)?
        .lines()
        .filter(|path| path.ends_with(suffix))
        .filter_map(|path| {
            let text = fs::read_to_string(root().join(path)).ok()?;
            Some(Source {
                path: path.to_owned(),
                text,
            })
        })
        .collect();
    ensure!(!found.is_empty(), "no file ends with {suffix}");
    Ok(found)
}

//! Rule and target files: YAML in, a rule set out, or an error that names file, line and column and
//! guesses what was meant.

mod fault;
mod rules_file;

use std::path::PathBuf;

pub use fault::Fault;
pub(crate) use fault::read;
use sha2::{Digest, Sha256};

use crate::{
    domain::{Policy, RuleSet},
    targets,
};

/// Stack of the thread that compiles conditions: CEL's parser recurses deeply.
const STACK: usize = 32 << 20;

/// The two files, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    pub rules: Source,
    pub targets: Source,
}

/// One file, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As people know it: part of every error.
    pub name: String,
    pub text: String,
}

/// Why there is no rule set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Invalid(#[from] Fault),
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    pub fn read(path: &std::path::Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            name: path.display().to_string(),
            text,
        })
    }
}

/// SHA-256 of the text of a file, hexadecimal: what `sha256sum` says.
#[must_use]
pub fn content_hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The rule set that the files are.
///
/// # Errors
/// When one of them is not valid: the first fault found.
pub fn compile(sources: &Sources, policy: Policy) -> Result<RuleSet, Error> {
    let targets = targets::parse(&sources.targets)?;
    let (rules, limits) = on_large_stack(|| rules_file::parse(&sources.rules))?;
    Ok(RuleSet::new(rules, targets, policy).limited(limits))
}

/// Runs `work` on a thread with a large stack, and waits for it.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("compile".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .expect("a thread can be started");
        match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests;

//! Templates that the gate made itself and keeps: replicas can still be made when the container that
//! they are made from is gone. One file each, `<target>@<hash>.json`.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use service_kit::error::chain;

use crate::docker::template::{Template, Uncopyable};

/// How many of a target are kept: the current one, and those that a deploy is just replacing.
const NEWEST: usize = 4;

#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    /// By target, the newest last.
    templates: Mutex<HashMap<String, Vec<Entry>>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// Counts on, over all targets: tells what is newest.
    number: u64,
    target: String,
    hash: String,
    template: Template,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is no template of this build")]
    Json(#[from] serde_json::Error),
    #[error("its content is not what its hash says")]
    Hash,
    #[error("it must not be copied")]
    Uncopyable(#[from] Uncopyable),
}

impl Kept {
    /// Reads what an earlier process kept. A file that cannot be used is left where it is, and said.
    ///
    /// # Errors
    /// When the folder is not there and cannot be made.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut found: Vec<Entry> = Vec::new();
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read(&path) {
                Ok(entry) => found.push(entry),
                Err(error) => tracing::warn!(
                    file = %path.display(),
                    error = chain(&error),
                    "a kept template is not used"
                ),
            }
        }
        found.sort_by_key(|entry| entry.number);
        let mut templates = HashMap::<String, Vec<Entry>>::new();
        for entry in found {
            templates
                .entry(entry.target.clone())
                .or_default()
                .push(entry);
        }
        Ok(Self {
            folder,
            templates: Mutex::new(templates),
        })
    }

    pub(super) fn find(&self, target: &str, hash: &str) -> Option<Template> {
        let templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut kept = templates.get(target)?.iter();
        kept.find(|entry| entry.hash == hash)
            .map(|entry| entry.template.clone())
    }

    /// Everything that is kept of a target.
    pub(super) fn all(&self, target: &str) -> Vec<Template> {
        let templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = templates.get(target).into_iter().flatten();
        kept.map(|entry| entry.template.clone()).collect()
    }

    /// Keeps a template as the newest of its target. A disk that does not take it costs only the
    /// memory of the next process.
    pub(super) fn keep(&self, target: &str, template: &Template) {
        let hash = template.hash();
        let mut templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let numbers = templates.values().flatten().map(|entry| entry.number);
        let number = numbers.max().unwrap_or(0) + 1;
        let kept = templates.entry(target.to_owned()).or_default();
        if kept.last().is_some_and(|newest| newest.hash == hash) {
            return;
        }
        kept.retain(|entry| entry.hash != hash);
        let entry = Entry {
            number,
            target: target.to_owned(),
            hash,
            template: template.clone(),
        };
        let mut written = write(&self.folder, &entry);
        kept.push(entry);
        while kept.len() > NEWEST {
            let oldest = kept.remove(0);
            let removed = fs::remove_file(self.folder.join(file_name(&oldest)));
            written = written.and(removed);
        }
        if let Err(error) = written {
            tracing::warn!(
                target.name = target,
                folder = %self.folder.display(),
                error = chain(&error),
                "a template is kept in memory only"
            );
        }
    }
}

/// `@` is in no target's name.
fn file_name(entry: &Entry) -> String {
    format!("{}@{}.json", entry.target, entry.hash)
}

fn read(path: &Path) -> Result<Entry, Unusable> {
    let entry: Entry = serde_json::from_slice(&fs::read(path)?)?;
    if entry.template.hash() != entry.hash {
        return Err(Unusable::Hash);
    }
    // What an earlier build let through.
    entry.template.judge()?;
    Ok(entry)
}

/// Whole or not at all. For the owner's eyes: a template has the environment of its container.
fn write(folder: &Path, entry: &Entry) -> io::Result<()> {
    let path = folder.join(file_name(entry));
    let draft = path.with_extension("draft");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&draft)?;
    serde_json::to_writer(&file, entry)?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

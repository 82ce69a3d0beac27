//! The declared targets, as the file has them now.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::targets::{Error, Targets};

/// Reads the file again for each request: it is small, and what a person took out of it is out.
#[derive(Debug)]
pub(super) struct Declared {
    file: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    /// `None`: it could not be read.
    text: Option<String>,
    good: Arc<Targets>,
}

impl Declared {
    /// # Errors
    /// When the file cannot be used: there is no last good one yet.
    pub(super) fn read(file: PathBuf) -> Result<Self, Error> {
        let text = fs::read_to_string(&file).ok();
        let good = Arc::new(local(understand(&file, text.as_deref())?));
        tell("targets are loaded", &good);
        Ok(Self {
            file,
            last: Mutex::new(Last { text, good }),
        })
    }

    /// The last good ones.
    pub(super) fn now(&self) -> Arc<Targets> {
        let text = fs::read_to_string(&self.file).ok();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if text != last.text {
            match understand(&self.file, text.as_deref()) {
                Ok(targets) => {
                    last.good = Arc::new(local(targets));
                    tell("targets are reloaded", &last.good);
                }
                Err(error) => {
                    let version = &last.good.version;
                    tracing::error!("{error}; version {version} still counts");
                }
            }
            last.text = text;
        }
        Arc::clone(&last.good)
    }
}

/// Without a text, the error says why there is none.
fn understand(file: &Path, text: Option<&str>) -> Result<Targets, Error> {
    match text {
        Some(text) => Targets::parse(file, text),
        None => Targets::read(file),
    }
}

fn tell(what: &str, targets: &Targets) {
    let (version, count) = (&targets.version, targets.by_name.len());
    tracing::info!(version, targets = count, "{what}");
}

/// Targets of an engine behind TLS are nothing to do with the engine behind this gate.
fn local(mut targets: Targets) -> Targets {
    targets
        .by_name
        .retain(|_, target| target.docker_host.starts_with("unix://"));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &[&str]) -> String {
        let mut text = "version: 1\ntargets:\n".to_owned();
        for name in names {
            let host = if name.starts_with("far") {
                "tcp://far:2376"
            } else {
                "unix:///var/run/docker.sock"
            };
            text += &format!(
                "- {{name: {name}, docker_host: \"{host}\", selector: {{service: x}}, any_project: true, min_replicas: 1, max_replicas: 2}}\n"
            );
        }
        text
    }

    fn names(declared: &Declared) -> Vec<String> {
        declared.now().by_name.keys().cloned().collect()
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("targets.yaml");
        assert!(
            Declared::read(path.clone()).is_err(),
            "nothing to begin with"
        );
        fs::write(&path, file(&["app", "far-app"])).expect("written");
        let declared = Declared::read(path.clone()).expect("a good file");
        assert_eq!(names(&declared), ["app"], "another engine's is not ours");
        fs::write(&path, file(&["app", "web"])).expect("written");
        assert_eq!(names(&declared), ["app", "web"]);
        fs::write(&path, "version: 2").expect("written");
        assert_eq!(names(&declared), ["app", "web"]);
        fs::remove_file(&path).expect("removed");
        assert_eq!(names(&declared), ["app", "web"]);
        fs::write(&path, file(&["web"])).expect("written");
        assert_eq!(names(&declared), ["web"]);
    }
}

//! The story's only inputs: load on, load off, and what somebody ships to the app.

use std::{fs, io, path::PathBuf};

use crate::{
    hey::Report,
    look::docker::Engine,
    until::{Link, Seen},
};

/// A cache that does not exist: the app that starts with it is never ready.
const BAD: &str =
    "# shipped in the demo: nobody has checked the name\nupstream = cache.invalid:6379\n";
pub(crate) const BAD_UPSTREAM: &str = "cache.invalid:6379";

#[derive(Debug)]
pub(crate) struct Inputs {
    engine: Engine,
    file: PathBuf,
}

impl Inputs {
    pub(crate) fn new(engine: Engine, folder: PathBuf) -> Self {
        Self {
            engine,
            file: folder.join("app.conf"),
        }
    }

    pub(crate) async fn load_on(&self) -> Result<(), Seen> {
        match self.load().await? {
            Some(load) => self.engine.start(&load).await,
            None => Err(Seen::new(
                Link::Load,
                "there is no load container: docker compose --profile load create load",
            )),
        }
    }

    /// Stops load and waits for hey's report.
    pub(crate) async fn load_off(&self) -> Result<Report, Seen> {
        let Some(load) = self.load().await? else {
            return Err(Seen::new(Link::Load, "the load container is gone"));
        };
        self.engine.stop(&load).await?;
        let log = self.engine.log(&load).await?;
        Report::parse(&log)
            .ok_or_else(|| Seen::new(Link::Load, format!("hey has not reported: {log}")))
    }

    /// Somebody ships a configuration that cannot work. Running replicas do not read it.
    pub(crate) fn ship_bad_file(&self) -> Result<(), Seen> {
        fs::write(&self.file, BAD).map_err(|error| self.shipping(&error))
    }

    pub(crate) fn take_back_bad_file(&self) -> Result<(), Seen> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.shipping(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Load off and no bad file, whatever was before.
    pub(crate) async fn reset(&self) -> Result<(), Seen> {
        self.take_back_bad_file()?;
        match self.load().await? {
            Some(load) => self.engine.stop(&load).await,
            None => Ok(()),
        }
    }

    async fn load(&self) -> Result<Option<String>, Seen> {
        let containers = self.engine.containers("load").await?;
        Ok(containers.into_iter().next().map(|container| container.id))
    }

    fn shipping(&self, error: &io::Error) -> Seen {
        Seen::new(Link::App, format!("{}: {error}", self.file.display()))
    }
}

//! Settings, and the configuration file that people ship.

use std::{
    fs, io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, Subcommand};

/// A web application that burns CPU time: the thing that EventPulse scales in the demo.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) serve: Serve,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks a running app for its health: prints the answer, exits 1 unless it is 200.
    Healthcheck {
        /// host:port of the app.
        #[arg(default_value = "127.0.0.1:8080")]
        url: SocketAddr,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    /// Address to serve on.
    #[arg(long, env = "DEMO_APP_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Configuration file, read once at start; a file that is not there is an empty one.
    #[arg(long, env = "DEMO_APP_CONFIG", default_value = "/config/app.conf")]
    pub(crate) config: PathBuf,
    /// Thread CPU time that one request to /work costs.
    #[arg(long, env = "DEMO_APP_CPU", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub(crate) cpu: Duration,
    /// Requests that burn at the same time. The rest wait, so that health is never behind them.
    #[arg(long, env = "DEMO_APP_WORKERS", default_value = "2")]
    pub(crate) workers: NonZeroUsize,
    /// Requests that may wait for a worker; more are answered 503 at once.
    #[arg(long, env = "DEMO_APP_QUEUE", default_value = "64")]
    pub(crate) queue: usize,
    /// After SIGTERM: longest time in which requests are still taken while the balancer forgets this replica.
    #[arg(long, env = "DEMO_APP_DRAIN", default_value = "9s", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,
    /// Name in the header X-Served-By: the container's id unless set.
    #[arg(long, env = "HOSTNAME", default_value = "demo-app")]
    pub(crate) name: String,
}

/// The configuration file: lines of `key = value`, `#` begins a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    /// host:port that the app needs before it can work.
    pub(crate) upstream: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}:{line}: unknown setting {text:?}; known is: upstream = host:port")]
    Unknown {
        path: PathBuf,
        line: usize,
        text: String,
    },
}

impl File {
    /// Reads `path`; no file means no settings.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(FileError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let mut file = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match line
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
            {
                Some(("upstream", "")) => file.upstream = None,
                Some(("upstream", value)) => file.upstream = Some(value.to_owned()),
                Some(_) | None => {
                    return Err(FileError::Unknown {
                        path: path.to_owned(),
                        line: index + 1,
                        text: line.to_owned(),
                    });
                }
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn no_file_and_no_upstream_are_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = File::read(&folder.path().join("app.conf")).expect("no file is fine");
        assert_eq!(missing, File::default());
        assert_eq!(
            File::parse(Path::new("f"), "# nothing\nupstream =\n").expect("valid"),
            missing
        );
    }

    #[test]
    fn the_upstream_is_read() {
        let file = File::parse(
            Path::new("f"),
            "upstream = cache.invalid:6379 # shipped by hand\n",
        );
        assert_eq!(
            file.expect("valid").upstream.as_deref(),
            Some("cache.invalid:6379")
        );
    }

    #[test]
    fn an_unknown_setting_names_its_line() {
        let error = File::parse(Path::new("app.conf"), "\nupstraem = x:1\n").expect_err("a typo");
        assert_eq!(
            error.to_string(),
            "app.conf:2: unknown setting \"upstraem = x:1\"; known is: upstream = host:port"
        );
    }
}

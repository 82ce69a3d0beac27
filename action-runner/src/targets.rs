//! `targets.yaml`: what may be touched. Errors say file, line and column, and the word that was
//! probably meant.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use sha2::{Digest, Sha256};

use crate::domain::target::{Bounds, COMPOSE_PROJECT, Readiness, Target};

/// Where Docker listens unless a target says otherwise.
const LOCAL_DOCKER: &str = "unix:///var/run/docker.sock";
/// As Compose has it.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// Most replicas that a target may be allowed to have.
const MOST: u32 = 1000;
/// More than one call may take: a lease is held for longer than that.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// Every declared target, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// First digits of the content's hash: what people compare.
    pub version: String,
    pub by_name: BTreeMap<String, Target>,
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    pub path: PathBuf,
    /// 1-based line and column, where one is to blame.
    pub place: Option<(u64, u64)>,
    pub what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.what)
    }
}

impl std::error::Error for Error {}

impl Targets {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or [`Targets::parse`] refuses it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error {
            path: path.to_owned(),
            place: None,
            what: format!("cannot be read: {source}"),
        })?;
        Self::parse(path, &text)
    }

    /// Reads text; `path` is for the words of an error.
    ///
    /// # Errors
    /// When a key is unknown, a value is of the wrong kind, or a target contradicts itself.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let at = |place: Location, what: String| Error {
            path: path.to_owned(),
            place: Some((place.line(), place.column())),
            what,
        };
        let options = serde_saphyr::options! { with_snippet: false };
        let file: File =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| Error {
                path: path.to_owned(),
                place: error.location().map(|at| (at.line(), at.column())),
                what: explain(error.without_snippet()),
            })?;
        if file.version.value != 1 {
            let what = format!(
                "version {} is not known; this build reads version 1",
                file.version.value
            );
            return Err(at(file.version.referenced, what));
        }
        let mut by_name = BTreeMap::new();
        for entry in file.targets {
            let place = entry.name.referenced;
            let target = entry.check().map_err(|(place, what)| at(place, what))?;
            let name = target.name.clone();
            if by_name.insert(name.clone(), target).is_some() {
                return Err(at(place, format!("target {name:?} is declared twice")));
            }
        }
        Ok(Self {
            version: hex::encode(&Sha256::digest(text)[..4]),
            by_name,
        })
    }

    /// Every Docker host that a target lives on, each once.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self
            .by_name
            .values()
            .map(|target| target.docker_host.clone())
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    #[serde(default)]
    targets: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    docker_host: Option<Spanned<String>>,
    selector: Spanned<BTreeMap<String, String>>,
    #[serde(default)]
    any_project: bool,
    min_replicas: u32,
    max_replicas: Spanned<u32>,
    readiness: Option<Spanned<Probe>>,
    stop_grace_period: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    #[serde(default)]
    healthcheck: bool,
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    path: Spanned<String>,
    port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpSocket {
    port: u16,
}

type Refusal = (Location, String);

impl Entry {
    fn check(self) -> Result<Target, Refusal> {
        let name = self.name.value;
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || !name.chars().all(legal) {
            let what = format!("{name:?} is no name: letters, digits, '_', '.' and '-' are");
            return Err((self.name.referenced, what));
        }
        if self.selector.value.is_empty() {
            let what = "an empty selector would select every container".to_owned();
            return Err((self.selector.referenced, what));
        }
        if !self.any_project && !self.selector.value.contains_key(COMPOSE_PROJECT) {
            let what = format!(
                "selector must contain {COMPOSE_PROJECT}; say any_project: true if containers of every project are meant"
            );
            return Err((self.selector.referenced, what));
        }
        let max = self.max_replicas;
        if max.value < self.min_replicas.max(1) || max.value > MOST {
            let what = format!(
                "max_replicas is {}: it must be from 1 to {MOST} and not below min_replicas, {}",
                max.value, self.min_replicas
            );
            return Err((max.referenced, what));
        }
        Ok(Target {
            name,
            docker_host: docker_host(self.docker_host)?,
            selector: self.selector.value,
            bounds: Bounds {
                min_replicas: self.min_replicas,
                max_replicas: max.value,
            },
            readiness: readiness(self.readiness)?,
            stop_grace_period: grace(self.stop_grace_period)?,
        })
    }
}

fn docker_host(host: Option<Spanned<String>>) -> Result<String, Refusal> {
    let Some(host) = host else {
        return Ok(LOCAL_DOCKER.to_owned());
    };
    let place = host.referenced;
    let host = host.value;
    let path = host.strip_prefix("unix://");
    let address = host.strip_prefix("tcp://");
    if path.is_some_and(|path| path.starts_with('/'))
        || address.is_some_and(|rest| rest.contains(':'))
    {
        return Ok(host);
    }
    let what = format!("docker_host {host:?} is neither unix:///path nor tcp://host:port");
    Err((place, what))
}

fn readiness(probe: Option<Spanned<Probe>>) -> Result<Readiness, Refusal> {
    let Some(probe) = probe else {
        return Ok(Readiness::Healthcheck);
    };
    let place = probe.referenced;
    match probe.value {
        Probe {
            healthcheck: true,
            http_get: None,
            tcp_socket: None,
        } => Ok(Readiness::Healthcheck),
        Probe {
            healthcheck: false,
            http_get: Some(get),
            tcp_socket: None,
        } if get.path.value.starts_with('/') => Ok(Readiness::HttpGet {
            path: get.path.value,
            port: get.port,
        }),
        Probe {
            healthcheck: false,
            http_get: None,
            tcp_socket: Some(socket),
        } => Ok(Readiness::TcpSocket { port: socket.port }),
        Probe {
            http_get: Some(get),
            tcp_socket: None,
            healthcheck: false,
        } => {
            let what = format!("path {:?} must begin with '/'", get.path.value);
            Err((get.path.referenced, what))
        }
        Probe { .. } => {
            let what = "readiness is exactly one of healthcheck: true, http_get: {path, port}, tcp_socket: {port}";
            Err((place, what.to_owned()))
        }
    }
}

fn grace(period: Option<Spanned<String>>) -> Result<Duration, Refusal> {
    let Some(period) = period else {
        return Ok(STOP_GRACE_PERIOD);
    };
    match humantime::parse_duration(&period.value) {
        Ok(grace) if grace <= LONGEST_GRACE => Ok(grace),
        Ok(_) => {
            let what = format!("stop_grace_period {} is longer than 10m", period.value);
            Err((period.referenced, what))
        }
        Err(error) => {
            let what = format!(
                "stop_grace_period {:?} is no duration: {error}",
                period.value
            );
            Err((period.referenced, what))
        }
    }
}

/// An error of the parser in our words, where ours say more.
fn explain(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        let mut what = format!("unknown key {field:?}");
        let nearest = expected
            .iter()
            .map(|known| (strsim::jaro_winkler(field, known), known))
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        match nearest {
            Some((likeness, known)) if likeness > 0.7 => {
                what += &format!("; did you mean {known:?}?");
            }
            Some(_) | None => what += &format!("; known are {}", expected.join(", ")),
        }
        return what;
    }
    let text = error.to_string();
    // The place is said before; the parser repeats it at the end.
    let cut = text.find(" at line ").or_else(|| text.find('\n'));
    cut.map_or(text.as_str(), |end| &text[..end]).to_owned()
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;

//! Docker engines, by bollard: every call has a time-out of its own, and an outcome that nobody
//! told is not a failure: the caller observes again.
//!
//! | to find | look in |
//! |---|---|
//! | what is on a host | [`observe`] |
//! | making, starting, removing replicas | [`replica`] |
//! | what a replica is made from | [`template`], `source`; what none may be: `reach` |
//! | whether one serves | [`probe`] |

pub mod error;
pub mod labels;
pub mod observe;
pub mod probe;
mod reach;
pub mod replica;
pub(crate) mod source;
pub mod template;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::{sync::Mutex, time::timeout};

pub use error::Error;
use probe::Prober;

use crate::metrics::DockerMetrics;

/// How long a call may take, unless it waits for a container to stop.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// The client's own limit: beyond every limit of ours, so that ours counts.
const CLIENT_SECONDS: u64 = 900;

/// The engines of every target, connected when they are first needed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engines {
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for engines on TCP.
    certificates: Option<PathBuf>,
    clients: Arc<Mutex<HashMap<String, Docker>>>,
    prober: Prober,
    metrics: DockerMetrics,
}

/// One engine.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    host: String,
    prober: Prober,
    metrics: DockerMetrics,
}

impl Engines {
    /// None is connected yet.
    #[must_use]
    pub fn new(certificates: Option<PathBuf>, metrics: DockerMetrics) -> Self {
        Self {
            certificates,
            clients: Arc::default(),
            prober: Prober::default(),
            metrics,
        }
    }

    /// The engine at `host`, `unix:///path` or `tcp://host:port`; its API version is negotiated at
    /// the first call.
    ///
    /// # Errors
    /// When there is no way to it, or it does not answer.
    pub async fn at(&self, host: &str) -> Result<Engine, Error> {
        let known = self.clients.lock().await.get(host).cloned();
        let docker = match known {
            Some(docker) => docker,
            None => self.connect(host).await?,
        };
        Ok(Engine {
            docker,
            host: host.to_owned(),
            prober: self.prober.clone(),
            metrics: self.metrics.clone(),
        })
    }

    async fn connect(&self, host: &str) -> Result<Docker, Error> {
        let docker = match host.strip_prefix("tcp://") {
            Some(_) => self.over_tls(host)?,
            None => Docker::connect_with_unix(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
                .map_err(|source| self.broken("connect", host, source))?,
        };
        let docker = match timeout(CALL, docker.negotiate_version()).await {
            Ok(Ok(docker)) => docker,
            Ok(Err(source)) => return Err(self.broken("version", host, source)),
            Err(_) => {
                self.metrics.failed("version");
                return Err(Error::Silent {
                    call: "version",
                    host: host.to_owned(),
                    limit: CALL,
                });
            }
        };
        let mut clients = self.clients.lock().await;
        clients.insert(host.to_owned(), docker.clone());
        Ok(docker)
    }

    fn over_tls(&self, host: &str) -> Result<Docker, Error> {
        let Some(folder) = &self.certificates else {
            return Err(Error::NoCertificates {
                host: host.to_owned(),
            });
        };
        let file = |name: &str| -> Result<PathBuf, Error> {
            let path = folder.join(name);
            if Path::exists(&path) {
                return Ok(path);
            }
            Err(Error::Certificate {
                host: host.to_owned(),
                path,
            })
        };
        let (ca, cert, key) = (file("ca.pem")?, file("cert.pem")?, file("key.pem")?);
        Docker::connect_with_ssl(host, &key, &cert, &ca, CLIENT_SECONDS, API_DEFAULT_VERSION)
            .map_err(|source| self.broken("connect", host, source))
    }

    fn broken(&self, call: &'static str, host: &str, source: bollard::errors::Error) -> Error {
        self.metrics.failed(call);
        judge(call, host, source)
    }
}

impl Engine {
    /// Where it is.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// One call with its limit, counted when it fails.
    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        let outcome = match timeout(limit, work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(source)) => judge(call, &self.host, source),
            Err(_) => Error::Silent {
                call,
                host: self.host.clone(),
                limit,
            },
        };
        let expected = matches!(outcome.status(), Some(304 | 404 | 409));
        if !expected {
            self.metrics.failed(call);
        }
        Err(outcome)
    }
}

fn judge(call: &'static str, host: &str, source: bollard::errors::Error) -> Error {
    let host = host.to_owned();
    match source {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } => Error::Refused {
            call,
            host,
            status: status_code,
            message: message.trim().to_owned(),
        },
        source => Error::Broken {
            call,
            host,
            reason: service_kit::error::chain(&source),
            source: Box::new(source),
        },
    }
}

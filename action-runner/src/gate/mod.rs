//! The gate: one small process holds the Docker engine's socket, and Action Runner has the gate's.
//!
//! Who has an engine's socket has its host. The gate speaks the few requests of the engine's API that
//! Action Runner makes, and allows each only for what `targets.yaml` declares. It hands on nothing as
//! it came: a replica's body is made here, of the container that Compose or a person made.
//!
//! | to find | look in |
//! |---|---|
//! | what may be asked | `request`, `query` |
//! | what changes something | `acts` |
//! | what only reads | `reads` |
//! | what the gate asks before it allows | `look` |
//! | templates that outlive their container | `kept` |
//! | the engine behind | `upstream` |

mod acts;
mod check;
mod config;
mod declared;
mod kept;
mod look;
mod query;
mod reads;
mod request;
mod server;
mod upstream;

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Response, body::Incoming};
use service_kit::error::chain;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    acts::Turns,
    declared::Declared,
    kept::Kept,
    request::{Call, MOST_BODY, Refusal, Request, judge},
    upstream::{Answer, Body, Broken, Upstream},
};
pub use self::{check::check, config::Config};

/// How long a client may take to send a body.
const BODY: Duration = Duration::from_secs(10);

/// What answers requests.
#[derive(Debug)]
struct Gate {
    engine: Upstream,
    declared: Declared,
    kept: Kept,
    turns: Turns,
    /// What was begun at the engine.
    tasks: TaskTracker,
}

/// Why a request is not answered as it was meant.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine said something else before it came to that.
    #[error("the engine says {}", .0.status)]
    Relayed(Answer),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Runs the gate until `shutdown` is cancelled.
///
/// # Errors
/// When a setting or `targets.yaml` cannot be used, or the socket cannot be had.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), service_kit::Error> {
    let declared =
        Declared::read(config.targets_file).map_err(|error| service_kit::Error::Setting {
            name: "EVENTPULSE_TARGETS_FILE",
            reason: error.to_string(),
        })?;
    let folder = config.state_folder;
    let doing = format!("reading {}", folder.display());
    let kept = Kept::open(folder).map_err(|source| service_kit::Error::Io {
        doing: doing.into(),
        source,
    })?;
    let gate = Arc::new(Gate {
        engine: Upstream::new(config.docker_socket),
        declared,
        kept,
        turns: Turns::default(),
        tasks: TaskTracker::new(),
    });
    let listener = server::listen(&config.gate_socket).await?;
    tracing::info!(socket = %config.gate_socket.display(), "the gate is open");
    server::serve(listener, &gate, shutdown).await;
    Ok(())
}

impl Gate {
    /// The answer; `Err` breaks the client's connection.
    async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method, head.uri.path().to_owned());
        let outcome = match judge(&method, &path, head.uri.query()) {
            Ok(request) => self.allowed(request, body).await,
            Err(refusal) => Err(refusal.into()),
        };
        match outcome {
            Ok(response) => Ok(response),
            Err(Error::Relayed(answer)) => Ok(answer.respond()),
            Err(Error::Refused(refusal)) => {
                tracing::warn!(%method, path, status = refusal.status, "{refusal}");
                let message = refusal.to_string();
                Ok(Answer::message(refusal.status, &message).respond())
            }
            Err(Error::Broken(broken)) => {
                tracing::warn!(%method, path, error = chain(&broken), "the connection is broken");
                Err(broken)
            }
        }
    }

    async fn allowed(
        self: &Arc<Self>,
        request: Request,
        body: Incoming,
    ) -> Result<Response<Body>, Error> {
        let body = receive(body).await?;
        let Request { version, call } = request;
        let answer = match &call {
            Call::Logs { .. } => return self.logs(&version, &call).await,
            Call::Ping => self.pass(&version, "/_ping").await,
            Call::Version => self.pass(&version, "/version").await,
            Call::List { all, labels } => self.shown(&version, *all, labels).await,
            Call::Inspect { container } => self.inspect(&version, container).await,
            Call::Create { name } => self.create(&version, name, &body).await,
            Call::Start { container } => self.start(&version, container).await,
            Call::Stop { container, seconds } => self.stop(&version, container, *seconds).await,
            Call::Remove {
                container,
                force,
                volumes,
            } => self.remove(&version, container, *force, *volumes).await,
            Call::Connect { network } => self.connect(&version, network, &body).await,
        };
        answer.map(Answer::respond)
    }
}

/// The whole body, whether its length was announced or not.
async fn receive(body: Incoming) -> Result<bytes::Bytes, Error> {
    let whole = timeout(BODY, Limited::new(body, MOST_BODY).collect()).await;
    match whole.map_err(|_| Broken::Slow)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large().into()),
        Err(error) => Err(Broken::Client(error).into()),
    }
}

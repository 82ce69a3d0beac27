//! The gate's socket: who may use it, and who is being served.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use service_kit::{Error, clock, error::chain};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Gate;

/// For the gate's user and group: in `compose.yaml` the group is that of the services, so that Action
/// Runner needs no root. Whoever can open it can scale what is declared, so not everybody may.
const MODE: u32 = 0o660;
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Clients at once; the next one waits.
const SEATS: usize = 128;
/// Pause after the kernel refused to give us a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How long what is under way may take at the end.
const GRACE: Duration = Duration::from_secs(9);

/// Takes the place at `path`, also from a gate that ended without a word.
///
/// # Errors
/// When somebody listens there, or the folder cannot be written to.
pub(super) async fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Io {
        doing: format!("listening on {}", path.display()).into(),
        source,
    };
    match UnixStream::connect(path).await {
        Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
        }
        // It is not there; what else is wrong with it the next line tells.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    Ok(listener)
}

/// Serves until `stop`, then finishes what is under way within [`GRACE`].
pub(super) async fn serve(listener: UnixListener, gate: &Arc<Gate>, stop: CancellationToken) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let seats = Arc::new(Semaphore::new(SEATS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let seat = Arc::clone(&seats).acquire_owned().await;
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                clock::pause(EXHAUSTED).await;
                continue;
            }
        };
        let gate = Arc::clone(gate);
        let service = service_fn(move |request| Arc::clone(&gate).answer(request));
        let connection = protocol.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "connection ended");
            }
            drop(seat);
        });
    }
    give_up(&listener);
    drop(listener);
    gate.tasks.close();
    let end = async {
        graceful.shutdown().await;
        gate.tasks.wait().await;
    };
    if timeout(GRACE, end).await.is_err() {
        tracing::warn!("requests cut off at the end");
    }
    connections.shutdown().await;
}

/// Leaves the place free, for a gate of another user too, who could not tell whether we live. Before
/// the listener closes: afterwards another one may be there.
fn give_up(listener: &UnixListener) {
    let address = listener.local_addr();
    let path = address
        .as_ref()
        .ok()
        .and_then(|address| address.as_pathname());
    if let Some(Err(error)) = path.map(fs::remove_file) {
        tracing::warn!(%error, "the socket is left behind");
    }
}

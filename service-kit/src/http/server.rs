//! Accepts connections and serves them.
//!
//! Not `axum::serve`: it gives hyper no timer, so hyper's time-out for request heads never acts
//! (tokio-rs/axum#2741), and a few thousand half-sent heads take the service away.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Limits, stall::Stall};
use crate::{Error, clock};

/// Pause after the kernel refused to give us a connection (no file descriptors left).
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves `router` (see [`edge`](super::edge)) until `stop`, then finishes the requests in hand
/// within `limits.grace`.
///
/// # Errors
/// None today; a part of the service answers with a result.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_header_size(limits.header_bytes);
    let seats = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &seats) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, seat)) = accepted else {
            clock::pause(EXHAUSTED).await;
            continue;
        };
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        let io = TokioIo::new(Stall::new(stream, limits.stall));
        let connection = graceful.watch(protocol.serve_connection(io, service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, error = crate::error::chain(&error), "connection ended");
            }
            drop(seat);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "requests cut off at the end"
        );
    }
    connections.shutdown().await;
    Ok(())
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is a seat for it; `None` when the kernel has none to give.
async fn accept(listener: &TcpListener, seats: &Arc<Semaphore>) -> Option<Accepted> {
    let seat = Arc::clone(seats)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // answers are small and awaited: Nagle's algorithm would hold them back
                drop(stream.set_nodelay(true));
                return Some((stream, peer, seat));
            }
            // the client has gone again before we took it
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                return None;
            }
        }
    }
}

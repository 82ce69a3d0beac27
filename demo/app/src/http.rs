//! `/work` burns, `/healthz` tells whether this replica may get requests.

use std::{io, process::ExitCode};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, runtime, sync::watch};

use crate::{
    config::{File, FileError, Serve},
    drain::Drain,
    pool::{Full, Pool},
    upstream::{Obstacle, watch_for},
};

const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("bad configuration")]
    Config(#[from] FileError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot serve on {address}")]
    Serve {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
}

#[derive(Clone, Debug)]
struct App {
    pool: Pool,
    obstacle: watch::Receiver<Obstacle>,
    drain: Drain,
    name: String,
}

/// Serves until SIGTERM.
pub(crate) fn run(serve: Serve) -> ExitCode {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(false)
        .init();
    match block_on(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(cause, "{error}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(serve: Serve) -> Result<(), Error> {
    let file = File::read(&serve.config)?;
    tracing::info!(upstream = file.upstream, cpu = ?serve.cpu, "starting");
    // One thread for I/O: the burning happens on the pool's own threads.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let address = serve.listen;
        let listen = |source| Error::Serve { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let app = App {
            pool: Pool::new(serve.workers, serve.queue, serve.cpu),
            obstacle: watch_for(file.upstream),
            drain: Drain::default(),
            name: serve.name,
        };
        let leaving = app.drain.clone().wait(serve.drain);
        axum::serve(listener, router(app))
            .with_graceful_shutdown(leaving)
            .await
            .map_err(listen)
    })
}

fn router(app: App) -> Router {
    Router::new()
        .route("/work", get(work))
        .route("/healthz", get(health))
        .with_state(app)
}

async fn work(State(app): State<App>) -> Response {
    app.drain.request();
    let served_by = [(SERVED_BY, app.name.clone())];
    let obstacle = app.obstacle.borrow().clone();
    if let Some(obstacle) = obstacle {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            served_by,
            format!("not ready: {obstacle}\n"),
        )
            .into_response();
    }
    match app.pool.work().await {
        Ok(burnt) => {
            let milliseconds = burnt.as_secs_f64() * 1e3;
            (
                served_by,
                format!("{milliseconds:.1} ms of CPU time by {}\n", app.name),
            )
                .into_response()
        }
        Err(Full) => {
            let wait = [(header::RETRY_AFTER, "1")];
            (
                StatusCode::SERVICE_UNAVAILABLE,
                served_by,
                wait,
                "busy: the queue is full\n",
            )
                .into_response()
        }
    }
}

async fn health(State(app): State<App>) -> (StatusCode, String) {
    if app.drain.leaving() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: leaving\n".to_owned(),
        );
    }
    match app.obstacle.borrow().as_deref() {
        Some(obstacle) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {obstacle}\n"),
        ),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healthcheck::ask;
    use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

    /// A server with one worker that burns for `cpu`.
    async fn serve(cpu: Duration, upstream: Option<&str>) -> (SocketAddr, Drain) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let app = App {
            pool: Pool::new(NonZeroUsize::MIN, 8, cpu),
            obstacle: watch_for(upstream.map(ToOwned::to_owned)),
            drain: Drain::default(),
            name: "replica-7".to_owned(),
        };
        let drain = app.drain.clone();
        tokio::spawn(async move { axum::serve(listener, router(app)).await });
        (address, drain)
    }

    async fn get(address: SocketAddr, path: &'static str) -> (u16, String, String) {
        tokio::task::spawn_blocking(move || ask(&address, path))
            .await
            .expect("no panic")
            .expect("an answer")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_names_the_replica_that_did_it() {
        let (address, _) = serve(Duration::from_millis(1), None).await;
        let (status, head, body) = get(address, "/work").await;
        assert_eq!(status, 200);
        assert!(head.contains("\r\nx-served-by: replica-7"), "{head}");
        assert!(body.ends_with("ms of CPU time by replica-7"), "{body}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn health_does_not_stand_behind_work() {
        let (address, _) = serve(Duration::from_secs(1), None).await;
        let works: Vec<_> = (0..3)
            .map(|_| tokio::spawn(get(address, "/work")))
            .collect();
        let first = async {
            for work in works {
                work.await.expect("no panic");
            }
        };
        tokio::select! {
            biased;
            (status, ..) = get(address, "/healthz") => assert_eq!(status, 200),
            () = first => panic!("three seconds of work were done before health answered"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bad_upstream_is_told_in_a_sentence() {
        let (address, _) = serve(Duration::from_millis(1), Some("cache.invalid:6379")).await;
        let told = "not ready: cannot reach upstream cache.invalid:6379";
        for path in ["/healthz", "/work"] {
            let (status, _, body) = get(address, path).await;
            assert_eq!((status, body.as_str()), (503, told), "{path}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_leaving_replica_is_unhealthy_and_still_works() {
        let (address, drain) = serve(Duration::from_millis(1), None).await;
        let leaving = drain.clone();
        let left = tokio::spawn(async move { leaving.depart(Duration::from_secs(8)).await });
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !drain.leaving() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        assert_eq!(get(address, "/healthz").await.0, 503);
        assert_eq!(get(address, "/work").await.0, 200);
        left.await.expect("no panic");
    }
}

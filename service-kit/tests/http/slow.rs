//! Clients that take their time: each of these holds a connection for ever if its guard is gone.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use axum::{Router, body::Bytes, routing::get};
use service_kit::{
    clock::{Stopwatch, Ticker},
    http::Limits,
};
use tokio::{io::AsyncReadExt, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, Server, get_within_patience, read_to_end, send};

const SHORT: Duration = Duration::from_millis(300);

fn api() -> Router {
    Router::new()
        .route("/", get(async || "here").post(async |body: Bytes| body))
        .route("/never", get(std::future::pending::<&'static str>))
        .route("/much", get(async || vec![b'x'; 64 * 1024 * 1024]))
}

async fn server(limits: Limits) -> Result<Server> {
    Server::start(api(), limits).await
}

#[tokio::test]
async fn half_a_head_is_cut_off() -> Result<()> {
    let header = SHORT;
    let server = server(Limits {
        header,
        ..Limits::default()
    })
    .await?;
    let mut client = server.connect().await?;
    let watch = Stopwatch::start();
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await?;
    read_to_end(&mut client).await?;
    assert!(watch.elapsed() >= SHORT && watch.elapsed() < PATIENCE);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut_off() -> Result<()> {
    let header = SHORT;
    let server = server(Limits {
        header,
        ..Limits::default()
    })
    .await?;
    let mut client = server.connect().await?;
    assert_eq!(read_to_end(&mut client).await?, "");
    Ok(())
}

#[tokio::test]
async fn a_trickling_head_is_cut_off() -> Result<()> {
    let header = SHORT;
    let server = server(Limits {
        header,
        ..Limits::default()
    })
    .await?;
    let mut client = server.connect().await?;
    send(&mut client, "GET / HTTP/1.1\r\n").await?;
    let (mut reader, mut writer) = client.into_split();
    let watch = Stopwatch::start();
    let trickle = async {
        let mut ticker = Ticker::new(SHORT / 10, CancellationToken::new());
        while ticker.tick().await {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, b"a: b\r\n")
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let mut rest = Vec::new();
    let cut_off = async {
        tokio::select! {
            () = trickle => {}
            _ = reader.read_to_end(&mut rest) => {}
        }
    };
    tokio::time::timeout(PATIENCE, cut_off).await?;
    assert!(watch.elapsed() >= SHORT && watch.elapsed() < PATIENCE);
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() -> Result<()> {
    let header = SHORT;
    let server = server(Limits {
        header,
        ..Limits::default()
    })
    .await?;
    let mut client = server.connect().await?;
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let answer = read_to_end(&mut client).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_trickling_body_is_told_so_and_cut_off() -> Result<()> {
    let body = SHORT;
    let server = server(Limits {
        body,
        ..Limits::default()
    })
    .await?;
    let mut client = server.connect().await?;
    send(
        &mut client,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegin",
    )
    .await?;
    let (mut reader, mut writer) = client.into_split();
    let trickle = tokio::spawn(async move {
        let mut ticker = Ticker::new(SHORT / 10, CancellationToken::new());
        while ticker.tick().await {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, b"x")
                .await
                .is_err()
            {
                break;
            }
        }
    });
    let mut answer = vec![0; 64 * 1024];
    let length = tokio::time::timeout(PATIENCE, reader.read(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    // the server closes: writing fails sooner or later
    tokio::time::timeout(PATIENCE, trickle).await??;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_never_answers_becomes_a_503() -> Result<()> {
    let total = SHORT;
    let server = server(Limits {
        total,
        ..Limits::default()
    })
    .await?;
    let answer = server.get("/never").await?;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_seat() -> Result<()> {
    let limits = Limits {
        stall: SHORT,
        connections: 1,
        ..Limits::default()
    };
    let server = server(limits).await?;
    let mut greedy = server.connect().await?;
    send(&mut greedy, "GET /much HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    // the only seat is taken until the server gives up on the other
    let mut other = server.connect().await?;
    send(
        &mut other,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await?;
    assert!(read_to_end(&mut other).await?.ends_with("here"));
    drop(greedy);
    Ok(())
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() -> Result<()> {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = server(limits).await?;
    let mut first = server.connect().await?;
    send(&mut first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await?;
    let mut second = server.connect().await?;
    send(
        &mut second,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await?;
    let mut byte = [0; 1];
    let early = tokio::time::timeout(SHORT, second.peek(&mut byte)).await;
    assert!(early.is_err(), "answered although no seat was free");
    drop(first);
    assert!(read_to_end(&mut second).await?.ends_with("here"));
    Ok(())
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once() -> Result<()> {
    let entered = Arc::new(Notify::new());
    let bell = Arc::clone(&entered);
    let wait = async move || {
        bell.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/wait", get(wait));
    let limits = Limits {
        requests: 1,
        ..Limits::default()
    };
    let server = Server::start(router, limits).await?;
    let url = server.url("/wait");
    let first = tokio::spawn(get_within_patience(url.clone()));
    entered.notified().await;
    let second = get_within_patience(url).await?;
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    first.abort();
    Ok(())
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_hand_and_takes_nothing_new() -> Result<()> {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, door) = (Arc::clone(&entered), Arc::clone(&leave));
    let work = async move || {
        inside.notify_one();
        door.notified().await;
        "done"
    };
    let server = Server::start(Router::new().route("/work", get(work)), Limits::default()).await?;
    let idle = server.connect().await?;
    let request = tokio::spawn(get_within_patience(server.url("/work")));
    entered.notified().await;
    server.stop.cancel();
    // refused as soon as the listener is gone
    service_kit::testing::wait_for("the port to be closed", async || {
        match server.connect().await {
            Ok(_) => Err("it still accepts"),
            Err(_) => Ok(()),
        }
    })
    .await;
    leave.notify_one();
    assert_eq!(request.await??.text().await?, "done");
    tokio::time::timeout(PATIENCE, server.served).await???;
    drop(idle);
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() -> Result<()> {
    let entered = Arc::new(Notify::new());
    let bell = Arc::clone(&entered);
    let never = async move || {
        bell.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/never", get(never));
    let grace = SHORT;
    let server = Server::start(
        router,
        Limits {
            grace,
            ..Limits::default()
        },
    )
    .await?;
    let mut client = server.connect().await?;
    send(&mut client, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    entered.notified().await;
    let watch = Stopwatch::start();
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.served).await???;
    assert!(watch.elapsed() >= SHORT);
    Ok(())
}

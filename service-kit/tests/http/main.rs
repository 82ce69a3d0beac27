//! The HTTP edge over real sockets.

mod edge;
mod operations;
mod slow;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use axum::Router;
use service_kit::{
    Error, Metrics,
    http::{Edge, Limits, edge, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A router behind the edge on a port of its own.
struct Server {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

impl Server {
    async fn start(router: Router, limits: Limits) -> Result<Self> {
        let metrics = Metrics::new("test");
        let router = edge(router, Edge::new(&metrics, limits.clone()));
        let mut server = Self::bare(router, limits).await?;
        server.metrics = metrics;
        Ok(server)
    }

    /// Without an edge of its own.
    async fn bare(router: Router, limits: Limits) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stop = CancellationToken::new();
        Ok(Self {
            address: listener.local_addr()?,
            metrics: Metrics::new("test"),
            served: tokio::spawn(serve(listener, router, limits, stop.clone())),
            stop,
        })
    }

    async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.address).await?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        get_within_patience(self.url(path)).await
    }
}

async fn get_within_patience(url: String) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    Ok(client.get(url).send().await?)
}

/// Everything that comes until the server closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    match tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await? {
        // data that the server never read make the kernel send a reset behind the answer
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error.into()),
    }
    Ok(String::from_utf8(bytes)?)
}

async fn send(stream: &mut TcpStream, text: &str) -> Result<()> {
    Ok(stream.write_all(text.as_bytes()).await?)
}

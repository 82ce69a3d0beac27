//! Between sockets of files and TCP: the engine listens at the one, the proxy speaks the other.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_util::task::AbortOnDropHandle;

/// One that passes on while it lives.
pub type Bridge = AbortOnDropHandle<()>;

/// Listens on a port of its own and passes on to the socket at `path`.
pub async fn to_socket(path: &Path) -> Result<(SocketAddr, Bridge)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, path) = (listener.local_addr()?, path.to_owned());
    let bridge = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let path = path.clone();
            tokio::spawn(async move { join(client, UnixStream::connect(path).await).await });
        }
    });
    Ok((address, AbortOnDropHandle::new(bridge)))
}

/// Listens at a new socket at `path` and passes on to `server`.
pub fn from_socket(path: &Path, server: SocketAddr) -> Result<Bridge> {
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    let bridge = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move { join(client, TcpStream::connect(server).await).await });
        }
    });
    Ok(AbortOnDropHandle::new(bridge))
}

/// A server that is away ends the client's connection.
async fn join<C, S>(mut client: C, server: std::io::Result<S>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(mut server) = server {
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}

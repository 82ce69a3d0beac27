//! A way to the database that can be shut, or end in nothing.

use anyhow::{Context, Result};
use service_kit::testing::{Database, Port};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub(crate) struct Door {
    front: Port,
    behind: String,
    lost: watch::Sender<()>,
}

impl Door {
    /// Shut, on a port of its own, and the database's URL that leads through it.
    pub(crate) async fn before(database: &Database) -> Result<(Self, String)> {
        let (_, rest) = database.url.rsplit_once('@').context("a URL with a user")?;
        let (behind, _) = rest.split_once('/').context("a URL with a database")?;
        let front = Port::reserve()?;
        let url = database.url.replace(behind, &front.to_string());
        let door = Self {
            front,
            behind: behind.to_owned(),
            lost: watch::Sender::new(()),
        };
        Ok((door, url))
    }

    /// Open until the task is aborted.
    pub(crate) async fn open(&self) -> Result<JoinHandle<()>> {
        let listener = TcpListener::bind(self.front.to_string()).await?;
        let (behind, lost) = (self.behind.clone(), self.lost.subscribe());
        Ok(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let mut lost = lost.clone();
                lost.mark_unchanged();
                connections.spawn(pass(client, behind.clone(), lost));
            }
        }))
    }

    /// Of what is connected now nothing arrives any more, either way, and nobody hears that it ended.
    pub(crate) fn lose(&self) {
        self.lost.send_replace(());
    }
}

async fn pass(mut client: TcpStream, behind: String, mut lost: watch::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect(behind).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = lost.changed() => std::future::pending().await,
    }
}

//! A small TCP proxy that stands between the services and what they stand on, and misbehaves.

pub mod bridge;
mod pipe;
mod spot;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

pub use spot::Protocol;

/// How connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Pass,
    /// Connections are reset, new ones too.
    Cut,
    /// What the client sends arrives only after the fault.
    ForwardStalls,
    /// What the server sends arrives only after the fault.
    BackStalls,
    /// Every piece comes so much later, both ways.
    Late(Duration),
    /// The server's side is closed; the client is not told, and nothing answers.
    HalfOpen,
}

/// The treatment now: of a share of the connections, in percent of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Treatment {
    mode: Mode,
    share: usize,
}

impl Treatment {
    fn of(self, connection: usize) -> Mode {
        // Neighbours are treated differently: a share is a mix of old and new ones.
        if connection * 37 % 100 < self.share {
            self.mode
        } else {
            Mode::Pass
        }
    }
}

/// One edge.
#[derive(Debug)]
pub struct Proxy {
    pub name: String,
    pub address: SocketAddr,
    treatment: watch::Sender<Treatment>,
    /// Replies to drop: of the next so many commits, produce requests and the like.
    drops: Arc<AtomicI64>,
    dropped: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens at `listen` and passes on to `server`.
    pub async fn start(name: &str, listen: &str, server: &str, protocol: Protocol) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} for the proxy of {name}"))?;
        let address = listener.local_addr()?;
        let treatment = watch::Sender::new(Treatment::default());
        let (drops, dropped) = (Arc::<AtomicI64>::default(), Arc::<AtomicUsize>::default());
        let accepting = accept(
            listener,
            server.to_owned(),
            protocol,
            treatment.subscribe(),
            (Arc::clone(&drops), Arc::clone(&dropped)),
        );
        Ok(Self {
            name: name.to_owned(),
            address,
            treatment,
            drops,
            dropped,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        })
    }

    /// Treats `share` percent of the connections so, from now on.
    pub fn treat(&self, mode: Mode, share: usize) {
        self.treatment.send_replace(Treatment { mode, share });
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.drops.store(0, Ordering::SeqCst);
        self.treat(Mode::Pass, 0);
    }

    /// The next `count` replies that matter are not given: the connection ends instead.
    pub fn drop_replies(&self, count: i64) {
        self.drops.store(count, Ordering::SeqCst);
    }

    /// Replies that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    protocol: Protocol,
    treatment: watch::Receiver<Treatment>,
    counters: (Arc<AtomicI64>, Arc<AtomicUsize>),
) {
    let mut number = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of handles: some will be free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        number += 1;
        let connection = pipe::Connection {
            number,
            protocol,
            treatment: treatment.clone(),
            drops: Arc::clone(&counters.0),
            dropped: Arc::clone(&counters.1),
        };
        let server = server.clone();
        tokio::spawn(async move {
            // Refused for as long as it is cut, and while the server is away.
            if connection.mode() != Mode::Cut
                && let Ok(server) = TcpStream::connect(server).await
            {
                connection.run(client, server).await;
            }
        });
    }
}

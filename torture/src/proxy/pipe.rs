//! One connection through the proxy.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{
    Mode, Treatment,
    spot::{Protocol, Spotter},
};

const BUFFER: usize = 16 * 1024;

pub(super) struct Connection {
    pub(super) number: usize,
    pub(super) protocol: Protocol,
    pub(super) treatment: watch::Receiver<Treatment>,
    pub(super) drops: Arc<AtomicI64>,
    pub(super) dropped: Arc<AtomicUsize>,
}

/// Why a connection ends.
enum End {
    Closed,
    /// The client is not told.
    HalfOpen,
}

impl Connection {
    pub(super) fn mode(&self) -> Mode {
        self.treatment.borrow().of(self.number)
    }

    pub(super) async fn run(self, client: TcpStream, server: TcpStream) {
        drop(client.set_nodelay(true));
        drop(server.set_nodelay(true));
        let doomed = AtomicBool::new(false);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let end = tokio::select! {
            end = self.watch() => end,
            _ = self.forward(from_client, to_server, &doomed) => End::Closed,
            _ = self.back(from_server, &to_client, &doomed) => End::Closed,
        };
        if matches!(end, End::HalfOpen) {
            let mut treatment = self.treatment.clone();
            let over = |now: &Treatment| now.of(self.number) != Mode::HalfOpen;
            drop(treatment.wait_for(over).await);
        }
        drop(to_client);
    }

    /// Ends when the treatment ends the connection.
    async fn watch(&self) -> End {
        let mut treatment = self.treatment.clone();
        let deadly = |now: &Treatment| matches!(now.of(self.number), Mode::Cut | Mode::HalfOpen);
        if treatment.wait_for(deadly).await.is_ok() && self.mode() == Mode::HalfOpen {
            return End::HalfOpen;
        }
        End::Closed
    }

    /// Waits as long as the treatment makes a piece wait.
    async fn hold(&self, stalls: Mode) {
        let mut treatment = self.treatment.clone();
        let passes = |now: &Treatment| now.of(self.number) != stalls;
        drop(treatment.wait_for(passes).await);
        if let Mode::Late(delay) = self.mode() {
            sleep(delay).await;
        }
    }

    async fn forward(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        doomed: &AtomicBool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut spotter = Spotter::new(self.protocol);
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.hold(Mode::ForwardStalls).await;
            if spotter.sees(&buffer[..count]) && self.drops.load(Ordering::SeqCst) > 0 {
                let before = self.drops.fetch_sub(1, Ordering::SeqCst);
                doomed.store(before > 0, Ordering::SeqCst);
            }
            to.write_all(&buffer[..count]).await?;
        }
    }

    async fn back(
        &self,
        mut from: OwnedReadHalf,
        to: &OwnedWriteHalf,
        doomed: &AtomicBool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            if doomed.load(Ordering::SeqCst) {
                // The server has done it, and the client will never know.
                self.dropped.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            self.hold(Mode::BackStalls).await;
            write(to, &buffer[..count]).await?;
        }
    }
}

async fn write(to: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

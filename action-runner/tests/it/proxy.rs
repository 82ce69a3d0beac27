//! Stands between a runner and the engine: writes down every request with its answer, and does to
//! the next ones what a test asks for. Every request comes on a connection of its own.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::JoinHandle,
};

use crate::host::engine;

/// How a request to make a container begins.
pub(crate) const CREATE: &str = "POST /containers/create?";

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is not handed on, and never answered.
    Swallow,
    /// The engine answers this instead of doing it.
    Answer(u16, &'static str),
    /// It is handed on when the gate opens.
    Wait(Arc<Notify>),
}

/// One request that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `POST /containers/create?name=..`
    pub(crate) request: String,
    /// 0 until it is answered.
    pub(crate) status: u16,
    pub(crate) at: Instant,
}

struct Rule {
    begins: &'static str,
    ends: &'static str,
    fault: Fault,
    left: u32,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    journal: Vec<Seen>,
}

/// A proxy on a socket of its own.
pub(crate) struct Proxy {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A broken connection is what some tests are about.
                tokio::spawn(async move { drop(serve(client, &state).await) });
            }
        });
        Self {
            folder,
            state,
            task,
        }
    }

    /// For `docker_host`.
    pub(crate) fn host(&self) -> String {
        format!(
            "unix://{}",
            self.folder.path().join("docker.sock").display()
        )
    }

    /// The answer to the first request of each kind that changes something is lost.
    pub(crate) fn lose_first_answers(&self) {
        for (begins, ends) in [
            (CREATE, ""),
            ("POST /containers/", "/start"),
            ("POST /containers/", "/stop"),
            ("DELETE /containers/", ""),
        ] {
            self.on(begins, ends, 1, Fault::LoseAnswer);
        }
    }

    /// The next `times` requests that begin and end like this meet `fault`.
    pub(crate) fn on(&self, begins: &'static str, ends: &'static str, times: u32, fault: Fault) {
        let rule = Rule {
            begins,
            ends,
            fault,
            left: times,
        };
        self.state.lock().expect("no panic").rules.push(rule);
    }

    /// Requests that begin and end like this, in order.
    pub(crate) fn seen(&self, begins: &str, ends: &str) -> Vec<Seen> {
        let state = self.state.lock().expect("no panic");
        let fits = |seen: &&Seen| fits(&seen.request, begins, ends);
        state.journal.iter().filter(fits).cloned().collect()
    }

    /// Names of containers that the engine really made, in order.
    pub(crate) fn made(&self) -> Vec<String> {
        let creates = self.seen("POST /containers/create?", "");
        let made = creates.iter().filter(|seen| seen.status == 201);
        made.map(|seen| {
            let query = seen.request.split_once('?').expect("a query").1;
            let name = query.split('&').find_map(|pair| pair.strip_prefix("name="));
            name.expect("a name").to_owned()
        })
        .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fits(request: &str, begins: &str, ends: &str) -> bool {
    let path = request.split('?').next().unwrap_or_default();
    request.starts_with(begins) && (path.ends_with(ends) || request.ends_with(ends))
}

async fn serve(mut client: UnixStream, state: &Mutex<State>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let request = line.split(" HTTP/").next().unwrap_or_default().to_owned();
    let (at, fault) = note(&request, state);
    match &fault {
        Some(Fault::Swallow) => {
            // Until the client gives up.
            drop(client.read_to_end(&mut head).await);
            return Ok(());
        }
        Some(Fault::Answer(status, message)) => {
            answered(state, at, *status);
            let body = format!("{{\"message\":\"{message}\"}}");
            let answer = format!(
                "HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        }
        Some(Fault::Wait(gate)) => gate.notified().await,
        Some(Fault::LoseAnswer) | None => {}
    }
    let path = PathBuf::from(engine().trim_start_matches("unix://"));
    let mut engine = UnixStream::connect(path).await?;
    engine.write_all(&head).await?;
    let (mut from_engine, mut to_engine) = engine.split();
    let (mut from_client, mut to_client) = client.split();
    let upward = async {
        copy(&mut from_client, &mut to_engine).await?;
        to_engine.shutdown().await
    };
    let downward = async {
        let mut first = vec![0; 64 * 1024];
        let got = from_engine.read(&mut first).await?;
        first.truncate(got);
        let status = String::from_utf8_lossy(&first);
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        answered(state, at, status.unwrap_or(0));
        if matches!(fault, Some(Fault::LoseAnswer)) {
            return Ok(());
        }
        to_client.write_all(&first).await?;
        copy(&mut from_engine, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! {
        done = downward => done,
        Err(error) = upward => Err(error),
    }
}

fn note(request: &str, state: &Mutex<State>) -> (usize, Option<Fault>) {
    let mut state = state.lock().expect("no panic");
    state.journal.push(Seen {
        request: request.to_owned(),
        status: 0,
        at: Instant::now(),
    });
    let at = state.journal.len() - 1;
    let rule = state
        .rules
        .iter_mut()
        .find(|rule| rule.left > 0 && fits(request, rule.begins, rule.ends));
    let fault = rule.map(|rule| {
        rule.left -= 1;
        rule.fault.clone()
    });
    (at, fault)
}

fn answered(state: &Mutex<State>, at: usize, status: u16) {
    state.lock().expect("no panic").journal[at].status = status;
}

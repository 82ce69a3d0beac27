//! Asks a replica whether it serves, on its own address in the networks that it is in. The runner
//! must be in one of them, or on the Docker host.

use std::{net::IpAddr, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{net::TcpStream, time::timeout};

use crate::domain::evidence::line;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer's body that are told.
const TOLD: usize = 200;

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub ready: bool,
    /// What was seen, in words.
    pub seen: String,
}

impl Look {
    pub(super) fn not_ready(seen: impl Into<String>) -> Self {
        Self {
            ready: false,
            seen: seen.into(),
        }
    }

    pub(super) fn ready(seen: impl Into<String>) -> Self {
        Self {
            ready: true,
            seen: seen.into(),
        }
    }
}

/// Asks over HTTP and TCP. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    http: reqwest::Client,
}

impl Default for Prober {
    fn default() -> Self {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without files or proxies is built from constants");
        Self { http }
    }
}

impl Prober {
    /// `GET path` on any of the addresses answers 200 to 399.
    pub async fn http(&self, addresses: &[IpAddr], port: u16, path: &str) -> Look {
        any(addresses, |address| self.get(address, port, path)).await
    }

    /// Any of the addresses accepts a connection.
    pub async fn tcp(addresses: &[IpAddr], port: u16) -> Look {
        any(addresses, |address| connect(address, port)).await
    }

    async fn get(&self, address: IpAddr, port: u16, path: &str) -> Look {
        let url = format!("http://{}{path}", std::net::SocketAddr::new(address, port));
        let answer = match self.http.get(&url).send().await {
            Ok(answer) => answer,
            Err(error) => return Look::not_ready(format!("GET {url}: {}", chain(&error))),
        };
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Look::ready(status.as_str());
        }
        let mut body = answer.bytes_stream();
        let mut told = Vec::new();
        while let Some(Ok(chunk)) = body.next().await {
            told.extend_from_slice(&chunk);
            if told.len() >= TOLD {
                break;
            }
        }
        told.truncate(TOLD);
        let told = line(&String::from_utf8_lossy(&told));
        Look::not_ready(format!("{} {told}", status.as_u16()))
    }
}

async fn connect(address: IpAddr, port: u16) -> Look {
    match timeout(PATIENCE, TcpStream::connect((address, port))).await {
        Ok(Ok(_)) => Look::ready("accepts connections"),
        Ok(Err(error)) => Look::not_ready(format!("{address}:{port}: {error}")),
        Err(_) => Look::not_ready(format!(
            "{address}:{port}: no answer in {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// Asks every address at once; the first yes counts, else the last no.
async fn any<F: Future<Output = Look>>(addresses: &[IpAddr], ask: impl Fn(IpAddr) -> F) -> Look {
    let mut looks: FuturesUnordered<F> = addresses.iter().map(|address| ask(*address)).collect();
    let mut last = Look::not_ready("it has no address");
    while let Some(look) = looks.next().await {
        if look.ready {
            return look;
        }
        last = look;
    }
    last
}

fn chain(error: &reqwest::Error) -> String {
    // The outermost words repeat the URL.
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), service_kit::error::chain)
}

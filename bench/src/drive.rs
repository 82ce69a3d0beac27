//! Posts, as fast as they are answered or at a pace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use tokio::time::sleep_until;

use crate::{Servers, alerts::Mix, error::Error, latency::Latencies, usage::instances};

/// Connections that one poster may lose.
const CUTS: u64 = 100;
/// Connections for alerts that come at a pace. Senders keep their connections; one for each post that
/// waits would measure the accepting of connections.
const CONNECTIONS: usize = 64;

/// What was posted.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// Alerts in accepted bodies.
    pub(crate) alerts: u64,
    pub(crate) posts: Latencies,
    /// Answers 503: posted again.
    pub(crate) refused: u64,
    /// Connections that ended without an answer: posted again.
    pub(crate) cut: u64,
    pub(crate) bytes: u64,
}

impl Driven {
    fn add(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.posts.append(other.posts);
        self.refused += other.refused;
        self.cut += other.cut;
        self.bytes += other.bytes;
    }
}

/// When a storm is over: at the first of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    pub(crate) posting: Duration,
    pub(crate) alerts: u64,
}

/// Posts bodies of `size` alerts until it is over, `at_once` at a time, each as soon as one before it
/// is answered.
pub(crate) async fn storm(
    servers: &Servers,
    mix: &Mix,
    until: Until,
    (at_once, size): (usize, u64),
) -> Result<Driven, Error> {
    let next = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + until.posting;
    let places = instances(&servers.ingest).await?;
    let posters = (0..at_once).map(|n| {
        let (mut servers, mix, next) = (servers.clone(), mix.clone(), Arc::clone(&next));
        servers.ingest.clone_from(&places[n % places.len()]);
        tokio::spawn(async move {
            let client = Client::new();
            let mut driven = Driven::default();
            while Instant::now() < end {
                let first = next.fetch_add(size, Ordering::Relaxed);
                if first >= until.alerts {
                    break;
                }
                let body = mix.body(first, size);
                post(&client, &servers, body, &mut driven).await?;
                driven.alerts += size;
            }
            Ok::<_, Error>(driven)
        })
    });
    gather(posters.collect()).await
}

/// Posts single alerts for `posting`, `rate` a second, however long the answers take: an alert for
/// which none of the [`CONNECTIONS`] is free waits, and that counts. `sent` is called with each
/// alert's number and when it was due.
pub(crate) async fn paced(
    servers: &Servers,
    mix: &Mix,
    posting: Duration,
    rate: u32,
    sent: impl Fn(u64, Instant) + Clone + Send + 'static,
) -> Result<Driven, Error> {
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let count = posting.as_secs() * u64::from(rate);
    let places = instances(&servers.ingest).await?;
    let posters = (0..CONNECTIONS).map(|n| {
        let (mut servers, mix, next) = (servers.clone(), mix.clone(), Arc::clone(&next));
        servers.ingest.clone_from(&places[n % places.len()]);
        let sent = sent.clone();
        tokio::spawn(async move {
            let client = Client::new();
            let mut driven = Driven::default();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok::<_, Error>(driven);
                }
                let due =
                    began + Duration::from_secs(1) * u32::try_from(n).unwrap_or(u32::MAX) / rate;
                sleep_until(due.into()).await;
                sent(n, due);
                post(&client, &servers, mix.body(n, 1), &mut driven).await?;
                driven.alerts += 1;
            }
        })
    });
    gather(posters.collect()).await
}

async fn gather(
    posters: Vec<tokio::task::JoinHandle<Result<Driven, Error>>>,
) -> Result<Driven, Error> {
    let mut sum = Driven::default();
    for poster in posters {
        sum.add(poster.await.map_err(Error::Panic)??);
    }
    Ok(sum)
}

/// Until it is accepted, as Alertmanager does.
async fn post(
    client: &Client,
    servers: &Servers,
    body: String,
    driven: &mut Driven,
) -> Result<(), Error> {
    driven.bytes += body.len() as u64;
    let what = format!("POST {}", servers.ingest);
    loop {
        let began = Instant::now();
        let sent = client
            .post(format!("{}/webhooks/alertmanager", servers.ingest))
            .bearer_auth(&servers.token)
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            // a connection that was cut says nothing about the body: as Alertmanager, once more
            Err(source) if driven.cut < CUTS => {
                driven.cut += 1;
                if driven.cut == 1 {
                    eprintln!("{what}: {}", crate::error::chain(&source));
                }
                continue;
            }
            Err(source) => return Err(Error::http(&what)(source)),
        };
        let status = answer.status();
        let text = answer.text().await.map_err(Error::http(&what))?;
        match status {
            StatusCode::OK => {
                driven.posts.add(began.elapsed());
                return Ok(());
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                driven.refused += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => {
                return Err(Error::Refused {
                    what,
                    status: other.as_u16(),
                    body: text,
                });
            }
        }
    }
}

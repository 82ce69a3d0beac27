//! A real Alertmanager beside the pair. It is told what fires as Prometheus tells it; what it sends
//! goes through a hop that notes each body and its answer and hands both on as they are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::interval};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Book, World,
    body::rfc,
    now,
    world::{MEMBERS, SECOND},
};
use crate::{
    checker::evidence::{Labels, Told},
    dice::Dice,
};

/// Its series: each fires and ends again and again.
const SERIES: usize = 60;
const SERVICES: usize = 12;
/// How often Prometheus tells what fires.
const PUSH: Duration = Duration::from_secs(1);
/// Until when an alert fires if nothing more is heard of it.
const VALID: i64 = 300 * SECOND;
/// How long a body may take on its way through the hop.
const PATIENCE: Duration = Duration::from_secs(10);

/// The real one, with its Prometheus and its hop.
#[derive(Debug)]
pub struct Real {
    book: Arc<Book>,
    /// Where Ingest listens.
    ingest: Vec<String>,
    /// Where it listens itself.
    url: String,
    client: reqwest::Client,
    /// Indexes of its series in the world.
    known: HashMap<Labels, usize>,
    alerts: Mutex<Vec<Alert>>,
    bodies: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Alert {
    series: usize,
    labels: Labels,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Resting { until: i64 },
    Firing { since: i64, until: i64 },
    Over { since: i64, ended: i64 },
}

impl Real {
    /// With series of its own in `world`.
    #[must_use]
    pub fn new(world: &World, book: Arc<Book>, ingest: Vec<String>, port: u16) -> Self {
        let alerts: Vec<Alert> = (0..SERIES)
            .map(|number| {
                let labels = labels(number);
                Alert {
                    series: world.add(labels.clone()),
                    labels,
                    phase: Phase::Resting { until: 0 },
                }
            })
            .collect();
        Self {
            book,
            ingest,
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::new(),
            known: alerts
                .iter()
                .map(|alert| (alert.labels.clone(), alert.series))
                .collect(),
            alerts: Mutex::new(alerts),
            bodies: AtomicUsize::new(0),
        }
    }

    /// The hop listens from when this returns until the handle is dropped.
    pub async fn listen(self: &Arc<Self>, port: u16) -> Result<AbortOnDropHandle<()>> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("the hop's port {port} (TORTURE_HOP_PORT)"))?;
        let router = Router::new()
            .route("/webhooks/alertmanager", post(hand_on))
            .with_state(Arc::clone(self));
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            drop(axum::serve(listener, router).await);
        })))
    }

    /// Tells it every second what fires and what is over, until `stop`; nothing new once `ending`.
    pub async fn prometheus(
        self: Arc<Self>,
        mut dice: Dice,
        ending: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(PUSH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let alerts = self.turn(&mut dice, ending.is_cancelled());
            let push = self.client.post(format!("{}/api/v2/alerts", self.url));
            // what does not arrive is told again with the next tick
            drop(push.timeout(PATIENCE).json(&alerts).send().await);
        }
    }

    /// Goes on in time; everything that fires, and what ended and is not known to have been told.
    fn turn(&self, dice: &mut Dice, ending: bool) -> Vec<Value> {
        let mut alerts = self.alerts.lock().expect("no writer panics");
        for alert in alerts.iter_mut() {
            alert.phase = self.next(alert, dice, ending);
        }
        alerts.iter().filter_map(Alert::pushed).collect()
    }

    fn next(&self, alert: &Alert, dice: &mut Dice, ending: bool) -> Phase {
        let now = now();
        let seconds = |dice: &mut Dice, least, most| {
            i64::try_from(dice.between(least, most)).unwrap_or(1) * SECOND
        };
        match alert.phase {
            Phase::Resting { until } if now >= until && !ending => Phase::Firing {
                since: now,
                until: now + seconds(dice, 4, 25),
            },
            // one that ended before anybody heard of it is told by no Alertmanager
            Phase::Firing { since, until }
                if (ending || now >= until) && self.book.knows_the_start(alert.series, since) =>
            {
                Phase::Over { since, ended: now }
            }
            Phase::Over { since, .. } if self.book.knows_the_end(alert.series, since) => {
                Phase::Resting {
                    until: now + seconds(dice, 1, 6),
                }
            }
            as_before @ (Phase::Resting { .. } | Phase::Firing { .. } | Phase::Over { .. }) => {
                as_before
            }
        }
    }

    /// Alerts that fire, or whose end nobody has accepted yet.
    #[must_use]
    pub fn untold(&self) -> usize {
        let alerts = self.alerts.lock().expect("no writer panics");
        let resting = |alert: &&Alert| matches!(alert.phase, Phase::Resting { .. });
        alerts.len() - alerts.iter().filter(resting).count()
    }

    /// That it did send.
    pub fn took_part(&self) -> Result<()> {
        let bodies = self.bodies.load(Ordering::Relaxed);
        ensure!(
            bodies > 0,
            "the real Alertmanager at {} sent nothing",
            self.url
        );
        Ok(())
    }

    fn told(&self, body: &[u8]) -> Result<Arc<[Told]>> {
        let body: Body = serde_json::from_slice(body)?;
        let told = body.alerts.into_iter().map(|alert| {
            let over = match alert.status.as_str() {
                "firing" => false,
                "resolved" => true,
                other => bail!("an alert of status {other}"),
            };
            let series = self.known.get(&alert.labels);
            Ok(Told {
                series: *series.with_context(|| format!("an alert of {:?}", alert.labels))?,
                starts_at: alert.starts_at.timestamp_micros(),
                ends_at: over.then(|| alert.ends_at.timestamp_micros()),
            })
        });
        told.collect()
    }
}

impl Alert {
    fn pushed(&self) -> Option<Value> {
        let (since, end) = match self.phase {
            Phase::Resting { .. } => return None,
            Phase::Firing { since, .. } => (since, now() + VALID),
            Phase::Over { since, ended } => (since, ended),
        };
        Some(json!({
            "labels": self.labels,
            "annotations": {"summary": format!("{} of {}", self.labels["alertname"], self.labels["service"])},
            "startsAt": rfc(since),
            "endsAt": rfc(end),
            "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        }))
    }
}

fn labels(number: usize) -> Labels {
    let alertname = if number.is_multiple_of(2) {
        "Down"
    } else {
        "Unmatched"
    };
    let labels = [
        ("alertname", alertname.to_owned()),
        ("service", format!("real-{}", number % SERVICES)),
        ("instance", format!("real-{number}")),
        ("severity", "warning".to_owned()),
    ];
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[derive(Debug, Deserialize)]
struct Body {
    alerts: Vec<Heard>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    status: String,
    labels: Labels,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
}

/// To one of Ingest's instances, and its answer back. No answer: the Alertmanager tries again.
async fn hand_on(State(real): State<Arc<Real>>, headers: HeaderMap, body: Bytes) -> Response {
    let told = match real.told(&body) {
        Ok(told) => told,
        Err(error) => {
            eprintln!("the real Alertmanager sent what cannot be read: {error:#}");
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    let turn = real.bodies.fetch_add(1, Ordering::Relaxed);
    let number = real.book.begin(MEMBERS, &told, &Arc::default());
    let url = &real.ingest[turn % real.ingest.len()];
    let mut request = real
        .client
        .post(format!("{url}/webhooks/alertmanager"))
        .timeout(PATIENCE);
    for name in [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::USER_AGENT,
    ] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    match request.body(body).send().await {
        Ok(answer) => {
            let status = answer.status();
            real.book.answered(number, status.as_u16());
            (status, answer.bytes().await.unwrap_or_default()).into_response()
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

//! The workloads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    Servers,
    alerts::Mix,
    drive::{self, Driven, Until},
    error::Error,
    hops::Hops,
    latency::Latencies,
    report::Run,
    sight::Sight,
    usage::{Cost, Look, Standing, Watch},
};

/// Alerts of a body, where they come in bulk.
const BULK: u64 = 100;

/// Between two looks at what the services count. Looking costs: at 20 looks a second the bench took a
/// tenth of two cores from what it measured.
const LOOK: Duration = Duration::from_millis(250);
/// The same where nothing is posted, and what is measured takes a minute.
const SELDOM: Duration = Duration::from_secs(1);

/// What every workload needs.
pub(crate) struct Bench {
    servers: Servers,
    patience: Duration,
}

impl Bench {
    pub(crate) fn new(servers: Servers, patience: Duration) -> Result<Self, Error> {
        Ok(Self { servers, patience })
    }

    /// With Ingest and no other service.
    pub(crate) async fn alone(&self) -> Result<Self, Error> {
        if Look::at(&self.servers.rules).await.is_ok() {
            return Err(Error::NotAlone);
        }
        let mut servers = self.servers.clone();
        servers.alone = true;
        Self::new(servers, self.patience)
    }

    /// What waits in topic `alert` as the services start; those that come before the first look do
    /// not count.
    pub(crate) async fn backlog(&self, name: &'static str) -> Result<Run, Error> {
        let decided = async || {
            let look = Look::at(&self.servers.rules).await?;
            let records = look.sum("eventpulse_consumer_records_total", r#"topic="alert""#);
            Ok::<_, Error>(records as u64)
        };
        let before = decided().await?;
        let watch = Watch::begin(&self.servers).await?;
        let began = Instant::now();
        let (mut most, mut last): (f64, _) = (0.0, Last::new(began));
        self.patiently(SELDOM, 1, async || {
            // a consumer says nothing of what waits before it has its partitions and looked at their ends
            let standing = self.servers.standing().await?;
            most = most.max(standing.waiting);
            last.see(standing);
            Ok(u64::from(most >= 1.0 && standing.waiting < 1.0))
        })
        .await?;
        let took = last.at - began;
        let costs = watch.end().await?;
        let driven = Driven {
            alerts: decided().await? - before,
            ..Driven::default()
        };
        Ok(run(name, driven, 0, (Duration::ZERO, took), costs))
    }

    /// Bodies of 100 alerts as fast as they are answered.
    pub(crate) async fn storm(&self, storm: Storm, at_once: usize) -> Result<Run, Error> {
        let Storm { name, mix, until } = storm;
        self.rest(0).await?;
        let before = if self.servers.alone {
            None
        } else {
            Some(self.stored().await?)
        };
        let watch = Watch::begin(&self.servers).await?;
        let began = Instant::now();
        let driven = drive::storm(&self.servers, &mix, until, (at_once, BULK)).await?;
        let posted = began.elapsed();
        let mut incidents = 0;
        if let Some(before) = before {
            incidents = mix.incidents(driven.alerts);
            self.until_stored(before, incidents).await?;
        }
        let took = self.rest(driven.alerts).await? - began;
        let costs = watch.end().await?;
        Ok(run(name, driven, incidents, (posted, took), costs))
    }

    /// Single alerts at a pace; the way of each from its due time to the stream.
    pub(crate) async fn paced(
        &self,
        name: &'static str,
        posting: Duration,
        rate: u32,
    ) -> Result<Run, Error> {
        let mix = Storm::every(name, posting).mix;
        self.rest(0).await?;
        let sight = Sight::default();
        let looking = sight.begin(&self.servers).await?;
        let hops = Hops::default();
        let reading = hops.begin(&self.servers.kafka, &mix.run)?;
        let watch = Watch::begin(&self.servers).await?;
        let sent = Arc::<Mutex<HashMap<u64, Instant>>>::default();
        let began = Instant::now();
        let note = {
            let sent = Arc::clone(&sent);
            move |n, due| {
                sent.lock().expect("no writer panics").insert(n, due);
            }
        };
        let driven = drive::paced(&self.servers, &mix, posting, rate, note).await?;
        let posted = began.elapsed();
        self.patiently(LOOK, driven.alerts, async || Ok(sight.count()))
            .await?;
        let costs = watch.end().await?;
        let took = began.elapsed();
        looking.abort();
        reading.abort();
        let mut ways = Vec::new();
        for (n, due) in sent.lock().expect("no writer panics").iter() {
            if let Some(seen) = sight.when(&mix.service(*n)) {
                ways.push((*n, *due, seen));
            }
        }
        let mut whole = Latencies::default();
        for (_, due, seen) in &ways {
            whole.add(seen.saturating_duration_since(*due));
        }
        let incidents = driven.alerts;
        Ok(Run {
            rate: Some(rate),
            way_ms: whole.quantiles(),
            hops_ms: hops.took(ways.into_iter()),
            ..run(name, driven, incidents, (posted, took), costs)
        })
    }

    /// Incident events that the store has taken in.
    async fn stored(&self) -> Result<u64, Error> {
        let look = Look::at(&self.servers.incident_store).await?;
        let records = look.sum("eventpulse_consumer_records_total", r#"topic="incident""#);
        Ok(records as u64)
    }

    async fn until_stored(&self, before: u64, incidents: u64) -> Result<(), Error> {
        self.patiently(LOOK, incidents, async || Ok(self.stored().await? - before))
            .await
    }

    /// Until nothing waits anywhere; gives when the last thing was done.
    async fn rest(&self, all: u64) -> Result<Instant, Error> {
        let mut last = Last::new(Instant::now());
        self.patiently(LOOK, all, async || {
            let standing = self.servers.standing().await?;
            last.see(standing);
            Ok(all.saturating_sub(standing.waiting as u64))
        })
        .await?;
        Ok(last.at)
    }

    async fn patiently(
        &self,
        rest: Duration,
        all: u64,
        mut done: impl AsyncFnMut() -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let done = done().await?;
            if done >= all {
                return Ok(());
            }
            if since.elapsed() > self.patience {
                return Err(Error::Patience {
                    seconds: self.patience.as_secs(),
                    missing: all - done,
                    all,
                });
            }
            tokio::time::sleep(rest).await;
        }
    }
}

/// When something was last seen done. That nothing waits is known seconds later.
struct Last {
    at: Instant,
    done: Option<f64>,
}

impl Last {
    fn new(at: Instant) -> Self {
        Self { at, done: None }
    }

    fn see(&mut self, standing: Standing) {
        if self.done.is_some_and(|done| standing.done > done) {
            self.at = Instant::now();
        }
        self.done = Some(standing.done);
    }
}

/// Bodies in bulk.
pub(crate) struct Storm {
    name: &'static str,
    mix: Mix,
    until: Until,
}

impl Storm {
    /// Every alert opens an incident of a service of its own.
    pub(crate) fn every(name: &'static str, posting: Duration) -> Self {
        let run = uuid::Uuid::now_v7().simple().to_string();
        Self {
            name,
            mix: Mix {
                run: format!("{name}-{}", &run[..12]),
                one_in: 1,
                services: 1000,
                one_service: false,
                series: u64::MAX,
            },
            until: Until {
                posting,
                alerts: u64::MAX,
            },
        }
    }

    /// One alert in so many opens an incident, the others match no rule.
    pub(crate) fn one_in(mut self, one_in: u64) -> Self {
        self.mix.one_in = one_in;
        self
    }

    /// So many series, which fire again and again.
    pub(crate) fn repeating(mut self, series: u64) -> Self {
        self.mix.series = series;
        self
    }

    /// So many alerts of one service: one key in every topic.
    pub(crate) fn one_key(mut self, alerts: u64) -> Self {
        self.mix.one_service = true;
        self.until.alerts = alerts;
        self
    }
}

fn run(
    name: &'static str,
    driven: Driven,
    incidents: u64,
    (posted, took): (Duration, Duration),
    costs: BTreeMap<String, Cost>,
) -> Run {
    Run {
        workload: name.to_owned(),
        rate: None,
        alerts: driven.alerts,
        incidents,
        bytes: driven.bytes,
        refused: driven.refused,
        cut: driven.cut,
        posting_seconds: posted.as_secs_f64(),
        drained_seconds: took.as_secs_f64(),
        post_ms: driven.posts.quantiles(),
        way_ms: None,
        hops_ms: BTreeMap::new(),
        costs,
    }
}

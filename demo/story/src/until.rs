//! Waiting for a condition, with a deadline, remembering what was seen instead.

use std::{fmt, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

const PAUSE: Duration = Duration::from_millis(300);

/// A link of the chain, from load to the incident's story: where to look when it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Stack,
    Load,
    CpuSeries,
    Prometheus,
    Alertmanager,
    Ingest,
    Rules,
    ActionRunner,
    App,
    Traefik,
    IncidentStore,
}

/// What was seen instead of what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) link: Link,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn new(link: Link, text: impl Into<String>) -> Self {
        Self {
            link,
            text: text.into(),
        }
    }
}

/// A step that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) waited: Duration,
    pub(crate) seen: Seen,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (waited {} s)", self.seen.text, self.waited.as_secs())
    }
}

/// Looks again and again until the look succeeds, `limit` at most.
pub(crate) async fn until<T>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, Seen>,
) -> Result<T, Broken> {
    let deadline = Instant::now() + limit;
    let mut seen = Seen::new(Link::Stack, "nothing answered in time");
    let mut looks = interval(PAUSE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        looks.tick().await;
        match timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(instead)) => seen = instead,
            Err(_elapsed) => break,
        }
    }
    Err(Broken {
        waited: limit,
        seen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_looks_until_the_look_succeeds() {
        let mut looks = 0;
        let found = until(Duration::from_secs(10), async || {
            looks += 1;
            if looks < 5 {
                Err(Seen::new(Link::App, "not yet"))
            } else {
                Ok(looks)
            }
        });
        assert_eq!(found.await, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missed_deadline_tells_what_was_seen_last() {
        let mut looks = 0;
        let missed = until(Duration::from_secs(2), async || -> Result<(), Seen> {
            looks += 1;
            Err(Seen::new(Link::Rules, format!("look {looks}")))
        });
        let broken = missed.await.expect_err("never there");
        assert_eq!(broken.seen, Seen::new(Link::Rules, "look 8"));
        assert_eq!(broken.to_string(), "look 8 (waited 2 s)");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_does_not_stop_the_clock() {
        let missed = until(Duration::from_secs(2), async || -> Result<(), Seen> {
            std::future::pending().await
        });
        assert_eq!(missed.await.expect_err("hangs").seen.link, Link::Stack);
    }
}

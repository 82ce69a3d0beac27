//! What people read: one line a step, with the time of day and the time since load came on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::{
    config::Ports,
    profile::{Profile, Step},
    until::{Broken, Link},
};

#[derive(Debug)]
pub(crate) struct Teller {
    ports: Ports,
    load_on: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(ports: Ports) -> Self {
        Self {
            ports,
            load_on: None,
        }
    }

    pub(crate) fn banner(&self, profile: Profile) {
        println!("{}; each line: time (UTC), since load on", profile.banner());
    }

    /// From here on lines carry the time that has passed.
    pub(crate) fn load_on(&mut self) {
        self.load_on.get_or_insert_with(Instant::now);
    }

    pub(crate) fn say(&self, what: &str, text: &str) {
        println!(
            "{}",
            line(now(), self.load_on.map(|at| at.elapsed()), what, text)
        );
    }

    pub(crate) fn pass(&self, incident: &str) {
        let all = Step::ALL.len();
        println!(
            "PASS {all} of {all} steps   docker compose run --rm cli incident show {}   http://127.0.0.1:{}/api/v1/incidents",
            crate::figures::short(incident),
            self.ports.incident_store_port
        );
    }

    pub(crate) fn broken(&self, step: Option<Step>, broken: &Broken) {
        let place = step.map_or_else(
            || "before the first step".to_owned(),
            |step| {
                format!(
                    "at step {} of {}, \"{}\"",
                    step.number(),
                    Step::ALL.len(),
                    step.name()
                )
            },
        );
        println!("FAIL {place}: {broken}");
        println!("next: {}", self.next(broken.seen.link));
    }

    /// Where to look, and the command to begin with.
    fn next(&self, link: Link) -> String {
        let Ports {
            prometheus_port: prometheus,
            alertmanager_port: alertmanager,
            ingest_port: ingest,
            rules_port: rules,
            action_runner_port: action_runner,
            incident_store_port: incident_store,
        } = self.ports;
        match link {
            Link::Stack => "docker compose --profile demo ps; make up".to_owned(),
            Link::Load => "docker compose logs --tail 20 load".to_owned(),
            Link::CpuSeries => format!(
                "see http://127.0.0.1:{prometheus}/targets; does cadvisor run, and is a CPU limit set? docker compose ps cadvisor app"
            ),
            Link::Prometheus => format!("see http://127.0.0.1:{prometheus}/alerts"),
            Link::Alertmanager => {
                format!(
                    "see http://127.0.0.1:{alertmanager}; docker compose logs --tail 20 alertmanager"
                )
            }
            Link::Ingest => {
                format!(
                    "see http://127.0.0.1:{ingest}/api/v1/alerts; docker compose logs --tail 20 ingest"
                )
            }
            Link::Rules => format!(
                "see http://127.0.0.1:{rules}/api/v1/decisions; docker compose logs --tail 20 rules"
            ),
            Link::ActionRunner => format!(
                "see http://127.0.0.1:{action_runner}/api/v1/actions; docker compose logs --tail 20 action-runner"
            ),
            Link::App => {
                "docker compose --profile demo ps app; docker compose logs --tail 20 app".to_owned()
            }
            Link::Traefik => "docker compose logs --tail 20 traefik".to_owned(),
            Link::IncidentStore => format!(
                "see http://127.0.0.1:{incident_store}/api/v1/incidents; docker compose logs --tail 20 incident-store"
            ),
        }
    }
}

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "people read the time of day beside each line"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn line(now: DateTime<Utc>, elapsed: Option<Duration>, what: &str, text: &str) -> String {
    let elapsed = elapsed.map_or_else(String::new, |elapsed| {
        format!("+{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
    });
    format!("{} {elapsed:>6} {what:<11} {text}", now.format("%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_elapsed_and_text() {
        let now = "2026-03-01T03:14:32Z".parse().expect("a time");
        let told = line(
            now,
            Some(Duration::from_secs(87)),
            "HighCPU",
            "84 % of limit",
        );
        assert_eq!(told, "03:14:32  +1:27 HighCPU     84 % of limit");
        assert_eq!(
            line(now, None, "restoring", "x"),
            "03:14:32        restoring   x"
        );
    }
}

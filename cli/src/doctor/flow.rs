//! What waits on its way, and whose clock is off.

use chrono::{DateTime, Utc};

use super::{Finding, State};
use crate::client::{Client, Server};

/// Records that a service may be behind while it keeps up.
const BEHIND: f64 = 1_000.0;
/// Seconds that an event waits for Kafka where all is well.
const WAITED: f64 = 30.0;
/// Seconds that a clock may be off: an answer takes its time, and its date has whole seconds.
const OFF: i64 = 5;

/// What a service's metrics say: how far it is behind, and what waits in its outbox.
pub(super) async fn waiting(client: &Client, server: Server) -> Vec<Finding> {
    // a service that does not answer is a finding already
    let Ok((200, text)) = client.probe(server, "/metrics").await else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let name = server.name();
    let mut note = |part: &str, state, seen: String, advice: &str| {
        findings.push(Finding::new(
            &format!("{name}: {part}"),
            state,
            seen,
            advice,
        ));
    };
    let lag: f64 = samples(&text, "eventpulse_consumer_lag").sum();
    if lag > BEHIND {
        let advice = "does it log errors? a second instance shares the work: Compose profile `ha`";
        note("lag", State::Look, format!("{lag} records behind"), advice);
    } else if samples(&text, "eventpulse_consumer_lag").next().is_some() {
        note("lag", State::Ok, format!("{lag} records behind"), "");
    }
    let depth: f64 = samples(&text, "eventpulse_outbox_depth").sum();
    let age = samples(&text, "eventpulse_outbox_oldest_age_seconds").fold(0.0, f64::max);
    let parked: f64 = samples(&text, "eventpulse_outbox_parked").sum();
    if parked > 0.0 {
        let advice = "the broker refuses them for their own fault: `last_error` in outbox_events";
        note(
            "outbox",
            State::Wrong,
            format!("{parked} events are parked"),
            advice,
        );
    } else if age > WAITED {
        let advice = "is Kafka up? nothing is lost meanwhile: see docs/OPERATING.md, OutboxOld";
        let seen = format!("{depth} events wait, the oldest for {age:.0} s");
        note("outbox", State::Look, seen, advice);
    } else {
        note("outbox", State::Ok, format!("{depth} events wait"), "");
    }
    findings
}

fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = f64> {
    text.lines()
        .filter(move |line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// The clock of a service's machine beside this one's, which reads `now`.
pub(super) async fn clock(client: &Client, server: Server, now: DateTime<Utc>) -> Option<Finding> {
    let theirs = client.date(server).await?;
    let part = format!("{}: clock", server.name());
    let off = (theirs - now).num_seconds();
    if off.abs() <= OFF {
        return Some(Finding::new(&part, State::Ok, "as here", ""));
    }
    let which = if off > 0 { "ahead of" } else { "behind" };
    let seen = format!("{} s {which} this machine's", off.abs());
    let advice = "set both by NTP (`timedatectl`); decisions go by the time of Ingest's database";
    Some(Finding::new(&part, State::Look, seen, advice))
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn samples_of_one_metric() {
        let text = "# TYPE eventpulse_consumer_lag gauge\n\
                    eventpulse_consumer_lag{topic=\"alert\"} 2\n\
                    eventpulse_consumer_lag{topic=\"action\"} 3.5\n\
                    eventpulse_consumer_lag_of_others 9\n";
        assert_eq!(samples(text, "eventpulse_consumer_lag").sum::<f64>(), 5.5);
        assert_eq!(samples(text, "eventpulse_outbox_depth").count(), 0);
    }
}

//! `why`: follows one alert through all four services, and says in plain sentences what became of it.

mod find;
mod follow;
mod rulebook;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    args::Servers,
    client::Client,
    error::Error,
    output::{Output, line, printable},
};

/// What to explain.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes of why: 0 explained, 1 there is no such alert or incident, \
2 a service is not reachable"
)]
pub(crate) struct WhyArgs {
    /// An alert's id, an incident (id, or its first 6 or more digits), or words to look for in
    /// alerts, rejects and dead letters: HighCPU, app
    pub(crate) what: String,
    /// Only what this rule says
    #[arg(long)]
    pub(crate) rule: Option<String>,
}

/// One station of an alert's way.
pub(crate) struct Station {
    /// ingest, outbox, topic, dead letters, rules, action, incident
    pub(crate) part: &'static str,
    pub(crate) state: State,
    /// One sentence each.
    pub(crate) words: Vec<String>,
    /// What was read there.
    pub(crate) data: Value,
}

/// How far an alert came at a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It passed.
    Ok,
    /// It ended here, or something is to be looked at.
    Look,
    /// The service does not answer.
    Away,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Away => "away",
        }
    }
}

impl Station {
    pub(crate) fn new(part: &'static str, state: State, words: impl Into<String>) -> Self {
        Self {
            part,
            state,
            words: vec![words.into()],
            data: Value::Null,
        }
    }

    pub(crate) fn with(mut self, data: &Value) -> Self {
        self.data = data.clone();
        self
    }

    pub(crate) fn say(&mut self, words: impl Into<String>) {
        self.words.push(words.into());
    }
}

/// `why`
pub(crate) async fn why(
    servers: &Servers,
    client: &Client,
    output: Output,
    args: &WhyArgs,
) -> Result<(), Error> {
    let found = find::find(servers, client, &args.what).await;
    let mut stories = Vec::new();
    for subject in &found.subjects {
        let stations = follow::follow(servers, client, subject, args.rule.as_deref()).await;
        stories.push((subject.title(), stations));
    }
    let away: Vec<&str> = found
        .away
        .iter()
        .copied()
        .chain(stories.iter().flat_map(|(_, stations)| {
            let away = stations.iter().filter(|found| found.state == State::Away);
            away.map(|station| station.part)
        }))
        .collect();
    show(output, &stories, &found.away_words)?;
    match (stories.is_empty(), away.is_empty()) {
        (_, false) => Err(Error::Code(2)),
        (true, true) => {
            eprintln!(
                "eventpulse: no alert, reject, dead letter or incident is {:?}: did Alertmanager send it? \
                 see `eventpulse alert ls` and Alertmanager's alertmanager_notifications_failed_total",
                args.what
            );
            Err(Error::Code(1))
        }
        (false, true) => Ok(()),
    }
}

fn show(output: Output, stories: &[(String, Vec<Station>)], away: &[String]) -> Result<(), Error> {
    for words in away {
        eprintln!("eventpulse: {words}");
    }
    if output.is_json() {
        let station = |found: &Station| json!({"part": found.part, "state": found.state.as_str(), "words": found.words, "data": found.data});
        let story = |(title, stations): &(String, Vec<Station>)| json!({"subject": title, "stations": stations.iter().map(station).collect::<Value>()});
        return output.json(&stories.iter().map(story).collect::<Value>());
    }
    for (title, stations) in stories {
        line(&printable(title))?;
        for station in stations {
            let mut words = station.words.iter();
            let first = words.next().map_or("", String::as_str);
            let mark = output.paint(
                &format!("{:<13}", station.part),
                match station.state {
                    State::Ok => "ok",
                    State::Look => "look",
                    State::Away => "wrong",
                },
            );
            line(&format!("  {mark} {}", printable(first)))?;
            for more in words {
                line(&format!("  {:<13} {}", "", printable(more)))?;
            }
        }
        line("")?;
    }
    Ok(())
}

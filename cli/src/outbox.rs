//! `outbox list`, `retry`, `skip`, `resend`, `log`: what waits in front of Kafka, in every service.

use serde_json::{Value, json};

use crate::{
    args::{OutboxCommand, OutboxList, OutboxResend, OutboxRetry, Service},
    client::{Client, Server},
    error::Error,
    incident::moment,
    output::{As, Column, Output},
    verbs::because,
};

/// Events of one service that are looked at.
const MOST: usize = 500;
/// Digits of an id that are enough.
const DIGITS: usize = 6;

/// Every verb about outboxes.
pub(crate) async fn run(
    client: &Client,
    output: Output,
    command: &OutboxCommand,
) -> Result<(), Error> {
    match command {
        OutboxCommand::List(args) => list(client, output, args).await,
        OutboxCommand::Retry(args) => retry(client, output, args).await,
        OutboxCommand::Skip { id, because: why } => {
            let (server, event) = one(client, id).await?;
            let answer = order(client, server, &event, "skip", &because(why)).await?;
            tell(output, vec![(server, answer)])
        }
        OutboxCommand::Resend(args) => resend(client, output, args).await,
        OutboxCommand::Log { limit } => log(client, output, limit.limit).await,
    }
}

pub(crate) fn servers(named: &[Service]) -> Vec<Server> {
    let server = |service: &Service| match service {
        Service::Ingest => Server::Ingest,
        Service::Rules => Server::Rules,
        Service::ActionRunner => Server::ActionRunner,
        Service::IncidentStore => Server::IncidentStore,
    };
    if named.is_empty() {
        return Server::SERVICES.to_vec();
    }
    named.iter().map(server).collect()
}

/// What the services that answer have, and what became of the last that does not: one that is down
/// hides nothing of the others.
pub(crate) struct Gathered {
    items: Vec<(Server, Value)>,
    pub(crate) away: Result<(), Error>,
}

pub(crate) async fn gather(
    client: &Client,
    servers: Vec<Server>,
    path: &str,
    query: &[(&str, String)],
) -> Gathered {
    let (mut items, mut away) = (Vec::new(), Ok(()));
    for server in servers {
        match client.get(server, path, query).await {
            Ok(mut answer) => {
                for item in answer["items"].as_array_mut().into_iter().flatten() {
                    item["service"] = server.name().into();
                    items.push((server, item.take()));
                }
            }
            Err(error) => away = Err(error),
        }
    }
    Gathered { items, away }
}

async fn waiting(client: &Client, servers: Vec<Server>, state: &str, limit: usize) -> Gathered {
    let query = [
        ("state", state.to_owned()),
        ("limit", limit.clamp(1, MOST).to_string()),
    ];
    gather(client, servers, "/api/v1/outbox", &query).await
}

impl Gathered {
    pub(crate) fn values(&self) -> Vec<Value> {
        self.items.iter().map(|(_, item)| item.clone()).collect()
    }

    fn events(self) -> impl Iterator<Item = (Server, String)> {
        self.items.into_iter().map(|(server, item)| {
            let event = item["event_id"].as_str().unwrap_or_default();
            (server, event.to_owned())
        })
    }
}

async fn list(client: &Client, output: Output, args: &OutboxList) -> Result<(), Error> {
    let state = if args.all { "all" } else { "held" };
    let found = waiting(client, servers(&args.service), state, args.limit.limit).await;
    let columns = [
        Column("SERVICE", "/service", As::Text),
        Column("EVENT", "/event_id", As::Text),
        Column("TYPE", "/type", As::Text),
        Column("TOPIC", "/topic", As::Text),
        Column("KEY", "/key", As::Text),
        Column("SINCE", "/created_at", As::Time),
        Column("PARKED", "/parked", As::Text),
        Column("BEHIND", "/behind", As::Text),
        Column("WHY", "/last_error", As::Text),
    ];
    let nothing = if args.all {
        "nothing waits"
    } else {
        "nothing is held; --all lists everything that waits"
    };
    output.list(&found.values(), &columns, nothing)?;
    found.away
}

/// The held event whose id begins so, and where it is.
async fn one(client: &Client, id: &str) -> Result<(Server, String), Error> {
    if id.len() < DIGITS {
        let words = format!("{id:?} is too short: give {DIGITS} digits or more");
        return Err(Error::Usage(words));
    }
    let mut found = waiting(client, servers(&[]), "held", MOST).await;
    let away = std::mem::replace(&mut found.away, Ok(()));
    let beginning = id.to_lowercase();
    let mut meant = found
        .events()
        .filter(|(_, event)| event.starts_with(&beginning));
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Error::Usage(format!(
            "more than one event begins with {id}"
        ))),
        (None, _) => {
            away?;
            Err(Error::NoneHeld { id: id.to_owned() })
        }
    }
}

async fn order(
    client: &Client,
    server: Server,
    event: &str,
    verb: &str,
    body: &Value,
) -> Result<Value, Error> {
    let path = format!("/api/v1/outbox/{event}/{verb}");
    client.post(server, &path, body).await
}

async fn retry(client: &Client, output: Output, args: &OutboxRetry) -> Result<(), Error> {
    let (mut meant, mut away) = (Vec::new(), Ok(()));
    if args.all {
        let mut found = waiting(client, servers(&[]), "parked", MOST).await;
        away = std::mem::replace(&mut found.away, Ok(()));
        meant.extend(found.events());
    } else {
        for id in &args.ids {
            meant.push(one(client, id).await?);
        }
    }
    let body = because(&args.because);
    let mut answers = Vec::with_capacity(meant.len());
    for (server, event) in meant {
        let answer = order(client, server, &event, "retry", &body).await?;
        answers.push((server, answer));
    }
    tell(output, answers)?;
    away
}

fn tell(output: Output, answers: Vec<(Server, Value)>) -> Result<(), Error> {
    let items = answers.into_iter().map(|(server, mut answer)| {
        answer["service"] = server.name().into();
        answer
    });
    let columns = [
        Column("SERVICE", "/service", As::Text),
        Column("DONE", "/message", As::Text),
    ];
    output.list(&items.collect::<Vec<_>>(), &columns, "nothing is parked")
}

/// Asks each service part by part, so that no request takes long.
async fn resend(client: &Client, output: Output, args: &OutboxResend) -> Result<(), Error> {
    let since = moment(output, &args.since)?;
    let mut items = Vec::new();
    for server in servers(&args.service) {
        let mut body = because(&args.because);
        body["since"] = since.clone().into();
        body["dry_run"] = args.dry_run.into();
        let (mut events, mut kept_since) = (0, None);
        loop {
            let answer = client.post(server, "/api/v1/outbox/resend", &body).await?;
            events += answer["events"].as_i64().unwrap_or_default();
            kept_since.get_or_insert_with(|| answer["kept_since"].clone());
            if answer["complete"] != false {
                break;
            }
            body["until"] = answer["until"].clone();
        }
        items.push(json!({
            "service": server.name(),
            "events": events,
            "kept_since": kept_since,
            "done": if args.dry_run { "would be sent again" } else { "in the outbox again" },
        }));
    }
    let columns = [
        Column("SERVICE", "/service", As::Text),
        Column("EVENTS", "/events", As::Text),
        Column("DONE", "/done", As::Text),
        Column("SENT EVENTS KEPT SINCE", "/kept_since", As::Time),
    ];
    output.list(&items, &columns, "")
}

async fn log(client: &Client, output: Output, limit: usize) -> Result<(), Error> {
    let query = [("limit", limit.clamp(1, MOST).to_string())];
    let path = "/api/v1/outbox/interventions";
    let gathered = gather(client, servers(&[]), path, &query).await;
    let mut found = gathered.values();
    found.sort_by(|a, b| b["at"].as_str().cmp(&a["at"].as_str()));
    found.truncate(limit);
    let columns = [
        Column("AT", "/at", As::Time),
        Column("SERVICE", "/service", As::Text),
        Column("VERB", "/verb", As::Text),
        Column("EVENT", "/event_id", As::Id),
        Column("TYPE", "/type", As::Text),
        Column("EVENTS", "/events", As::Text),
        Column("BY", "/actor", As::Text),
        Column("WHY", "/reason", As::Text),
    ];
    output.list(&found, &columns, "nobody has done anything to an outbox")?;
    gathered.away
}

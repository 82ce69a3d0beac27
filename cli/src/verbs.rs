//! What people order. Each order is an event with who and why.

use serde_json::{Map, Value, json};

use crate::{
    args::{Because, Order, PauseArgs, ResumeArgs, What},
    client::{Client, Server, segment},
    error::Error,
    output::{As, Output, line},
};

/// `incident retry`, `incident close`
pub(crate) async fn incident(
    client: &Client,
    output: Output,
    verb: &str,
    order: &Order,
) -> Result<(), Error> {
    let id = whole_id(client, &order.id).await?;
    let path = format!("/api/v1/incidents/{id}/{verb}");
    let answer = client
        .post(Server::Rules, &path, &because(&order.because))
        .await?;
    let done = match verb {
        "retry" => "the rule's action is requested again",
        _ => "closed",
    };
    say(output, &answer, &format!("incident {}: {done}", short(&id)))
}

/// Rules know incidents by their whole id; people type its beginning.
async fn whole_id(client: &Client, id: &str) -> Result<String, Error> {
    let path = format!("/api/v1/incidents/{}", segment(id));
    match client.get(Server::IncidentStore, &path, &[]).await {
        Ok(incident) => Ok(incident["id"].as_str().unwrap_or(id).to_owned()),
        // The store may be away; a whole id needs no looking up.
        Err(_) if uuid::Uuid::try_parse(id).is_ok() => Ok(id.to_owned()),
        Err(error) => Err(error),
    }
}

/// `pause`
pub(crate) async fn pause(client: &Client, output: Output, args: &PauseArgs) -> Result<(), Error> {
    let mut body = because(&args.because);
    let how_long = args
        .how_long
        .map(|time| humantime::format_duration(time).to_string());
    let until = match &how_long {
        Some(time) => format!("for {time}"),
        None => "until `eventpulse resume`".to_owned(),
    };
    if let Some(time) = how_long {
        body["for"] = Value::String(time.replace(' ', ""));
    }
    let (name, words) = target(&args.what);
    let path = format!("/api/v1/targets/{}/pause", segment(&name));
    let answer = client.post(Server::Rules, &path, &body).await?;
    say(
        output,
        &answer,
        &format!("{words} paused {until}: incidents still open, nothing is scaled"),
    )
}

/// `resume`
pub(crate) async fn resume(
    client: &Client,
    output: Output,
    args: &ResumeArgs,
) -> Result<(), Error> {
    let (name, words) = target(&args.what);
    let path = format!("/api/v1/targets/{}/resume", segment(&name));
    let answer = client
        .post(Server::Rules, &path, &because(&args.because))
        .await?;
    say(output, &answer, &format!("{words} resumed"))
}

/// `target prune`
pub(crate) async fn prune(client: &Client, output: Output, yes: bool) -> Result<(), Error> {
    let body = json!({"dry_run": !yes});
    let answer = client
        .post(Server::ActionRunner, "/api/v1/targets/prune", &body)
        .await?;
    let names = output.text(&answer["containers"], As::Names);
    let words = match (names.as_str(), yes) {
        ("-", _) => "nothing to remove".to_owned(),
        (names, true) => format!("removed {names}"),
        (names, false) => format!("would remove {names}; do it with --yes"),
    };
    say(output, &answer, &words)?;
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    for error in &errors {
        eprintln!("eventpulse: {}", output.text(error, As::Text));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::Unwell)
    }
}

/// `rules reload`
pub(crate) async fn reload(client: &Client, output: Output) -> Result<(), Error> {
    let answer = client.post(Server::Rules, "/-/reload", &json!({})).await?;
    let version = output.text(&answer["version"], As::Id);
    let count = output.text(&answer["rules"], As::Text);
    let mut words = if answer["unchanged"] == true {
        format!("nothing changed: version {version} with {count} rules is active")
    } else {
        format!("version {version} with {count} rules is active")
    };
    if let Some(ignored) = answer["ignored"].as_str() {
        words.push_str("\n  ");
        words.push_str(ignored);
    }
    say(output, &answer, &words)
}

/// `target reload`: first who acts, so that no action comes for a target that is not known there.
pub(crate) async fn reload_targets(client: &Client, output: Output) -> Result<(), Error> {
    let mut answers = Map::new();
    for (name, server) in [
        ("action_runner", Server::ActionRunner),
        ("rules", Server::Rules),
    ] {
        let answer = client.post(server, "/-/reload", &json!({})).await?;
        answers.insert(name.to_owned(), answer);
    }
    let answers = Value::Object(answers);
    let targets = output.text(&answers["action_runner"]["targets"], As::Names);
    let words = format!("Action Runner and Rules have read targets.yaml: {targets}");
    say(output, &answers, &words)
}

fn target(what: &What) -> (String, String) {
    match &what.target {
        Some(name) => (name.clone(), format!("target {name}")),
        // the name that stands for every target in a pause
        None => (
            shared_events::action::ALL_TARGETS.to_owned(),
            "all targets".to_owned(),
        ),
    }
}

pub(crate) fn because(because: &Because) -> Value {
    let mut body = Map::new();
    body.insert("actor".to_owned(), because.actor().into());
    body.insert("reason".to_owned(), because.reason.clone().into());
    Value::Object(body)
}

/// `limits close`
pub(crate) async fn close_limit(
    client: &Client,
    output: Output,
    target: Option<&str>,
    why: &Because,
) -> Result<(), Error> {
    let name = target.unwrap_or(shared_events::action::ALL_TARGETS);
    let mut body = because(why);
    body["target"] = name.into();
    let answer = client
        .post(Server::Rules, "/api/v1/limits/close", &body)
        .await?;
    say(output, &answer, "closed: actions are asked for again")
}

fn say(output: Output, answer: &Value, words: &str) -> Result<(), Error> {
    if output.is_json() {
        return output.json(answer);
    }
    // the service's own words are nearer to what happened
    match &answer["message"] {
        Value::String(_) => line(&output.text(&answer["message"], As::Text)),
        _ => line(words),
    }
}

fn short(id: &str) -> &str {
    id.get(..6).unwrap_or(id)
}

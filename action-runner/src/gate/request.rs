//! What may be asked of the gate: a closed list. Pure, so that it can be tried with anything.

use hyper::Method;

use super::query::Query;

/// What a refusal says is there instead.
const ALLOWED: &str = "allowed are GET /_ping, /version, /containers/json, /containers/{id}/json and /logs; \
    POST /containers/create, /containers/{id}/start and /stop, /networks/{name}/connect; DELETE /containers/{id}";
/// Most of a request's body, in bytes.
pub(super) const MOST_BODY: usize = 64 * 1024;
/// Longest wait for a container to stop, in seconds: as `targets.yaml` allows.
const LONGEST_GRACE: u32 = 600;
/// Most lines of a log.
const MOST_LINES: u32 = 10_000;

/// One request that is on the list. Nothing else of what the client sent is ever handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Begins the path: `/v1.41`, or nothing.
    pub(super) version: String,
    pub(super) call: Call,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Ping,
    Version,
    List {
        all: bool,
        labels: Vec<String>,
    },
    Inspect {
        container: String,
    },
    Logs {
        container: String,
        stdout: bool,
        stderr: bool,
        tail: u32,
    },
    /// The body says which replica.
    Create {
        name: String,
    },
    Start {
        container: String,
    },
    Stop {
        container: String,
        seconds: Option<u32>,
    },
    Remove {
        container: String,
        force: bool,
        volumes: bool,
    },
    /// The body says which container.
    Connect {
        network: String,
    },
}

/// No, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("docker-gate: {why}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) why: String,
}

impl Refusal {
    /// This is not allowed, and would not be if it were asked again.
    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self {
            status: 403,
            why: why.into(),
        }
    }

    /// As the engine words it.
    pub(super) fn too_large() -> Self {
        Self {
            status: 413,
            why: format!("a body has at most {MOST_BODY} bytes"),
        }
    }

    /// What was planned stands on something that has changed: to be looked at and planned again. Of all
    /// statuses the runner takes only 408, 425 and 429 for neither a refusal nor an engine in trouble.
    pub(super) fn look_again(why: impl Into<String>) -> Self {
        Self {
            status: 425,
            why: why.into(),
        }
    }
}

/// Judges a request by its first line alone.
pub(super) fn judge(method: &Method, path: &str, query: Option<&str>) -> Result<Request, Refusal> {
    let (version, path) = split_version(path);
    let parts: Vec<&str> = match path.strip_prefix('/') {
        Some(path) => path.split('/').collect(),
        None => return Err(unlisted(method, path)),
    };
    let mut query = Query::parse(query)?;
    let call = match (method.as_str(), parts.as_slice()) {
        ("GET", ["_ping"]) => Call::Ping,
        ("GET", ["version"]) => Call::Version,
        ("GET", ["containers", "json"]) => list(&mut query)?,
        ("GET", ["containers", id, "json"]) => {
            query.without("size", &["false", "0"])?;
            Call::Inspect {
                container: name(id)?,
            }
        }
        ("GET", ["containers", id, "logs"]) => logs(name(id)?, &mut query)?,
        ("POST", ["containers", "create"]) => create(&mut query)?,
        ("POST", ["containers", id, "start"]) => Call::Start {
            container: name(id)?,
        },
        ("POST", ["containers", id, "stop"]) => Call::Stop {
            container: name(id)?,
            seconds: query.number("t", LONGEST_GRACE)?,
        },
        ("DELETE", ["containers", id]) => {
            query.without("link", &["false", "0"])?;
            Call::Remove {
                container: name(id)?,
                force: query.flag("force")?,
                volumes: query.flag("v")?,
            }
        }
        ("POST", ["networks", network, "connect"]) => Call::Connect {
            network: name(network)?,
        },
        (_, _) => return Err(unlisted(method, path)),
    };
    query.end()?;
    Ok(Request {
        version: version.to_owned(),
        call,
    })
}

fn list(query: &mut Query) -> Result<Call, Refusal> {
    query.without("size", &["false", "0"])?;
    Ok(Call::List {
        all: query.flag("all")?,
        labels: query.label_filters()?,
    })
}

fn logs(container: String, query: &mut Query) -> Result<Call, Refusal> {
    for switch in ["follow", "timestamps"] {
        query.without(switch, &["false", "0"])?;
    }
    for time in ["since", "until"] {
        query.without(time, &["0"])?;
    }
    let tail = query.number("tail", MOST_LINES)?;
    Ok(Call::Logs {
        container,
        stdout: query.flag("stdout")?,
        stderr: query.flag("stderr")?,
        tail: tail.ok_or_else(|| Refusal::forbidden("logs need tail=, a number of lines"))?,
    })
}

fn create(query: &mut Query) -> Result<Call, Refusal> {
    query.without("platform", &[""])?;
    let wanted = query.text("name");
    let wanted = wanted.ok_or_else(|| Refusal::forbidden("a replica is created by name"))?;
    Ok(Call::Create {
        name: name(&wanted)?,
    })
}

/// `/v1.41` and the rest; nothing and the whole when it begins with no version.
fn split_version(path: &str) -> (&str, &str) {
    let end = path.get(1..).and_then(|rest| rest.find('/'));
    let Some(end) = end.map(|end| end + 1) else {
        return ("", path);
    };
    let (version, rest) = path.split_at(end);
    let digits =
        |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = version.strip_prefix("/v").and_then(|v| v.split_once('.'));
    match numbers {
        Some((major, minor)) if digits(major) && digits(minor) => (version, rest),
        Some(_) | None => ("", path),
    }
}

/// An id or name of a container or network, as the engine has them.
pub(super) fn name(text: &str) -> Result<String, Refusal> {
    let first = text.bytes().next();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let good = first.is_some_and(|b| b.is_ascii_alphanumeric())
        && text.len() <= 255
        && text.bytes().all(legal);
    if good {
        return Ok(text.to_owned());
    }
    Err(Refusal::forbidden(
        "an id or name is letters, digits, '_', '.' and '-'",
    ))
}

fn unlisted(method: &Method, path: &str) -> Refusal {
    let path: String = path.chars().take(200).collect();
    Refusal::forbidden(format!("{method} {path} is not allowed; {ALLOWED}"))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

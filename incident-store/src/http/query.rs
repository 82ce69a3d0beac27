//! Query parameters of the list of incidents. A name that is not known is an error: a typo must not
//! widen what a person or a script acts on.

use chrono::DateTime;
use shared_events::{Timestamp, matcher::Matcher};

use super::{Error, cursor};
use crate::{
    domain::Status,
    store::list::{After, Filter, Order},
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// What was asked for.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) filter: Filter,
    pub(super) order: Order,
    pub(super) after: Option<After>,
    pub(super) limit: usize,
    /// As it was then.
    pub(super) as_of: Option<Timestamp>,
}

const KNOWN: &str =
    "status, service, severity, since, until, needs_attention, matcher, as_of, sort, limit, cursor";

impl ListQuery {
    /// Reads the pairs of a query string; `status`, `service` and `severity` repeat or are lists
    /// with commas, `matcher` repeats.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut query = Self {
            filter: Filter::default(),
            order: Order::NewestFirst,
            after: None,
            limit: DEFAULT_LIMIT,
            as_of: None,
        };
        let mut cursor = None;
        for (name, value) in pairs {
            match name.as_str() {
                "status" => query.filter.statuses.extend(statuses(value)?),
                "service" => query.filter.services.extend(list(value)),
                "severity" => query.filter.severities.extend(list(value)),
                "since" => query.filter.since = Some(time("since", value)?),
                "until" => query.filter.until = Some(time("until", value)?),
                "needs_attention" => query.filter.needs_attention = Some(flag(name, value)?),
                "matcher" => query.filter.matchers.extend(matchers(value)?),
                "as_of" => query.as_of = Some(time("as_of", value)?),
                "sort" => query.order = order(value)?,
                "limit" => query.limit = limit(value, MAX_LIMIT)?,
                "cursor" => cursor = Some(value),
                other => return Err(unknown(other, KNOWN)),
            }
        }
        query.after = cursor
            .map(|text| cursor::read_incidents(query.order, text))
            .transpose()?;
        Ok(query)
    }
}

/// `limit` and `cursor` of a timeline.
pub(super) fn read_page(
    pairs: &[(String, String)],
) -> Result<(usize, Option<crate::store::story::After>), Error> {
    let (mut size, mut after) = (200, None);
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => size = limit(value, 1_000)?,
            "cursor" => after = Some(cursor::read_timeline(value)?),
            other => return Err(unknown(other, "limit, cursor")),
        }
    }
    Ok((size, after))
}

/// `as_of` of one incident, and `format` of an export.
pub(super) fn read_moment(
    pairs: &[(String, String)],
    known: &[&str],
) -> Result<(Option<Timestamp>, Option<String>), Error> {
    let (mut as_of, mut format) = (None, None);
    for (name, value) in pairs {
        match name.as_str() {
            "as_of" if known.contains(&"as_of") => as_of = Some(time("as_of", value)?),
            "format" if known.contains(&"format") => format = Some(value.clone()),
            other => return Err(unknown(other, &known.join(", "))),
        }
    }
    Ok((as_of, format))
}

pub(super) fn unknown(name: &str, known: &str) -> Error {
    Error::Parameter(format!("unknown parameter {name:?}; known are {known}"))
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
}

fn statuses(value: &str) -> Result<Vec<String>, Error> {
    list(value)
        .map(|name| {
            Status::by_name(&name).map(|_| name.clone()).ok_or_else(|| {
                let known = Status::ALL.map(Status::as_str).join(", ");
                Error::Parameter(format!("status {name:?} is none of {known}"))
            })
        })
        .collect()
}

fn time(name: &str, value: &str) -> Result<Timestamp, Error> {
    // a `+` that was not percent-encoded arrives as a space
    DateTime::parse_from_rfc3339(&value.replace(' ', "+"))
        .map(|at| at.to_utc())
        .map_err(|_| {
            Error::Parameter(format!(
                "{name} {value:?} is not a time as in 2026-11-21T03:14:05Z"
            ))
        })
}

fn flag(name: &str, value: &str) -> Result<bool, Error> {
    value
        .parse()
        .map_err(|_| Error::Parameter(format!("{name} {value:?} is neither true nor false")))
}

fn matchers(value: &str) -> Result<Vec<Matcher>, Error> {
    Matcher::parse_list(value).map_err(|error| Error::Parameter(format!("matcher: {error}")))
}

fn order(value: &str) -> Result<Order, Error> {
    match value {
        "-opened_at" => Ok(Order::NewestFirst),
        "opened_at" => Ok(Order::OldestFirst),
        other => Err(Error::Parameter(format!(
            "sort {other:?} is neither opened_at nor -opened_at"
        ))),
    }
}

fn limit(value: &str, most: usize) -> Result<usize, Error> {
    let size = value.parse().unwrap_or(0);
    if (1..=most).contains(&size) {
        Ok(size)
    } else {
        Err(Error::Parameter(format!(
            "limit {value:?} is not a number from 1 to {most}"
        )))
    }
}

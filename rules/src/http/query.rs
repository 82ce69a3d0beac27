//! Query parameters of the list of decisions. A name that is not known is an error: a typo must not
//! widen what a person or a script asks for.

use service_kit::Problem;
use uuid::Uuid;

use crate::store::read::Filter;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;
const KNOWN: [&str; 7] = [
    "alert_id",
    "incident_id",
    "correlation_key",
    "rule",
    "silent",
    "limit",
    "cursor",
];

/// Filter and size of a page.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) filter: Filter,
    /// Whether the rules that did not mean an alert answer, too.
    pub(super) silent: bool,
    pub(super) limit: i64,
}

impl Query {
    pub(super) fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut query = Self {
            filter: Filter::default(),
            silent: true,
            limit: DEFAULT_LIMIT,
        };
        for (name, value) in pairs {
            let filter = &mut query.filter;
            match name.as_str() {
                "alert_id" => filter.alert_id = Some(uuid(&name, &value)?),
                "incident_id" => filter.incident_id = Some(uuid(&name, &value)?),
                "correlation_key" => filter.key = Some(value),
                "rule" => filter.rule = Some(value),
                "silent" => query.silent = yes(&name, &value)?,
                "limit" => query.limit = limit(&value)?,
                "cursor" => filter.before = Some(cursor(&value)?),
                _ => {
                    let detail = format!(
                        "there is no parameter {name:?}; known are {}",
                        KNOWN.join(", ")
                    );
                    return Err(Problem::bad_request(detail));
                }
            }
        }
        Ok(query)
    }
}

pub(super) fn uuid(name: &str, value: &str) -> Result<Uuid, Problem> {
    let bad = |_| Problem::bad_request(format!("{name}: {value:?} is no UUID"));
    value.parse().map_err(bad)
}

fn yes(name: &str, value: &str) -> Result<bool, Problem> {
    let bad = |_| Problem::bad_request(format!("{name}: {value:?} is neither true nor false"));
    value.parse().map_err(bad)
}

fn limit(value: &str) -> Result<i64, Problem> {
    let found = value.parse().unwrap_or(0);
    if (1..=MAX_LIMIT).contains(&found) {
        return Ok(found);
    }
    let detail = format!("limit: {value:?} is not within 1 to {MAX_LIMIT}");
    Err(Problem::bad_request(detail))
}

fn cursor(value: &str) -> Result<i64, Problem> {
    let place = value.strip_prefix('d').and_then(|place| place.parse().ok());
    place.ok_or_else(|| {
        Problem::bad_request(format!("cursor: {value:?} is of no page of this list"))
    })
}

/// The cursor behind this row.
pub(super) fn cursor_of(id: i64) -> String {
    format!("d{id}")
}

//! Pages of incidents, and one incident by the beginning of its id.

use std::{collections::BTreeMap, sync::Arc};

use service_kit::{Error, content::snapshot, tx::in_tx};
use shared_events::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{IncidentRow, Stored, incident_row::json, load::with_actions};
use shared_events::matcher::Matcher;

/// What to list; an empty list or `None` restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub statuses: Vec<String>,
    pub services: Vec<String>,
    pub severities: Vec<String>,
    /// Opened at or after.
    pub since: Option<Timestamp>,
    /// Opened before.
    pub until: Option<Timestamp>,
    pub needs_attention: Option<bool>,
    /// On the labels of the incident's first alert.
    pub matchers: Vec<Matcher>,
}

/// Order by `opened_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Where a page begins: after this incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub opened_at: Timestamp,
    pub incident_id: Uuid,
}

/// A page and where the next one begins. It may hold fewer incidents than asked for and still have
/// a next one: when few of many rows meet the matchers.
#[derive(Clone, Debug)]
pub struct Page {
    pub incidents: Vec<Stored>,
    pub next: Option<After>,
}

/// Rows that are looked at for one page: bounds the time that a matcher can cost.
const SCAN: usize = 5_000;

/// A page of at most `limit` incidents that meet `filter`.
///
/// # Errors
/// When the database fails.
pub async fn page(
    pool: &PgPool,
    filter: Filter,
    order: Order,
    after: Option<After>,
    limit: usize,
) -> Result<Page, Error> {
    let filter = Arc::new(filter);
    in_tx(pool, move |conn| {
        let filter = Arc::clone(&filter);
        Box::pin(async move {
            snapshot(conn).await?;
            scan(conn, &filter, order, after, limit).await
        })
    })
    .await
}

async fn scan(
    conn: &mut PgConnection,
    filter: &Filter,
    order: Order,
    after: Option<After>,
    limit: usize,
) -> Result<Page, Error> {
    let (mut found, mut after, mut seen) = (Vec::with_capacity(limit), after, 0);
    let chunk = if filter.matchers.is_empty() {
        limit + 1
    } else {
        500
    };
    let next = 'scan: loop {
        let rows = rows(conn, filter, order, after, chunk).await?;
        let last = rows.len() < chunk;
        for row in rows {
            let here = row.opened_at.map(|opened_at| After {
                opened_at,
                incident_id: row.incident_id,
            });
            if meets(&row, &filter.matchers)? {
                if found.len() == limit {
                    break 'scan after;
                }
                found.push(row);
            }
            (after, seen) = (here, seen + 1);
        }
        if last {
            break None;
        }
        if seen >= SCAN {
            break after;
        }
    };
    Ok(Page {
        incidents: with_actions(conn, found).await?,
        next,
    })
}

fn meets(row: &IncidentRow, matchers: &[Matcher]) -> Result<bool, Error> {
    if matchers.is_empty() {
        return Ok(true);
    }
    let labels = super::incident_row::read(row.incident_id, "labels", row.labels.clone())?;
    Ok(matchers.iter().all(|matcher| matcher.is_match(&labels)))
}

/// One order of the listing: the same statement, turned round.
macro_rules! listing {
    ($beyond:literal, $order:literal, $arguments:expr) => {{
        let a: Arguments<'_> = $arguments;
        sqlx::query_as!(
            IncidentRow,
            "SELECT * FROM incidents
             WHERE opened_at IS NOT NULL
               AND ($1::text[] = '{}' OR status = ANY($1))
               AND ($2::text[] = '{}' OR service = ANY($2))
               AND ($3::text[] = '{}' OR severity = ANY($3))
               AND ($4::timestamptz IS NULL OR opened_at >= $4)
               AND ($5::timestamptz IS NULL OR opened_at < $5)
               AND ($6::boolean IS NULL OR needs_attention = $6)
               AND ($7::jsonb = '{}' OR labels @> $7)
               AND ($8::timestamptz IS NULL OR (opened_at, incident_id) "
                + $beyond
                + " ($8, $9::uuid))
             ORDER BY "
                + $order
                + " LIMIT $10",
            &a.filter.statuses,
            &a.filter.services,
            &a.filter.severities,
            a.filter.since,
            a.filter.until,
            a.filter.needs_attention,
            a.equal,
            a.after.map(|after| after.opened_at),
            a.after.map(|after| after.incident_id),
            a.limit
        )
    }};
}

struct Arguments<'a> {
    filter: &'a Filter,
    /// Labels that must have these values: what the database can test by itself.
    equal: serde_json::Value,
    after: Option<After>,
    limit: i64,
}

async fn rows(
    conn: &mut PgConnection,
    filter: &Filter,
    order: Order,
    after: Option<After>,
    limit: usize,
) -> Result<Vec<IncidentRow>, Error> {
    let equal: BTreeMap<&str, &str> = filter
        .matchers
        .iter()
        .filter_map(Matcher::required)
        .collect();
    let arguments = Arguments {
        filter,
        equal: json(&equal),
        after,
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
    };
    match order {
        Order::OldestFirst => {
            listing!(">", "opened_at, incident_id", arguments)
                .fetch_all(conn)
                .await
        }
        Order::NewestFirst => {
            listing!("<", "opened_at DESC, incident_id DESC", arguments)
                .fetch_all(conn)
                .await
        }
    }
    .map_err(Error::database("listing incidents"))
}

/// At most two incidents whose ids are within the bounds: more than one means that a person must
/// say more of the id.
///
/// # Errors
/// When the database fails.
pub async fn between(pool: &PgPool, first: Uuid, last: Uuid) -> Result<Vec<Stored>, Error> {
    in_tx(pool, move |conn| {
        Box::pin(async move {
            snapshot(conn).await?;
            in_bounds(conn, first, last).await
        })
    })
    .await
}

async fn in_bounds(conn: &mut PgConnection, first: Uuid, last: Uuid) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query_as!(
        IncidentRow,
        "SELECT * FROM incidents
         WHERE incident_id BETWEEN $1 AND $2 AND opened_at IS NOT NULL
         ORDER BY incident_id LIMIT 2",
        first,
        last
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(Error::database("looking for an incident"))?;
    with_actions(conn, rows).await
}

/// How many incidents are in each state that is not over; `None` counts stubs.
///
/// # Errors
/// When the database fails.
pub async fn census(conn: &mut PgConnection) -> Result<Vec<(Option<String>, i64)>, Error> {
    // two parts, for which there is an index each
    let rows = sqlx::query!(
        r#"SELECT status, count(*) AS "count!" FROM incidents
           WHERE status IN ('open', 'mitigating', 'failed') GROUP BY status
           UNION ALL
           SELECT NULL, count(*) FROM incidents WHERE opened_at IS NULL"#
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("counting incidents"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.status, row.count))
        .collect())
}

//! Lists and single incidents.

use axum::{
    Json,
    extract::{OriginalUri, Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use service_kit::{content::Content, http::Problem};

use super::{
    Api, Error, cursor, dto,
    query::{ListQuery, read_moment, read_page},
    reference,
};
use crate::store::{
    Stored, as_of,
    content::{self, ContentHash},
    list::{self, Page},
    story,
};

/// Pairs of a query string, repeated names included.
type Pairs = Query<Vec<(String, String)>>;

/// Incidents, newest first.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents",
    params(
        ("status" = Option<String>, Query, description = "open, mitigating, resolved, failed; several with commas"),
        ("service" = Option<String>, Query, description = "label service; several with commas"),
        ("severity" = Option<String>, Query, description = "several with commas"),
        ("since" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "opened at or after, RFC 3339"),
        ("until" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "opened before, RFC 3339"),
        ("needs_attention" = Option<bool>, Query, description = "whether the automation gave up"),
        ("matcher" = Option<Vec<String>>, Query, description = "Alertmanager's matchers over the labels of the first alert; repeatable"),
        ("as_of" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "incidents as they were then, RFC 3339; the other filters are about what they were"),
        ("sort" = Option<String>, Query, description = "-opened_at (default) or opened_at"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before"),
    ),
    responses((status = 200, body = dto::Page<dto::Incident>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(pairs): Pairs,
) -> Result<Response, Error> {
    let ListQuery {
        filter,
        order,
        after,
        limit,
        as_of,
    } = ListQuery::read(&pairs)?;
    let found = match as_of {
        None => list::page(&api.pool, filter, order, after, limit).await?,
        Some(at) => as_of::page(&api.pool, filter, order, after, (limit, at)).await?,
    };
    let Page { incidents, next } = found;
    let next_cursor = next.map(|after| cursor::incidents(order, after));
    let traces = api.traces.as_deref();
    let items = incidents
        .into_iter()
        .filter_map(|stored| dto::Incident::of(stored, traces))
        .collect();
    Ok(page(uri.path(), &pairs, dto::Page { items, next_cursor }))
}

/// One incident, by its id or the first six or more digits of it.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "incidents",
    params(
        ("id" = String, Path, description = "UUID, or its first 6 or more digits", pattern = "^[0-9a-fA-F-]{6,36}$"),
        ("as_of" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "as it was then, RFC 3339; 404 when it had not opened"),
    ),
    responses((status = 200, body = dto::Incident), (status = 304, description = "it still has the version of If-None-Match"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(pairs): Pairs,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (moment, _) = read_moment(&pairs, &["as_of"])?;
    let mut stored = find(&api, &id).await?;
    if let Some(at) = moment {
        let was = as_of::incident(&api.pool, stored.incident.id, at).await?;
        stored = was.ok_or_else(|| Error::NotYet(id.clone()))?;
    }
    let tag = format!("\"{}\"", stored.version);
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == tag);
    let tag = [(header::ETAG, tag)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    let incident = dto::Incident::of(stored, api.traces.as_deref())
        .ok_or_else(|| Error::Unknown(id.clone()))?;
    Ok((tag, Json(incident)).into_response())
}

/// The story of an incident, in the order in which it happened.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/timeline", tag = "incidents",
    params(
        ("id" = String, Path, description = "UUID, or its first 6 or more digits", pattern = "^[0-9a-fA-F-]{6,36}$"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 200", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before"),
    ),
    responses((status = 200, body = dto::Page<dto::Entry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn timeline(
    State(api): State<Api>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    Query(pairs): Pairs,
) -> Result<Response, Error> {
    let (limit, after) = read_page(&pairs)?;
    let incident_id = find(&api, &id).await?.incident.id.uuid();
    let mut conn = api.connection().await?;
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = story::entries(&mut conn, incident_id, after, one_more).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| {
        cursor::timeline(story::After {
            at: row.at,
            place: row.place,
            event_id: row.event_id,
        })
    });
    let items: Vec<dto::Entry> = rows.into_iter().map(Into::into).collect();
    Ok(page(uri.path(), &pairs, dto::Page { items, next_cursor }))
}

/// The actions of an incident, in the order in which they were asked for.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/actions", tag = "incidents",
    params(("id" = String, Path, description = "UUID, or its first 6 or more digits", pattern = "^[0-9a-fA-F-]{6,36}$")),
    responses((status = 200, body = dto::Page<dto::Action>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn actions(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<dto::Page<dto::Action>>, Error> {
    let incident = find(&api, &id).await?.incident;
    let mut items: Vec<dto::Action> = incident
        .actions
        .into_values()
        .map(|action| dto::Action::of(incident.id, action))
        .collect();
    items.sort_by_key(|action| (action.requested_at.or(action.finished_at), action.action_id));
    Ok(Json(dto::Page {
        items,
        next_cursor: None,
    }))
}

/// A hash over incidents, actions and timelines: a store filled from the topics alone has the same
/// as the live one, once both have read everything.
#[utoipa::path(get, path = "/api/v1/content-hash", tag = "incidents",
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn content_hash(State(api): State<Api>) -> Result<Json<ContentHash>, Error> {
    Ok(Json(content::hash(&api.pool).await?))
}

/// The hash of every incident in one snapshot, and how far the topics were read for it: what
/// `eventpulse rebuild incident-store --verify` compares with the topics.
#[utoipa::path(get, path = "/api/v1/content", tag = "incidents",
    responses((status = 200, body = Content), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn all_content(State(api): State<Api>) -> Result<Json<Content>, Error> {
    Ok(Json(content::content(&api.pool).await?))
}

/// Which item of `/api/v1/content`.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemOf {
    /// Its id there
    id: uuid::Uuid,
}

/// Everything that the tables hold of one incident, as it is hashed.
#[utoipa::path(get, path = "/api/v1/content/item", tag = "incidents", params(ItemOf),
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one_content(
    State(api): State<Api>,
    Query(item): Query<ItemOf>,
) -> Result<Json<serde_json::Value>, Error> {
    let found = content::document(&api.pool, item.id).await?;
    let found = found.ok_or_else(|| Error::Unknown(item.id.to_string()))?;
    Ok(Json(found))
}

/// The one visible incident whose id begins with `id`.
pub(super) async fn find(api: &Api, id: &str) -> Result<Stored, Error> {
    let (first, last) = reference::bounds(id)?;
    let mut found = list::between(&api.pool, first, last).await?;
    match (found.pop(), found.pop()) {
        (Some(stored), None) => Ok(stored),
        (Some(one), Some(other)) => Err(Error::Ambiguous {
            text: id.to_owned(),
            one: other.incident.id,
            other: one.incident.id,
        }),
        (None, _) => Err(Error::Unknown(id.to_owned())),
    }
}

/// The page as JSON, with the next one as `Link: <..>; rel="next"`.
fn page<T: serde::Serialize>(
    path: &str,
    pairs: &[(String, String)],
    page: dto::Page<T>,
) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(cursor) = &page.next_cursor {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs.iter().filter(|(name, _)| name != "cursor") {
            query.append_pair(name, value);
        }
        query.append_pair("cursor", cursor);
        let link = format!("<{path}?{}>; rel=\"next\"", query.finish());
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.insert(HeaderName::from_static("link"), link);
        }
    }
    (headers, Json(page)).into_response()
}

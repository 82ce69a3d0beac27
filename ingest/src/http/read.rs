//! `GET`: series, bodies, rejected alerts.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;
use service_kit::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api,
    query::{List, ListQuery, cursor, reject_cursor},
};
use crate::store::{self, AlertRow, ReceiptRow, RejectRow};

type Pairs = Query<Vec<(String, String)>>;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    items: Vec<T>,
    /// For parameter `cursor`; missing on the last page
    next_cursor: Option<String>,
}

/// Lists series that ever fired, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(
    ("status" = Option<String>, Query, description = "`firing` or `resolved`"),
    ("service" = Option<String>, Query, description = "label `service`"),
    ("source" = Option<String>, Query, description = "name of the credential that sent it"),
    ("matcher" = Option<Vec<String>>, Query, description = "Alertmanager's matchers, as `severity=~\"crit.*\"`; repeatable"),
    ("limit" = Option<u16>, Query, description = "1 to 500, else 50", minimum = 1, maximum = 500),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
), responses(
    (status = 200, description = "a page; it may be short and still have a next one", body = Page<AlertRow>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn alerts(
    State(api): State<Api>,
    Query(pairs): Pairs,
) -> Result<Json<Page<AlertRow>>, Problem> {
    let known = ["status", "service", "source", "matcher", "limit", "cursor"];
    let query = ListQuery::read(pairs, &known)?;
    let after = query.place(List::Alerts)?;
    let (items, next) = store::alerts(api.kit.pool(), &query.filter, after, query.limit()).await?;
    let next_cursor = next.map(|place| cursor(List::Alerts, place));
    Ok(Json(Page { items, next_cursor }))
}

/// One series.
#[utoipa::path(get, path = "/api/v1/alerts/{alert_id}", tag = "alerts",
    params(("alert_id" = Uuid, Path, description = "the series")),
    responses(
        (status = 200, description = "the series and its latest episode", body = AlertRow),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn alert(
    State(api): State<Api>,
    Path(alert_id): Path<Uuid>,
) -> Result<Json<AlertRow>, Problem> {
    let alert = store::alert(api.kit.pool(), alert_id).await?;
    alert
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no alert {alert_id}")))
}

/// Lists accepted webhook bodies, newest first.
#[utoipa::path(get, path = "/api/v1/receipts", tag = "receipts", params(
    ("limit" = Option<u16>, Query, description = "1 to 500, else 50", minimum = 1, maximum = 500),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
), responses(
    (status = 200, description = "a page", body = Page<ReceiptRow>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn receipts(
    State(api): State<Api>,
    Query(pairs): Pairs,
) -> Result<Json<Page<ReceiptRow>>, Problem> {
    let query = ListQuery::read(pairs, &["limit", "cursor"])?;
    let after = query.place(List::Receipts)?;
    let (items, next) = store::receipts(api.kit.pool(), after, query.limit()).await?;
    let next_cursor = next.map(|place| cursor(List::Receipts, place));
    Ok(Json(Page { items, next_cursor }))
}

/// One accepted webhook body: who sent it, when, and the body as it came.
#[utoipa::path(get, path = "/api/v1/receipts/{receipt_id}", tag = "receipts",
    params(("receipt_id" = Uuid, Path, description = "the body")),
    responses(
        (status = 200, description = "the body", body = ReceiptRow),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn receipt(
    State(api): State<Api>,
    Path(receipt_id): Path<Uuid>,
) -> Result<Json<ReceiptRow>, Problem> {
    let receipt = store::receipt(api.kit.pool(), receipt_id).await?;
    receipt
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no receipt {receipt_id} (any more)")))
}

/// Lists rejected alerts, newest first, each with its bytes and the reason.
#[utoipa::path(get, path = "/api/v1/rejects", tag = "receipts", params(
    ("receipt_id" = Option<Uuid>, Query, description = "the body that brought them"),
    ("limit" = Option<u16>, Query, description = "1 to 500, else 50", minimum = 1, maximum = 500),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
), responses(
    (status = 200, description = "a page", body = Page<RejectRow>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn rejects(
    State(api): State<Api>,
    Query(pairs): Pairs,
) -> Result<Json<Page<RejectRow>>, Problem> {
    let query = ListQuery::read(pairs, &["receipt_id", "limit", "cursor"])?;
    let (before, limit) = (query.number()?, query.limit());
    let items = store::rejects(api.kit.pool(), query.receipt_id, before, limit).await?;
    let last = items.last().filter(|_| items.len() == limit);
    let next_cursor = last.map(|reject| reject_cursor(reject.id));
    Ok(Json(Page { items, next_cursor }))
}

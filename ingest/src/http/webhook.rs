//! `POST /webhooks/alertmanager`.
//!
//! Alertmanager repeats a request after 5xx and transport errors, and at the next flush of the
//! group after anything else that is not 2xx. So 200 means committed, 503 means "not now", and what
//! only a person can mend (token, shape, size) is a 4xx. It does not repeat after 429: never said.

use std::net::SocketAddr;

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use service_kit::{Error, Problem, error::chain};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use crate::{
    domain::{BodyError, Webhook},
    intake,
    store::Receipt,
};

/// Bodies above this are parsed and packed on a thread for work that blocks.
const LARGE: usize = 256 * 1024;
/// zstd: the fastest level; bodies repeat themselves so much that more gains little.
const LEVEL: i32 = 1;
/// What is kept of a user agent, bytes.
const USER_AGENT: usize = 256;

/// Alertmanager's webhook body (version 4), as far as it is looked at; other fields are ignored.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "only its schema is used: the body is read in place"
)]
struct WebhookBody {
    /// Each with `status` (`firing` or `resolved`), `labels`, `annotations`, `startsAt`, `endsAt`,
    /// `generatorURL`, `fingerprint`. One that cannot be taken does not affect the others
    alerts: Vec<serde_json::Value>,
    /// Alerts that Alertmanager left out
    #[schema(format = "uint64")]
    truncated_alerts: Option<u64>,
}

/// Takes a notification of Alertmanager (webhook version 4).
///
/// Each alert in it is taken by its own status; one that cannot be taken is kept in
/// `/api/v1/rejects` and does not affect the others.
#[utoipa::path(post, path = "/webhooks/alertmanager", tag = "webhook",
    request_body(content = WebhookBody, content_type = "application/json",
        description = "Alertmanager's webhook body; unknown fields are ignored"),
    responses(
        (status = 200, description = "everything in it is committed"),
        (status = 400, description = "not a webhook body", body = Problem,
         content_type = "application/problem+json"),
        (status = 401, description = "no valid bearer token", body = Problem,
         content_type = "application/problem+json"),
        (status = 408, description = "the body came too slowly", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "too large, or too many alerts", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "not application/json, or compressed", body = Problem,
         content_type = "application/problem+json"),
        (status = 503, description = "not now: send it again", body = Problem,
         content_type = "application/problem+json"),
    ),
    security(("source" = [])),
)]
pub(super) async fn alertmanager(
    State(api): State<Api>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<StatusCode, Response> {
    let headers = request.headers();
    let source = authenticated(&api, headers)?.to_owned();
    check_media_type(headers).map_err(IntoResponse::into_response)?;
    check_length(headers, api.body_limit).map_err(IntoResponse::into_response)?;
    let sender = Sender {
        source,
        remote: remote.ip().to_canonical().to_string(),
        user_agent: user_agent(headers),
    };
    has_room(&api).map_err(|error| Problem::from(error).into_response())?;
    let body = Bytes::from_request(request, &())
        .await
        .map_err(IntoResponse::into_response)?;
    take(&api, sender, body)
        .await
        .map_err(IntoResponse::into_response)?;
    Ok(StatusCode::OK)
}

/// Who sends.
#[derive(Debug)]
struct Sender {
    source: String,
    remote: String,
    user_agent: Option<String>,
}

async fn take(api: &Api, sender: Sender, body: Bytes) -> Result<(), Problem> {
    let (receipt, webhook) = if body.len() > LARGE {
        tokio::task::spawn_blocking(move || read(sender, &body))
            .await
            .map_err(|_| Error::Panic {
                task: "reading a body".into(),
            })?
    } else {
        read(sender, &body)
    }?;
    let (receipt_id, source) = (receipt.receipt_id, receipt.source.clone());
    if webhook.truncated > 0 {
        tracing::warn!(%receipt_id, source, truncated = webhook.truncated,
            "Alertmanager left alerts out: set max_alerts to 0 in its receiver");
    }
    let rejects = webhook
        .alerts
        .iter()
        .filter_map(|alert| alert.as_ref().err());
    for reject in rejects {
        tracing::warn!(%receipt_id, source, reason = reject.reason.as_str(),
            detail = reject.detail, "an alert is rejected");
    }
    let alerts = webhook.alerts.len();
    intake::accept(&api.queue, &api.metrics, receipt, webhook)
        .await
        .map_err(|error| Problem::from(&*error))?;
    tracing::debug!(%receipt_id, source, alerts, "a body is committed");
    Ok(())
}

fn read(sender: Sender, body: &Bytes) -> Result<(Receipt, Webhook), Problem> {
    let webhook = Webhook::parse(&sender.source, body).map_err(refusal)?;
    let packed = zstd::bulk::compress(body, LEVEL).map_err(|source| Error::Io {
        doing: "packing a body".into(),
        source,
    })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a delivery has no identity of its own: a body that is sent again is another one"
    )]
    let receipt_id = Uuid::now_v7();
    let receipt = Receipt {
        receipt_id,
        source: sender.source,
        remote: sender.remote,
        user_agent: sender.user_agent,
        alerts: i32::try_from(webhook.alerts.len()).unwrap_or(i32::MAX),
        truncated: i64::try_from(webhook.truncated).unwrap_or(i64::MAX),
        size: i32::try_from(body.len()).unwrap_or(i32::MAX),
        sha256: Sha256::digest(body).into(),
        body: packed,
    };
    Ok((receipt, webhook))
}

fn refusal(error: BodyError) -> Problem {
    match error {
        BodyError::Json(_) | BodyError::Depth => Problem::bad_request(chain(&error)),
        BodyError::TooManyAlerts(_) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
    }
}

fn has_room(api: &Api) -> Result<(), Error> {
    if api.kit.shutdown().is_cancelled() {
        return Err(Error::Stopping);
    }
    api.kit.has_room()
}

/// The source that the bearer token belongs to.
#[expect(clippy::result_large_err, reason = "an answer is made once and sent")]
fn authenticated<'a>(api: &'a Api, headers: &HeaderMap) -> Result<&'a str, Response> {
    let presented = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let refuse = |detail: &str| {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
        let challenge = HeaderValue::from_static("Bearer realm=\"eventpulse\"");
        ([(header::WWW_AUTHENTICATE, challenge)], problem).into_response()
    };
    let (_, token) = presented.ok_or_else(|| {
        refuse("send `Authorization: Bearer <token of a source>`, see EVENTPULSE_WEBHOOK_TOKENS")
    })?;
    api.tokens
        .source_of(token.trim())
        .ok_or_else(|| refuse("no source has this token, see EVENTPULSE_WEBHOOK_TOKENS"))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: &str| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(unsupported("send Content-Type: application/json"));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(unsupported("send the body without Content-Encoding"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a body that says it is too large before a byte of it is read.
fn check_length(headers: &HeaderMap, limit: u32) -> Result<(), Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    match length {
        Some(length) if length > u64::from(limit) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{length} bytes, the limit is {limit} (EVENTPULSE_WEBHOOK_BODY_LIMIT)"),
        )),
        Some(_) | None => Ok(()),
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(agent.chars().take(USER_AGENT).collect())
}

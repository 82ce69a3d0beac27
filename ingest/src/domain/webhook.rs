//! A webhook body: an envelope that is understood or refused as a whole, around alerts that are
//! each taken or rejected on their own.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::notice::{Notice, Reject};

/// Deepest nesting of arrays and objects in a body. Alertmanager's own bodies have 4.
const DEPTH: usize = 32;
/// Most alerts in one body.
pub const MAX_ALERTS: usize = 50_000;

/// Alertmanager's webhook body, version 4. Unknown fields are ignored, and so is the group's
/// `status`: each alert has its own.
#[derive(Debug)]
pub struct Webhook {
    /// What each alert says, in the body's order.
    pub alerts: Vec<Result<Notice, Reject>>,
    /// Alerts that the sender left out because of its `max_alerts`.
    pub truncated: u64,
}

/// Why a body is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is not a webhook body of Alertmanager")]
    Json(#[source] serde_json::Error),
    #[error("the body nests deeper than {DEPTH} levels")]
    Depth,
    #[error("the body holds {0} alerts, the limit is {MAX_ALERTS}")]
    TooManyAlerts(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    alerts: Vec<&'a RawValue>,
    #[serde(default)]
    truncated_alerts: u64,
}

impl Webhook {
    /// What `bytes`, sent by the holder of `source`'s credential, says.
    ///
    /// # Errors
    /// When the body is not JSON of the webhook's shape. A bad alert in it is no error.
    pub fn parse(source: &str, bytes: &Bytes) -> Result<Self, BodyError> {
        if depth_exceeds(bytes, DEPTH) {
            return Err(BodyError::Depth);
        }
        let body: Body<'_> = serde_json::from_slice(bytes).map_err(BodyError::Json)?;
        if body.alerts.len() > MAX_ALERTS {
            return Err(BodyError::TooManyAlerts(body.alerts.len()));
        }
        let alerts = body.alerts.into_iter().map(|alert| {
            let raw = bytes.slice_ref(alert.get().as_bytes());
            Notice::parse(source, raw)
        });
        Ok(Self {
            alerts: alerts.collect(),
            truncated: body.truncated_alerts,
        })
    }
}

/// Whether arrays and objects nest deeper than `limit`; looks at brackets outside strings only.
fn depth_exceeds(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if byte == b'[' || byte == b'{' {
            depth += 1;
            if depth > limit {
                return true;
            }
        } else if byte == b']' || byte == b'}' {
            depth = depth.saturating_sub(1);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{News, Reason};

    const FIRING_025: &str = include_str!("../../tests/fixtures/am-0.25-firing.json");
    const MIXED_025: &str = include_str!("../../tests/fixtures/am-0.25-mixed.json");
    const MIXED_034: &str = include_str!("../../tests/fixtures/am-0.34-mixed.json");

    fn parse(body: impl AsRef<[u8]>) -> Result<Webhook, BodyError> {
        Webhook::parse("am", &Bytes::copy_from_slice(body.as_ref()))
    }

    fn notices(body: &str) -> Vec<Notice> {
        let webhook = parse(body).expect("a webhook body");
        webhook
            .alerts
            .into_iter()
            .map(|one| one.expect("a notice"))
            .collect()
    }

    #[test]
    fn a_body_of_0_25_is_read() {
        let notices = notices(FIRING_025);
        assert_eq!(notices.len(), 2);
        let said: Vec<_> = notices
            .iter()
            .map(|one| (one.alert_id, &one.about, one.news))
            .collect();
        insta::assert_debug_snapshot!(said);
    }

    #[test]
    fn each_alert_has_its_own_status() {
        let notices = notices(MIXED_025);
        assert!(
            matches!(notices[0].news, News::Resolved { .. }),
            "{notices:?}"
        );
        assert!(
            matches!(notices[1].news, News::Firing { .. }),
            "{notices:?}"
        );
    }

    #[test]
    fn a_body_of_0_34_with_unknown_fields_is_read() {
        let webhook = parse(MIXED_034).expect("a webhook body");
        assert_eq!(webhook.truncated, 3);
        let last = webhook.alerts[2].as_ref().expect("a notice");
        assert!(
            !last.about.labels.contains_key("tier"),
            "an empty label is a missing one"
        );
        assert_eq!(
            last.news,
            News::Firing {
                starts_at: "2026-11-21T04:34:30.987654Z".parse().expect("a time")
            }
        );
    }

    #[test]
    fn the_same_series_has_one_id_in_every_version() {
        assert_eq!(
            notices(MIXED_025)[0].alert_id,
            notices(MIXED_034)[0].alert_id
        );
        let other = Webhook::parse("other", &Bytes::from_static(MIXED_025.as_bytes()))
            .expect("a webhook body");
        let other = other.alerts[0].as_ref().expect("a notice").alert_id;
        assert_ne!(notices(MIXED_025)[0].alert_id, other);
    }

    #[test]
    fn one_bad_alert_leaves_the_others() {
        let body = r#"{"alerts": [
            {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00Z"},
            {"status":  "on fire","labels":{"alertname":"B"},"startsAt":"2026-01-01T00:00:00Z"},
            7
        ]}"#;
        let webhook = parse(body).expect("a webhook body");
        assert!(webhook.alerts[0].is_ok());
        let bad = webhook.alerts[1].as_ref().expect_err("no status");
        assert_eq!(bad.reason, Reason::Status);
        let expected = r#"{"status":  "on fire","labels":{"alertname":"B"},"startsAt":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(bad.raw, expected, "the bytes as they came");
        assert_eq!(webhook.alerts[2].as_ref().expect_err("no object").raw, "7");
    }

    #[test]
    fn what_is_no_body_is_refused() {
        for body in [
            &b""[..],
            b"{",
            b"[]",
            b"{}",
            b"{\"alerts\": {}}",
            b"{\"alerts\": [], \"truncatedAlerts\": -1}",
            b"{\"alerts\": [\"\xff\"]}",
            b"{\"alerts\": []} {}",
        ] {
            let error = parse(body).expect_err("no body");
            assert!(matches!(error, BodyError::Json(_)), "{body:?}: {error}");
        }
        let many = format!("{{\"alerts\":[{}1]}}", "1,".repeat(MAX_ALERTS));
        let error = parse(many).expect_err("too many");
        assert!(matches!(error, BodyError::TooManyAlerts(50_001)), "{error}");
    }

    #[test]
    fn depth_is_limited_and_brackets_in_strings_are_not_depth() {
        let deep = format!(
            "{{\"alerts\":[],\"x\":{}{}}}",
            "[".repeat(32),
            "]".repeat(32)
        );
        let error = parse(deep).expect_err("too deep");
        assert!(matches!(error, BodyError::Depth), "{error}");
        let flat = format!("{{\"alerts\":[],\"x\":\"\\\"{}\"}}", "[".repeat(99));
        assert!(parse(flat).is_ok());
        assert!(parse(r#"{"alerts":[]}"#).expect("empty").alerts.is_empty());
    }
}

//! One alert of a webhook body: what it says when it is sound, why it is rejected when it is not.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use serde::Deserialize;
use shared_events::{AlertId, Labels, Timestamp};

/// Bytes of one alert, as JSON. With it the event stays far below Kafka's limit of a message.
const MAX_BYTES: usize = 256 * 1024;
/// Labels of one alert.
const MAX_LABELS: usize = 64;
/// Bytes of a label's name.
const MAX_NAME: usize = 256;
/// Bytes of a label's value: `service` becomes a Kafka key and part of a primary key, and Postgres
/// refuses index entries above about 2,700 bytes.
const MAX_VALUE: usize = 2048;

/// A sound alert of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The series it is about.
    pub alert_id: AlertId,
    /// What is told of the series.
    pub about: Arc<About>,
    /// What is new.
    pub news: News,
    /// The alert as it came, kept in case the database refuses what was read from it.
    pub raw: Bytes,
}

/// What a sender tells of a series; the source and the labels are its identity.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Name of the credential that sent it.
    pub source: String,
    /// Without empty ones: Prometheus takes an empty label for a missing one.
    pub labels: Labels,
    pub annotations: Labels,
    /// Link to the expression that fired.
    pub generator_url: Option<String>,
    /// Alertmanager's hash of the labels: stored, never an identity.
    pub fingerprint: Option<String>,
}

/// What a notification says, in the sender's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Firing {
        starts_at: Timestamp,
    },
    /// `ends_at` is never before `starts_at`.
    Resolved {
        starts_at: Timestamp,
        ends_at: Timestamp,
    },
}

/// An alert that cannot be taken; its neighbours are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub reason: Reason,
    /// What exactly, for people.
    pub detail: String,
    /// The alert as it came.
    pub raw: Bytes,
}

/// Why an alert is rejected. The list is closed: each has a row in OPERATING.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No object with the fields of an alert, or text that is no Unicode.
    Shape,
    /// `status` is neither `firing` nor `resolved`.
    Status,
    /// No label at all.
    NoLabels,
    /// More labels than we take.
    TooManyLabels,
    /// A label's name or value is longer than we take, or a name is empty.
    Label,
    /// A NUL character, which Postgres cannot store.
    Nul,
    /// A time is missing, unreadable, or an end before its start.
    Time,
    /// The whole alert is larger than we take.
    TooLarge,
    /// The database refuses its data.
    Database,
    /// Deciding about it failed: a fault of this build.
    Fault,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Shape,
        Self::Status,
        Self::NoLabels,
        Self::TooManyLabels,
        Self::Label,
        Self::Nul,
        Self::Time,
        Self::TooLarge,
        Self::Database,
        Self::Fault,
    ];

    /// The code in `alert_rejects`, metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Status => "status",
            Self::NoLabels => "no_labels",
            Self::TooManyLabels => "too_many_labels",
            Self::Label => "label",
            Self::Nul => "nul",
            Self::Time => "time",
            Self::TooLarge => "too_large",
            Self::Database => "database",
            Self::Fault => "fault",
        }
    }
}

impl Reject {
    /// A reject whose detail can be stored whatever the sender wrote: no NUL, at most 1 KiB.
    #[must_use]
    pub fn new(reason: Reason, detail: &str, raw: Bytes) -> Self {
        let mut detail = detail.replace('\0', "\u{fffd}");
        detail.truncate(detail.floor_char_boundary(1024));
        Self {
            reason,
            detail,
            raw,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    labels: Labels,
    annotations: Option<Labels>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
    fingerprint: Option<String>,
}

type Refusal = (Reason, String);

impl Notice {
    /// What `raw`, one alert of a body that `source` sent, says.
    ///
    /// # Errors
    /// When it cannot be taken.
    pub fn parse(source: &str, raw: Bytes) -> Result<Self, Reject> {
        match read(source, &raw) {
            Ok((about, news)) => Ok(Self {
                alert_id: AlertId::of(source, &about.labels),
                about: Arc::new(about),
                news,
                raw,
            }),
            Err((reason, detail)) => Err(Reject::new(reason, &detail, raw)),
        }
    }
}

fn read(source: &str, raw: &[u8]) -> Result<(About, News), Refusal> {
    if raw.len() > MAX_BYTES {
        let detail = format!("{} bytes, the limit is {MAX_BYTES}", raw.len());
        return Err((Reason::TooLarge, detail));
    }
    let alert: Alert =
        serde_json::from_slice(raw).map_err(|error| (Reason::Shape, error.to_string()))?;
    let news = news(&alert)?;
    let about = About {
        source: source.to_owned(),
        labels: labels(alert.labels)?,
        annotations: alert.annotations.unwrap_or_default(),
        generator_url: alert.generator_url.filter(|url| !url.is_empty()),
        fingerprint: alert.fingerprint.filter(|hash| !hash.is_empty()),
    };
    no_nul(&about)?;
    Ok((about, news))
}

fn labels(mut labels: Labels) -> Result<Labels, Refusal> {
    labels.retain(|_, value| !value.is_empty());
    if labels.is_empty() {
        return Err((Reason::NoLabels, "no label has a value".to_owned()));
    }
    if labels.len() > MAX_LABELS {
        let detail = format!("{} labels, the limit is {MAX_LABELS}", labels.len());
        return Err((Reason::TooManyLabels, detail));
    }
    for (name, value) in &labels {
        let detail = if name.is_empty() {
            "a label without a name".to_owned()
        } else if name.len() > MAX_NAME {
            format!(
                "a label's name of {} bytes, the limit is {MAX_NAME}",
                name.len()
            )
        } else if value.len() > MAX_VALUE {
            format!(
                "label {name}: {} bytes, the limit is {MAX_VALUE}",
                value.len()
            )
        } else {
            continue;
        };
        return Err((Reason::Label, detail));
    }
    Ok(labels)
}

fn no_nul(about: &About) -> Result<(), Refusal> {
    let pairs = about.labels.iter().chain(&about.annotations);
    let texts = pairs
        .flat_map(|(name, value)| [name, value])
        .chain(&about.generator_url)
        .chain(&about.fingerprint);
    for text in texts {
        if text.contains('\0') {
            let detail = format!("a NUL character in {text:?}");
            return Err((Reason::Nul, detail));
        }
    }
    Ok(())
}

fn news(alert: &Alert) -> Result<News, Refusal> {
    let starts_at = || time("startsAt", alert.starts_at.as_deref());
    match alert.status.as_str() {
        "firing" => Ok(News::Firing {
            starts_at: starts_at()?,
        }),
        "resolved" => {
            let starts_at = starts_at()?;
            let ends_at = time("endsAt", alert.ends_at.as_deref())?;
            if ends_at < starts_at {
                let detail = format!("endsAt {ends_at} is before startsAt {starts_at}");
                return Err((Reason::Time, detail));
            }
            Ok(News::Resolved { starts_at, ends_at })
        }
        other => Err((Reason::Status, format!("unknown status {other:?}"))),
    }
}

/// A time of the sender, cut to microseconds. Go's zero time (year 1) stands for none.
fn time(field: &str, text: Option<&str>) -> Result<Timestamp, Refusal> {
    let text = text.ok_or_else(|| (Reason::Time, format!("{field} is missing")))?;
    let unreadable = || {
        (
            Reason::Time,
            format!("{field} is no RFC 3339 time: {text:?}"),
        )
    };
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| unreadable())?;
    let time = DateTime::from_timestamp_micros(time.timestamp_micros()).ok_or_else(unreadable)?;
    if time.timestamp() <= GO_ZERO {
        return Err((Reason::Time, format!("{field} is not set: {text}")));
    }
    Ok(time)
}

/// `0001-01-01T00:00:00Z`, seconds.
const GO_ZERO: i64 = -62_135_596_800;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn alert() -> Value {
        json!({
            "status": "resolved",
            "labels": {"alertname": "HighCPU"},
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "2026-01-01T00:00:00Z",
        })
    }

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Notice, Reject> {
        let mut alert = alert();
        change(&mut alert);
        Notice::parse("am", alert.to_string().into())
    }

    fn reason(change: impl FnOnce(&mut Value)) -> Reason {
        parse(change).expect_err("a reject").reason
    }

    #[test]
    fn an_alert_that_ends_as_it_starts_is_sound() {
        let notice = parse(|_| {}).expect("a notice");
        assert!(
            matches!(notice.news, News::Resolved { starts_at, ends_at } if starts_at == ends_at)
        );
    }

    #[test]
    fn labels_are_checked() {
        assert_eq!(reason(|a| a["labels"] = json!({})), Reason::NoLabels);
        assert_eq!(reason(|a| a["labels"] = json!({"a": ""})), Reason::NoLabels);
        assert_eq!(reason(|a| a["labels"] = json!({"": "b"})), Reason::Label);
        assert_eq!(reason(|a| a["labels"] = json!({"a": 7})), Reason::Shape);
        assert_eq!(reason(|a| a["labels"] = json!(null)), Reason::Shape);
        assert_eq!(
            reason(|a| a["labels"]["a"] = json!("x".repeat(2049))),
            Reason::Label
        );
        assert!(parse(|a| a["labels"]["a"] = json!("x".repeat(2048))).is_ok());
        assert_eq!(
            reason(|a| a["labels"]["n".repeat(257)] = json!("x")),
            Reason::Label
        );
        let many = |count: usize| {
            move |a: &mut Value| {
                for n in 1..count {
                    a["labels"][format!("l{n}")] = json!("x");
                }
            }
        };
        assert!(parse(many(64)).is_ok());
        assert_eq!(reason(many(65)), Reason::TooManyLabels);
    }

    #[test]
    fn an_alert_needs_no_name_and_no_annotations() {
        assert!(parse(|a| a["labels"] = json!({"job": "x"})).is_ok());
        assert!(parse(|a| a["annotations"] = json!(null)).is_ok());
    }

    #[test]
    fn nul_is_rejected_wherever_it_is() {
        assert_eq!(reason(|a| a["labels"]["a"] = json!("x\0")), Reason::Nul);
        assert_eq!(reason(|a| a["labels"]["a\0"] = json!("x")), Reason::Nul);
        assert_eq!(
            reason(|a| a["annotations"] = json!({"s": "\0"})),
            Reason::Nul
        );
        assert_eq!(reason(|a| a["generatorURL"] = json!("\0")), Reason::Nul);
        assert_eq!(reason(|a| a["fingerprint"] = json!("\0")), Reason::Nul);
        let reject = parse(|a| a["status"] = json!("\0")).expect_err("a reject");
        assert!(!reject.detail.contains('\0'), "{reject:?}");
    }

    #[test]
    fn times_are_checked() {
        for bad in [
            json!(null),
            json!(""),
            json!("yesterday"),
            json!("0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                reason(|a| a["startsAt"] = bad.clone()),
                Reason::Time,
                "{bad}"
            );
            assert_eq!(reason(|a| a["endsAt"] = bad.clone()), Reason::Time, "{bad}");
        }
        assert_eq!(
            reason(|a| a["endsAt"] = json!("2025-12-31T23:59:59Z")),
            Reason::Time
        );
        assert_eq!(reason(|a| a["startsAt"] = json!(7)), Reason::Shape);
    }

    #[test]
    fn the_rest_is_checked() {
        assert_eq!(reason(|a| a["status"] = json!("FIRING")), Reason::Status);
        assert_eq!(reason(|a| *a = json!([])), Reason::Shape);
        let long = json!({"description": "x".repeat(MAX_BYTES)});
        assert_eq!(reason(|a| a["annotations"] = long), Reason::TooLarge);
        let lone =
            br#"{"status":"firing","labels":{"a":"\ud800"},"startsAt":"2026-01-01T00:00:00Z"}"#;
        let reject = Notice::parse("am", Bytes::from_static(lone)).expect_err("no Unicode");
        assert_eq!(reject.reason, Reason::Shape);
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let reject = Reject::new(Reason::Shape, &"ü".repeat(2000), Bytes::new());
        assert_eq!(reject.detail.len(), 1024);
    }
}

//! Log lines and traces of this process.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use axum::http::HeaderMap;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use service_kit::{Trace, telemetry::JsonLog};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A place that keeps what is written to it.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics with it")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Page {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Runs `work` with logs and traces of its own, and returns the log's lines.
fn logged(work: impl FnOnce()) -> Result<Vec<Value>> {
    let page = Page::default();
    let provider = SdkTracerProvider::builder().build();
    let subscriber = tracing_subscriber::registry()
        .with(JsonLog::new(page.clone()))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(page.0.lock().expect("nobody panics with it").clone())?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

#[test]
fn a_line_is_flat_and_carries_its_trace() -> Result<()> {
    let lines = logged(|| {
        let outer = tracing::info_span!("outer", event_id = "e1", what = tracing::field::Empty);
        let parent = Trace {
            traceparent: Some(PARENT.to_owned()),
            tracestate: None,
        };
        parent.set_parent(&outer);
        outer.in_scope(|| {
            outer.record("what", "late");
            let inner = tracing::info_span!("inner", otel.kind = "server", subject = %"s1");
            inner.in_scope(|| tracing::warn!(count = 3, "two\nlines \u{1b}[31m"));
        });
        tracing::info!("alone");
    })?;
    let line = &lines[0];
    assert_eq!(line["message"], "two\nlines \u{1b}[31m");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["count"], 3);
    assert_eq!(
        (&line["event_id"], &line["subject"]),
        (&"e1".into(), &"s1".into())
    );
    assert_eq!(line["what"], "late");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["span_id"].as_str().map(str::len), Some(16));
    assert_ne!(line["span_id"], "b7ad6b7169203331");
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert!(
        line["target"]
            .as_str()
            .is_some_and(|target| target.contains("logs"))
    );
    assert!(line.get("otel.kind").is_none());
    assert_eq!(lines[1]["message"], "alone");
    assert!(lines[1].get("trace_id").is_none());
    Ok(())
}

#[test]
fn a_trace_goes_in_by_http_and_on_by_events() -> Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", PARENT.parse()?);
    headers.insert("tracestate", "vendor=1".parse()?);
    let mut on = Trace::default();
    logged(|| {
        let span = tracing::info_span!("request");
        Trace::from_http(&headers).set_parent(&span);
        on = span.in_scope(Trace::current);
    })?;
    assert_eq!(on.id().as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_ne!(on.traceparent.as_deref(), Some(PARENT), "a span of its own");
    assert_eq!(on.tracestate.as_deref(), Some("vendor=1"));
    Ok(())
}

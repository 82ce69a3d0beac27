//! W3C trace context between spans, HTTP headers and events.

use std::collections::HashMap;

use axum::http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, TraceContextExt, TraceFlags, TraceState},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::Trace;

impl Trace {
    /// The current span's. Where there is none, a new trace begins: what follows from one input
    /// always belongs together.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&Span::current())
    }

    /// That of `span`; a new one if it is disabled.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let context = span.context();
        if context.span().span_context().is_valid() {
            Self::inject(&context)
        } else {
            Self::begin()
        }
    }

    fn begin() -> Self {
        let ids = RandomIdGenerator::default();
        let root = SpanContext::new(
            ids.new_trace_id(),
            ids.new_span_id(),
            TraceFlags::default(),
            false,
            TraceState::default(),
        );
        Self::inject(&Context::new().with_remote_span_context(root))
    }

    fn inject(context: &Context) -> Self {
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(context, &mut carrier);
        Self {
            traceparent: carrier.remove("traceparent"),
            tracestate: carrier
                .remove("tracestate")
                .filter(|state| !state.is_empty()),
        }
    }

    /// What a request's `traceparent` and `tracestate` say.
    #[must_use]
    pub fn from_http(headers: &HeaderMap) -> Self {
        let header = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            traceparent: header("traceparent"),
            tracestate: header("tracestate"),
        }
    }

    /// Makes `span` a child of this. Before `span` is entered, or not at all.
    pub fn set_parent(&self, span: &Span) {
        let context = self.context();
        if context.span().span_context().is_valid() {
            // fails for a span that is disabled: nothing to connect
            drop(span.set_parent(context));
        }
    }

    /// Links `span` to this: for a span over many inputs, which has no single parent.
    pub fn link(&self, span: &Span) {
        span.add_link(self.context().span().span_context().clone());
    }

    /// The 32 hex digits of the trace, for people; `None` when there is none.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let context = self.context();
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    }

    fn context(&self) -> Context {
        TraceContextPropagator::new().extract_with_context(&Context::new(), self)
    }
}

impl Extractor for Trace {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent.as_deref(),
            "tracestate" => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_span_a_trace_begins() {
        let (one, two) = (Trace::current(), Trace::current());
        assert_ne!(one.id().expect("valid"), two.id().expect("valid"));
    }

    #[test]
    fn garbage_is_no_trace() {
        let garbage = Trace {
            traceparent: Some("00-zz-1".to_owned()),
            tracestate: None,
        };
        assert_eq!(garbage.id(), None);
        assert_eq!(Trace::default().id(), None);
    }
}

//! The producer span of a record.

use opentelemetry::Context;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::Trace;

/// Last two digits of `traceparent`: the sampled flag.
const SAMPLED: &str = "01";

/// Makes producer spans, if anybody exports them; else records keep the context they have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    exported: bool,
}

impl Spans {
    /// Finds out whether spans go anywhere, by making one.
    pub(super) fn new() -> Self {
        let span = tracing::info_span!("begin to relay");
        Self {
            exported: !span.is_disabled() && span.set_parent(Context::new()).is_ok(),
        }
    }

    /// The span of sending one record, child of its stored context, and the context to send
    /// instead. The span lasts until it is dropped.
    pub(super) fn publish(
        self,
        stored: &Trace,
        topic: &str,
        event_type: &str,
    ) -> Option<(Span, Trace)> {
        let parent = stored.traceparent.as_ref()?;
        if !self.exported || !parent.ends_with(SAMPLED) {
            return None;
        }
        let span = tracing::info_span!(
            "publish",
            otel.kind = "producer",
            otel.name = format!("publish {topic}"),
            messaging.system = "kafka",
            messaging.destination.name = topic,
            messaging.kafka.offset = tracing::field::Empty,
            event_type,
        );
        stored.set_parent(&span);
        let sent = Trace::of(&span);
        Some((span, sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn stored(traceparent: &str) -> Trace {
        Trace {
            traceparent: Some(traceparent.to_owned()),
            tracestate: None,
        }
    }

    #[test]
    fn a_record_carries_its_producer_span() {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let spans = Spans::new();
            let (_span, sent) = spans.publish(&stored(PARENT), "t", "e").expect("a span");
            let sent = sent.traceparent.expect("a context");
            assert_eq!(sent[..36], PARENT[..36], "the same trace");
            assert_ne!(sent[36..52], PARENT[36..52], "a span of its own");
            let unsampled = PARENT.replace("-01", "-00");
            assert!(spans.publish(&stored(&unsampled), "t", "e").is_none());
            assert!(spans.publish(&Trace::default(), "t", "e").is_none());
        });
    }

    #[test]
    fn without_an_exporter_the_stored_context_goes_on() {
        let subscriber = tracing_subscriber::registry();
        tracing::subscriber::with_default(subscriber, || {
            assert!(Spans::new().publish(&stored(PARENT), "t", "e").is_none());
        });
    }
}

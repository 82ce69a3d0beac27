//! The producer span of a record.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Last two digits of `traceparent`: the sampled flag.
const SAMPLED: &[u8] = b"01";

/// The headers of a record as they are stored.
pub(super) type Headers = Vec<(String, Vec<u8>)>;

struct Carrier<'a>(&'a mut Headers);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        std::str::from_utf8(value).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key != TRACEPARENT && (key != TRACESTATE || value.is_empty()) {
            return;
        }
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, stored)) => *stored = value.into_bytes(),
            None => self.0.push((key.to_owned(), value.into_bytes())),
        }
    }
}

/// Makes the producer span, child of the stored trace context, and puts its own context into the
/// headers. The span lasts until it is dropped. Costs nothing for records without a sampled trace.
pub(super) fn publish(headers: &mut Headers, topic: &str, event_type: &str) -> Option<Span> {
    let sampled = headers
        .iter()
        .any(|(name, value)| name == TRACEPARENT && value.ends_with(SAMPLED));
    if !sampled {
        return None;
    }
    let propagator = TraceContextPropagator::new();
    let parent = propagator.extract(&Carrier(headers));
    let span = tracing::info_span!(
        "publish",
        otel.kind = "producer",
        otel.name = format!("publish {topic}"),
        messaging.system = "kafka",
        messaging.destination.name = topic,
        messaging.kafka.offset = tracing::field::Empty,
        event_type,
    );
    // no exporter, no context of its own: the stored one goes on as it is
    if span.set_parent(parent).is_ok() {
        let context = span.context();
        propagator.inject_context(&context, &mut Carrier(headers));
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers() -> Headers {
        vec![
            ("ce_id".into(), b"x".to_vec()),
            (TRACEPARENT.into(), PARENT.into()),
        ]
    }

    #[test]
    fn a_record_carries_its_producer_span() {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let mut headers = headers();
            drop(publish(&mut headers, "t", "e"));
            let sent = std::str::from_utf8(&headers[1].1).expect("text");
            assert_eq!(&sent[..36], &PARENT[..36], "the same trace");
            assert_ne!(&sent[36..52], &PARENT[36..52], "a span of its own");
        });
    }

    #[test]
    fn without_an_exporter_the_stored_context_goes_on() {
        let mut headers = headers();
        drop(publish(&mut headers, "t", "e"));
        assert_eq!(headers, self::headers());
    }
}

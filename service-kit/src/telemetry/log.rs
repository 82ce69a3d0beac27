//! One JSON object a line: the event's own fields and those of the spans around it, flat.

use std::{fmt, io::Write};

use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    dispatcher::WeakDispatch,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use crate::clock;

/// Writes log lines with `time`, `level`, `target`, `message`, `trace_id`, `span_id` and every
/// field of the event and its spans (`event_id` and the like); the innermost of a name wins.
pub struct JsonLog<W> {
    writer: W,
    dispatch: std::sync::OnceLock<WeakDispatch>,
}

impl<W> JsonLog<W> {
    /// Writes to what `writer` makes.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            dispatch: std::sync::OnceLock::new(),
        }
    }
}

impl<W> fmt::Debug for JsonLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLog").finish_non_exhaustive()
    }
}

/// Fields of a span, kept with it.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLog<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_register_dispatch(&self, dispatch: &tracing::Dispatch) {
        drop(self.dispatch.set(dispatch.downgrade()));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Map::new();
        attributes.record(&mut Collect(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Fields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(&mut Collect(&mut fields.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(Fields(fields)) = span.extensions().get() {
                    line.extend(fields.clone());
                }
            }
        }
        event.record(&mut Collect(&mut line));
        if let Some(span) = context.event_span(event) {
            self.ids(&span, &mut line);
        }
        line.insert("time".to_owned(), time());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        // a log that cannot be written has nowhere to say so
        drop(self.writer.make_writer_for(metadata).write_all(&bytes));
    }
}

impl<W> JsonLog<W> {
    fn ids<S: for<'span> LookupSpan<'span>>(
        &self,
        span: &SpanRef<'_, S>,
        line: &mut Map<String, Value>,
    ) {
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        let Some(context) = tracing_opentelemetry::get_otel_context(&span.id(), &dispatch) else {
            return;
        };
        let span = context.span();
        let span = span.span_context();
        if span.is_valid() {
            line.insert("trace_id".to_owned(), span.trace_id().to_string().into());
            line.insert("span_id".to_owned(), span.span_id().to_string().into());
        }
    }
}

fn time() -> Value {
    clock::now()
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        .into()
}

struct Collect<'a>(&'a mut Map<String, Value>);

impl Collect<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        // otel.* are instructions to the tracing layer, not facts
        if !field.name().starts_with("otel.") {
            let name = field.name().trim_start_matches("r#");
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, crate::error::chain(value).into());
    }
}

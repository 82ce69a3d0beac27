//! Logs and traces of this process.
//!
//! Spans always get W3C ids, exporter or not: one trace runs from the first request to the last
//! service, through outbox rows and record headers, and every log line carries it. A trace that
//! begins in a service without an exporter is not sampled.

mod log;
mod trace;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{DynFilterFn, LevelFilter},
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

pub use self::log::JsonLog;
use crate::{
    Error,
    config::{LogFormat, TelemetryArgs},
};

/// How long the last spans may take to leave at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Crates that work for the exporter: spans of theirs would be exported and make more of them.
const EXPORTER: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "tonic",
    "tower",
];

/// Keeps the exporter; [`flush`](Telemetry::flush) it at the end.
#[derive(Debug)]
pub struct Telemetry(SdkTracerProvider);

/// Sets up logs and traces for the whole process. Inside the runtime: the exporter lives on it.
///
/// # Errors
/// When a setting cannot be used, or it was done before.
pub fn init(service: &str, args: &TelemetryArgs) -> Result<Telemetry, Error> {
    let provider = provider(service, args)?;
    let filter: EnvFilter = args.log.parse().map_err(|error| Error::Setting {
        name: "EVENTPULSE_LOG",
        reason: format!("{error}"),
    })?;
    let log: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        LogFormat::Json => JsonLog::new(std::io::stdout).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().boxed(),
    };
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("service-kit"))
        .with_filter(filter_spans());
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(traces)
        .try_init()
        .map_err(|error| Error::Setting {
            name: "EVENTPULSE_LOG",
            reason: format!("{error}"),
        })?;
    Ok(Telemetry(provider))
}

/// Not `FilterFn`, which decides once per callsite: a callsite that every filter lets through for
/// good is never asked again, and takes over whatever an unfinished question (`enabled!`, which
/// sqlx asks before each statement) has left in the thread: its span is missing in the log then.
fn filter_spans<S>() -> DynFilterFn<S, impl Fn(&Metadata<'_>, &Context<'_, S>) -> bool> {
    DynFilterFn::new(|metadata: &Metadata<'_>, _: &Context<'_, S>| traced(metadata))
        .with_max_level_hint(LevelFilter::INFO)
}

/// Spans are made whatever the log's filter says: a quiet log must not break traces.
fn traced(metadata: &Metadata<'_>) -> bool {
    let level = if metadata.is_span() {
        Level::INFO
    } else {
        Level::WARN
    };
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= level && !EXPORTER.contains(&root)
}

fn provider(service: &str, args: &TelemetryArgs) -> Result<SdkTracerProvider, Error> {
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(opentelemetry::KeyValue::new(
            "service.namespace",
            "eventpulse",
        ))
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            crate::VERSION,
        ))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let endpoint = args.otlp_endpoint.as_ref().filter(|url| !url.is_empty());
    let Some(endpoint) = endpoint else {
        // ids without spans: everything downstream of a trace that nobody collects is cheap
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.expose())
        .build()
        .map_err(|error| Error::Setting {
            name: "OTEL_EXPORTER_OTLP_ENDPOINT",
            reason: crate::error::chain(&error),
        })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

impl Telemetry {
    /// Sends what is left, for two seconds at most.
    pub async fn flush(self) {
        // blocks, and the exporter needs the runtime's other threads meanwhile
        let flushed =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

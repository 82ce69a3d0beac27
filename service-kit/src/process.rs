//! What the operating system says of this process, under the names that every Prometheus client
//! uses, and what its runtime does.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// `USER_HZ`: fixed at 100 in the kernel's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads /proc on each scrape; says nothing where there is none.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            let help = "Resident memory size";
            gauge(
                &mut encoder,
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                bytes,
            )?;
        }
        if let Some(count) = open_files() {
            gauge(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors",
                None,
                count,
            )?;
        }
        if let Some(count) = file_limit() {
            let help = "Largest number of open file descriptors";
            gauge(&mut encoder, "process_max_fds", help, None, count)?;
        }
        if let Some(count) = status("Threads:") {
            gauge(
                &mut encoder,
                "process_threads",
                "Threads of the operating system",
                None,
                count,
            )?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu",
                "User and system CPU time spent",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            counter.encode(metric)?;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            let help = "Asynchronous tasks that are alive";
            gauge(&mut encoder, "eventpulse_tasks", help, None, tasks as u64)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'static str,
    help: &'static str,
    unit: Option<&'static Unit>,
    value: u64,
) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

/// Memory that this process holds, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    status("VmRSS:").map(|kib| kib * 1024)
}

/// File descriptors that this process has open.
pub(crate) fn open_files() -> Option<u64> {
    // the directory itself is open while it is read
    let count = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    u64::try_from(count).ok()
}

fn status(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn file_limit() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // the name, in brackets, may hold spaces and brackets
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_time() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1024 * 1024));
        assert!(open_files().is_some_and(|count| (3..100_000).contains(&count)));
        assert!(file_limit() > open_files());
        assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
    }
}

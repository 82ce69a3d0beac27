//! Figures as people read them.

use std::time::Duration;

/// `0.837` as `84 %`.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// Seconds with what precision is useful: `6 ms`, `2.6 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// A 95th percentile: `0.74 s`, or `?` when nothing was measured.
pub(crate) fn p95(measured: Option<f64>) -> String {
    measured.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// The first characters of an id: enough to tell incidents of a demo apart.
pub(crate) fn short(id: &str) -> &str {
    id.get(..6).unwrap_or(id)
}

pub(crate) fn replicas(count: usize) -> String {
    format!("{count} replica{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(percent(0.8372), "84 %");
        assert_eq!(seconds(Duration::from_micros(6_400)), "6 ms");
        assert_eq!(seconds(Duration::from_millis(2_640)), "2.6 s");
        assert_eq!(
            (p95(Some(0.744)).as_str(), p95(None).as_str()),
            ("0.74 s", "?")
        );
        assert_eq!((short("7f3c91aa-0"), short("7f")), ("7f3c91", "7f"));
        assert_eq!(
            (replicas(1).as_str(), replicas(2).as_str()),
            ("1 replica", "2 replicas")
        );
    }
}

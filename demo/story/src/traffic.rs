//! What went through Traefik to the app, from Traefik's own counters.

use std::collections::BTreeMap;

/// Counters of the app's service at one moment, or what was counted between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    /// Answers other than 2xx.
    pub(crate) failed: u64,
    /// Requests that took at most so many milliseconds; `u64::MAX` is the bucket without a bound.
    buckets: BTreeMap<u64, u64>,
}

impl Traffic {
    /// Reads Traefik's metrics in the Prometheus text format.
    pub(crate) fn parse(metrics: &str) -> Self {
        let mut traffic = Self::default();
        for line in metrics
            .lines()
            .filter(|line| line.contains("service=\"app@docker\""))
        {
            let Some((name, labels, value)) = sample(line) else {
                continue;
            };
            match name {
                "traefik_service_requests_total" => {
                    traffic.requests += value;
                    if !label(labels, "code").is_some_and(|code| code.starts_with('2')) {
                        traffic.failed += value;
                    }
                }
                "traefik_service_request_duration_seconds_bucket" => {
                    if let Some(bound) = label(labels, "le").and_then(milliseconds) {
                        *traffic.buckets.entry(bound).or_default() += value;
                    }
                }
                _ => {}
            }
        }
        traffic
    }

    /// What was counted after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound| earlier.buckets.get(bound).copied().unwrap_or(0);
        let buckets = self.buckets.iter();
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            buckets: buckets
                .map(|(bound, n)| (*bound, n.saturating_sub(before(bound))))
                .collect(),
        }
    }

    /// 95th percentile in seconds, interpolated inside its bucket as Prometheus does.
    pub(crate) fn p95(&self) -> Option<f64> {
        let total = *self.buckets.get(&u64::MAX)?;
        #[expect(clippy::cast_precision_loss, reason = "counts of a demo")]
        let rank = 0.95 * total as f64;
        let mut lower = (0, 0);
        for (&bound, &count) in &self.buckets {
            #[expect(
                clippy::cast_precision_loss,
                reason = "counts and milliseconds of a demo"
            )]
            let (from, to, below, within) = (
                lower.0 as f64,
                bound as f64,
                lower.1 as f64,
                (count - lower.1.min(count)) as f64,
            );
            if total > 0 && below + within >= rank {
                let inside = if bound == u64::MAX {
                    0.0
                } else {
                    (rank - below) / within * (to - from)
                };
                return Some((from + inside) / 1e3);
            }
            lower = (bound, count);
        }
        None
    }
}

/// Name, labels and value of a line of the text format.
fn sample(line: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    // Counters: whole numbers, large ones as 1.2e+06.
    let value: f64 = value.split_whitespace().next()?.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter"
    )]
    Some((name, labels, value as u64))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = labels.split_once(&format!("{name}=\""))?;
    value.split('"').next()
}

fn milliseconds(bound: &str) -> Option<u64> {
    let bound: f64 = bound.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bucket's bound"
    )]
    Some(if bound.is_finite() {
        (bound * 1e3).round() as u64
    } else {
        u64::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(quick: u64, slow: u64, errors: u64) -> String {
        let labels = "method=\"GET\",protocol=\"http\",service=\"app@docker\"";
        let all = quick + slow;
        let bucket = |le: &str, n| {
            format!(
                "traefik_service_request_duration_seconds_bucket{{code=\"200\",{labels},le=\"{le}\"}} {n}\n"
            )
        };
        [
            "# HELP traefik_service_requests_total How many\n".to_owned(),
            format!("traefik_service_requests_total{{code=\"200\",{labels}}} {all}\n"),
            format!("traefik_service_requests_total{{code=\"502\",{labels}}} {errors}\n"),
            "traefik_service_requests_total{code=\"500\",service=\"other@docker\"} 99\n".to_owned(),
            bucket("0.1", quick),
            bucket("0.5", all),
            bucket("+Inf", all),
        ]
        .concat()
    }

    #[test]
    fn requests_of_the_app_are_counted() {
        let traffic = Traffic::parse(&metrics(90, 10, 3));
        assert_eq!((traffic.requests, traffic.failed), (103, 3));
    }

    #[test]
    fn the_percentile_lies_inside_its_bucket() {
        let traffic = Traffic::parse(&metrics(90, 10, 0));
        let p95 = traffic.p95().expect("requests");
        assert!((p95 - 0.3).abs() < 1e-9, "{p95}");
        assert_eq!(Traffic::default().p95(), None);
        assert_eq!(Traffic::parse(&metrics(0, 0, 0)).p95(), None);
    }

    #[test]
    fn only_what_came_later_counts() {
        let later =
            Traffic::parse(&metrics(290, 10, 4)).since(&Traffic::parse(&metrics(90, 10, 4)));
        assert_eq!((later.requests, later.failed), (200, 0));
        let p95 = later.p95().expect("requests");
        assert!((p95 - 0.095).abs() < 1e-9, "{p95}");
    }
}

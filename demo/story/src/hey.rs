//! hey's report, as it prints it when it is stopped.

/// What hey counted itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// Requests with status 200.
    pub(crate) good: u64,
    /// Every other answer, and requests without one.
    pub(crate) failed: u64,
    /// 95th percentile of the time to answer, in seconds.
    pub(crate) p95: Option<f64>,
}

impl Report {
    /// The last report of a log. `None` while hey has not printed one.
    pub(crate) fn parse(log: &str) -> Option<Self> {
        let report = &log[log.rfind("Summary:")?..];
        let (_, codes) = report.split_once("Status code distribution:")?;
        let (codes, errors) = codes
            .split_once("Error distribution:")
            .unwrap_or((codes, ""));
        let mut counted = Self {
            good: 0,
            failed: 0,
            p95: p95(report),
        };
        for (code, count) in codes.lines().filter_map(|line| bracketed(line, true)) {
            if code == "200" {
                counted.good += count;
            } else {
                counted.failed += count;
            }
        }
        counted.failed += errors
            .lines()
            .filter_map(|line| bracketed(line, false))
            .map(|(_, n)| n)
            .sum::<u64>();
        Some(counted)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.good + self.failed
    }
}

/// `  [200] 24 responses` (`counted_after`), or `  [4] Get "http://..": dial tcp` (the number is the count).
fn bracketed(line: &str, counted_after: bool) -> Option<(&str, u64)> {
    let (inside, after) = line.trim().strip_prefix('[')?.split_once(']')?;
    let count = if counted_after {
        after.split_whitespace().next()?
    } else {
        inside
    };
    Some((inside, count.parse().ok()?))
}

fn p95(report: &str) -> Option<f64> {
    let line = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("95% in "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "
Summary:
  Total:\t3.0093 secs
  Requests/sec:\t7.9753

Latency distribution:
  90% in 0.2044 secs
  95% in 0.3147 secs
  0% in 0.0000 secs

Status code distribution:
  [200]\t24 responses
  [503]\t3 responses

Error distribution:
  [4]\tGet \"http://127.0.0.1:1/\": dial tcp [::1]:1: connect: connection refused
  [1]\tGet \"http://127.0.0.1:1/\": context deadline exceeded
";

    #[test]
    fn answers_and_errors_are_counted() {
        let report = Report::parse(RUN).expect("a report");
        assert_eq!(
            report,
            Report {
                good: 24,
                failed: 8,
                p95: Some(0.3147)
            }
        );
        assert_eq!(report.requests(), 32);
    }

    #[test]
    fn the_last_report_counts() {
        let log = format!("{RUN}\n\nSummary:\n\nStatus code distribution:\n  [200]\t7 responses\n");
        assert_eq!(
            Report::parse(&log),
            Some(Report {
                good: 7,
                failed: 0,
                p95: None
            })
        );
    }

    #[test]
    fn a_log_without_a_report_is_none() {
        assert_eq!(Report::parse("starting"), None);
    }
}

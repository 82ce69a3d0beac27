//! Bodies as Alertmanager posts them, each alert of a series of its own.

use chrono::{SecondsFormat, Utc};

/// Which alerts a workload posts.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// Part of every label that must be unique to a run.
    pub(crate) run: String,
    /// One alert in so many opens an incident.
    pub(crate) one_in: u64,
    /// Services that the others are of.
    pub(crate) services: u64,
    /// Whether every alert is of one and the same service.
    pub(crate) one_service: bool,
    /// After so many alerts the series come again.
    pub(crate) series: u64,
}

impl Mix {
    /// Whether alert `n` opens an incident.
    pub(crate) fn opens(&self, n: u64) -> bool {
        n.is_multiple_of(self.one_in)
    }

    /// Its service: one of its own if it opens an incident.
    pub(crate) fn service(&self, n: u64) -> String {
        if self.one_service {
            self.run.clone()
        } else if self.opens(n) {
            format!("{}-{n}", self.run)
        } else {
            format!("{}-quiet-{}", self.run, n % self.services)
        }
    }

    /// Incidents that the first `alerts` alerts open.
    pub(crate) fn incidents(&self, alerts: u64) -> u64 {
        if self.one_service {
            return alerts.min(1);
        }
        alerts.min(self.series).div_ceil(self.one_in)
    }

    /// A body with the alerts `first .. first + count`.
    pub(crate) fn body(&self, first: u64, count: u64) -> String {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let alerts: Vec<String> = (first..first + count)
            .map(|n| self.alert(n % self.series, &now))
            .collect();
        format!(
            r#"{{"version":"4","groupKey":"{{}}:{{}}","truncatedAlerts":0,"status":"firing","receiver":"eventpulse","groupLabels":{{}},"commonLabels":{{}},"commonAnnotations":{{}},"externalURL":"http://alertmanager:9093","alerts":[{}]}}"#,
            alerts.join(",")
        )
    }

    fn alert(&self, n: u64, now: &str) -> String {
        let name = if self.opens(n) {
            "BenchOpen"
        } else {
            "BenchQuiet"
        };
        let service = self.service(n);
        format!(
            r#"{{"status":"firing","labels":{{"alertname":"{name}","service":"{service}","severity":"warning","instance":"10.0.0.1:{n}","job":"bench","cluster":"one"}},"annotations":{{"summary":"CPU of {service} is at 84% of its limit","value":"0.84"}},"startsAt":"{now}","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus:9090/graph?g0.expr=up&g0.tab=1","fingerprint":"{n:016x}"}}"#
        )
    }
}

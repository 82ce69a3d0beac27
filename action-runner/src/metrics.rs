//! Figures of this service for Prometheus.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use service_kit::Metrics;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    call: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Result {
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    target: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Done {
    target: String,
    step: &'static str,
}

/// Failures of calls to Docker.
#[derive(Clone, Debug, Default)]
pub struct DockerMetrics {
    failures: Family<Call, Counter>,
}

impl DockerMetrics {
    pub(crate) fn failed(&self, call: &'static str) {
        self.failures.get_or_create(&Call { call }).inc();
    }
}

/// Figures of actions and targets.
#[derive(Clone, Debug)]
pub struct RunnerMetrics {
    pub docker: DockerMetrics,
    duration: Family<Result, Histogram, fn() -> Histogram>,
    running: Family<Of, Gauge>,
    managed: Family<Of, Gauge>,
    desired: Family<Of, Gauge>,
    drift: Family<Of, Gauge>,
    paused: Family<Of, Gauge>,
    steps: Family<Done, Counter>,
    unknown: Gauge,
}

/// What is shown of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub running: u32,
    pub managed: u32,
    /// `None`: no action has asked for a count yet.
    pub desired: Option<u32>,
    pub paused: bool,
}

impl Default for RunnerMetrics {
    fn default() -> Self {
        Self {
            docker: DockerMetrics::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.125, 2.0, 12))
            }),
            running: Family::default(),
            managed: Family::default(),
            desired: Family::default(),
            drift: Family::default(),
            paused: Family::default(),
            steps: Family::default(),
            unknown: Gauge::default(),
        }
    }
}

impl RunnerMetrics {
    /// Makes the figures visible.
    pub fn register(&self, metrics: &Metrics) {
        metrics.with(|registry| {
            registry.register(
                "eventpulse_docker_call_failures",
                "Calls to Docker that failed or were not answered, by call",
                self.docker.failures.clone(),
            );
            registry.register(
                "eventpulse_action_duration_seconds",
                "From the request's time to the terminal event, by result or reason",
                self.duration.clone(),
            );
            for (name, help, family) in [
                ("eventpulse_target_replicas_running", "Running containers of a target, whoever made them", &self.running),
                ("eventpulse_target_replicas_managed", "Running containers of a target that this service made", &self.managed),
                ("eventpulse_target_replicas_desired", "Replicas that a target should have; missing before its first action", &self.desired),
                ("eventpulse_target_drift_replicas", "Running minus desired while no action is pending", &self.drift),
                ("eventpulse_target_paused", "1 while people have paused the target", &self.paused),
            ] {
                registry.register(name, help, family.clone());
            }
            registry.register(
                "eventpulse_target_steps",
                "Docker steps done, by target and step",
                self.steps.clone(),
            );
            registry.register(
                "eventpulse_unknown_replicas",
                "Containers of ours whose target no targets.yaml entry declares: `eventpulse target prune` removes them",
                self.unknown.clone(),
            );
        });
    }

    pub(crate) fn ended(&self, result: &str, seconds: f64) {
        let result = Result {
            result: result.to_owned(),
        };
        self.duration
            .get_or_create(&result)
            .observe(seconds.max(0.0));
    }

    pub(crate) fn stepped(&self, target: &str, step: &'static str) {
        let done = Done {
            target: target.to_owned(),
            step,
        };
        self.steps.get_or_create(&done).inc();
    }

    pub(crate) fn unknown(&self, count: usize) {
        self.unknown.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `pending`: an action is under way, and a difference is no drift.
    pub(crate) fn show(&self, target: &str, figures: &Figures, pending: bool) {
        let of = Of {
            target: target.to_owned(),
        };
        self.running.get_or_create(&of).set(figures.running.into());
        self.managed.get_or_create(&of).set(figures.managed.into());
        self.paused.get_or_create(&of).set(figures.paused.into());
        if let Some(desired) = figures.desired {
            self.desired.get_or_create(&of).set(desired.into());
            let drift = i64::from(figures.running) - i64::from(desired);
            self.drift
                .get_or_create(&of)
                .set(if pending { 0 } else { drift });
        }
    }

    /// The target is not declared any more.
    pub(crate) fn forget(&self, target: &str) {
        let of = Of {
            target: target.to_owned(),
        };
        for family in [
            &self.running,
            &self.managed,
            &self.desired,
            &self.drift,
            &self.paused,
        ] {
            family.remove(&of);
        }
    }
}

//! How long each step may take, in the fast profile and with the mission's durations.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Windows of 15 s and 30 s.
    Fast,
    /// `HighCPU` for 2 minutes, `LowCPU` for 5.
    Full,
}

/// The steps of the story, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    CpuSeries,
    Alert,
    Incident,
    Replica,
    ServedBy,
    Resolved,
    LowCpu,
    Failed,
    Recovered,
}

impl Step {
    pub(crate) const ALL: [Self; 9] = [
        Self::CpuSeries,
        Self::Alert,
        Self::Incident,
        Self::Replica,
        Self::ServedBy,
        Self::Resolved,
        Self::LowCpu,
        Self::Failed,
        Self::Recovered,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuSeries => "CPU series",
            Self::Alert => "HighCPU",
            Self::Incident => "incident",
            Self::Replica => "second replica",
            Self::ServedBy => "two replicas answer",
            Self::Resolved => "resolved",
            Self::LowCpu => "LowCPU",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
        }
    }

    pub(crate) fn number(self) -> usize {
        Self::ALL.iter().take_while(|step| **step < self).count() + 1
    }
}

impl Profile {
    /// Longest time that `step` may take, from the end of the one before it.
    pub(crate) fn deadline(self, step: Step) -> Duration {
        let (fast, full) = match step {
            Step::CpuSeries => (30, 30),
            Step::Alert => (60, 200),
            Step::Incident => (15, 15),
            Step::Replica => (30, 75),
            Step::ServedBy => (10, 10),
            Step::Resolved => (60, 180),
            Step::LowCpu => (80, 400),
            Step::Failed => (110, 400),
            Step::Recovered => (70, 200),
        };
        Duration::from_secs(match self {
            Self::Fast => fast,
            Self::Full => full,
        })
    }

    /// Longest time in which what an earlier run has left behind comes to rest: alerts clear, an action
    /// and what undoes it end, and low load brings the service back to one replica after its cooldown.
    pub(crate) fn calm(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fast => 300,
            Self::Full => 1500,
        })
    }

    /// The first line of the story.
    pub(crate) fn banner(self) -> &'static str {
        match self {
            Self::Fast => {
                "fast profile: windows 15s/30s instead of 2m/5m (PROFILE=mission for the real ones)"
            }
            Self::Full => "mission profile: HighCPU > 50 % for 2m, LowCPU < 20 % for 5m",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_from_one() {
        assert_eq!(Step::CpuSeries.number(), 1);
        assert_eq!(Step::Recovered.number(), 9);
    }

    #[test]
    fn the_mission_never_has_less_time() {
        for step in Step::ALL {
            assert!(
                Profile::Full.deadline(step) >= Profile::Fast.deadline(step),
                "{step:?}"
            );
        }
    }
}

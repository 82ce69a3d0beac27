//! Whether what services hold stays bounded: memory, file handles and tasks of each process, dead rows
//! and sizes of each database, looked at while the load goes on.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use anyhow::{Context, Result};
use eventpulse_tests::stack::Databases;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{fleet::Slot, gather::databases};

/// Rows that a table may have dead beyond a fifth of its live ones: where autovacuum begins, and what
/// comes to it until it has ended.
const DEAD: i64 = 20_000;
/// What a process may hold more at the end than in the second quarter of the time; a table that
/// forgets, too.
const GROWTH: f64 = 1.25;
/// Tables whose old rows are forgotten within a calm run, and the rows that one may grow beyond that.
const FORGETTING: [&str; 3] = [" inbox_events", " receipts", " alert_rejects"];
const ROWS: f64 = 5_000.0;
/// From when on as much is forgotten as comes: no run that is shorter tells.
const LEVEL: u64 = 1_800;
/// Beyond that: MiB of memory, file handles, tasks.
const SLACK: [f64; 3] = [16.0, 16.0, 16.0];

/// One look at everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    pub seconds: u64,
    /// By process: MiB, file handles, tasks.
    pub processes: BTreeMap<String, [f64; 3]>,
    /// By service: MiB of the database.
    pub databases: BTreeMap<&'static str, f64>,
    /// By service and table: live rows, dead rows, MiB.
    pub tables: BTreeMap<String, (i64, i64, f64)>,
}

/// All looks, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Soak(pub Vec<Sample>);

impl Soak {
    /// Looks every `pause` until `stop`. A look that fails is left out: processes die, by intent.
    pub async fn watch(
        slots: &[std::sync::Arc<Slot>],
        stored: &Databases,
        pause: Duration,
        stop: CancellationToken,
    ) -> Self {
        let (since, mut ticks) = (std::time::Instant::now(), interval(pause));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut samples = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Self(samples),
                _ = ticks.tick() => {}
            }
            match look(slots, stored).await {
                Ok(sample) => samples.push(Sample {
                    seconds: since.elapsed().as_secs(),
                    ..sample
                }),
                Err(error) => eprintln!("no look at what is held: {error:#}"),
            }
        }
    }

    /// What grew without a bound, in words; nothing, when nothing did.
    #[must_use]
    pub fn growth(&self) -> Vec<String> {
        let samples = &self.0;
        let (Some(last), true) = (samples.last(), samples.len() >= 8) else {
            return vec![format!("{} looks are too few", samples.len())];
        };
        let quarter = samples.len() / 4;
        let (early, late) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
        let mut grown = Vec::new();
        for name in last.processes.keys() {
            for (at, what) in ["MiB", "file handles", "tasks"].into_iter().enumerate() {
                let held = |sample: &Sample| sample.processes.get(name).map(|held| held[at]);
                let (before, after) = (median(early, held), median(late, held));
                if after > before * GROWTH + SLACK[at] {
                    grown.push(format!("{name}: {before:.0} {what}, then {after:.0}"));
                }
            }
        }
        for (name, (live, dead, _)) in &last.tables {
            if *dead > live / 5 + DEAD {
                grown.push(format!("{name}: {dead} dead rows beside {live} live ones"));
            }
            let forgets = FORGETTING.iter().any(|table| name.ends_with(table));
            if !forgets || last.seconds < LEVEL {
                continue;
            }
            let rows = |sample: &Sample| sample.tables.get(name).map(|(live, ..)| *live as f64);
            let (before, after) = (median(early, rows), median(late, rows));
            if after > before * GROWTH + ROWS {
                grown.push(format!("{name}: {before} rows, then {after}"));
            }
        }
        grown
    }

    /// For people: at most twelve rows of processes, then the tables at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let step = self.0.len().div_ceil(12).max(1);
        for sample in self.0.iter().step_by(step) {
            let _ = write!(text, "  {:>5} s ", sample.seconds);
            for (name, [mib, files, tasks]) in &sample.processes {
                let _ = write!(text, " {name} {mib:.0}M/{files:.0}/{tasks:.0}");
            }
            let sizes: Vec<String> = sample
                .databases
                .iter()
                .map(|(name, mib)| format!("{name} {mib:.0}M"))
                .collect();
            let _ = writeln!(text, "  databases {}", sizes.join(" "));
        }
        if let Some(last) = self.0.last() {
            for (name, (live, dead, mib)) in &last.tables {
                if *mib >= 1.0 {
                    let _ = writeln!(
                        text,
                        "  {name:<36} {live:>9} live {dead:>7} dead {mib:>7.1} MiB"
                    );
                }
            }
        }
        text
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> f64 {
    let mut held: Vec<f64> = samples.iter().filter_map(of).collect();
    held.sort_by(f64::total_cmp);
    held.get(held.len() / 2).copied().unwrap_or_default()
}

async fn look(slots: &[std::sync::Arc<Slot>], stored: &Databases) -> Result<Sample> {
    let mut sample = Sample::default();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for slot in slots {
        let number = numbers.entry(slot.service).or_default();
        *number += 1;
        let asked = reqwest::get(format!("{}/metrics", slot.url));
        let Ok(Ok(answer)) = timeout(Duration::from_secs(10), asked).await else {
            continue;
        };
        let metrics = answer.text().await?;
        let of = |name| value(&metrics, name).with_context(|| format!("{name} of {}", slot.url));
        let held = [
            of("process_resident_memory_bytes")? / 1024.0 / 1024.0,
            of("process_open_fds")?,
            of("eventpulse_tasks")?,
        ];
        sample
            .processes
            .insert(format!("{}-{number}", slot.service), held);
    }
    for (name, pool) in databases(stored) {
        let rows: Vec<(String, i64, i64, f64)> = sqlx::query_as(
            "SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid) / 1048576.0::float8
             FROM pg_stat_user_tables",
        )
        .fetch_all(pool)
        .await?;
        let total: f64 = rows.iter().map(|(_, _, _, mib)| mib).sum();
        sample.databases.insert(name, total);
        let tables = rows
            .into_iter()
            .map(|(table, live, dead, mib)| (format!("{name} {table}"), (live, dead, mib)));
        sample.tables.extend(tables);
    }
    Ok(sample)
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(held: impl Fn(u64) -> [f64; 3], dead: i64) -> Soak {
        let sample = |seconds: u64| Sample {
            seconds: seconds * 100,
            processes: [("rules-1".to_owned(), held(seconds))].into(),
            databases: BTreeMap::new(),
            tables: [("rules series".to_owned(), (1_000, dead, 1.0))].into(),
        };
        Soak((0..40).map(sample).collect())
    }

    #[test]
    fn what_grows_is_told_and_what_is_level_is_not() {
        let level = soak(|at| [60.0 + (at % 7) as f64, 60.0, 45.0], 9_000);
        assert_eq!(level.growth(), Vec::<String>::new());
        let leak = soak(
            |at| [60.0 + 3.0 * at as f64, 60.0 + 2.0 * at as f64, 45.0],
            9_000,
        );
        assert_eq!(leak.growth().len(), 2, "{:?}", leak.growth());
        let bloat = soak(|_| [60.0, 60.0, 45.0], 90_000);
        assert_eq!(
            bloat.growth(),
            ["rules series: 90000 dead rows beside 1000 live ones"]
        );
        let mut kept = soak(|_| [60.0, 60.0, 45.0], 0);
        for sample in &mut kept.0 {
            let rows = i64::try_from(sample.seconds).unwrap_or_default() * 10;
            let tables = [("rules inbox_events".to_owned(), (rows, 0, 1.0))];
            sample.tables = tables.into();
        }
        assert_eq!(
            kept.growth(),
            ["rules inbox_events: 15000 rows, then 35000"]
        );
    }
}

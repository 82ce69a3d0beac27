//! Figures of several runs, version beside version.

use std::{collections::BTreeMap, io::BufRead};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    error::Error,
    report::{Report, Run},
};

/// Name of a figure, and how it is read off a run.
type Figure = (&'static str, fn(&Run) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("stored/s", |run| Some(run.stored_a_second())),
    ("CPU ms an alert", |run| run.cpu_ms()),
    ("POST p99 ms", |run| Some(run.post_ms?.p99)),
    ("way p50 ms", |run| Some(run.way_ms?.p50)),
    ("way p99 ms", |run| Some(run.way_ms?.p99)),
];

/// Reports as `--json -` writes them, one a line.
pub(crate) fn read(input: impl BufRead) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for line in input.lines() {
        let line = line.map_err(Error::Read)?;
        if !line.trim().is_empty() {
            reports.push(serde_json::from_str(&line).map_err(Error::Json)?);
        }
    }
    Ok(reports)
}

/// The median of each figure for each version, with the smallest and the largest, in the order in
/// which the versions came; and the last one's ratio to the first.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    let mut runs: BTreeMap<(&str, &str), Vec<&Run>> = BTreeMap::new();
    for report in reports {
        if !labels.contains(&report.label.as_str()) {
            labels.push(&report.label);
        }
        for run in &report.runs {
            runs.entry((&run.workload, &report.label))
                .or_default()
                .push(run);
        }
    }
    let mut workloads: Vec<&str> = runs.keys().map(|(workload, _)| *workload).collect();
    workloads.dedup();
    let mut table = Table::new();
    let mut header = vec!["workload".to_owned(), "figure".to_owned()];
    header.extend(labels.iter().map(|label| (*label).to_owned()));
    header.push("last / first".to_owned());
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for workload in workloads {
        for (name, figure) in FIGURES {
            let columns: Vec<Option<Spread>> = labels
                .iter()
                .map(|label| Spread::of(runs.get(&(workload, *label))?, figure))
                .collect();
            if columns.iter().all(Option::is_none) {
                continue;
            }
            let mut row = vec![workload.to_owned(), name.to_owned()];
            row.extend(columns.iter().map(|column| {
                column.map_or_else(
                    || "-".to_owned(),
                    |it| format!("{:.2} ({:.2} to {:.2})", it.median, it.least, it.most),
                )
            }));
            let ratio = columns
                .last()
                .copied()
                .flatten()
                .zip(columns.first().copied().flatten());
            row.push(ratio.map_or_else(
                || "-".to_owned(),
                |(last, first)| format!("{:.2}", last.median / first.median),
            ));
            table.add_row(row);
        }
    }
    table.to_string()
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(runs: &[&Run], figure: fn(&Run) -> Option<f64>) -> Option<Self> {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len().checked_sub(1)? / 2;
        Some(Self {
            least: values[0],
            median: values[middle],
            most: values[values.len() - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(label: &str, seconds: f64) -> String {
        format!(
            r#"{{"label":"{label}","size":0,"floor":null,"runs":[{{"workload":"w2","alerts":1000,
            "incidents":1000,"bytes":1,"refused":0,"cut":0,"rate":null,"posting_seconds":1.0,
            "drained_seconds":{seconds},"post_ms":null,"way_ms":null,
            "costs":{{"machine":{{"cpu_seconds":3.0,"rss_mib":0.0}}}}}}]}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn the_median_of_each_version_stands_beside_the_other_s() {
        let lines = [
            report("before", 10.0),
            report("here", 5.0),
            report("before", 20.0),
            report("here", 4.0),
            report("before", 8.0),
        ]
        .join("\n");
        let reports = read(lines.as_bytes()).expect("five reports");
        let table = table(&reports);
        let line = table
            .lines()
            .find(|line| line.contains("stored/s"))
            .expect("a line of the rate");
        for part in [
            "100.00 (50.00 to 125.00)",
            "200.00 (200.00 to 250.00)",
            "2.00",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}

//! Prints a backtest.

use std::path::Path;

use rules::backtest::{Answer, Order, Report, Tried};
use serde_json::{Value, json};

use crate::{
    error::Error,
    output::{As, Column, Output, line},
};

/// Differences that a table shows; JSON has all of them.
const SHOWN: usize = 50;

/// What was tried, in words.
pub(super) fn title(file: Option<&Path>, tried: &Tried) -> String {
    let version = |hash: &str| hash.get(..6).unwrap_or(hash).to_owned();
    let then: Vec<String> = tried.then.keys().map(|hash| version(hash)).collect();
    let own = |file: &Path| {
        format!(
            "{} (version {})",
            file.display(),
            version(&tried.otherwise.hash)
        )
    };
    match (file, then.as_slice()) {
        (Some(file), []) => own(file),
        (Some(file), _) => format!(
            "{}, after the rules of then ({})",
            own(file),
            then.join(", ")
        ),
        (None, _) => format!("the rules of then ({})", then.join(", ")),
    }
}

pub(super) fn show(output: Output, report: &Report, title: &str) -> Result<(), Error> {
    if output.is_json() {
        let value = serde_json::to_value(report);
        return output.json(&value.map_err(|error| Error::Usage(error.to_string()))?);
    }
    let order = match report.order {
        Order::Recorded => "in the recorded order",
        Order::PartlyEstimated => {
            "estimated before the log begins (by at, topic, partition, offset), then in the recorded order"
        }
        Order::Estimated => "estimated order: by at, topic, partition, offset",
    };
    line(&format!("{title} over {} decisions, {order}", report.then))?;
    line("")?;
    let rows: Vec<Value> = report.table.iter().map(row).collect();
    let columns = [
        Column("RULE", "/rule", As::Text),
        Column("OUTCOME", "/outcome", As::Status),
        Column("THEN", "/then", As::Text),
        Column("NOW", "/now", As::Text),
        Column("DIFFERENCE", "/difference", As::Text),
    ];
    output.list(&rows, &columns, "nothing was decided")?;
    line("")?;
    differences(output, report)?;
    assumed(output, report)?;
    line(&summary(report))
}

fn row(row: &rules::backtest::TableRow) -> Value {
    let difference = match row.now.cmp(&row.then) {
        std::cmp::Ordering::Equal => String::new(),
        std::cmp::Ordering::Less => format!("-{}", row.then - row.now),
        std::cmp::Ordering::Greater => format!("+{}", row.now - row.then),
    };
    json!({
        "rule": row.rule.as_deref().unwrap_or("(engine)"),
        "outcome": row.outcome,
        "then": row.then,
        "now": row.now,
        "difference": difference,
    })
}

fn differences(output: Output, report: &Report) -> Result<(), Error> {
    let words = |answers: &[Answer]| {
        let word = |answer: &Answer| match &answer.rule {
            Some(rule) => format!("{rule}: {}", answer.outcome),
            None => answer.outcome.clone(),
        };
        answers.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<Value> = report
        .differences
        .iter()
        .take(SHOWN)
        .map(|found| {
            json!({
                "at": found.at, "kind": found.kind, "key": found.correlation_key,
                "input": found.input, "then": words(&found.then), "now": words(&found.now),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        Column("AT", "/at", As::Time),
        Column("WHAT", "/kind", As::Text),
        Column("KEY", "/key", As::Text),
        Column("INPUT", "/input", As::Text),
        Column("THEN", "/then", As::Text),
        Column("NOW", "/now", As::Text),
    ];
    output.list(&rows, &columns, "")?;
    let more = report.differences.len().saturating_sub(SHOWN);
    if more > 0 {
        line(&format!("and {more} more: -o json has all of them"))?;
    }
    line("")
}

fn assumed(output: Output, report: &Report) -> Result<(), Error> {
    let Ok(Value::Array(rows)) = serde_json::to_value(&report.assumed) else {
        return Ok(());
    };
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        Column("NEVER HAPPENED", "/action_id", As::Id),
        Column("RULE", "/rule", As::Text),
        Column("TARGET", "/target", As::Text),
        Column("REPLICAS", "/desired_replicas", As::Text),
        Column("ASKED FOR", "/requested_at", As::Time),
        Column("ASSUMED", "/ended", As::Text),
        Column("AT", "/ended_at", As::Time),
    ];
    output.list(&rows[..rows.len().min(SHOWN)], &columns, "")?;
    line("")
}

fn summary(report: &Report) -> String {
    let mut text = if report.is_identical() && report.then > 0 {
        format!(
            "all {} decisions are byte for byte those of then",
            report.then
        )
    } else {
        format!(
            "{} identical, {} the same under another version or state, {} changed, {} more, {} fewer",
            report.identical, report.same, report.changed, report.more, report.fewer
        )
    };
    if report.moot_outcomes > 0 {
        let count = report.moot_outcomes;
        text.push_str(&format!(
            "; {count} outcomes of actions that are not asked for now"
        ));
    }
    if report.lost_inputs > 0 {
        let count = report.lost_inputs;
        text.push_str(&format!("; {count} inputs are in no topic any more"));
    }
    text
}

//! Every column of every table says what it is.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use regex::Regex;

use crate::tree::sources;

#[test]
fn every_column_has_a_comment() -> Result<()> {
    let table = Regex::new(r"(?ims)^CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\)")?;
    let added = Regex::new(r"(?im)^ALTER TABLE (\w+) ADD COLUMN (?:IF NOT EXISTS )?(\w+)")?;
    let column = Regex::new(r"^\s{4}(\w+) +\w")?;
    let comment = Regex::new(r"(?i)COMMENT ON COLUMN (\w+)\.(\w+)")?;
    let constraint = [
        "PRIMARY",
        "UNIQUE",
        "CHECK",
        "FOREIGN",
        "CONSTRAINT",
        "EXCLUDE",
    ];
    let (mut columns, mut comments) = (BTreeSet::new(), BTreeSet::new());
    for source in sources(".sql")? {
        if !source.path.starts_with("migrations/") {
            continue;
        }
        let folder = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let full = |table: &str, column: &str| format!("{folder}: {table}.{column}");
        for found in table.captures_iter(&source.text) {
            for line in found[2].lines() {
                let Some(name) = column.captures(line) else {
                    continue;
                };
                if !constraint.contains(&name[1].to_uppercase().as_str()) {
                    columns.insert(full(&found[1], &name[1]));
                }
            }
        }
        for found in added.captures_iter(&source.text) {
            columns.insert(full(&found[1], &found[2]));
        }
        for found in comment.captures_iter(&source.text) {
            comments.insert(full(&found[1], &found[2]));
        }
    }
    ensure!(columns.len() > 40, "only {} columns found", columns.len());
    let bare: Vec<&String> = columns.difference(&comments).collect();
    ensure!(bare.is_empty(), "columns without a comment: {bare:#?}");
    Ok(())
}

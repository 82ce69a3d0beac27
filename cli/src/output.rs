//! Printing: tables for people, JSON for programs; times local with their age.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Local, TimeDelta, Utc};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::{
    args::{Format, Global},
    error::Error,
};

/// How this run prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    utc: bool,
    colours: bool,
    now: DateTime<Utc>,
}

/// A column of a table: its title, where its value is in an item (a JSON pointer), and how to read it.
pub(crate) struct Column(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) As,
);

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    Text,
    /// The first six digits of an id: enough to type.
    Id,
    /// A time with its age.
    Time,
    /// A word with a colour.
    Status,
    /// An array of texts, or of objects with a `name`.
    Names,
    /// `app: 2 running, 2 desired`
    Replicas,
}

impl Output {
    #[expect(
        clippy::disallowed_methods,
        reason = "ages are for the person who looks now"
    )]
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            format: global.output,
            utc: global.utc,
            colours: !global.no_color && std::io::stdout().is_terminal(),
            now: Utc::now(),
        }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// When the command began.
    pub(crate) fn now(self) -> DateTime<Utc> {
        self.now
    }

    /// A value as JSON, indented.
    pub(crate) fn json(self, value: &Value) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        line(&text)
    }

    /// A list: a table, or its items as JSON. `nothing` is said when there are none.
    pub(crate) fn list(
        self,
        items: &[Value],
        columns: &[Column],
        nothing: &str,
    ) -> Result<(), Error> {
        if self.format == Format::Json {
            return self.json(&Value::Array(items.to_vec()));
        }
        if items.is_empty() {
            return line(nothing);
        }
        let mut table = self.table(columns.iter().map(|column| column.0));
        for item in items {
            table.add_row(columns.iter().map(|column| {
                let value = item.pointer(column.1).unwrap_or(&Value::Null);
                self.cell(value, column.2)
            }));
        }
        line(&table.trim_fmt())
    }

    fn table(self, titles: impl IntoIterator<Item = &'static str>) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.colours {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
            table.force_no_tty();
        }
        table.set_header(titles.into_iter().map(|title| {
            let cell = Cell::new(title);
            if self.colours {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        }));
        table
    }

    fn cell(self, value: &Value, how: As) -> Cell {
        let text = self.text(value, how);
        match colour(&text) {
            Some(colour) if self.colours && how == As::Status => Cell::new(text).fg(colour),
            _ => Cell::new(text),
        }
    }

    /// A value as people read it.
    pub(crate) fn text(self, value: &Value, how: As) -> String {
        match (how, value) {
            (_, Value::Null) => "-".to_owned(),
            (As::Time, Value::String(text)) => self.time(text),
            (As::Id, Value::String(id)) => id.chars().take(6).collect(),
            (As::Replicas, replicas) => {
                let count = |name| self.text(&replicas[name], As::Text);
                let (target, running, desired) =
                    (count("target"), count("running"), count("desired"));
                format!("{target}: {running} running, {desired} desired")
            }
            (As::Names, Value::Array(items)) if items.is_empty() => "-".to_owned(),
            (As::Names, Value::Array(items)) => {
                let names = items.iter().map(|item| item.get("name").unwrap_or(item));
                names.map(plain).collect::<Vec<_>>().join(", ")
            }
            (_, other) => plain(other),
        }
    }

    /// `2026-11-21 04:14:32 +01:00 (12m ago)`
    pub(crate) fn time(self, text: &str) -> String {
        match DateTime::parse_from_rfc3339(text) {
            Ok(at) => format!("{} ({})", self.clock(text), age(self.now - at.to_utc())),
            Err(_) => printable(text),
        }
    }

    /// `2026-11-21 04:14:32 +01:00`
    pub(crate) fn clock(self, text: &str) -> String {
        let Ok(at) = DateTime::parse_from_rfc3339(text) else {
            return printable(text);
        };
        if self.utc {
            at.to_utc().format("%Y-%m-%d %H:%M:%SZ").to_string()
        } else {
            at.with_timezone(&Local)
                .format("%Y-%m-%d %H:%M:%S %:z")
                .to_string()
        }
    }

    /// `text` in the colour of a status, on a terminal.
    pub(crate) fn paint(self, text: &str, status: &str) -> String {
        let code = match colour(status) {
            Some(Color::Red) => "31",
            Some(Color::Green) => "32",
            Some(Color::Yellow) => "33",
            Some(Color::Cyan) => "36",
            _ => return text.to_owned(),
        };
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn colour(status: &str) -> Option<Color> {
    match status {
        "failed" | "firing" | "wrong" | "drift" | "degraded" | "blind" => Some(Color::Red),
        "resolved" | "completed" | "ok" | "fired" => Some(Color::Green),
        "mitigating" | "requested" | "paused" | "look" | "working" => Some(Color::Yellow),
        "open" => Some(Color::Cyan),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// Text that anybody wrote (labels, logs) without what would steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            // turns what follows around: a name is then not what it looks like
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `12s ago`, `in 3m`: the largest unit; hours with minutes.
pub(crate) fn age(passed: TimeDelta) -> String {
    let seconds = passed.num_seconds();
    let text = match seconds.unsigned_abs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m", s / 60),
        s @ 3_600..172_800 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        s => format!("{}d", s / 86_400),
    };
    if seconds < 0 {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

/// One line on standard output.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let of = |seconds| age(TimeDelta::seconds(seconds));
        assert_eq!(of(12), "12s ago");
        assert_eq!(of(-190), "in 3m");
        assert_eq!(of(3_700), "1h01m ago");
        assert_eq!(of(200_000), "2d ago");
    }

    #[test]
    fn a_label_cannot_steer_the_terminal() {
        let text = plain(&Value::String("a\u{1b}[31mb\r\nc".to_owned()));
        assert_eq!(text, "a\u{fffd}[31mb\u{fffd} c");
    }

    #[test]
    fn times_have_zone_and_age() {
        let output = Output {
            format: Format::Table,
            utc: true,
            colours: false,
            now: DateTime::from_timestamp(1_795_231_592, 0).expect("in range"),
        };
        let text = output.time("2026-11-21T03:14:32.5Z");
        assert_eq!(text, "2026-11-21 03:14:32Z (11m ago)");
        assert_eq!(output.time("soon"), "soon");
        assert_eq!(output.paint("x", "failed"), "x");
    }
}

//! Matchers in Alertmanager's syntax: `name="value"`, `!=`, `=~`, `!~`, each text one matcher, or
//! several in braces or separated by commas. Regular expressions are anchored; a label that an
//! alert does not have counts as empty.

mod syntax;

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

use crate::Labels;

/// Compiled size of one regular expression, bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    pub operator: Operator,
    pub value: String,
    /// Set for the two regular-expression operators.
    regex: Option<Regex>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Matches,
    NotMatches,
}

/// Why a text is not a list of matchers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("{0:?} is no matcher; expected name=\"value\", name!=, name=~ or name!~")]
    Syntax(String),
    #[error("the quote that begins at {0:?} is not closed")]
    Unclosed(String),
    #[error("{0:?} follows the matcher; expected a comma")]
    Trailing(String),
    #[error("no matcher in {0:?}")]
    Empty(String),
    #[error("regular expression {value:?}: {reason}")]
    Regex { value: String, reason: String },
}

impl Operator {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

impl Matcher {
    /// A matcher from its parts.
    ///
    /// # Errors
    /// When the value of a regular-expression operator is none.
    pub fn new(
        label: impl Into<String>,
        operator: Operator,
        value: impl Into<String>,
    ) -> Result<Self, Error> {
        let value = value.into();
        let regex = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Matches | Operator::NotMatches => Some(anchored(&value)?),
        };
        Ok(Self {
            label: label.into(),
            operator,
            value,
            regex,
        })
    }

    /// Every matcher in `text`.
    ///
    /// # Errors
    /// When a part of it is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        syntax::parse(text)
    }

    /// The label and value that every match has, if there are such: what a database can look for.
    #[must_use]
    pub fn required(&self) -> Option<(&str, &str)> {
        match self.operator {
            Operator::Equal if !self.value.is_empty() => Some((&self.label, &self.value)),
            Operator::Equal | Operator::NotEqual | Operator::Matches | Operator::NotMatches => None,
        }
    }

    /// Whether an alert with these labels is meant.
    #[must_use]
    pub fn is_match(&self, labels: &Labels) -> bool {
        let found = labels.get(&self.label).map_or("", String::as_str);
        let regex = self.regex.as_ref();
        match self.operator {
            Operator::Equal => found == self.value,
            Operator::NotEqual => found != self.value,
            Operator::Matches => regex.is_some_and(|regex| regex.is_match(found)),
            Operator::NotMatches => regex.is_none_or(|regex| !regex.is_match(found)),
        }
    }
}

fn anchored(value: &str) -> Result<Regex, Error> {
    RegexBuilder::new(&format!("^(?:{value})$"))
        .size_limit(REGEX_LIMIT)
        .build()
        .map_err(|error| Error::Regex {
            value: value.to_owned(),
            reason: error.to_string(),
        })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_label_name(&self.label) {
            f.write_str(&self.label)?;
        } else {
            f.write_str(&quote(&self.label))?;
        }
        write!(f, "{}{}", self.operator.as_str(), quote(&self.value))
    }
}

/// Whether Prometheus takes `name` as a label name without quotes.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.operator, &self.value) == (&other.label, other.operator, &other.value)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    fn one(text: &str) -> Matcher {
        let mut list = Matcher::parse_list(text).expect(text);
        assert_eq!(list.len(), 1, "{text}");
        list.remove(0)
    }

    #[test]
    fn each_operator_compares_as_alertmanager_does() {
        let alert = labels(&[("alertname", "HighCPU"), ("severity", "critical")]);
        for (text, expected) in [
            ("alertname=\"HighCPU\"", true),
            ("alertname=HighCPU", true),
            ("alertname=\"highcpu\"", false),
            ("severity=~\"crit.*|page\"", true),
            ("severity=~\"crit\"", false),
            ("severity!~\"crit\"", true),
            ("severity!=\"critical\"", false),
            ("team=\"\"", true),
            ("team!=\"\"", false),
            ("team=~\".+\"", false),
            ("team!~\".+\"", true),
        ] {
            assert_eq!(one(text).is_match(&alert), expected, "{text}");
        }
    }

    #[test]
    fn a_regex_is_anchored_around_its_alternatives() {
        let matcher = one("x=~\"a|b\"");
        assert!(matcher.is_match(&labels(&[("x", "b")])));
        assert!(!matcher.is_match(&labels(&[("x", "ab")])));
    }

    #[test]
    fn what_is_displayed_parses_to_the_same_matcher() {
        for text in [
            "a=\"b\"",
            "a!=\"c \\\"d\\\" \\\\ e\"",
            "\"a b\"=~\"x.*\"",
            "a!~\"\\\\d+\"",
        ] {
            let matcher = one(text);
            assert_eq!(one(&matcher.to_string()), matcher, "{text}");
        }
    }

    #[test]
    fn a_bad_regex_is_refused() {
        assert!(matches!(
            Matcher::parse_list("a=~\"(\""),
            Err(Error::Regex { .. })
        ));
    }
}

//! What is wrong with a file, where, and what was probably meant.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

use super::Source;

/// A fault in a file: `rules/rules.yaml:7:5: unknown key "match"; did you mean "matchers"?`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    pub file: String,
    /// From 1; 0 when it is not known.
    pub line: u64,
    /// From 1; 0 when it is not known.
    pub column: u64,
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; did you mean {hint:?}?"),
            None => Ok(()),
        }
    }
}

impl Fault {
    fn at(file: &str, location: Option<Location>, message: String) -> Self {
        let (line, column) = location.map_or((0, 0), |found| (found.line(), found.column()));
        Self {
            file: file.to_owned(),
            line,
            column,
            message,
            hint: None,
        }
    }

    /// A fault of this value.
    pub(crate) fn of<T>(file: &Source, value: &Spanned<T>, message: impl fmt::Display) -> Self {
        Self::at(&file.name, Some(value.referenced), message.to_string())
    }

    /// The same, with the one of `known` that comes nearest to `given`.
    pub(crate) fn guess<'a>(
        mut self,
        given: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.hint = nearest(given, known);
        self
    }

    fn of_yaml(file: &Source, error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error;
        let error = error.without_snippet();
        let fault = |message| Self::at(&file.name, error.location(), message);
        match error {
            Error::SerdeUnknownField {
                field, expected, ..
            } => fault(format!("unknown key {field:?}")).guess(field, expected.iter().copied()),
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } => fault(format!("{variant:?} is not one of {}", expected.join(", ")))
                .guess(variant, expected.iter().copied()),
            Error::SerdeMissingField { field, .. } => fault(format!("key {field:?} is missing")),
            other => fault(without_place(&other.to_string())),
        }
    }
}

/// The library's message repeats the place at its end.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let end = first.rfind(" at line ").unwrap_or(first.len());
    first[..end].trim_end_matches([',', ':']).to_owned()
}

/// What the YAML of a file is.
///
/// # Errors
/// When it is no YAML or does not fit.
pub(crate) fn read<T: DeserializeOwned>(file: &Source) -> Result<T, Fault> {
    serde_saphyr::from_str(&file.text).map_err(|error| Fault::of_yaml(file, &error))
}

/// The name that a typing error away from `given` would be.
fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|&(distance, name)| distance <= 2.max(name.len() / 2) && distance < name.len())
        .min()
        .map(|(_, name)| name.to_owned())
}

/// Insertions, deletions and replacements from one to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_guessed() {
        let known = ["name", "matchers", "when", "group_by"];
        assert_eq!(nearest("match", known), Some("matchers".to_owned()));
        assert_eq!(nearest("groupby", known), Some("group_by".to_owned()));
        assert_eq!(nearest("zzzzzz", known), None);
    }
}

//! Alertmanager's matchers: `name="value"`, `!=`, `=~`, `!~`; a missing label is the empty string.

use regex::Regex;

use crate::Labels;

/// One condition on a label.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub name: String,
    pub test: Test,
}

/// How the label's value is tested. Regular expressions match the whole value.
#[derive(Clone, Debug)]
pub enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    MatchesNot(Regex),
}

/// Why a text is not a matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "no operator in {0:?}: write name=\"value\", name!=\"value\", name=~\"re\" or name!~\"re\""
    )]
    Operator(String),
    #[error("{0:?} is not a label name")]
    Name(String),
    #[error("the quotes of {0} do not close")]
    Quotes(String),
    #[error("{0}")]
    Regex(String),
}

impl Matcher {
    /// Reads one or several matchers: `{a="b",c=~"d"}`, `a="b", c=~"d"`, `a=b`.
    ///
    /// # Errors
    /// When `text` is something else.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        let text = text.trim();
        let inner = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(text);
        split(inner)?
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Self::parse)
            .collect()
    }

    /// Reads one matcher.
    ///
    /// # Errors
    /// When `text` is something else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let start = text
            .find(['=', '!'])
            .ok_or_else(|| Error::Operator(text.to_owned()))?;
        let (name, rest) = text.split_at(start);
        let name = name.trim();
        if !is_label_name(name) {
            return Err(Error::Name(name.to_owned()));
        }
        let read = |value: &str| unquote(value.trim());
        let test = if let Some(value) = rest.strip_prefix("=~") {
            Test::Matches(anchored(&read(value)?)?)
        } else if let Some(value) = rest.strip_prefix("!~") {
            Test::MatchesNot(anchored(&read(value)?)?)
        } else if let Some(value) = rest.strip_prefix("!=") {
            Test::NotEqual(read(value)?)
        } else if let Some(value) = rest.strip_prefix('=') {
            Test::Equal(read(value)?)
        } else {
            return Err(Error::Operator(text.to_owned()));
        };
        Ok(Self {
            name: name.to_owned(),
            test,
        })
    }

    /// Whether these labels meet it.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(refused) => value != refused,
            Test::Matches(wanted) => wanted.is_match(value),
            Test::MatchesNot(refused) => !refused.is_match(value),
        }
    }
}

fn is_label_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn anchored(pattern: &str) -> Result<Regex, Error> {
    Regex::new(&format!("^(?s:{pattern})$")).map_err(|error| Error::Regex(error.to_string()))
}

/// Parts between the commas that are outside quotes.
fn split(text: &str) -> Result<Vec<&str>, Error> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '"' {
            quoted = !quoted;
        } else if c == '\\' && quoted {
            escaped = true;
        } else if c == ',' && !quoted {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    if quoted {
        return Err(Error::Quotes(text.to_owned()));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn unquote(value: &str) -> Result<String, Error> {
    let Some(rest) = value.strip_prefix('"') else {
        return Ok(value.to_owned());
    };
    let inner = rest
        .strip_suffix('"')
        .ok_or_else(|| Error::Quotes(value.to_owned()))?;
    let (mut text, mut escaped) = (String::with_capacity(inner.len()), false);
    for c in inner.chars() {
        match (escaped, c) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (false, '"') => return Err(Error::Quotes(value.to_owned())),
            (true, 'n') => text.push('\n'),
            (true, '\\' | '"') => text.push(c),
            // an unknown escape keeps its backslash, as in Alertmanager
            (true, other) => text.extend(['\\', other]),
            (false, other) => text.push(other),
        }
        escaped = false;
    }
    if escaped {
        return Err(Error::Quotes(value.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [("alertname", "HighCPU"), ("service", "app, \"one\"")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn meets(text: &str) -> bool {
        let matchers = Matcher::parse_list(text).expect(text);
        matchers.iter().all(|matcher| matcher.matches(&labels()))
    }

    #[test]
    fn the_four_operators() {
        for yes in [
            "alertname=\"HighCPU\"",
            "alertname=HighCPU",
            "{alertname=~\"High.*\"}",
            "alertname!=\"LowCPU\"",
            "alertname!~\"Low.*\"",
            "absent=\"\"",
            "absent!=\"x\"",
            "alertname=\"HighCPU\", service=~\"app.*\"",
            "service=\"app, \\\"one\\\"\"",
            " ",
        ] {
            assert!(meets(yes), "{yes}");
        }
        for no in [
            "alertname=~\"High\"",
            "alertname!=\"HighCPU\"",
            "absent=~\".+\"",
            "alertname=HighCPU,service=other",
        ] {
            assert!(!meets(no), "{no}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "alertname",
            "=x",
            "a b=c",
            "a=~\"(\"",
            "a=\"b",
            "a!b",
            "a=\"b\\\"",
        ] {
            assert!(Matcher::parse_list(text).is_err(), "{text}");
        }
    }
}

//! The text of matchers, as Alertmanager reads it.

use super::{Error, Matcher, Operator};

/// `{a="b", c=~"d"}`, `a="b",c="d"` or a single matcher.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, Error> {
    let trimmed = text.trim();
    let inner = trimmed
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(trimmed);
    let mut rest = inner.trim_start();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (matcher, after) = matcher(rest)?;
        matchers.push(matcher);
        rest = match after.trim_start() {
            "" => "",
            after => after
                .strip_prefix(',')
                .ok_or_else(|| Error::Trailing(after.to_owned()))?
                .trim_start(),
        };
    }
    if matchers.is_empty() {
        return Err(Error::Empty(text.to_owned()));
    }
    Ok(matchers)
}

fn matcher(text: &str) -> Result<(Matcher, &str), Error> {
    let syntax = || Error::Syntax(text.to_owned());
    let (label, rest) = token(text, |c| c.is_whitespace() || "=!~,\"{}".contains(c))?;
    if label.is_empty() {
        return Err(syntax());
    }
    let rest = rest.trim_start();
    let (operator, rest) = [
        Operator::Matches,
        Operator::NotMatches,
        Operator::NotEqual,
        Operator::Equal,
    ]
    .into_iter()
    .find_map(|operator| Some((operator, rest.strip_prefix(operator.as_str())?)))
    .ok_or_else(syntax)?;
    let (value, rest) = token(rest.trim_start(), |c| c == ',' || c == '"')?;
    Ok((Matcher::new(label, operator, value)?, rest))
}

/// A quoted string with backslash escapes, or everything up to `ends`, without trailing blanks.
fn token(text: &str, ends: impl Fn(char) -> bool) -> Result<(String, &str), Error> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(ends).unwrap_or(text.len());
        return Ok((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return Ok((value, &quoted[at + 1..])),
            (false, c) => value.push(c),
            (true, c) => {
                escaped = false;
                unescape(&mut value, c);
            }
        }
    }
    Err(Error::Unclosed(text.to_owned()))
}

/// Alertmanager keeps the backslash of an escape that it does not know: `"\d"` is a digit.
fn unescape(value: &mut String, c: char) {
    match c {
        '"' | '\\' => value.push(c),
        'n' => value.push('\n'),
        other => value.extend(['\\', other]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, Error> {
        Ok(parse(text)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lists_and_braces_and_blanks() {
        let both = Ok(vec!["a=\"b\"".to_owned(), "c=~\"d,e\"".to_owned()]);
        for text in [
            "{a=\"b\", c=~\"d,e\"}",
            " a = b , c =~ \"d,e\" ",
            "{a=b,c=~\"d,e\",}",
        ] {
            assert_eq!(shown(text), both, "{text}");
        }
    }

    #[test]
    fn an_unknown_escape_keeps_its_backslash() {
        assert_eq!(parse("a=~\"\\d\"").expect("valid")[0].value, "\\d");
        assert_eq!(parse("a=\"x\\\"y\"").expect("valid")[0].value, "x\"y");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert_eq!(
            shown("alertname"),
            Err(Error::Syntax("alertname".to_owned()))
        );
        assert_eq!(shown("=x"), Err(Error::Syntax("=x".to_owned())));
        assert_eq!(shown("a=\"b"), Err(Error::Unclosed("\"b".to_owned())));
        assert_eq!(shown("a=\"b\" c"), Err(Error::Trailing("c".to_owned())));
        assert_eq!(shown("{}"), Err(Error::Empty("{}".to_owned())));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_value_survives_being_displayed(value in "(?s).{0,20}") {
            let matcher = Matcher::new("a", Operator::Equal, value).expect("no regex");
            let again = parse(&matcher.to_string());
            prop_assert_eq!(again, Ok(vec![matcher]));
        }
    }
}

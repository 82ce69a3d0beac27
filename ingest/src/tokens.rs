//! Bearer tokens of the sources: only their hashes are kept, and comparing takes as long whatever
//! was presented.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use service_kit::Error;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Name of the setting, for errors.
pub const SETTING: &str = "EVENTPULSE_WEBHOOK_TOKENS";
/// The token that the demo uses when nobody chose one.
pub const DEFAULT_TOKEN: &str = "demo-only-change-me";
/// Tokens of one source that are valid at once: the old and the new one.
const PER_SOURCE: usize = 2;
/// Longest name of a source, bytes.
const LONGEST_SOURCE: usize = 64;

/// Who may send, and by which tokens.
#[derive(Clone)]
pub struct Tokens {
    entries: Vec<Entry>,
    /// Sources that use [`DEFAULT_TOKEN`].
    defaults: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    source: String,
    hash: [u8; 32],
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources = self.entries.iter().map(|entry| &entry.source);
        f.debug_set().entries(sources).finish()
    }
}

impl Tokens {
    /// Reads `source=token` pairs with commas between; a source has at most two tokens.
    ///
    /// # Errors
    /// When a pair is malformed. The error never repeats a token.
    pub fn parse(setting: &SecretString) -> Result<Self, Error> {
        let (mut entries, mut defaults) = (Vec::new(), Vec::new());
        let mut per_source: BTreeMap<String, usize> = BTreeMap::new();
        let pairs = setting.expose_secret().split([',', '\n']);
        for (place, pair) in pairs
            .map(str::trim)
            .enumerate()
            .filter(|(_, pair)| !pair.is_empty())
        {
            let (source, token) = pair
                .split_once('=')
                .ok_or_else(|| refuse(format!("pair {} has no `=`", place + 1)))?;
            let (source, token) = (source.trim(), token.trim());
            check_source(source)?;
            if token.is_empty() {
                return Err(refuse(format!("source {source} has an empty token")));
            }
            let count = per_source.entry(source.to_owned()).or_default();
            *count += 1;
            if *count > PER_SOURCE {
                let reason = format!("source {source} has more than {PER_SOURCE} tokens");
                return Err(refuse(reason));
            }
            if token == DEFAULT_TOKEN {
                defaults.push(source.to_owned());
            }
            let entry = Entry {
                source: source.to_owned(),
                hash: hash(token),
            };
            if entries.iter().any(|other: &Entry| other.hash == entry.hash) {
                return Err(refuse(format!(
                    "the token of source {source} is given twice"
                )));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(refuse(
                "it names no source: expected source=token".to_owned(),
            ));
        }
        Ok(Self { entries, defaults })
    }

    /// The source whose token this is.
    #[must_use]
    pub fn source_of(&self, token: &str) -> Option<&str> {
        let hash = hash(token);
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let same = entry.hash.ct_eq(&hash);
            place.conditional_assign(&index, same);
            found |= same;
        }
        let entry = self.entries.get(usize::try_from(place).ok()?)?;
        bool::from(found).then_some(entry.source.as_str())
    }

    /// Sources whose token is the one that everybody knows.
    #[must_use]
    pub fn sources_with_default(&self) -> &[String] {
        &self.defaults
    }
}

/// The name ends up in ids, rows, events and metrics.
fn check_source(source: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if source.is_empty() || source.len() > LONGEST_SOURCE || !source.bytes().all(plain) {
        return Err(refuse(format!(
            "{source:?} is no name of a source: 1 to {LONGEST_SOURCE} letters, digits, `-`, `_`, `.`"
        )));
    }
    Ok(())
}

fn refuse(reason: String) -> Error {
    Error::Setting {
        name: SETTING,
        reason,
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tokens, Error> {
        Tokens::parse(&SecretString::from(text))
    }

    #[test]
    fn the_token_names_the_source() {
        let tokens = parse("a=one, b=two,a=three=3").expect("tokens");
        assert_eq!(tokens.source_of("one"), Some("a"));
        assert_eq!(tokens.source_of("two"), Some("b"));
        assert_eq!(tokens.source_of("three=3"), Some("a"), "rotation");
        for wrong in ["", "on", "onee", "a", "a=one", "three"] {
            assert_eq!(tokens.source_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bad_settings_are_refused_without_telling_the_secret() {
        for bad in [
            "",
            " , ",
            "s3cret",
            "=s3cret",
            "a=",
            "a b=s3cret",
            "a=x,a=y,a=s3cret",
            "a=s3cret,b=s3cret",
        ] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn nothing_printed_shows_a_token() {
        let tokens = parse("a=s3cret").expect("tokens");
        assert_eq!(format!("{tokens:?}"), r#"{"a"}"#);
    }

    #[test]
    fn the_well_known_token_is_noticed() {
        let tokens = parse("a=x,demo=demo-only-change-me").expect("tokens");
        assert_eq!(tokens.sources_with_default(), ["demo"]);
    }
}

//! The correlation key: alerts that share it belong to one incident.

use sha2::{Digest, Sha256};
use shared_events::Labels;

/// Longest key in bytes. It is in indexes, whose entries have at most 2,704 bytes, and Kafka's key.
const LONGEST: usize = 1024;

/// Canonical `name=value` list of the labels named in `group_by` (sorted), joined by commas. Labels
/// that the alert does not have, or has empty, are left out. A value with other characters than
/// letters, digits and `_.:/-` is quoted, so that different labels never make one key. What is longer
/// than 1,024 bytes ends in `~` and the SHA-256 of all of it.
#[must_use]
pub fn correlation_key(labels: &Labels, group_by: &[String]) -> String {
    let mut key = String::new();
    for name in group_by {
        let Some(value) = labels.get(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        if !key.is_empty() {
            key.push(',');
        }
        key.push_str(name);
        key.push('=');
        if value.chars().all(is_plain) {
            key.push_str(value);
        } else {
            key.push_str(&format!("{value:?}"));
        }
    }
    bounded(key)
}

fn bounded(mut key: String) -> String {
    if key.len() > LONGEST {
        let hash = format!("~{}", hex::encode(Sha256::digest(&key)));
        key.truncate(key.floor_char_boundary(LONGEST - hash.len()));
        key.push_str(&hash);
    }
    key
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "_.:/-".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(pairs: &[(&str, &str)], group_by: &[&str]) -> String {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let labels = pairs.iter().map(owned).collect();
        let names: Vec<String> = group_by.iter().map(|&name| name.to_owned()).collect();
        correlation_key(&labels, &names)
    }

    #[test]
    fn missing_and_empty_labels_are_left_out() {
        let alert = [("service", "app"), ("zone", ""), ("extra", "x")];
        assert_eq!(key(&alert, &["service", "zone", "missing"]), "service=app");
        assert_eq!(key(&[], &["service"]), "");
    }

    #[test]
    fn separators_in_values_do_not_merge_keys() {
        assert_eq!(key(&[("a", "b,c=d")], &["a", "c"]), "a=\"b,c=d\"");
        assert_eq!(key(&[("a", "b"), ("c", "d")], &["a", "c"]), "a=b,c=d");
    }

    #[test]
    fn a_long_key_is_cut_and_still_its_own() {
        let one = key(&[("path", &"é".repeat(1024))], &["path"]);
        let other = key(&[("path", &format!("{}x", "é".repeat(1024)))], &["path"]);
        assert!(one.len() <= LONGEST && one.starts_with("path=éé"), "{one}");
        assert_ne!(one, other);
        let fits = "a".repeat(LONGEST - "path=".len());
        assert_eq!(key(&[("path", &fits)], &["path"]), format!("path={fits}"));
    }

    proptest! {
        #[test]
        fn different_values_make_different_keys(
            one in proptest::collection::vec(".{0,6}", 2),
            two in proptest::collection::vec(".{0,6}", 2),
        ) {
            let of = |values: &[String]| key(
                &[("a", values[0].as_str()), ("b", values[1].as_str())],
                &["a", "b"],
            );
            prop_assert_eq!(of(&one) == of(&two), one == two);
        }
    }
}

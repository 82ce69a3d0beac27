//! `{id}` in a path: a UUID, or its first six or more digits as people copy them.

use uuid::Uuid;

/// Why a text names no incident.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("{0:?} is not an incident id: at least its first 6 hexadecimal digits are needed")]
    Short(String),
    #[error("{0:?} is not an incident id: a UUID, or its first 6 or more hexadecimal digits")]
    Malformed(String),
}

/// First and last id that begin with `text`.
pub(super) fn bounds(text: &str) -> Result<(Uuid, Uuid), Error> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() > 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Malformed(text.to_owned()));
    }
    if digits.len() < 6 {
        return Err(Error::Short(text.to_owned()));
    }
    let padded = format!("{digits}{}", "0".repeat(32 - digits.len()));
    let first = Uuid::try_parse(&padded).map_err(|_| Error::Malformed(text.to_owned()))?;
    let said = u32::try_from(digits.len() * 4).unwrap_or(128);
    let rest = u128::MAX.checked_shr(said).unwrap_or(0);
    let last = Uuid::from_u128(first.as_u128() | rest);
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_its_beginning() {
        let id = "7f3c91aa-1111-5222-8333-444444444444";
        let uuid: Uuid = id.parse().expect("a UUID");
        assert_eq!(bounds(id), Ok((uuid, uuid)));
        let (first, last) = bounds("7F3C91").expect("six digits");
        assert!(first <= uuid && uuid <= last);
        assert_eq!(first.to_string(), "7f3c9100-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "7f3c91ff-ffff-ffff-ffff-ffffffffffff");
        assert!(matches!(bounds("7f3c9"), Err(Error::Short(_))));
        assert!(matches!(bounds("7f3c9g"), Err(Error::Malformed(_))));
        assert!(matches!(bounds(&"0".repeat(33)), Err(Error::Malformed(_))));
        assert!(matches!(bounds("é7f3c91"), Err(Error::Malformed(_))));
    }
}

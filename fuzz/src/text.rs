//! Record headers, and matchers.

use service_kit::outbox::{borrow_headers, decode_headers, encode_headers};
use shared_events::{Envelope, Labels, matcher::Matcher};

/// Headers of the outbox, and the envelope in them.
pub(crate) fn headers(bytes: &[u8]) {
    let Some(pairs) = borrow_headers(bytes) else {
        assert!(decode_headers(bytes).is_none());
        return;
    };
    assert_eq!(encode_headers(pairs), bytes);
    let owned = decode_headers(bytes).expect("they were readable");
    let told = (Envelope::type_of(&owned), Envelope::id_of(&owned));
    let Ok(envelope) = Envelope::from_headers(&owned) else {
        return;
    };
    let (kind, id) = told;
    assert_eq!(
        (kind, id),
        (Some(envelope.event_type.clone()), Some(envelope.id))
    );
    let written: Vec<(String, Vec<u8>)> = envelope
        .to_headers()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    let again = Envelope::from_headers(&written).expect("what is written can be read");
    assert_eq!(again, envelope);
}

/// A list of matchers means the same when it is displayed and read again.
pub(crate) fn matchers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(list) = Matcher::parse_list(text) else {
        return;
    };
    let labels: Labels = [("alertname", "HighCPU"), ("service", "app")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for matcher in &list {
        let again = Matcher::parse_list(&matcher.to_string()).expect("what is displayed parses");
        assert_eq!(again, std::slice::from_ref(matcher));
        assert_eq!(again[0].is_match(&labels), matcher.is_match(&labels));
        if let Some((label, value)) = matcher.required() {
            let without = labels.get(label).is_none_or(|found| found != value);
            assert!(!(without && matcher.is_match(&labels)), "{matcher}");
        }
    }
}

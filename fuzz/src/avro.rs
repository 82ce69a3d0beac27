//! A record's value: framing, and a datum under any of our schemas.

use shared_events::{ActionEvent, AlertEvent, IncidentEvent, RuleEvent, TopicEvent, codec};

/// What can be read can be written, and reads the same again.
pub(crate) fn avro(bytes: &[u8]) {
    let Ok((schema, datum)) = codec::unframe(bytes) else {
        return;
    };
    assert_eq!(codec::frame(schema, datum), bytes);
    for contract in codec::contracts() {
        let writer = codec::writer(&contract.dataschema()).expect("it is compiled in");
        let kind = contract.event_type;
        again::<AlertEvent>(kind, &writer, datum);
        again::<IncidentEvent>(kind, &writer, datum);
        again::<ActionEvent>(kind, &writer, datum);
        again::<RuleEvent>(kind, &writer, datum);
    }
}

fn again<E: TopicEvent + PartialEq + std::fmt::Debug>(
    kind: &str,
    writer: &codec::Writer,
    datum: &[u8],
) {
    let Ok(Some(event)) = E::decode(kind, writer, datum) else {
        return;
    };
    let written = event.encode().expect("what was read can be said");
    let read = E::decode(kind, writer, &written).expect("what is said can be read");
    assert_eq!(read.as_ref(), Some(&event));
    assert_eq!(event.event_id(), read.expect("it is listed").event_id());
}

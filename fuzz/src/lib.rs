//! Whatever comes from outside, taken apart: no bytes make these functions panic, run away or
//! contradict themselves. `tests/corpus.rs` feeds them the corpus and changed pieces of it;
//! `scripts/fuzz TARGET` lets libFuzzer look for more.

mod avro;
mod rules;
mod text;
mod webhook;

/// A name, which is also the corpus's folder, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Everything that reads what others wrote.
pub const TARGETS: [Target; 6] = [
    ("webhook", webhook::webhook),
    ("avro", avro::avro),
    ("headers", text::headers),
    ("matchers", text::matchers),
    ("condition", rules::condition),
    ("rules_file", rules::rules_file),
];

/// The function of a target.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, run)| *run)
}

//! One target under libFuzzer; which one, `EVENTPULSE_FUZZ_TARGET` says.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("EVENTPULSE_FUZZ_TARGET").unwrap_or_default();
    let known = || eventpulse_fuzz::TARGETS.map(|(name, _)| name).join(", ");
    eventpulse_fuzz::target(&name)
        .unwrap_or_else(|| panic!("EVENTPULSE_FUZZ_TARGET is {name:?}; there are {}", known()))
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));

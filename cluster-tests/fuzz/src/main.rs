//! The targets with libFuzzer: `AERODB_FUZZ_TARGET` names one. `deploy/fuzz` builds and runs this.

// libFuzzer brings `main`, and calls a function of ours by its name.
#![no_main]
#![allow(unsafe_code)]

use std::sync::LazyLock;

static TARGET: LazyLock<aerodb_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("AERODB_FUZZ_TARGET").unwrap_or_default();
    aerodb_fuzz::target(&name).unwrap_or_else(|| panic!("AERODB_FUZZ_TARGET names no target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));

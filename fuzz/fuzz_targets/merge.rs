//! `cargo fuzz run merge`: the check of this name in tests/fuzz/checks.rs.

#![no_main]

#[path = "../../tests/fuzz/checks.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::merge(bytes));

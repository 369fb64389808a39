//! What holds for every file, list and turn, not for the ones that somebody thought of.
//!
//! Properties of the pure layers: lines are read and written without loss, planning twice gives an
//! empty plan, bytes of others never change. `PROPTEST_CASES` sets how many cases are tried. Cases
//! that once failed are kept in `tests/data/seeds`, whole files in `tests/data/seeds/files`: both
//! are tried first at every run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "properties/keygen.rs"]
mod keygen;
#[path = "properties/making.rs"]
mod making;
#[path = "properties/storm.rs"]
mod storm;
#[path = "properties/text.rs"]
mod text;
#[path = "properties/turns.rs"]
mod turns;
#[path = "properties/world.rs"]
mod world;

use proptest::test_runner::{Config, FileFailurePersistence};

/// 256 cases, or `PROPTEST_CASES`; ten times as many with `tests/run --long`. What fails is written
/// down where it is tried again.
fn config() -> Config {
    let usual = Config::default().cases;
    let long = std::env::var_os("SSHKEYD_LONG").is_some();
    Config {
        cases: if long { usual * 10 } else { usual },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/data/seeds/proptest.txt",
        ))),
        ..Config::default()
    }
}

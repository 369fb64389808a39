//! A process whose clock of day is another one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Where Debian's faketime has its library.
pub(crate) fn faketime() -> PathBuf {
    let lib = fs::read_dir("/usr/lib").unwrap();
    lib.flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("no libfaketime here; apt-get install faketime")
}

/// The same program so many days from now; how long a while takes stays what it is.
pub(crate) fn days_later(mut program: Command, days: u32) -> Command {
    program.env("LD_PRELOAD", faketime()).env("TZ", "UTC");
    program.env("FAKETIME", format!("+{days}d"));
    program.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    program
}

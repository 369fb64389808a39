//! The fuzz targets without a fuzzer: every committed input, and a bounded number of mutations of
//! each. `SSHKEYD_LONG` makes it a hundred times as many; `fuzz/` goes on from the same inputs for
//! as long as it is let.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "fuzz/checks.rs"]
mod checks;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Mutations of an input.
const MUTATIONS: usize = 300;
/// Longest input that a mutation makes.
const LONGEST: usize = 4096;
/// What the readers look for: random bytes would seldom make it.
const WORDS: [&[u8]; 22] = [
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b"#",
    b"\"",
    b"\\\"",
    b"\\",
    b",",
    b"=",
    b"# BEGIN sshkeyd\n",
    b"# BEGIN sshkeyd id=ab12\n",
    b"# END sshkeyd\n",
    b"# account key 1 \"k\"\n",
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g k\n",
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n",
    b"no-pty,command=\"a b\" ",
    b"ssh-rsa ",
    b"null",
    b"[]",
    b"18446744073709551615",
];

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/seeds")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|fault| panic!("{}: {fault}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    // In one order everywhere: the mutations follow from it.
    files.sort();
    assert!(files.len() > 5, "{}: too few inputs", directory.display());
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    files.iter().map(read).collect()
}

fn mutated(input: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 64));
        match random.random_range(0..7) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.truncate(at),
            2 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                drop(bytes.splice(at..at, word.iter().copied()));
            }
            3 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                drop(bytes.splice(at..end, word.iter().copied()));
            }
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = random.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            5 => {
                let other = &others[random.random_range(0..others.len())];
                let from = random.random_range(0..=other.len());
                drop(bytes.splice(at..end, other[from..].iter().copied()));
            }
            _ if at < bytes.len() => bytes[at] = random.random(),
            _ => bytes.push(random.random()),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

fn replay(name: &str, mutations: usize, check: fn(&[u8])) {
    let inputs = inputs(name);
    let long = std::env::var_os("SSHKEYD_LONG").is_some();
    let times = if long { 100 * mutations } else { mutations };
    let mut random = StdRng::seed_from_u64(83);
    let tried = |bytes: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| check(bytes))).is_err() {
            panic!("{name}: broken by b\"{}\"", bytes.escape_ascii());
        }
    };
    for input in &inputs {
        tried(input);
        for _ in 0..times {
            tried(&mutated(input, &inputs, &mut random));
        }
    }
}

#[test]
fn lines_of_the_corpus_and_their_like_are_read() {
    replay("lines", MUTATIONS, checks::lines);
}

#[test]
fn files_of_the_corpus_and_their_like_keep_their_foreign_lines() {
    // The first byte says what is wanted: each file is tried with a few.
    replay("files", MUTATIONS, |file| {
        for choice in [0, 1, 2, 0x5a, 0xa7, 0xff] {
            checks::merge(&[&[choice], file].concat());
        }
    });
}

#[test]
fn snapshots_of_the_corpus_and_their_like_are_judged() {
    // Each is signed and verified: a hundred times the price of the others.
    replay("snapshots", MUTATIONS / 20, checks::snapshot);
}

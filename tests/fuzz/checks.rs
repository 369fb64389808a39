//! What must hold of any bytes at all: the bodies of the fuzz targets, and of the replay in CI.
//!
//! Each takes what a fuzzer gives and panics where a promise is broken. No file, no clock, no
//! process: a target runs some ten thousand of them a second.

use jiff::Timestamp;
use sshkeyd::keys::{
    AuthorizedKeys, Block, KeyList, Line, LineKind, MAX_KEYS, Options, PublicKey, RawKey, read_line,
};
use sshkeyd::sources::believed;
use sshkeyd::sync::{Decision, Dialect, Owned, Plan, View, decide, plan, render, unplan};
use sshkeyd::trust::{Floor, Signer};
use sshkeyd::wire::{NAMESPACE, SignedSnapshot};

/// The line reader: parts of a line are where they stand in it, and a key reads as it is written.
pub(crate) fn lines(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let seen = line.split(|byte| *byte == 0).next().unwrap_or_default();
        match read_line(line) {
            Line::Blank | Line::Unreadable(_) => {}
            Line::Comment(text) => assert!(seen.ends_with(text)),
            Line::Entry(entry) => {
                let options = entry.options.unwrap_or_default();
                assert!(seen.trim_ascii_start().starts_with(options));
                assert!(seen.trim_ascii_end().ends_with(entry.comment));
                if let Ok(Ok(options)) = std::str::from_utf8(options).map(Options::parse) {
                    let shown = options.to_string();
                    assert_eq!(Options::parse(&shown), Ok(options), "{shown}");
                }
                key(&entry.key);
            }
        }
    }
    let file = AuthorizedKeys::parse(bytes.to_vec());
    let lines = file.lines().iter();
    let again: Vec<u8> = lines.flat_map(|line| file.text(line)).copied().collect();
    assert_eq!(again, bytes, "a byte of the file is in no line");
    let list = KeyList::from_authorized_keys(bytes, "f");
    assert!(list.accepted.len() <= MAX_KEYS);
}

/// A key that may be written reads back as itself, whatever it was read from.
fn key(raw: &RawKey) {
    let Ok(key) = PublicKey::try_from(raw.clone()) else {
        return;
    };
    let text = key.to_string();
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let Line::Entry(entry) = read_line(text.as_bytes()) else {
        panic!("{text} is no key any more");
    };
    assert_eq!((&entry.key, entry.options), (raw, None));
    assert_eq!(entry.key.fingerprint(), key.fingerprint());
}

/// The merge: one byte says what is wanted, the rest is a user's file.
pub(crate) fn merge(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else {
        return;
    };
    let current = AuthorizedKeys::parse(file.to_vec());
    // Its own keys are the ones that meet: some wanted, some known to be ours.
    let found = KeyList::from_authorized_keys(file, "f").accepted;
    let part = |shift: u32| {
        let keys = found.iter().enumerate();
        keys.filter(move |(at, _)| choice.rotate_left(shift) >> (at % 8) & 1 == 1)
            .map(|(_, key)| key.clone())
    };
    let (only_add, adopt) = (choice & 1 == 1, choice & 2 == 2);
    let mut list = KeyList::default();
    part(3).for_each(|key| list.push(Ok(key)));
    let known = View {
        source: "a",
        list: Some(&list),
    };
    let unknown = View {
        source: "b",
        list: None,
    };
    let views = [known, unknown];
    let views = if only_add { &views[..] } else { &views[..1] };
    let Decision::Apply(desired) = decide(views, Timestamp::UNIX_EPOCH, &Dialect::default()) else {
        return;
    };
    let owned = Owned {
        keys: part(5).map(|key| key.key.fingerprint()).collect(),
        adopted: Vec::new(),
    };
    let Ok(first) = plan(&current, &desired, &owned, adopt) else {
        assert!(matches!(current.block(), Block::Another { .. }));
        return;
    };
    let after = render(&current, &first).bytes;
    assert_eq!(first.is_empty(), after == file, "empty, or written");
    foreign_bytes_stay(&current, file, &after, &owned, &first);
    let again = AuthorizedKeys::parse(after);
    let then = first.owned_after(&owned);
    let second = plan(&again, &desired, &then, adopt).expect("the block is ours now");
    assert!(second.is_empty(), "planning twice");
    for key in &desired.keys {
        let there = again.lines().iter().any(|line| {
            matches!(line.kind, LineKind::Entry { fingerprint, .. } if fingerprint == key.fingerprint)
        });
        assert!(there, "a wanted key is in no line");
    }
    let back = unplan(&again, &then).expect("the block is ours now");
    let bare = AuthorizedKeys::parse(render(&again, &back).bytes);
    assert_eq!(bare.block(), Block::None, "a block that unmanage leaves");
}

/// Every line outside the block is there afterwards, in its order, but for those that were adopted
/// and, where the markers are damaged, those that are known to be ours.
fn foreign_bytes_stay(
    current: &AuthorizedKeys,
    before: &[u8],
    after: &[u8],
    owned: &Owned,
    plan: &Plan,
) {
    let mut were = outside(current).into_iter();
    let mut gone = Vec::new();
    for line in outside(&AuthorizedKeys::parse(after.to_vec())) {
        loop {
            match were.next() {
                Some(was) if was == line => break,
                Some(was) => gone.push(was),
                None => panic!("\"{}\" is new or moved", line.escape_ascii()),
            }
        }
    }
    gone.extend(were);
    let damaged = current.block() == Block::Damaged;
    let is_ours = |text: &[u8]| match read_line(text) {
        Line::Entry(entry) => owned.keys.contains(&entry.key.fingerprint()),
        // A marker, or the word above a key.
        Line::Comment(_) => true,
        _ => false,
    };
    for line in gone {
        let adopted = plan.adopt.iter();
        let mut adopted = adopted.map(|one| one.line.trim_end_matches('\n').as_bytes());
        assert!(
            adopted.any(|one| one == line) || (damaged && is_ours(&line)),
            "\"{}\" is gone from \"{}\", which reads \"{}\"",
            line.escape_ascii(),
            before.escape_ascii(),
            after.escape_ascii()
        );
    }
}

/// The lines of a file that are not in our block, without their newlines.
fn outside(file: &AuthorizedKeys) -> Vec<Vec<u8>> {
    let block = match file.block() {
        Block::Whole(span) => span,
        _ => 0..0,
    };
    let lines = file.lines().iter().enumerate();
    lines
        .filter(|(at, _)| !block.contains(at))
        .map(|(_, line)| {
            let text = file.text(line);
            text.strip_suffix(b"\n").unwrap_or(text).to_vec()
        })
        .collect()
}

/// The snapshot reader: the body of an answer, then the same bytes as a payload that is truly
/// signed, so that what stands behind the signature is reached too.
pub(crate) fn snapshot(bytes: &[u8]) {
    let signer = Signer::from_seed(&[7; 32]);
    let pinned = [signer.public()];
    let floor = Floor {
        revision: 5,
        digest: None,
    };
    let judged = |body: &[u8]| believed(body, (3, 7), &pinned, &floor);
    assert!(judged(bytes).is_err(), "a snapshot that nobody signed");
    let mut signed = SignedSnapshot {
        payload: base64_of(bytes),
        signatures: vec![signer.sign(NAMESPACE, bytes)],
    };
    let body = |signed: &SignedSnapshot| serde_json::to_vec(signed).expect("strings are JSON");
    if let Ok(snapshot) = judged(&body(&signed)) {
        assert!(snapshot.account == 3 && snapshot.revision >= 5);
        assert!((1..=4).contains(&snapshot.signers.len()));
        assert!(snapshot.list.accepted.len() <= MAX_KEYS);
        for listed in &snapshot.list.accepted {
            key(listed.key.as_raw());
            assert!(!listed.name.chars().any(char::is_control));
        }
    }
    signed.payload = base64_of(&[bytes, b" "].concat());
    assert!(
        judged(&body(&signed)).is_err(),
        "a signature of other bytes"
    );
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

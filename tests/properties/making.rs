//! Keys, lines, files and lists to try things on: realistic ones, and ones that nobody would write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sshkeyd::keys::{Fingerprint, KeyList, ListedKey, Options, PublicKey, RawKey};
use sshkeyd::sync::{Decision, Desired, Dialect, View, decide};

/// How many keys there are in the small world in which foreign and managed keys meet often.
pub(crate) const POOL: u8 = 6;

/// An Ed25519 key.
pub(crate) fn ed25519(point: [u8; 32]) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend(point);
    let raw = RawKey::from_words(b"ssh-ed25519", STANDARD.encode(blob).as_bytes()).unwrap();
    PublicKey::try_from(raw).unwrap()
}

/// A key of the small world.
pub(crate) fn pooled(seed: u8) -> PublicKey {
    ed25519([seed; 32])
}

/// One key of every type that is written, and some that are not; made by ssh-keygen.
pub(crate) fn golden() -> Vec<&'static str> {
    include_str!("../data/seeds/golden-keys.pub")
        .lines()
        .collect()
}

/// Any key that we would write.
pub(crate) fn any_key() -> impl Strategy<Value = PublicKey> {
    let written: Vec<_> = golden()
        .iter()
        .filter_map(|line| PublicKey::parse_text(line).ok())
        .map(|(key, _)| key)
        .collect();
    prop_oneof![any::<[u8; 32]>().prop_map(ed25519), select(written)]
}

/// The text of options, right ones and wrong ones.
pub(crate) fn option_text() -> impl Strategy<Value = String> {
    let value = r#"([ -~é]|\\"|\\){0,12}"#;
    let one = prop_oneof![
        3 => select(vec!["no-pty", "restrict", "No-Touch-Required", "pty", "user-rc"])
            .prop_map(str::to_owned),
        3 => (
            select(vec!["command", "from", "environment", "permitopen", "PermitListen"]),
            value
        )
            .prop_map(|(name, value)| format!("{name}=\"{value}\"")),
        1 => "[a-z,=\" #]{0,8}",
    ];
    vec(one, 0..4).prop_map(|all| all.join(","))
}

/// Options that are understood.
pub(crate) fn options() -> impl Strategy<Value = Options> {
    option_text().prop_map(|text| Options::parse(&text).unwrap_or_default())
}

/// A key as a list holds it; names are anything.
pub(crate) fn listed(key: impl Strategy<Value = PublicKey>) -> impl Strategy<Value = ListedKey> {
    let name = prop_oneof!["[a-z@#\" \t]{0,12}", any::<String>()];
    let time = proptest::option::of(1_800_000_000i64..4_000_000_000);
    (key, name, options(), time, 1u32..99).prop_map(|(key, name, options, end, id)| ListedKey {
        id: id.to_string(),
        name,
        key,
        options,
        expires_at: end.map(|end| Timestamp::from_second(end).unwrap()),
        saved_at: Some(Timestamp::UNIX_EPOCH),
    })
}

/// A list of the small world.
pub(crate) fn list() -> impl Strategy<Value = KeyList> {
    let key = (0..POOL).prop_map(pooled);
    vec(listed(key), 0..5).prop_map(|keys| {
        let mut list = KeyList::default();
        for key in keys {
            list.push(Ok(key));
        }
        list.without_duplicates()
    })
}

/// What a target of these sources ought to hold; `None` for a source that never answered.
pub(crate) fn desired(list: &KeyList, only_add: bool) -> Desired {
    let unknown = View {
        source: "other",
        list: None,
    };
    let known = View {
        source: "account",
        list: Some(list),
    };
    let views = [known, unknown];
    let views = if only_add { &views[..] } else { &views[..1] };
    match decide(views, Timestamp::UNIX_EPOCH, &Dialect::default()) {
        Decision::Apply(desired) => desired,
        Decision::Hold(why) => panic!("one source has answered, and it is held: {why}"),
    }
}

/// Bytes that are shown as text where a case fails.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A line of somebody else's, without its newline: no marker of ours.
pub(crate) fn foreign_line() -> impl Strategy<Value = Bytes> {
    let key = (0..POOL + 2).prop_map(|seed| pooled(seed).to_string());
    let blank = select(vec!["", " ", "\t", " \t "]);
    let options = prop_oneof![
        Just(String::new()),
        option_text().prop_map(|text| text + " "),
        Just("no-pty,command=\"echo \\\"a #b\\\"\"\t".to_owned()),
    ];
    let comment = select(vec!["", " a@b", "\tbob #2", " k1\r", " a\0b", " é "]);
    let entry = (blank.clone(), options, key, comment)
        .prop_map(|(blank, options, key, rest)| format!("{blank}{options}{key}{rest}"));
    let spoken = select(vec![
        "# mine",
        "#",
        "\t# indented",
        "# account key 1 \"k1\", saved 2026-11-22",
        "# BEGIN",
        "# BEGIN other",
        "BEGIN sshkeyd",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "command=\"never closed ssh-ed25519 AAAA",
        "\r",
    ]);
    prop_oneof![
        4 => entry.prop_map(String::into_bytes),
        2 => spoken.prop_map(|text| text.as_bytes().to_vec()),
        1 => blank.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20).prop_map(|bytes| {
            // A newline would make two lines of it, and a mark could make it a marker.
            bytes.into_iter().filter(|b| !matches!(b, b'\n' | b'#')).collect()
        }),
    ]
    .prop_map(Bytes)
}

/// A line that says where our block begins or ends, or nearly so.
fn marker() -> impl Strategy<Value = Bytes> {
    select(vec![
        "# BEGIN sshkeyd - lines up to END are replaced; put your own keys outside",
        "#BEGIN sshkeyd",
        " #\tBEGIN\tsshkeyd\r",
        "# END sshkeyd",
        "# END sshkeyd",
        "#END sshkeyd, I think",
        "# BEGIN sshkeyd\0",
        "# BEGIN sshkeyd id=ab12",
    ])
    .prop_map(|text| Bytes(text.as_bytes().to_vec()))
}

/// Any file: lines of everybody, markers in order and out of it, the last line with its newline or
/// without.
pub(crate) fn any_file() -> impl Strategy<Value = Bytes> {
    let line = prop_oneof![6 => foreign_line(), 1 => marker()];
    prop_oneof![
        6 => (vec(line, 0..12), any::<bool>()).prop_map(|(lines, ends)| joined(&lines, ends)),
        1 => vec(any::<u8>(), 0..300),
    ]
    .prop_map(Bytes)
}

/// Lines as a file.
pub(crate) fn joined(lines: &[Bytes], ends: bool) -> Vec<u8> {
    let lines: Vec<_> = lines.iter().map(|line| &line.0[..]).collect();
    let mut bytes = lines.join(&b'\n');
    if ends && !lines.is_empty() {
        bytes.push(b'\n');
    }
    bytes
}

/// Some fingerprints of the small world.
pub(crate) fn some_keys() -> impl Strategy<Value = Vec<Fingerprint>> {
    vec((0..POOL).prop_map(|seed| pooled(seed).fingerprint()), 0..4)
}

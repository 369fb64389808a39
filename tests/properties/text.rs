//! Reading and writing back: nothing is lost, nothing is made up.

use super::config;
use super::making::{any_file, any_key, desired, golden, listed, option_text, options};
use proptest::prelude::*;
use sshkeyd::keys::{
    AuthorizedKeys, Fingerprint, KeyList, Line, ListedKey, Options, PublicKey, RawKey, SshdVersion,
    read_line,
};
use sshkeyd::sync::{Decision, Dialect, View, decide};

/// Every line of a file, put together again.
fn put_together(file: &AuthorizedKeys) -> Vec<u8> {
    let lines = file.lines().iter();
    lines.flat_map(|line| file.text(line)).copied().collect()
}

/// The line that is written for a key on an OpenSSH of that version.
fn written(key: &ListedKey, sshd: SshdVersion) -> Option<Vec<u8>> {
    let mut list = KeyList::default();
    list.push(Ok(key.clone()));
    let view = View {
        source: "account",
        list: Some(&list),
    };
    let dialect = Dialect {
        sshd: Some(sshd),
        ..Dialect::default()
    };
    match decide(&[view], jiff::Timestamp::UNIX_EPOCH, &dialect) {
        Decision::Apply(desired) => desired
            .keys
            .into_iter()
            .next()
            .map(|key| key.line.into_vec()),
        Decision::Hold(why) => panic!("{why}"),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_byte_of_a_file_is_in_one_of_its_lines(bytes in any_file()) {
        let file = AuthorizedKeys::parse(bytes.0.clone());
        prop_assert_eq!(file.bytes(), &bytes.0[..]);
        prop_assert_eq!(put_together(&file), bytes.0);
    }

    #[test]
    fn any_bytes_are_a_line(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_line(&line);
        let _ = KeyList::from_authorized_keys(&line, "f");
        let _ = PublicKey::parse_text(&String::from_utf8_lossy(&line));
    }

    #[test]
    fn options_read_what_they_write(text in option_text()) {
        if let Ok(options) = Options::parse(&text) {
            let shown = options.to_string();
            prop_assert_eq!(Options::parse(&shown), Ok(options.clone()), "{}", shown);
            let stored = serde_json::to_string(&options).unwrap();
            prop_assert_eq!(serde_json::from_str::<Options>(&stored).unwrap(), options);
        }
    }

    #[test]
    fn a_key_reads_as_it_was_written(key in any_key(), comment in "[ -~]{0,20}") {
        let text = key.to_string();
        prop_assert_eq!(PublicKey::parse_text(&text), Ok((key.clone(), String::new())));
        let (again, _) = PublicKey::parse_text(&format!(" {text} {comment}\n")).unwrap();
        prop_assert_eq!(&again, &key);
        let words: Vec<_> = text.split(' ').collect();
        let raw = RawKey::from_words(words[0].as_bytes(), words[1].as_bytes()).unwrap();
        prop_assert_eq!(&raw, key.as_raw());
        let print = key.fingerprint();
        prop_assert_eq!(print.to_string().parse::<Fingerprint>(), Ok(print));
        prop_assert_eq!(Fingerprint::of(key.blob()), print);
    }

    #[test]
    fn a_listed_key_reads_as_it_was_listed(
        key in listed(any_key()), sshd in (5u32..11, 0u32..10)
    ) {
        let sshd = SshdVersion(sshd.0, sshd.1);
        let Some(line) = written(&key, sshd) else {
            prop_assert!(key.options.newer_than(sshd).is_some());
            return Ok(());
        };
        prop_assert!(!line.contains(&b'\n') && !line.contains(&0) && !line.contains(&b'\r'));
        let Line::Entry(entry) = read_line(&line) else {
            panic!("no key: {}", String::from_utf8_lossy(&line))
        };
        prop_assert_eq!(&entry.key, key.key.as_raw());
        let text = std::str::from_utf8(entry.options.unwrap_or_default()).unwrap();
        let read = Options::parse(text).unwrap();
        let written = key.options.to_string();
        let rest = read.to_string().strip_prefix(&written).map(str::to_owned);
        let rest = rest.unwrap_or_else(|| panic!("{read} does not begin with {written}"));
        match key.expires_at {
            Some(_) if sshd >= SshdVersion(7, 7) => prop_assert!(rest.contains("expiry-time=\"")),
            _ => prop_assert_eq!(rest, ""),
        }
    }

    #[test]
    fn options_never_change_the_key_behind_them(options in options(), key in any_key()) {
        let options = options.to_string();
        let line = format!("{options} {key} c");
        let Line::Entry(entry) = read_line(line.as_bytes()) else { panic!("{line}") };
        let found = entry.options.unwrap_or_default();
        prop_assert_eq!(found, options.as_bytes());
        prop_assert_eq!(&entry.key, key.as_raw());
    }
}

#[test]
fn golden_keys_are_written_or_refused_as_their_comment_says() {
    for line in golden() {
        let refused = line.ends_with("refused");
        assert_eq!(PublicKey::parse_text(line).is_err(), refused, "{line}");
    }
}

#[test]
fn a_list_is_what_a_target_holds() {
    let list = KeyList::from_authorized_keys(golden().join("\n").as_bytes(), "golden");
    let keys = desired(&list, false).keys;
    assert_eq!(keys.len(), list.accepted.len());
    for key in keys {
        let Line::Entry(entry) = read_line(&key.line) else {
            panic!("no key")
        };
        assert_eq!(entry.key.fingerprint(), key.fingerprint);
    }
}

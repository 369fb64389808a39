//! The line reader beside `ssh-keygen -l`: both must find the same keys in the same lines.

use super::config;
use super::making::{any_key, golden, option_text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use sshkeyd::keys::{Line, PublicKey, read_line};
use std::io::Write as _;
use std::process::Command;

/// The fingerprints that ssh-keygen(1) finds in these lines, in their order.
fn by_ssh_keygen(lines: &[Vec<u8>]) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in lines {
        file.write_all(line).unwrap();
        file.write_all(b"\n").unwrap();
    }
    let said = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(file.path())
        .output()
        .expect("ssh-keygen is there: apt-get install openssh-client");
    // It prints comments as they are, and they are no UTF-8 by law.
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let prints = text.lines().filter_map(|line| line.split(' ').nth(1));
    prints
        .filter(|p| p.starts_with("SHA256:"))
        .map(str::to_owned)
        .collect()
}

/// The same by our reader; keys of types that no OpenSSH 9 has are left out.
fn by_us(lines: &[Vec<u8>]) -> Vec<String> {
    let keys = lines.iter().filter_map(|line| match read_line(line) {
        Line::Entry(entry) => Some(entry.key),
        _ => None,
    });
    keys.map(|key| key.fingerprint().to_string()).collect()
}

/// `type blob` of a golden key, without its comment. No certificate: of that ssh-keygen shows the
/// fingerprint of the key inside.
fn golden_words() -> Vec<String> {
    let plain = |line: &&&str| !line.contains("-cert-v01@");
    let words = |line: &&str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    golden().iter().filter(plain).map(words).collect()
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        any_key().prop_map(|key| key.to_string()),
        select(golden_words()),
    ];
    let gap = select(vec![" ", "\t", "  ", " \t "]);
    let before = select(vec!["", " ", "\t", "  \t"]);
    let options = prop_oneof![
        3 => Just(String::new()),
        3 => option_text(),
        // ssh-keygen takes a number at the beginning for a key of protocol 1; sshd does not.
        2 => r#"[a-z,=" #\\][ -~é]{0,20}"#,
    ];
    let after = prop_oneof![
        Just(String::new()),
        "[ \t][ -~é]{0,12}".prop_map(|text| text.replace('\r', "")),
        Just(" a@b\r".to_owned()),
        Just("\r".to_owned()),
        Just(" a\0b".to_owned()),
    ];
    let whole =
        (before, options, gap, key, after).prop_map(|(before, options, gap, key, after)| {
            let key = key.replacen(' ', gap, 1);
            // sshd passes over more than one blank after the options, ssh-keygen does not.
            let number = |c: char| c.is_ascii_digit() || c == ' ';
            let options = match options.trim_start_matches(number).trim_end() {
                "" => String::new(),
                options => format!("{options}{}", &gap[..1]),
            };
            format!("{before}{options}{key}{after}").into_bytes()
        });
    // Cut, or with a byte changed: now and then still a key.
    let hurt = (whole.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut line, at, byte)| {
            let at = at.index(line.len());
            // A blank that is changed may leave two after the options: see above.
            let blank = |byte| matches!(byte, b'\t' | b' ' | b'\n' | b'\r' | b'0'..=b'9');
            if byte < 64 {
                line.truncate(at);
            } else if !blank(byte) && !blank(line[at]) {
                line[at] = byte;
            }
            line
        },
    );
    prop_oneof![4 => whole, 1 => hurt]
}

/// Whether a line has no key, or a whole one: ssh-keygen looks into blobs (and at points off their
/// curve), our reader only at the type that they begin with.
fn is_sound(line: &[u8]) -> bool {
    match read_line(line) {
        Line::Entry(entry) => match PublicKey::try_from(entry.key.clone()) {
            Ok(key) if !key.key_type().contains("ecdsa") => true,
            _ => golden_words()
                .iter()
                .any(|golden| read_line(golden.as_bytes()) == read_line(&bare(&entry.key))),
        },
        _ => true,
    }
}

fn bare(key: &sshkeyd::keys::RawKey) -> Vec<u8> {
    use base64::Engine as _;
    let blob = base64::engine::general_purpose::STANDARD.encode(key.blob());
    format!("{} {blob}", key.key_type()).into_bytes()
}

#[test]
#[ignore = "needs ssh-keygen; tests/run includes it"]
fn generated_lines_read_as_ssh_keygen_reads_them() {
    let mut runner = TestRunner::new(config());
    let lines = vec(
        line().prop_filter("a damaged key", |line| is_sound(line)),
        1..16,
    );
    runner
        .run(&lines, |lines| {
            prop_assert_eq!(by_us(&lines), by_ssh_keygen(&lines));
            Ok(())
        })
        .unwrap();
}

#[test]
#[ignore = "needs ssh-keygen; tests/run includes it"]
fn lines_that_readers_are_known_to_get_wrong_read_as_ssh_keygen_reads_them() {
    for key in golden_words() {
        let (kind, blob) = key.split_once(' ').unwrap();
        for line in [
            format!(" {key}"),
            format!("\t{key} c"),
            format!("{kind}\t{blob}\tc"),
            format!("{kind}  {blob}  c d"),
            format!("no-pty\t{key}"),
            format!("no-pty {key}"),
            format!("command=\"echo hi\" {key} c"),
            format!("environment=\"A=b c\",no-pty {key}"),
            format!("command=\"say \\\"hi\\\"\" {key} c"),
            format!("command=\"`id`\" {key}"),
            format!("command=\"é\" {key} é"),
            format!("command=\"echo #x\" {key} c"),
            format!("{key} bob #2"),
            format!("permitopen=\"a:1\",permitopen=\"b:2\" {key}"),
            format!("command=\"x {key}"),
            format!("no-such-option {key}"),
            format!(",, {key}"),
            format!("{key} a\0b"),
            format!("{key} c\r"),
            format!("{key}\r"),
            format!("cert-authority,principals=\"a,b\" {key} c"),
            format!("restrict,expiry-time=\"20300101\",verify-required {key}"),
            format!("#{key}"),
            format!(" # {key}"),
            format!("ssh-rsa {blob}"),
            format!("{kind} {}", &blob[..blob.len() - 4]),
            format!("{kind} {blob}AAAA"),
            kind.to_owned(),
        ] {
            let lines = [line.clone().into_bytes()];
            if is_sound(&lines[0]) {
                assert_eq!(by_us(&lines), by_ssh_keygen(&lines), "{line:?}");
            }
        }
    }
}

//! Our line reader beside sshd itself: some hundreds of odd lines in one authorized_keys, and for
//! each key in them the question that the proof asks, on one connection.
//!
//! What sshd takes, our reader must have found; what it reads without options, or with options that
//! we understand, sshd must take.

use crate::support::sshd::{Sshd, User};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use russh::client::{self, AuthResult};
use russh::keys::agent::AgentIdentity;
use russh::keys::{HashAlg, PublicKeyOrCertificate, ssh_key};
use sshkeyd::keys::{Line, Options, RawKey, read_line};
use std::sync::Arc;

/// Lines, each with a key of its own.
const LINES: u32 = 300;

/// What may stand before a key. None of these refuses a connection from loopback when it is sound.
const OPTIONS: [&str; 34] = [
    "",
    "",
    "",
    "no-pty",
    "NO-Pty",
    "restrict,pty",
    "command=\"echo hi #x\"",
    "command=\"say \\\"hi there\\\"\",no-pty",
    "command=\"a\\\\\"",
    "command=\"a\\\\\\\" b\"",
    "command=\"\"",
    "command=\"`id`\"",
    "environment=\"A=b c\"",
    "environment=\"A=\"",
    "permitopen=\"a:1\",permitopen=\"b:2\"",
    "permitlisten=\"8080\"",
    "tunnel=\"1\"",
    "expiry-time=\"20990101\"",
    "no-touch-required,verify-required",
    "no-user-rc,user-rc,agent-forwarding,x11-forwarding",
    "command=\"a\",command=\"b\"",
    "command=",
    "command",
    "no-pty=\"x\"",
    "no-such-option",
    ",",
    ",,no-pty",
    "no-pty,",
    "no-pty,,restrict",
    "command=\"never closed",
    "command=\"é\"",
    "no-pty\"",
    "\"no-pty\"",
    "1024",
];
const BLANKS: [&str; 5] = ["", "", " ", "\t", " \t "];
const GAPS: [&str; 5] = [" ", " ", "\t", "  ", " \t "];
const ENDS: [&str; 12] = [
    "", " a@b", "\ta b", " bob #2", " \"", "\r", " c\r", " a\0b", "\0", " é", " # x", "   ",
];

fn key(number: u32) -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([7; 28]);
    blob.extend(number.to_be_bytes());
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

fn pick<'a>(from: &[&'a str], random: &mut StdRng) -> &'a str {
    from[random.random_range(0..from.len())]
}

fn line(number: u32, random: &mut StdRng) -> Vec<u8> {
    let key = key(number).replacen(' ', pick(&GAPS, random), 1);
    let options = match pick(&OPTIONS, random) {
        "" => String::new(),
        options => format!("{options}{}", pick(&GAPS, random)),
    };
    let (before, after) = (pick(&BLANKS, random), pick(&ENDS, random));
    let mut line = format!("{before}{options}{key}{after}").into_bytes();
    // Now and then one byte is another, is gone, or is too many.
    let at = random.random_range(0..line.len());
    match random.random_range(0..12) {
        0 => line[at] = random.random_range(1..=255),
        1 => drop(line.remove(at)),
        2 => line.insert(at, random.random_range(1..128)),
        3 => line.truncate(at),
        _ => {}
    }
    line.retain(|byte| *byte != b'\n');
    line
}

/// The key that our reader finds in a line.
fn found(line: &[u8]) -> Option<(RawKey, Option<Vec<u8>>)> {
    match read_line(line) {
        Line::Entry(entry) => Some((entry.key, entry.options.map(<[u8]>::to_vec))),
        _ => None,
    }
}

struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

struct NoSignature;

/// sshd wants a signature: it would take the key.
struct Asked;

impl From<russh::SendError> for Asked {
    fn from(_: russh::SendError) -> Self {
        panic!("sshd hung up")
    }
}

impl russh::Signer for NoSignature {
    type Error = Asked;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, Asked> {
        Err(Asked)
    }
}

/// Which of these keys sshd would take for the user.
async fn asked(sshd: &Sshd, user: &str, blobs: &[Vec<u8>]) -> Vec<bool> {
    let config = Arc::new(client::Config::default());
    let mut handle = client::connect(config, sshd.address, Anyone).await.unwrap();
    let mut taken = Vec::new();
    for blob in blobs {
        let key = ssh_key::PublicKey::from_bytes(blob).unwrap();
        let mut signer = NoSignature;
        let answer = handle.authenticate_publickey_with(user, key, None, &mut signer);
        taken.push(match answer.await {
            Err(Asked) => true,
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) => {
                assert!(!remaining_methods.is_empty(), "sshd hung up");
                false
            }
            Ok(AuthResult::Success) => panic!("nothing was signed"),
        });
    }
    taken
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn odd_lines_read_as_sshd_reads_them() {
    let sshd = Sshd::start(&format!(
        "MaxAuthTries {}\nLoginGraceTime 120\nPermitUserEnvironment yes\n",
        4 * LINES
    ));
    let user = User::new();
    let mut random = StdRng::seed_from_u64(22);
    let mut lines: Vec<_> = (0..LINES).map(|number| line(number, &mut random)).collect();
    // Longer than any buffer: sshd has no limit to a line.
    let long = "x".repeat(100_000);
    lines.push(format!("{} {long}", key(LINES)).into_bytes());
    lines.push(format!("environment=\"A={long}\" {}", key(LINES + 1)).into_bytes());
    // Written as bytes: they are no text by law.
    let mut file = Vec::new();
    for line in &lines {
        file.extend_from_slice(line);
        file.push(b'\n');
    }
    user.authorize("");
    let mut open = std::fs::OpenOptions::new();
    let mut open = open.append(true).open(user.authorized_keys()).unwrap();
    std::io::Write::write_all(&mut open, &file).unwrap();

    // A damaged line may still hold a key, and then another one.
    let blobs: Vec<Vec<u8>> = lines
        .iter()
        .zip(0..)
        .map(|(line, number)| match found(line) {
            Some((key, _)) if key.key_type() == "ssh-ed25519" => key.blob().to_vec(),
            _ => {
                let text = key(number);
                STANDARD.decode(text.split_once(' ').unwrap().1).unwrap()
            }
        })
        .collect();
    let sound: Vec<_> = (0..lines.len())
        .filter(|at| ssh_key::PublicKey::from_bytes(&blobs[*at]).is_ok())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let offered: Vec<_> = sound.iter().map(|at| blobs[*at].clone()).collect();
    let taken = runtime.block_on(asked(&sshd, &user.name, &offered));
    let mut counts = (0, 0);
    for (at, taken) in sound.into_iter().zip(taken) {
        let shown = lines[at].escape_ascii();
        // A damaged line may have come to hold the key of another one.
        let read: Vec<_> = lines
            .iter()
            .filter_map(|line| found(line))
            .filter(|(key, _)| key.blob() == blobs[at])
            .collect();
        let understood = read.iter().any(|(_, options)| {
            let text = options.as_deref().map_or(Ok(""), std::str::from_utf8);
            text.is_ok_and(|text| Options::parse(text).is_ok())
        });
        if taken {
            counts.0 += 1;
            assert!(!read.is_empty(), "sshd takes what we do not see: {shown}");
        } else {
            counts.1 += 1;
            assert!(!understood, "sshd does not take what we read: {shown}");
        }
    }
    assert!(counts.0 > 75 && counts.1 > 50, "{counts:?}");
}

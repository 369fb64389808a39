//! Keys as people give them: what comes back as it was, and the name of each mistake.

use super::super::FingerprintError;
use super::*;

const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

fn error(text: &str) -> KeyError {
    PublicKey::parse_text(text).expect_err(text)
}

fn line(key_type: &str, parts: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for part in std::iter::once(&key_type.as_bytes()).chain(parts) {
        blob.extend((part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("{key_type} {}", STANDARD.encode(blob))
}

#[test]
fn a_key_comes_back_as_it_was_and_its_comment_is_apart() {
    let (key, comment) = PublicKey::parse_text(&format!("  {ED} alice@laptop \n")).unwrap();
    assert_eq!(key.to_string(), ED);
    assert_eq!(comment, "alice@laptop");
}

#[test]
fn control_characters_leave_a_comment() {
    let (_, comment) = PublicKey::parse_text(&format!("{ED} a\u{1b}[2Jb")).unwrap();
    assert_eq!(comment, "a[2Jb");
}

#[test]
fn each_mistake_has_its_own_name() {
    assert_eq!(error(" \n "), KeyError::Empty);
    assert_eq!(error(&format!("{ED}\0")), KeyError::Nul);
    assert_eq!(
        error("-----BEGIN OPENSSH PRIVATE KEY-----\nb3B\n"),
        KeyError::Private
    );
    assert_eq!(error(&format!("{ED}\n{ED}")), KeyError::SeveralKeys);
    assert_eq!(error(&format!("{ED}\nrm -rf")), KeyError::Newline);
    assert_eq!(error(&ED.replace("AAAAIA", "AAAA\nIA")), KeyError::Newline);
    assert_eq!(error("/home/alice/.ssh/id_ed25519.pub"), KeyError::Path);
    assert_eq!(error("/home/my user/.ssh/id_ed25519.pub"), KeyError::Path);
    assert_eq!(error(&format!("no-pty {ED}")), KeyError::Options);
    assert_eq!(error("hello world"), KeyError::NotAKey);
    assert_eq!(error("ssh-ed25519 AAA"), KeyError::Base64);
    assert_eq!(
        error(&ED.replace("ssh-ed25519", "ssh-rsa")),
        KeyError::TypeMismatch
    );
    assert_eq!(
        error(&line("ssh-ed25519", &[&[1; 31]])),
        KeyError::Malformed
    );
    assert_eq!(error(&line("ssh-dss", &[&[1; 8]])), KeyError::Dsa);
    assert_eq!(
        error(&line("ssh-ed25519-cert-v01@openssh.com", &[&[1; 8]])),
        KeyError::Certificate
    );
    assert_eq!(
        error(&line("ssh-mldsa-44@example.com", &[&[1; 8]])),
        KeyError::UnknownType("ssh-mldsa-44@example.com".into())
    );
    assert_eq!(error(&"x".repeat(MAX_TEXT + 1)), KeyError::TooLong);
}

#[test]
fn an_rsa_key_is_as_long_as_its_modulus() {
    let n = |bytes: usize| [vec![0], vec![0xc1; bytes]].concat();
    let rsa = |bytes| line("ssh-rsa", &[&[1, 0, 1], &n(bytes)]);
    assert_eq!(error(&rsa(128)), KeyError::RsaTooShort(1024));
    assert!(PublicKey::parse_text(&rsa(256)).is_ok());
}

#[test]
fn a_fingerprint_reads_what_it_writes() {
    let (key, _) = PublicKey::parse_text(ED).unwrap();
    let text = key.fingerprint().to_string();
    assert_eq!(text.parse::<Fingerprint>(), Ok(key.fingerprint()));
    assert_eq!("MD5:00".parse::<Fingerprint>(), Err(FingerprintError));
}

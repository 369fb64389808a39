//! Both ways, without ssh-keygen: that judges in tests/it.

use super::*;
use crate::trust::Signer;

fn ca() -> PublicKey {
    Signer::from_seed(&[1; 32]).public()
}

fn asked(serial: u64, key_id: &str) -> CertificateRef<'static> {
    static CA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    CertificateRef {
        ca: CA.get_or_init(|| ca().blob().to_vec()),
        serial,
        key_id: Box::leak(key_id.to_owned().into_boxed_str()).as_bytes(),
        key: b"a key",
    }
}

fn with(serials: impl IntoIterator<Item = u64>) -> Krl {
    let mut krl = Krl {
        version: 3,
        generated_at: 1_790_000_000,
        comment: "account 7".to_owned(),
        ..Krl::default()
    };
    krl.of_ca(&ca()).serials = serials.into_iter().collect();
    krl
}

#[test]
fn what_is_written_is_read() {
    let mut krl = with([1, 2, 3, 9, 1 << 62]);
    krl.of_ca(&ca()).key_ids.insert(b"7/3/12".to_vec());
    krl.keys.insert(ca().blob().to_vec());
    krl.sha256.insert(Fingerprint::of(b"one"));
    krl.sha1.insert([7; 20]);
    krl.certificates
        .insert(Vec::new(), RevokedCertificates::default());
    assert_eq!(Krl::parse(&krl.encode()), Ok(krl));
}

#[test]
fn each_kind_revokes_what_it_names_and_nothing_else() {
    let mut krl = with([5]);
    krl.of_ca(&ca()).key_ids.insert(b"7/3/12".to_vec());
    assert!(krl.revokes_certificate(asked(5, "")));
    assert!(krl.revokes_certificate(asked(0, "7/3/12")));
    assert!(!krl.revokes_certificate(asked(6, "7/3/1")));
    let other = CertificateRef {
        ca: b"another",
        ..asked(5, "7/3/12")
    };
    assert!(!krl.revokes_certificate(other));
    assert!(!krl.revokes_key(b"a key"));
    krl.sha256.insert(Fingerprint::of(b"a key"));
    assert!(krl.revokes_key(b"a key") && krl.revokes_certificate(asked(1, "")));
    // A CA that is revoked takes its certificates with it.
    let mut of_ca = Krl::default();
    of_ca.keys.insert(ca().blob().to_vec());
    assert!(of_ca.revokes_certificate(asked(1, "")));
}

#[test]
fn the_cheapest_form_is_taken_and_no_bitmap_is_too_wide() {
    let range = with(1..=100_000).encode();
    assert!(range.len() < 200, "{}", range.len());
    let alternate = with((1..=100_000).map(|n| n * 2));
    let bytes = alternate.encode();
    assert!(bytes.len() < 26_000, "{}", bytes.len());
    assert_eq!(Krl::parse(&bytes), Ok(alternate));
    let sparse = with((1..=1_000).map(|n| n << 40)).encode();
    assert!(sparse.len() < 8_200, "{}", sparse.len());
    // A dense stretch, and one that happens to be within the same bitmap's reach.
    let mixed = with((1..=100).map(|n| n * 2).chain([16_000])).encode();
    assert!(mixed.len() < 250, "{}", mixed.len());
}

#[test]
fn every_cut_is_refused() {
    let mut krl = with((1..200).map(|n| n * 3));
    krl.sha256.insert(Fingerprint::of(b"one"));
    let bytes = krl.encode();
    let sections = 44 + krl.comment.len();
    for end in 0..bytes.len() {
        let cut = Krl::parse(&bytes[..end]);
        // Between two sections there is no telling; sshd cannot either.
        assert!(cut.is_err() || end >= sections, "{end}: {cut:?}");
    }
    assert_eq!(Krl::parse(b"-----BEGIN"), Err(KrlError::NotAKrl));
}

#[test]
fn what_is_not_known_and_what_sshd_refuses_is_refused() {
    let bare = Krl::default().encode();
    let and = |section: &[u8]| Krl::parse(&[bare.as_slice(), section].concat());
    assert!(matches!(and(&[77, 0, 0, 0, 0]), Err(KrlError::Unknown(_))));
    let extension = |critical| [255, 0, 0, 0, 10, 0, 0, 0, 1, b'x', critical, 0, 0, 0, 0];
    assert!(matches!(and(&extension(1)), Err(KrlError::Unknown(_))));
    assert!(and(&extension(0)).is_ok());
    let mut wide = vec![CERTIFICATES, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let bits = vec![0xff_u8; 2_049];
    wide.push(SERIAL_BITMAP);
    wide.extend((bits.len() as u32 + 12).to_be_bytes());
    wide.extend(1_u64.to_be_bytes());
    wide.extend((bits.len() as u32).to_be_bytes());
    wide.extend(&bits);
    let length = (wide.len() - 5) as u32;
    wide[1..5].copy_from_slice(&length.to_be_bytes());
    assert!(matches!(and(&wide), Err(KrlError::TooLarge(_))));
}

#[test]
fn a_merge_revokes_what_either_does() {
    let mut ours = with([1]);
    let mut theirs = with([2, 9]);
    theirs.keys.insert(b"k".to_vec());
    theirs.version = 99;
    ours.merge(&theirs);
    assert!(
        [1, 2, 9]
            .iter()
            .all(|n| ours.revokes_certificate(asked(*n, "")))
    );
    assert!(ours.revokes_key(b"k") && ours.version == 3);
}

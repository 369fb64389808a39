//! Keys and lists for the tests of this folder.

use crate::keys::{KeyList, ListedKey, Options, PublicKey, RawKey};

/// An Ed25519 key that stands for `seed`.
pub(super) fn key(seed: u8) -> ListedKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, blob);
    let raw = RawKey::from_words(b"ssh-ed25519", text.as_bytes()).unwrap();
    ListedKey {
        id: seed.to_string(),
        name: format!("k{seed}"),
        key: PublicKey::try_from(raw).unwrap(),
        options: Options::default(),
        expires_at: None,
        saved_at: None,
    }
}

/// A list of them.
pub(super) fn list(seeds: &[u8]) -> KeyList {
    let mut list = KeyList::default();
    for seed in seeds {
        list.push(Ok(key(*seed)));
    }
    list
}

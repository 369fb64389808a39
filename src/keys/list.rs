//! A list of keys as a source gives it: the ones we would write, and the ones that were left out,
//! each with its place and why. One bad key costs that key, never the list.

use super::{Fingerprint, Line, Options, OptionsError, PublicKey, printable, read_line};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Most keys that one list may hold; more than any person or team has.
pub const MAX_KEYS: usize = 20_000;
/// Most of what was left out that is named: an answer of nothing but line breaks and letters must
/// not grow in memory.
const MAX_REJECTED: usize = 1000;

/// A key with what its source says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// How its source knows it: an id, or `FILE:LINE`.
    pub id: String,
    /// What its owner calls it, printable.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Its options.
    pub options: Options,
    /// When it stops to open anything.
    pub expires_at: Option<Timestamp>,
    /// When it was saved, where the source says so.
    pub saved_at: Option<Timestamp>,
}

/// A key that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it stands.
    pub at: String,
    /// Why it was left out.
    pub why: String,
    /// Its fingerprint, where it is a key at all.
    pub fingerprint: Option<Fingerprint>,
}

/// What a source holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyList {
    /// Keys that we would write, in the source's order, no blob twice.
    pub accepted: Vec<ListedKey>,
    /// Keys that were left out.
    pub rejected: Vec<Rejected>,
    /// Keys that are to stand in no line of any file, whoever put them there. Only a signed source
    /// says so (protocol.md section 2, "Revoked keys").
    pub revoked: BTreeSet<Fingerprint>,
}

impl KeyList {
    /// Adds a key; a blob that is there already is left out with a word.
    pub fn push(&mut self, key: Result<ListedKey, Rejected>) {
        let full = self.accepted.len() >= MAX_KEYS;
        match key {
            Ok(key) if full => self.reject(&key, format!("more than {MAX_KEYS} keys")),
            Ok(key) => self.accepted.push(key),
            Err(rejected) => self.leave_out(rejected),
        }
    }

    /// Takes the other list's keys after its own.
    pub fn append(&mut self, other: Self) {
        for key in other.accepted {
            self.push(Ok(key));
        }
        for rejected in other.rejected {
            self.leave_out(rejected);
        }
    }

    fn leave_out(&mut self, rejected: Rejected) {
        match self.rejected.len().cmp(&MAX_REJECTED) {
            Ordering::Less => self.rejected.push(rejected),
            Ordering::Equal => self.rejected.push(Rejected {
                at: rejected.at,
                why: format!("{MAX_REJECTED} were left out above; from here on none is named"),
                fingerprint: None,
            }),
            Ordering::Greater => {}
        }
    }

    /// Leaves out every second appearance of a blob.
    #[must_use]
    pub fn without_duplicates(mut self) -> Self {
        let mut seen = std::collections::HashSet::with_capacity(self.accepted.len());
        let mut accepted = std::mem::take(&mut self.accepted);
        let again: Vec<_> = accepted
            .extract_if(.., |key| !seen.insert(key.key.fingerprint()))
            .collect();
        // Lists are held for days.
        accepted.shrink_to_fit();
        self.accepted = accepted;
        for key in &again {
            self.reject(key, "the same key stands above".to_owned());
        }
        self
    }

    /// The same where a second appearance is no fault: two lists of one source, of which each may
    /// name a key.
    #[must_use]
    pub fn without_repeats(mut self) -> Self {
        let mut seen = std::collections::HashSet::new();
        self.accepted
            .retain(|key| seen.insert(key.key.fingerprint()));
        self
    }

    /// Reads authorized_keys text; `file` names it in places.
    #[must_use]
    pub fn from_authorized_keys(text: &[u8], file: &str) -> Self {
        let mut list = Self::default();
        let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        list.accepted.reserve_exact(lines.min(MAX_KEYS));
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            let place = format!("{file}:{}", at + 1);
            if let Some(key) = listed(line, &place) {
                list.push(key);
            }
        }
        list.without_duplicates()
    }

    fn reject(&mut self, key: &ListedKey, why: String) {
        self.leave_out(Rejected {
            at: key.id.clone(),
            why,
            fingerprint: Some(key.key.fingerprint()),
        });
    }
}

/// `None` for lines that are no keys.
fn listed(line: &[u8], place: &str) -> Option<Result<ListedKey, Rejected>> {
    let reject = |why: String, fingerprint| {
        Some(Err(Rejected {
            at: place.to_owned(),
            why,
            fingerprint,
        }))
    };
    let entry = match read_line(line) {
        Line::Blank | Line::Comment(_) => return None,
        Line::Unreadable(fault) => return reject(fault.to_string(), None),
        Line::Entry(entry) => entry,
    };
    let fingerprint = Some(entry.key.fingerprint());
    let options = match std::str::from_utf8(entry.options.unwrap_or_default()) {
        Ok(text) => Options::parse(text),
        Err(_) => Err(OptionsError::Text),
    };
    match (PublicKey::try_from(entry.key), options) {
        (Ok(key), Ok(options)) => Some(Ok(ListedKey {
            id: place.to_owned(),
            name: printable(&String::from_utf8_lossy(entry.comment)),
            key,
            options,
            expires_at: None,
            saved_at: None,
        })),
        (Err(fault), _) => reject(fault.to_string(), fingerprint),
        (_, Err(fault)) => reject(fault.to_string(), fingerprint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    #[test]
    fn a_flood_of_nonsense_is_not_kept() {
        let text = "x\n".repeat(100_000) + KEY;
        let list = KeyList::from_authorized_keys(text.as_bytes(), "k.pub");
        assert_eq!(list.accepted.len(), 1);
        assert_eq!(list.rejected.len(), MAX_REJECTED + 1);
    }

    #[test]
    fn one_bad_key_costs_one_key() {
        let text = format!("# mine\n{KEY} a\n\nhello world\nno-ptty {KEY}\n{KEY} again\n");
        let list = KeyList::from_authorized_keys(text.as_bytes(), "k.pub");
        assert_eq!(list.accepted.len(), 1);
        assert_eq!(list.accepted[0].name, "a");
        assert_eq!(list.accepted[0].id, "k.pub:2");
        let places: Vec<_> = list.rejected.iter().map(|r| r.at.as_str()).collect();
        assert_eq!(places, ["k.pub:4", "k.pub:5", "k.pub:6"]);
        assert!(list.rejected[1].why.contains("no-ptty"));
        assert!(list.rejected[2].fingerprint.is_some());
    }
}

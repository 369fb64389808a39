//! May this snapshot take the place of the list that is held? Every rule of protocol.md section 2
//! that can be judged from the snapshot itself, in one function without I/O.

use super::content::content_digest;
use super::trust::Offered;
use crate::keys::{KeyList, ListedKey, Options, PublicKey, Rejected, printable};
use crate::sync::{Code, Finding};
use crate::trust::{Floor, FloorFault, Standing, claimed_signer, verify_any};
use crate::wire::{EndSessions, NAMESPACE, Payload, Removed, Revoked, SignedSnapshot, SnapshotKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::borrow::Borrow;

/// Most signers that a set may have.
const MAX_SIGNERS: usize = 4;

/// What is already known when a snapshot comes.
#[derive(Debug)]
pub(super) struct Pins<'a> {
    pub(super) account: i64,
    pub(super) instance: i64,
    pub(super) signers: &'a [PublicKey],
    pub(super) floor: &'a Floor,
}

/// A snapshot that is believed.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) revision: u64,
    pub(super) expires_at: Timestamp,
    pub(super) removed: Option<Removed>,
    /// Orders to end sessions.
    pub(super) end_sessions: Vec<EndSessions>,
    pub(super) list: KeyList,
    /// What it says of certificates.
    pub(super) trust: Offered,
    /// The signers to believe next.
    pub(super) signers: Vec<PublicKey>,
    pub(super) digest: String,
    pub(super) standing: Standing,
}

/// Why a snapshot is not believed. The list that is held stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no good signature of a signer that is known here")]
    Signature,
    #[error("it is signed by {0}, which is not known here, and nothing that is leads on to it")]
    Signer(String),
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Floor(#[from] FloorFault),
    #[error("it is of account {0}, and this instance is of another")]
    WrongAccount(i64),
    #[error("it is for other instances than this one")]
    WrongInstance,
}

impl Refusal {
    pub(super) fn finding(&self, source: &str) -> Finding {
        let code = match self {
            Self::Signature => Code::SnapshotSignature,
            Self::Signer(_) => Code::SignerUnknown,
            Self::Malformed(_) => Code::SourceMalformed,
            Self::Floor(FloorFault::Lower { .. }) => Code::SnapshotLowerRevision,
            Self::Floor(FloorFault::Forked { .. }) => Code::SnapshotForked,
            Self::WrongAccount(_) => Code::WrongAccount,
            Self::WrongInstance => Code::WrongInstance,
        };
        Finding::new(code, source, self.to_string())
    }
}

/// The signature comes first: nothing of an unsigned payload is even parsed.
///
/// What is done with is let go at once: of a long list each form is megabytes.
pub(super) fn judge(snapshot: SignedSnapshot, pins: &Pins<'_>) -> Result<Judged, Refusal> {
    let bytes = STANDARD
        .decode(&snapshot.payload)
        .map_err(|_| Refusal::Malformed("the payload is not base64".to_owned()))?;
    drop(snapshot.payload);
    verify_any(NAMESPACE, &bytes, &snapshot.signatures, pins.signers)
        .map_err(|_| unsigned(&snapshot.signatures, pins.signers))?;
    let malformed = |fault: serde_json::Error| Refusal::Malformed(fault.to_string());
    // Before the rest of it is in memory. Nothing is told of it before the rest is judged.
    let digest = content_digest(&bytes);
    let payload: Payload = serde_json::from_slice(&bytes).map_err(malformed)?;
    drop(bytes);
    if payload.v != 1 {
        return Err(Refusal::Malformed(format!(
            "snapshot version {} is not known",
            payload.v
        )));
    }
    if payload.account != pins.account {
        return Err(Refusal::WrongAccount(payload.account));
    }
    let ours = match payload.instance {
        Some(instance) => instance == pins.instance,
        None => !payload.except.contains(&pins.instance),
    };
    if !ours {
        return Err(Refusal::WrongInstance);
    }
    let digest = digest.map_err(malformed)?;
    let standing = pins.floor.judge(payload.revision, &digest)?;
    Ok(Judged {
        list: key_list(payload.keys, &payload.revoked),
        trust: Offered {
            user_ca: payload.user_ca,
            principals: payload.principals,
            krl: payload.krl,
        },
        signers: signers(&payload.signers)?,
        revision: payload.revision,
        expires_at: payload.expires_at,
        removed: payload.removed,
        end_sessions: payload.end_sessions,
        digest,
        standing,
    })
}

/// Changed on its way, or signed by others: a person does different things about it.
fn unsigned(signatures: &[String], known: &[PublicKey]) -> Refusal {
    let claimed: Vec<PublicKey> = signatures
        .iter()
        .take(MAX_SIGNERS)
        .filter_map(|signature| claimed_signer(signature))
        .collect();
    match claimed.first() {
        Some(first) if !claimed.iter().any(|signer| known.contains(signer)) => {
            Refusal::Signer(first.fingerprint().to_string())
        }
        _ => Refusal::Signature,
    }
}

/// A set of signers is never empty, never more than four, and never half understood.
pub(super) fn signers(lines: &[String]) -> Result<Vec<PublicKey>, Refusal> {
    if lines.is_empty() || lines.len() > MAX_SIGNERS {
        return Err(Refusal::Malformed(
            "a set of signers has one to four".to_owned(),
        ));
    }
    lines
        .iter()
        .map(|line| PublicKey::parse_text(line).map(|(key, _)| key))
        .collect::<Result<_, _>>()
        .map_err(|fault| Refusal::Malformed(format!("a signer is {fault}")))
}

/// Each key parsed or left out, with why. A key whose options we do not understand is left out:
/// without them it would open more than its owner meant. Keys that are given away are gone one by
/// one.
#[must_use]
pub fn key_list<K: Borrow<SnapshotKey>>(
    keys: impl IntoIterator<Item = K>,
    revoked: &[Revoked],
) -> KeyList {
    let mut list = KeyList::default();
    for key in keys {
        let key = key.borrow();
        let public = PublicKey::parse_text(&key.public_key);
        let reject = |why: String| Rejected {
            at: format!("key {}", key.id),
            why,
            fingerprint: public.as_ref().ok().map(|(key, _)| key.fingerprint()),
        };
        list.push(match (&public, Options::parse(&key.options)) {
            (Ok((public, _)), Ok(options)) => Ok(ListedKey {
                id: key.id.to_string(),
                name: printable(&key.name),
                key: public.clone(),
                options,
                expires_at: key.expires_at,
                saved_at: Some(key.saved_at),
            }),
            (Err(fault), _) => Err(reject(fault.to_string())),
            (_, Err(fault)) => Err(reject(fault.to_string())),
        });
    }
    for key in revoked {
        match key.fingerprint.parse() {
            Ok(fingerprint) => drop(list.revoked.insert(fingerprint)),
            Err(_) => list.rejected.push(Rejected {
                at: "revoked".to_owned(),
                why: format!("{} is no fingerprint", printable(&key.fingerprint)),
                fingerprint: None,
            }),
        }
    }
    list.without_duplicates()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Signer;

    fn payload(revision: u64) -> Payload {
        Payload {
            v: 1,
            account: 3,
            instance: None,
            except: vec![8],
            revision,
            issued_at: "2026-11-22T19:00:00Z".parse().unwrap(),
            expires_at: "2026-11-23T19:00:00Z".parse().unwrap(),
            keys: Vec::new(),
            revoked: Vec::new(),
            end_sessions: Vec::new(),
            user_ca: Vec::new(),
            krl: None,
            principals: std::collections::BTreeMap::new(),
            signers: vec![signer(1).public().to_string()],
            removed: None,
        }
    }

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn signed(payload: &Payload, by: u8) -> SignedSnapshot {
        let bytes = serde_json::to_vec(payload).unwrap();
        SignedSnapshot {
            payload: STANDARD.encode(&bytes),
            signatures: vec![signer(by).sign(NAMESPACE, &bytes)],
        }
    }

    fn judged(payload: &Payload, by: u8, instance: i64, floor: &Floor) -> Result<Judged, Refusal> {
        let signers = [signer(1).public()];
        let pins = Pins {
            account: 3,
            instance,
            signers: &signers,
            floor,
        };
        judge(signed(payload, by), &pins)
    }

    fn floor(revision: u64) -> Floor {
        Floor {
            revision,
            digest: None,
        }
    }

    #[test]
    fn only_the_pinned_signer_is_believed() {
        assert!(judged(&payload(5), 1, 7, &floor(5)).is_ok());
        let other = judged(&payload(5), 2, 7, &floor(5)).unwrap_err();
        let fingerprint = signer(2).public().fingerprint().to_string();
        assert!(matches!(other, Refusal::Signer(by) if by == fingerprint));
        // Changed on its way.
        let mut bent = signed(&payload(5), 1);
        bent.payload = signed(&payload(6), 1).payload;
        let signers = [signer(1).public()];
        let pins = Pins {
            account: 3,
            instance: 7,
            signers: &signers,
            floor: &floor(5),
        };
        assert!(matches!(
            judge(bent, &pins).unwrap_err(),
            Refusal::Signature
        ));
    }

    #[test]
    fn a_list_of_another_account_or_instance_is_refused() {
        let mut foreign = payload(5);
        foreign.account = 4;
        let fault = judged(&foreign, 1, 7, &floor(5)).unwrap_err();
        assert!(matches!(fault, Refusal::WrongAccount(4)));
        let fault = judged(&payload(5), 1, 8, &floor(5)).unwrap_err();
        assert!(matches!(fault, Refusal::WrongInstance));
        let mut own = payload(5);
        own.instance = Some(8);
        assert!(judged(&own, 1, 8, &floor(5)).is_ok());
        let fault = judged(&own, 1, 7, &floor(5)).unwrap_err();
        assert!(matches!(fault, Refusal::WrongInstance));
    }

    #[test]
    fn a_revision_below_the_floor_is_refused_and_signing_again_is_not_a_fork() {
        let fault = judged(&payload(5), 1, 7, &floor(6)).unwrap_err();
        assert!(matches!(fault, Refusal::Floor(FloorFault::Lower { .. })));
        let first = judged(&payload(5), 1, 7, &floor(5)).unwrap();
        let held = Floor {
            revision: 5,
            digest: Some(first.digest),
        };
        let mut again = payload(5);
        again.issued_at = "2026-11-23T07:00:00Z".parse().unwrap();
        let again = judged(&again, 1, 7, &held).unwrap();
        assert_eq!(again.standing, Standing::Same);
        let mut forked = payload(5);
        forked.except.clear();
        let fault = judged(&forked, 1, 7, &held).unwrap_err();
        assert!(matches!(fault, Refusal::Floor(FloorFault::Forked { .. })));
    }

    #[test]
    fn one_bad_key_costs_that_key() {
        let key = |id, text: &str, options: &str| SnapshotKey {
            id,
            name: "n\n".into(),
            public_key: text.into(),
            options: options.into(),
            expires_at: None,
            saved_at: "2026-11-22T19:00:00Z".parse().unwrap(),
        };
        let good = signer(9).public().to_string();
        let mut payload = payload(5);
        payload.keys = vec![
            key(1, &good, ""),
            key(2, "nonsense", ""),
            key(3, &signer(8).public().to_string(), "no-such"),
        ];
        let list = judged(&payload, 1, 7, &floor(5)).unwrap().list;
        assert_eq!(list.accepted.len(), 1);
        assert_eq!(list.accepted[0].name, "n");
        let places: Vec<_> = list.rejected.iter().map(|r| r.at.as_str()).collect();
        assert_eq!(places, ["key 2", "key 3"]);
        assert!(list.rejected[1].fingerprint.is_some());
    }
}

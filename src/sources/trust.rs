//! What a signed list says of certificates: the CAs of users, their principals, the revocation list.
//!
//! Kept in one record with the list's keys. What of it cannot be read leaves that part as it was
//! before and is said; it never costs a key, nor the list. A revocation list that does not travel in
//! the list is fetched by its digest (`account/krl.rs`), and the one before it stays in force until
//! then.

use crate::keys::PublicKey;
use crate::sync::{Code, Finding};
use crate::sys::private_file;
use crate::trust::{Krl, MAX_KRL, is_principal};
use crate::wire::KrlRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Most CAs, users with principals of their own, and principals of one.
const MAX_CAS: usize = 16;
const MAX_USERS: usize = 1024;
const MAX_PRINCIPALS: usize = 64;
/// Most bytes of a revocation list that stands in its list (protocol.md section 2, "KRL").
const MAX_INLINE: u64 = 4096;

/// What a signed list says of certificates, as far as it is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// CAs whose user certificates sshd is to trust, the one that signs first.
    pub user_ca: Vec<PublicKey>,
    /// Local user to the principals that may log in as him; `*`: every user of a target.
    pub principals: BTreeMap<String, Vec<String>>,
    /// The newest revocation list that is here.
    pub krl: Option<Arc<HeldKrl>>,
    /// The number of the revocation list that the list names; another than `krl`'s while that is
    /// still to be fetched. `None`: it names none.
    pub named_krl: Option<u64>,
}

/// A revocation list, whole and read once.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldKrl {
    /// Its number.
    pub version: u64,
    /// The file, as sshd reads it.
    pub bytes: Arc<Vec<u8>>,
    /// Hexadecimal digest of the file.
    pub(super) sha256: String,
}

/// The same as it is kept in the record, in wire's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TrustPart {
    #[serde(default)]
    user_ca: Vec<String>,
    #[serde(default)]
    principals: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) krl: Option<KrlRef>,
    /// What of it could not be read, in words.
    #[serde(default)]
    user_ca_faults: Vec<String>,
    #[serde(default)]
    krl_fault: Option<String>,
}

/// What a payload says of it, not read yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Offered {
    pub(super) user_ca: Vec<String>,
    pub(super) principals: BTreeMap<String, Vec<String>>,
    pub(super) krl: Option<KrlRef>,
}

impl HeldKrl {
    /// Reads it whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let krl = Krl::parse(&bytes).map_err(|fault| fault.to_string())?;
        Ok(Self {
            version: krl.version,
            sha256: hex(&bytes),
            bytes: Arc::new(bytes),
        })
    }

    /// The same, when it is what was named.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn named(bytes: Vec<u8>, named: &KrlRef) -> Result<Self, String> {
        if bytes.len() as u64 != named.size || hex(&bytes) != named.sha256 {
            return Err("it is another than the signed list names".to_owned());
        }
        let krl = Self::parse(bytes)?;
        Ok(Self {
            version: named.version,
            ..krl
        })
    }

    /// The one that was kept in a file of its own.
    ///
    /// # Errors
    /// What the system says; a damaged one is none.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = private_file::read(path)? else {
            return Ok(None);
        };
        let krl = Self::parse(bytes.to_vec());
        if let Err(why) = &krl {
            tracing::warn!(path = %path.display(), why, "the revocation list that was kept");
        }
        Ok(krl.ok())
    }

    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        private_file::replace(path, &self.bytes)
    }
}

impl TrustPart {
    /// What is offered, and where that cannot be read what was before. With `removed` the instance
    /// belongs to the account no more: its certificates stop, and what was revoked stays so.
    pub(super) fn of(offered: Offered, before: Option<&Self>, removed: bool) -> Self {
        let none = Self::default();
        let before = before.unwrap_or(&none);
        let mut part = Self::default();
        part.take_krl(offered.krl, before);
        if removed {
            return part;
        }
        let mut faults = Vec::new();
        let mut cas = cas(&offered.user_ca, &mut faults);
        if cas.is_empty() && !offered.user_ca.is_empty() {
            cas.clone_from(&before.user_ca);
            faults.push("the CAs before stay".to_owned());
        }
        part.user_ca = cas;
        if offered.principals.len() > MAX_USERS {
            faults.push(format!("principals of over {MAX_USERS} users"));
            part.principals.clone_from(&before.principals);
        } else {
            part.principals = principals(offered.principals, &mut faults);
        }
        part.user_ca_faults = faults;
        part
    }

    fn take_krl(&mut self, offered: Option<KrlRef>, before: &Self) {
        // A list that says nothing of it takes nothing back: an empty one would.
        self.krl.clone_from(&before.krl);
        let Some(mut offered) = offered else { return };
        match check(&offered) {
            Ok(()) => {
                if offered.size > MAX_INLINE {
                    offered.base64 = None;
                }
                self.krl = Some(offered);
            }
            Err(why) => {
                let why = format!("number {} {why}; the one before stays", offered.version);
                self.krl_fault = Some(why);
            }
        }
    }

    /// The revocation list that stands in the record itself.
    pub(super) fn inline_krl(&self) -> Option<HeldKrl> {
        let named = self.krl.as_ref()?;
        let bytes = STANDARD.decode(named.base64.as_ref()?).ok()?;
        HeldKrl::named(bytes, named).ok()
    }

    /// What is in force of it, with the revocation list that is here.
    pub(super) fn trust(&self, krl: Option<&Arc<HeldKrl>>) -> Trust {
        let key = |line: &String| PublicKey::parse_text(line).ok().map(|(key, _)| key);
        Trust {
            user_ca: self.user_ca.iter().filter_map(key).collect(),
            principals: self.principals.clone(),
            krl: krl.cloned(),
            named_krl: self.krl.as_ref().map(|krl| krl.version),
        }
    }

    /// The revocation list that is named and not here.
    pub(super) fn missing(&self, krl: Option<&Arc<HeldKrl>>) -> Option<&KrlRef> {
        let is_here = |named: &&KrlRef| krl.is_some_and(|krl| krl.sha256 == named.sha256);
        self.krl.as_ref().filter(|named| !is_here(named))
    }

    /// What an administrator should hear; `why` says what keeps a revocation list away.
    pub(super) fn findings(
        &self,
        source: &str,
        krl: Option<&Arc<HeldKrl>>,
        why: Option<&str>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.user_ca_faults.is_empty() {
            let text = self.user_ca_faults.join("; ");
            findings.push(Finding::new(Code::UserCaNotInForce, source, text));
        }
        let missing = self.missing(krl).map(|named| {
            let (version, size) = (named.version, named.size);
            let before = match krl {
                Some(krl) => format!("number {} before it is in force", krl.version),
                None => "none before it is here".to_owned(),
            };
            let why = why.map_or(String::new(), |why| format!(" ({why})"));
            format!(
                "revocation list number {version} ({size} bytes) is not here yet{why}; {before}"
            )
        });
        if let Some(text) = self.krl_fault.clone().or(missing) {
            findings.push(Finding::new(Code::KrlNotInForce, source, text));
        }
        findings
    }
}

/// Each line by itself: a bad one costs that CA. A CA is a plain key, never a certificate
/// (CVE-2025-49825): [`PublicKey`] is no other.
fn cas(lines: &[String], faults: &mut Vec<String>) -> Vec<String> {
    let mut cas: Vec<String> = Vec::new();
    for (line, at) in lines.iter().zip(1..) {
        match PublicKey::parse_text(line) {
            _ if at > MAX_CAS => {
                faults.push(format!("over {MAX_CAS} CAs; the others are left out"));
                break;
            }
            Ok((key, _)) => {
                let key = key.to_string();
                if !cas.contains(&key) {
                    cas.push(key);
                }
            }
            Err(fault) => faults.push(format!("CA {at} of the list is {fault}")),
        }
    }
    cas
}

fn principals(
    offered: BTreeMap<String, Vec<String>>,
    faults: &mut Vec<String>,
) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (user, mut names) in offered {
        let many = names.len();
        names.retain(|name| is_principal(name));
        names.truncate(MAX_PRINCIPALS);
        if names.len() < many {
            let user = crate::keys::printable(&user);
            faults.push(format!("not all principals of user {user} can be used"));
        }
        all.insert(user, names);
    }
    all
}

/// Whether what is named can be had at all.
fn check(named: &KrlRef) -> Result<(), String> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if named.sha256.len() != 64 || !named.sha256.bytes().all(is_hex) {
        return Err("has no digest".to_owned());
    }
    if named.size > MAX_KRL as u64 {
        return Err(format!("has {} bytes, over {MAX_KRL}", named.size));
    }
    match &named.base64 {
        Some(base64) if named.size <= MAX_INLINE => {
            let bytes = STANDARD
                .decode(base64)
                .map_err(|_| "is not base64".to_owned())?;
            HeldKrl::named(bytes, named)
                .map(|_| ())
                .map_err(|why| format!("cannot be used: {why}"))
        }
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

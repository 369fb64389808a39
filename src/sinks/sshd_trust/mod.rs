//! The files by which sshd trusts certificates of users and refuses what was revoked: `user-ca.pub`,
//! `principals/USER`, `revoked.krl`, in one directory of root's.
//!
//! sshd reads each of them at every login (OpenSSH `auth2-pubkey.c`, `user_cert_trusted_ca`;
//! `auth.c`, `auth_key_is_revoked`), so a change needs no reload. RevokedKeys that names a file
//! which is missing or cannot be read refuses every key of everybody (sshd_config(5)): the file is
//! only ever replaced, by what ssh-keygen has read before, and taken away by nobody but
//! [`TrustFiles::clear`]. Knows nothing of who names these files; that is `sshd_config`'s.

mod files;
mod judge;
mod merge;

pub use merge::{Merged, revoked_in};

use super::sshd_config::{Directive, Wish};
use crate::keys::{Fingerprint, PublicKey};
use crate::sync::{Code, Finding};
use crate::trust::Krl;
use files::{Found, Seen, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// First words of the text files; one that begins otherwise is somebody else's.
const MARK: &str = "# Kept by sshkeyd";
/// The wish that goes with CAs and principals.
pub const USER_CERTIFICATES: &str = "user certificates";
/// The wish that goes with the revocation list.
pub const REVOCATION: &str = "revocation";

const USER_CA: &str = "user-ca.pub";
const KRL: &str = "revoked.krl";
const PRINCIPALS: &str = "principals";
/// What a list is called that stands in for one that was lost.
const UNKNOWN: &str = "sshkeyd: nothing is known";

/// Where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    directory: PathBuf,
}

/// What the files are to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// CAs; `None`: CAs and principals stay as they stand.
    pub user_ca: Option<Vec<PublicKey>>,
    /// Local user to the principals that may log in as him; nobody else's certificate does.
    pub principals: BTreeMap<String, Vec<String>>,
    /// The revocation list.
    pub krl: WantedKrl,
}

/// What the revocation list is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WantedKrl {
    /// What it is: nothing better is known.
    #[default]
    AsItStands,
    /// Away, once nobody names it.
    Nothing,
    /// This.
    Is {
        /// Its number.
        version: u64,
        /// The file.
        bytes: Arc<Vec<u8>>,
    },
}

impl Wanted {
    /// Nobody is trusted, and the list may go.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            user_ca: Some(Vec::new()),
            krl: WantedKrl::Nothing,
            ..Self::default()
        }
    }
}

/// What stands there by our hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The CAs of the file; `None`: there is no file.
    pub user_ca: Option<Vec<Fingerprint>>,
    /// The number of the revocation list; `None`: there is none that can be read.
    pub krl: Option<u64>,
}

/// What a put came to.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// What stands by now.
    pub standing: Standing,
    /// What an administrator should hear.
    pub findings: Vec<Finding>,
    /// Files that somebody else had changed since they were left, and that were put back.
    pub drifted: Vec<PathBuf>,
    /// What was left, for the next to tell drift by.
    pub left: Left,
    /// Something could not be written, and may be another time.
    pub is_failed: bool,
}

impl Put {
    fn fails(&mut self, finding: Finding) {
        self.is_failed = true;
        self.findings.push(finding);
    }
}

/// Digests of files as they were left.
pub type Left = BTreeMap<PathBuf, [u8; 32]>;

impl TrustFiles {
    /// Those of this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The CAs.
    #[must_use]
    pub fn user_ca(&self) -> PathBuf {
        self.directory.join(USER_CA)
    }

    /// The revocation list.
    #[must_use]
    pub fn krl(&self) -> PathBuf {
        self.directory.join(KRL)
    }

    /// The principals of one local user; `%u`: of each.
    #[must_use]
    pub fn principals(&self, user: &str) -> PathBuf {
        self.directory.join(PRINCIPALS).join(user)
    }

    /// What is to stand in sshd's configuration for what is in the files. A list that stands is
    /// named only once it can be read; it goes before those that are `merged` into it.
    #[must_use]
    pub fn wishes(&self, has_user_ca: bool, has_krl: bool, merged: &[PathBuf]) -> Vec<Wish> {
        let text = |path: PathBuf| path.display().to_string();
        let user_ca = has_user_ca.then(|| Wish {
            purpose: USER_CERTIFICATES,
            directives: vec![
                Directive::is("TrustedUserCAKeys", text(self.user_ca())),
                Directive::is("AuthorizedPrincipalsFile", text(self.principals("%u"))),
            ],
        });
        let krl = has_krl.then(|| {
            let merged = merged.iter().cloned().map(text).collect();
            Wish {
                purpose: REVOCATION,
                directives: vec![Directive::is("RevokedKeys", text(self.krl())).over(merged)],
            }
        });
        // What is revoked goes before who is trusted.
        krl.into_iter().chain(user_ca).collect()
    }

    /// What stands there by our hand. May block.
    #[must_use]
    pub fn look(&self) -> Standing {
        let seen = self.see();
        Standing {
            user_ca: seen.user_ca.text().map(files::cas_in),
            krl: seen.krl.krl_in_use().map(|krl| krl.version),
        }
    }

    /// The revocation list that stands there. May block.
    #[must_use]
    pub fn standing_krl(&self) -> Option<Krl> {
        self.see().krl.krl_in_use()
    }

    /// What of others stands where our files would: theirs it stays. May block.
    #[must_use]
    pub fn taken(&self, users: &BTreeSet<String>, is_named: bool) -> Option<PathBuf> {
        let seen = self.see();
        if seen.user_ca.is_anothers() {
            return Some(self.user_ca());
        }
        let is_marked = |krl: &Krl| {
            let comment = &krl.comment;
            comment.starts_with("sshkeyd") || comment.starts_with("account ")
        };
        let is_ours = is_named || seen.krl.krl().as_ref().is_some_and(is_marked);
        if !is_ours && !matches!(seen.krl, Found::Nothing) {
            return Some(self.krl());
        }
        let mut taken = users.iter().filter(|user| {
            let found = seen.principals.get(*user);
            found.is_some_and(Found::is_anothers)
        });
        taken.next().map(|user| self.principals(user))
    }

    /// Makes the files say what is wanted; nothing is written where nothing changes. `is_named`:
    /// sshd's configuration names the revocation list, so that one must stand whatever is wanted.
    pub async fn put(&self, wanted: &Wanted, is_named: bool, left: &Left) -> Put {
        let (files, before) = (self.clone(), left.clone());
        let seen = match spawn_blocking(move || files.see()).await {
            Ok(seen) => seen,
            Err(fault) => return self.broken(&fault.to_string()),
        };
        let mut put = Put {
            standing: Standing {
                user_ca: seen.user_ca.text().map(files::cas_in),
                krl: None,
            },
            ..Put::default()
        };
        self.put_krl(&wanted.krl, is_named, &seen, &mut put).await;
        self.put_cas(wanted, &seen, &mut put).await;
        let is_drift = |path: &PathBuf| before.get(path) == put.left.get(path);
        let found = seen.digests(self);
        let changed = before
            .iter()
            .filter(|(path, digest)| found.get(*path) != Some(digest));
        put.drifted = changed.map(|(path, _)| path.clone()).collect();
        put.drifted.retain(is_drift);
        put
    }

    async fn put_krl(&self, wanted: &WantedKrl, is_named: bool, seen: &Seen, put: &mut Put) {
        let path = self.krl();
        let stands = || seen.krl.krl_in_use().map(|krl| krl.version);
        let (version, bytes) = match wanted {
            WantedKrl::Is { version, bytes } if seen.krl.is(bytes) => {
                put.standing.krl = Some(*version);
                put.left.insert(path, digest(bytes));
                return;
            }
            WantedKrl::Is { version, bytes } => (*version, Arc::clone(bytes)),
            WantedKrl::AsItStands | WantedKrl::Nothing => {
                let standing = seen.krl.krl_in_use();
                put.standing.krl = standing.as_ref().map(|krl| krl.version);
                let is_known = standing.is_some_and(|krl| krl.comment != UNKNOWN);
                if !is_named || (is_known && *wanted == WantedKrl::Nothing) {
                    return;
                }
                if !is_known && *wanted == WantedKrl::AsItStands {
                    let text = "what was revoked is not known here until there is a signed list";
                    let about = path.display().to_string();
                    put.findings
                        .push(Finding::new(Code::KrlNotInForce, about, text));
                }
                match &seen.krl {
                    // Others may change it, or soon cannot read it: the same is put in its place.
                    Found::Odd(Some(bytes)) if put.standing.krl.is_some() => {
                        (put.standing.krl.unwrap_or(0), Arc::new(bytes.clone()))
                    }
                    _ if put.standing.krl.is_some() => return,
                    // Nobody gets in as it is. An empty list revokes nothing and lets keys in.
                    _ => {
                        let krl = Krl {
                            comment: UNKNOWN.to_owned(),
                            ..Krl::default()
                        };
                        (0, Arc::new(krl.encode()))
                    }
                }
            }
        };
        let judged = judge::krl(&bytes).await;
        let written = match judged {
            Ok(()) => self.write(KRL, None, Arc::clone(&bytes)).await,
            Err(why) => Err(why),
        };
        match written {
            Ok(()) => {
                tracing::info!(path = %path.display(), version, "revocation list in place");
                put.standing.krl = Some(version);
                put.left.insert(path, digest(&bytes));
            }
            Err(why) => {
                put.is_failed = true;
                put.standing.krl = stands();
                let text = match put.standing.krl {
                    Some(before) => {
                        format!("number {version} is not in place: {why}; number {before} stays")
                    }
                    None => format!("number {version} is not in place: {why}"),
                };
                let about = path.display().to_string();
                put.findings
                    .push(Finding::new(Code::KrlNotInForce, about, text));
            }
        }
    }

    /// Who is trusted no more goes first, who is trusted anew comes last.
    async fn put_cas(&self, wanted: &Wanted, seen: &Seen, put: &mut Put) {
        let Some(cas) = &wanted.user_ca else { return };
        let is_wanted = |user: &String| wanted.principals.contains_key(user) && !cas.is_empty();
        let mut out: Vec<_> = seen
            .principals
            .keys()
            .filter(|user| !is_wanted(user))
            .collect();
        out.retain(|user| !seen.principals.get(*user).is_some_and(Found::is_anothers));
        if let Err(why) = self.take_out(&out).await {
            put.fails(self.fault(PRINCIPALS, &why));
        }
        let ca_text = files::ca_text(cas);
        let is_so = seen.user_ca.is(ca_text.as_bytes());
        let is_over = cas.is_empty() && matches!(seen.user_ca, Found::Nothing);
        let mut new: Vec<_> = wanted.principals.iter().collect();
        new.retain(|(user, _)| is_wanted(user));
        if cas.is_empty() && !is_so && !is_over {
            self.put_ca_file(cas, &ca_text, put).await;
        }
        for (user, names) in new {
            let text = files::principals_text(names);
            let found = seen.principals.get(user);
            let path = self.principals(user);
            if !found.is_some_and(|found| found.is(text.as_bytes())) {
                let bytes = Arc::new(text.clone().into_bytes());
                if let Err(why) = self.write(user, Some(PRINCIPALS), bytes).await {
                    put.fails(self.fault(&path.display().to_string(), &why));
                    continue;
                }
            }
            put.left.insert(path, digest(text.as_bytes()));
        }
        if !cas.is_empty() && !is_so {
            self.put_ca_file(cas, &ca_text, put).await;
        }
        if is_so {
            put.left.insert(self.user_ca(), digest(ca_text.as_bytes()));
        }
    }

    async fn put_ca_file(&self, cas: &[PublicKey], text: &str, put: &mut Put) {
        let judged = judge::cas(text, cas.len()).await;
        let bytes = Arc::new(text.as_bytes().to_vec());
        let written = match judged {
            Ok(()) => self.write(USER_CA, None, bytes).await,
            Err(why) => Err(why),
        };
        match written {
            Ok(()) => {
                let path = self.user_ca();
                let cas: Vec<_> = cas.iter().map(PublicKey::fingerprint).collect();
                tracing::info!(path = %path.display(), cas = cas.len(), "CAs of users in place");
                put.standing.user_ca = Some(cas);
                put.left.insert(path, digest(text.as_bytes()));
            }
            Err(why) => put.fails(self.fault(USER_CA, &why)),
        }
    }

    fn fault(&self, name: &str, why: &str) -> Finding {
        let about = self.directory.join(name).display().to_string();
        Finding::new(Code::UserCaNotInForce, about, why)
    }

    fn broken(&self, why: &str) -> Put {
        Put {
            findings: vec![self.fault("", why)],
            is_failed: true,
            ..Put::default()
        }
    }
}

#[cfg(test)]
mod tests;

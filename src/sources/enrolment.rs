//! How an agent comes to a session key and keeps it (protocol.md section 1): by a token once, by
//! its identity key ever after.
//!
//! A token is spent only on a service whose signer is the one that the token names; of the signers
//! that an answer lists, only that one is pinned.

use super::identity::{HostMarks, identity, kept_identity};
use crate::client::{Api, ClientError};
use crate::config::{AccountSource, SecretError, read_secret_file};
use crate::keys::{Fingerprint, PublicKey};
use crate::sync::{Code, Finding};
use crate::sys::{clock, private_file, users};
use crate::trust::{AGENT_NAMESPACE, Floor, Signer};
use crate::wire::{EnrollRequest, RenewRequest, renewal_message};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// Most tokens that are remembered as tried.
const MAX_TRIED: usize = 64;

/// What enrolment gave, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Enrolment {
    /// Which instance of the account this is.
    pub(super) instance: i64,
    /// Whose keys it holds.
    pub(super) account: i64,
    /// The bearer token for `/v1/agent/*`.
    session_key: String,
    /// The signer that the token named, as a public key line.
    pub(super) signers: Vec<String>,
    /// No list below this is taken.
    pub(super) floor: u64,
    /// The host that enrolled.
    host: HostMarks,
    /// The identity key that enrolled, as a public key line; older records do not say.
    #[serde(default)]
    identity: Option<String>,
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        self.session_key.zeroize();
    }
}

impl Enrolment {
    pub(super) fn session_key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.session_key.clone())
    }
}

/// Why there is no session key.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The service does not answer, or is busy: ask again.
    Service(ClientError),
    /// Nothing more can be done here without a person.
    Person(Finding),
}

/// The keeper of one source's enrolment.
pub(super) struct Enroller {
    source: String,
    token_file: Option<PathBuf>,
    configured: Vec<PublicKey>,
    state_dir: PathBuf,
    run: String,
    host: HostMarks,
    kept: Option<Enrolment>,
    tried: Vec<String>,
    /// What came of the token that was tried last, for as long as no other one is there.
    why_tried: Option<Finding>,
    /// Set when the service, or the host itself, says that this is a copy.
    clone: Option<Finding>,
    /// The identity key that the copy came with, where it is known.
    copied: Option<String>,
}

impl Enroller {
    /// Reads what is kept. State of another host is not used: the machine is a copy.
    pub(super) fn load(
        source: &str,
        settings: &AccountSource,
        state_dir: &Path,
        run: &str,
        host: HostMarks,
    ) -> io::Result<Self> {
        let mut enroller = Self {
            source: source.to_owned(),
            token_file: settings.enroll_token_file.clone(),
            configured: settings.signers.clone(),
            state_dir: state_dir.to_owned(),
            run: run.to_owned(),
            host,
            kept: None,
            tried: Vec::new(),
            why_tried: None,
            clone: None,
            copied: None,
        };
        // Without it a used token is tried once more, and refused.
        enroller.tried = read_or_set_aside(&enroller.tried_path())?.unwrap_or_default();
        if let Some(kept) = read_or_set_aside::<Enrolment>(&enroller.path())? {
            let changed = kept.host.changed(&enroller.host);
            enroller.kept = Some(kept);
            if let Some(mark) = changed {
                enroller.is_clone(format!("this host's {mark} has changed"));
            }
        }
        Ok(enroller)
    }

    /// The enrolment that is in force.
    pub(super) fn kept(&self) -> Option<&Enrolment> {
        self.kept.as_ref()
    }

    /// Who may sign the first list.
    pub(super) fn signers(&self) -> Vec<PublicKey> {
        if !self.configured.is_empty() {
            return self.configured.clone();
        }
        let lines = self.kept.iter().flat_map(|kept| &kept.signers);
        lines
            .filter_map(|line| PublicKey::parse_text(line).ok())
            .map(|(key, _)| key)
            .collect()
    }

    /// Whether the configuration names the signers: its word is the last.
    pub(super) fn signers_are_configured(&self) -> bool {
        !self.configured.is_empty()
    }

    /// The condition of a copy, while it is one.
    pub(super) fn clone_finding(&self) -> Option<&Finding> {
        self.clone.as_ref()
    }

    /// Somebody else runs with this identity: it is not used again.
    pub(super) fn is_clone(&mut self, why: String) {
        self.clone = Some(Finding::new(Code::Clone, &self.source, why));
        self.copied = self.kept.take().and_then(|mut kept| kept.identity.take());
    }

    /// A session key by a token that was not tried yet.
    pub(super) async fn enroll(&mut self, api: &Api) -> Result<(), Trouble> {
        let (token, pinned) = self.untried_token()?;
        if self.clone.is_some() {
            self.set_aside().map_err(|fault| self.disk(&fault))?;
        }
        let signer = self.identity().await?;
        let request = EnrollRequest {
            token: token.split('.').next().unwrap_or_default().to_owned(),
            public_key: signer.public().to_string(),
            run: self.run.clone(),
            hostname: users::hostname(),
        };
        let answer = match api.enroll(&request).await {
            Ok(answer) => answer,
            Err(
                fault @ (ClientError::Unauthorized(_)
                | ClientError::Conflict(_)
                | ClientError::Forbidden(_)
                | ClientError::Refused(_)),
            ) => {
                let text = format!("the token was refused: {fault}");
                return Err(self.token_failed(&token, Code::NotEnrolled, &text));
            }
            Err(fault) => return Err(Trouble::Service(fault)),
        };
        let signers: Vec<PublicKey> = answer
            .signers
            .iter()
            .take(4)
            .filter_map(|line| PublicKey::parse_text(line).ok())
            .map(|(key, _)| key)
            .filter(|key| match pinned {
                Some(pinned) => key.fingerprint() == pinned,
                None => self.configured.contains(key),
            })
            .collect();
        if signers.is_empty() {
            let text = "the service's signer is not the one that the token names";
            return Err(self.token_failed(&token, Code::SignerUnknown, text));
        }
        self.keep(Enrolment {
            instance: answer.instance,
            account: answer.account,
            session_key: answer.session_key,
            signers: signers.iter().map(PublicKey::to_string).collect(),
            floor: answer.revision,
            host: self.host.clone(),
            identity: Some(signer.public().to_string()),
        })
        .map_err(|fault| self.disk(&fault))?;
        self.clone = None;
        self.why_tried = None;
        tracing::info!(source = self.source, instance = answer.instance, "enrolled");
        // A token of a source that is enrolled is of no use to anybody.
        self.remember_tried(&token).map_err(|f| self.disk(&f))
    }

    /// A new session key by the identity key, however long the machine was off.
    pub(super) async fn renew(&mut self, api: &Api, url: &str) -> Result<(), Trouble> {
        let Some(instance) = self.kept.as_ref().map(|kept| kept.instance) else {
            return Err(self.not_enrolled("no enrolment is kept".to_owned()));
        };
        let nonce = api.nonce().await.map_err(Trouble::Service)?;
        let message = renewal_message(instance, url, nonce.at, &nonce.nonce);
        let signer = self.identity().await?;
        let request = RenewRequest {
            instance,
            url: url.to_owned(),
            at: nonce.at,
            nonce: nonce.nonce,
            run: self.run.clone(),
            signature: signer.sign(AGENT_NAMESPACE, &message),
        };
        match api.renew(&request).await {
            Ok(answer) => {
                if let Some(kept) = &mut self.kept {
                    kept.session_key = answer.session_key;
                }
                self.store().map_err(|fault| self.disk(&fault))?;
                tracing::info!(source = self.source, "session key renewed");
                Ok(())
            }
            Err(
                fault @ (ClientError::Unauthorized(_)
                | ClientError::Forbidden(_)
                | ClientError::NotFound(_)
                | ClientError::Refused(_)),
            ) => Err(self.not_enrolled(format!("the service refuses a new session: {fault}"))),
            Err(fault) => Err(Trouble::Service(fault)),
        }
    }

    fn untried_token(&self) -> Result<(Zeroizing<String>, Option<Fingerprint>), Trouble> {
        let Some(path) = &self.token_file else {
            return Err(self.not_enrolled("no enroll-token-file is configured".to_owned()));
        };
        let token = match read_secret_file(path) {
            Ok(file) => Zeroizing::new(file.secret.expose().to_owned()),
            Err(fault @ SecretError::Missing(_)) => {
                return Err(self.not_enrolled(fault.to_string()));
            }
            Err(fault) => return Err(self.not_enrolled(fault.to_string())),
        };
        let digest = Floor::digest(token.as_bytes());
        if self.tried.last() == Some(&digest)
            && let Some(why) = &self.why_tried
        {
            return Err(Trouble::Person(why.clone()));
        }
        if self.tried.contains(&digest) {
            return Err(self.not_enrolled(format!(
                "the token in {} has been used already",
                path.display()
            )));
        }
        let pinned = match token.split_once('.') {
            Some((_, pin)) => Some(pin.parse::<Fingerprint>().map_err(|fault| {
                self.not_enrolled(format!("the token in {} is cut: {fault}", path.display()))
            })?),
            None if self.configured.is_empty() => {
                return Err(self.not_enrolled(
                    "the token names no signer, and account.signers is not configured".to_owned(),
                ));
            }
            None => None,
        };
        Ok((token, pinned))
    }

    async fn identity(&self) -> Result<Signer, Trouble> {
        let state_dir = self.state_dir.clone();
        super::blocking(move || identity(&state_dir))
            .await
            .map_err(|fault| self.disk(&fault))
    }

    fn keep(&mut self, enrolment: Enrolment) -> io::Result<()> {
        self.kept = Some(enrolment);
        self.store()
    }

    fn store(&self) -> io::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(&self.kept)?);
        private_file::replace(&self.path(), &bytes)
    }

    /// The token is of no use. A person hears why for as long as it lies there.
    fn token_failed(&mut self, token: &str, code: Code, text: &str) -> Trouble {
        let finding = Finding::new(code, &self.source, text);
        match self.remember_tried(token) {
            Ok(()) => {
                self.why_tried = Some(finding.clone());
                Trouble::Person(finding)
            }
            Err(fault) => self.disk(&fault),
        }
    }

    fn remember_tried(&mut self, token: &str) -> io::Result<()> {
        self.tried.push(Floor::digest(token.as_bytes()));
        let excess = self.tried.len().saturating_sub(MAX_TRIED);
        self.tried.drain(..excess);
        private_file::replace(&self.tried_path(), &serde_json::to_vec(&self.tried)?)
    }

    /// A copy begins as somebody new; what it had is kept beside, for a person to look at.
    fn set_aside(&self) -> io::Result<()> {
        let suffix = format!("set-aside-{}", clock::now().as_second());
        private_file::set_aside(&self.path(), &suffix)?;
        // Another source of this agent may have begun anew already: its identity is no copy.
        let now = kept_identity(&self.state_dir)?;
        if self.copied.is_none() || now == self.copied {
            private_file::set_aside(&self.state_dir.join("identity"), &suffix)?;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        let name = format!("{}.enrolment", self.source);
        self.state_dir.join("sources").join(name)
    }

    fn tried_path(&self) -> PathBuf {
        let name = format!("{}.tokens", self.source);
        self.state_dir.join("sources").join(name)
    }

    fn not_enrolled(&self, why: String) -> Trouble {
        Trouble::Person(Finding::new(Code::NotEnrolled, &self.source, why))
    }

    fn disk(&self, fault: &io::Error) -> Trouble {
        let text = format!("the enrolment could not be kept: {fault}");
        Trouble::Person(Finding::new(Code::StateFailed, &self.source, text))
    }
}

/// A damaged file is set aside: one source that lost its state must not take the others with it.
fn read_or_set_aside<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(bytes) = private_file::read(path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(kept) => Ok(Some(kept)),
        Err(fault) => {
            tracing::error!(path = %path.display(), %fault, "damaged; set aside");
            private_file::set_aside(path, "damaged")?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;

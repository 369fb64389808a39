//! Where a certificate goes: into the ssh-agent, or beside a key.
//!
//! Owns which of them is meant where nobody says: beside the key that is named, else into the agent
//! where one is, else beside the person's own key.

use super::check::keys_of;
use super::key_file::KeyFile;
use super::mark::{Mark, Present};
use super::ssh_agent::{AgentError, FreshKey, SshAgent};
use crate::cli::exit::{Exit, Failed};
use crate::cli::remote::Asker;
use crate::cli::saved::Env;
use crate::keys::{PublicKey, RawKey};
use crate::trust::Certificate;
use crate::wire::{Cas, UserCertificate};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where.
#[derive(Debug)]
pub(in crate::cli) enum Place {
    /// In the ssh-agent.
    Agent(SshAgent),
    /// Beside a key.
    Beside(KeyFile),
}

/// What a certificate is asked over.
pub(super) enum Subject {
    /// A pair made for it.
    Fresh(FreshKey),
    /// A key that is there.
    Own(PublicKey),
}

impl Subject {
    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::Fresh(key) => key.public(),
            Self::Own(key) => key,
        }
    }
}

impl Place {
    /// The one that is meant.
    ///
    /// # Errors
    /// 69 where there is no agent and one is wanted, 1 where there is no key.
    pub(in crate::cli) fn meant(
        key: Option<&Path>,
        agent: bool,
        beside: bool,
        env: Env<'_>,
    ) -> Result<Self, Failed> {
        if let Some(key) = key {
            let key = KeyFile::of(key);
            if !key.public.is_file() {
                let text = format!(
                    "{}: not there; give a key's name, or make its public half with \
                     `ssh-keygen -y -f {}`",
                    key.public.display(),
                    key.private.display()
                );
                return Err(Failed::new(Exit::NotDone, text));
            }
            return Ok(Self::Beside(key));
        }
        let socket = env("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let socket = socket.map(PathBuf::from);
        let there = match &socket {
            Some(socket) if !beside => SshAgent::at(socket.clone()),
            _ => None,
        };
        if let Some(agent) = there {
            return Ok(Self::Agent(agent));
        }
        let no_agent = match &socket {
            Some(socket) => format!("no ssh-agent answers at {}", socket.display()),
            None => "no ssh-agent (SSH_AUTH_SOCK is not set)".to_owned(),
        };
        if agent {
            let text = format!("{no_agent}; start one, or use --beside");
            return Err(Failed::new(Exit::Unavailable, text));
        }
        KeyFile::default_of(env).map(Self::Beside).ok_or_else(|| {
            let text = match beside {
                true => "no key of yours in ~/.ssh; make one with ssh-keygen, name another, or \
                         use --agent"
                    .to_owned(),
                false => format!(
                    "{no_agent}, and no key of yours in ~/.ssh; start an agent, or make a key \
                     with ssh-keygen"
                ),
            };
            Failed::new(Exit::NotDone, text)
        })
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Agent(_) => "in the ssh-agent".to_owned(),
            Self::Beside(key) => format!("in {}", key.certificate.display()),
        }
    }

    /// The one of this asker that is there and lasts longest.
    ///
    /// # Errors
    /// 69: the agent does not say.
    pub(super) fn present(&self, asker: &Asker) -> Result<Option<Present>, Failed> {
        match self {
            Self::Agent(agent) => {
                let all = agent.identities().map_err(|e| refused(agent, &e))?;
                let ours = all.into_iter().filter_map(|identity| {
                    Present::of(identity.certificate()?, &identity.comment, asker)
                });
                Ok(ours.max_by_key(|present| present.certificate.valid_before()))
            }
            Self::Beside(key) => {
                let there = key
                    .beside()
                    .and_then(|there| Present::of(there.certificate, &there.comment, asker));
                // Another key may have taken the place of the one that it is over.
                let public = key.read_public()?;
                Ok(there.filter(|there| *there.certificate.key() == public))
            }
        }
    }

    /// What a certificate here is to be over.
    ///
    /// # Errors
    /// 1: the key cannot be read.
    pub(super) fn subject(&self) -> Result<Subject, Failed> {
        match self {
            Self::Agent(_) => {
                let seed = Zeroizing::new(rand::random::<[u8; 32]>());
                Ok(Subject::Fresh(FreshKey::of(seed)))
            }
            Self::Beside(key) => key.read_public().map(Subject::Own),
        }
    }

    /// Puts it there, in the place of those before it; it was checked.
    ///
    /// # Errors
    /// 1 or 69: it is not there.
    pub(super) fn put(
        &self,
        subject: &Subject,
        (answer, certificate): (&UserCertificate, &Certificate),
        mark: &Mark,
        cas: &Cas,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let mut words = answer.certificate.split_whitespace();
        let (kind, base64) = (words.next(), words.next());
        let (kind, base64) = (kind.unwrap_or_default(), base64.unwrap_or_default());
        match (self, subject) {
            (Self::Agent(agent), Subject::Fresh(key)) => {
                let raw = RawKey::from_words(kind.as_bytes(), base64.as_bytes());
                let raw = raw.map_err(|error| Failed::new(Exit::NotDone, error))?;
                let left = certificate.valid_before().duration_since(now).as_secs();
                let seconds = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
                agent
                    .add(key, raw.blob(), &mark.to_string(), seconds)
                    .map_err(|error| refused(agent, &error))?;
                forget(agent, |other, there| {
                    mark.replaces(other) && there.serial() != certificate.serial()
                });
                Ok(())
            }
            (Self::Beside(key), _) => {
                let cas = keys_of(&cas.user_ca);
                key.put(&format!("{kind} {base64} {mark}"), &cas)
            }
            (Self::Agent(_), Subject::Own(_)) => {
                let text = "a key in a file does not go into the agent; use ssh-add";
                Err(Failed::new(Exit::Usage, text))
            }
        }
    }
}

/// Takes those of ours out of the agent that `which` means. One that stays ends by itself.
pub(super) fn forget(agent: &SshAgent, which: impl Fn(&Mark, &Certificate) -> bool) {
    for identity in agent.identities().unwrap_or_default() {
        let mark = Mark::parse(&identity.comment);
        if let (Some(mark), Some(certificate)) = (mark, identity.certificate())
            && which(&mark, &certificate)
        {
            let _ = agent.remove(&identity);
        }
    }
}

fn refused(agent: &SshAgent, error: &AgentError) -> Failed {
    let socket = agent.socket().display();
    let todo = match error {
        AgentError::Refused => {
            "; it may be locked, or know no certificates: put one beside a key with --beside"
        }
        AgentError::Away(_) | AgentError::Malformed => {
            "; check SSH_AUTH_SOCK, or put one beside a key with --beside"
        }
    };
    let text = format!("the ssh-agent at {socket}: {error}{todo}");
    Failed::new(Exit::Unavailable, text)
}

//! A client of ssh-agent(1), as far as a certificate needs it: list, add with an end, remove.
//!
//! draft-ietf-sshm-ssh-agent, sections 3 and 4. Owns the limits: 256 KiB a message, as OpenSSH's
//! `AGENT_MAX_LEN`, and five seconds an answer. The private key goes over the socket and nowhere
//! else; what holds it here is zeroed. (The agent client of russh adds plain keys only, and none
//! with a comment.)

use crate::keys::PublicKey;
use crate::trust::{Certificate, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const REMOVE_IDENTITY: u8 = 18;
const ADD_ID_CONSTRAINED: u8 = 25;
const SUCCESS: u8 = 6;
const FAILURE: u8 = 5;
const CONSTRAIN_LIFETIME: u8 = 1;

/// How a certificate over an Ed25519 key is called.
const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com";

const MAX_MESSAGE: usize = 256 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why an agent did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    /// Nobody is there, or who is does not answer.
    #[error("{0}")]
    Away(#[from] io::Error),
    /// It says no.
    #[error("it refuses")]
    Refused,
    /// It is no ssh-agent, or what it says is cut short.
    #[error("its answer is none of an ssh-agent")]
    Malformed,
}

/// The agent at a socket. Each call is a connection of its own.
#[derive(Debug)]
pub(in crate::cli) struct SshAgent {
    socket: PathBuf,
}

/// What an agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// A key's blob, or a certificate's.
    pub(super) blob: Vec<u8>,
    /// What it is called.
    pub(super) comment: String,
}

/// A key pair that was made here, and is known to nobody until an agent has it.
pub(super) struct FreshKey {
    seed: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl FreshKey {
    /// The pair that this seed stands for.
    pub(super) fn of(seed: Zeroizing<[u8; 32]>) -> Self {
        let public = Signer::from_seed(&seed).public();
        Self { seed, public }
    }

    /// Its public half.
    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl SshAgent {
    /// The one that listens there; none where nobody does.
    pub(super) fn at(socket: PathBuf) -> Option<Self> {
        UnixStream::connect(&socket).ok()?;
        Some(Self { socket })
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// All that it holds and shows.
    ///
    /// # Errors
    /// [`AgentError`].
    pub(super) fn identities(&self) -> Result<Vec<Identity>, AgentError> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        match answer.split_first() {
            Some((&IDENTITIES_ANSWER, body)) => identities(body).ok_or(AgentError::Malformed),
            Some((&FAILURE, _)) => Err(AgentError::Refused),
            _ => Err(AgentError::Malformed),
        }
    }

    /// Gives it a key with its certificate, for so many seconds.
    ///
    /// # Errors
    /// [`AgentError`].
    pub(super) fn add(
        &self,
        key: &FreshKey,
        certificate: &[u8],
        comment: &str,
        seconds: u32,
    ) -> Result<(), AgentError> {
        // Room for all of it: a vector that grows leaves copies of the key behind.
        let room = 512 + certificate.len() + comment.len();
        let mut message = Zeroizing::new(Vec::with_capacity(room));
        let blob = key.public.blob();
        let public = blob.split_at_checked(blob.len().saturating_sub(32));
        let (_, public) = public.ok_or(AgentError::Malformed)?;
        message.push(ADD_ID_CONSTRAINED);
        put(&mut message, CERTIFICATE.as_bytes());
        put(&mut message, certificate);
        put(&mut message, public);
        put_length(&mut message, 64);
        message.extend_from_slice(&*key.seed);
        message.extend_from_slice(public);
        put(&mut message, comment.as_bytes());
        message.push(CONSTRAIN_LIFETIME);
        message.extend_from_slice(&seconds.to_be_bytes());
        self.told(&message)
    }

    /// Has it forget one.
    ///
    /// # Errors
    /// [`AgentError`]; [`AgentError::Refused`] also where it has none such.
    pub(super) fn remove(&self, identity: &Identity) -> Result<(), AgentError> {
        let mut message = vec![REMOVE_IDENTITY];
        put(&mut message, &identity.blob);
        self.told(&message)
    }

    fn told(&self, message: &[u8]) -> Result<(), AgentError> {
        match self.ask(message)?.first() {
            Some(&SUCCESS) => Ok(()),
            Some(&FAILURE) => Err(AgentError::Refused),
            _ => Err(AgentError::Malformed),
        }
    }

    fn ask(&self, message: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let length = u32::try_from(message.len()).map_err(|_| AgentError::Malformed)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(message)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_MESSAGE {
            return Err(AgentError::Malformed);
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Identity {
    /// The certificate that it is; none for a plain key.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let (name, _) = string(&self.blob)?;
        let name = std::str::from_utf8(name).ok()?;
        Certificate::parse(&format!("{name} {}", STANDARD.encode(&self.blob))).ok()
    }
}

fn put_length(message: &mut Vec<u8>, length: u32) {
    message.extend_from_slice(&length.to_be_bytes());
}

/// An SSH string (RFC 4251, section 5). What stands here is a key, a name or a certificate that
/// was read within its limit.
fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    put_length(message, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    message.extend_from_slice(bytes);
}

/// An SSH string, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn identities(body: &[u8]) -> Option<Vec<Identity>> {
    let (count, mut rest) = body.split_first_chunk::<4>()?;
    let mut all = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (blob, after) = string(rest)?;
        let (comment, after) = string(after)?;
        rest = after;
        all.push(Identity {
            blob: blob.to_vec(),
            comment: String::from_utf8_lossy(comment).into_owned(),
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_short_is_none() {
        let mut body = 2u32.to_be_bytes().to_vec();
        for text in ["blob", "one", "blob2", "two"] {
            put(&mut body, text.as_bytes());
        }
        let all = identities(&body).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((&all[1].blob[..], &*all[1].comment), (&b"blob2"[..], "two"));
        for cut in 0..body.len() {
            assert_eq!(identities(&body[..cut]), None, "{cut}");
        }
        // A count of four milliards takes no memory before there is anything.
        assert_eq!(identities(&u32::MAX.to_be_bytes()), None);
    }

    #[test]
    fn an_answer_over_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        assert!(SshAgent::at(socket.clone()).is_none());
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let answers = [
            &[0xff, 0xff, 0xff, 0xff, 12][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 1, 5],
        ];
        let server = std::thread::spawn(move || {
            let _look = listener.accept().unwrap();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 5]).unwrap();
                stream.write_all(answer).unwrap();
            }
        });
        let agent = SshAgent::at(socket).unwrap();
        for _ in 0..2 {
            let error = agent.identities().unwrap_err();
            assert!(matches!(error, AgentError::Malformed), "{error}");
        }
        let error = agent.identities().unwrap_err();
        assert!(matches!(error, AgentError::Refused), "{error}");
        server.join().unwrap();
    }
}

//! `sshkeyd krl show|test`: the account's revocation list, as sshd reads it (PROTOCOL.krl).
//!
//! Owns how it is shown, and where it is in force: what instances say of themselves. `test` ends as
//! `ssh-keygen -Q` does, 0 for what is not revoked and 1 for what is; whatever went wrong ends
//! otherwise.

mod shown;

use super::cert::ask;
use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::runtime;
use crate::client::ClientError;
use crate::keys::{Fingerprint, PublicKey};
use crate::sys::{own_file, plain_file};
use crate::trust::{Certificate, CertificateRef, Krl};
use crate::wire::Instance;
use clap::Subcommand;
use shown::{Shown, show};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file that holds a key or a certificate.
const MAX_FILE: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows what is in the list, and where it is in force
    Show {
        /// One JSON document
        #[arg(long)]
        json: bool,
        /// Also write the list itself to a file, for sshd's RevokedKeys; - is standard output
        #[arg(long, value_name = "FILE")]
        raw: Option<PathBuf>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Says whether the list revokes a key or a certificate: 1 where it does
    Test {
        /// A public key or a certificate in a file (- is standard input), a SHA256: fingerprint, or
        /// a certificate's serial
        #[arg(value_name = "KEY")]
        what: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Action::Show { json, raw, remote } => {
            let remote = remote.open()?;
            let (bytes, instances) = runtime()?.block_on(asked(&remote))?;
            let krl = parsed(&bytes, &remote)?;
            let shown = Shown::of(&krl, bytes.len(), instances.as_deref());
            match &raw {
                Some(file) if file == Path::new("-") => {
                    out.raw(&bytes);
                    return Ok(Exit::Done);
                }
                Some(file) => own_file::replace(file, 0o644, &bytes).map_err(|error| {
                    let text = format!("{}: {error}; nothing was written", file.display());
                    Failed::new(Exit::NotDone, text)
                })?,
                None => {}
            }
            if json {
                out.json(&shown)?;
            } else {
                show(&shown, out);
            }
            Ok(Exit::Done)
        }
        Action::Test { what, remote } => {
            let subject = Subject::read(&what)?;
            let remote = remote.open()?;
            let (bytes, instances) = runtime()?.block_on(asked(&remote))?;
            let krl = parsed(&bytes, &remote)?;
            let revoked = subject.is_revoked_by(&krl);
            let word = if revoked { "REVOKED" } else { "ok" };
            out.line(&format!("{what}: {word}"));
            if revoked && let Some(instances) = &instances {
                let shown = Shown::of(&krl, bytes.len(), Some(instances));
                out.note(&shown.where_in_force());
            }
            Ok(if revoked { Exit::NotDone } else { Exit::Done })
        }
    }
}

/// The list, and the instances where they are shown.
async fn asked(remote: &Remote) -> Result<(Vec<u8>, Option<Vec<Instance>>), Failed> {
    let bytes = ask(remote, remote.krl()).await.map_err(unread)?;
    match remote.instances().await {
        Ok(page) => Ok((bytes, Some(page.items))),
        Err(ClientError::Forbidden(_)) => Ok((bytes, None)),
        Err(error) => Err(unread(remote.explained(error))),
    }
}

/// 1 says "revoked": what could not be found out ends otherwise.
fn unread(failed: Failed) -> Failed {
    match failed.exit() {
        Exit::NotDone => Failed::new(Exit::Unavailable, failed),
        _ => failed,
    }
}

fn parsed(bytes: &[u8], remote: &Remote) -> Result<Krl, Failed> {
    if bytes.is_empty() {
        return Ok(Krl::default());
    }
    Krl::parse(bytes).map_err(|error| {
        let text = format!(
            "{}: {error}; nothing is known of what it revokes",
            remote.url
        );
        Failed::new(Exit::Unavailable, text)
    })
}

/// What is asked about.
enum Subject {
    Key(PublicKey),
    Certificate(Box<Certificate>),
    Fingerprint(Fingerprint),
    Serial(u64),
}

impl Subject {
    fn read(what: &str) -> Result<Self, Failed> {
        let fault = |words: &str| Failed::new(Exit::Usage, format!("{what}: {words}"));
        if !what.is_empty() && what.bytes().all(|b| b.is_ascii_digit()) {
            let serial = what.parse().ok().filter(|serial| *serial != 0);
            let serial = serial.ok_or_else(|| fault("no serial; it is a number from 1 on"));
            return serial.map(Self::Serial);
        }
        if what.starts_with("SHA256:") {
            let fingerprint = what.parse().map(Self::Fingerprint);
            return fingerprint.map_err(|error| fault(&error.to_string()));
        }
        let read = match what {
            "-" => {
                let mut bytes = Vec::new();
                let stdin = std::io::stdin().lock();
                stdin.take(MAX_FILE).read_to_end(&mut bytes).map(|_| bytes)
            }
            path => plain_file::read(Path::new(path), MAX_FILE),
        };
        let read = read.map_err(|e| fault(&format!("{e}; name a .pub file, or give a serial")))?;
        let text = String::from_utf8_lossy(&read);
        let kind = text.split_whitespace().next().unwrap_or_default();
        if kind.ends_with("-cert-v01@openssh.com") {
            let certificate = Certificate::parse(&text).map_err(|e| fault(&e.to_string()))?;
            return Ok(Self::Certificate(Box::new(certificate)));
        }
        let key = PublicKey::parse_text(&text).map_err(|error| fault(&error.to_string()))?;
        Ok(Self::Key(key.0))
    }

    fn is_revoked_by(&self, krl: &Krl) -> bool {
        match self {
            Self::Key(key) => krl.revokes_key(key.blob()),
            Self::Certificate(certificate) => krl.revokes_certificate(CertificateRef {
                ca: certificate.ca().blob(),
                serial: certificate.serial(),
                key_id: certificate.key_id().as_bytes(),
                key: certificate.key().blob(),
            }),
            Self::Fingerprint(fingerprint) => {
                krl.sha256.contains(fingerprint)
                    || krl
                        .keys
                        .iter()
                        .any(|key| Fingerprint::of(key) == *fingerprint)
            }
            Self::Serial(serial) => krl
                .certificates
                .values()
                .any(|revoked| revoked.serials.contains(*serial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::exit_of;
    use crate::trust::Signer;

    #[test]
    fn what_is_asked_about_is_a_serial_a_fingerprint_or_a_file() {
        let (ca, key) = (Signer::from_seed(&[7; 32]), Signer::from_seed(&[1; 32]));
        let mut krl = Krl::default();
        krl.of_ca(&ca.public()).serials.insert_range(5..=9);
        krl.sha256.insert(key.public().fingerprint());
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            own_file::replace(&path, 0o644, text.as_bytes()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let other = Signer::from_seed(&[2; 32]).public();
        for (what, revoked) in [
            ("4", false),
            ("9", true),
            (&*key.public().fingerprint().to_string(), true),
            (&*other.fingerprint().to_string(), false),
            (&*file("a.pub", &format!("{} a\n", key.public())), true),
            (&*file("b.pub", &other.to_string()), false),
        ] {
            let subject = Subject::read(what).unwrap();
            assert_eq!(subject.is_revoked_by(&krl), revoked, "{what}");
        }
        for wrong in ["0", "99999999999999999999", "SHA256:x", "/nonexistent", ""] {
            let failed = Subject::read(wrong).err().unwrap();
            assert_eq!(exit_of(&failed.into()), Exit::Usage, "{wrong}");
        }
    }
}

//! Is this the certificate that was asked for? By our own rules, then in ssh-keygen's words.

use crate::keys::{PublicKey, printable};
use crate::sys::command::{CommandError, Limits, run};
use crate::sys::private_file;
use crate::trust::{Certificate, CertificateFault, Role};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;
use tokio::task::spawn_blocking;

const SSH_KEYGEN: &str = "/usr/bin/ssh-keygen";
const LIMITS: Limits = Limits {
    output: 64 * 1024,
    time: Duration::from_secs(10),
};

/// Why a certificate is not put where sshd reads it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not good.
    #[error(transparent)]
    Fault(#[from] CertificateFault),
    /// It is over another key than the one that was asked about.
    #[error("it is over another key, {0}")]
    Key(crate::keys::Fingerprint),
    /// ssh-keygen(1) says otherwise than we do.
    #[error("ssh-keygen -L: {0}")]
    Keygen(String),
    /// The copy for ssh-keygen(1) could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Checks a certificate over `key` that is to be good now for the name `principal`. The agent holds
/// no list of host CAs: whether this CA is the account's is for those who connect to judge. Where
/// there is no ssh-keygen, our own reading has to do.
///
/// Gives it as it is to stand in its file: one line, without a comment.
///
/// # Errors
/// [`CheckError`].
pub async fn check(
    text: &str,
    key: &PublicKey,
    principal: &str,
    now: Timestamp,
    state_dir: &Path,
) -> Result<(Certificate, String), CheckError> {
    let certificate = Certificate::parse(text)?;
    if certificate.key() != key {
        return Err(CheckError::Key(certificate.key().fingerprint()));
    }
    let ca = [certificate.ca().clone()];
    certificate.judge(Role::Host, &ca, now, principal)?;
    let mut words = text.split_ascii_whitespace();
    let line = format!(
        "{} {}\n",
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default()
    );
    let (copy, bytes) = (state_dir.join("host-certificate.check"), line.clone());
    let place = copy.clone();
    let written = spawn_blocking(move || private_file::replace(&place, bytes.as_bytes())).await;
    written.map_err(std::io::Error::other).flatten()?;
    let file = copy.display().to_string();
    let said = run(Path::new(SSH_KEYGEN), &["-L", "-f", &file], LIMITS).await;
    // Left behind it would do no harm: it is as public as what is shown to everybody.
    let _ = spawn_blocking(move || std::fs::remove_file(copy)).await;
    match said {
        Err(CommandError::Missing(_)) => {}
        Err(fault) => return Err(CheckError::Keygen(fault.to_string())),
        Ok(said) if !said.status.success() => {
            let text = String::from_utf8_lossy(&said.stderr);
            return Err(CheckError::Keygen(printable(text.trim())));
        }
        Ok(said) => agrees(&certificate, &String::from_utf8_lossy(&said.stdout))?,
    }
    Ok((certificate, line))
}

/// Whether ssh-keygen read what we read.
fn agrees(certificate: &Certificate, said: &str) -> Result<(), CheckError> {
    let wanted = [
        format!("{} host certificate", certificate_type(certificate)),
        format!("Serial: {}", certificate.serial()),
        certificate.key().fingerprint().to_string(),
        certificate.ca().fingerprint().to_string(),
    ];
    match wanted.iter().find(|text| !said.contains(*text)) {
        Some(text) => Err(CheckError::Keygen(format!("does not say \"{text}\""))),
        None => Ok(()),
    }
}

/// PROTOCOL.certkeys: the plain type's name, and an end.
fn certificate_type(certificate: &Certificate) -> String {
    format!("{}-cert-v01@openssh.com", certificate.key().key_type())
}

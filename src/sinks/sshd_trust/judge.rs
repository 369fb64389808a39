//! ssh-keygen(1)'s word on a file before sshd sees it: from memory, so that nothing unread is ever
//! beside the real one.

use crate::sys::command::{CommandError, Limits, run};
use crate::sys::memory_file::MemoryFile;
use crate::trust::{Krl, Signer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A list of 100,000 key hashes takes it a second.
const LIMITS: Limits = Limits {
    output: 256 * 1024,
    time: Duration::from_secs(30),
};

/// Whether sshd can read a revocation list: by our own codec, and by ssh-keygen (`-Q`).
pub(super) async fn krl(bytes: &[u8]) -> Result<(), String> {
    Krl::parse(bytes).map_err(|fault| fault.to_string())?;
    // A key that fits no list is only to have the file read.
    let key = Signer::from_seed(&[0; 32]).public().to_string();
    let (list, key) = (memory(bytes)?, memory(key.as_bytes())?);
    let args = ["-Q".into(), "-f".into(), list.path(), key.path()];
    let said = ask(&args).await?;
    if [": ok", ": REVOKED"]
        .iter()
        .any(|end| said.trim_end().ends_with(end))
    {
        return Ok(());
    }
    Err("ssh-keygen -Q does not read it".to_owned())
}

/// Whether each CA is one to ssh-keygen (`-l`) too.
pub(super) async fn cas(text: &str, many: usize) -> Result<(), String> {
    if many == 0 {
        return Ok(());
    }
    let file = memory(text.as_bytes())?;
    let said = ask(&["-l".into(), "-f".into(), file.path()]).await?;
    match said.lines().count() == many {
        true => Ok(()),
        false => Err(format!("ssh-keygen -l does not find {many} keys in it")),
    }
}

fn memory(bytes: &[u8]) -> Result<MemoryFile, String> {
    MemoryFile::try_new(bytes).map_err(|fault| format!("a file in memory: {fault}"))
}

async fn ask(args: &[PathBuf]) -> Result<String, String> {
    let said = match run(Path::new("ssh-keygen"), args, LIMITS).await {
        Ok(said) => said,
        Err(CommandError::Missing(_)) => {
            return Err("there is no ssh-keygen to judge it by".to_owned());
        }
        Err(fault) => return Err(format!("ssh-keygen: {fault}")),
    };
    if said.stdout.is_empty() {
        let words = String::from_utf8_lossy(&said.stderr);
        let first = words.lines().next().unwrap_or("no reason given");
        return Err(format!("ssh-keygen: {}", crate::keys::printable(first)));
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ssh_keygen_does_not_read_is_refused() {
        assert_eq!(krl(&Krl::default().encode()).await, Ok(()));
        assert!(krl(b"SSHKRL\n\0").await.is_err());
        assert!(krl(b"").await.is_err());
        let ca = Signer::from_seed(&[1; 32]).public();
        assert_eq!(cas(&format!("# CAs\n{ca} a\n"), 1).await, Ok(()));
        assert!(cas(&format!("# CAs\n{ca} a\n"), 2).await.is_err());
        assert!(cas("rubbish\n", 1).await.is_err());
    }
}

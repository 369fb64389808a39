//! `sshkeyd seal-image`: what an agent keeps of this machine, dropped, so that a copy of the disk
//! begins as somebody new (protocol.md section 1, "Clones").
//!
//! Names what goes; what else lies in the directory is somebody's and stays. Refuses while a file
//! still holds keys of ours: without the state nobody could put its adopted lines back.

use crate::sync::Finding;
use crate::sys::private_file::shred;
use crate::wire::Status;
use std::io;
use std::path::Path;

/// Files that begin so: the identity key, what is owned in each file, sessions and orders to end them,
/// what was seen of sshd's drop-in and where it leads, each with what was set aside.
const FILES: [&str; 9] = [
    "identity",
    "orders.json",
    "sessions.json",
    "targets.json",
    "sshd.json",
    "sshd-rehearsal.conf",
    "key-places.json",
    "trust-files.json",
    "host-certificate.check",
];
/// Directories that are ours: last good lists, session keys, tokens that were tried; lines that
/// `revoke` took out; the index of `authorized-keys`; records of writes in place; what
/// `syslog-socket` heard, which goes on in its own file while it runs.
const DIRECTORIES: [&str; 6] = [
    "sources",
    "removed",
    "keys",
    "in-place",
    "syslog/kept",
    "syslog",
];

/// Whether everything that was ever written is taken out again. `left` are files with keys of ours
/// that no target names any more: they would log in to every copy, and nothing would be known of
/// them.
///
/// # Errors
/// The targets and files that still hold keys of ours, in words.
pub(super) fn may_drop(status: &Status, left: &[String]) -> Result<(), String> {
    if !left.is_empty() {
        return Err(format!(
            "not sealed, nothing is dropped: no target names {} any more, with keys of ours in it; \
             run sshkeyd unmanage with a configuration that does",
            left.join(", ")
        ));
    }
    let held =
        |target: &&crate::wire::TargetStatus| !target.managed.is_empty() || target.digest.is_none();
    let held = status.targets.iter().filter(held);
    let names: Vec<_> = held.map(|t| format!("{} of {}", t.path, t.user)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not sealed, nothing is dropped: {} could not be put back; see sshkeyd status",
        names.join(", ")
    ))
}

/// Whether sshd's configuration has nothing of ours: every copy of the disk would trust the CAs that
/// it names, and nothing would be known of it. `findings` say what keeps it there.
///
/// # Errors
/// What that is, in words.
pub(super) fn may_leave(is_gone: bool, findings: &[Finding]) -> Result<(), String> {
    if is_gone {
        return Ok(());
    }
    let whys = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.about, finding.text));
    Err(format!(
        "not sealed, nothing is dropped: sshd's configuration still has lines of the agent's ({})",
        whys.collect::<Vec<_>>().join("; ")
    ))
}

/// Whether the files of certificates are gone: `left` are those that sshd's configuration still
/// may name.
///
/// # Errors
/// Which those are, in words.
pub(super) fn may_forget(left: &[String]) -> Result<(), String> {
    if left.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not sealed, nothing is dropped: sshd's configuration may still name {}; take the line out, \
         reload sshd, and ask again",
        left.join(", ")
    ))
}

/// Drops all that an agent keeps, but for the lock, which is its holder's.
///
/// # Errors
/// What could not be removed; the rest may be gone.
pub(super) fn drop_state(state_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(state_dir)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = name.to_string_lossy();
        if kind.is_file() && FILES.iter().any(|ours| name.starts_with(ours)) {
            shred(&entry.path())?;
        }
    }
    for name in DIRECTORIES {
        let directory = state_dir.join(name);
        if std::fs::symlink_metadata(&directory).is_ok_and(|about| about.is_dir()) {
            empty(&directory)?;
        }
    }
    Ok(())
}

/// Drops a directory of plain files; one that holds anything else stays, with that.
fn empty(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            shred(&entry.path())?;
        }
    }
    match std::fs::remove_dir(directory) {
        Err(fault) if fault.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_goes_and_what_is_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for directory in ["sources", "keys", "removed", "syslog/kept", "mine"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let ours = [
            "identity",
            "identity.set-aside-1",
            "targets.json",
            "sshd.json",
            "key-places.json",
            "sources/account.enrolment",
            "sources/account.json.damaged",
            "keys/1000",
            "removed/x",
            "orders.json",
            "sessions.json",
            "syslog/kept/heard",
        ];
        for name in ours.iter().chain(&["lock", "mine/identity", "notes"]) {
            std::fs::write(at(name), "secret").unwrap();
        }
        std::fs::hard_link(at("identity"), at("kept")).unwrap();
        drop_state(dir.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        left.sort_by_key(std::fs::DirEntry::file_name);
        let left: Vec<_> = left
            .iter()
            .map(|e| e.file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, ["kept", "lock", "mine", "notes"]);
        // An image is copied block by block: what was in the file must not lie there still.
        assert_eq!(std::fs::read(at("kept")).unwrap(), [0; 6]);
    }
}

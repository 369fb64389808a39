//! Copies of foreign lines that a revocation takes out: `state-dir/removed/`, a file a turn.
//!
//! On the disk before the line leaves its file (protocol.md section 2, "Revoked keys"). Whoever owns
//! the file can bring the same lines back for ever, or others like them: the same are kept once, and
//! of many the oldest go.

use crate::keys::printable;
use crate::sync::RevokedLine;
use crate::sys::private_file;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most files that are kept.
const MAX_KEPT: usize = 1000;
/// Most lines of one turn that are kept with the file's name: what is written has its limit.
const MAX_FULL: usize = 1000;
/// Most bytes of them: room for two of the largest.
const MAX_BYTES: u64 = 2 * private_file::MAX_PRIVATE;

/// Keeps the lines of `file` that are about to go, in `directory`.
pub(super) fn keep(
    directory: &Path,
    file: &Path,
    lines: &[RevokedLine],
    now: Timestamp,
) -> io::Result<()> {
    let copy = directory.join(name_of(file, lines));
    if lines.is_empty() || copy.try_exists()? {
        return Ok(());
    }
    let mut bytes = Vec::new();
    let file = printable(&file.display().to_string());
    for (nth, line) in lines.iter().enumerate() {
        let (at, key) = (line.at, line.fingerprint);
        if nth < MAX_FULL {
            writeln!(
                bytes,
                "# {file} line {at}, taken out {now}: {key} is revoked"
            )?;
        } else {
            writeln!(bytes, "# line {at}: {key} is revoked")?;
        }
        bytes.extend_from_slice(&line.text);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    make_room(directory, bytes.len() as u64)?;
    private_file::replace(&copy, &bytes)
}

fn name_of(file: &Path, lines: &[RevokedLine]) -> String {
    let mut digest = Sha256::new();
    digest.update(file.as_os_str().as_encoded_bytes());
    for line in lines {
        digest.update([0]);
        digest.update(&line.text);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{hex}.txt")
}

/// Makes room for one file more, of this size.
fn make_room(directory: &Path, size: u64) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(fault) => return Err(fault),
    };
    let mut kept: Vec<(SystemTime, PathBuf, u64)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some((about.modified().ok()?, entry.path(), about.len()))
        })
        .collect();
    kept.sort();
    let mut total: u64 = kept.iter().map(|(_, _, size)| size).sum();
    for (nth, (_, oldest, its)) in kept.iter().enumerate() {
        if kept.len() - nth < MAX_KEPT && total + size <= MAX_BYTES {
            break;
        }
        std::fs::remove_file(oldest)?;
        total -= its;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    fn line(text: &str) -> RevokedLine {
        let key: PublicKey = crate::trust::Signer::from_seed(&[1; 32]).public();
        RevokedLine {
            fingerprint: key.fingerprint(),
            at: 3,
            text: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_line_is_kept_once_with_its_place_and_of_many_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = Path::new("/home/al/.ssh/authorized_keys");
        let keep = |lines: &[RevokedLine]| {
            keep(
                &dir.path().join("removed"),
                file,
                lines,
                Timestamp::UNIX_EPOCH,
            )
        };
        keep(&[line("ssh-ed25519 AAAA mine\n")]).unwrap();
        keep(&[line("ssh-ed25519 AAAA mine\n")]).unwrap();
        let all = || std::fs::read_dir(dir.path().join("removed")).unwrap();
        let first = all().next().unwrap().unwrap().path();
        assert_eq!(all().count(), 1);
        let text = std::fs::read_to_string(&first).unwrap();
        assert!(text.starts_with("# /home/al/.ssh/authorized_keys line 3, taken out 1970"));
        assert!(
            text.ends_with("is revoked\nssh-ed25519 AAAA mine\n"),
            "{text}"
        );
        (0..MAX_KEPT).for_each(|n| keep(&[line(&format!("k {n}\n"))]).unwrap());
        assert_eq!(all().count(), MAX_KEPT);
        assert!(!first.exists());
    }

    #[test]
    fn one_turn_keeps_one_file_and_large_ones_do_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (place, now) = (dir.path().join("removed"), Timestamp::UNIX_EPOCH);
        let keep = |lines: &[RevokedLine]| keep(&place, Path::new("/f"), lines, now).unwrap();
        let all = || std::fs::read_dir(&place).unwrap().flatten();
        keep(&[line("a\n"), line("b"), line("c\n")]);
        let text = std::fs::read_to_string(all().next().unwrap().path()).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(kept.collect::<Vec<_>>(), ["a", "b", "c"]);
        for n in 0..10 {
            keep(&[line(&format!("{n} {}\n", "x".repeat(8 << 20)))]);
        }
        let size: u64 = all().map(|file| file.metadata().unwrap().len()).sum();
        assert!(size <= MAX_BYTES, "{size}");
        assert_eq!(all().count(), 7);
    }
}

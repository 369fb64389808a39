//! The user `sshkeyd-keys`, and the program where sshd would run it.

use crate::support::process::{Ran, copy_program};
use crate::support::sshd::{WorkDir, account_turn};
use sshkeyd::sinks::keys_command::{KEYS_USER, directives};
use sshkeyd::sys::users::{self, LocalUser};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Held by everybody who needs the user; it says whether a test made it.
const IN_USE: &str = "/run/lock/sshkeyd-test-keys-user";

/// A copy of the program where only root may write, and the user that runs it. A user that was not
/// there before is gone after the last test that needs it.
#[derive(Debug)]
pub(crate) struct KeysUser {
    user: LocalUser,
    pub(crate) program: PathBuf,
    in_use: File,
    dir: WorkDir,
}

impl KeysUser {
    pub(crate) fn new() -> Self {
        let dir = WorkDir::new();
        let program = dir.path().join("sshkeyd");
        copy_program(env!("CARGO_BIN_EXE_sshkeyd"), &program);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let (user, in_use) = account_turn(make_user).unwrap();
        Self {
            user,
            program,
            in_use,
            dir,
        }
    }

    /// A directory for scripts and the like.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What sshd_config is to say, `more` behind the command.
    pub(crate) fn sshd_config(&self, index: &Path, more: &str) -> String {
        let [(command, line), (user, name)] = directives(&self.program, index).unwrap();
        format!("{command} {line}{more}\n{user} {name}\n")
    }

    /// Runs `sshkeyd authorized-keys` as this user.
    pub(crate) fn ask(&self, index: &Path, args: &[&str]) -> Ran {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &self.user.uid.to_string()])
            .args(["--regid", &self.user.gid.to_string(), "--clear-groups"])
            .arg(&self.program)
            .args(["authorized-keys", "--index"])
            .arg(index)
            .args(args);
        Ran::of(&mut command)
    }
}

impl Drop for KeysUser {
    fn drop(&mut self) {
        let _ = account_turn(|| {
            self.in_use.unlock()?;
            let mut mark = open()?;
            if mark.try_lock().is_ok() && io::read_to_string(&mark)? == "made" {
                mark.set_len(0)?;
                mark.flush()?;
                Command::new("userdel").arg(KEYS_USER).output()?;
            }
            Ok(())
        });
    }
}

fn open() -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(IN_USE)
}

fn make_user() -> io::Result<(LocalUser, File)> {
    let mut mark = open()?;
    mark.lock_shared()?;
    if users::lookup(KEYS_USER)?.is_none() {
        let made = Command::new("useradd")
            .args(["--system", "--no-create-home", "--shell"])
            .args(["/usr/sbin/nologin", KEYS_USER])
            .output()?;
        assert!(made.status.success(), "{made:?}; these tests run as root");
        mark.set_len(0)?;
        mark.write_all(b"made")?;
    }
    let user = users::lookup(KEYS_USER)?.expect("it was there, or has been made");
    Ok((user, mark))
}

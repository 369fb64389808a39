//! OpenSSH 10 beside whatever sshd the machine has: a small Debian 13 tree that tests/run makes.
//!
//! sshd runs in that tree by chroot(2), in a mount namespace of its own, so that no mount outlives
//! it. Homes, keys and configuration are the machine's own directories, at their own places; numbers
//! of processes and of users are the machine's too. The tree itself is read-only.

use crate::support::sshd::{User, put};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In a directory `$0`, with a /dev that is made already: sshd with the configuration `$1`, in the
/// tree `$2`.
const AS_SSHD: &str = r#"
mount --bind "$2" "$2"
mount -o remount,bind,ro "$2"
mount --bind "$0/etc" "$2/etc"
mount --bind /var/lib "$2/var/lib"
mount --rbind "$0/dev" "$2/dev"
mount --rbind /proc "$2/proc"
mount -t tmpfs -o mode=0755 none "$2/run"
mount -t tmpfs -o mode=1777 none "$2/tmp"
mkdir -m 0755 "$2/run/sshd"
exec chroot "$2" /usr/sbin/sshd -D -f "$1"
"#;

/// Where the tree is. Says so loudly where nobody has made one.
pub(crate) fn tree() -> PathBuf {
    let named = std::env::var_os("SSHKEYD_SSH10_TREE").map(PathBuf::from);
    let tree = named.expect("no SSHKEYD_SSH10_TREE; tests/run makes the tree and names it");
    let sshd = tree.join("usr/lib/openssh/sshd-session");
    assert!(sshd.exists(), "{}: nothing there", sshd.display());
    tree
}

/// An /etc of its own, below `dir`, and the end of the script that starts sshd with it.
pub(crate) fn prepare(dir: &Path) -> &'static str {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(tree().join("etc"))
        .arg(dir)
        .status();
    assert!(copied.unwrap().success());
    AS_SSHD
}

/// Makes a user of the machine known in the tree.
pub(crate) fn admit(dir: &Path, user: &User) {
    let (name, uid, gid) = (&user.name, user.uid, user.gid);
    let home = user.home.display();
    for (file, line) in [
        ("passwd", format!("{name}:x:{uid}:{gid}::{home}:/bin/sh\n")),
        ("shadow", format!("{name}:*:20000:0:99999:7:::\n")),
        ("group", format!("{name}:x:{gid}:\n")),
    ] {
        let path = dir.join("etc").join(file);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// A program that is the tree's sshd to whoever asks it for its version and configuration: it looks
/// from where the process `of` stands.
pub(crate) fn program(dir: &Path, of: u32) -> PathBuf {
    let path = dir.join("sshd");
    let text = format!(
        "#!/bin/sh\nexec nsenter --mount --target {of} chroot '{}' /usr/sbin/sshd \"$@\"\n",
        tree().display()
    );
    put(&path, &text, 0o755);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

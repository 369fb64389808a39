//! A machine whose sshd includes a directory of drop-ins, and an agent that may write its own.

use crate::support::host::{Host, read};
use crate::support::sshd::{KeyPair, Sshd, User, WorkDir, keygen};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// sshd, a user, a directory for own files, and keys.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) sshd: Sshd,
    pub(crate) user: User,
    /// A key of the list.
    pub(crate) listed: KeyPair,
    /// Another key of the list.
    pub(crate) spare: KeyPair,
    /// A key of the user's own, in his authorized_keys.
    pub(crate) own: KeyPair,
    dir: WorkDir,
}

impl Managed {
    /// sshd with the usual Include, and `more` below it.
    pub(crate) fn new(more: &str) -> Self {
        Self::with(|drop_ins| format!("Include {drop_ins}/*.conf\n{more}"))
    }

    /// sshd with what is made of the name of the directory of drop-ins.
    pub(crate) fn with(settings: impl Fn(&str) -> String) -> Self {
        let dir = WorkDir::new();
        for name in ["sshd_config.d", "keys"] {
            let mut made = DirBuilder::new();
            made.mode(0o755).create(dir.path().join(name)).unwrap();
        }
        let drop_ins = dir.path().join("sshd_config.d");
        let sshd = Sshd::start(&settings(drop_ins.to_str().unwrap()));
        let [listed, spare, own] =
            ["listed", "spare", "own"].map(|name| keygen(sshd.dir(), name, "ed25519"));
        let user = User::new();
        user.authorize(&format!("{} own\n", own.public));
        Self {
            sshd,
            user,
            listed,
            spare,
            own,
            dir,
        }
    }

    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.dir.path().join("sshd_config.d")
    }

    pub(crate) fn drop_in(&self) -> PathBuf {
        self.drop_ins().join("30-sshkeyd.conf")
    }

    /// A place of the test's own.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of own files, with sshd's token in it.
    pub(crate) fn template(&self) -> PathBuf {
        self.dir.path().join("keys/%u")
    }

    /// A user's own file.
    pub(crate) fn own_file(&self, user: &User) -> PathBuf {
        self.dir.path().join("keys").join(&user.name)
    }

    /// An agent with the source `list`, which holds both keys, and no target yet. `more` are
    /// further lines of `[certificates]`, and other tables.
    pub(crate) fn host_of(&self, more: &str) -> Host {
        let host = Host::new().with_drop_in(&self.sshd, &self.drop_in(), more);
        let host = host.with_file("list");
        self.list(&host, &[&self.listed, &self.spare]);
        host
    }

    /// The same, with the user's target of method own-file.
    pub(crate) fn host(&self, more: &str) -> Host {
        let method = "method = \"own-file\"\n";
        let user = &self.user.name;
        self.host_of(more)
            .with_path(user, &self.template(), "list", method)
    }

    /// Has the list hold these keys.
    pub(crate) fn list(&self, host: &Host, keys: &[&KeyPair]) {
        let lines: Vec<_> = keys
            .iter()
            .map(|key| format!("{} k\n", key.public))
            .collect();
        host.write_file("list", &lines.concat());
    }

    pub(crate) fn lets_in(&self, key: &KeyPair) -> bool {
        self.sshd.lets_in(&self.user, &key.private)
    }

    /// Everything below the directory of drop-ins: names and bytes.
    pub(crate) fn all_drop_ins(&self) -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(self.drop_ins()).unwrap();
        let mut all: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), read(&path)))
            .collect();
        all.sort();
        all
    }
}

//! What an examination gathers before anything is concluded.

use super::{AgentWord, Settings};
use crate::config::Method;
use crate::keys::Fingerprint;
use crate::sinks::strict_modes::Refusal;
use crate::sys::users::Shadow;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything about one user.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The local user's name as it was asked for.
    pub user: String,
    /// The time of the examination.
    pub now: Timestamp,
    /// The user; none where there is none.
    pub account: Option<Account>,
    /// `/etc/nologin` or the like is there.
    pub nologin: Option<PathBuf>,
    /// What is in force for this user.
    pub sshd: SshdFacts,
    /// Who answers where `[verify]` says.
    pub listener: Listener,
    /// The file that the agent keeps, and how; none for a user who is no target.
    pub target: Option<(FileFacts, Method)>,
    /// Every key that stands in that file.
    pub keys: Vec<KeyFacts>,
    /// Lines of it that sshd passes over: number, and why.
    pub unreadable: Vec<(usize, String)>,
    /// The file that RevokedKeys names.
    pub revoked: Option<(PathBuf, Revoked)>,
    /// The file that TrustedUserCAKeys names.
    pub user_ca: Option<CaFile>,
    /// The file that AuthorizedPrincipalsFile names for this user.
    pub principals: Option<(PathBuf, Principals)>,
    /// What the running agent says; none where none runs.
    pub agent: Option<AgentWord>,
    /// What sshd said of keys: to the agent, or to us.
    pub proof: Option<crate::wire::Proof>,
}

/// A local user.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Names of its groups, and their numbers.
    pub groups: Vec<(u32, String)>,
    /// Its primary group, where that has its name and nobody else in it.
    pub own_group: Option<u32>,
    /// Its home directory.
    pub home: PathBuf,
    /// Whether that is a directory.
    pub has_home: bool,
    /// Its login shell.
    pub shell: (PathBuf, Shell),
    /// What shadow(5) says, where that may be read.
    pub shadow: Option<Shadow>,
}

/// What a login shell is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// A program that may be run.
    Usable,
    /// sshd refuses a user whose shell is not there (auth.c, `allowed_user`).
    Missing,
    /// The same, where it is no program that may be run.
    NotExecutable,
    /// `nologin` or `false`: sshd takes the key, and the session ends at once.
    TurnsAway,
}

/// The sshd of this machine.
#[derive(Debug, Clone)]
pub struct SshdFacts {
    /// The file it is configured by.
    pub config: PathBuf,
    /// What the agent itself would write for its targets: sshd_config(5), a line each.
    pub lines: String,
    /// What `sshd -T` says for this user, or why it says nothing.
    pub settings: Result<Settings, String>,
    /// AuthorizedKeysFile for this user, tokens put in.
    pub keys_files: Vec<PathBuf>,
}

/// Who answers where `[verify] sshd` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// Nobody is to be asked: `sshd = "off"`.
    Off,
    /// Nobody, or nobody who speaks SSH.
    Silent(SocketAddr),
    /// A server with this identification string.
    Speaks(SocketAddr, String),
}

/// The file that holds the keys.
#[derive(Debug, Clone)]
pub struct FileFacts {
    /// Its path.
    pub path: PathBuf,
    /// The same for every user, with sshd's tokens.
    pub template: String,
    /// The path with links followed, where it is there.
    pub real: Option<PathBuf>,
    /// What is there.
    pub state: FileState,
    /// The file and each directory above it, from the file up; of the real path.
    pub way: Vec<Stat>,
    /// What StrictModes refuses.
    pub strict: Vec<Refusal>,
    /// What nobody may change, root included.
    pub immutable: Vec<PathBuf>,
    /// Its SELinux label, where SELinux is enforced.
    pub label: Option<String>,
}

/// What is at the path of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// Nothing.
    Missing,
    /// Something that we do not read, and why.
    Refused(String),
    /// A file that was read.
    Read,
}

/// Owner and mode of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Which.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// A key line.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    /// Where it stands, from 1.
    pub line: usize,
    /// Whether it stands in our block.
    pub ours: bool,
    /// The key.
    pub fingerprint: Fingerprint,
    /// Its type.
    pub key_type: String,
    /// Its size, for RSA.
    pub rsa_bits: Option<usize>,
    /// What stands before it, verbatim.
    pub options: Option<String>,
    /// When its `expiry-time` ends it, in the time zone of this machine.
    pub expires: Option<Timestamp>,
}

/// What became of the file that RevokedKeys names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// sshd cannot read it, or cannot make sense of it: it then refuses every key.
    Unusable(String),
    /// It reads; these of the user's keys are in it.
    Holds(Vec<Fingerprint>),
    /// It could not be looked into from here.
    NotAsked(String),
}

/// The file that TrustedUserCAKeys names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFile {
    /// Which.
    pub path: PathBuf,
    /// The types of its keys, or why it cannot be read.
    pub types: Result<Vec<String>, String>,
}

/// A file of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// Nothing.
    Missing,
    /// Something that sshd does not read, and why.
    Refused(String),
    /// These names.
    Named(Vec<String>),
}

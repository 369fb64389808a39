//! Settings: from a TOML file to checked values, with every fault at once.
//!
//! `raw.rs` is the file's shape and nothing else; `agent.rs`, `source.rs`, `remote.rs`, `target.rs`
//! and `server.rs` say what it means. Secrets are
//! never in the file: `secret.rs` reads them. Refuses unknown keys, and guesses nothing. The
//! environment is an argument. Obeys interface.md sections 2 and 4.

mod agent;
mod certificates;
mod check;
mod database;
mod duration;
mod fault;
mod notes;
mod path_template;
mod pointer;
mod raw;
mod recover;
mod remote;
mod secret;
mod server;
mod sessions;
mod source;
mod suggest;
mod syntax;
mod target;
mod url;

pub use agent::{AgentConfig, Certificates, Reload, SshdPaths};
pub use database::{Database, Postgres};
pub use duration::{DurationError, parse_duration, show_duration};
pub use fault::{Fault, Faults, Place};
pub use notes::notes;
pub use path_template::{PathTemplate, PathTemplateError};
pub use pointer::{Pointer, PointerError, Step};
pub use remote::{Header, HeaderValue, HttpFormat, HttpSource, VastSource};
pub use secret::{MAX_SECRET, Secret, SecretError, SecretFile, credential, read_secret_file};
pub use server::{ServerConfig, TlsFiles};
pub use sessions::{AuthLog, EndOnRevoke, Sessions};
pub use source::{AccountSource, FileSource, Source, SourceKind};
pub use target::{Adopt, Method, Target};
pub use url::{UrlError, is_loopback, parse_list_url, parse_url};

use check::Check;
use fault::Text;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where the agent's file is, system-wide.
pub const AGENT_PATH: &str = "/etc/sshkeyd/agent.toml";
/// Where the service's file is.
pub const SERVER_PATH: &str = "/etc/sshkeyd/server.toml";
/// Largest configuration file, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The environment: a variable's value by its name.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Whose configuration a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `agent.toml`.
    Agent,
    /// `server.toml`.
    Server,
}

/// Reads and checks the agent's file.
///
/// # Errors
/// [`Faults`]: every one of them; nothing of the file is used then.
pub fn agent(path: &Path, env: Env<'_>) -> Result<AgentConfig, Faults> {
    agent_from_str(&read(path)?, path, env)
}

/// Checks the text of an agent's file; `path` is its name in messages.
///
/// # Errors
/// [`Faults`].
pub fn agent_from_str(text: &str, path: &Path, env: Env<'_>) -> Result<AgentConfig, Faults> {
    let (mut check, file) = begin(text, path, env);
    let config = check.agent(&file);
    check.finish(config)
}

/// Where the agent of this file listens, also while the file has faults: a running agent goes on
/// with the configuration before them, and must be reached to say so.
///
/// # Errors
/// [`Faults`], all of them, where they leave that in doubt.
pub fn control_socket(path: &Path, env: Env<'_>) -> Result<PathBuf, Faults> {
    let text = read(path)?;
    match agent_from_str(&text, path, env) {
        Ok(config) => Ok(config.control_socket),
        Err(faults) => socket_beside_faults(&text, path, env).ok_or(faults),
    }
}

fn socket_beside_faults(text: &str, path: &Path, env: Env<'_>) -> Option<PathBuf> {
    let (mut check, file) = begin(text, path, env);
    if let Some(socket) = check.socket_alone(&file) {
        return Some(socket);
    }
    // Below a broken list or header nothing is sure; what stands above it is as it was meant.
    let line = check.cut.first_guessed().filter(|_| file.agent.is_none())?;
    let above: String = text.split_inclusive('\n').take(line - 1).collect();
    let (mut check, file) = begin::<raw::AgentFile>(&above, path, env);
    let is_given = |agent: &raw::Agent| agent.control_socket.is_some();
    let is_given = file.agent.as_ref().is_some_and(|a| is_given(a.get_ref()));
    is_given.then(|| check.socket_alone(&file)).flatten()
}

/// Reads and checks the service's file.
///
/// # Errors
/// [`Faults`].
pub fn server(path: &Path, env: Env<'_>) -> Result<ServerConfig, Faults> {
    server_from_str(&read(path)?, path, env)
}

/// Checks the text of a service's file; `path` is its name in messages.
///
/// # Errors
/// [`Faults`].
pub fn server_from_str(text: &str, path: &Path, env: Env<'_>) -> Result<ServerConfig, Faults> {
    let (mut check, file) = begin(text, path, env);
    check.plaintext(&file);
    let config = check.server(&file);
    check.finish(config)
}

/// Reads a file and checks it as what its tables say it is: `sshkeyd check`.
///
/// # Errors
/// [`Faults`].
pub fn check(path: &Path, env: Env<'_>) -> Result<Kind, Faults> {
    let text = read(path)?;
    match kind_of(&text) {
        Kind::Agent => agent_from_str(&text, path, env).map(|_| Kind::Agent),
        Kind::Server => server_from_str(&text, path, env).map(|_| Kind::Server),
    }
}

/// Whose file the text is, by its top tables: the service's has `[server]`, all else is an agent's.
#[must_use]
pub fn kind_of(text: &str) -> Kind {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    let has = |names: &[&str]| {
        table
            .get_ref()
            .keys()
            .any(|k| names.contains(&&**k.get_ref()))
    };
    let of_the_agent = ["agent", "source", "target", "heartbeat", "verify"];
    if has(&["server"]) && !has(&of_the_agent) {
        Kind::Server
    } else {
        Kind::Agent
    }
}

/// The agent's file: the first of `given` (`--config`), `$SSHKEYD_CONFIG`,
/// `/etc/sshkeyd/agent.toml` and `$XDG_CONFIG_HOME/sshkeyd/agent.toml`. The last two must be there;
/// where neither is, the system's is named.
#[must_use]
pub fn default_agent_path(given: Option<&Path>, env: Env<'_>) -> PathBuf {
    first_agent_path(given, env, Path::new(AGENT_PATH))
}

fn first_agent_path(given: Option<&Path>, env: Env<'_>, system: &Path) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let variable = |name| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(named) = variable("SSHKEYD_CONFIG") {
        return named;
    }
    // A file that may not be looked at is not a missing one: its refusal must be seen.
    let there = |path: &PathBuf| path.try_exists().unwrap_or(true);
    let home = || variable("HOME").map(|home| home.join(".config"));
    let of_the_user = variable("XDG_CONFIG_HOME")
        .or_else(home)
        .filter(|path| path.is_absolute())
        .map(|path| path.join("sshkeyd/agent.toml"));
    let system = system.to_owned();
    match of_the_user {
        Some(user) if !there(&system) && there(&user) => user,
        _ => system,
    }
}

fn begin<'a, T>(text: &'a str, path: &'a Path, env: Env<'a>) -> (Check<'a>, T)
where
    T: Default + for<'de> serde::Deserialize<'de>,
{
    let text = Text { file: path, text };
    let read = recover::read(text);
    let check = Check {
        text,
        faults: read.faults,
        cut: read.cut,
        env,
    };
    (check, read.file)
}

fn read(path: &Path) -> Result<String, Faults> {
    let refused = |error: std::io::Error| {
        let todo = "name a file that can be read: --config FILE";
        Faults::of_file(path, check::reason(&error), todo)
    };
    let unfit = |what| Faults::of_file(path, what, "name a configuration file: --config FILE");
    // Opening a pipe would wait for its writer, so the name is looked at first.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(unfit("is not a plain file"));
    }
    let file = std::fs::File::open(path).map_err(refused)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unfit("is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let text = Text {
            file: path,
            text: &text,
        };
        let fault = text.fault(
            &(valid..valid),
            "a byte that is not UTF-8".to_owned(),
            "save the file as UTF-8".to_owned(),
        );
        Faults::one(fault)
    })
}

#[cfg(test)]
mod tests;

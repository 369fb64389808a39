//! `agent.toml`, checked: what the agent is told to do.

use super::check::Check;
use super::raw;
use super::recover::ROOT;
use super::sessions::Sessions;
use super::source::{Source, is};
use super::target::Target;
use serde_spanned::Spanned;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const STATE_DIR: &str = "/var/lib/sshkeyd";
const CONTROL_SOCKET: &str = "/run/sshkeyd/agent.sock";
const LOG: &str = "info";
const SSHD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 22);
const SSHD_PROGRAM: &str = "/usr/sbin/sshd";
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/30-sshkeyd.conf";
/// The host keys that ssh-keygen -A makes.
const HOST_KEYS: [&str; 3] = [
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/ssh/ssh_host_ecdsa_key.pub",
    "/etc/ssh/ssh_host_rsa_key.pub",
];
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_LEAST: Duration = Duration::from_secs(1);
const HEARTBEAT_MOST: Duration = Duration::from_secs(3600);

/// The agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Last-good lists, the revision floor, what was written.
    pub state_dir: PathBuf,
    /// Where `sshkeyd status` asks.
    pub control_socket: PathBuf,
    /// The log's filter; `RUST_LOG` goes before it.
    pub log: String,
    /// One user keeps his own file: no root, no other user.
    pub unprivileged: bool,
    /// Where keys come from; at least one.
    pub sources: Vec<Source>,
    /// Where keys go; at least one.
    pub targets: Vec<Target>,
    /// The sshd to ask for proof; none when it is off.
    pub verify: Option<SocketAddr>,
    /// The sshd of this machine.
    pub sshd: SshdPaths,
    /// Certificates that sshd is to trust and to show.
    pub certificates: Certificates,
    /// Live sessions.
    pub sessions: Sessions,
    /// How often the service hears of us.
    pub heartbeat: Duration,
}

/// Where sshd's own files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshdPaths {
    /// The program, for its version and `sshd -T`.
    pub program: PathBuf,
    /// sshd_config(5).
    pub config: PathBuf,
    /// Public host keys, to know the sshd that answers.
    pub host_keys: Vec<PathBuf>,
    /// Whether the drop-in may be written.
    pub manage: bool,
    /// The one file of sshd's configuration that is the agent's.
    pub drop_in: PathBuf,
    /// How sshd is told to read its configuration again.
    pub reload: Reload,
}

/// Which certificates the agent keeps sshd's part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// TrustedUserCAKeys, AuthorizedPrincipalsFile, RevokedKeys.
    pub user_ca: bool,
    /// HostCertificate.
    pub host: bool,
    /// Where what sshd reads of it stands; root's, 0755.
    pub directory: PathBuf,
    /// Revocation lists of others, whose entries are taken over into the one that sshd reads.
    pub merge_revoked: Vec<PathBuf>,
}

/// How sshd is told to read its configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// The unit that owns it, else SIGHUP to its listener.
    Auto,
    /// This program with these arguments.
    Command(Vec<String>),
}

impl Check<'_> {
    /// The whole file; none where anything is at fault.
    pub(super) fn agent(&mut self, file: &raw::AgentFile) -> Option<AgentConfig> {
        let none = raw::Agent::default();
        let agent = file.agent.as_ref().map_or(&none, Spanned::get_ref);
        let unprivileged = is(&agent.unprivileged);
        let state_dir = self.state_dir(agent, unprivileged);
        let control_socket = self.control_socket(agent, unprivileged);
        let log = self.log(agent);

        let raw_sources = list(&file.source);
        if raw_sources.is_empty() {
            self.missing(&ROOT, "source", "no source", "add one: [[source]]");
        }
        let sources = self.sources(raw_sources);
        let names: Vec<&str> = raw_sources
            .iter()
            .filter_map(|raw| raw.get_ref().name.as_ref())
            .map(|name| name.get_ref().as_str())
            .collect();
        let all_known = !self.cut.had_anywhere("source") && !self.cut.had_anywhere("name");
        let raw_targets = list(&file.target);
        if raw_targets.is_empty() {
            self.missing(&ROOT, "target", "no target", "add one: [[target]]");
        }
        let state = state_dir.as_deref().unwrap_or_else(|| Path::new(STATE_DIR));
        let targets = self.targets(raw_targets, all_known.then_some(&names), state);
        if unprivileged {
            self.one_user(raw_targets);
        }

        let verify = self.verify(file);
        let sshd = self.sshd_paths(file);
        let certificates = self.certificates(file, unprivileged);
        let sessions = self.sessions(file);
        let heartbeat = file.heartbeat.as_ref().map(Spanned::get_ref);
        let interval = heartbeat.map_or(&None, |raw| &raw.interval);
        let range = HEARTBEAT_LEAST..=HEARTBEAT_MOST;
        let heartbeat = self.duration(interval, "interval", HEARTBEAT, range);
        Some(AgentConfig {
            state_dir: state_dir?,
            control_socket: control_socket?,
            log: log?,
            unprivileged,
            sources: sources?,
            targets: targets?,
            verify: verify?,
            sshd: sshd?,
            certificates: certificates?,
            sessions: sessions?,
            heartbeat: heartbeat?,
        })
    }

    fn state_dir(&mut self, raw: &raw::Agent, unprivileged: bool) -> Option<PathBuf> {
        if !unprivileged || raw.state_dir.is_some() {
            return self.path_or(&raw.state_dir, STATE_DIR);
        }
        // XDG Base Directory Specification: $HOME/.local/state where the variable is not set.
        let home = self.env_path("HOME").map(|home| home.join(".local/state"));
        let state = self.env_path("XDG_STATE_HOME").or(home);
        self.or_fault(raw, state, "XDG_STATE_HOME", "state-dir")
            .map(|state| state.join("sshkeyd"))
    }

    fn control_socket(&mut self, raw: &raw::Agent, unprivileged: bool) -> Option<PathBuf> {
        if !unprivileged || raw.control_socket.is_some() {
            return self.path_or(&raw.control_socket, CONTROL_SOCKET);
        }
        let run = self.env_path("XDG_RUNTIME_DIR");
        self.or_fault(raw, run, "XDG_RUNTIME_DIR", "control-socket")
            .map(|run| run.join("sshkeyd/agent.sock"))
    }

    /// Where the agent listens, whatever else is wrong with the file; none where that is in doubt.
    pub(super) fn socket_alone(&mut self, file: &raw::AgentFile) -> Option<PathBuf> {
        let none = raw::Agent::default();
        let agent = file.agent.as_ref().map_or(&none, Spanned::get_ref);
        if agent.control_socket.is_none() {
            let words = ["control-socket", "unprivileged"];
            let is_open = match self.cut.first_guessed() {
                // Of such a line no more is known than the words in it.
                Some(_) => words.iter().any(|word| self.text.text.contains(word)),
                None => {
                    let mut cut = words.iter().chain(&["agent"]);
                    cut.any(|key| self.cut.had_anywhere(key))
                }
            };
            if is_open {
                return None;
            }
        }
        self.control_socket(agent, is(&agent.unprivileged))
    }

    fn env_path(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    fn or_fault(
        &mut self,
        raw: &raw::Agent,
        path: Option<PathBuf>,
        variable: &str,
        key: &str,
    ) -> Option<PathBuf> {
        if path.is_none()
            && let Some(unprivileged) = &raw.unprivileged
        {
            let what = format!("no \"{key}\", and ${variable} is not set");
            self.fault(&unprivileged.span(), what, format!("give {key} = \"/…\""));
        }
        path
    }

    fn log(&mut self, raw: &raw::Agent) -> Option<String> {
        let Some(value) = &raw.log else {
            return Some(LOG.to_owned());
        };
        if value
            .get_ref()
            .parse::<tracing_subscriber::filter::Targets>()
            .is_ok()
        {
            return Some(value.get_ref().clone());
        }
        let what = format!("\"{}\" is not a log filter", value.get_ref());
        self.fault(
            &value.span(),
            what,
            "give error, warn, info, debug or trace",
        );
        None
    }

    /// An unprivileged agent can write for one user only.
    fn one_user(&mut self, targets: &[Spanned<raw::Target>]) {
        let mut users = targets.iter().filter_map(|raw| raw.get_ref().user.as_ref());
        let first = users.next();
        for target in targets.iter().map(Spanned::get_ref) {
            if let Some(method) = &target.method
                && method.get_ref() == "command"
            {
                let what = "method \"command\" in an unprivileged agent";
                self.fault(
                    &method.span(),
                    what,
                    "sshd's command is root's to set; use \"block\"",
                );
            }
        }
        for other in users.filter(|user| first.is_some_and(|f| f.get_ref() != user.get_ref())) {
            let what = format!(
                "a second user, \"{}\", in an unprivileged agent",
                other.get_ref()
            );
            self.fault(&other.span(), what, "give each user an agent of his own");
        }
    }

    fn verify(&mut self, file: &raw::AgentFile) -> Option<Option<SocketAddr>> {
        let raw = file.verify.as_ref().map(Spanned::get_ref);
        let Some(value) = raw.and_then(|raw| raw.sshd.as_ref()) else {
            return Some(Some(SSHD));
        };
        match value.get_ref().as_str() {
            "off" => Some(None),
            text => self.socket_address(value, text, "or \"off\"").map(Some),
        }
    }

    fn sshd_paths(&mut self, file: &raw::AgentFile) -> Option<SshdPaths> {
        let none = raw::Certificates::default();
        let raw = file.certificates.as_ref().map_or(&none, Spanned::get_ref);
        let program = self.path_or(&raw.sshd, SSHD_PROGRAM);
        let config = self.path_or(&raw.sshd_config, SSHD_CONFIG);
        let host_keys: Vec<_> = match &raw.host_keys {
            None => HOST_KEYS
                .iter()
                .map(|path| Some(PathBuf::from(path)))
                .collect(),
            Some(values) => values.get_ref().iter().map(|v| self.absolute(v)).collect(),
        };
        let drop_in = self.path_or(&raw.drop_in, DROP_IN);
        let reload = self.reload(raw);
        let sshd = file.sshd.as_ref().map(Spanned::get_ref);
        let manage = sshd.and_then(|raw| raw.manage.as_ref());
        Some(SshdPaths {
            program: program?,
            config: config?,
            host_keys: host_keys.into_iter().collect::<Option<_>>()?,
            manage: manage.is_none_or(|on| *on.get_ref()),
            drop_in: drop_in?,
            reload: reload?,
        })
    }

    fn reload(&mut self, raw: &raw::Certificates) -> Option<Reload> {
        let Some(value) = &raw.reload else {
            return Some(Reload::Auto);
        };
        let words: Option<Vec<String>> = match value.get_ref() {
            toml::Value::String(word) if word == "auto" => return Some(Reload::Auto),
            toml::Value::Array(words) => {
                let words = words.iter();
                words.map(|w| w.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        let words = words.filter(|words| words.first().is_some_and(|w| w.starts_with('/')));
        if words.is_none() {
            let what = "\"reload\" is neither \"auto\" nor a command";
            let todo = "give a list with the program's full path: [\"/usr/bin/systemctl\", \"reload\", \"ssh\"]";
            self.fault(&value.span(), what, todo);
        }
        words.map(Reload::Command)
    }

    /// `ADDRESS:PORT`, both numbers.
    pub(super) fn socket_address(
        &mut self,
        value: &Spanned<String>,
        text: &str,
        or: &str,
    ) -> Option<SocketAddr> {
        let address = text.parse().ok().filter(|a: &SocketAddr| a.port() > 0);
        if address.is_none() {
            let what = format!("\"{text}\" is not an address and a port");
            let todo = format!("write numbers, such as \"127.0.0.1:22\" {or}");
            self.fault(&value.span(), what, todo.trim_end());
        }
        address
    }
}

fn list<T>(value: &raw::Value<Vec<Spanned<T>>>) -> &[Spanned<T>] {
    value
        .as_ref()
        .map_or(&[], |value| value.get_ref().as_slice())
}

//! The sshd that runs here: the configuration and the options that it was started with, and what
//! it would make of a file (`sshd -t`, `sshd -T`).
//!
//! sshd(8) writes over its own command line (`sshd: /usr/sbin/sshd -D [listener] …`): the words
//! are the same, apart by single blanks. Starts no sshd that serves.

use crate::config::SshdPaths;
use crate::sinks::sshd::Settings;
use crate::sys::command::{Limits, run};
use crate::sys::listener::{self, Listener};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// The name of sshd's process, also where the file has another.
const NAME: &str = "sshd";
/// `sshd -T` prints some 5 KiB and takes some 10 ms.
const LIMITS: Limits = Limits {
    output: 256 * 1024,
    time: Duration::from_secs(10),
};
/// Lines of what it complains of that are repeated.
const COMPLAINTS: usize = 3;
/// Options of sshd(8) that take a value.
const WITH_VALUE: &str = "CEbcfghkopu";
/// Those of them that say what is in force.
const PASSED_ON: &str = "cho";
/// Where a Match on the local address is asked about when nobody says which sshd is meant.
const LOCAL: &str = "laddr=127.0.0.1,lport=22";

/// The sshd of this machine.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    program: PathBuf,
    /// sshd_config(5), as it was started with, else as the agent is configured.
    pub(super) config: PathBuf,
    /// `-o` and the like that it was started with.
    pub(super) options: Vec<String>,
    /// Its process, where it can be seen.
    pub(super) listener: Option<Listener>,
    /// Where it takes connections.
    pub(super) address: Option<SocketAddr>,
}

impl Daemon {
    /// Finds it by its listening socket, else by its PidFile.
    ///
    /// # Errors
    /// In sshd's words: the configured file cannot be read by sshd at all.
    pub(super) async fn find(
        address: Option<SocketAddr>,
        paths: &SshdPaths,
    ) -> Result<Self, String> {
        let mut daemon = Self {
            program: paths.program.clone(),
            config: paths.config.clone(),
            options: Vec::new(),
            listener: None,
            address,
        };
        daemon.listener = daemon.find_listener().await;
        if daemon.listener.is_none() {
            let values = daemon.values(&daemon.config, "root").await?;
            let pid_file = PathBuf::from(values.one("pidfile"));
            daemon.listener = off_loop(move || {
                let text = std::fs::read_to_string(pid_file).ok()?;
                Listener::of_pid(text.trim().parse().ok()?, NAME)
            })
            .await;
            let own = values.all("listenaddress").iter();
            daemon.address = address.or_else(|| own.filter_map(|text| reachable(text)).next());
        }
        if let Some(listener) = &daemon.listener {
            let (config, options) = started_with(&listener.command);
            daemon.options = options;
            if let Some(config) = config.filter(|config| config.is_absolute()) {
                daemon.config = config;
            }
        }
        Ok(daemon)
    }

    /// The process that takes connections at its address.
    pub(super) async fn find_listener(&self) -> Option<Listener> {
        let address = self.address?;
        off_loop(move || listener::find(address, NAME)).await
    }

    /// `sshd -t`: whether sshd takes this configuration.
    ///
    /// # Errors
    /// In sshd's words.
    pub(super) async fn test(&self, config: &Path) -> Result<(), String> {
        self.run(config, "-t", None).await.map(|_| ())
    }

    /// `sshd -T`: what this configuration comes to for one user who comes from this machine.
    ///
    /// # Errors
    /// In sshd's words.
    pub(super) async fn values(&self, config: &Path, user: &str) -> Result<Settings, String> {
        let local = match self.address {
            Some(address) => format!("laddr={},lport={}", address.ip(), address.port()),
            None => LOCAL.to_owned(),
        };
        let test = format!("user={user},host=localhost,addr=127.0.0.1,{local}");
        let said = self.run(config, "-T", Some(&test)).await?;
        Ok(Settings::parse(&said))
    }

    /// What was set on its command line: keyword and value.
    pub(super) fn set_by_option(&self) -> impl Iterator<Item = (&str, &str)> {
        let settings = self
            .options
            .iter()
            .filter_map(|word| word.strip_prefix("-o"));
        settings.filter_map(|text| text.trim().split_once(['=', ' ', '\t']))
    }

    async fn run(&self, config: &Path, mode: &str, test: Option<&str>) -> Result<String, String> {
        let config = config.display().to_string();
        let mut args = vec![mode, "-f", &config];
        args.extend(self.options.iter().map(String::as_str));
        args.extend(test.into_iter().flat_map(|test| ["-C", test]));
        let output = match run(&self.program, &args, LIMITS).await {
            Ok(output) => output,
            Err(fault) => return Err(format!("{}: {fault}", self.program.display())),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("sshd {mode}: {}", last_words(&output.stderr)))
    }
}

/// What sshd complained of: where it stands comes first, and last that it gives up.
fn last_words(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<_> = lines.rev().take(COMPLAINTS).collect();
    last.reverse();
    if last.is_empty() {
        return "no reason given".to_owned();
    }
    crate::keys::printable(&last.join("; "))
}

/// Work that may block, away from the agent's one thread. A panic in it finds nothing.
pub(super) async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    spawn_blocking(work).await.ok().flatten()
}

/// An address of `sshd -T` that can be connected to from here.
fn reachable(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    if !address.ip().is_unspecified() {
        return Some(address);
    }
    let local = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    Some(SocketAddr::new(local, address.port()))
}

/// The file of `-f`, and options that are to be given to every `sshd -T`, each as one word.
fn started_with(command: &[String]) -> (Option<PathBuf>, Vec<String>) {
    let (mut config, mut options) = (None, Vec::new());
    let mut words = words(command).into_iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            continue;
        };
        // Letters without a value may stand before one with it, as getopt(3) has it: `-Df FILE`.
        let Some(at) = letters.find(|c| WITH_VALUE.contains(c)) else {
            continue;
        };
        let (letter, attached) = letters.split_at(at).1.split_at(1);
        let mut value = attached.to_owned();
        if value.is_empty() {
            value = words.next().unwrap_or_default();
            // A value with blanks was one word once: `-o MaxAuthTries 5`.
            while let Some(more) = words.next_if(|word| !word.starts_with('-')) {
                value.push(' ');
                value.push_str(&more);
            }
        }
        match letter {
            "f" => config = Some(PathBuf::from(value)),
            _ if PASSED_ON.contains(letter) => options.push(format!("-{letter}{value}")),
            _ => {}
        }
    }
    (config, options)
}

/// The words of a command line, also of one that sshd wrote over.
fn words(command: &[String]) -> Vec<String> {
    let Some(title) = command
        .first()
        .and_then(|first| first.strip_prefix("sshd: "))
    else {
        return command.to_vec();
    };
    let title = title.split(" [listener]").next().unwrap_or(title);
    title.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_what_sshd_was_started_with() {
        let own = |text: &str| started_with(&[text.to_owned()]);
        let (config, options) = own(
            "sshd: /usr/sbin/sshd -D -f /etc/ssh/other -o MaxAuthTries 5 -oPort=2 -E /log \
             [listener] 0 of 10-100 startups",
        );
        assert_eq!(config, Some(PathBuf::from("/etc/ssh/other")));
        assert_eq!(options, ["-oMaxAuthTries 5", "-oPort=2"]);
        let argv = ["/usr/sbin/sshd", "-Def", "/c", "-h", "/key"].map(str::to_owned);
        assert_eq!(
            started_with(&argv),
            (Some("/c".into()), vec!["-h/key".to_owned()])
        );
        assert_eq!(
            own("sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups"),
            (None, vec![])
        );
        assert_eq!(started_with(&[]), (None, vec![]));
    }

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        for (text, address) in [
            ("0.0.0.0:22", Some("127.0.0.1:22")),
            ("[::]:2222", Some("[::1]:2222")),
            ("192.0.2.1:22", Some("192.0.2.1:22")),
            ("nonsense", None),
        ] {
            assert_eq!(
                reachable(text),
                address.map(|a| a.parse().unwrap()),
                "{text}"
            );
        }
    }
}

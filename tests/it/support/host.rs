//! A rented machine: one agent with its configuration, state and control socket, and homes.

use crate::support::process::{Daemon, Ran, agent_program, sshkeyd_under, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{Sshd, User, WorkDir, put};
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::dir::Owner;
use sshkeyd::sys::users;
use sshkeyd::wire::{Condition, Status};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// A machine with an agent, which runs or not.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) daemon: Option<Daemon>,
    pub(crate) config: PathBuf,
    pub(crate) dir: WorkDir,
    sources: String,
    targets: String,
    rest: String,
    sessions: String,
    certificates: String,
    instead: Option<String>,
    env: Vec<(String, String)>,
    program: PathBuf,
}

impl Host {
    /// Nothing configured yet, and no sshd to ask.
    pub(crate) fn new() -> Self {
        let dir = WorkDir::new();
        let rest = format!(
            "[verify]\nsshd = \"off\"\n[certificates]\nsshd = \"{0}/none\"\nhost-keys = []\n\
             sshd-config = \"{0}/none\"\n",
            dir.path().display()
        );
        Self {
            daemon: None,
            config: dir.path().join("agent.toml"),
            dir,
            sources: String::new(),
            targets: String::new(),
            rest,
            sessions: "report = false\nend-on-revoke = \"never\"\n".to_owned(),
            // No test writes into the machine's own /etc/ssh.
            certificates: "user-ca = false\nhost-certificates = false\n".to_owned(),
            instead: None,
            env: Vec::new(),
            program: agent_program(),
        }
    }

    /// The agent is this copy of the program.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// What is done about live sessions: lines of `[sessions]`.
    pub(crate) fn with_sessions(mut self, lines: &str) -> Self {
        self.sessions = format!("{lines}\n");
        self
    }

    /// What is kept of certificates: lines of `[certificates]`.
    pub(crate) fn with_certificates(mut self, lines: &str) -> Self {
        self.certificates = format!("{lines}\n");
        self
    }

    /// Asks the sshd there for proof.
    pub(crate) fn with_sshd_at(mut self, address: SocketAddr, config: &Path) -> Self {
        self.rest = format!(
            "[verify]\nsshd = \"{address}\"\n[certificates]\nsshd-config = \"{}\"\n\
             host-keys = [\"{}\"]\ndrop-in = \"{}/none/30-sshkeyd.conf\"\n",
            config.display(),
            config.with_file_name("host_key.pub").display(),
            self.dir.path().display()
        );
        self
    }

    /// Its sshd is this program.
    pub(crate) fn with_sshd_program(mut self, program: &Path) -> Self {
        let own = format!("[certificates]\nsshd = \"{}\"\n", program.display());
        self.rest = self.rest.replace("[certificates]\n", &own);
        self
    }

    /// Asks this sshd for proof.
    pub(crate) fn with_sshd(mut self, sshd: &Sshd) -> Self {
        self.rest = format!(
            "[verify]\nsshd = \"{}\"\n[certificates]\nsshd-config = \"{}\"\nhost-keys = []\n\
             drop-in = \"{}/none/30-sshkeyd.conf\"\n",
            sshd.address,
            sshd.config.display(),
            self.dir.path().display()
        );
        self
    }

    /// The same, and this is its drop-in. `more` are further lines of `[certificates]`, and tables.
    pub(crate) fn with_drop_in(self, sshd: &Sshd, drop_in: &Path, more: &str) -> Self {
        let mut host = self.with_sshd(sshd);
        let own = format!("drop-in = \"{}\"\n{more}", drop_in.display());
        host.rest = host
            .rest
            .split("drop-in = ")
            .take(1)
            .chain([&*own])
            .collect();
        host
    }

    /// The same as it was, with this drop-in.
    pub(crate) fn with_drop_in_at(mut self, drop_in: &Path) -> Self {
        let lines = self
            .rest
            .lines()
            .filter(|line| !line.starts_with("drop-in"));
        let lines: Vec<_> = lines.collect();
        self.rest = format!(
            "{}\ndrop-in = \"{}\"\n",
            lines.join("\n"),
            drop_in.display()
        );
        self
    }

    /// Asks another SSH server for proof, with nothing of OpenSSH installed.
    pub(crate) fn with_ssh_server(mut self, address: SocketAddr, host_key: &PublicKey) -> Self {
        let file = self.dir.path().join("host_key.pub");
        put(&file, &format!("{host_key}\n"), 0o644);
        self.rest = format!(
            "[verify]\nsshd = \"{address}\"\n[certificates]\nsshd = \"{0}/none\"\n\
             sshd-config = \"{0}/none\"\nhost-keys = [\"{1}\"]\n",
            self.dir.path().display(),
            file.display()
        );
        self
    }

    /// A new instance of the first account, as the source `account`.
    pub(crate) fn of_account(self, service: &Service) -> Self {
        self.of_new_instance(service, "web").0
    }

    /// The same; gives the instance's id too.
    pub(crate) fn of_new_instance(self, service: &Service, label: &str) -> (Self, i64) {
        let (id, token) = service.create_instance(label);
        (self.with_token(service, &token), id)
    }

    /// The source `account`, to be enrolled with this token.
    pub(crate) fn with_token(mut self, service: &Service, token: &str) -> Self {
        put(&self.token_file(), token, 0o600);
        let _ = write!(
            self.sources,
            "[[source]]\nname = \"account\"\naccount.urls = [\"{}\"]\n\
             account.enroll-token-file = \"{}\"\n",
            service.url,
            self.token_file().display()
        );
        if let Some(ca) = &service.ca {
            let _ = writeln!(self.sources, "account.ca-file = \"{}\"", ca.display());
        }
        self
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("enroll-token")
    }

    /// A source that is a file of this machine, by the source's name. It need not exist.
    pub(crate) fn with_file(mut self, name: &str) -> Self {
        let _ = write!(
            self.sources,
            "[[source]]\nname = \"{name}\"\nfile.path = \"{}\"\n",
            self.file(name).display()
        );
        self
    }

    /// A source with these settings.
    pub(crate) fn with_source(mut self, name: &str, settings: &str) -> Self {
        let _ = write!(self.sources, "[[source]]\nname = \"{name}\"\n{settings}\n");
        self
    }

    /// A variable of the agent's environment, and of the commands about it.
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// That file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.pub"))
    }

    /// Writes it, whole at once, as an editor does.
    pub(crate) fn write_file(&self, name: &str, text: &str) {
        replace(&self.file(name), text);
    }

    /// A target of a real local user.
    pub(crate) fn with_target(self, user: &User, sources: &str, more: &str) -> Self {
        let name = user.name.clone();
        self.with_path(&name, Path::new("%h/.ssh/authorized_keys"), sources, more)
    }

    /// A target in a home of its own that is no login's.
    pub(crate) fn with_home(self, home: &Home, sources: &str, more: &str) -> Self {
        self.with_path(&home.user, &home.authorized_keys(), sources, more)
    }

    /// A target of the method `command`.
    pub(crate) fn with_command(mut self, user: &str, sources: &str) -> Self {
        let names: Vec<_> = sources.split(' ').collect();
        let _ = writeln!(
            self.targets,
            "[[target]]\nuser = \"{user}\"\nmethod = \"command\"\nsources = {names:?}"
        );
        self
    }

    /// Where its indexes are.
    pub(crate) fn indexes(&self) -> PathBuf {
        self.dir.path().join("state/keys")
    }

    /// A target with a file of any name, sshd's tokens in it.
    pub(crate) fn with_path(mut self, user: &str, path: &Path, sources: &str, more: &str) -> Self {
        let names: Vec<_> = sources.split(' ').collect();
        let _ = writeln!(
            self.targets,
            "[[target]]\nuser = \"{user}\"\npath = \"{}\"\nsources = {names:?}\n{more}",
            path.display()
        );
        self
    }

    /// The configuration as it is written.
    pub(crate) fn toml(&self) -> String {
        let dir = self.dir.path().display();
        let own = format!("[certificates]\n{}", self.certificates);
        let rest = self.rest.replace("[certificates]\n", &own);
        format!(
            "[agent]\nstate-dir = \"{dir}/state\"\ncontrol-socket = \"{dir}/run/agent.sock\"\n\
             {}{}{}[sessions]\n{}[heartbeat]\ninterval = \"1s\"\n",
            self.sources, self.targets, rest, self.sessions
        )
    }

    /// Writes the configuration; a running agent sees it.
    pub(crate) fn configure(&self) {
        let own = || self.toml();
        replace(&self.config, &self.instead.clone().unwrap_or_else(own));
    }

    /// Writes this configuration, now and at every start.
    pub(crate) fn configure_as(&mut self, text: String) {
        self.instead = Some(text);
        self.configure();
    }

    /// Has the agent log all it can.
    pub(crate) fn debug_log(&mut self) {
        self.instead = Some(self.toml().replace("[agent]", "[agent]\nlog = \"trace\""));
    }

    /// No target from here on but those that are added again.
    pub(crate) fn forget_targets(&mut self) {
        self.targets.clear();
    }

    /// Leaves a source out of the configuration from here on.
    pub(crate) fn forget_source(&mut self, name: &str) {
        let of = |part: &&str| !part.contains(&format!("name = \"{name}\""));
        let kept = self.sources.split("[[source]]").skip(1).filter(of);
        self.sources = kept.map(|part| format!("[[source]]{part}")).collect();
        self.targets = self.targets.replace(&format!(", \"{name}\""), "");
    }

    /// Writes the configuration and starts the agent.
    pub(crate) fn start(&mut self) {
        self.start_as(sshkeyd_under(&[], &self.program));
    }

    /// The same, in a way of one's own: what runs the binary, up to its arguments.
    pub(crate) fn start_as(&mut self, mut agent: Command) {
        self.configure();
        agent.arg("agent").arg("--config").arg(&self.config);
        agent.envs(self.env.iter().cloned());
        self.daemon = Some(Daemon::start("agent", &mut agent, self.dir.path()));
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn up(&mut self) -> &mut Self {
        self.up_under(&[])
    }

    /// Starts the agent and waits for the account's first list.
    pub(crate) fn up_listed(mut self) -> Self {
        self.up();
        self.wait_listed();
        self
    }

    /// The same, with another command line before the agent's.
    pub(crate) fn up_under(&mut self, wrapper: &[String]) -> &mut Self {
        self.up_as(sshkeyd_under(wrapper, &self.program))
    }

    /// The same, in a way of one's own.
    pub(crate) fn up_as(&mut self, agent: Command) -> &mut Self {
        self.start_as(agent);
        wait_until("the agent to answer", || {
            let daemon = self.daemon.as_mut().unwrap();
            assert!(daemon.is_up(), "{}", daemon.log());
            self.run(&["status"]).code == Some(0)
        });
        self
    }

    /// TERM.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.daemon.take().unwrap().stop()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    pub(crate) fn signal(&self, name: &str) {
        self.daemon.as_ref().unwrap().signal(name);
    }

    /// The running agent's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().pid()
    }

    /// A command about this machine's agent.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &self.config)
    }

    fn run_with(&self, args: &[&str], config: &Path) -> Ran {
        let mut command = sshkeyd_under(&[], &self.program);
        command.args(args).arg("--config").arg(config);
        command.envs(self.env.iter().cloned());
        Ran::of(&mut command)
    }

    /// `agent --once`.
    pub(crate) fn once(&self) -> Ran {
        self.configure();
        self.run(&["agent", "--once"])
    }

    /// The same, with another command line before the agent's.
    pub(crate) fn once_under(&self, wrapper: &[String]) -> Ran {
        self.configure();
        let mut command = sshkeyd_under(wrapper, &self.program);
        command
            .args(["agent", "--once", "--config"])
            .arg(&self.config);
        Ran::of(&mut command)
    }

    pub(crate) fn status(&self) -> Status {
        // Also while the agent's own file has a fault.
        let config = self.dir.path().join("client.toml");
        replace(&config, &self.toml());
        self.run_with(&["status", "--json"], &config).done().json()
    }

    /// A sync that was carried out, however well: at most one a second is.
    pub(crate) fn sync(&self) -> Status {
        wait_for("a sync", || {
            let ran = self.run(&["sync", "--json"]);
            (!ran.out.is_empty()).then(|| ran.json())
        })
    }

    /// The condition of that name, now.
    pub(crate) fn condition(&self, code: &str) -> Option<Condition> {
        let status = self.status();
        status.conditions.into_iter().find(|c| c.code == code)
    }

    /// Waits for a condition.
    #[track_caller]
    pub(crate) fn wait_condition(&self, code: &str) -> Condition {
        wait_for(code, || self.condition(code))
    }

    /// Waits until it is gone.
    #[track_caller]
    pub(crate) fn wait_cleared(&self, code: &str) {
        wait_until(&format!("{code} to clear"), || {
            self.condition(code).is_none()
        });
    }

    /// Waits until the account has given a list: from then on the service sees this agent live.
    #[track_caller]
    pub(crate) fn wait_listed(&self) {
        self.wait_status("a first list", |s| s.sources[0].revision.is_some());
    }

    /// Waits until the status is such.
    #[track_caller]
    pub(crate) fn wait_status(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let mut last = self.status();
        let mut look = || {
            last = self.status();
            is_so(&last).then(|| last.clone())
        };
        wait_for(what, &mut look)
    }
}

/// A home directory that is no login's, with `.ssh` in it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) user: String,
    owner: Owner,
    dir: WorkDir,
}

impl Home {
    /// The home of whoever runs the tests.
    pub(crate) fn new() -> Self {
        Self::of(users::current_uid())
    }

    /// Of a user who is on every machine and is not root. Only root can make it.
    pub(crate) fn of_daemon() -> Self {
        Self::of(1)
    }

    fn of(uid: u32) -> Self {
        let user = users::lookup_uid(uid).unwrap().unwrap();
        let home = Self {
            user: user.name,
            owner: Owner { uid, gid: user.gid },
            dir: WorkDir::new(),
        };
        for path in [home.path(), home.path().join(".ssh")] {
            DirBuilder::new().mode(0o700).create(&path).unwrap();
            chown(&path, Some(uid), Some(user.gid)).unwrap();
        }
        home
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn authorized_keys(&self) -> PathBuf {
        self.path().join(".ssh/authorized_keys")
    }

    /// What the file reads; nothing where it is not there.
    pub(crate) fn text(&self) -> String {
        read(&self.authorized_keys())
    }

    /// Whether the file holds a key.
    pub(crate) fn has(&self, key: &PublicKey) -> bool {
        self.text().contains(&key.to_string())
    }

    /// Waits until it does, or does not.
    #[track_caller]
    pub(crate) fn wait_has(&self, key: &PublicKey, wanted: bool) {
        let what = format!("{key} in the file to be {wanted}");
        wait_until(&what, || self.has(key) == wanted);
    }

    /// Writes the file as its user would.
    pub(crate) fn write(&self, text: &str) {
        put(&self.authorized_keys(), text, 0o600);
        let Owner { uid, gid } = self.owner;
        chown(self.authorized_keys(), Some(uid), Some(gid)).unwrap();
    }
}

/// What a file reads; nothing where it is not there.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Writes a file whole at once.
#[expect(clippy::disallowed_methods, reason = "as an editor does it")]
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    put(&new, text, 0o600);
    fs::rename(new, path).unwrap();
}

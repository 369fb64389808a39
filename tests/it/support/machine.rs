//! A machine of an account as it is meant to be run: an sshd with a log of its own and a directory of
//! drop-ins, an agent that keeps keys, certificates and revocation in force there, and a user.

use crate::support::host::Host;
use crate::support::logins::{Client, LoggedSshd};
use crate::support::process::{Daemon, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, User, WorkDir, put};
use serde_json::{Value, json};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// One machine, up, with the account's list.
#[derive(Debug)]
pub(crate) struct Machine {
    // Dropped in this order: who writes goes before what is written.
    pub(crate) host: Host,
    _log: Daemon,
    pub(crate) sshd: LoggedSshd,
    pub(crate) user: User,
    pub(crate) instance: i64,
    dir: WorkDir,
}

impl Machine {
    /// `sessions` are further lines of `[sessions]`.
    pub(crate) fn start(service: &Service, label: &str, sessions: &str) -> Self {
        Self::of(service, label, sessions, LoggedSshd::start)
    }

    /// The same, with an sshd that is `start`ed with these lines.
    pub(crate) fn of(
        service: &Service,
        label: &str,
        sessions: &str,
        start: impl Fn(&str) -> LoggedSshd,
    ) -> Self {
        let dir = WorkDir::new();
        let drop_ins = dir.path().join("sshd_config.d");
        DirBuilder::new().mode(0o755).create(&drop_ins).unwrap();
        let sshd = start(&format!("Include {}/*.conf", drop_ins.display()));
        let user = User::new();
        sshd.admit(&user);
        let (host, instance) = sshd
            .asked_by(Host::new())
            .with_drop_in_at(&drop_ins.join("30-sshkeyd.conf"))
            .of_new_instance(service, label);
        let mut host = host
            .with_target(&user, "account", "")
            .with_sessions(&format!("auth-log = \"syslog-socket\"\n{sessions}"))
            .with_certificates(&format!(
                "user-ca = true\nhost-certificates = false\ndirectory = \"{}/trust\"",
                dir.path().display()
            ));
        host.configure();
        let mut log = sshd.syslog_socket(&host.config);
        let log = Daemon::start("syslog-socket", &mut log, sshd.dir());
        wait_until("the log's socket", || sshd.dev_log().exists());
        host.up();
        host.wait_listed();
        Self {
            host,
            _log: log,
            sshd,
            user,
            instance,
            dir,
        }
    }

    /// A file by which sshd trusts and refuses.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("trust").join(name)
    }

    /// Waits until sshd goes by the account's CA and by its newest list.
    #[track_caller]
    pub(crate) fn wait_trusted(&self) {
        self.host.wait_status("the CA in force", |status| {
            let certificates = status.certificates.as_ref();
            certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_some())
        });
    }

    /// A session by this key, or by its certificate where one is named.
    pub(crate) fn enter(&self, key: &KeyPair, by: Option<&Path>, command: &str) -> Client {
        let file = by.map(|file| format!("CertificateFile={}", file.display()));
        let args: Vec<&str> = file.iter().flat_map(|file| ["-o", file]).collect();
        self.sshd.client(&self.user.name, key, &args, command)
    }

    /// Whether a login by this key, or by its certificate alone, gets in.
    pub(crate) fn lets_in(&self, key: &KeyPair, by: Option<&Path>) -> bool {
        let mut ssh = self.sshd.openssh("ssh", key);
        if let Some(file) = by {
            ssh.args(["-o", &format!("CertificateFile={}", file.display())]);
        }
        ssh.arg(format!("{}@127.0.0.1", self.user.name)).arg("true");
        ssh.output().unwrap().status.success()
    }
}

/// A certificate of the account over this key, in a file that ssh does not find by itself; its serial
/// and its key ID.
pub(crate) fn certify(service: &Service, key: &KeyPair) -> (PathBuf, u64, String) {
    let body = json!({ "public_key": key.public.to_string(), "ttl": "1h" }).to_string();
    let (status, _, made) = service.http("POST /v1/certificates/user", &body);
    assert_eq!(status, 201, "{made}");
    let file = key.private.with_extension("certificate");
    let text = made["certificate"].as_str().unwrap();
    put(&file, &format!("{text}\n"), 0o644);
    let key_id = made["key_id"].as_str().unwrap().to_owned();
    (file, made["serial"].as_u64().unwrap(), key_id)
}

/// Revokes certificates; with `end_sessions` their sessions are to end.
pub(crate) fn revoke(service: &Service, of: &Value, end_sessions: bool) {
    let request = format!("POST /v1/certificates/revoke?end_sessions={end_sessions}");
    let (status, _, said) = service.http(&request, &of.to_string());
    assert_eq!(status, 204, "{said}");
}

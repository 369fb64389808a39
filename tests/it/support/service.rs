//! An account key service as a process, with one account, and its owner's commands.

use crate::support::process::{Daemon, Ran, WITHIN, port, sshkeyd, wait_until};
use crate::support::sshd::{WorkDir, put};
use serde_json::Value;
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{InstanceState, Rollout};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The service and the first account's owner.
#[derive(Debug)]
pub(crate) struct Service {
    daemon: Option<Daemon>,
    pub(crate) address: SocketAddr,
    /// As an agent or a person is told it.
    pub(crate) url: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) api_key: String,
    pub(crate) account: i64,
    config: PathBuf,
    dir: WorkDir,
}

impl Service {
    /// On loopback, without TLS.
    pub(crate) fn start() -> Self {
        Self::start_behind(None)
    }

    /// The same, with more lines of configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        let (dir, address) = (WorkDir::new(), listen());
        Self::start_in(dir, address, format!("http://{address}"), more, None)
    }

    /// The same, known to agents by the address of a proxy.
    pub(crate) fn start_behind(proxy: Option<SocketAddr>) -> Self {
        let (dir, address) = (WorkDir::new(), listen());
        let url = format!("http://{}", proxy.unwrap_or(address));
        Self::start_in(dir, address, url, "", None)
    }

    /// With its database in a directory of its own, `data`, which is `prepare`d first.
    pub(crate) fn start_with_data(prepare: impl FnOnce(&Path)) -> Self {
        let (dir, address) = (WorkDir::new(), listen());
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        prepare(&data);
        let url = format!("http://{address}");
        let database = format!("database = \"sqlite:{}/sshkeyd.db\"\n", data.display());
        Self::start_in(dir, address, url, &database, None)
    }

    /// With a certificate for `localhost`, signed by a CA of its own.
    pub(crate) fn start_with_tls() -> Self {
        let (dir, address) = (WorkDir::new(), listen());
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let (pem, key_pem) = (dir.path().join("tls.pem"), dir.path().join("tls.key"));
        put(&pem, &certificate.pem(), 0o644);
        put(&key_pem, &key.serialize_pem(), 0o600);
        let tls = format!(
            "tls.certificate = \"{}\"\ntls.key = \"{}\"\n",
            pem.display(),
            key_pem.display()
        );
        let url = format!("https://localhost:{}", address.port());
        Self::start_in(dir, address, url, &tls, Some(pem))
    }

    fn start_in(
        dir: WorkDir,
        address: SocketAddr,
        url: String,
        more: &str,
        ca: Option<PathBuf>,
    ) -> Self {
        let config = dir.path().join("server.toml");
        let path = dir.path().display();
        let database = match more.contains("database = ") {
            true => String::new(),
            false => format!("database = \"sqlite:{path}/sshkeyd.db\"\n"),
        };
        put(
            &config,
            &format!(
                "[server]\nlisten = \"{address}\"\npublic-url = \"{url}\"\n\
                 {database}secrets-dir = \"{path}/secrets\"\n{more}"
            ),
            0o600,
        );
        let mut service = Self {
            daemon: None,
            address,
            url,
            ca,
            api_key: String::new(),
            account: 0,
            config,
            dir,
        };
        (service.account, service.api_key) = service.add_account("alice@example.com");
        service.up();
        service
    }

    /// Another replica on the same database, with the same secrets and the same public address; its
    /// owner's commands go to itself.
    pub(crate) fn replica(&self) -> Self {
        let (dir, address) = (WorkDir::new(), listen());
        let config = dir.path().join("server.toml");
        let (here, there) = (self.dir.path().display(), dir.path().display());
        let text = std::fs::read_to_string(&self.config).unwrap();
        let text = text
            .replace(
                &format!("listen = \"{}\"", self.address),
                &format!("listen = \"{address}\""),
            )
            .replace(&format!("{here}/secrets"), &format!("{there}/secrets"));
        put(&config, &text, 0o600);
        let mut replica = Self {
            daemon: None,
            address,
            url: self.url.clone(),
            ca: self.ca.clone(),
            api_key: self.api_key.clone(),
            account: self.account,
            config,
            dir,
        };
        replica.copy_secrets(self);
        replica.up();
        replica
    }

    /// Agents that are made from here on come to this replica itself, not to the public address.
    pub(crate) fn by_its_own_address(mut self) -> Self {
        self.url = format!("http://{}", self.address);
        self
    }

    /// Brings `secrets-dir` to what it is on another replica.
    pub(crate) fn copy_secrets(&self, from: &Self) {
        let to = self.dir.path().join("secrets");
        std::fs::create_dir_all(&to).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a")
            .arg(from.dir.path().join("secrets/."))
            .arg(to);
        Ran::of(&mut copy).done();
    }

    /// A command on the server's own machine.
    pub(crate) fn errand(&self, args: &[&str]) -> Ran {
        let mut errand = sshkeyd();
        errand.args(args).arg("--config").arg(&self.config);
        Ran::of(&mut errand)
    }

    /// Makes an account; gives its id and its API key.
    pub(crate) fn add_account(&self, email: &str) -> (i64, String) {
        let mut add = sshkeyd();
        add.args(["account", "add", email, "--json", "--config"])
            .arg(&self.config);
        let made: Value = Ran::of(&mut add).done().json();
        assert_eq!(made["email"], email);
        let key = made["api_key"].as_str().unwrap();
        assert!(key.starts_with("skd_api_"), "{key}");
        (made["account"].as_i64().unwrap(), key.to_owned())
    }

    /// Makes an account whose owner has a password, and gives its commands to that owner.
    pub(crate) fn for_person(mut self, email: &str, password: &str) -> Self {
        let file = self.dir.path().join("password");
        put(&file, password, 0o600);
        let mut add = sshkeyd();
        add.args(["account", "add", email, "--json", "--config"])
            .arg(&self.config)
            .arg("--password-file")
            .arg(&file);
        let made: Value = Ran::of(&mut add).done().json();
        self.account = made["account"].as_i64().unwrap();
        self.api_key = made["api_key"].as_str().unwrap().to_owned();
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn up(&mut self) {
        self.up_as(sshkeyd());
    }

    /// The same, in a way of one's own: what runs the binary, up to its arguments.
    pub(crate) fn up_as(&mut self, mut server: Command) {
        server.arg("server").arg("--config").arg(&self.config);
        let mut daemon = Daemon::start("server", &mut server, self.dir.path());
        wait_until("the service to listen", || {
            assert!(daemon.is_up(), "{}", daemon.log());
            TcpStream::connect(self.address).is_ok()
        });
        self.daemon = Some(daemon);
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

    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().unwrap().log()
    }

    /// One of the owner's commands.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = sshkeyd();
        let url = match &self.ca {
            Some(_) => self.url.clone(),
            None => format!("http://{}", self.address),
        };
        command
            .args(args)
            .env("SSHKEYD_URL", url)
            .env("SSHKEYD_API_KEY", &self.api_key);
        if let Some(ca) = &self.ca {
            command.arg("--ca-file").arg(ca);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// One request as any HTTP client sends it; gives status, head and body.
    pub(crate) fn http(&self, request: &str, body: &str) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.api_key,
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let value = serde_json::from_str(body).unwrap_or(Value::Null);
        (status, head.to_ascii_lowercase(), value)
    }

    /// Makes an instance; gives its id and its token.
    pub(crate) fn create_instance(&self, label: &str) -> (i64, String) {
        let made = self.run(&["instances", "create", "--label", label, "--json"]);
        let made: Value = made.done().json();
        let token = made["enroll_token"].as_str().unwrap();
        (made["id"].as_i64().unwrap(), token.to_owned())
    }

    /// Writes a public key to a file, as a person has one.
    pub(crate) fn key_file(&self, key: &PublicKey, name: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.pub"));
        put(&path, &format!("{key} {name}\n"), 0o644);
        path
    }

    /// Saves a key; gives its id.
    pub(crate) fn save(&self, key: &PublicKey, name: &str, more: &[&str]) -> i64 {
        let file = self.key_file(key, name);
        let mut args = vec!["ssh-keys", "add", file.to_str().unwrap(), "--json"];
        args.extend(more);
        let saved: Value = self.run(&args).done().json();
        assert_eq!(saved["fingerprint"], key.fingerprint().to_string());
        saved["id"].as_i64().unwrap()
    }

    pub(crate) fn delete(&self, id: i64) {
        self.run(&["ssh-keys", "delete", &id.to_string()]).done();
    }

    pub(crate) fn rollout(&self, id: i64) -> Rollout {
        let args = ["ssh-keys", "rollout", &id.to_string(), "--json"];
        self.run(&args).done().json()
    }

    /// How lately an instance was heard.
    pub(crate) fn instance_state(&self, id: i64) -> InstanceState {
        let list: Value = self.run(&["instances", "list", "--json"]).done().json();
        let items = list["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["id"] == id).unwrap();
        serde_json::from_value(item["state"].clone()).unwrap()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port()).into()
}

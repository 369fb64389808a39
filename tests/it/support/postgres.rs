//! A PostgreSQL server of a test's own: Debian's, as its own user, in a scratch directory, on a free
//! port of loopback and a socket beside it.

use crate::support::process::{Daemon, Ran, port, wait_until};
use crate::support::sshd::{WorkDir, put};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Who runs the server: it refuses to run as root.
const USER: &str = "postgres";

/// The role that the service logs in as, and its password.
const ROLE: &str = "sshkeyd";
const PASSWORD: &str = "a password of the test's own";

/// The server; stopped and gone when dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    daemon: Option<Daemon>,
    port: u16,
    databases: AtomicU32,
    ca: Option<PathBuf>,
    settings: Vec<String>,
    dir: WorkDir,
}

impl Postgres {
    /// Makes one and starts it.
    pub(crate) fn start() -> Self {
        let server = Self::make();
        server.up()
    }

    /// With a certificate for `localhost` of a CA of its own; whoever comes without TLS is refused.
    pub(crate) fn start_with_tls() -> Self {
        let mut server = Self::make();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let at = |name: &str| server.dir.path().join(name);
        put(&at("ca.pem"), &ca_pem, 0o644);
        put(&at("server.pem"), &leaf.pem(), 0o644);
        put(&at("server.key"), &key.serialize_pem(), 0o600);
        give(&at("server.key"));
        put(
            &at("data/pg_hba.conf"),
            "hostssl all all all scram-sha-256\nlocal all all scram-sha-256\n",
            0o644,
        );
        let file = |name: &str| at(name).display().to_string();
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        let ca = at("ca.pem");
        server.settings.extend(settings);
        server.ca = Some(ca);
        server.up()
    }

    fn make() -> Self {
        let dir = WorkDir::new();
        let password = dir.path().join("password");
        put(&password, PASSWORD, 0o644);
        chown(dir.path(), Some(ids().0), Some(ids().1)).unwrap();
        let data = dir.path().join("data");
        let mut init = as_its_user("initdb");
        init.arg("--pgdata")
            .arg(&data)
            .args(["--username", ROLE, "--auth=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--pwfile"])
            .arg(&password);
        Ran::of(&mut init).done();
        put(&dir.path().join("role-password"), PASSWORD, 0o600);
        Self {
            daemon: None,
            port: port(),
            databases: AtomicU32::new(0),
            ca: None,
            settings: Vec::new(),
            dir,
        }
    }

    fn up(mut self) -> Self {
        self.start_again();
        self
    }

    /// Starts it after [`Self::stop`] or [`Self::kill`], with all that it had; waits until it serves.
    pub(crate) fn start_again(&mut self) {
        let dir = self.dir.path();
        let mut daemon = Daemon::start("postgres", &mut self.command(), dir);
        wait_until("PostgreSQL to serve", || {
            // The other processes of one that was killed notice by themselves; until they do, no
            // new one comes up.
            if !daemon.is_up() {
                let said = daemon.log();
                assert!(said.contains("pre-existing shared memory"), "{said}");
                daemon = Daemon::start("postgres", &mut self.command(), dir);
            }
            let ready = Command::new(program("pg_isready"))
                .args(["--quiet", "--port", &self.port.to_string(), "--host"])
                .arg(dir)
                .status();
            ready.unwrap().success()
        });
        self.daemon = Some(daemon);
    }

    fn command(&self) -> Command {
        let dir = self.dir.path();
        let mut server = as_its_user("postgres");
        server.arg("-D").arg(dir.join("data"));
        let own = [
            "listen_addresses=localhost".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", dir.display()),
            // Nothing of it outside of its directory.
            "dynamic_shared_memory_type=mmap".to_owned(),
            "max_connections=100".to_owned(),
        ];
        for setting in own.iter().chain(&self.settings) {
            server.args(["-c", setting]);
        }
        server
    }

    /// The fast stop: connections are cut, and what is committed is on the disk.
    pub(crate) fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.signal("INT");
        wait_until("PostgreSQL to stop", || !daemon.is_up());
    }

    /// SIGKILL to the server: it recovers when it is started again.
    pub(crate) fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// A new, empty database: its name.
    pub(crate) fn database(&self) -> String {
        let name = format!("keys{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The address of a database, for `server.database`.
    pub(crate) fn url(&self, database: &str) -> String {
        let tls = match self.ca {
            Some(_) => "?sslmode=verify-full",
            None => "",
        };
        format!("postgres://{ROLE}@localhost:{}/{database}{tls}", self.port)
    }

    /// The lines of server.toml by which a replica uses a database.
    pub(crate) fn toml(&self, database: &str) -> String {
        let password = self.dir.path().join("role-password");
        let mut lines = format!(
            "database = \"{}\"\ndatabase-password-file = \"{}\"\n",
            self.url(database),
            password.display()
        );
        if let Some(ca) = &self.ca {
            lines.push_str(&format!("database-ca-file = \"{}\"\n", ca.display()));
        }
        lines
    }

    /// What psql says to this, without blanks at its ends.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set=ON_ERROR_STOP=1", "--username", ROLE, "--dbname"])
            .args([database, "--port", &self.port.to_string(), "--host"])
            .arg(self.dir.path())
            .args(["--command", sql])
            .env("PGPASSWORD", PASSWORD);
        Ran::of(&mut psql).done().out.trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal("QUIT");
            wait_until("PostgreSQL to end", || !daemon.is_up());
        }
    }
}

/// One of its programs, of the newest version that is here.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap_or_else(|e| panic!("/usr/lib/postgresql: {e}; tests/run installs it"));
    let newest = versions
        .map(|entry| entry.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .max();
    newest.unwrap_or_else(|| panic!("no {name} below /usr/lib/postgresql; tests/run installs it"))
}

fn as_its_user(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .arg(program(name))
        .current_dir("/")
        .env_remove("PGDATA");
    command
}

fn ids() -> (u32, u32) {
    let user = sshkeyd::sys::users::lookup(USER).unwrap();
    let user = user.expect("the package makes its user");
    (user.uid, user.gid)
}

fn give(path: &Path) {
    chown(path, Some(ids().0), Some(ids().1)).unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

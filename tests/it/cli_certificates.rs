//! Certificates from a person's shell, judged by ssh-agent, ssh-add, ssh-keygen, ssh and sshd.

use crate::support::host::{Home, Host};
use crate::support::process::{Ran, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{KeyPair, Sshd, User, WorkDir, keygen, put};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const EMAIL: &str = "carol@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// A person's machine: a home, and an ssh-agent where there is one.
struct Desk {
    home: WorkDir,
    agent: Option<Child>,
}

impl Desk {
    fn new() -> Self {
        let home = WorkDir::new();
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).unwrap();
        Self { home, agent: None }
    }

    fn with_agent() -> Self {
        let mut desk = Self::new();
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(desk.socket())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        desk.agent = Some(agent.expect("ssh-agent is of Debian's openssh-client"));
        wait_until("the ssh-agent to listen", || desk.socket().exists());
        desk
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("agent.sock")
    }

    fn ssh(&self, name: &str) -> PathBuf {
        self.home.path().join(".ssh").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.ssh(name)).unwrap()
    }

    /// A command as it runs here.
    fn here(&self, mut command: Command) -> Command {
        command
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SSH_AUTH_SOCK");
        if self.agent.is_some() {
            command.env("SSH_AUTH_SOCK", self.socket());
        }
        command
    }

    fn run(&self, service: &Service, args: &[&str]) -> Ran {
        Ran::of(&mut self.here(service.command(args)))
    }

    /// The same, by the login that is kept here.
    fn run_as_person(&self, args: &[&str]) -> Ran {
        let mut command = sshkeyd();
        command.args(args);
        Ran::of(&mut self.here(command))
    }

    fn log_in(&self, service: &Service) {
        let file = service.dir().join("password");
        let file = file.to_str().unwrap();
        self.run_as_person(&[
            "login",
            &service.url,
            "--email",
            EMAIL,
            "--password-file",
            file,
        ])
        .done();
    }

    fn tool(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        Ran::of(&mut self.here(command))
    }

    /// What the agent holds, as `ssh-add -L` prints it.
    fn held(&self) -> Vec<String> {
        let ran = self.tool("ssh-add", &["-L"]);
        match ran.code {
            Some(0) => ran.out.lines().map(str::to_owned).collect(),
            // "The agent has no identities."
            Some(1) => Vec::new(),
            _ => panic!("{ran:?}"),
        }
    }

    /// A key of the person's own.
    fn key(&self, name: &str) -> KeyPair {
        keygen(&self.home.path().join(".ssh"), name, "ed25519")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// What `ssh-keygen -L` says of a certificate.
fn described(path: &Path) -> String {
    let output = Command::new("ssh-keygen")
        .arg("-L")
        .arg("-f")
        .arg(path)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn person() -> Service {
    Service::start().for_person(EMAIL, PASSWORD)
}

#[test]
fn a_certificate_goes_into_the_agent_and_its_key_nowhere_else() {
    let (service, desk) = (Service::start(), Desk::with_agent());
    let own = desk.key("own");
    desk.tool("ssh-add", &["-q", own.private.to_str().unwrap()])
        .done();
    let told: Value = desk.run(&service, &["cert", "--json"]).done().json();
    assert_eq!(
        (&told["renewed"], &told["place"]),
        (&true.into(), &"agent".into())
    );
    let held = desk.held();
    assert_eq!(held.len(), 2, "{held:?}");
    let line = &held[1];
    let name = format!("sshkeyd account:{} {} ", service.account, service.url);
    assert!(
        line.starts_with("ssh-ed25519-cert-v01@openssh.com ") && line.contains(&name),
        "{line}"
    );
    let file = desk.home.path().join("seen-cert.pub");
    put(&file, line, 0o644);
    let text = described(&file);
    for words in [
        "user certificate",
        &format!("Serial: {}", told["serial"]),
        &format!("Key ID: {}", told["key_id"]),
        &format!("account:{}", service.account),
        "Critical Options: (none)",
        "permit-pty",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(text.matches("account:").count(), 1, "{text}");
    // Another one takes its place; the person's own key stays.
    let again: Value = desk.run(&service, &["cert", "--json"]).done().json();
    assert_ne!(again["serial"], told["serial"]);
    let now = desk.held();
    assert_eq!(now.len(), 2, "{now:?}");
    assert!(now[0] == held[0] && now[1] != held[1], "{now:?}");
    // Nothing that is a private key was written, wherever.
    let mut found = vec![desk.home.path().to_owned()];
    while let Some(path) = found.pop() {
        if path.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.is_file() && path != own.private {
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("PRIVATE"), "{}", path.display());
        }
    }
    // It ends there by itself.
    desk.run(&service, &["cert", "--ttl", "3s"]).done();
    assert_eq!(desk.held().len(), 2);
    wait_until("its end", || desk.held() == held[..1]);
}

#[test]
fn a_certificate_stands_beside_the_key_that_is_named_or_ones_own() {
    let (service, desk) = (Service::start(), Desk::with_agent());
    let (own, work) = (desk.key("id_ed25519"), desk.key("work"));
    let private = fs::read(&own.private).unwrap();
    let id = service.save(&own.public, "own", &[]);
    let named = work.private.to_str().unwrap();
    let ran = desk.run(&service, &["cert", named, "--ttl", "1h"]).done();
    assert!(ran.out.contains("work-cert.pub"), "{ran:?}");
    desk.run(&service, &["cert", "--beside"]).done();
    assert_eq!(desk.held(), [""; 0]);
    for (name, key_id) in [
        ("id_ed25519", format!("/{id}/")),
        ("work", "/0/".to_owned()),
    ] {
        let file = desk.ssh(&format!("{name}-cert.pub"));
        let text = described(&file);
        assert!(text.contains(&key_id), "{text}");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let public = desk.text(&format!("{name}.pub"));
        let fingerprint = desk.tool("ssh-keygen", &["-lf", file.to_str().unwrap()]);
        let key = if public.contains("work") { &work } else { &own };
        let of = key.public.fingerprint().to_string();
        assert!(fingerprint.out.contains(&of), "{fingerprint:?}");
    }
    assert_eq!(fs::read(&own.private).unwrap(), private);
    // Somebody else's certificate is not written over.
    let ca = desk.key("company_ca");
    let public = desk.ssh("work.pub");
    desk.tool(
        "ssh-keygen",
        &[
            "-q",
            "-s",
            ca.private.to_str().unwrap(),
            "-I",
            "company",
            "-n",
            "carol",
            public.to_str().unwrap(),
        ],
    )
    .done();
    let theirs = desk.text("work-cert.pub");
    let ran = desk.run(&service, &["cert", named]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("work-cert.pub: holds"), "{ran:?}");
    assert_eq!(desk.text("work-cert.pub"), theirs);
}

#[test]
fn whoever_has_no_place_for_one_is_told_what_to_do() {
    let (service, desk) = (Service::start(), Desk::new());
    for (args, code, words) in [
        (&["cert"] as &[_], 1, "ssh-keygen"),
        (&["cert", "--agent"], 69, "SSH_AUTH_SOCK is not set"),
        (&["cert", "--beside"], 1, "no key of yours"),
        (&["cert", "/nonexistent/key"], 1, "ssh-keygen -y"),
        (&["cert", "--ttl", "25h", "--beside"], 1, "ssh-keygen"),
    ] {
        let ran = desk.run(&service, args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.err.contains(words), "{args:?}: {ran:?}");
    }
    desk.key("id_ed25519");
    let ran = desk.run(&service, &["cert", "--ttl", "25h"]);
    assert!(ran.code == Some(1) && ran.err.contains("24"), "{ran:?}");
    for command in ["cert", "known-hosts", "ssh-config"] {
        let ran = desk.run_as_person(&[command]);
        assert_eq!(ran.code, Some(64), "{ran:?}");
        assert!(ran.err.contains("sshkeyd login URL"), "{ran:?}");
    }
}

/// A Host entry and what goes before it, for an sshd here: an ssh that knows nothing else.
fn ssh(desk: &Desk, service: &Service, config: &Path, sshd: &Sshd, to: &str) -> Command {
    let mut ssh = Command::new("ssh");
    let known = desk.ssh("known_hosts");
    ssh.arg("-F").arg(config);
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "HostName=127.0.0.1",
        "LogLevel=ERROR",
        &format!("UserKnownHostsFile={}", known.display()),
        &format!("Port={}", sshd.address.port()),
    ] {
        ssh.args(["-o", option]);
    }
    let path = format!("{}:/usr/bin:/bin", desk.home.path().join("bin").display());
    ssh.arg(to).arg("true").stdin(Stdio::null());
    ssh.env("PATH", path)
        .env("SSHKEYD_URL", &service.url)
        .env("SSHKEYD_API_KEY", &service.api_key);
    desk.here(ssh)
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn ssh_has_a_certificate_got_when_it_needs_one_and_not_before() {
    let (mut service, desk, user) = (Service::start(), Desk::with_agent(), User::new());
    let trust = WorkDir::new();
    let principals = trust.path().join("principals");
    put(
        &principals,
        &format!("account:{}\n", service.account),
        0o644,
    );
    let ca = trust.path().join("user-ca.pub");
    let sshd = Sshd::start(&format!(
        "TrustedUserCAKeys {}\nAuthorizedPrincipalsFile {}\n",
        ca.display(),
        principals.display()
    ));
    let (id, _) = service.create_instance("web");
    fs::create_dir(desk.home.path().join("bin")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_sshkeyd"),
        desk.home.path().join("bin/sshkeyd"),
    )
    .unwrap();
    desk.run(&service, &["ssh-config", "--write"]).done();
    let config = desk.ssh("sshkeyd_config");
    put(
        &desk.ssh("known_hosts"),
        &format!("instance-{id}.sshkeyd {}\n", sshd.host_key),
        0o600,
    );
    let to = format!("{}@web", user.name);
    let login = |service: &Service| ssh(&desk, service, &config, &sshd, &to);
    // The account has no CA yet, and sshd trusts none.
    assert!(!ca.exists());
    let ran = Ran::of(&mut login(&service));
    assert_eq!(ran.code, Some(255), "{ran:?}");
    let first: Value = desk
        .run(&service, &["cert", "--if-needed", "--json"])
        .done()
        .json();
    assert_eq!(first["renewed"], false, "ssh had it got");
    let cas: Value = desk
        .run(&service, &["ca", "show", "user", "--json"])
        .done()
        .json();
    put(
        &ca,
        &format!("{}\n", cas["user_ca"][0].as_str().unwrap()),
        0o644,
    );
    let ran = Ran::of(&mut login(&service));
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{}", sshd.log());

    // Many starts at once, with nothing there: one of them asks.
    desk.tool("ssh-add", &["-q", "-D"]).done();
    let starts: Vec<Child> = (0..6).map(|_| login(&service).spawn().unwrap()).collect();
    for mut start in starts {
        assert!(start.wait().unwrap().success(), "{}", sshd.log());
    }
    assert_eq!(desk.held().len(), 1);
    let mark = |value: &Value| value["serial"].as_u64().unwrap();
    let last: Value = desk.run(&service, &["cert", "--json"]).done().json();
    assert_eq!(mark(&last), mark(&first) + 2, "six starts asked once");

    // A service that is away is in nobody's way while there is one.
    service.stop();
    let ran = Ran::of(&mut login(&service));
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{}", sshd.log());
    // And where there is none, ssh says what to do, and goes on.
    desk.tool("ssh-add", &["-q", "-D"]).done();
    let ran = Ran::of(&mut login(&service));
    assert_eq!(ran.code, Some(255), "{ran:?}");
    assert!(ran.err.contains("sshkeyd: "), "{ran:?}");
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
}

#[test]
fn a_login_that_ended_leaves_no_certificate_in_the_agent() {
    let (service, desk) = (person(), Desk::with_agent());
    desk.log_in(&service);
    desk.run_as_person(&["cert", "--quiet"]).done();
    let first = desk.held();
    assert_eq!(first.len(), 1);
    desk.run_as_person(&["logout"]).done();
    assert_eq!(desk.held(), [""; 0]);
    desk.log_in(&service);
    // What an earlier login got is dead at the service: another one is due.
    let told: Value = desk
        .run_as_person(&["cert", "--if-needed", "--json"])
        .done()
        .json();
    assert_eq!(told["renewed"], true);
    assert_ne!(desk.held(), first);
}

#[test]
fn what_is_revoked_is_in_the_list_as_ssh_keygen_reads_it() {
    let (service, desk) = (Service::start(), Desk::with_agent());
    let (one, two) = (desk.key("one"), desk.key("two"));
    let get = |key: &KeyPair| -> Value {
        let args = ["cert", key.private.to_str().unwrap(), "--json"];
        desk.run(&service, &args).done().json()
    };
    let (first, second) = (get(&one), get(&two));
    let serial = first["serial"].to_string();
    desk.run(&service, &["cert", "--quiet"]).done();
    let agent: Value = desk
        .run(&service, &["cert", "--if-needed", "--json"])
        .done()
        .json();
    let raw = desk.home.path().join("krl");
    let list = || -> Value {
        let args = ["krl", "show", "--json", "--raw", raw.to_str().unwrap()];
        desk.run(&service, &args).done().json()
    };
    let asked = |name: &str| {
        let file = desk.ssh(name);
        let file = file.to_str().unwrap();
        let theirs = desk.tool("ssh-keygen", &["-Q", "-f", raw.to_str().unwrap(), file]);
        let ours = desk.run(&service, &["krl", "test", file]);
        assert_eq!(ours.code, theirs.code, "{ours:?} {theirs:?}");
        ours.code
    };
    let before = list();
    assert_eq!(
        (asked("one-cert.pub"), asked("two-cert.pub")),
        (Some(0), Some(0))
    );
    desk.run(&service, &["cert", "revoke", "--serial", &serial])
        .done();
    let after = list();
    assert!(after["version"].as_u64() > before["version"].as_u64());
    assert_eq!(after["serials"], 1, "{after}");
    assert_eq!(after["size"], fs::metadata(&raw).unwrap().len());
    assert_eq!(
        (asked("one-cert.pub"), asked("two-cert.pub")),
        (Some(1), Some(0))
    );
    assert_eq!(desk.run(&service, &["krl", "test", &serial]).code, Some(1));
    // By key: the key itself too.
    let public = desk.ssh("two.pub");
    let args = ["cert", "revoke", "--key", public.to_str().unwrap()];
    desk.run(&service, &args).done();
    list();
    assert_eq!(
        (asked("two-cert.pub"), asked("two.pub"), asked("one.pub")),
        (Some(1), Some(1), Some(0))
    );
    let fingerprint = second["fingerprint"].as_str().unwrap();
    assert_eq!(
        desk.run(&service, &["krl", "test", fingerprint]).code,
        Some(1)
    );
    // By key ID: all that this API key got over a fresh key; it leaves the agent as well.
    assert_eq!(desk.held().len(), 1);
    let key_id = agent["key_id"].as_str().unwrap();
    let ran = desk.run(&service, &["cert", "revoke", "--key-id", key_id]);
    assert!(ran.done().out.contains(key_id));
    assert_eq!(desk.held(), [""; 0]);
    assert_eq!(list()["key_ids"], 1);
    let text = desk.run(&service, &["krl", "show"]).done().out;
    assert!(text.contains(" key ID of certificates"), "{text}");

    // What cannot be found out is neither 0 nor 1.
    assert_eq!(
        desk.run(&service, &["cert", "revoke", "--serial", "99999"])
            .code,
        Some(1)
    );
    assert_eq!(
        desk.run(&service, &["krl", "test", "/nonexistent"]).code,
        Some(64)
    );
    let mut away = service.command(&["krl", "test", &serial]);
    away.env("SSHKEYD_URL", "http://127.0.0.1:1");
    assert_eq!(Ran::of(&mut away).code, Some(69));
}

#[test]
fn a_person_rotates_a_ca_and_an_api_key_does_not() {
    let (service, desk) = (person(), Desk::with_agent());
    let password = service.dir().join("password");
    let password = ["--password-file", password.to_str().unwrap()];
    let rotate = |role: &'static str| [&["ca", "rotate", role][..], &password].concat();
    let ran = desk.run(&service, &rotate("user"));
    assert_eq!(ran.code, Some(77), "{ran:?}");
    assert!(ran.err.contains("sshkeyd login"), "{ran:?}");
    desk.log_in(&service);
    desk.run_as_person(&["cert"]).done();
    let old = desk.held();
    // No instance trusts a CA of the account: nobody is waited for.
    let ran = desk
        .run_as_person(&[&rotate("user")[..], &["--wait"]].concat())
        .done();
    assert!(ran.out.contains("new CA for users SHA256:"), "{ran:?}");
    let cas: Value = desk.run_as_person(&["ca", "show", "--json"]).done().json();
    let states: Vec<&str> = cas["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|ca| ca["role"] == "user")
        .map(|ca| ca["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["signing", "leaving"], "{cas}");
    // The next certificate is by the new one.
    desk.run_as_person(&["cert"]).done();
    let file = desk.home.path().join("c-cert.pub");
    let ca = |line: &str| {
        put(&file, line, 0o644);
        let text = described(&file);
        let line = text.lines().find(|line| line.contains("Signing CA"));
        line.unwrap().to_owned()
    };
    assert_ne!(ca(&old[0]), ca(&desk.held()[0]));
    let table = desk.run_as_person(&["ca", "show", "user"]).done().out;
    assert!(
        table.contains("signs no more; goes with its last certificate"),
        "{table}"
    );
    put(&service.dir().join("wrong"), "wrong", 0o600);
    let wrong = service.dir().join("wrong");
    let ran = desk.run_as_person(&[
        "ca",
        "rotate",
        "host",
        "--password-file",
        wrong.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(77), "{ran:?}");
}

#[test]
fn known_hosts_gets_the_cas_between_marks_and_keeps_all_else() {
    let (service, desk) = (person(), Desk::new());
    desk.log_in(&service);
    let ran = desk.run_as_person(&["known-hosts", "--write"]).done();
    assert!(ran.err.contains("no host CA yet"), "{ran:?}");
    // An account gets a host CA by a rotation, too.
    let password = service.dir().join("password");
    let rotate = ["ca", "rotate", "host", "--password-file"];
    desk.run_as_person(&[&rotate[..], &[password.to_str().unwrap()]].concat())
        .done();
    let foreign = format!("box.example.com {}\nother {}\n", public_key(), public_key());
    put(&desk.ssh("known_hosts"), &foreign, 0o640);
    let file = desk.ssh("known_hosts");
    let file = file.to_str().unwrap();
    desk.tool("ssh-keygen", &["-q", "-H", "-f", file]).done();
    let hashed = desk.text("known_hosts");
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let lines = desk.run_as_person(&["known-hosts"]).done().out;
    assert!(
        lines.starts_with("@cert-authority *.sshkeyd ssh-ed25519 AAAA"),
        "{lines}"
    );
    assert_eq!(desk.text("known_hosts"), hashed);
    desk.run_as_person(&["known-hosts", "--write"]).done();
    let written = desk.text("known_hosts");
    assert!(
        written.starts_with(&hashed) && written.contains(&lines),
        "{written}"
    );
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        fs::metadata(desk.ssh("known_hosts.old"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    );
    for (host, found) in [
        ("instance-1.sshkeyd", true),
        ("box.example.com", true),
        ("instance-1.example.com", false),
    ] {
        let ran = desk.tool("ssh-keygen", &["-F", host, "-f", file]);
        assert_eq!(ran.code == Some(0), found, "{host}: {ran:?}");
        assert_eq!(
            ran.out.contains("CA"),
            host.ends_with(".sshkeyd"),
            "{ran:?}"
        );
    }
    let ran = desk.run_as_person(&["known-hosts", "--write"]).done();
    assert!(ran.out.contains("is as it should be"), "{ran:?}");
    assert_eq!(desk.text("known_hosts"), written);
    // Another account on this machine: said, and its lines are its own.
    let (_, key) = service.add_account("dave@example.com");
    let mut other = service.command(&["known-hosts", "--write"]);
    other.env("SSHKEYD_API_KEY", key);
    Ran::of(&mut desk.here(other)).done();
    assert!(desk.text("known_hosts").contains(&lines));
    put(
        &desk.ssh("known_hosts"),
        &written.replace("# END", "# end"),
        0o600,
    );
    let ran = desk.run_as_person(&["known-hosts", "--write"]);
    assert!(
        ran.code == Some(1) && ran.err.contains("line 3: "),
        "{ran:?}"
    );
}

/// What ssh makes of its configuration for a host, as `keyword value` lines.
fn resolved(desk: &Desk, config: &Path, host: &str) -> Vec<String> {
    // Nobody asks for a certificate here: a `true` of that name is found first.
    let bin = desk.home.path().join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        symlink("/bin/true", bin.join("sshkeyd")).unwrap();
    }
    let mut command = Command::new("ssh");
    command.args(["-G", "-T", "-F"]).arg(config).arg(host);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let ran = Ran::of(&mut desk.here(command)).done();
    assert_eq!(ran.err, "");
    ran.out.lines().map(str::to_owned).collect()
}

#[test]
fn ssh_reads_the_entries_and_no_label_becomes_a_directive() {
    let (service, desk) = (Service::start(), Desk::new());
    let home = Home::new();
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let host = host.with_home(&home, "account", "").up_listed();
    service.save(&public_key(), "laptop", &["--wait"]);
    let hostile = [
        "db",
        "*",
        "we b",
        "a\"b",
        "#c",
        "-oProxyCommand=touch",
        "github.com",
        "twice",
        "twice",
    ];
    let others: Vec<i64> = hostile
        .iter()
        .map(|label| {
            let label = format!("--label={label}");
            let made = service.run(&["instances", "create", &label, "--json"]);
            let made: Value = made.done().json();
            made["id"].as_i64().unwrap()
        })
        .collect();
    let key = desk.key("id_ed25519");
    let printed = desk.run(&service, &["ssh-config"]).done().out;
    let ran = desk.run(&service, &["ssh-config", "--write"]).done();
    assert!(ran.err.contains("Include sshkeyd_config"), "{ran:?}");
    assert!(!desk.ssh("config").exists());
    let config = desk.ssh("sshkeyd_config");
    assert_eq!(desk.text("sshkeyd_config"), printed);
    let has = |host: &str, line: &str| resolved(&desk, &config, host).iter().any(|l| l == line);
    for name in [
        "web",
        &format!("instance-{id}"),
        &format!("instance-{id}.sshkeyd"),
    ] {
        for line in [
            "hostname 127.0.0.1",
            &format!("hostkeyalias instance-{id}.sshkeyd"),
            &format!("user {}", home.user),
            &format!("identityfile {}", key.private.display()),
            &format!("certificatefile {}-cert.pub", key.private.display()),
        ] {
            assert!(has(name, line), "{name}: {line}: {printed}");
        }
    }
    assert!(has(
        "db",
        &format!("hostkeyalias instance-{}.sshkeyd", others[0])
    ));
    let last = others[others.len() - 1];
    assert!(has(
        &format!("instance-{last}"),
        &format!("hostkeyalias instance-{last}.sshkeyd")
    ));
    for stranger in ["github.com", "twice", "we", "b", "c", "anything"] {
        let lines = resolved(&desk, &config, stranger);
        let changed =
            |l: &&String| l.starts_with("hostkeyalias ") || l.starts_with("proxycommand ");
        assert_eq!(lines.iter().find(changed), None, "{stranger}");
        assert!(lines.contains(&format!("hostname {stranger}")), "{lines:?}");
    }
    drop(host);

    // One line at the top of the person's own configuration, once.
    let own = "Host *\n    User somebody\n";
    put(&desk.ssh("config"), own, 0o600);
    for _ in 0..2 {
        desk.run(&service, &["ssh-config", "--write", "--include"])
            .done();
        assert_eq!(
            desk.text("config"),
            format!("Include sshkeyd_config\n{own}")
        );
    }
    // A file that somebody else wrote is not replaced.
    let file = desk.ssh("config");
    let file = file.to_str().unwrap();
    let ran = desk.run(&service, &["ssh-config", "--write", "--file", file]);
    assert!(
        ran.code == Some(1) && ran.err.contains("nothing was written"),
        "{ran:?}"
    );
}

#[test]
fn a_revocation_says_where_no_list_enforces_it() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let host = host.with_home(&home, "account", "").up_listed();
    let saved = service.save(&key, "laptop", &["--wait"]).to_string();
    // Its sshd is none that could be told of a list.
    let ran = service.run(&["ssh-keys", "revoke", &saved, "--wait=30s"]);
    let all = format!("{}{}", ran.out, ran.err);
    let line = all
        .lines()
        .find(|line| line.contains(&format!("instance {id} \"web\"")));
    let line = line.unwrap_or_else(|| panic!("{all}"));
    assert!(line.contains("not enforced here: "), "{all}");
    assert!(!home.has(&key));
    drop(host);
}

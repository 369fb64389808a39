//! The Keys page worked from a shell: a login, the three kinds of key, instances, the audit log.

use crate::support::process::{Daemon, Ran, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{WorkDir, put};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const EMAIL: &str = "bob@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// A service with an account that has a password.
fn service() -> Service {
    let service = Service::start();
    put(&service.dir().join("password"), PASSWORD, 0o600);
    let mut add = sshkeyd();
    add.args(["account", "add", EMAIL, "--json", "--config"])
        .arg(service.dir().join("server.toml"))
        .arg("--password-file")
        .arg(service.dir().join("password"));
    Ran::of(&mut add).done();
    service
}

/// A person at a machine: what is kept there is kept in a directory of its own.
struct Desk {
    home: WorkDir,
}

impl Desk {
    fn new() -> Self {
        let home = WorkDir::new();
        Self { home }
    }

    /// Logged in.
    fn logged_in(service: &Service) -> Self {
        let desk = Self::new();
        let file = service.dir().join("password");
        let file = file.to_str().unwrap();
        desk.run(&[
            "login",
            &service.url,
            "--email",
            EMAIL,
            "--password-file",
            file,
        ])
        .done();
        desk
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = sshkeyd();
        command.args(args).env("XDG_CONFIG_HOME", self.home.path());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// With an API key in the place of the login.
    fn with_key(&self, key: &str, args: &[&str]) -> Ran {
        Ran::of(self.command(args).env("SSHKEYD_API_KEY", key))
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).done().json()
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("sshkeyd/login.json")
    }

    fn kept(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.file()).unwrap()).unwrap()
    }
}

fn is_refused(ran: &Ran, words: &str) {
    assert_eq!(ran.code, Some(77), "{ran:?}");
    assert!(ran.err.contains(words), "{ran:?}");
}

#[test]
fn a_login_is_a_session_of_this_device_and_a_logout_ends_it() {
    let service = service();
    let desk = Desk::logged_in(&service);
    assert_eq!(
        std::fs::metadata(desk.file()).unwrap().mode() & 0o7777,
        0o600
    );
    let who = desk.json(&["whoami"]);
    assert_eq!(
        (&who["email"], &who["key"]["kind"]),
        (&json!(EMAIL), &json!("cli"))
    );
    let sessions = desk.json(&["sessions", "list"]);
    let own = &sessions["items"][0];
    assert_eq!(own["current"], true);
    assert_eq!(own["device"]["name"], sshkeyd::sys::users::hostname());
    assert_eq!(own["device"]["os"], sshkeyd::sys::os::pretty_name());
    desk.run(&["ssh-keys", "list"]).done();

    let key = desk.kept()["login"]["session_key"]
        .as_str()
        .unwrap()
        .to_owned();
    desk.run(&["logout"]).done();
    assert!(!std::fs::read_to_string(desk.file()).unwrap().contains(&key));
    let ran = desk.run(&["whoami"]);
    assert_eq!(ran.code, Some(64), "{ran:?}");
    assert!(ran.err.contains("sshkeyd login"), "{ran:?}");
    // Whoever copied it has nothing either.
    let ran = desk.with_key(&key, &["whoami", "--url", &service.url]);
    is_refused(&ran, "not signed in");
}

#[test]
fn another_login_ends_the_session_before_it() {
    let service = service();
    let desk = Desk::logged_in(&service);
    let first = desk.kept()["login"]["session_key"].clone();
    // Where it was logged in it need not be told again where that is.
    let mut login = desk.command(&["login", "--email", EMAIL]);
    let mut child = login
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_ne!(desk.kept()["login"]["session_key"], first);
    let sessions = desk.json(&["sessions", "list"]);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");
}

#[test]
fn a_wrong_password_is_refused_and_says_no_more() {
    let service = service();
    let desk = Desk::new();
    let wrong = service.dir().join("wrong");
    put(&wrong, "wrong", 0o600);
    let refusal = |email: &str| {
        let file = wrong.to_str().unwrap();
        let ran = desk.run(&[
            "login",
            &service.url,
            "--email",
            email,
            "--password-file",
            file,
        ]);
        is_refused(&ran, "not signed in");
        ran.err
    };
    assert_eq!(refusal(EMAIL), refusal("nobody@example.com"));
    assert!(!desk.file().exists());
}

#[test]
fn a_device_that_was_cut_off_is_told_to_log_in() {
    let service = service();
    let (laptop, phone) = (Desk::logged_in(&service), Desk::logged_in(&service));
    phone.run(&["ssh-keys", "list"]).done();
    laptop.run(&["sessions", "delete", "--others"]).done();
    is_refused(&phone.run(&["ssh-keys", "list"]), "run `sshkeyd login`");
    laptop.run(&["ssh-keys", "list"]).done();
    let own = laptop.json(&["sessions", "list"])["items"][0]["id"].to_string();
    laptop.run(&["sessions", "delete", &own]).done();
    is_refused(&laptop.run(&["whoami"]), "run `sshkeyd login`");
}

#[test]
fn a_password_is_asked_for_on_the_terminal_and_not_shown() {
    let service = service();
    let desk = Desk::new();
    let line = format!("{} login {}", env!("CARGO_BIN_EXE_sshkeyd"), service.url);
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("XDG_CONFIG_HOME", desk.home.path())
        .env_remove("SSHKEYD_API_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut typed = |question: &str, answer: &str| {
        let mut byte = [0];
        while !seen.ends_with(question) {
            assert_eq!(screen.read(&mut byte).unwrap(), 1, "{seen}");
            seen.push(char::from(byte[0]));
        }
        keys.write_all(format!("{answer}\n").as_bytes()).unwrap();
    };
    typed("E-mail: ", EMAIL);
    typed(
        &format!("Password of {EMAIL} at {}: ", service.url),
        PASSWORD,
    );
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{seen}{rest}");
    assert!(rest.contains("logged in at"), "{seen}{rest}");
    let all = format!("{seen}{rest}");
    assert!(all.contains(EMAIL) && !all.contains(PASSWORD), "{all}");
    assert_eq!(desk.json(&["whoami"])["email"], EMAIL);
}

#[test]
fn an_api_key_is_made_in_a_pipe_and_may_do_what_was_said() {
    let service = service();
    let desk = Desk::logged_in(&service);
    let made = Ran::of(
        Command::new("sh")
            .args([
                "-ec",
                "KEY=$(\"$0\" api-keys create ci --allow user_read); echo \"$KEY\"",
            ])
            .arg(env!("CARGO_BIN_EXE_sshkeyd"))
            .env("XDG_CONFIG_HOME", desk.home.path())
            .env_remove("SSHKEYD_API_KEY")
            .env_remove("SSHKEYD_URL"),
    )
    .done();
    let key = made.out.trim_end().to_owned();
    assert!(
        key.starts_with("skd_api_") && !key.contains(char::is_whitespace),
        "{made:?}"
    );
    assert!(
        made.err.contains("\"ci\", for user_read") && !made.err.contains(&key),
        "{made:?}"
    );

    let file = service.key_file(&public_key(), "laptop");
    let add = ["ssh-keys", "add", file.to_str().unwrap()];
    desk.with_key(&key, &["ssh-keys", "list"]).done();
    is_refused(&desk.with_key(&key, &add), "not permitted");
    desk.run(&[
        "api-keys",
        "edit",
        "ci",
        "--allow",
        "user_read",
        "--allow",
        "user_write",
    ])
    .done();
    desk.with_key(&key, &add).done();

    let listed = desk.json(&["api-keys", "list"]);
    let ours = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["name"] == "ci");
    let ours = ours.unwrap();
    assert!(key.ends_with(ours["tail"].as_str().unwrap()));
    assert!(ours["last_used_at"].is_string(), "{ours}");
    let password = service.dir().join("password");
    let reveal = [
        "api-keys",
        "reveal",
        "ci",
        "--password-file",
        password.to_str().unwrap(),
    ];
    assert_eq!(desk.run(&reveal).done().out.trim_end(), key);
    is_refused(&desk.with_key(&key, &reveal), "run `sshkeyd login`");

    let new = desk.run(&["api-keys", "reset", "ci"]).done().out;
    let new = new.trim_end();
    is_refused(
        &desk.with_key(&key, &["ssh-keys", "list"]),
        "SSHKEYD_API_KEY",
    );
    desk.with_key(new, &["ssh-keys", "list"]).done();
    desk.run(&["api-keys", "delete", "ci"]).done();
    is_refused(&desk.with_key(new, &["ssh-keys", "list"]), "not signed in");
}

#[test]
fn a_key_is_edited_by_its_name_and_is_where_it_is_attached() {
    let service = Service::start();
    let run = |args: &[&str]| service.run(args);
    let json = |args: &[&str]| -> Value { run(&[args, &["--json"]].concat()).done().json() };
    let create = |label: &str| {
        let made = json(&["instances", "create", "--label", label]);
        made["id"].as_i64().unwrap()
    };
    let (web, _db) = (create("web"), create("db"));
    let (first, second) = (public_key(), public_key());
    let file = service.key_file(&first, "laptop");
    let saved = json(&["ssh-keys", "add", file.to_str().unwrap(), "--only", "web"]);
    let id = saved["id"].as_i64().unwrap();
    assert_eq!(
        (&saved["scope"], &saved["attached"]),
        (&Value::from("some"), &Value::from(vec![web]))
    );
    let attached = |label: &str, list: &str| {
        let instance = json(&["instances", "show", label]);
        instance[list]
            .as_array()
            .unwrap()
            .contains(&Value::from(id))
    };
    assert!(attached("web", "attached") && !attached("db", "attached"));

    let fingerprint = first.fingerprint().to_string();
    run(&["instances", "attach", "db", &fingerprint]).done();
    assert!(attached("db", "attached"));
    run(&["instances", "detach", "db", "laptop"]).done();
    assert!(attached("db", "detached"));
    let last = run(&["instances", "detach", "web", "laptop"]).done();
    assert!(last.err.contains("on no instance now"), "{last:?}");

    let other = service.key_file(&second, "other");
    let other = other.to_str().unwrap();
    let edit = [
        "ssh-keys", "edit", "laptop", "--name", "desk", "--file", other, "--scope", "all",
    ];
    let edited = json(&edit);
    assert_eq!(edited["id"], id);
    assert_eq!(edited["fingerprint"], second.fingerprint().to_string());
    assert_eq!(
        (&edited["name"], &edited["scope"]),
        (&Value::from("desk"), &Value::from("all"))
    );
    let edited = json(&["ssh-keys", "edit", "desk", "--expires", "30d"]);
    assert!(edited["expires_at"].is_string(), "{edited}");
    let edited = json(&["ssh-keys", "edit", "desk", "--expires", "never"]);
    assert!(edited["expires_at"].is_null(), "{edited}");

    run(&["instances", "rename", "db", "old"]).done();
    let ran = run(&["instances", "remove", "old", "--keep-keys"]);
    assert_eq!(ran.code, Some(64), "{ran:?}");
    run(&["instances", "remove", "old", "--keep-keys", "--yes"]).done();
    wait_until("the instance to be gone", || {
        let listed = json(&["instances", "list"]);
        let items = listed["items"].as_array().unwrap();
        items.iter().all(|instance| instance["label"] != "old")
    });
    run(&["ssh-keys", "delete", "desk"]).done();
    let ran = run(&["ssh-keys", "delete", "desk"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn the_audit_log_says_who_did_what_and_is_followed() {
    let service = service();
    let desk = Desk::logged_in(&service);
    let file = service.key_file(&public_key(), "laptop");
    desk.run(&["ssh-keys", "add", file.to_str().unwrap()])
        .done();
    let log = desk.json(&["audit"]);
    let items = log["items"].as_array().unwrap();
    let added = items.iter().find(|item| item["action"] == "ssh-key.add");
    let added = added.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(
        (&added["outcome"], &added["by"]["kind"]),
        (&json!("done"), &json!("session"))
    );
    let ids: Vec<i64> = items
        .iter()
        .map(|item| item["id"].as_i64().unwrap())
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(
        desk.json(&["audit", "--limit", "1"])["items"][0]["id"],
        *ids.last().unwrap()
    );

    let mut command = desk.command(&["audit", "--follow"]);
    let follower = Daemon::start("audit", &mut command, desk.home.path());
    wait_until("what was done", || {
        follower.log().contains("ssh-key.add done")
    });
    desk.run(&["ssh-keys", "delete", "laptop"]).done();
    wait_until("what is done now", || {
        follower.log().contains("ssh-key.delete done")
    });
}

#[test]
fn bash_completes_commands_and_their_options() {
    let completed = |words: &str, at: u32| {
        let script = format!(
            "eval \"$(\"$0\" completions bash)\"; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _sshkeyd sshkeyd \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_sshkeyd"));
        Ran::of(&mut bash).done().out.trim_end().to_owned()
    };
    assert_eq!(completed("sshkeyd api-", 1), "api-keys");
    assert_eq!(completed("sshkeyd ssh-keys ro", 2), "rollout");
    assert_eq!(
        completed("sshkeyd ssh-keys delete --end", 3),
        "--end-sessions"
    );
}

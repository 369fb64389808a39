//! Whole files: each bad one of tests/data/config prints exactly its faults, each good one loads and
//! arrives where it is used.

use super::*;
use std::time::Duration;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI";

fn no_env(_: &str) -> Option<OsString> {
    None
}

fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut files: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

/// What a person sees of the file's faults; empty when there is none.
fn faults_of(text: &str, name: &Path) -> String {
    let faults = match kind_of(text) {
        Kind::Agent => agent_from_str(text, name, &no_env).err(),
        Kind::Server => server_from_str(text, name, &no_env).err(),
    };
    faults.map(|faults| faults.to_string()).unwrap_or_default()
}

#[test]
fn every_bad_file_prints_exactly_its_faults() {
    let bad = files("tests/data/config/bad", "toml");
    assert!(bad.len() >= 25);
    let mut wrong = Vec::new();
    for path in &bad {
        let text = std::fs::read_to_string(path).unwrap();
        let wanted = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        let name = Path::new(path.file_name().unwrap());
        let got = format!("{}\n", faults_of(&text, name));
        if got != wanted {
            wrong.push(format!("{}\ngot:\n{got}wanted:\n{wanted}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected = files("tests/data/config/bad", "txt");
    assert_eq!(bad.len(), expected.len());
}

#[test]
fn where_the_agent_listens_is_known_beside_faults_elsewhere() {
    let given = "[agent]\ncontrol-socket = \"/x/s\"\n";
    let system = "/run/sshkeyd/agent.sock";
    for (text, socket) in [
        // A bad value, an unknown key, a missing table, a line and a list that are no TOML.
        (
            format!("{given}[heartbeat]\ninterval = \"soon\"\n"),
            Some("/x/s"),
        ),
        (format!("{given}colour = 1\n"), Some("/x/s")),
        (format!("{given}[[target]]\nuser = root\n"), Some("/x/s")),
        (
            format!("{given}[[target]]\nsources = [\"a\"\n"),
            Some("/x/s"),
        ),
        ("[[target]]\nsources = [\"a\"\n".into(), Some(system)),
        ("[agent]\nlog = \"loud!\"\n".into(), Some(system)),
        // What is wrong with the key itself leaves it in doubt.
        ("[agent]\ncontrol-socket = \"x\"\n".into(), None),
        ("[agent]\ncontrol-socket = 1\n".into(), None),
        ("[agent]\ncontrol-socket = /x\n".into(), None),
        ("[agent]\ncontrol_socket = \"/x\"\n".into(), None),
        ("[agent]\nunprivileged = 1\n".into(), None),
        ("agent = 1\n".into(), None),
        ("x = [1\n[agent]\ncontrol-socket = \"/x\"\n".into(), None),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let found = control_socket(file.path(), &no_env).ok();
        assert_eq!(found.as_deref(), socket.map(Path::new), "{text}");
    }
}

#[test]
fn every_fault_says_what_to_do() {
    for path in files("tests/data/config/bad", "txt") {
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let (place, message) = line.split_once(": ").unwrap();
            assert_eq!(place.split(':').count(), 3, "{line}");
            assert!(message.contains("; ") && !message.ends_with('.'), "{line}");
        }
    }
}

#[test]
fn every_good_file_and_every_example_loads() {
    let env = |name: &str| (name == "XDG_STATE_HOME").then(|| OsString::from("/home/al/state"));
    for path in files("tests/data/config/good", "toml")
        .into_iter()
        .chain(files("config", "toml"))
    {
        let checked = check(&path, &env);
        let name = path.file_name().unwrap().to_str().unwrap();
        let of_the_service = name.starts_with("server");
        let kind = if of_the_service {
            Kind::Server
        } else {
            Kind::Agent
        };
        assert_eq!(checked, Ok(kind), "{}", path.display());
    }
}

#[test]
fn defaults_are_those_of_the_example() {
    let name = Path::new("agent.toml");
    let smallest = "[[source]]\nname = \"a\"\nfile.path = \"/etc/a\"\n\
                    [[target]]\nuser = \"root\"\nsources = [\"a\"]";
    let config = agent_from_str(smallest, name, &no_env).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = agent(&root.join("config/agent.toml"), &no_env).unwrap();
    assert_eq!(config.state_dir, example.state_dir);
    assert_eq!(config.control_socket, example.control_socket);
    assert_eq!(config.log, example.log);
    assert_eq!(config.verify, example.verify);
    assert_eq!(config.sshd.program, example.sshd.program);
    assert_eq!(config.sshd.config, example.sshd.config);
    assert_eq!(config.certificates, example.certificates);
    assert_eq!(config.heartbeat, example.heartbeat);
    assert_eq!(config.targets[0].path, example.targets[0].path);
    assert_eq!(config.targets[0].adopt, Adopt::No);
    assert_eq!(config.sources[0].max_size, 8 * 1024 * 1024);
    assert!(!config.sources[0].danger_allow_empty && !config.unprivileged);
    let server_example = server(&root.join("config/server.toml"), &no_env).unwrap();
    let smallest = "[server]\npublic-url = \"https://keys.example.com\"";
    let config = server_from_str(smallest, Path::new("server.toml"), &no_env).unwrap();
    assert_eq!(config, server_example);
    assert_eq!(config.max_held, 10_000);
}

#[test]
fn every_value_arrives_where_it_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/good");
    let config = agent(&root.join("everything.toml"), &no_env).unwrap();
    assert_eq!(config.state_dir, Path::new("/srv/sshkeyd"));
    assert_eq!(config.verify, None);
    assert_eq!(config.heartbeat, Duration::from_secs(3600));
    let source = &config.sources[0];
    assert_eq!(source.poll_interval, Duration::from_secs(1));
    assert!(source.danger_allow_empty);
    assert_eq!(source.max_size, 1024);
    let SourceKind::Account(account) = &source.kind else {
        panic!("an account was configured");
    };
    assert_eq!(
        account.urls,
        ["https://a.example.com", "http://127.0.0.1:8022"]
    );
    assert_eq!(
        account.signers,
        [crate::keys::PublicKey::parse_text(KEY).unwrap().0]
    );
    assert!(account.proxy);
    let SourceKind::Vast(vast) = &config.sources[2].kind else {
        panic!("Vast.ai was configured");
    };
    assert_eq!(vast.url, "https://console.example.com");
    assert_eq!(
        vast.api_key_file.as_deref(),
        Some(Path::new("/nonexistent/vast-api-key"))
    );
    assert_eq!((vast.instance, vast.proxy), (Some(12345), true));
    let SourceKind::Vast(vast) = &config.sources[3].kind else {
        panic!("Vast.ai was configured");
    };
    assert_eq!(vast.url, "https://console.vast.ai");
    assert_eq!((vast.instance, &vast.api_key_file), (None, &None));
    assert_eq!(config.sources[3].poll_interval, Duration::from_secs(60));
    let SourceKind::Http(http) = &config.sources[4].kind else {
        panic!("an address was configured");
    };
    assert_eq!(http.format, HttpFormat::AuthorizedKeys);
    assert_eq!(config.sources[4].poll_interval, Duration::from_secs(300));
    let SourceKind::Http(http) = &config.sources[5].kind else {
        panic!("an address was configured");
    };
    assert_eq!(http.url, "https://api.example.com/keys/?per_page=100");
    let pointer = Pointer::parse("/ssh_keys/*/public_key").unwrap();
    assert_eq!(http.format, HttpFormat::Json(pointer));
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let headers: Vec<_> = http.headers.iter().map(|h| (&*h.name, &h.value)).collect();
    assert_eq!(
        headers,
        [
            ("accept", &text("application/vnd.github+json")),
            (
                "authorization",
                &HeaderValue::File("/nonexistent/token".into())
            ),
            ("x-github-api-version", &text("2022-11-28")),
        ]
    );
    assert!(http.proxy);
    let target = &config.targets[0];
    assert_eq!(target.sources, ["account", "break-glass"]);
    assert_eq!(target.adopt, Adopt::SameKey);
    let path = target.path.expand(Path::new("/root"), "root", 0);
    assert_eq!(path, Path::new("/etc/ssh/keys/root-0"));
    assert_eq!(config.targets[1].user, "EXAMPLE\\alice.b");
    let index = config.targets[2].path.expand(Path::new("/h"), "carol", 7);
    assert_eq!(index, Path::new("/srv/sshkeyd/keys/7"));
    assert_eq!(config.sshd.host_keys.len(), 2);
    let server = server(&root.join("server.toml"), &no_env).unwrap();
    assert_eq!(server.public_url, "http://localhost:8022");
    assert_eq!(server.database.file(), Some(Path::new("/srv/keys.db")));
    assert!(server.danger_plaintext);
}

#[test]
fn an_unprivileged_agent_lives_in_the_users_directories() {
    let path = "tests/data/config/good/unprivileged.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let env = |name: &str| (name == "HOME").then(|| OsString::from("/home/al"));
    let config = agent(&path, &env).unwrap();
    assert_eq!(config.state_dir, Path::new("/home/al/.local/state/sshkeyd"));
    assert_eq!(config.control_socket, Path::new("/tmp/agent.sock"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let none = agent(Path::new("/nonexistent/agent.toml"), &no_env).unwrap_err();
    let todo = "name a file that can be read: --config FILE";
    assert_eq!(
        none.to_string(),
        format!("/nonexistent/agent.toml: does not exist; {todo}")
    );
    let directory = agent(Path::new("/etc"), &no_env).unwrap_err().to_string();
    assert!(directory.starts_with("/etc: is not a plain file; "));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"[agent]\nlog = \"\xff\"\n").unwrap();
    let latin = server(file.path(), &no_env).unwrap_err().to_string();
    let wanted = format!("{}:2:8: a byte that is not UTF-8", file.path().display());
    assert!(latin.starts_with(&wanted), "{latin}");
}

#[test]
fn a_caret_points_at_the_fault() {
    let text = "[heartbeat]\nintervall = \"30s\"";
    let faults = agent_from_str(text, Path::new("a.toml"), &no_env).unwrap_err();
    let last = faults.iter().last().unwrap();
    let wanted = "a.toml:2:1: unknown key \"intervall\"; did you mean \"interval\"\n    \
                  intervall = \"30s\"\n    ^";
    assert_eq!(format!("{last:#}"), wanted);
}

#[test]
fn a_secret_in_the_file_is_not_repeated() {
    let text = "[[source]]\nname = \"a\"\nhttp.url = \"https://x/\"\n\
                http.headers = { Authorization = \"Bearer hunter2\" }";
    let faults = agent_from_str(text, Path::new("a.toml"), &no_env).unwrap_err();
    assert!(!format!("{faults:#}").contains("hunter2"));
    let text = "[[source]]\nname = \"a\"\naccount.enroll-token = \"skd_enr_secret\"\n\
                account.urls = [\"https://u:hunter2@x\"]\n\
                [server]\ndatabase = \"postgres://u:hunter2@x\"";
    let faults = agent_from_str(text, Path::new("a.toml"), &no_env).unwrap_err();
    assert!(!format!("{faults:#}").contains("skd_enr_secret"));
    assert!(!format!("{faults}").contains("hunter2"));
}

#[test]
fn a_file_of_nonsense_ends() {
    let text = "x = 1\n".repeat(5000) + &"[[[\n".repeat(100) + &"[[source]]\nq = 1\n".repeat(300);
    assert!(agent_from_str(&text, Path::new("a.toml"), &no_env).is_err());
    let text = "[[source]]\nq = 1\n".repeat(1000);
    let faults = agent_from_str(&text, Path::new("a.toml"), &no_env).unwrap_err();
    assert_eq!(faults.iter().count(), 100);
    assert!(faults.iter().all(|fault| fault.what == "unknown key \"q\""));
}

#[test]
fn the_first_file_of_the_list_is_the_agents() {
    let dir = tempfile::tempdir().unwrap();
    let system = dir.path().join("system.toml");
    let user = dir.path().join("sshkeyd/agent.toml");
    let xdg = dir.path().as_os_str().to_owned();
    let env = |name: &str| (name == "XDG_CONFIG_HOME").then(|| xdg.clone());
    assert_eq!(first_agent_path(None, &env, &system), system);
    std::fs::create_dir(user.parent().unwrap()).unwrap();
    let some = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agent.toml");
    std::fs::copy(&some, &user).unwrap();
    assert_eq!(first_agent_path(None, &env, &system), user);
    std::fs::copy(&some, &system).unwrap();
    assert_eq!(first_agent_path(None, &env, &system), system);
    let named = |name: &str| (name == "SSHKEYD_CONFIG").then(|| OsString::from("/n.toml"));
    assert_eq!(
        first_agent_path(None, &named, &system),
        Path::new("/n.toml")
    );
    let given = Path::new("/g.toml");
    assert_eq!(first_agent_path(Some(given), &named, &system), given);
    assert_eq!(default_agent_path(None, &no_env), Path::new(AGENT_PATH));
}

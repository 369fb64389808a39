//! A service that moves from SQLite to PostgreSQL and back: what its people and agents notice of it.

use crate::support::host::{Home, Host};
use crate::support::postgres::Postgres;
use crate::support::process::{Ran, sshkeyd, wait_for};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const PASSWORD: &str = "long enough to be taken 7";

/// Makes a file of these bytes, in the place of what is there.
fn fill(path: &Path, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).write(true).truncate(true).open(path);
    let filled = file.and_then(|mut file| file.write_all(bytes));
    filled.expect("the directory is the test's own");
}

/// A service with something in every corner, and an agent of it.
struct Bed {
    service: Service,
    host: Host,
    home: Home,
    instance: i64,
}

impl Bed {
    fn new() -> Self {
        let service = Service::start().for_person("bob@example.com", PASSWORD);
        let home = Home::new();
        let (host, instance) = Host::new().of_new_instance(&service, "web");
        let mut host = host.with_home(&home, "account", "");
        host.up();
        host.wait_listed();
        let (kept, revoked, gone) = (public_key(), public_key(), public_key());
        service.save(&kept, "kept", &[]);
        let stolen = service.save(&revoked, "stolen", &[]);
        let last = service.save(&gone, "gone", &[]);
        home.wait_has(&gone, true);
        service
            .run(&["ssh-keys", "revoke", &stolen.to_string()])
            .done();
        service.delete(last);
        let body = json!({"name": "second"}).to_string();
        let (status, _, made) = service.http("POST /v1/api-keys", &body);
        assert_eq!(status, 201, "{made}");
        let body = json!({"public_key": kept.to_string(), "ttl": "1h"}).to_string();
        let (status, _, certificate) = service.http("POST /v1/certificates/user", &body);
        assert_eq!(status, 201, "{certificate}");
        home.wait_has(&gone, false);
        let bed = Self {
            service,
            host,
            home,
            instance,
        };
        bed.login();
        bed
    }

    fn login(&self) {
        let body = json!({"email": "bob@example.com", "password": PASSWORD}).to_string();
        let (status, _, answer) = self.service.http("POST /v1/login", &body);
        assert_eq!(status, 200, "{answer}");
    }

    /// A configuration like the service's own, but for these lines.
    fn config(&self, name: &str, database: &str, secrets: &Path) -> PathBuf {
        let path = self.service.dir().join(name);
        let text = std::fs::read_to_string(self.service.dir().join("server.toml")).unwrap();
        let kept: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("database") && !line.starts_with("secrets-dir"))
            .collect();
        let secrets = secrets.display();
        let text = format!(
            "{}\n{database}\nsecrets-dir = \"{secrets}\"\n",
            kept.join("\n")
        );
        put(&path, &text, 0o600);
        path
    }

    fn secrets(&self) -> PathBuf {
        self.service.dir().join("secrets")
    }

    /// From here on the service is the one of this configuration.
    fn serve(&mut self, config: &Path) {
        std::fs::copy(config, self.service.dir().join("server.toml")).unwrap();
        self.service.up();
    }

    fn enrolled(&self) -> Value {
        let (status, _, list) = self.service.http("GET /v1/instances", "");
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["id"] == self.instance)
            .unwrap()
            .clone()
    }
}

fn errand(what: &str, file: &Path, config: &Path) -> Ran {
    let mut errand = sshkeyd();
    errand.args(["server", what]).arg(file);
    Ran::of(errand.arg("--config").arg(config))
}

/// Rows, in any order: without head and end.
fn rows(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('['));
    let mut rows: Vec<String> = lines.map(str::to_owned).collect();
    rows.sort();
    assert!(rows.len() > 20, "{rows:?}");
    rows
}

fn head(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_service_moves_to_postgresql_and_back_and_its_agents_do_not_notice() {
    let postgres = Postgres::start();
    let mut bed = Bed::new();
    let before = bed.enrolled();
    bed.service.stop();
    let dir = bed.service.dir().to_owned();
    let own = dir.join("server.toml");
    let first = dir.join("first.jsonl");
    let said = errand("export", &first, &own).done();
    assert!(said.err.contains("is NOT in it"), "{said:?}");
    let mode = std::fs::metadata(&first).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    for secret in [&bed.service.api_key, PASSWORD, "BEGIN OPENSSH PRIVATE KEY"] {
        assert!(!std::fs::read_to_string(&first).unwrap().contains(secret));
    }

    let database = postgres.database();
    let there = bed.config("there.toml", &postgres.toml(&database), &bed.secrets());
    errand("import", &first, &there).done();
    let second = dir.join("second.jsonl");
    errand("export", &second, &there).done();
    assert_eq!(rows(&first), rows(&second));
    assert_eq!(head(&first)["numbers"], head(&second)["numbers"]);

    let revision = "SELECT max(revision) FROM accounts";
    let was: i64 = postgres.sql(&database, revision).parse().unwrap();
    bed.serve(&there);
    // The API key of before is the one that saves; the agent has its identity of before.
    let key = public_key();
    let id = bed.service.save(&key, "after the move", &[]);
    bed.home.wait_has(&key, true);
    let now: i64 = postgres.sql(&database, revision).parse().unwrap();
    assert!(now > was);
    let last = head(&first)["numbers"]["ssh_keys"].as_i64().unwrap();
    assert_eq!(
        id,
        last + 1,
        "a number of a key that is gone is not given out again"
    );
    let after = bed.enrolled();
    assert_eq!(after["id"], before["id"]);
    let identity = format!(
        "SELECT identity_key FROM instances WHERE id = {}",
        bed.instance
    );
    let identity = postgres.sql(&database, &identity);
    let of_before = std::fs::read_to_string(&first).unwrap();
    assert!(identity.starts_with("ssh-") && of_before.contains(&identity));
    assert_eq!(bed.host.condition("not-enrolled").map(|c| c.code), None);
    bed.login();
    let body = json!({"public_key": key.to_string(), "ttl": "1h"}).to_string();
    let (status, _, certificate) = bed.service.http("POST /v1/certificates/user", &body);
    assert_eq!(status, 201, "a sealed CA opens: {certificate}");

    // And back, into a new file.
    bed.service.stop();
    let third = dir.join("third.jsonl");
    errand("export", &third, &there).done();
    let file = format!("database = \"sqlite:{}/again.db\"", dir.display());
    let back = bed.config("back.toml", &file, &bed.secrets());
    errand("import", &third, &back).done();
    let fourth = dir.join("fourth.jsonl");
    errand("export", &fourth, &back).done();
    assert_eq!(rows(&third), rows(&fourth));
    assert_eq!(head(&third)["numbers"], head(&fourth)["numbers"]);
    bed.serve(&back);
    bed.service.delete(id);
    bed.home.wait_has(&key, false);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let postgres = Postgres::start();
    let mut bed = Bed::new();
    bed.service.stop();
    let dir = bed.service.dir().to_owned();
    let whole = dir.join("whole.jsonl");
    errand("export", &whole, &dir.join("server.toml")).done();
    let bytes = std::fs::read(&whole).unwrap();

    let database = postgres.database();
    let there = bed.config("there.toml", &postgres.toml(&database), &bed.secrets());
    let strange = bed.config("strange.toml", &postgres.toml(&database), &dir.join("none"));
    let (bad, mut bent) = (dir.join("bad.jsonl"), bytes.clone());
    let refused = |file: &Path, config: &Path, why: &str| {
        let refused = errand("import", file, config);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains(why), "{why}: {refused:?}");
    };
    refused(&whole, &strange, "copy the whole secrets-dir");
    assert!(!dir.join("none").exists());
    fill(&bad, &bytes[..bytes.len() - 200]);
    refused(&bad, &there, "cut off");
    // One letter of a name, in a row that fits.
    let place = bytes.windows(4).rposition(|w| w == b"kept").unwrap();
    bent[place] = b'K';
    fill(&bad, &bent);
    refused(&bad, &there, "SHA-256");
    assert_eq!(
        postgres.sql(&database, "SELECT count(*) FROM accounts"),
        "0"
    );
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM audit"), "0");

    errand("import", &whole, &there).done();
    let count = postgres.sql(&database, "SELECT count(*) FROM audit");
    refused(&whole, &there, "not empty");
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM audit"), count);

    // The old service went on: everything is lifted above it.
    let other = postgres.database();
    let lifted = bed.config("lifted.toml", &postgres.toml(&other), &bed.secrets());
    let mut import = sshkeyd();
    import.args(["server", "import", "--lift"]).arg(&whole);
    let said = Ran::of(import.arg("--config").arg(&lifted)).done();
    assert!(said.err.contains("above every revision"), "{said:?}");
    let revision = "SELECT max(revision) FROM accounts";
    let (kept, above) = (
        postgres.sql(&database, revision),
        postgres.sql(&other, revision),
    );
    assert!(above.parse::<i64>().unwrap() > kept.parse::<i64>().unwrap());
    bed.serve(&lifted);
    let key = public_key();
    bed.service.save(&key, "on the lifted one", &[]);
    bed.home.wait_has(&key, true);
    wait_for("the agent to be heard", || {
        (bed.enrolled()["state"] == "live").then_some(())
    });
}

//! The service on PostgreSQL, as its users meet it: the story, TLS, a server that goes away, errands
//! on the server's own machine, a database that was brought back.

use crate::support::host::{Home, Host};
use crate::support::postgres::Postgres;
use crate::support::process::{wait_for, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use serde_json::{Value, json};

fn service_on(postgres: &Postgres) -> (Service, String) {
    let database = postgres.database();
    let service = Service::start_with(&postgres.toml(&database));
    (service, database)
}

fn machine(service: &Service) -> (Host, Home) {
    let home = Home::new();
    let mut host = Host::new()
        .of_account(service)
        .with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    (host, home)
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_key_that_is_saved_is_in_the_file_and_one_that_is_deleted_is_gone() {
    let postgres = Postgres::start();
    let (mut service, database) = service_on(&postgres);
    let (_host, home) = machine(&service);
    let key = public_key();
    let id = service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    // What is kept outlives the process.
    assert!(service.stop().success());
    service.up();
    let later = public_key();
    service.save(&later, "later", &[]);
    home.wait_has(&later, true);
    service.delete(id);
    home.wait_has(&key, false);
    assert!(home.has(&later));
    let log = postgres.sql(
        &database,
        "SELECT string_agg(action, ' ' ORDER BY id) FROM audit",
    );
    assert!(
        log.ends_with("ssh-key.add ssh-key.add ssh-key.delete"),
        "{log}"
    );
    let (status, _, _) = service.http("GET /readyz", "");
    assert_eq!(status, 200);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_save_on_one_replica_reaches_an_agent_of_the_other() {
    let postgres = Postgres::start();
    let (one, database) = service_on(&postgres);
    let two = one.replica();
    let (_host, home) = machine(&one);
    let key = public_key();
    let id = two.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    two.delete(id);
    home.wait_has(&key, false);
    // Notices lost: the connection that carries them is cut again and again, and what it would
    // have said is found all the same.
    for n in 0..3 {
        postgres.sql(
            &database,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND (query LIKE '%LISTEN%' OR query LIKE '%pg_notify%')",
        );
        let key = public_key();
        two.save(&key, &format!("key {n}"), &[]);
        home.wait_has(&key, true);
    }
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_replica_with_an_old_signer_signs_nothing_until_it_has_the_new_one() {
    let postgres = Postgres::start();
    let (one, _) = service_on(&postgres);
    let mut two = one.replica().by_its_own_address();
    let (_host, home) = machine(&two);
    one.errand(&["server", "rotate-signer"]).done();
    one.signal("HUP");
    wait_until("the new signer in force", || {
        one.log().contains("snapshot signer adopted")
    });
    let key = public_key();
    two.save(&key, "laptop", &[]);
    wait_until("the other replica to say that it is behind", || {
        two.log()
            .contains("another replica has put other signers in force")
    });
    assert!(!home.has(&key));
    // Nor does it take the others back when it is started again.
    two.stop();
    let refused = two.errand(&["server"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    two.copy_secrets(&one);
    two.up();
    home.wait_has(&key, true);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn tls_to_the_database_is_verified() {
    let postgres = Postgres::start_with_tls();
    let database = postgres.database();
    let lines = postgres.toml(&database);
    let service = Service::start_with(&lines);
    service.save(&public_key(), "laptop", &[]);
    let tls = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE application_name = 'sshkeyd'";
    assert_eq!(postgres.sql(&database, tls), "t");

    // By an address that the certificate does not name, by CAs that did not sign it, and without.
    let elsewhere = Postgres::start_with_tls();
    let other = elsewhere.toml("x");
    let (_, strange) = other.split_once("database-ca-file").unwrap();
    let (before, _) = lines.split_once("database-ca-file").unwrap();
    let config = |lines: &str| {
        let path = service.dir().join("other.toml");
        let text = format!(
            "[server]\npublic-url = \"https://keys.example.com\"\nsecrets-dir = \"{}/secrets\"\n{lines}",
            service.dir().display()
        );
        crate::support::host::replace(&path, &text);
        let mut list = crate::support::process::sshkeyd();
        list.args(["account", "list", "--config"]).arg(&path);
        crate::support::process::Ran::of(&mut list)
    };
    assert_eq!(config(&lines).code, Some(0));
    for wrong in [
        lines.replace("@localhost:", "@127.0.0.1:"),
        format!("{before}database-ca-file{strange}"),
        before.replace("?sslmode=verify-full", "?sslmode=disable"),
    ] {
        let refused = config(&wrong);
        assert_eq!(refused.code, Some(69), "{wrong}\n{refused:?}");
        assert!(!refused.err.contains("a password of"), "{refused:?}");
    }
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn while_the_database_is_away_saves_are_refused_and_nobody_loses_a_key() {
    let mut postgres = Postgres::start();
    let (service, _) = service_on(&postgres);
    let (host, home) = machine(&service);
    let (key, other) = (public_key(), public_key());
    service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    let body = json!({"public_key": other.to_string(), "name": "other"}).to_string();
    for kill in [false, true] {
        match kill {
            true => postgres.kill(),
            false => postgres.stop(),
        }
        let (status, head, _) = service.http("POST /v1/ssh-keys", &body);
        assert_eq!(status, 503, "{head}");
        assert!(head.contains("retry-after: "), "{head}");
        assert_eq!(service.http("GET /readyz", "").0, 503);
        assert_eq!(service.http("GET /healthz", "").0, 200);
        assert!(home.has(&key));
        postgres.start_again();
        wait_until("a save to be taken again", || {
            let status = service.http("POST /v1/ssh-keys", &body).0;
            matches!(status, 200 | 201)
        });
        home.wait_has(&other, true);
        assert!(home.has(&key));
    }
    wait_until("the agent to be well", || {
        host.status().conditions.is_empty()
    });
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn what_pg_restore_brings_back_is_lifted_above_what_agents_have_seen() {
    let postgres = Postgres::start();
    let (mut service, database) = service_on(&postgres);
    let (_host, home) = machine(&service);
    let (kept, lost) = (public_key(), public_key());
    service.save(&kept, "kept", &[]);
    home.wait_has(&kept, true);
    let copy = format!("{database}_copy");
    service.stop();
    postgres.sql(
        "postgres",
        &format!("CREATE DATABASE {copy} TEMPLATE {database}"),
    );
    service.up();
    service.save(&lost, "lost", &[]);
    home.wait_has(&lost, true);
    service.stop();
    for sql in [
        format!("DROP DATABASE {database}"),
        format!("ALTER DATABASE {copy} RENAME TO {database}"),
    ] {
        postgres.sql("postgres", &sql);
    }
    let refused = service.errand(&["server", "restore", "some-file"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("pg_restore"), "{refused:?}");
    let refused = service.errand(&["server", "backup", "some-file"]);
    assert!(refused.err.contains("pg_dump"), "{refused:?}");
    let lifted = service.errand(&["server", "restore", "--lift"]).done();
    assert!(lifted.out.contains("1 accounts"), "{lifted:?}");
    service.up();
    // A list below what it has seen the agent would refuse.
    home.wait_has(&lost, false);
    assert!(home.has(&kept));
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn errands_on_the_servers_machine_work_beside_it() {
    let postgres = Postgres::start();
    let (service, _) = service_on(&postgres);
    let (_host, home) = machine(&service);
    let key = public_key();
    service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    let accounts = service.errand(&["account", "list", "--json"]).done();
    let accounts: Value = accounts.json();
    assert_eq!(accounts["items"][0]["ssh_keys"], 1, "{accounts}");
    service
        .errand(&["account", "disable", "alice@example.com"])
        .done();
    home.wait_has(&key, false);
    service
        .errand(&["account", "enable", "alice@example.com"])
        .done();
    home.wait_has(&key, true);
    service.errand(&["server", "rotate-signer"]).done();
    service.signal("HUP");
    wait_for("the new signer in force", || {
        service
            .log()
            .contains("snapshot signer adopted")
            .then_some(())
    });
    let later = public_key();
    service.save(&later, "later", &[]);
    home.wait_has(&later, true);
}

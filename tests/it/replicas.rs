//! Two replicas of the service on one PostgreSQL: one that is killed, notices that do not come, a
//! database that is away; and what one has heard, counted or ended that holds at the other.

use crate::support::host::{Home, Host};
use crate::support::postgres::Postgres;
use crate::support::process::{Ran, WITHIN, pause, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::told::{Told, session};
use serde_json::{Value, json};
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{InstanceState, OrderOutcome, RolloutState};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Within this what was done at one replica holds at the other, whatever notice was lost: a look a
/// second, and what a busy machine takes for the rest.
const SOON: Duration = Duration::from_secs(2);

const EMAIL: &str = "bob@example.com";
const PASSWORD: &str = "correct horse";

struct Replicas {
    one: Service,
    two: Service,
    database: String,
}

fn replicas(postgres: &Postgres) -> Replicas {
    let database = postgres.database();
    let one = Service::start_with(&postgres.toml(&database));
    let two = one.replica().by_its_own_address();
    Replicas { one, two, database }
}

/// A machine whose agent knows both, and begins with the first.
fn machine(first: &Service, second: &Service) -> (Host, Home) {
    let home = Home::new();
    let mut host = Host::new()
        .of_account(first)
        .with_home(&home, "account", "");
    let one = format!("urls = [\"{}\"]", first.url);
    let both = format!("urls = [\"{}\", \"{}\"]", first.url, second.url);
    let text = host.toml();
    assert!(text.contains(&one));
    host.configure_as(text.replace(&one, &both));
    (host.up_listed(), home)
}

/// One request with any token; gives status, head and body.
fn send(
    service: &Service,
    request: &str,
    token: Option<&str>,
    body: &Value,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(service.address).expect("the replica listens");
    stream
        .set_read_timeout(Some(WITHIN))
        .expect("it is not zero");
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let body = body.to_string();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        service.address,
        token.unwrap_or_default(),
        body.len()
    )
    .expect("the request is sent");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("the answer is text");
    let status = text.split(' ').nth(1).expect("a status line");
    let status = status.parse().expect("a status");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// The same, of JSON.
fn ask(
    service: &Service,
    request: &str,
    token: Option<&str>,
    body: &Value,
) -> (u16, String, Value) {
    let (status, head, text) = send(service, request, token, body);
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    (status, head, body)
}

fn wait_held(service: &Service, count: usize) {
    let line = format!("sshkeyd_held_queries {count}\n");
    wait_until("the query to be held", || {
        let (_, _, text) = send(service, "GET /metrics", None, &Value::Null);
        text.contains(&line)
    });
}

fn login(service: &Service, password: &str) -> (u16, String, Value) {
    let body = json!({"email": EMAIL, "password": password});
    ask(service, "POST /v1/login", None, &body)
}

fn session_key(service: &Service) -> String {
    let (status, _, answer) = login(service, PASSWORD);
    assert_eq!(status, 200, "{answer}");
    let key = answer.get("session_key").and_then(Value::as_str);
    key.expect("a login gives one").to_owned()
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_replica_that_is_killed_under_load_takes_no_save_with_it_and_its_agents_move() {
    const SAVES: usize = 24;
    let postgres = Postgres::start();
    let Replicas { mut one, two, .. } = replicas(&postgres);
    let (_moves, moving) = machine(&one, &two);
    let (_stays, staying) = machine(&two, &one);
    let kept = public_key();
    one.save(&kept, "kept", &[]);
    for home in [&moving, &staying] {
        home.wait_has(&kept, true);
    }
    let keys: Vec<PublicKey> = (0..SAVES).map(|_| public_key()).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                assert!(moving.has(&kept) && staying.has(&kept), "a key was lost");
                looks += 1;
                std::thread::yield_now();
            }
            looks
        });
        // Two who save at the same time: one at the replica that goes, and, what that one did not
        // answer, once more at the other.
        let (mut there, mut here) = (Vec::new(), Vec::new());
        for (n, key) in keys.iter().enumerate() {
            let file = two.key_file(key, &format!("key-{n}"));
            let args = ["ssh-keys", "add", file.to_str().unwrap()];
            match n % 2 {
                0 => there.push((one.command(&args), two.command(&args))),
                _ => here.push(two.command(&args)),
            }
        }
        let (saved, count) = std::sync::mpsc::channel();
        let there = scope.spawn(move || {
            let mut refused = 0;
            for (mut first, mut again) in there {
                if Ran::of(&mut first).code != Some(0) {
                    refused += 1;
                    Ran::of(&mut again).done();
                }
                // Whoever counts may have counted enough.
                let _ = saved.send(());
            }
            refused
        });
        let here = scope.spawn(move || here.iter_mut().for_each(|add| drop(Ran::of(add).done())));
        for _ in 0..4 {
            count.recv_timeout(WITHIN).unwrap();
        }
        one.kill();
        assert!(there.join().unwrap() > 0, "none was to be saved after that");
        here.join().unwrap();
        for key in &keys {
            moving.wait_has(key, true);
            staying.wait_has(key, true);
        }
        over.store(true, Ordering::SeqCst);
        assert!(watch.join().unwrap() > 0);
    });
    let list: Value = two.run(&["ssh-keys", "list", "--json"]).done().json();
    let items = list["items"].as_array().unwrap();
    let mut listed: Vec<&str> = items
        .iter()
        .map(|item| item["fingerprint"].as_str().unwrap())
        .collect();
    listed.sort_unstable();
    let prints = keys.iter().chain([&kept]).map(|key| key.fingerprint());
    let mut wanted: Vec<String> = prints.map(|print| print.to_string()).collect();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    // The one that comes back has it all, and serves.
    one.up();
    let later = public_key();
    one.save(&later, "later", &[]);
    moving.wait_has(&later, true);
    staying.wait_has(&later, true);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_save_of_which_no_notice_comes_is_found_within_about_two_seconds() {
    let postgres = Postgres::start();
    let Replicas { one, two, database } = replicas(&postgres);
    let (_host, home) = machine(&one, &two);
    // For as long as this takes no connection that carries notices lives.
    let cut = "DO $$ BEGIN FOR i IN 1..1500 LOOP
                 PERFORM pg_stat_clear_snapshot();
                 PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND (query LIKE '%LISTEN%' OR query LIKE '%pg_notify%');
                 PERFORM pg_sleep(0.005);
               END LOOP; END $$";
    std::thread::scope(|scope| {
        let cutting = scope.spawn(|| postgres.sql(&database, cut));
        wait_until("notices to be cut", || {
            let under_way = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'";
            postgres.sql(&database, under_way) == "1"
        });
        let mut took = Vec::new();
        while !cutting.is_finished() {
            let key = public_key();
            let id = two.save(&key, "unannounced", &[]);
            let began = clock::monotonic();
            home.wait_has(&key, true);
            took.push(clock::monotonic() - began);
            two.delete(id);
            home.wait_has(&key, false);
        }
        took.sort_unstable();
        assert!(took.len() >= 2, "{took:?}");
        assert!(took[took.len() / 2] < SOON, "{took:?}");
    });
    // Notices come again by themselves.
    let listens = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND (query LIKE '%LISTEN sshkeyd' OR query LIKE '%pg_notify(%')";
    wait_until("both to listen again", || {
        postgres.sql(&database, listens) == "2"
    });
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn held_queries_outlive_a_database_that_is_away_and_all_is_well_after_it() {
    let mut postgres = Postgres::start();
    let Replicas { one, two, .. } = replicas(&postgres);
    let (first, at_one) = machine(&one, &two);
    let (second, at_two) = machine(&two, &one);
    let (key, later) = (public_key(), public_key());
    one.save(&key, "laptop", &[]);
    for home in [&at_one, &at_two] {
        home.wait_has(&key, true);
    }
    let held = Told::enrol(&one, "held");
    let (_, etag) = held.list(None);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| held.waits(&etag, Duration::from_secs(4)));
        // Its own, and the agent's.
        wait_held(&one, 2);
        postgres.stop();
        let body = json!({"public_key": later.to_string(), "name": "later"});
        let began = clock::monotonic();
        while !waits.is_finished() {
            for service in [&one, &two] {
                let token = Some(&*service.api_key);
                let (status, head, _) = ask(service, "POST /v1/ssh-keys", token, &body);
                assert_eq!(status, 503, "{head}");
                assert!(head.contains("retry-after: "), "{head}");
            }
            assert!(at_one.has(&key) && at_two.has(&key));
        }
        assert!(clock::monotonic() - began > Duration::from_secs(2));
        assert!(!waits.join().unwrap(), "nothing was new");
    });
    postgres.start_again();
    let body = json!({"public_key": later.to_string(), "name": "later"});
    wait_until("a save to be taken again", || {
        let token = Some(&*two.api_key);
        matches!(ask(&two, "POST /v1/ssh-keys", token, &body).0, 200 | 201)
    });
    for (host, home) in [(&first, &at_one), (&second, &at_two)] {
        home.wait_has(&later, true);
        assert!(home.has(&key));
        wait_until("the agent to be well", || {
            host.status().conditions.is_empty()
        });
    }
    // A save at one is told to the other as before.
    let last = public_key();
    one.save(&last, "last", &[]);
    at_two.wait_has(&last, true);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn a_session_that_is_deleted_at_one_replica_is_dead_at_the_other() {
    let postgres = Postgres::start();
    let database = postgres.database();
    let one = Service::start_with(&postgres.toml(&database)).for_person(EMAIL, PASSWORD);
    let two = one.replica();
    let (stays, goes) = (session_key(&one), session_key(&one));
    let id = two.save(&public_key(), "laptop", &[]);
    let sessions = |token: &str| ask(&two, "GET /v1/sessions", Some(token), &Value::Null);
    let (status, _, list) = sessions(&goes);
    assert_eq!(status, 200);
    let items = list["items"].as_array().unwrap();
    let own = items.iter().find(|item| item["current"] == true).unwrap();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            let request = format!("GET /v1/ssh-keys/{id}/rollout?wait=25");
            ask(&two, &request, Some(&goes), &Value::Null).0
        });
        wait_held(&two, 1);
        let delete = format!("DELETE /v1/sessions/{}", own["id"]);
        assert_eq!(ask(&one, &delete, Some(&stays), &Value::Null).0, 204);
        let began = clock::monotonic();
        wait_until("the session to be dead", || sessions(&goes).0 == 401);
        assert_eq!(held.join().unwrap(), 401);
        assert!(clock::monotonic() - began < SOON);
    });
    assert_eq!(sessions(&stays).0, 200);
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn wrong_guesses_at_one_replica_cost_a_wait_at_the_other() {
    let postgres = Postgres::start();
    let database = postgres.database();
    let one = Service::start_with(&postgres.toml(&database)).for_person(EMAIL, PASSWORD);
    let two = one.replica();
    assert_eq!(login(&one, PASSWORD).0, 200);
    for n in 0..5 {
        let at = if n % 2 == 0 { &one } else { &two };
        assert_eq!(login(at, "a guess").0, 401);
    }
    let mut refused = 0;
    for at in [&two, &one] {
        // The right one too, unseen.
        let (status, head, _) = login(at, PASSWORD);
        if status == 429 {
            assert!(head.contains("retry-after: "), "{head}");
            refused += 1;
        }
    }
    // A machine that is slow may be through with a wait of one second at the second.
    assert!(refused > 0);
    wait_until("the wait to be over", || login(&two, "a guess").0 == 401);
    // Two seconds now, at both.
    assert_eq!(login(&one, PASSWORD).0, 429);
    assert_eq!(login(&two, PASSWORD).0, 429);
    wait_until("the right one to be taken", || {
        login(&one, PASSWORD).0 == 200
    });
    // Nobody who reads the database learns whose address was tried.
    let kept = postgres.sql(
        &database,
        "SELECT count(*), max(length(guesser)) FROM guesses",
    );
    assert_eq!(kept, "1|32");
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn what_an_instance_says_to_one_replica_is_known_at_the_other() {
    let postgres = Postgres::start();
    let Replicas { one, two, .. } = replicas(&postgres);
    let key = public_key();
    let id = one.save(&key, "laptop", &[]);
    let mut there = Told::enrol(&two, "db");
    there.status.sessions = vec![session(&key, 811)];
    // Waits at the one replica for what is said to the other.
    std::thread::scope(|scope| {
        let follow = scope.spawn(|| {
            let request = format!("GET /v1/ssh-keys/{id}/rollout?wait=25");
            ask(&one, &request, Some(&one.api_key), &Value::Null)
        });
        wait_held(&one, 1);
        let began = clock::monotonic();
        there.proves(&[&key]);
        assert_eq!(follow.join().unwrap().0, 200);
        assert!(clock::monotonic() - began < SOON);
    });
    wait_until("it to be known", || {
        let rollout = one.rollout(id);
        let known = rollout.instances.iter().find(|at| at.instance == there.id);
        known.is_some_and(|at| at.state == RolloutState::Proved)
    });
    assert_eq!(one.instance_state(there.id), InstanceState::Live);
    let shown: Value = one
        .run(&["instances", "show", &there.id.to_string(), "--json"])
        .done()
        .json();
    assert_eq!(shown["status"]["sessions"][0]["pid"], 811, "{shown}");
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn an_order_waits_for_instances_that_speak_to_the_other_replica() {
    let postgres = Postgres::start();
    let Replicas { one, two, database } = replicas(&postgres);
    let (mut web, mut db) = (Told::enrol(&one, "web"), Told::enrol(&two, "db"));
    let lost = public_key();
    let id = one.save(&lost, "lost", &[]);
    for told in [&mut web, &mut db] {
        told.status.sessions = vec![session(&lost, 811)];
        told.say(None, Vec::new());
    }
    // Whoever looks at the instances at the one replica has it hear of both: nobody does.
    let said = "SELECT count(*) FROM instances WHERE last_seen IS NOT NULL";
    wait_until("both to be heard", || postgres.sql(&database, said) == "2");
    one.run(&["ssh-keys", "delete", &id.to_string(), "--end-sessions"])
        .done();
    let (list, _) = web.list(None);
    let order = list.end_sessions[0].clone();
    web.answer(&order, OrderOutcome::Ended, 1);
    // The replica that heard the answer looks at orders a second after it, and not again soon.
    let open = || {
        postgres.sql(
            &database,
            "SELECT count(*) FROM orders WHERE left_at IS NULL",
        )
    };
    let began = clock::monotonic();
    while clock::monotonic() - began < Duration::from_secs(4) {
        assert_eq!(open(), "1", "an instance has still to answer");
        pause(Duration::from_millis(100));
    }
    let (list, _) = db.list(None);
    assert_eq!(list.end_sessions, std::slice::from_ref(&order));
    db.answer(&order, OrderOutcome::Ended, 1);
    wait_for("the order to leave", || (open() == "0").then_some(()));
    assert_eq!(one.rollout(id).instances[0].end_sessions.unwrap().ended, 1);
    assert_eq!(one.rollout(id).instances[1].end_sessions.unwrap().ended, 1);
}

//! The service's database: a kill at any moment, a disk without room, copies and what is made of them.

use crate::support::mounts::Mount;
use crate::support::process::{Ran, pause, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One request; none where there was no whole answer. What was not answered may be done or not.
fn ask(to: SocketAddr, key: &str, request: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if !body.is_empty() {
        return Some((status, serde_json::from_str(body).ok()?));
    }
    Some((status, Value::Null))
}

/// A key that nobody has had.
fn key_line() -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend(rand::random::<[u8; 32]>());
    let blob = base64::engine::general_purpose::STANDARD.encode(blob);
    json!({ "public_key": format!("ssh-ed25519 {blob}") }).to_string()
}

/// One that saves and deletes as fast as it is let.
#[derive(Default)]
struct Writer {
    there: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    /// What it had asked for when no answer came.
    unsure: BTreeSet<i64>,
    /// Saves that were not answered.
    maybe: usize,
    done: usize,
}

impl Writer {
    fn work(&mut self, to: SocketAddr, key: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let old = self.there.iter().next().copied();
            match old.filter(|_| self.there.len() > 60 || rand::random_ratio(2, 5)) {
                Some(id) => {
                    let answer = ask(to, key, &format!("DELETE /v1/ssh-keys/{id}"), "");
                    match answer {
                        Some((204, _)) => {
                            self.there.remove(&id);
                            self.gone.insert(id);
                        }
                        Some((429, _)) => pause(Duration::from_millis(50)),
                        Some(other) => panic!("{other:?}"),
                        None => {
                            self.there.remove(&id);
                            self.unsure.insert(id);
                            return;
                        }
                    }
                }
                None => match ask(to, key, "POST /v1/ssh-keys", &key_line()) {
                    Some((201, saved)) => {
                        self.there.insert(saved["id"].as_i64().unwrap());
                    }
                    Some((429, _)) => pause(Duration::from_millis(50)),
                    Some(other) => panic!("{other:?}"),
                    None => {
                        self.maybe += 1;
                        return;
                    }
                },
            }
            self.done += 1;
        }
    }
}

/// The account's revision, as the database has it.
fn revision(service: &Service) -> i64 {
    let db = rusqlite::Connection::open(service.dir().join("sshkeyd.db")).unwrap();
    db.query_row("SELECT max(revision) FROM accounts", [], |row| row.get(0))
        .unwrap()
}

fn ids(service: &Service) -> BTreeSet<i64> {
    let list: Value = service.run(&["ssh-keys", "list", "--json"]).done().json();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let rounds = if std::env::var_os("SSHKEYD_LONG").is_some() {
        200
    } else {
        20
    };
    let mut service = Service::start();
    let (to, key) = (service.address, service.api_key.clone());
    let mut writers: [Writer; 4] = Default::default();
    let mut before = revision(&service);
    let mut maybe = 0;
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(|| writer.work(to, &key, &stop));
            }
            pause(Duration::from_millis(rand::random_range(20..250)));
            service.kill();
            stop.store(true, Ordering::Relaxed);
        });
        service.up();
        let now = revision(&service);
        assert!(now >= before, "round {round}: {now} after {before}");
        before = now;
        let found = ids(&service);
        maybe += writers
            .iter_mut()
            .map(|w| std::mem::take(&mut w.maybe))
            .sum::<usize>();
        let mut known = BTreeSet::new();
        for writer in &mut writers {
            let lost: Vec<_> = writer.there.difference(&found).collect();
            assert!(lost.is_empty(), "round {round}: lost {lost:?}");
            let back: Vec<_> = writer.gone.intersection(&found).collect();
            assert!(back.is_empty(), "round {round}: back {back:?}");
            // What was not answered is one or the other from now on.
            for id in std::mem::take(&mut writer.unsure) {
                let of = if found.contains(&id) {
                    &mut writer.there
                } else {
                    &mut writer.gone
                };
                of.insert(id);
            }
            known.extend(writer.there.iter().copied());
        }
        let extra: Vec<_> = found.difference(&known).copied().collect();
        assert!(
            extra.len() <= maybe,
            "round {round}: {extra:?} from {maybe}"
        );
        maybe = 0;
        writers[0].there.extend(extra);
    }
    let done: usize = writers.iter().map(|writer| writer.done).sum();
    assert!(done > rounds * 4, "{done} changes in {rounds} rounds");
    let sound: String = rusqlite::Connection::open(service.dir().join("sshkeyd.db"))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    println!("{done} acknowledged changes, {rounds} kills");
}

/// An agent in a few requests: session key, run, and the tag of its first list.
struct Agent {
    session: String,
    etag: String,
}

impl Agent {
    fn new(service: &Service) -> Self {
        let (_, token) = service.create_instance("web");
        let body = json!({"token": token.split('.').next().unwrap(),
            "public_key": public_key().to_string(), "run": "run-1"});
        let enrolled = ask(
            service.address,
            "",
            "POST /v1/agent/enroll",
            &body.to_string(),
        );
        let (status, answer) = enrolled.unwrap();
        assert_eq!(status, 200, "{answer}");
        let mut agent = Self {
            session: answer["session_key"].as_str().unwrap().to_owned(),
            etag: "\"none\"".to_owned(),
        };
        let mut stream = agent.hold(service.address);
        agent.etag = read_etag(&mut stream);
        agent
    }

    fn hold(&self, to: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(to).unwrap();
        write!(
            stream,
            "GET /v1/agent/snapshot?wait=300 HTTP/1.1\r\nHost: x\r\nX-Sshkeyd-Run: run-1\r\n\
             Authorization: Bearer {}\r\nIf-None-Match: {}\r\n\r\n",
            self.session, self.etag
        )
        .unwrap();
        stream
    }

    fn heartbeat(&self, to: SocketAddr, state: &str) -> u16 {
        let body = json!({"run": "run-1",
            "status": {"version": "0.1.0", "instance": 1, "state": state}});
        let answer = ask(
            to,
            &self.session,
            "POST /v1/agent/heartbeat",
            &body.to_string(),
        );
        answer.unwrap().0
    }
}

fn read_etag(stream: &mut TcpStream) -> String {
    let mut part = [0; 16 * 1024];
    let read = stream.read(&mut part).unwrap();
    let head = String::from_utf8_lossy(&part[..read]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
    etag.unwrap().to_owned()
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_full_disk_is_said_and_loses_nothing() {
    let mut mount = None;
    let mut service = Service::start_with_data(|data| {
        mount = Some(Mount::tmpfs(data, "size=8m,mode=0700"));
    });
    let data = service.dir().join("data");
    let (to, key) = (service.address, service.api_key.clone());
    let agent = Agent::new(&service);
    let save = || ask(to, &key, "POST /v1/ssh-keys", &key_line()).unwrap();
    let mut saved = BTreeSet::new();
    saved.insert(save().1["id"].as_i64().unwrap());
    let agent = Agent {
        etag: {
            let mut stream = agent.hold(to);
            read_etag(&mut stream)
        },
        ..agent
    };

    fill(&data.join("filler"));
    // The log of the database may have room of its own for a while.
    let refused = (0..400).find_map(|_| match save() {
        (201, item) => {
            saved.insert(item["id"].as_i64().unwrap());
            fill(&data.join("filler"));
            None
        }
        other => Some(other),
    });
    let (status, problem) = refused.expect("a disk that is full");
    assert_eq!(
        (status, &problem["code"]),
        (507, &json!("no-room")),
        "{problem}"
    );
    let first = saved.first().copied().unwrap();
    let deleted = ask(to, &key, &format!("DELETE /v1/ssh-keys/{first}"), "").unwrap();
    assert_eq!(deleted.0, 507, "{deleted:?}");

    // Reads go on, agents are heard, and a query is held.
    let list = ask(to, &key, "GET /v1/ssh-keys", "").unwrap();
    assert_eq!(list.0, 200);
    assert_eq!(ids(&service), saved);
    assert_eq!(agent.heartbeat(to, "degraded"), 200);
    let current = Agent {
        etag: {
            let unknown = Agent {
                session: agent.session.clone(),
                etag: "\"x\"".to_owned(),
            };
            read_etag(&mut unknown.hold(to))
        },
        session: agent.session.clone(),
    };
    let mut held = current.hold(to);
    held.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut part = [0; 64];
    let nothing = held.read(&mut part).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);

    // Room again: saves again, and the query that was held all the time has it.
    fs::remove_file(data.join("filler")).unwrap();
    wait_until("a save", || match save() {
        (201, item) => saved.insert(item["id"].as_i64().unwrap()),
        (status, _) => {
            assert_eq!(status, 507);
            false
        }
    });
    held.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    read_etag(&mut held);
    assert_eq!(agent.heartbeat(to, "ok"), 200);
    service.kill();
    service.up();
    assert_eq!(ids(&service), saved);
    drop(service);
    drop(mount);
}

fn server(service: &Service, action: &str, file: &Path) -> Ran {
    let mut command = sshkeyd();
    command.args(["server", action]).arg(file);
    Ran::of(
        command
            .arg("--config")
            .arg(service.dir().join("server.toml")),
    )
}

#[test]
fn a_copy_is_taken_while_it_runs_and_agents_take_what_is_made_of_it() {
    let mut service = Service::start();
    let kept = service.save(&public_key(), "kept", &[]);
    let agent = Agent::new(&service);
    let copy = service.dir().join("copy.db");
    let ran = server(&service, "backup", &copy).done();
    assert!(ran.err.contains("secrets is NOT in it"), "{ran:?}");
    assert_eq!(
        fs::metadata(&copy).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    let later = service.save(&public_key(), "later", &[]);
    let seen = service.rollout(later).revision;
    let refused = server(&service, "restore", &copy);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.err.contains("in use; stop the service first"),
        "{refused:?}"
    );
    assert_eq!(ids(&service), BTreeSet::from([kept, later]));

    assert!(service.stop().success());
    let ran = server(&service, "restore", &copy).done();
    assert!(
        ran.out.contains("1 accounts") && ran.out.contains(".before-"),
        "{ran:?}"
    );
    let mode = fs::metadata(service.dir().join("sshkeyd.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    service.up();
    assert_eq!(ids(&service), BTreeSet::from([kept]));
    // Above all that was ever seen: the agent, whose floor that is, takes it.
    let lifted = u64::try_from(revision(&service)).unwrap();
    assert!(lifted > seen, "{lifted} after {seen}");
    assert_eq!(agent.heartbeat(service.address, "ok"), 200);
    // Nobody is the key of the one that is not there any more.
    let next = service.save(&public_key(), "next", &[]);
    assert!(next > later, "{next} after {later}");
}

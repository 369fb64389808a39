//! The proof against a real sshd and against the demo's server; logins with the demo's client.

use crate::support::sshd::{KeyPair, Sshd, User, keygen, put};
use jiff::Timestamp;
use russh::server;
use ssh_key::{Algorithm, PrivateKey};
use sshkeyd::config::agent_from_str;
use sshkeyd::demo::ssh_client::{LoginError, login};
use sshkeyd::demo::ssh_server::{MAX_CONNECTIONS, SshServer};
use sshkeyd::keys::PublicKey;
use sshkeyd::sinks::proof::{
    self, Asked, Limits, Outcome, Question, RefusalBudget, Unknown, prove, prove_within,
};
use sshkeyd::sinks::sshd::in_force;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

fn now() -> Timestamp {
    "2026-11-22T19:00:00Z".parse().unwrap()
}

fn asked(keys: &[&PublicKey]) -> Vec<Asked> {
    keys.iter().map(|k| Asked::plain((*k).clone())).collect()
}

async fn ask(sshd: &proof::Sshd, user: &str, here: &[Asked], gone: &[Asked]) -> Outcome {
    let question = Question {
        user,
        expect_accepted: here,
        expect_refused: gone,
        ..Question::default()
    };
    prove(sshd, &question, &mut RefusalBudget::new(), now()).await
}

/// A key pair without ssh-keygen.
fn random_key() -> (PrivateKey, PublicKey) {
    let private = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let text = private.public_key().to_openssh().unwrap();
    let public = PublicKey::parse_text(&text).unwrap().0;
    (private, public)
}

fn random_keys(count: usize) -> Vec<PublicKey> {
    (0..count).map(|_| random_key().1).collect()
}

// ── a real sshd ──────────────────────────────────────────────────────────────────────────────────

fn pair(sshd: &Sshd, name: &str) -> KeyPair {
    keygen(sshd.dir(), name, "ed25519")
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn keys_of_every_type_are_accepted_and_an_absent_one_is_refused() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let present: Vec<_> = ["ed25519", "rsa", "ecdsa"]
        .iter()
        .map(|t| keygen(sshd.dir(), t, t))
        .collect();
    let absent = keygen(sshd.dir(), "absent", "rsa");
    let mut text = String::new();
    for key in &present {
        writeln!(text, "{} x", key.public).unwrap();
    }
    user.authorize(&text);
    let here: Vec<_> = present
        .iter()
        .map(|k| Asked::plain(k.public.clone()))
        .collect();
    let target = sshd.for_proof(&user.name);
    let outcome = ask(&target, &user.name, &here, &asked(&[&absent.public])).await;
    assert_eq!(outcome.accepted.len(), 3, "{outcome:?}");
    assert_eq!(outcome.refused, [absent.public.fingerprint()]);
    let banner = outcome.banner.unwrap();
    assert!(proof::sshd_version(&banner).is_some(), "{banner}");
    // The proof says what a login shows.
    for key in &present {
        assert!(sshd.lets_in(&user, &key.private));
    }
    assert!(!sshd.lets_in(&user, &absent.private));
    // It came from addresses of its own, and left no session.
    assert!(sshd.log().contains("from 127.83."), "{}", sshd.log());
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_security_key_is_offered_like_any_other() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let mut blob = Vec::new();
    for part in [&b"sk-ssh-ed25519@openssh.com"[..], &[7; 32], b"ssh:"] {
        blob.extend((part.len() as u32).to_be_bytes());
        blob.extend(part);
    }
    let text = ssh_key::PublicKey::from_bytes(&blob)
        .unwrap()
        .to_openssh()
        .unwrap();
    let key = PublicKey::parse_text(&text).unwrap().0;
    let plain = pair(&sshd, "plain");
    user.authorize(&format!("{key}\n{}\n", plain.public));
    let target = sshd.for_proof(&user.name);
    let outcome = ask(&target, &user.name, &asked(&[&key]), &[]).await;
    assert_eq!(outcome.accepted, [key.fingerprint()]);
    user.authorize(&format!("{}\n", plain.public));
    let outcome = ask(
        &target,
        &user.name,
        &asked(&[&plain.public]),
        &asked(&[&key]),
    )
    .await;
    assert_eq!(outcome.refused, [key.fingerprint()]);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_refusal_alone_proves_nothing_until_the_user_is_seen_to_log_in() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let (gone, witness) = (pair(&sshd, "gone"), pair(&sshd, "witness"));
    user.authorize("");
    let target = sshd.for_proof(&user.name);
    let fingerprint = gone.public.fingerprint();
    let gone = asked(&[&gone.public]);
    let outcome = ask(&target, &user.name, &[], &gone).await;
    assert_eq!(outcome.unknown, [(fingerprint, Unknown::UserCannotLogIn)]);
    // sshd answers alike for a user that it has never heard of.
    let outcome = ask(&target, "skt-nobody", &gone, &[]).await;
    assert_eq!(outcome.unknown, [(fingerprint, Unknown::UserCannotLogIn)]);

    user.authorize(&format!("{}\n", witness.public));
    let witnesses = [witness.public.clone()];
    let mut question = Question {
        user: &user.name,
        expect_refused: &gone,
        witnesses: &witnesses,
        ..Question::default()
    };
    let outcome = prove(&target, &question, &mut RefusalBudget::new(), now()).await;
    assert_eq!(outcome.refused, [fingerprint]);
    user.authorize("");
    question.witnesses = &[];
    question.can_log_in = true;
    let outcome = prove(&target, &question, &mut RefusalBudget::new(), now()).await;
    assert_eq!(outcome.refused, [fingerprint]);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_removed_key_in_another_line_is_still_accepted() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let key = pair(&sshd, "key");
    user.authorize(&format!("no-pty {} someone else's\n", key.public));
    let target = sshd.for_proof(&user.name);
    let outcome = ask(&target, &user.name, &[], &asked(&[&key.public])).await;
    assert_eq!(outcome.still_accepted, [key.public.fingerprint()]);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_missing_key_is_a_finding_and_from_explains_a_refusal() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let (here, far, missing) = (pair(&sshd, "a"), pair(&sshd, "b"), pair(&sshd, "c"));
    user.authorize(&format!(
        "{}\nfrom=\"192.0.2.1\" {}\n",
        here.public, far.public
    ));
    let mut expected = asked(&[&far.public, &missing.public, &here.public]);
    expected[0].has_from = true;
    let target = sshd.for_proof(&user.name);
    let outcome = ask(&target, &user.name, &expected, &[]).await;
    assert_eq!(outcome.accepted, [here.public.fingerprint()]);
    assert_eq!(outcome.not_accepted, [missing.public.fingerprint()]);
    assert_eq!(
        outcome.unknown,
        [(far.public.fingerprint(), Unknown::FromOption)]
    );
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn ten_refused_keys_spoil_no_answer() {
    for max_auth_tries in [2, 3, 6] {
        let sshd = Sshd::start(&format!("MaxAuthTries {max_auth_tries}"));
        let user = User::new();
        let here = pair(&sshd, "here");
        user.authorize(&format!("{}\n", here.public));
        let gone = random_keys(10);
        let gone: Vec<_> = gone.into_iter().map(Asked::plain).collect();
        let target = sshd.for_proof(&user.name);
        assert_eq!(target.max_auth_tries, max_auth_tries);
        let outcome = ask(&target, &user.name, &asked(&[&here.public]), &gone).await;
        assert_eq!(outcome.accepted, [here.public.fingerprint()]);
        assert_eq!(
            outcome.refused.len(),
            proof::REFUSALS_A_MINUTE,
            "{outcome:?}"
        );
        assert_eq!(outcome.unknown.len(), 10 - proof::REFUSALS_A_MINUTE);
        assert!(outcome.unknown.iter().all(|(_, w)| *w == Unknown::Budget));
    }
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_connection_that_ends_early_is_never_a_refusal() {
    let (sshd, user) = (Sshd::start("MaxAuthTries 2"), User::new());
    let here = pair(&sshd, "here");
    user.authorize(&format!("{}\n", here.public));
    let mut target = sshd.for_proof(&user.name);
    target.max_auth_tries = 6;
    let gone: Vec<_> = random_keys(4).into_iter().map(Asked::plain).collect();
    let outcome = ask(&target, &user.name, &asked(&[&here.public]), &gone).await;
    assert_eq!(outcome.accepted, [here.public.fingerprint()]);
    let fingerprints: Vec<_> = gone.iter().map(|a| a.key.fingerprint()).collect();
    assert_eq!(outcome.refused, [fingerprints[0], fingerprints[2]]);
    assert_eq!(
        outcome.unknown,
        [
            (fingerprints[1], Unknown::Disconnected),
            (fingerprints[3], Unknown::Disconnected),
        ]
    );
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn several_methods_leave_it_unknown() {
    let sshd = Sshd::start("AuthenticationMethods publickey,password\nPasswordAuthentication yes");
    let user = User::new();
    let (here, gone) = (pair(&sshd, "here"), pair(&sshd, "gone"));
    user.authorize(&format!("{}\n", here.public));
    let target = sshd.for_proof(&user.name);
    let (here, gone) = (asked(&[&here.public]), asked(&[&gone.public]));
    let outcome = ask(&target, &user.name, &here, &gone).await;
    assert_eq!(outcome.unknown.len(), 2, "{outcome:?}");
    assert!(
        outcome
            .unknown
            .iter()
            .all(|(_, w)| *w == Unknown::SeveralMethods)
    );
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_server_with_another_host_key_is_not_believed() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let key = pair(&sshd, "key");
    user.authorize(&format!("{}\n", key.public));
    let mut target = sshd.for_proof(&user.name);
    target.host_keys = vec![keygen(sshd.dir(), "other_host", "rsa").public];
    let outcome = ask(&target, &user.name, &asked(&[&key.public]), &[]).await;
    let fingerprint = key.public.fingerprint();
    assert_eq!(outcome.unknown, [(fingerprint, Unknown::WrongHost)]);
    assert!(outcome.is_wrong_host());
    target.host_keys.clear();
    let outcome = ask(&target, &user.name, &asked(&[&key.public]), &[]).await;
    assert_eq!(outcome.unknown, [(fingerprint, Unknown::HostKeyUnknown)]);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn an_sshd_without_publickey_says_nothing_of_keys() {
    let sshd = Sshd::start("PubkeyAuthentication no\nPasswordAuthentication yes");
    let user = User::new();
    let key = pair(&sshd, "key");
    user.authorize(&format!("{}\n", key.public));
    let target = sshd.for_proof(&user.name);
    let outcome = ask(&target, &user.name, &asked(&[&key.public]), &[]).await;
    assert_eq!(
        outcome.unknown,
        [(key.public.fingerprint(), Unknown::PublickeyNotOffered)]
    );
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn nothing_of_a_proof_stays_behind() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let key = pair(&sshd, "key");
    user.authorize(&format!("{}\n", key.public));
    let target = sshd.for_proof(&user.name);
    let gone: Vec<_> = random_keys(6).into_iter().map(Asked::plain).collect();
    let outcome = ask(&target, &user.name, &asked(&[&key.public]), &gone).await;
    assert_eq!(outcome.refused.len(), 6);
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 0);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn the_banner_of_a_real_sshd_has_a_version() {
    let sshd = Sshd::start("");
    let banner = proof::read_banner(sshd.address).await.unwrap();
    assert!(proof::sshd_version(&banner).is_some(), "{banner}");
}

/// What is configured may be another file than the one that sshd was started with.
#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn the_file_and_the_options_of_the_sshd_that_runs_are_asked_about() {
    let sshd = Sshd::start("");
    sshd.restarted_with(&["-o", "MaxAuthTries=3"]);
    let other = sshd.dir().join("other_config");
    let other_key = keygen(sshd.dir(), "other_key", "ed25519");
    let text = format!("MaxAuthTries 9\nHostKey {}\n", other_key.private.display());
    put(&other, &text, 0o600);
    let text = format!(
        "[agent]\n[certificates]\nsshd-config = \"{}\"\nhost-keys = []\n[[source]]\nname = \"a\"\n\
         file.path = \"/a\"\n[[target]]\nuser = \"root\"\nsources = [\"a\"]\n",
        other.display()
    );
    let agent = agent_from_str(&text, Path::new("/agent.toml"), &|_| None).unwrap();
    let found = in_force(sshd.address, &agent.sshd, "root").await;
    assert_eq!(
        (found.max_auth_tries, found.host_keys),
        (3, vec![sshd.host_key.clone()])
    );
    // Nobody answers there: what is configured is all there is.
    sshd.kill();
    let found = in_force(sshd.address, &agent.sshd, "root").await;
    assert_eq!(
        (found.max_auth_tries, found.host_keys),
        (9, vec![other_key.public])
    );
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn the_demo_client_logs_in_to_a_real_sshd() {
    let (sshd, user) = (Sshd::start(""), User::new());
    let (private, public) = random_key();
    user.authorize(&format!("{public}\n"));
    let login_now = || login(sshd.address, &sshd.host_key, &user.name, &private);
    assert_eq!(login_now().await.unwrap().exit_status, Some(0));
    user.authorize("");
    assert!(matches!(login_now().await, Err(LoginError::Refused)));
}

// ── no sshd, or none that speaks ─────────────────────────────────────────────────────────────────

fn target(address: std::net::SocketAddr, host_key: PublicKey) -> proof::Sshd {
    proof::Sshd {
        address,
        host_keys: vec![host_key],
        max_auth_tries: 6,
        several_methods: false,
        algorithms: proof::Algorithms::default(),
    }
}

#[tokio::test]
async fn nothing_listens() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (_, key) = random_key();
    let outcome = ask(&target(address, key.clone()), "x", &asked(&[&key]), &[]).await;
    assert_eq!(outcome.unknown, [(key.fingerprint(), Unknown::NoSshd)]);
    assert_eq!(proof::read_banner(address).await, None);
}

#[tokio::test]
async fn a_listener_that_never_answers_costs_the_limits_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = random_keys(3);
    let limits = Limits {
        handshake: Duration::from_millis(50),
        ..Limits::STANDARD
    };
    let target = target(listener.local_addr().unwrap(), keys[0].clone());
    let here = asked(&[&keys[0], &keys[1], &keys[2]]);
    let question = Question {
        user: "x",
        expect_accepted: &here,
        ..Question::default()
    };
    let mut budget = RefusalBudget::new();
    let outcome = prove_within(&target, &question, &mut budget, now(), &limits).await;
    assert_eq!(outcome.unknown.len(), 3);
    assert!(outcome.unknown.iter().all(|(_, w)| *w == Unknown::Timeout));
    assert_eq!(outcome.banner, None);
}

#[tokio::test]
async fn a_listener_that_hangs_up_is_a_disconnect() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let (_, key) = random_key();
    let outcome = ask(&target(address, key.clone()), "x", &asked(&[&key]), &[]).await;
    assert_eq!(
        outcome.unknown,
        [(key.fingerprint(), Unknown::Disconnected)]
    );
}

/// Speaks SSH, and says nothing to a key.
struct Silent;

impl server::Handler for Silent {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        _offer: server::PublicKeyOffer<'_>,
    ) -> Result<server::Auth, russh::Error> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn an_sshd_that_says_nothing_to_a_key_is_left_after_two_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (private, public) = random_key();
    let config = Arc::new(server::Config {
        keys: vec![private],
        ..server::Config::default()
    });
    let target = target(listener.local_addr().unwrap(), public);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let running = server::run_stream(config.clone(), stream, Silent);
            tokio::spawn(async move { running.await?.await });
        }
    });
    let here: Vec<_> = random_keys(4).into_iter().map(Asked::plain).collect();
    let question = Question {
        user: "x",
        expect_accepted: &here,
        ..Question::default()
    };
    let limits = Limits {
        key: Duration::from_millis(20),
        ..Limits::STANDARD
    };
    let mut budget = RefusalBudget::new();
    let outcome = prove_within(&target, &question, &mut budget, now(), &limits).await;
    assert_eq!(outcome.unknown.len(), 4);
    assert!(outcome.unknown.iter().all(|(_, w)| *w == Unknown::Timeout));
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_handshake_that_stops_half_way_leaves_no_task() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Held open until the end of the test: only our own side may hang up.
    let held = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-half\r\n").unwrap();
        stream
    });
    let (_, key) = random_key();
    let here = asked(&[&key]);
    let question = Question {
        user: "x",
        expect_accepted: &here,
        ..Question::default()
    };
    let limits = Limits {
        handshake: Duration::from_millis(100),
        ..Limits::STANDARD
    };
    let target = target(address, key.clone());
    let mut budget = RefusalBudget::new();
    let outcome = prove_within(&target, &question, &mut budget, now(), &limits).await;
    assert_eq!(outcome.unknown, [(key.fingerprint(), Unknown::Timeout)]);
    let metrics = tokio::runtime::Handle::current().metrics();
    let ended = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("russh's task ends with its socket");
    drop(held.join().unwrap());
}

// ── the demo's server ────────────────────────────────────────────────────────────────────────────

struct Demo {
    server: SshServer,
    file: tempfile::NamedTempFile,
    _stop: oneshot::Sender<()>,
}

impl Demo {
    async fn start() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = SshServer::start(file.path().to_owned(), now, shutdown)
            .await
            .unwrap();
        Self {
            server,
            file,
            _stop: stop,
        }
    }

    fn authorize(&self, text: &str) {
        rewrite(self.file.path(), text);
    }

    fn for_proof(&self) -> proof::Sshd {
        target(self.server.address, self.server.host_key.clone())
    }
}

fn rewrite(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn the_demo_server_answers_the_proof() {
    let demo = Demo::start().await;
    let keys = random_keys(12);
    demo.authorize(&format!("{} x\nno-pty {}\n", keys[0], keys[1]));
    let sshd = demo.for_proof();
    let gone: Vec<_> = keys[1..].iter().cloned().map(Asked::plain).collect();
    let outcome = ask(&sshd, "anyone", &asked(&[&keys[0]]), &gone).await;
    assert_eq!(outcome.accepted, [keys[0].fingerprint()]);
    assert_eq!(outcome.still_accepted, [keys[1].fingerprint()]);
    assert_eq!(outcome.refused.len(), proof::REFUSALS_A_MINUTE);
    assert!(outcome.unknown.iter().all(|(_, w)| *w == Unknown::Budget));
    assert!(outcome.banner.unwrap().starts_with("SSH-2.0-sshkeyd"));

    let mut stranger = sshd.clone();
    stranger.host_keys = vec![keys[2].clone()];
    let outcome = ask(&stranger, "anyone", &asked(&[&keys[0]]), &[]).await;
    assert!(outcome.is_wrong_host());
}

#[tokio::test]
async fn the_budget_outlives_a_proof() {
    let demo = Demo::start().await;
    let keys = random_keys(8);
    demo.authorize("");
    let here: Vec<_> = keys.iter().cloned().map(Asked::plain).collect();
    let question = Question {
        user: "anyone",
        expect_refused: &here,
        can_log_in: true,
        ..Question::default()
    };
    let mut budget = RefusalBudget::new();
    let sshd = demo.for_proof();
    let outcome = prove(&sshd, &question, &mut budget, now()).await;
    assert_eq!((outcome.refused.len(), outcome.unknown.len()), (6, 2));
    let outcome = prove(&sshd, &question, &mut budget, now()).await;
    assert_eq!((outcome.refused.len(), outcome.unknown.len()), (0, 8));
    let later = budget.room_at(now()) + jiff::SignedDuration::from_secs(10);
    let outcome = prove(&sshd, &question, &mut budget, later).await;
    assert_eq!((outcome.refused.len(), outcome.unknown.len()), (6, 2));
}

#[tokio::test]
async fn the_demo_client_logs_in_while_its_key_is_in_the_file() {
    let demo = Demo::start().await;
    let (private, public) = random_key();
    let (address, host_key) = (demo.server.address, &demo.server.host_key);
    demo.authorize("");
    let refused = login(address, host_key, "anyone", &private).await;
    assert!(matches!(refused, Err(LoginError::Refused)), "{refused:?}");

    demo.authorize(&format!("{public}\n"));
    let login_now = login(address, host_key, "anyone", &private).await.unwrap();
    assert_eq!(
        login_now.output,
        format!("you are in, by key {}\n", public.fingerprint())
    );
    assert_eq!(login_now.exit_status, Some(0));
    let stranger = login(address, &public, "anyone", &private).await;
    assert!(matches!(stranger, Err(LoginError::WrongHost)));

    demo.authorize(&format!("expiry-time=\"20200101Z\" {public}\n"));
    let expired = login(address, host_key, "anyone", &private).await;
    assert!(matches!(expired, Err(LoginError::Refused)));
}

#[tokio::test]
async fn the_demo_server_hangs_up_on_one_connection_too_many() {
    let demo = Demo::start().await;
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = tokio::net::TcpStream::connect(demo.server.address)
            .await
            .unwrap();
        // It greets, so it counts this one.
        stream.read_exact(&mut [0; 4]).await.unwrap();
        held.push(stream);
    }
    assert_eq!(proof::read_banner(demo.server.address).await, None);
    held.pop();
    // Room is made when the server notices, which only another attempt can show.
    let room = async {
        while proof::read_banner(demo.server.address).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), room)
        .await
        .expect("a connection that ended makes room");
}

#[tokio::test]
async fn the_demo_server_stops_when_it_is_told_to() {
    let Demo {
        server,
        file: _file,
        _stop: stop,
    } = Demo::start().await;
    let held = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(proof::read_banner(server.address).await, None);
    drop(held);
}

#[tokio::test]
#[ignore = "needs OpenSSH's ssh; tests/run includes it"]
async fn openssh_logs_in_to_the_demo_server() {
    let demo = Demo::start().await;
    let dir = tempfile::tempdir().unwrap();
    for key_type in ["ed25519", "rsa", "ecdsa"] {
        let key = keygen(dir.path(), key_type, key_type);
        demo.authorize(&format!("{}\n", key.public));
        let mut ssh = std::process::Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-tt",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-i"])
        .arg(&key.private)
        .args([
            "-p",
            &demo.server.address.port().to_string(),
            "anyone@127.0.0.1",
        ])
        .stdin(std::process::Stdio::null());
        let output = tokio::task::spawn_blocking(move || ssh.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{key_type}: {output:?}");
        assert!(
            said.contains(&key.public.fingerprint().to_string()),
            "{said}"
        );
    }
}

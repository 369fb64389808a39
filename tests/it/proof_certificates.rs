//! What a real sshd, 9.2's and 10's, says when it is asked about certificates, and that a real login
//! says the same.

use crate::support::authority::Authority;
use crate::support::host::Host;
use crate::support::logins::LoggedSshd;
use crate::support::sshd::{KeyPair, Sshd, User, keygen};
use jiff::Timestamp;
use sshkeyd::sinks::proof::{self, Asked, Outcome, Question, RefusalBudget, Unknown, prove};
use sshkeyd::sys::clock;
use sshkeyd::trust::Certificate;

/// A user whom certificates of a CA let in.
struct Bed {
    authority: Authority,
    user: User,
    sshd: Sshd,
    budget: RefusalBudget,
}

impl Bed {
    fn new(more: &str) -> Self {
        Self::of(Authority::new(), more)
    }

    fn of(authority: Authority, more: &str) -> Self {
        let (user, lines) = (User::new(), authority.lines());
        authority.admit(&user.name);
        Self {
            sshd: Sshd::start(&format!("{lines}\n{more}")),
            authority,
            user,
            budget: RefusalBudget::new(),
        }
    }

    fn key(&self, name: &str) -> KeyPair {
        keygen(self.sshd.dir(), name, "ed25519")
    }

    fn certify(&self, name: &str, more: &[&str]) -> (KeyPair, Asked) {
        let key = self.key(name);
        let made = self.authority.certify(&key, name, 5, more);
        let asked = asked(&made);
        (key, asked)
    }

    async fn ask(&mut self, here: &[Asked], gone: &[Asked], can_log_in: bool) -> Outcome {
        let question = Question {
            user: &self.user.name,
            expect_accepted: here,
            expect_refused: gone,
            can_log_in,
            ..Question::default()
        };
        let sshd = self.sshd.for_proof(&self.user.name);
        prove(&sshd, &question, &mut self.budget, now()).await
    }
}

fn now() -> Timestamp {
    clock::now()
}

fn asked(made: &Certificate) -> Asked {
    Asked::certificate(made, now()).unwrap()
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_certificate_is_accepted_and_refused_once_it_is_revoked_as_a_login_shows() {
    let mut bed = Bed::new("");
    let ((live, a), (dead, b)) = (bed.certify("live", &[]), bed.certify("dead", &[]));
    let outcome = bed.ask(&[a.clone(), b.clone()], &[], false).await;
    assert_eq!(outcome.accepted, [a.fingerprint(), b.fingerprint()]);
    assert!(bed.sshd.lets_in(&bed.user, &live.private));
    assert!(bed.sshd.lets_in(&bed.user, &dead.private));
    assert!(outcome.can_log_in());

    bed.authority.revoke_ids(2, &["dead"]);
    let (here, gone) = ([a.clone()], [b.clone()]);
    let outcome = bed.ask(&here, &gone, false).await;
    assert_eq!(outcome.accepted, [a.fingerprint()]);
    assert_eq!(outcome.refused, [b.fingerprint()], "{outcome:?}");
    assert!(bed.sshd.lets_in(&bed.user, &live.private));
    assert!(!bed.sshd.lets_in(&bed.user, &dead.private));
    // Questions log nobody in.
    let accepted = bed.sshd.log().matches("Accepted publickey").count();
    assert_eq!(accepted, 3, "{}", bed.sshd.log());

    // Expected to be gone, and taken.
    bed.authority.revoke_ids(3, &[]);
    let outcome = bed.ask(&here, &gone, false).await;
    assert_eq!(outcome.still_accepted, [b.fingerprint()]);
}

/// Two over one key differ by their ID alone, as the service's probes do.
#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn two_certificates_over_one_key_have_each_its_own_answer() {
    let mut bed = Bed::new("");
    let key = bed.key("probe");
    let of = |id: &str| asked(&bed.authority.certify(&key, id, 7, &[]));
    let (live, dead) = (of("7/probe/live"), of("7/probe/41"));
    bed.authority.revoke_ids(41, &["7/probe/41"]);
    let outcome = bed
        .ask(
            std::slice::from_ref(&live),
            std::slice::from_ref(&dead),
            false,
        )
        .await;
    assert_eq!(outcome.accepted, [live.fingerprint()]);
    assert_eq!(outcome.refused, [dead.fingerprint()]);
    // The list of another number is in force.
    bed.authority.revoke_ids(42, &["7/probe/42"]);
    let outcome = bed
        .ask(
            std::slice::from_ref(&live),
            std::slice::from_ref(&dead),
            false,
        )
        .await;
    assert_eq!(outcome.still_accepted, [dead.fingerprint()]);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn keys_of_every_type_and_cas_of_every_type_are_asked_about() {
    for ca in ["rsa", "ecdsa"] {
        let mut bed = Bed::of(Authority::of_type(ca), "");
        let mut all = Vec::new();
        for key_type in ["ed25519", "rsa", "ecdsa"] {
            let key = keygen(bed.sshd.dir(), key_type, key_type);
            all.push(asked(&bed.authority.certify(&key, key_type, 1, &[])));
        }
        let outcome = bed.ask(&all, &[], false).await;
        assert_eq!(outcome.accepted.len(), 3, "{ca}: {outcome:?}");
    }
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn what_a_certificate_says_itself_explains_a_refusal_and_force_command_explains_none() {
    let mut bed = Bed::new("");
    let (_, plain) = bed.certify("plain", &[]);
    let (_, forced) = bed.certify("forced", &["-O", "force-command=/bin/false"]);
    let (far_key, far) = bed.certify("far", &["-O", "source-address=192.0.2.0/24"]);
    let (_, over) = bed.certify("over", &["-V", "-2h:-1h"]);
    let (_, early) = bed.certify("early", &["-V", "+1h:+2h"]);
    let (other_key, other) = bed.certify("other", &["-n", "account:8"]);
    let all = [plain, forced, far, over, early, other].to_vec();
    let [plain, forced, far, over, early, other] =
        [0, 1, 2, 3, 4, 5].map(|at: usize| all[at].fingerprint());
    let outcome = bed.ask(&all, &[], false).await;
    assert_eq!(outcome.accepted, [plain, forced]);
    assert_eq!(outcome.not_accepted, [other]);
    let unknown = [
        (far, Unknown::FromOption),
        (over, Unknown::Expired),
        (early, Unknown::Expired),
    ];
    assert_eq!(outcome.unknown, unknown);
    assert!(!bed.sshd.lets_in(&bed.user, &other_key.private));
    assert!(!bed.sshd.lets_in(&bed.user, &far_key.private));
    // A refusal that has another reason shows nothing of a list.
    let outcome = bed.ask(&all[..1], &all[2..5], false).await;
    assert_eq!(outcome.refused, []);
    assert_eq!(outcome.unknown, unknown);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn algorithms_that_sshd_leaves_out_are_told_from_a_refusal() {
    for more in [
        "PubkeyAcceptedAlgorithms ssh-ed25519,rsa-sha2-512",
        "PubkeyAcceptedAlgorithms -*-cert-v01@openssh.com",
        "CASignatureAlgorithms rsa-sha2-512",
    ] {
        let mut bed = Bed::new(more);
        let key = bed.key("own");
        bed.user.authorize(&format!("{}\n", key.public));
        let (_, a) = bed.certify("a", &[]);
        let (_, b) = bed.certify("b", &[]);
        let here = [Asked::plain(key.public.clone()), a.clone()];
        let outcome = bed.ask(&here, std::slice::from_ref(&b), false).await;
        assert_eq!(outcome.accepted, [key.public.fingerprint()], "{more}");
        let unknown = [
            (a.fingerprint(), Unknown::Algorithm),
            (b.fingerprint(), Unknown::Algorithm),
        ];
        assert_eq!(outcome.unknown, unknown, "{more}");
    }
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn a_certificate_that_is_refused_alone_proves_nothing() {
    let mut bed = Bed::new("");
    let (_, dead) = bed.certify("dead", &[]);
    bed.authority.revoke_ids(2, &["dead"]);
    let gone = [dead.clone()];
    let outcome = bed.ask(&[], &gone, false).await;
    let nobody = [(dead.fingerprint(), Unknown::UserCannotLogIn)];
    assert_eq!(outcome.unknown, nobody);
    let outcome = bed.ask(&[], &gone, true).await;
    assert_eq!(outcome.refused, [dead.fingerprint()]);
    // Who listens there is another's sshd, for all that is known.
    let mut sshd = bed.sshd.for_proof(&bed.user.name);
    sshd.host_keys = vec![bed.key("other_host").public];
    let question = Question {
        user: &bed.user.name,
        expect_refused: &gone,
        can_log_in: true,
        ..Question::default()
    };
    let outcome = prove(&sshd, &question, &mut bed.budget, now()).await;
    assert!(outcome.is_wrong_host() && outcome.refused.is_empty());

    let methods = "AuthenticationMethods publickey,password\nPasswordAuthentication yes";
    let mut bed = Bed::new(methods);
    let (_, live) = bed.certify("live", &[]);
    let outcome = bed.ask(std::slice::from_ref(&live), &[], true).await;
    let several = [(live.fingerprint(), Unknown::SeveralMethods)];
    assert_eq!(outcome.unknown, several);
}

#[tokio::test]
#[ignore = "needs a real sshd; tests/run includes it"]
async fn refused_certificates_and_keys_share_the_minutes_refusals() {
    let mut bed = Bed::new("");
    let (_, live) = bed.certify("live", &[]);
    let names = ["a", "b", "c", "d"];
    let mut gone: Vec<Asked> = names.map(|name| bed.certify(name, &[]).1).to_vec();
    bed.authority.revoke_ids(2, &names);
    gone.extend(["e", "f", "g"].map(|name| Asked::plain(bed.key(name).public)));
    let outcome = bed.ask(std::slice::from_ref(&live), &gone, false).await;
    assert_eq!(outcome.accepted, [live.fingerprint()]);
    assert_eq!(outcome.refused.len(), proof::REFUSALS_A_MINUTE);
    let last = [(gone[6].fingerprint(), Unknown::Budget)];
    assert_eq!(outcome.unknown, last);
}

#[tokio::test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
async fn openssh_10_says_the_same_of_certificates() {
    let (authority, user) = (Authority::new(), User::new());
    authority.admit(&user.name);
    let sshd = LoggedSshd::start_openssh_10(&authority.lines());
    sshd.admit(&user);
    let host = sshd
        .asked_by(Host::new())
        .with_file("keys")
        .with_target(&user, "keys", "");
    let config = sshkeyd::config::agent_from_str(&host.toml(), &host.config, &|_| None).unwrap();
    let known = sshkeyd::sinks::sshd::in_force(sshd.address, &config.sshd, &user.name).await;
    let of = |name: &str| {
        let key = sshd.pair(name);
        let made = authority.certify(&key, name, 1, &[]);
        (key, asked(&made))
    };
    let ((live_key, live), (dead_key, dead)) = (of("live"), of("dead"));
    authority.revoke_ids(2, &["dead"]);
    let (here, gone) = ([live.clone()], [dead.clone()]);
    let question = Question {
        user: &user.name,
        expect_accepted: &here,
        expect_refused: &gone,
        ..Question::default()
    };
    let outcome = prove(&known, &question, &mut RefusalBudget::new(), now()).await;
    assert_eq!(outcome.accepted, [live.fingerprint()], "{outcome:?}");
    assert_eq!(outcome.refused, [dead.fingerprint()]);
    for (key, gets_in) in [(&live_key, true), (&dead_key, false)] {
        let mut login = sshd.openssh("ssh", key);
        let login = login.args([&format!("{}@127.0.0.1", user.name), "true"]);
        assert_eq!(login.output().unwrap().status.success(), gets_in);
    }
}

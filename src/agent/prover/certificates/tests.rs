//! What is said to be proved: what sshd has said for every user, of what is in force, and no more.

use super::*;
use crate::trust::Signer;
use jiff::Timestamp;

fn users(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn in_force(krl: Option<u64>) -> InForce {
    InForce {
        account: 3,
        cas: vec![Signer::from_seed(&[1; 32]).public()],
        krl,
    }
}

fn good() -> Word {
    Word {
        accepted: vec![in_force(None).cas[0].fingerprint()],
        refuses: true,
        at: "2026-11-22T19:00:00Z".parse().unwrap(),
        ..Word::default()
    }
}

fn say(known: &mut Certificates, user: &str, word: Result<Word, NoProbe>) {
    known.queue.remove(user);
    known.take(Heard {
        user: user.to_owned(),
        in_force: known.in_force.clone(),
        checked: Checked::default(),
        word,
        banner: None,
    });
}

fn told(known: &Certificates) -> CertificatesStatus {
    let mut status = CertificatesStatus::default();
    known.tell(&mut status, None);
    status
}

fn asked(krl: Option<u64>, names: &[&str]) -> Certificates {
    let mut known = Certificates::default();
    known.take_in_force(&in_force(krl), users(names));
    assert_eq!(known.queue, users(names));
    known
}

#[test]
fn what_holds_for_every_user_is_proved() {
    let mut known = asked(Some(7), &["al", "bo"]);
    say(&mut known, "al", Ok(good()));
    let half = told(&known);
    assert_eq!((half.proved_ca, half.proved_krl), (vec![], None));
    say(&mut known, "bo", Ok(good()));
    let whole = told(&known);
    assert_eq!((whole.proved_ca.len(), whole.proved_krl), (1, Some(7)));
    assert_eq!(whole.proved_at, Some(good().at));
    assert_eq!(whole.unproved, None);
    assert!(known.findings().is_empty() && known.again_at.is_none());

    // Another list: that the CA is trusted stays true, and everybody is asked again.
    known.take_in_force(&in_force(Some(8)), users(&["al", "bo"]));
    let next = told(&known);
    assert_eq!((next.proved_ca.len(), next.proved_krl), (1, None));
    assert_eq!(known.queue, users(&["al", "bo"]));
    // An answer about the one before counts for nothing.
    known.take(Heard {
        user: "al".to_owned(),
        in_force: in_force(Some(7)),
        checked: Checked::default(),
        word: Ok(good()),
        banner: None,
    });
    assert_eq!(told(&known).proved_krl, None);
    say(&mut known, "al", Ok(good()));
    say(&mut known, "bo", Ok(good()));
    assert_eq!(told(&known).proved_krl, Some(8));
    // Another CA: nothing of before holds.
    let mut other = in_force(Some(8));
    other.cas.push(Signer::from_seed(&[2; 32]).public());
    known.take_in_force(&other, users(&["al", "bo"]));
    assert_eq!(told(&known).proved_ca, Vec::<String>::new());
}

#[test]
fn what_sshd_says_against_us_is_a_condition_of_its_own() {
    let mut known = asked(Some(7), &["al", "bo"]);
    say(&mut known, "bo", Ok(good()));
    let ca = good().accepted;
    say(
        &mut known,
        "al",
        Ok(Word {
            refuses: false,
            still_accepted: ca.clone(),
            ..good()
        }),
    );
    let findings = known.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, Code::CertificateStillAccepted);
    assert!(findings[0].text.contains("number 7"), "{findings:?}");
    let status = told(&known);
    assert_eq!((status.proved_ca.len(), status.proved_krl), (1, None));
    assert_eq!(status.unproved.as_deref(), Some("still-accepted"));
    say(
        &mut known,
        "al",
        Ok(Word {
            accepted: Vec::new(),
            not_accepted: ca,
            refuses: false,
            ..good()
        }),
    );
    assert_eq!(known.findings()[0].code, Code::CertificateNotAccepted);
    assert_eq!(told(&known).unproved.as_deref(), Some("not-accepted"));
}

#[test]
fn what_passes_is_asked_again_and_an_older_service_is_left_alone() {
    let mut known = asked(Some(7), &["al", "bo"]);
    say(&mut known, "al", Err(NoProbe::NotOffered));
    assert_eq!(told(&known).unproved.as_deref(), Some("no-probes"));
    assert!(known.again_at.is_none() && known.queue.is_empty());
    assert!(known.findings().is_empty());

    let mut known = asked(Some(7), &["al", "bo"]);
    say(&mut known, "al", Err(NoProbe::Offline));
    assert!(known.again_at.is_some() && known.queue.is_empty());
    known.ask_again(Instant::now() + ASK_AGAIN[2]);
    assert_eq!(known.queue, users(&["al", "bo"]));
    say(&mut known, "al", Ok(good()));
    let unknown = Word {
        refuses: false,
        unknown: Some("budget"),
        is_passing: true,
        ..good()
    };
    say(&mut known, "bo", Ok(unknown));
    assert_eq!(told(&known).unproved.as_deref(), Some("budget"));
    assert_eq!(known.findings()[0].code, Code::ProofUnknown);
    known.ask_again(Instant::now() + ASK_AGAIN[2]);
    assert_eq!(known.queue, users(&["bo"]));
}

#[test]
fn where_nobody_is_asked_it_says_why() {
    let mut known = Certificates::default();
    assert_eq!(told(&known), CertificatesStatus::default());
    let keys_alone = InForce {
        cas: Vec::new(),
        ..in_force(Some(7))
    };
    known.take_in_force(&keys_alone, users(&["al"]));
    assert_eq!(told(&known).unproved.as_deref(), Some("no-user-ca"));
    let mut status = CertificatesStatus::default();
    asked(None, &["al"]).tell(&mut status, Some("verify-off"));
    assert_eq!(status.unproved.as_deref(), Some("verify-off"));
    assert_eq!(
        told(&asked(None, &[])).unproved.as_deref(),
        Some("no-target")
    );
    let names: Vec<String> = (0..40).map(|n| format!("u{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut known = Certificates::default();
    known.take_in_force(&in_force(None), users(&names));
    assert_eq!(known.queue.len(), MAX_USERS);
    for name in &names[..MAX_USERS] {
        say(&mut known, name, Ok(good()));
    }
    let status = told(&known);
    assert_eq!(status.unproved.as_deref(), Some("too-many-users"));
    assert_eq!(
        (status.proved_ca, status.proved_at),
        (vec![], None::<Timestamp>)
    );
}

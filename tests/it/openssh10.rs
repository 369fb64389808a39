//! What holds for the sshd of this machine holds for OpenSSH 10 too: another program for each
//! connection (`sshd-session`), another that asks for the key (`sshd-auth`), penalties by address.

use crate::sessions::{
    ALWAYS, Bed, Syslog, account_keeps, every_kind_ends, forged_lines_do_nothing,
    restarts_forget_nobody, roots_end_too, titles_tell_who_is_in,
};
use crate::support::host::{Host, read};
use crate::support::logins::LoggedSshd;
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::sshd::KeyPair;
use sshkeyd::wire::{Doctor, Level, OrderOutcome, RolloutState, State};

fn openssh_10(pam: &str) -> LoggedSshd {
    LoggedSshd::start_openssh_10(&format!("UsePAM {pam}"))
}

/// Logs in and out again; whether it got in, and what the client said.
fn login(bed: &Bed, key: &KeyPair) -> (bool, String) {
    let mut client = bed.open(key, &[], "true");
    let mut ended = None;
    wait_until("the login's end", || {
        ended = client.child.try_wait().unwrap();
        ended.is_some()
    });
    (ended.unwrap().success(), client.output())
}

fn lets_in(bed: &Bed, key: &KeyPair) -> bool {
    login(bed, key).0
}

fn keys_come_and_go(pam: &str) {
    let service = Service::start();
    let mut bed = account_keeps(Bed::of(openssh_10(pam), ""), &service, ALWAYS);
    let _socket = bed.syslog_socket();
    bed.host.up();
    bed.host.wait_listed();
    assert!(lets_in(&bed, &bed.own) && !lets_in(&bed, &bed.mine));
    let id = service.save(&bed.mine.public, "mine", &["--wait"]);
    assert_eq!(
        service.rollout(id).instances[0].state,
        RolloutState::Proved,
        "{:?}",
        bed.host.status()
    );
    assert!(lets_in(&bed, &bed.mine));
    let doctor = bed.host.run(&["doctor", &bed.user.name, "--json"]).done();
    let doctor: Doctor = doctor.json();
    let said = |f: &&sshkeyd::wire::DoctorFinding| f.check == "listening";
    let listening = doctor.reports[0].findings.iter().find(said).unwrap();
    assert!(listening.what.contains("OpenSSH_10."), "{listening:?}");
    let wrong = |f: &sshkeyd::wire::DoctorFinding| f.level == Level::Problem;
    assert!(!doctor.reports[0].findings.iter().any(wrong), "{doctor:?}");

    service.delete(id);
    let fingerprint = bed.mine.public.fingerprint().to_string();
    bed.host.wait_status("sshd's refusal", |status| {
        let proof = status.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused.contains(&fingerprint))
    });
    let (entered, said) = login(&bed, &bed.mine);
    assert!(
        !entered && said.contains("Permission denied (publickey)"),
        "{said}"
    );

    service.save(&bed.stays.public, "short", &["--expires", "6s", "--wait"]);
    let text = read(&bed.user.authorized_keys());
    assert!(text.contains("Z\" ssh-ed25519 "), "{text}");
    assert!(lets_in(&bed, &bed.stays), "{text}");
    // sshd's own end of it: nobody takes the line out.
    bed.host.kill();
    wait_until("the key's end", || !lets_in(&bed, &bed.stays));
    assert_eq!(read(&bed.user.authorized_keys()), text);
    assert!(lets_in(&bed, &bed.own));
    bed.host.up();
    bed.host
        .wait_status("the line to go", |s| s.targets[0].managed.is_empty());
    assert_eq!(bed.host.status().state, State::Ok);
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn keys_come_and_go_on_openssh_10() {
    keys_come_and_go("no");
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn keys_come_and_go_on_openssh_10_under_pam() {
    keys_come_and_go("yes");
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn the_agents_questions_lock_nobody_out_who_comes_from_loopback() {
    // One failure is enough, and lasts.
    let harsh = "PerSourcePenalties authfail:600s noauth:600s min:1s max:600s";
    let mut bed = Bed::of(LoggedSshd::start_openssh_10(harsh), ALWAYS);
    bed.up();
    let mine = bed.mine.public.fingerprint().to_string();
    for _ in 0..2 {
        bed.take_out_mine();
        bed.host.wait_status("sshd's refusal", |status| {
            let proof = status.targets[0].proof.as_ref();
            proof.is_some_and(|proof| proof.refused.contains(&mine))
        });
        assert!(lets_in(&bed, &bed.own));
        let both = format!("{} a\n{} b\n", bed.mine.public, bed.stays.public);
        bed.host.write_file("keys", &both);
        bed.host.wait_status("sshd's yes", |status| {
            let proof = status.targets[0].proof.as_ref();
            proof.is_some_and(|proof| proof.accepted.contains(&mine))
        });
    }
    assert!(lets_in(&bed, &bed.own));
    // What this sshd does to an address that fails: somebody else's key, once.
    assert!(!lets_in(&bed, &bed.sshd.pair("nobodys")));
    wait_until("the penalty", || !lets_in(&bed, &bed.own));
    // The agent has addresses of its own.
    bed.take_out_mine();
    bed.host.wait_status("sshd's refusal", |status| {
        let proof = status.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused.contains(&mine))
    });
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn every_kind_of_session_of_openssh_10_ends_with_its_key() {
    every_kind_ends(openssh_10("no"));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn every_kind_of_session_of_openssh_10_ends_under_pam_too() {
    every_kind_ends(openssh_10("yes"));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn forged_lines_about_sessions_of_openssh_10_do_nothing() {
    forged_lines_do_nothing(openssh_10("yes"));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn sessions_of_openssh_10_from_before_the_agent_are_known() {
    restarts_forget_nobody(openssh_10("yes"));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn a_log_file_of_openssh_10_tells_who_is_in() {
    let mut bed = Bed::of(openssh_10("yes"), "");
    let log = Syslog::start(&bed).path();
    let before = bed.open(&bed.own, &[], "echo in; sleep 1000");
    wait_until("the login", || before.output().contains("in"));
    let lines = format!(
        "auth-log = \"{}\"\nend-on-revoke = \"always\"",
        log.display()
    );
    bed.host = std::mem::replace(&mut bed.host, Host::new()).with_sessions(&lines);
    bed.up();
    let mut mine = bed.open(&bed.mine, &["-tt"], "");
    let told = bed.wait_told(&[(&bed.own, 1), (&bed.mine, 1)]);
    assert!(told.iter().all(|session| session.unproved));
    assert!(read(&log).contains(" sshd-session["), "{}", read(&log));
    bed.take_out_mine();
    wait_until("the session to end", || !mine.is_up());
    bed.wait_told(&[(&bed.own, 1)]);
}

fn an_order_ends_exactly_those(pam: &str) {
    let service = Service::start();
    let sessions = "auth-log = \"syslog-socket\"";
    let mut bed = account_keeps(Bed::of(openssh_10(pam), ""), &service, sessions);
    let _socket = bed.syslog_socket();
    bed.host.up();
    bed.host.wait_listed();
    let id = service.save(&bed.mine.public, "mine", &["--wait"]);
    let mut theirs = [
        bed.open(&bed.mine, &[], "sleep 1000"),
        bed.open(&bed.mine, &["-tt"], ""),
        bed.open(&bed.mine, &["-N"], ""),
    ];
    let mut neighbours = [
        bed.open(&bed.own, &[], "sleep 1001"),
        bed.open(&bed.own, &["-tt"], ""),
        bed.open(&bed.own, &["-N"], ""),
    ];
    bed.wait_told(&[(&bed.mine, 3), (&bed.own, 3)]);
    let number = id.to_string();
    let delete = ["ssh-keys", "delete", &number, "--end-sessions", "--wait"];
    let said = service.run(&delete).done().out;
    assert!(said.contains("3 sessions ended"), "{said}");
    for client in &mut theirs {
        wait_until("the client's end", || !client.is_up());
    }
    let shown = theirs[1].output();
    assert!(shown.contains("sshkeyd: this session ends"), "{shown}");
    let end = service.rollout(id).instances[0].end_sessions.unwrap();
    assert_eq!(
        (end.outcome, end.ended, end.left),
        (OrderOutcome::Ended, 3, 0)
    );
    bed.wait_told(&[(&bed.own, 3)]);
    for client in &mut neighbours {
        assert!(client.is_up(), "{}", client.output());
    }
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn an_order_ends_sessions_of_openssh_10() {
    an_order_ends_exactly_those("no");
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn an_order_ends_sessions_of_openssh_10_under_pam() {
    an_order_ends_exactly_those("yes");
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn an_order_ends_roots_sessions_of_openssh_10() {
    roots_end_too(openssh_10("yes"));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn words_of_openssh_10_tell_who_is_in() {
    titles_tell_who_is_in(LoggedSshd::start_openssh_10(
        "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication yes",
    ));
}

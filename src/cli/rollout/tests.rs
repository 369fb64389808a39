//! When a wait is over, and what a person reads at its end.

use super::*;
use crate::client::canned::{Canned, Reply};
use crate::wire::{RolloutCounts, RolloutKrl};

fn on(id: i64, live: InstanceState, state: RolloutState, why: Option<&str>) -> RolloutInstance {
    RolloutInstance {
        instance: id,
        label: format!("web{id}"),
        instance_state: live,
        state,
        why: why.map(str::to_owned),
        offline_since: None,
        proved_after_ms: None,
        end_sessions: None,
        krl: None,
    }
}

fn picture(instances: Vec<RolloutInstance>) -> Rollout {
    Rollout {
        id: 7,
        fingerprint: "SHA256:x".to_owned(),
        revision: 1,
        counts: RolloutCounts::default(),
        end_sessions: None,
        krl_version: None,
        instances,
    }
}

fn reply(instances: Vec<RolloutInstance>) -> Reply {
    let headers = ["Content-Type: application/json", "ETag: \"e1\""];
    let body = serde_json::to_string(&picture(instances)).unwrap();
    Reply::new("200 OK", &headers, &body)
}

use InstanceState::{Live, Never, Offline, Stale};
use RolloutState::{Proved, Refused, Wanted, Written};

#[test]
fn only_a_proof_or_a_stated_reason_settles_a_live_instance() {
    let done = |instance| standing(&picture(vec![instance]), &[]).others.is_empty();
    assert!(done(on(1, Live, Proved, None)));
    assert!(done(on(1, Live, Written, Some("no-sshd"))));
    assert!(!done(on(1, Live, Written, None)));
    assert!(!done(on(1, Live, Wanted, None)));
    assert!(!done(on(1, Live, Wanted, Some("anything"))));
    assert!(!done(on(1, Live, Refused, Some("rejected"))));
}

#[test]
fn what_is_not_live_is_counted_and_not_waited_for() {
    let rollout = picture(vec![
        on(1, Live, Proved, None),
        on(2, Offline, Wanted, None),
        on(3, Stale, Wanted, None),
        on(4, Never, Wanted, None),
    ]);
    let all = standing(&rollout, &[]);
    assert!(all.others.is_empty());
    assert_eq!(summary(&all), "proved on 1 of 1, 3 not live");
    // Asked for by name it is waited for: nothing else would be.
    assert_eq!(standing(&rollout, &[2]).others.len(), 1);
    assert_eq!(standing(&rollout, &[1]).settled.len(), 1);
}

#[tokio::test]
async fn a_wait_ends_with_the_last_proof_and_says_each_step() {
    let server = Canned::plain(vec![
        Reply::new("503 Service Unavailable", &[], ""),
        reply(vec![on(1, Live, Wanted, None), on(2, Live, Wanted, None)]),
        Reply::new("304 Not Modified", &[], ""),
        reply(vec![on(1, Live, Proved, None), on(2, Live, Wanted, None)]),
        reply(vec![
            on(1, Live, Proved, None),
            on(2, Live, Written, Some("from-option")),
        ]),
    ])
    .await;
    let (mut out, seen) = Output::captured();
    let waited = wait(
        &Remote::of_test(&server.url),
        7,
        Duration::from_secs(60),
        &[],
        &mut out,
    )
    .await
    .unwrap();
    assert!(waited.settled);
    show_end(&waited, &[], &mut out);
    let steps = "proved on 0 of 2, 2 to come\nproved on 1 of 2, 1 to come\n\
                 proved on 1 of 2, 1 written without proof\n";
    assert_eq!(seen.err(), steps);
    let end = "proved on 1 of 2, 1 written without proof\n\
               instance 2 \"web2\": written, no proof: from-option\n";
    assert_eq!(seen.out(), end);
    let known = ["\"\"", "\"e1\"", "\"e1\""];
    for (request, known) in server.requests().await.iter().skip(1).zip(known) {
        assert!(
            request.starts_with("GET /v1/ssh-keys/7/rollout?wait=25 HTTP"),
            "{request}"
        );
        assert!(
            request.contains(&format!("if-none-match: {known}\r\n")),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_wait_that_runs_out_names_the_others() {
    let server = Canned::plain(vec![
        reply(vec![
            on(1, Live, Refused, Some("rsa-too-short")),
            on(2, Live, Wanted, None),
            on(3, Live, Proved, None),
        ]),
        Reply::raw("").then_hang(),
    ])
    .await;
    let (mut out, seen) = Output::captured();
    let within = Duration::from_millis(500);
    let waited = wait(&Remote::of_test(&server.url), 7, within, &[], &mut out)
        .await
        .unwrap();
    assert!(!waited.settled);
    show_end(&waited, &[], &mut out);
    let err = seen.err();
    assert!(
        err.contains("instance 1 \"web1\": refused: rsa-too-short\n"),
        "{err}"
    );
    assert!(err.contains("instance 2 \"web2\": wanted\n"), "{err}");
    assert!(!err.contains("web3"), "{err}");
}

#[tokio::test]
async fn what_waiting_cannot_mend_ends_it_at_once() {
    let server = Canned::plain(vec![Reply::new("404 Not Found", &[], "")]).await;
    let (mut out, _seen) = Output::captured();
    let within = Duration::from_secs(60);
    let failed = wait(&Remote::of_test(&server.url), 7, within, &[], &mut out)
        .await
        .err()
        .unwrap();
    assert!(failed.to_string().starts_with("not found"), "{failed}");

    let server = Canned::plain(vec![reply(vec![on(1, Live, Proved, None)])]).await;
    let failed = wait(&Remote::of_test(&server.url), 7, within, &[9], &mut out)
        .await
        .err()
        .unwrap();
    assert!(
        failed.to_string().contains("instance 9 is not to hold"),
        "{failed}"
    );
}

#[tokio::test]
async fn no_live_instance_is_done_at_once_and_says_so() {
    let server = Canned::plain(vec![reply(vec![on(1, Offline, Wanted, None)])]).await;
    let (mut out, seen) = Output::captured();
    let within = Duration::from_secs(60);
    assert!(
        wait(&Remote::of_test(&server.url), 7, within, &[], &mut out)
            .await
            .unwrap()
            .settled
    );
    assert_eq!(seen.err(), "proved on 0 of 0, 1 not live\n");
}

/// Outcome, ended, left.
type Said = Option<(OrderOutcome, u32, u32)>;

fn of_deleted(answers: &[(i64, InstanceState, Said)]) -> Rollout {
    let at = "2026-11-22T19:00:00Z".parse().unwrap();
    let instance = |(id, live, answer): &(i64, InstanceState, Said)| {
        let mut instance = on(*id, *live, Refused, Some("deleted"));
        instance.end_sessions = answer.map(|(outcome, ended, left)| RolloutEnd {
            outcome,
            ended,
            left,
            at,
        });
        instance
    };
    let mut rollout = picture(answers.iter().map(instance).collect());
    rollout.end_sessions = Some(crate::wire::RolloutOrder {
        id: 3,
        asked_at: at,
        until: at,
        open: true,
    });
    rollout
}

fn ended(rollout: Rollout, settled: bool) -> (bool, String, String) {
    let (mut out, seen) = Output::captured();
    let done = show_ended(&Waited { rollout, settled }, &mut out);
    (done, seen.out(), seen.err())
}

#[test]
fn the_end_of_sessions_is_settled_by_an_answer_and_by_nothing_else() {
    let answer = Some((OrderOutcome::None, 0, 0));
    let left =
        |answers: &[(i64, InstanceState, Said)]| standing(&of_deleted(answers), &[]).others.len();
    assert_eq!(left(&[(1, Live, None)]), 1);
    assert_eq!(left(&[(1, Live, answer)]), 0);
    assert_eq!(
        left(&[(1, Live, answer), (2, Stale, None), (3, Never, None)]),
        0
    );
}

#[test]
fn what_ended_is_said_instance_by_instance() {
    let all = of_deleted(&[
        (1, Live, Some((OrderOutcome::Ended, 2, 0))),
        (2, Live, Some((OrderOutcome::None, 0, 0))),
        (3, Offline, None),
    ]);
    let (done, out, err) = ended(all.clone(), true);
    let told = "2 sessions ended, 2 of 2 have answered, 1 not live\n\
                instance 1 \"web1\": 2 sessions ended\n\
                instance 2 \"web2\": no session of it\n";
    assert_eq!((done, out.as_str(), err.as_str()), (true, told, ""));
    let (mut out, seen) = Output::captured();
    show(&all, &mut out);
    let text = seen.out();
    assert!(
        text.contains("web1   live      deleted  2 sessions ended\n"),
        "{text}"
    );
    assert!(text.contains("web3   offline   deleted  -\n"), "{text}");
}

#[test]
fn sessions_that_are_left_are_not_done() {
    for (answer, words) in [
        (
            (OrderOutcome::Ended, 1, 1),
            "1 session ended, 1 session still there",
        ),
        ((OrderOutcome::NotMapped, 0, 0), "cannot tell whose key"),
        (
            (OrderOutcome::RefusedHere, 0, 0),
            "end-on-revoke = \"never\"",
        ),
    ] {
        let (done, out, err) = ended(of_deleted(&[(1, Live, Some(answer))]), true);
        assert!(!done && err.contains(words), "{err}");
        assert!(out.ends_with("1 could not end all\n"), "{out}");
    }
    let (done, _, err) = ended(of_deleted(&[(1, Live, None)]), false);
    assert!(
        !done && err.contains("instance 1 \"web1\": has not answered yet"),
        "{err}"
    );
}

#[test]
fn a_revocation_waits_for_the_list_too_and_says_where_there_is_none() {
    let answer = Some((OrderOutcome::Ended, 1, 0));
    let mut rollout = of_deleted(&[
        (1, Live, answer),
        (2, Live, answer),
        (3, Live, answer),
        (4, Live, answer),
        (5, Offline, None),
    ]);
    let list = |in_force, proved, why: Option<&str>| {
        let why = why.map(str::to_owned);
        Some(RolloutKrl {
            in_force,
            proved,
            why,
        })
    };
    let none = "not enforced here: its agent keeps no revocation list";
    let said = [
        list(true, true, None),
        list(true, false, None),
        list(false, false, Some(none)),
        list(false, false, None),
        list(false, false, Some(none)),
    ];
    for (instance, said) in rollout.instances.iter_mut().zip(said) {
        instance.krl = said;
    }
    assert_eq!(standing(&rollout, &[]).others.len(), 1);
    let (done, out, err) = ended(rollout.clone(), false);
    assert!(!done);
    let told = format!(
        "instance 1 \"web1\": 1 session ended; sshd refuses what the revocation list has\n\
         instance 2 \"web2\": 1 session ended; the revocation list is in force\n\
         instance 3 \"web3\": 1 session ended; {none}\n"
    );
    assert!(out.ends_with(&told), "{out}");
    assert_eq!(
        err,
        format!(
            "sshkeyd: instance 4 \"web4\": 1 session ended; the revocation list has not come \
             yet\ninstance 5 \"web5\": {none}\n"
        )
    );
    // It has come: all is done, and the others are said.
    rollout.instances[3].krl = list(true, true, None);
    let (done, _, err) = ended(rollout, true);
    assert!(done && err.starts_with("instance 5 "), "{err}");
}

//! How instances fade, and what is written of them.

use super::*;

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(s).unwrap()
}

fn board() -> Board {
    Board::new(Vec::new(), false)
}

fn status(state: State) -> Status {
    Status {
        version: "0".to_owned(),
        instance: None,
        state,
        sources: Vec::new(),
        targets: Vec::new(),
        certificates: None,
        sessions: Vec::new(),
        conditions: Vec::new(),
    }
}

#[test]
fn an_instance_fades_from_live_to_offline_and_a_clean_stop_says_so_at_once() {
    let board = board();
    let state = |s| board.look(1, true, at(s)).state;
    assert_eq!(state(0), InstanceState::Never);
    board.heard(1, at(1_000));
    assert_eq!(state(1_060), InstanceState::Live);
    assert_eq!(state(1_061), InstanceState::Stale);
    assert_eq!(state(1_300), InstanceState::Stale);
    assert_eq!(state(1_301), InstanceState::Offline);
    assert_eq!(state(500), InstanceState::Offline);
    board.report(
        (1, [1; 32]),
        (status(State::Ok), None),
        true,
        &[],
        at(2_000),
    );
    assert_eq!(state(2_000), InstanceState::Offline);
    board.heard(1, at(2_001));
    assert_eq!(state(2_001), InstanceState::Live);
}

#[test]
fn a_held_query_is_life_until_it_ends_but_not_after_a_stop() {
    let board = Arc::new(board());
    let held = board.hold(1, [1; 32], Arc::new(|| at(5_000)));
    assert_eq!(board.look(1, true, at(90_000)).state, InstanceState::Live);
    board.report(
        (1, [1; 32]),
        (status(State::Ok), None),
        true,
        &[],
        at(5_000),
    );
    drop(held);
    assert_eq!(board.look(1, true, at(5_000)).state, InstanceState::Offline);
    let late = board.hold(1, [1; 32], Arc::new(|| at(5_001)));
    assert_eq!(board.look(1, true, at(5_001)).state, InstanceState::Offline);
    drop(late);
    board.report(
        (1, [1; 32]),
        (status(State::Ok), None),
        false,
        &[],
        at(5_001),
    );
    assert_eq!(board.look(1, true, at(5_001)).state, InstanceState::Offline);
    let _next = board.hold(1, [2; 32], Arc::new(|| at(5_002)));
    assert_eq!(board.look(1, true, at(5_002)).state, InstanceState::Live);
}

#[test]
fn news_is_written_at_once_and_the_rest_once_a_minute() {
    let board = board();
    let report = |state, stop, s| {
        board
            .report((1, [1; 32]), (status(state), None), stop, &[], at(s))
            .is_some()
    };
    assert!(report(State::Ok, false, 100));
    assert!(!report(State::Ok, false, 130));
    assert!(report(State::Ok, false, 160));
    assert!(!report(State::Degraded, false, 160));
    assert!(report(State::Degraded, false, 161));
    assert!(report(State::Degraded, true, 161));
}

fn seen(s: i64, stopped: bool, state: State, proved: &str) -> Seen {
    Seen {
        instance: 1,
        at: Some(at(s)),
        stopped,
        next_in: 30,
        status: serde_json::to_string(&status(state)).ok(),
        device: None,
        proved: proved.to_owned(),
    }
}

#[test]
fn the_newer_word_stands_whichever_replica_heard_it() {
    let board = Arc::new(board());
    let look = |s| board.look(1, true, at(s));
    let run = (1, [1; 32]);
    board.report(run, (status(State::Ok), None), false, &[], at(100));
    board.take_in(vec![seen(99, true, State::Failing, "{}")]);
    assert_eq!(look(100).state, InstanceState::Live);
    assert_eq!(look(100).status.unwrap().state, State::Ok);
    board.take_in(vec![seen(400, false, State::Degraded, "{\"7\":[30,5]}")]);
    let there = look(460);
    assert_eq!(there.state, InstanceState::Live);
    assert_eq!(there.last_seen, Some(at(400)));
    assert_eq!(there.status.unwrap().state, State::Degraded);
    assert_eq!(there.proved, BTreeMap::from([(7, 30)]));
    assert_eq!(look(461).state, InstanceState::Stale);
    // It stops at the other one while a query of it is being ended here.
    let held = board.hold(1, [1; 32], Arc::new(|| at(470)));
    board.take_in(vec![seen(480, true, State::Degraded, "{}")]);
    drop(held);
    assert_eq!(look(480).state, InstanceState::Offline);
    // Started again, it comes here before the last word of the run before is read.
    board.heard(1, at(500));
    board.take_in(vec![seen(490, true, State::Degraded, "{}")]);
    assert_eq!(look(500).state, InstanceState::Live);
}

#[test]
fn each_heartbeat_that_is_due_is_written_where_others_read_it() {
    let board = Board::new(Vec::new(), true);
    let report = |s| board.report((1, [1; 32]), (status(State::Ok), None), false, &[], at(s));
    assert!(report(100).unwrap().is_news);
    assert!(report(110).is_none());
    assert!(!report(130).unwrap().is_news);
    assert!(!report(160).unwrap().is_news);
}

#[test]
fn an_instance_that_was_told_to_speak_seldom_is_live_for_longer() {
    let board = Board::new(
        vec![Seen {
            next_in: 300,
            ..seen(1_000, false, State::Ok, "{}")
        }],
        true,
    );
    let state = |s| board.look(1, true, at(s)).state;
    assert_eq!(state(1_600), InstanceState::Live);
    assert_eq!(state(1_601), InstanceState::Stale);
    assert_eq!(state(4_000), InstanceState::Stale);
    assert_eq!(state(4_001), InstanceState::Offline);
}

//! How instances fade, and what is written of them.

use super::*;

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(s).unwrap()
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
    let board = Board::default();
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
    let board = Arc::new(Board::default());
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
    let board = Board::default();
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

//! When a list counts as issued, and when it is signed again.

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

#[test]
fn at_least_half_of_its_life_is_always_left() {
    for account in [1, 2, 99, 123_456_789] {
        for ms in (0..10).map(|i| 1_790_000_000_000 + i * 9_999_999) {
            let (issued, turn) = issue(account, at(0), at(ms));
            assert!(issued <= at(ms) && at(ms) < turn);
            assert!(ms - issued.as_millisecond() < HALF_MS);
            assert_eq!(issue(account, at(0), issued), (issued, turn));
        }
    }
}

#[test]
fn a_change_is_issued_when_it_is_made() {
    let now = 1_790_000_000_000;
    let (turned, _) = issue(1, at(0), at(now));
    assert_eq!(issue(1, at(now - 1), at(now)).0, at(now - 1).max(turned));
    assert_eq!(issue(1, at(now + 1), at(now)).0, turned);
}

//! A million agents come back at once, in virtual time, by the schedule that the agent has.
//!
//! The service takes so many handshakes a second and refuses what comes above; what is refused waits
//! as the agent does. What is asserted is what whoever runs it is promised (docs/scale.md): nobody
//! comes all at once, and all are back in the time that is said there.

use sshkeyd::sync::{Backoff, RETRY_WITHIN, retry_within};
use std::time::Duration;

/// The waits of an account's source (`src/sources/account.rs`).
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// Handshakes a second that two cores take.
const TWO_CORES: u64 = 3_500;

/// Instants are counted in milliseconds, and kept for as long.
const END: usize = 900_000;

/// How many agents: a tenth without `--long`.
fn agents() -> u64 {
    if std::env::var_os("SSHKEYD_LONG").is_some() {
        1_000_000
    } else {
        100_000
    }
}

/// What is tried.
struct Storm {
    agents: u64,
    /// Over how long the service that holds them names.
    window: Duration,
    /// Handshakes a second that it takes when it is back.
    takes: u64,
    /// When it is back, by the clock of the first that were let go.
    back: Duration,
    /// Over how long they are let go: replicas do not stop at one moment.
    apart: Duration,
    /// What it says to those it refuses.
    retry_after: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
struct Came {
    /// The most attempts in a second from when the service is back.
    peak: u64,
    /// The most in a tenth of a second, times ten.
    sharp: u64,
    /// When the last one was back, after the service was.
    last: Duration,
    /// When all but one in a hundred were.
    most: Duration,
    attempts: u64,
}

impl Storm {
    /// `agents` of `replicas`, which two cores serve each.
    fn of(agents: u64, replicas: u64) -> Self {
        let held = usize::try_from(agents / replicas).unwrap();
        Self {
            agents,
            window: retry_within(held),
            takes: replicas * TWO_CORES,
            back: Duration::from_secs(2),
            apart: Duration::from_millis(500),
            retry_after: None,
        }
    }

    fn run(&self) -> Came {
        let schedule = Backoff::new(FIRST, MOST).within(self.window);
        let mut seed = 7u64;
        let mut unit = move || unit(&mut seed);
        let ms = |time: Duration| usize::try_from(time.as_millis()).unwrap();
        // Who tries at which millisecond, by the failures behind him.
        let mut due: Vec<Vec<u8>> = vec![Vec::new(); END];
        for _ in 0..self.agents {
            let gone = self.apart.mul_f64(unit());
            due[ms(gone + schedule.wait(1, None, unit()))].push(1);
        }
        let back = ms(self.back);
        let (mut tried, mut taken) = (vec![0u64; END], vec![0u64; END]);
        // A tenth of a second of its work may wait.
        let (mut room, most_room) = (0.0f64, self.takes as f64 / 10.0);
        for now in 0..END {
            if now >= back {
                room = (room + self.takes as f64 / 1000.0).min(most_room);
            }
            for failures in std::mem::take(&mut due[now]) {
                tried[now] += 1;
                if now >= back && room >= 1.0 {
                    room -= 1.0;
                    taken[now] += 1;
                    continue;
                }
                // A service that is not there says nothing.
                let said = self.retry_after.filter(|_| now >= back);
                let failures = failures.saturating_add(1);
                let next = now + ms(schedule.wait(failures.into(), said, unit()));
                if let Some(then) = due.get_mut(next) {
                    then.push(failures);
                }
            }
        }
        let all: u64 = taken.iter().sum();
        assert_eq!(all, self.agents, "not all were back in {END} ms");
        let within = |times: usize, counts: &[u64]| {
            let sums = counts.chunks(times).map(|chunk| chunk.iter().sum::<u64>());
            sums.max().unwrap()
        };
        let after = |count: u64| {
            let mut so_far = 0;
            let at = taken.iter().position(|n| {
                so_far += n;
                so_far >= count
            });
            Duration::from_millis(u64::try_from(at.unwrap() - back).unwrap())
        };
        Came {
            peak: within(1000, &tried[back..]),
            sharp: within(100, &tried[back..]) * 10,
            last: after(self.agents),
            most: after(self.agents - self.agents / 100),
            attempts: tried.iter().sum(),
        }
    }
}

/// SplitMix64: the same storm each time.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Shown with `--nocapture`: docs/scale.md has the table.
#[expect(
    clippy::print_stdout,
    reason = "the table of docs/scale.md is made by it"
)]
fn show(what: &str, storm: &Storm, came: &Came) {
    println!(
        "| {what} | {} | {} s | {} | {} | {:.0} s | {:.0} s | {:.1} |",
        storm.agents,
        storm.window.as_secs(),
        storm.takes,
        came.peak,
        came.most.as_secs_f64(),
        came.last.as_secs_f64(),
        came.attempts as f64 / storm.agents as f64,
    );
}

/// What comes evenly over the window, in a second.
fn even(storm: &Storm) -> f64 {
    storm.agents as f64 / storm.window.as_secs_f64()
}

#[test]
fn all_replicas_restart_and_nobody_stampedes() {
    for replicas in [4, 8] {
        let storm = Storm::of(agents(), replicas);
        let came = storm.run();
        show("all restart", &storm, &came);
        // Spread evenly: a second has its share and little more, were it looked at closely.
        assert!((came.peak as f64) < 1.2 * even(&storm), "{came:?}");
        assert!((came.sharp as f64) < 1.5 * even(&storm), "{came:?}");
        // The few that came before it was back take one more window.
        assert!(came.most <= RETRY_WITHIN, "{came:?}");
        assert!(came.last <= 2 * RETRY_WITHIN, "{came:?}");
    }
}

#[test]
fn what_is_let_go_over_half_a_minute_is_no_worse() {
    let storm = Storm {
        apart: Duration::from_secs(30),
        ..Storm::of(agents(), 4)
    };
    let came = storm.run();
    show("over 30 s", &storm, &came);
    assert!((came.peak as f64) < 1.2 * even(&storm), "{came:?}");
    assert!(came.last <= 2 * RETRY_WITHIN, "{came:?}");
}

#[test]
fn a_service_that_was_away_for_longer_than_a_window_is_not_run_over() {
    let storm = Storm {
        back: Duration::from_secs(400),
        ..Storm::of(agents(), 4)
    };
    let came = storm.run();
    show("away 400 s", &storm, &came);
    // Waits of 0 to W that go on: the next of each is nearer than evenly, by two.
    assert!((came.peak as f64) < 2.3 * even(&storm), "{came:?}");
    assert!(came.last <= 2 * RETRY_WITHIN, "{came:?}");
}

#[test]
fn half_of_the_replicas_take_all() {
    let whole = Storm::of(agents(), 4);
    let storm = Storm {
        takes: whole.takes / 2,
        ..whole
    };
    let came = storm.run();
    show("half come back", &storm, &came);
    assert!((came.peak as f64) < 1.5 * even(&storm), "{came:?}");
    assert!(came.last <= 3 * RETRY_WITHIN, "{came:?}");
}

#[test]
fn a_service_too_small_for_them_has_them_back_as_fast_as_it_can() {
    let whole = Storm::of(agents(), 4);
    // Half of what comes evenly.
    let takes = (even(&whole) / 2.0) as u64;
    let storm = Storm {
        takes,
        retry_after: Some(Duration::from_secs(5)),
        ..whole
    };
    let came = storm.run();
    show("too small", &storm, &came);
    let best = storm.agents as f64 / takes as f64;
    assert!((came.peak as f64) < 2.0 * even(&storm), "{came:?}");
    assert!(came.most.as_secs_f64() < 2.0 * best, "{came:?}");
    assert!(came.last.as_secs_f64() < 3.0 * best, "{came:?}");
}

/// That the simulation can tell: without a window all come in the first second.
#[test]
fn without_a_window_it_is_a_stampede() {
    let storm = Storm {
        window: Duration::ZERO,
        back: Duration::ZERO,
        ..Storm::of(agents(), 4)
    };
    let came = storm.run();
    show("no window", &storm, &came);
    assert!(came.peak > agents() / 2, "{came:?}");
}

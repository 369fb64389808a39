//! Ends sessions, and nothing else: what runs below each is listed first, then the connection's
//! monitor is told to end (never killed first: the connection survives that), then what is left.
//!
//! Nobody is signalled who was not looked at: each process is held by the kernel's handle from
//! before its number and start were read.

use super::map::Live;
use super::process::{Seen, look};
use crate::sys::processes::{self, Held, Signal, Stat, descendants};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// A line to the person, on a line of its own whatever stands there.
const WORDS: &str = "\r\nsshkeyd: this session ends: its key was taken out of the account\r\n";
/// sshd passes it on before it ends.
const READ_WITHIN: Duration = Duration::from_millis(25);
/// For the monitor to end, and for what is left to end in good order.
const WITHIN: Duration = Duration::from_secs(1);
/// For what is killed.
const KILLED_WITHIN: Duration = Duration::from_millis(500);
/// Looks for processes that were started meanwhile.
const ROUNDS: usize = 4;

/// What became of sessions that were to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// They are gone.
    pub ended: u32,
    /// They are still there.
    pub left: u32,
}

struct Victim {
    monitor: Held,
    below: Vec<Below>,
}

struct Below {
    held: Held,
    of_sshd: bool,
}

/// Ends these sessions, all at a time. One that is over, or whose number is another process's by
/// now, is left alone and not counted.
pub async fn end(sessions: &[Live]) -> Ended {
    let all = processes::all();
    let mut told = false;
    let mut victims = Vec::new();
    for live in sessions {
        let Ok(monitor) = Held::open(live.process) else {
            continue;
        };
        // Held since before this look: what is seen is what is held.
        if look(live.process.pid, live.login.from) != Some(Seen::of(live)) {
            continue;
        }
        let below = descendants(&all, &[live.process.pid]);
        told |= tell(&below);
        victims.push(Victim {
            monitor,
            below: hold(&below, &[]),
        });
    }
    if told {
        tokio::time::sleep(READ_WITHIN).await;
    }
    let mut ending = tokio::task::JoinSet::new();
    for victim in victims {
        if let Err(fault) = victim.monitor.signal(Signal::Terminate) {
            tracing::warn!(pid = victim.monitor.process.pid, %fault, "sshd was not signalled");
        }
        ending.spawn(victim.end());
    }
    let mut result = Ended::default();
    while let Some(gone) = ending.join_next().await {
        match gone {
            Ok(true) => result.ended += 1,
            Ok(false) | Err(_) => result.left += 1,
        }
    }
    result
}

/// Writes to each terminal below; whether there was one.
fn tell(below: &[Stat]) -> bool {
    let mut terminals = BTreeSet::new();
    for stat in below {
        let owner = processes::users_of(stat.process.pid).map(|(real, _)| real);
        if let (Some(pts), Some(owner)) = (stat.pts, owner) {
            terminals.insert((pts, owner));
        }
    }
    let written = terminals
        .into_iter()
        .filter(|(pts, owner)| processes::tell(*pts, *owner, WORDS).is_ok());
    written.count() > 0
}

/// Holds those that are not held yet; never this process nor the first of all.
fn hold(below: &[Stat], known: &[Below]) -> Vec<Below> {
    let us = std::process::id();
    let known: BTreeSet<_> = known.iter().map(|below| below.held.process).collect();
    below
        .iter()
        .filter(|stat| stat.process.pid > 1 && stat.process.pid != us)
        .filter(|stat| stat.parent != us && !known.contains(&stat.process))
        .filter_map(|stat| {
            let held = Held::open(stat.process).ok()?;
            let program = processes::program(stat.process.pid);
            Some(Below {
                of_sshd: program.is_some_and(|program| super::is_sshd(&program)),
                held,
            })
        })
        .collect()
}

impl Victim {
    /// Whether it is gone.
    async fn end(mut self) -> bool {
        gone_within(&[&self.monitor], WITHIN).await;
        for round in 0..ROUNDS {
            // Children of children that were born since; those of the dead are nobody's.
            let all = processes::all();
            let alive: Vec<u32> = self.alive().map(|held| held.process.pid).collect();
            let more = descendants(&all, &alive);
            let more = hold(&more, &self.below);
            self.below.extend(more);
            let left: Vec<&Held> = self.alive().filter(|held| !self.is_monitor(held)).collect();
            if left.is_empty() {
                break;
            }
            let (signal, wait) = match round {
                0 => (Signal::Terminate, WITHIN),
                _ => (Signal::Kill, KILLED_WITHIN),
            };
            for held in &left {
                if let Err(fault) = held.signal(signal) {
                    tracing::warn!(pid = held.process.pid, %fault, "a process was not signalled");
                }
            }
            gone_within(&left, wait).await;
        }
        let connection = self.below.iter().any(|b| b.of_sshd && !b.held.is_gone());
        if !self.monitor.is_gone() && !connection {
            // The connection's other half is gone: now it may be killed.
            let _ = self.monitor.signal(Signal::Kill);
            gone_within(&[&self.monitor], KILLED_WITHIN).await;
        }
        self.monitor.is_gone() && !connection
    }

    fn alive(&self) -> impl Iterator<Item = &Held> {
        let all = self.below.iter().map(|below| &below.held);
        [&self.monitor]
            .into_iter()
            .chain(all)
            .filter(|held| !held.is_gone())
    }

    fn is_monitor(&self, held: &Held) -> bool {
        held.process == self.monitor.process
    }
}

async fn gone_within(all: &[&Held], wait: Duration) {
    let gone = async {
        for held in all {
            // Where it cannot be waited for, the look afterwards says how it is.
            let _ = held.ended().await;
        }
    };
    let _ = timeout(wait, gone).await;
}

//! sshkeyd keeps the SSH keys of an account on each of its instances, and lets sshd itself say
//! whether they log in.
//!
//! This page is the map. The binary is `main.rs`: arguments in, exit code out.
//!
//! # Folders are layers
//!
//! A folder uses those on lower lines, never one on its own line or above. `tests/layering.rs`
//! reads the source and holds it so.
//!
//! ```text
//! cli       demo       what a person starts · the story that `sshkeyd demo` tells
//! agent     service    the two daemons; they share `wire`, and never name each other
//! sources   sinks      where keys come from · where they go, and what sshd says of them
//! client               the one HTTP client: TLS, limits, typed calls of our own API
//! config    sys        checked settings · the host: files, users, clock, signals, events
//! wire                 bodies that agent, service and people's tools exchange
//! sync                 decide, plan, render                             ┐
//! trust                signatures, pinned signers, the revision floor   │ pure
//! keys                 lines, options, files and lists of keys          ┘
//! ```
//!
//! Two notes to the lines. `cli/demo.rs` names `demo`, which stands beside it, and is the only file
//! that may. `wire` stands above `sync` and does not use it: agent and service convert a body at
//! their door.
//!
//! What is pure does no I/O, asks no clock, waits for nothing and writes no log; time, chance and
//! sshd's version are arguments. tokio begins at `sys`. One place each: reqwest in `client`, axum
//! and the database in `service`, nix, rustix and signal-hook in `sys`, notify in `sys/watch.rs`,
//! russh in `sinks/proof` and `demo`, anyhow in `cli` and `demo`, printing in `cli/output.rs`.
//!
//! # The path of a key
//!
//! It goes one way. [`agent`]'s `cycle.rs` is this list as one function; whoever wants to know what
//! can reach a user's file reads that one.
//!
//! ```text
//! bytes of a source, no more than max-size          sources
//!   │
//! a list: each key parsed, or left out with why     keys
//!   │
//! a decision: apply this, or hold, and why          sync::decide
//!   │
//! ── the turn: one at a time; once begun it is finished ──
//!   │
//! the file as it is now, read by handle             sinks
//!   │
//! a plan: what is added, removed and kept           sync::plan      nothing to do: no write
//!   │
//! the new bytes                                     sync::render
//!   │
//! stage, seal, exchange, fsync                      sys::atomic_file
//!   │
//! the proof: sshd takes the new, refuses the old    sinks::proof
//!   │
//! the report: status, conditions, heartbeat, rollout
//! ```
//!
//! A file event, a signal, the end of a held query, a timer: each becomes the same empty nudge, and
//! a nudge starts a cycle. Nothing but the cycle carries keys to a file.
//!
//! # Words of our own
//!
//! Each has one meaning. All other words are those of sshd(8) and its neighbours.
//!
//! | word | meaning |
//! |---|---|
//! | account | whose keys these are: a customer of the service, not a Unix user |
//! | instance | one rented machine of an account |
//! | local user | a Unix user on an instance |
//! | source | where an agent gets keys: a service's account, Vast.ai, any address, or a file |
//! | target | where an agent puts them: one local user's authorized_keys |
//! | snapshot | one signed, numbered state of all keys of an account |
//! | revision | the number of that state; it only grows |
//! | floor | the highest revision that an agent has applied; nothing below it is taken |
//! | proof | what the local sshd itself said about a key |
//! | nudge | "look again": a wake-up that carries nothing |
//! | cycle | one walk of the path above, for one target |
//! | hold | to leave a target as it is, for a named reason |
//! | condition | something that is wrong, by a fixed name, with what to do about it |
//! | foreign line | a line of authorized_keys that is not ours |

pub mod agent;
pub mod cli;
pub mod client;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod keys;
#[cfg(feature = "service")]
pub mod service;
pub mod sinks;
pub mod sources;
pub mod sync;
pub mod sys;
pub mod trust;
pub mod wire;

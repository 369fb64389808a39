//! Where keys go, and what sshd says of them.
//!
//! Owns the authorized_keys file of a user and the proof by sshd. Refuses to decide what a file is
//! to hold, and to speak with anybody but the local sshd.

mod authorized_keys;
pub mod proof;
pub mod sshd;

pub use authorized_keys::{Carry, KeysFile, LINGER, Read, SinkError};

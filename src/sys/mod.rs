//! The host: directories and files by handle, users, clock, lock, signals, systemd, file events,
//! other programs, the control socket.
//!
//! The one place for nix, rustix, signal-hook and notify, and the lowest one for tokio. Knows
//! nothing of keys, sources or targets, and decides nothing.

pub mod atomic_file;
pub mod clock;
pub mod command;
pub mod dir;
pub mod lock;
pub mod private_file;
pub mod signals;
pub mod socket;
pub mod systemd;
pub mod users;
pub mod watch;

//! The host: directories and files by handle, users, clock, lock, signals, systemd, file events,
//! other programs, processes, the control socket, the terminal.
//!
//! The one place for nix, rustix, signal-hook and notify, and the lowest one for tokio. Knows
//! nothing of keys, sources or targets, and decides nothing.

pub mod atomic_file;
pub mod clock;
pub mod command;
pub mod database_file;
pub mod datagrams;
pub mod dir;
pub mod follow;
pub mod inode;
pub mod journal;
pub mod listener;
pub mod lock;
pub mod memory_file;
pub mod open_files;
pub mod os;
pub mod own_dir;
pub mod own_file;
pub mod plain_file;
pub mod private_file;
pub mod processes;
pub mod published;
pub mod safe_path;
pub mod signals;
pub mod socket;
pub mod systemd;
pub mod tail;
pub mod terminal;
pub mod turn;
pub mod users;
pub mod watch;

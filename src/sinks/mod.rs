//! Where keys go, and what sshd says of them.
//!
//! Owns the authorized_keys file of a user, the index that sshd's command reads, the drop-in of
//! sshd's configuration and the files of certificates that it names, the proof by sshd, and live sessions. Refuses to decide what a file is to
//! hold or which session ends, and to speak with anybody but the local sshd.

mod authorized_keys;
pub mod doctor;
pub mod host_certificates;
pub mod keys_command;
mod keys_index;
pub mod own_file;
pub mod proof;
pub mod sessions;
pub mod sshd;
pub mod sshd_config;
pub mod sshd_trust;
pub mod strict_modes;

pub use authorized_keys::{Carry, KeysFile, LINGER, Read, SinkError};
pub use keys_index::{IndexFile, IndexRead};

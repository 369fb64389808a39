//! Host certificates: the keys that sshd serves, the files that it reads, and what it shows.
//!
//! Reads public halves of host keys only, and writes `DIRECTORY/host/…-cert.pub` (root's, 0644)
//! only after ssh-keygen(1) has read the same bytes. Some versions of sshd read these files for each
//! connection, others when they start and are reloaded; where one is missing they say so and go on
//! without it. Refuses to decide when a certificate is due, and to speak with the service.

mod check;
mod files;
mod served;

pub use check::{CheckError, check};
pub use files::{FilesError, HostFiles};
pub use served::{Served, served};

/// What a certificate's file is called after, by the type of its key: sshd has at most one host key
/// of a type. `None` for types that no certificate is asked for.
#[must_use]
pub fn name_of(key_type: &str) -> Option<&'static str> {
    Some(match key_type {
        "ssh-ed25519" => "ssh_host_ed25519_key",
        "ecdsa-sha2-nistp256" => "ssh_host_ecdsa_key",
        "ecdsa-sha2-nistp384" => "ssh_host_ecdsa384_key",
        "ecdsa-sha2-nistp521" => "ssh_host_ecdsa521_key",
        "ssh-rsa" => "ssh_host_rsa_key",
        _ => return None,
    })
}

/// Every name there is.
const NAMES: [&str; 5] = [
    "ssh_host_ed25519_key",
    "ssh_host_ecdsa_key",
    "ssh_host_ecdsa384_key",
    "ssh_host_ecdsa521_key",
    "ssh_host_rsa_key",
];

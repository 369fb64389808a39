//! What tests stand on.

pub(crate) mod host;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod service;
pub(crate) mod ssh;
pub(crate) mod sshd;

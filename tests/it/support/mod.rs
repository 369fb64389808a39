//! What tests stand on.

pub(crate) mod authority;
pub(crate) mod chromium;
pub(crate) mod host;
pub(crate) mod keys_user;
pub(crate) mod logins;
pub(crate) mod machine;
pub(crate) mod managed;
pub(crate) mod mounts;
pub(crate) mod openssh10;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod service;
pub(crate) mod ssh;
pub(crate) mod sshd;
pub(crate) mod told;
pub(crate) mod tree;
pub(crate) mod vastai;
pub(crate) mod web;

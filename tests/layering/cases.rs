//! Small sources that the checker must refuse, and some that it must let pass.

/// Where, what, and a part of what must be said of it.
pub(crate) const BAD: [(&str, &str, &str); 51] = [
    (
        "sync/plan.rs",
        "use crate::agent::Cycle;",
        "sync may not use agent",
    ),
    (
        "sync/plan.rs",
        "use crate::{keys::Entry, sys::clock};",
        "sync may not use sys",
    ),
    (
        "sync/plan.rs",
        "use crate::{keys::{Entry, Line}, sinks};",
        "sync may not use sinks",
    ),
    (
        "sync/plan.rs",
        "use crate::{\n  keys,\n  wire as w,\n};",
        "sync may not use wire",
    ),
    (
        "sync/plan.rs",
        "use super::super::wire::Status;",
        "sync may not use wire",
    ),
    (
        "sync/plan.rs",
        "use super::{super::{client::Http}};",
        "sync may not use client",
    ),
    (
        "sync/mod.rs",
        "use super::service::Store;",
        "sync may not use service",
    ),
    (
        "sync/plan/deep.rs",
        "use super::super::super::cli;",
        "sync may not use cli",
    ),
    (
        "sync/plan.rs",
        "mod inner { use super::super::super::cli; }",
        "sync may not use cli",
    ),
    (
        "sync/plan.rs",
        "fn f() { crate::agent::run(); }",
        "sync may not use agent",
    ),
    (
        "sync/plan.rs",
        "type T = Vec<crate::wire::Status>;",
        "sync may not use wire",
    ),
    (
        "sync/plan.rs",
        "fn f() { self::super::super::wire::x() }",
        "sync may not use wire",
    ),
    (
        "sync/plan.rs",
        "pub use crate::config::Config;",
        "sync may not use config",
    ),
    (
        "sync/plan.rs",
        "pub(in crate::config) fn f() {}",
        "sync may not use config",
    ),
    (
        "sync/plan.rs",
        "#[cfg(test)] mod tests { use crate::sys; }",
        "sync may not use sys",
    ),
    ("sync/plan.rs", "use crate as root;", "imports the root"),
    ("sync/plan.rs", "use crate::*;", "imports the root"),
    (
        "sync/plan.rs",
        "use crate::{self as root};",
        "imports the root",
    ),
    (
        "sync/plan.rs",
        "use super::super as root;",
        "imports the root",
    ),
    ("sync/plan.rs", "use super::super::*;", "imports the root"),
    (
        "sync/plan.rs",
        "use sshkeyd::agent;",
        "names sshkeyd::agent",
    ),
    ("sync/plan.rs", "extern crate reqwest;", "reqwest stands in"),
    (
        "wire/status.rs",
        "use crate::sync::Report;",
        "wire may not use sync",
    ),
    (
        "keys/line.rs",
        "use crate::trust::Ca;",
        "keys may not use trust",
    ),
    (
        "agent/mod.rs",
        "use crate::service::Hub;",
        "agent may not use service",
    ),
    (
        "service/mod.rs",
        "use crate::agent;",
        "service may not use agent",
    ),
    (
        "config/mod.rs",
        "use crate::sys::clock;",
        "config may not use sys",
    ),
    (
        "sinks/mod.rs",
        "use crate::sources;",
        "sinks may not use sources",
    ),
    ("cli/status.rs", "use crate::demo;", "cli may not use demo"),
    (
        "agent/mod.rs",
        "use crate::tools;",
        "tools, which stands on no layer",
    ),
    (
        "tools/mod.rs",
        "use crate::keys;",
        "folder tools stands on no layer",
    ),
    ("main.rs", "use sshkeyd::agent;", "names sshkeyd::agent"),
    (
        "keys/line.rs",
        "use std::{fmt, fs};",
        "std::fs in a pure folder",
    ),
    (
        "keys/line.rs",
        "use std::{fs::{self, File}};",
        "std::fs in a pure folder",
    ),
    (
        "keys/line.rs",
        "fn f() { ::std::fs::read(p) }",
        "std::fs in a pure folder",
    ),
    ("keys/line.rs", "use std as s;", "imports std whole"),
    (
        "trust/krl.rs",
        "fn f(i: std::net::IpAddr) {}",
        "std::net in a pure folder",
    ),
    (
        "sync/plan.rs",
        "fn f() { let t = time::Instant::now(); }",
        "Instant in a pure folder",
    ),
    (
        "sync/plan.rs",
        "use std::time::{Duration, SystemTime};",
        "SystemTime in a pure folder",
    ),
    (
        "sync/plan.rs",
        "pub async fn f() {}",
        "async in a pure folder",
    ),
    (
        "sync/plan.rs",
        "fn f() { tracing::info!(\"x\") }",
        "tracing in a pure folder",
    ),
    (
        "sync/schedule.rs",
        "fn f() { rand::rng() }",
        "rand in a pure folder",
    ),
    ("agent/mod.rs", "use reqwest::Client;", "reqwest stands in"),
    ("agent/mod.rs", "use nix::unistd;", "nix stands in"),
    ("sys/dir.rs", "use notify::Watcher;", "notify stands in"),
    ("sinks/doctor.rs", "use russh::client;", "russh stands in"),
    (
        "agent/mod.rs",
        "fn f() -> anyhow::Result<()> {}",
        "anyhow stands in",
    ),
    (
        "cli/status.rs",
        "fn f() { println!(\"x\") }",
        "println! stands in",
    ),
    (
        "demo/mod.rs",
        "fn f() { std::io::stdout().write_all(b) }",
        "stdout stands in",
    ),
    ("keys/line.rs", "include!(\"../sys/dir.rs\");", "include!"),
    (
        "keys/line.rs",
        "#[path = \"../sys/dir.rs\"] mod dir;",
        "#[path]",
    ),
];

/// Where, and what is nobody's fault.
pub(crate) const GOOD: [(&str, &str); 18] = [
    ("trust/snapshot.rs", "use crate::keys::PublicKey;"),
    (
        "sync/plan.rs",
        "use super::policy; use crate::{keys::{Entry, List}, trust::Signer};",
    ),
    (
        "sync/plan.rs",
        "// crate::agent println! async\n/* use std::fs; /* tokio */ */",
    ),
    (
        "sync/plan.rs",
        "/// std::fs::read is never called\nfn f() {}",
    ),
    (
        "sync/plan.rs",
        "const A: &str = \"use crate::agent; \\\" std::fs\"; const B: char = '\"';",
    ),
    (
        "sync/plan.rs",
        "const A: &str = r#\"crate::agent \" println!()\"#; fn f<'a>(x: &'a u8) {}",
    ),
    (
        "sync/plan.rs",
        "#[cfg(test)]\nmod tests { use super::*; use std::fs; fn f() { println!() } }",
    ),
    ("sync/plan.rs", "#[cfg(test)]\nuse std::fs;\nfn f() {}"),
    (
        "sync/plan.rs",
        "fn f(rand: u8, notify: bool) -> u8 { rand + u8::from(notify) }",
    ),
    ("sync/plan.rs", "pub(crate) fn f() {} pub(super) fn g() {}"),
    ("cli/demo.rs", "use crate::demo; use anyhow::Result;"),
    (
        "cli/output.rs",
        "fn f() { println!(\"x\"); let s = std::io::stdout(); }",
    ),
    (
        "demo/mod.rs",
        "use crate::{agent, service}; use russh::server;",
    ),
    ("sinks/proof/session.rs", "use russh::client;"),
    ("sys/watch.rs", "use notify::Watcher;"),
    (
        "agent/mod.rs",
        "fn f(c: &mut Command) { c.stdout(Stdio::piped()); x.notify.notify_one(); }",
    ),
    (
        "main.rs",
        "fn main() { sshkeyd::client::install_crypto(); sshkeyd::cli::run(a) }",
    ),
    ("lib.rs", "pub mod cli; pub mod keys;"),
];

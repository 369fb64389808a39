//! A reload for the sake of files that sshd reads at a reload only, with the same looks before and
//! after as any other change.

use super::daemon::Daemon;
use super::look::{BACK_WITHIN, Before, Witnesses};
use super::reload::{Reloaded, reload, revive};
use super::steps::{Sight, TURN};
use crate::config::SshdPaths;
use std::net::SocketAddr;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// sshd began anew, and is as it was.
    Done,
    /// No sshd runs that would have to.
    Nobody,
    /// It was not told, or is not as it was; why, in words.
    Failed(String),
}

/// Has sshd read its files again. Nothing is changed: where sshd does not take its configuration
/// it is not told.
pub async fn reread(sight: &Sight) -> Reread {
    let _turn = TURN.lock().await;
    let paths = &sight.paths;
    let daemon = match Daemon::find(sight.address, paths).await {
        Ok(daemon) => daemon,
        Err(why) => return Reread::Failed(why),
    };
    if let Err(why) = daemon.test(&daemon.config).await {
        return Reread::Failed(why);
    }
    let mut values = Vec::new();
    for user in &sight.users {
        if let Ok(settings) = daemon.values(&daemon.config, &user.name).await {
            values.push((user.name.clone(), settings));
        }
    }
    let witnesses = Witnesses::of(&sight.users, &values, &[]);
    let before = Before::see(&daemon, paths, witnesses).await;
    if daemon.listener.is_none() && !before.answered() {
        return Reread::Nobody;
    }
    let unseen = match reload(&daemon, paths).await {
        Reloaded::Seen => None,
        Reloaded::Unseen(why) => Some(why),
        Reloaded::Failed(why) => return Reread::Failed(why),
    };
    if let Err(why) = before.is_as_it_was(&daemon, paths, BACK_WITHIN).await {
        tracing::error!(why, "sshd is not as it was after a reload");
        revive(&daemon).await;
        return Reread::Failed(why);
    }
    match unseen {
        None => Reread::Done,
        Some(why) => Reread::Failed(why),
    }
}

/// Waits until no change to sshd's configuration is under way.
pub async fn settled() {
    drop(TURN.lock().await);
}

/// Where sshd takes connections: the configured address, else the one that it says itself.
pub async fn listens_at(address: Option<SocketAddr>, paths: &SshdPaths) -> Option<SocketAddr> {
    match address {
        Some(address) => Some(address),
        None => Daemon::find(None, paths).await.ok()?.address,
    }
}

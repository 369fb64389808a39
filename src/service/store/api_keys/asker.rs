//! Who asks about an API key, and what he is held to at that moment.

use super::super::super::limits::{self, Limits};
use super::super::super::permissions::Permissions;
use super::super::Hash;
use super::super::audit::{Actor, By};
use super::super::db;
use super::super::db::Connection;
use super::{ApiKeyRow, by_hash};
use jiff::Timestamp;
use std::sync::Arc;

/// What who acts is held to.
pub(super) enum Asker {
    /// Nothing: a person, or someone on the server's own machine.
    Free,
    /// As a key; none where it is gone or cannot be read.
    Key(Option<Box<Limits>>),
}

impl Asker {
    /// Whether it may have to do with that key.
    pub(super) fn admits(&self, key: &ApiKeyRow) -> bool {
        match self {
            Self::Free => true,
            Self::Key(limits) => limits
                .as_deref()
                .zip(Limits::of(key))
                .is_some_and(|(limits, key)| limits.contain(&key)),
        }
    }
}

/// Of this actor.
pub(super) fn asker(db: &Connection, actor: &Actor) -> db::Result<Asker> {
    Ok(match actor.by {
        By::Session { .. } | By::Server => Asker::Free,
        By::ApiKey { id, .. } => {
            let row = super::one(db, actor.account, id)?;
            Asker::Key(row.as_ref().and_then(Limits::of).map(Box::new))
        }
        By::Agent { .. } | By::Nobody => Asker::Key(None),
    })
}

/// An API key as it was when its caller was let in.
#[derive(Clone)]
pub(in crate::service) struct ApiKeySeen {
    /// Its id.
    pub(in crate::service) id: i64,
    /// Of the secret that came with the call.
    pub(in crate::service) hash: Hash,
    /// What it might do.
    pub(in crate::service) rights: Arc<Permissions>,
}

/// Whether the key is what it was: not over, the same secret, the same rights, and good from where
/// who acts is.
pub(in crate::service::store) fn is_still(
    db: &Connection,
    actor: &Actor,
    seen: &ApiKeySeen,
    now: Timestamp,
) -> db::Result<bool> {
    let is = |key: ApiKeyRow| {
        let near = |networks: Vec<_>| Limits::admit(&networks, actor.from);
        (key.id, key.account) == (seen.id, actor.account)
            && limits::rights(&key).is_some_and(|rights| rights == *seen.rights)
            && limits::networks(&key).is_some_and(near)
    };
    Ok(by_hash(db, seen.hash, now)?.is_some_and(is))
}

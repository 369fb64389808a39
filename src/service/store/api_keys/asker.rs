//! Who asks about an API key, and what he is held to at that moment.

use super::super::super::limits::Limits;
use super::super::audit::{Actor, By};
use super::super::db;
use super::super::db::Connection;
use super::ApiKeyRow;

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

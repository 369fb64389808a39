//! Where a target's file is, and whose: a user may come, move and go.
//!
//! While he cannot be looked up, which says nothing about him, the place of the last answer in this
//! run is kept up: a key that is taken out must go meanwhile too. Nobody else's file can be reached
//! by it, whatever has become of him: it is walked to by handle, and what does not belong to the
//! number of then, or to root, stops the turn. Of another run no place is kept: between two of them
//! numbers are given anew.

use super::{Drifts, Target};
use crate::agent::ledger::{Entry, Ledger};
use crate::agent::lookups::{Lookups, Unknown};
use crate::config;
use crate::sinks::Carry;
use crate::sync::{Code, Finding};
use crate::sys::dir::Owner;
use std::path::PathBuf;

/// The file, its user's home, and whose they are.
pub(in crate::agent) type Place = (PathBuf, PathBuf, Owner);

impl Target {
    /// A target with what is remembered of its file, where that is known.
    pub(in crate::agent) async fn begin(
        settings: &config::Target,
        ledger: &Ledger,
        lookups: &mut Lookups,
    ) -> Self {
        let mut target = Self::new(settings.clone());
        // What is wrong the first turn finds again, and says.
        if target.find(lookups).await.is_ok() {
            target.remember(&ledger.entry(&target.path));
        }
        target
    }

    /// Finds the user and his file as they are now: his home, whose it is, and whether the file is
    /// another one than before, as a first one is.
    pub(in crate::agent) async fn find(
        &mut self,
        lookups: &mut Lookups,
    ) -> Result<(PathBuf, Owner, bool), Finding> {
        let (path, home, owner) = self.locate(lookups).await?;
        let moved = self.uid.is_none() || self.path != path;
        self.moves_to(path, owner.uid);
        Ok((home, owner, moved))
    }

    /// The same, and keeps nothing.
    pub(in crate::agent) async fn locate(&self, lookups: &mut Lookups) -> Result<Place, Finding> {
        let name = &self.settings.user;
        let user = match lookups.user(name).await {
            Ok(Some(user)) => user,
            Ok(None) => {
                let text = format!("there is no local user {name}");
                return Err(Finding::new(Code::UserMissing, name, text));
            }
            Err(Unknown {
                before: Some(user), ..
            }) => user,
            Err(Unknown { why, before: None }) => {
                let text = format!("the user {name} could not be looked up: {why}");
                let about = self.path.display().to_string();
                return Err(Finding::new(Code::WriteFailed, about, text));
            }
        };
        let path = self.settings.path.expand(&user.home, name, user.uid);
        let owner = Owner {
            uid: user.uid,
            gid: user.gid,
        };
        Ok((path, user.home, owner))
    }

    /// What is known of another file says nothing of this one, and lines that another user wrote
    /// are not for this one's file, whatever his name.
    pub(in crate::agent) fn moves_to(&mut self, path: PathBuf, uid: u32) {
        if self.uid.replace(uid).is_some_and(|before| before != uid) {
            self.carry = Carry::default();
        }
        if self.path != path {
            self.path = path;
            self.settled = None;
            self.left = None;
            self.drifts = Drifts::default();
            self.lists.clear();
        }
    }

    /// Takes what the ledger has of the file: sshd is to refuse what was taken out of it.
    pub(in crate::agent) fn remember(&mut self, entry: &Entry) {
        let gone = entry.gone().into_iter();
        self.gone.extend(gone.map(|key| (key.fingerprint(), key)));
    }
}

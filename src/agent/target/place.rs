//! Where a target's file is, and whose: a user may come, move and go.

use super::{Drifts, Target};
use crate::sinks::Carry;
use crate::sync::{Code, Finding};
use crate::sys::dir::Owner;
use crate::sys::users;
use std::path::PathBuf;

impl Target {
    /// Finds the user and his file as they are now; a user may come, move and go.
    pub(in crate::agent) fn find(&mut self) -> Result<(PathBuf, Owner), Finding> {
        let (path, home, owner) = self.locate()?;
        self.moves_to(path, owner.uid);
        Ok((home, owner))
    }

    /// The same, and keeps nothing: the file, the home, and whose they are.
    pub(in crate::agent) fn locate(&self) -> Result<(PathBuf, PathBuf, Owner), Finding> {
        let name = &self.settings.user;
        let finding = |text: String| Finding::new(Code::UserMissing, name, text);
        let user = users::lookup(name)
            .map_err(|fault| self.not_looked_up(&fault))?
            .ok_or_else(|| finding(format!("there is no local user {name}")))?;
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
}

//! Local users, as the name service switch has them: passwd(5), nsswitch.conf(5).
//!
//! Refuses nothing and caches nothing: a user may come, go and move while we run. A lookup may ask
//! a directory over the network and take its time.

use nix::unistd::{Uid, User, geteuid, gethostname};
use std::io;
use std::path::PathBuf;

/// A local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// The login name, as the database spells it.
    pub name: String,
    /// The number that owns the user's files.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The home directory; need not be there, nor be absolute.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl From<User> for LocalUser {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            shell: user.shell,
        }
    }
}

/// The user of this name; none when there is no such user.
///
/// # Errors
/// The database could not be asked: that says nothing about the user.
pub fn lookup(name: &str) -> Result<Option<LocalUser>, io::Error> {
    Ok(User::from_name(name)?.map(LocalUser::from))
}

/// The user of this number; none when there is no such user.
///
/// # Errors
/// As [`lookup`].
pub fn lookup_uid(uid: u32) -> Result<Option<LocalUser>, io::Error> {
    Ok(User::from_uid(Uid::from_raw(uid))?.map(LocalUser::from))
}

/// Whose rights this process has.
#[must_use]
pub fn current_uid() -> u32 {
    geteuid().as_raw()
}

/// What this host calls itself; empty where it has no name.
#[must_use]
pub fn hostname() -> String {
    gethostname().map_or_else(
        |_| String::new(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = lookup("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.home.is_absolute());
        assert_eq!(lookup_uid(0).unwrap(), Some(root));
    }

    #[test]
    fn nobody_of_that_name_is_no_error() {
        assert_eq!(lookup("no-such-user-here").unwrap(), None);
        assert_eq!(lookup("with\0nul").unwrap(), None);
    }
}

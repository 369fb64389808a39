//! Local users, as the name service switch has them: passwd(5), nsswitch.conf(5).
//!
//! Refuses nothing and caches nothing: a user may come, go and move while we run. A lookup may ask
//! a directory over the network and take its time.

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist, gethostname};
use std::ffi::CString;
use std::io::{self, Read as _};
use std::path::PathBuf;
use zeroize::Zeroize as _;

/// Largest shadow file that is read.
const MAX_SHADOW: u64 = 16 * 1024 * 1024;

/// The users of this machine itself.
const PASSWD: &str = "/etc/passwd";

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

/// Names and numbers of the groups that a user is in, the primary one first. A group without a name
/// has its number for one.
///
/// # Errors
/// The database could not be asked.
pub fn groups(user: &LocalUser) -> Result<Vec<(u32, String)>, io::Error> {
    let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
    let groups = getgrouplist(&name, Gid::from_raw(user.gid))?;
    let named = groups.into_iter().map(|gid| {
        let group = Group::from_gid(gid)?;
        let name = group.map_or_else(|| gid.to_string(), |group| group.name);
        Ok((gid.as_raw(), name))
    });
    named.collect()
}

/// What shadow(5) says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadow {
    /// The password begins with `!`: `usermod -L`, or a user that never had one.
    pub locked: bool,
    /// The day since 1970-01-01 after which the account is expired.
    pub expires: Option<i64>,
}

/// A user's entry in /etc/shadow; none where he has none there.
///
/// # Errors
/// The file cannot be read: only root may.
pub fn shadow(name: &str) -> Result<Option<Shadow>, io::Error> {
    let mut text = String::new();
    let file = std::fs::File::open("/etc/shadow")?;
    file.take(MAX_SHADOW).read_to_string(&mut text)?;
    let shadow = shadow_in(&text, name);
    text.zeroize();
    Ok(shadow)
}

fn shadow_in(text: &str, name: &str) -> Option<Shadow> {
    let of_user = |line: &&str| line.split(':').next() == Some(name);
    let line = text.lines().find(of_user)?;
    let field = |at: usize| line.split(':').nth(at).unwrap_or_default();
    Some(Shadow {
        locked: field(1).starts_with('!'),
        expires: field(7).parse().ok().filter(|day| *day >= 0),
    })
}

/// Whether a group has exactly one member, and this user is it: by group(5), or by his primary group
/// in passwd(5). False where that cannot be known.
#[must_use]
pub fn is_private_group(gid: u32, uid: u32) -> bool {
    let Ok(Some(group)) = Group::from_gid(Gid::from_raw(gid)) else {
        return false;
    };
    let (Ok(Some(user)), Ok(passwd)) = (lookup_uid(uid), std::fs::read_to_string(PASSWD)) else {
        return false;
    };
    let number = |field: Option<&str>| field.and_then(|text| text.parse::<u32>().ok());
    let primary: Vec<_> = passwd
        .lines()
        .map(|line| line.split(':').skip(2))
        .filter_map(|mut fields| Some((number(fields.next())?, number(fields.next())?)))
        .filter(|(_, its)| *its == gid)
        .map(|(owner, _)| owner)
        .collect();
    let has_members = !primary.is_empty() || !group.mem.is_empty();
    let all_his = primary.iter().all(|owner| *owner == uid);
    has_members && all_his && group.mem.iter().all(|member| *member == user.name)
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
    fn a_locked_and_an_expired_account_are_told_apart() {
        let text = "root:*:19000:0:99999:7:::\nann:!x:19000:0:99999:7::20000:\nbob:$y$:1:::::-1:\n";
        let of = |name| shadow_in(text, name).unwrap();
        assert_eq!((of("root").locked, of("root").expires), (false, None));
        assert_eq!((of("ann").locked, of("ann").expires), (true, Some(20000)));
        assert_eq!((of("bob").locked, of("bob").expires), (false, None));
        assert_eq!(shadow_in(text, "an"), None);
    }

    #[test]
    fn a_user_is_in_his_primary_group() {
        let root = lookup("root").unwrap().unwrap();
        assert!(groups(&root).unwrap().contains(&(0, "root".to_owned())));
    }

    #[test]
    fn nobody_of_that_name_is_no_error() {
        assert_eq!(lookup("no-such-user-here").unwrap(), None);
        assert_eq!(lookup("with\0nul").unwrap(), None);
    }
}

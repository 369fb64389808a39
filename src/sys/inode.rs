//! What stat(2) does not say of a file: the immutable flag (ioctl_iflags(2)), its SELinux label
//! (selinux(8)), and whether SELinux is enforced here. Looks only.

use rustix::fs::{IFlags, Mode, OFlags, getxattr, ioctl_getflags, open};
use std::path::Path;

/// Longest label that is read.
const MAX_LABEL: usize = 256;

/// Whether nobody, root included, may change the file: `chattr +i`, or `+a` where only appending is
/// left. False where the file system knows no such flags.
#[must_use]
pub fn is_immutable(path: &Path) -> bool {
    // Not for reading: a fifo must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = open(path, flags, Mode::empty()) else {
        return false;
    };
    let flags = ioctl_getflags(&file);
    flags.is_ok_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
}

/// Whether SELinux refuses what its policy does not allow.
#[must_use]
pub fn selinux_enforces() -> bool {
    std::fs::read("/sys/fs/selinux/enforce").is_ok_and(|bytes| bytes.first() == Some(&b'1'))
}

/// The SELinux label of a file, such as `system_u:object_r:ssh_home_t:s0`.
#[must_use]
pub fn label(path: &Path) -> Option<String> {
    let mut bytes = [0; MAX_LABEL];
    let length = getxattr(path, "security.selinux", &mut bytes).ok()?;
    let label = std::str::from_utf8(bytes.get(..length)?).ok()?;
    Some(label.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_may_be_changed() {
        assert!(!is_immutable(Path::new("/etc/passwd")));
        assert!(!is_immutable(Path::new("/no/such/file")));
        assert_eq!(label(Path::new("/no/such/file")), None);
    }
}

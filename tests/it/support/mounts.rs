//! Mounts that do not outlive their test, a hung file system among them.

use crate::support::process::wait_until;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program that must succeed.
pub(crate) fn ran(program: &str, args: &[&OsStr]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|fault| panic!("{program}: {fault}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// A mount, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A new file system in memory, with these options.
    pub(crate) fn tmpfs(at: &Path, options: &str) -> Self {
        let args = ["-t", "tmpfs", "-o", options, "none"].map(OsStr::new);
        ran("mount", &[&args, &[at.as_os_str()][..]].concat());
        Self(at.to_owned())
    }

    /// A file or directory, seen at another place too.
    pub(crate) fn bind(from: &Path, at: &Path) -> Self {
        ran("mount", &["--bind".as_ref(), from.as_ref(), at.as_ref()]);
        Self(at.to_owned())
    }

    /// The file system in an image, by a loop device that goes with the mount.
    pub(crate) fn image(image: &Path, at: &Path, options: &str) -> Self {
        let options = format!("loop,{options}");
        let args = ["-o".as_ref(), options.as_ref(), image.as_ref(), at.as_ref()];
        ran("mount", &args);
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system in user space that nobody serves: every call waits until this is dropped.
#[derive(Debug)]
pub(crate) struct HungMount {
    at: PathBuf,
    holder: Child,
}

impl HungMount {
    /// Mounts it over a directory.
    pub(crate) fn over(at: &Path) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "no /dev/fuse here; modprobe fuse"
        );
        let script = "exec 7<>/dev/fuse && mount -i -t fuse \
                      -o fd=7,rootmode=40000,user_id=0,group_id=0,allow_other none \"$0\" \
                      && exec sleep 1000";
        let holder = Command::new("sh")
            .args(["-c", script])
            .arg(at)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let name = at.display().to_string();
        wait_until("the hung mount", || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            mounts.contains(&format!("{name} fuse"))
        });
        Self {
            at: at.to_owned(),
            holder,
        }
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // The last handle on /dev/fuse goes with it: whoever waits is told that nobody serves.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

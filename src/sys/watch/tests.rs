//! File events against a real directory: what is seen, what is not, and that nothing is lost.

use super::*;
use std::fs;
use std::io::Write as _;
use tokio::time::sleep;

const QUIET: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_millis(200);

fn write(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn rename(from: &Path, to: &Path) {
    rustix::fs::rename(from, to).unwrap();
}

async fn watched(paths: &[&Path]) -> Watch {
    let paths = paths.iter().map(|p| p.to_path_buf()).collect();
    watch(paths, QUIET, MOST).await.unwrap()
}

/// Waits for a change that must come.
async fn seen(watch: &mut Watch) {
    let long = Duration::from_secs(20);
    timeout(long, watch.changed()).await.unwrap();
}

/// Whether nothing was told: a change of another watched path comes as the only one.
async fn unseen(watch: &mut Watch) -> bool {
    let some = Duration::from_millis(150);
    timeout(some, watch.changed()).await.is_err()
}

#[tokio::test]
async fn writing_renaming_and_removing_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let mut watch = watched(&[&file]).await;
    write(&file, "one");
    seen(&mut watch).await;
    write(&dir.path().join("new"), "two");
    rename(&dir.path().join("new"), &file);
    seen(&mut watch).await;
    fs::remove_file(&file).unwrap();
    seen(&mut watch).await;
    write(&file, "three");
    seen(&mut watch).await;
}

#[tokio::test]
async fn reading_and_the_neighbours_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    write(&file, "one");
    let mut watch = watched(&[&file]).await;
    fs::read(&file).unwrap();
    write(&dir.path().join("keys.tmp"), "x");
    fs::create_dir(dir.path().join("sub")).unwrap();
    assert!(unseen(&mut watch).await);
    write(&file, "two");
    seen(&mut watch).await;
}

#[tokio::test]
async fn a_path_whose_directories_come_later_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b/c");
    let file = below.join("keys");
    let mut watch = watched(&[&file]).await;
    fs::create_dir_all(&below).unwrap();
    seen(&mut watch).await;
    write(&file, "one");
    seen(&mut watch).await;
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    seen(&mut watch).await;
    fs::create_dir_all(&below).unwrap();
    seen(&mut watch).await;
    write(&file, "two");
    seen(&mut watch).await;
}

#[tokio::test]
async fn a_directory_that_is_put_in_the_place_of_another_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join(".ssh");
    let file = ssh.join("authorized_keys");
    fs::create_dir(&ssh).unwrap();
    let mut watch = watched(&[&file]).await;
    rename(&ssh, &dir.path().join("old"));
    fs::create_dir(&ssh).unwrap();
    seen(&mut watch).await;
    write(&file, "one");
    seen(&mut watch).await;
    write(&dir.path().join("old/authorized_keys"), "x");
    assert!(unseen(&mut watch).await);
}

#[tokio::test]
async fn what_lies_in_a_watched_directory_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = watched(&[dir.path()]).await;
    write(&dir.path().join("alice.pub"), "one");
    seen(&mut watch).await;
}

#[tokio::test]
async fn the_file_behind_a_symlink_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real");
    write(&real, "one");
    let link = dir.path().join("keys");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let mut watch = watched(&[&link]).await;
    write(&real, "two");
    seen(&mut watch).await;
}

#[tokio::test]
async fn many_changes_are_told_once_and_none_is_lost_by_a_dropped_future() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let mut watch = watched(&[&file]).await;
    for n in 0..50 {
        write(&file, &n.to_string());
    }
    // Dropped in the middle of its quiet time.
    let short = Duration::from_millis(5);
    assert!(timeout(short, watch.changed()).await.is_err());
    seen(&mut watch).await;
    assert!(unseen(&mut watch).await);
}

#[tokio::test]
async fn a_file_that_never_rests_is_told_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let mut watch = watched(&[&file]).await;
    let writing = async {
        loop {
            write(&file, "more");
            sleep(QUIET / 4).await;
        }
    };
    tokio::select! {
        () = seen(&mut watch) => {}
        () = writing => {}
    }
}

/// A mount that goes when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Self {
        let mount = std::process::Command::new("mount");
        let args = ["-t", "tmpfs", "none"];
        ran(mount, &[&args.map(Path::new), &[at][..]].concat());
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        ran(
            std::process::Command::new("umount"),
            &[Path::new("-l"), &self.0],
        );
    }
}

fn ran(mut command: std::process::Command, args: &[&Path]) {
    assert!(command.args(args).status().unwrap().success());
}

#[tokio::test]
#[ignore = "needs root; tests/run includes it"]
async fn what_is_mounted_over_a_path_and_unmounted_is_seen_and_mounts_elsewhere_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (home, elsewhere) = (dir.path().join("home"), dir.path().join("elsewhere"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let file = home.join(".ssh/authorized_keys");
    let mut watch = watched(&[&file]).await;
    drop(Mounted::tmpfs(&elsewhere));
    assert!(unseen(&mut watch).await);
    let mounted = Mounted::tmpfs(&home);
    seen(&mut watch).await;
    fs::create_dir(home.join(".ssh")).unwrap();
    seen(&mut watch).await;
    write(&file, "on the mount");
    seen(&mut watch).await;
    drop(mounted);
    seen(&mut watch).await;
    fs::create_dir(home.join(".ssh")).unwrap();
    seen(&mut watch).await;
}

#[tokio::test]
#[ignore = "needs root; tests/run includes it"]
async fn a_mount_is_told_to_one_who_is_called_away_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let mut watch = watched(&[&home.join("keys")]).await;
    let mounted = Mounted::tmpfs(&home);
    let told = async { while timeout(QUIET / 4, watch.changed()).await.is_err() {} };
    timeout(Duration::from_secs(20), told).await.unwrap();
    drop(mounted);
}

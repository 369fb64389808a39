//! Private files: made once, whole, 0600, and refused where others may use them.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;

fn secret(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_made_once_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/key");
    assert_eq!(read(&path).unwrap(), None);
    assert_eq!(*create_once(&path, || secret("one")).unwrap(), b"one");
    assert_eq!(*create_once(&path, || secret("two")).unwrap(), b"one");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(names(path.parent().unwrap()), ["key"]);
}

#[test]
fn callers_at_the_same_time_get_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = dir.path().join(format!("key-{round}"));
        let start = Barrier::new(8);
        let got: Vec<Zeroizing<Vec<u8>>> = std::thread::scope(|scope| {
            let one = |n: usize| {
                let (start, path) = (&start, &path);
                scope.spawn(move || {
                    start.wait();
                    create_once(path, || secret(&format!("made by {n}"))).unwrap()
                })
            };
            let all: Vec<_> = (0..8).map(one).collect();
            all.into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(got.iter().all(|bytes| *bytes == got[0]));
        assert_eq!(read(&path).unwrap().unwrap(), got[0]);
    }
    assert_eq!(names(dir.path()).len(), 20);
}

#[test]
fn replace_leaves_the_new_bytes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    replace(&path, b"one").unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!(*read(&path).unwrap().unwrap(), b"two");
    assert_eq!(names(dir.path()), ["key"]);
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    assert!(replace(&dir.path().join("directory"), b"x").is_err());
    assert_eq!(names(dir.path()), ["directory", "key"]);
}

#[test]
fn what_others_may_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    replace(&path, b"one").unwrap();
    for mode in [0o640, 0o604, 0o620, 0o610] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().ends_with("; make it 0600"), "{error}");
        assert!(create_once(&path, || secret("two")).is_err());
    }
}

#[test]
fn what_is_not_a_plain_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    replace(&real, b"one").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert!(read(&link).is_err());
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(read(&fifo).is_err());
    assert!(read(dir.path()).is_err());
    replace(&link, b"two").unwrap();
    assert_eq!(*read(&real).unwrap().unwrap(), b"one");
}

#[test]
fn too_much_is_refused_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let beyond = vec![0; MAX_PRIVATE as usize + 1];
    assert!(replace(&path, &beyond).is_err());
    replace(&path, &beyond[1..]).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(MAX_PRIVATE + 1).unwrap();
    assert!(read(&path).is_err());
}

#[test]
fn what_a_run_that_was_cut_off_left_is_swept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("sources");
    replace(&below.join("a.json"), b"list").unwrap();
    let left = below.join("a.json.0123456789abcdef.tmp");
    replace(&left, b"half").unwrap();
    replace(&dir.path().join("mine.tmp"), b"somebody's").unwrap();
    sweep(dir.path()).unwrap();
    assert!(!left.exists() && below.join("a.json").exists());
    assert!(dir.path().join("mine.tmp").exists());
}

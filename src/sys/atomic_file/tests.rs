//! Replacing a file: owners and modes, a stop between any two steps, what is appended meanwhile.

use super::*;
use rustix::fs::FileType;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

const USER: Owner = Owner {
    uid: 4711,
    gid: 4711,
};
const NAME: &str = "authorized_keys";

struct Home {
    _top: tempfile::TempDir,
    path: PathBuf,
    dir: Dir,
}

fn home() -> Home {
    let top = tempfile::tempdir_in("/var/lib").unwrap();
    std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = top.path().join("ssh");
    std::fs::create_dir(&path).unwrap();
    chown(&path, Some(USER.uid), Some(USER.gid)).unwrap();
    let dir = Dir::open(&path, USER).unwrap();
    Home {
        _top: top,
        path,
        dir,
    }
}

impl Home {
    fn file(&self) -> PathBuf {
        self.path.join(NAME)
    }

    fn put(&self, text: &str, uid: u32) {
        std::fs::write(self.file(), text).unwrap();
        chown(self.file(), Some(uid), Some(uid)).unwrap();
    }

    fn read(&self) -> Result<Option<Current>, ReadError> {
        Current::read(&self.dir, NAME.as_ref(), USER)
    }

    fn stage(&self, text: &str, old: Option<&Current>) -> Staged<'_> {
        Staged::stage(&self.dir, NAME.as_ref(), text.into(), old, USER, 7).unwrap()
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> = std::fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_new_file_is_its_owners_and_private() {
    let home = home();
    let sealed = home.stage("new\n", None).seal().unwrap();
    let receipt = sealed.commit(None).unwrap();
    assert_eq!(receipt.current.bytes(), b"new\n");
    let meta = std::fs::metadata(home.file()).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (4711, 4711, 0o600)
    );
    assert_eq!(home.names(), [NAME]);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn what_is_replaced_lends_its_owner_and_mode() {
    let home = home();
    home.put("old\n", 0);
    std::fs::set_permissions(home.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let old = home.read().unwrap();
    let sealed = home.stage("new\n", old.as_ref()).seal().unwrap();
    let receipt = sealed.commit(old).unwrap();
    assert!(receipt.late.is_empty());
    let meta = std::fs::metadata(home.file()).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o644));
    assert_eq!(std::fs::read(home.file()).unwrap(), b"new\n");
    assert_eq!(home.names(), [NAME]);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn stopped_between_any_two_steps_the_old_bytes_stand_and_nothing_else() {
    let home = home();
    home.put("old\n", USER.uid);
    let old = home.read().unwrap();
    drop(home.stage("new\n", old.as_ref()));
    drop(home.stage("new\n", old.as_ref()).seal().unwrap());
    assert_eq!(std::fs::read(home.file()).unwrap(), b"old\n");
    assert_eq!(home.names(), [NAME]);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn what_changed_since_it_was_read_is_not_replaced() {
    let home = home();
    let change: [&dyn Fn(); 3] = [
        &|| home.put("longer than before\n", USER.uid),
        &|| {
            std::fs::write(home.path.join("other"), "old\n").unwrap();
            std::fs::rename(home.path.join("other"), home.file()).unwrap();
        },
        &|| std::fs::remove_file(home.file()).unwrap(),
    ];
    for change in change {
        home.put("old\n", USER.uid);
        let old = home.read().unwrap();
        let sealed = home.stage("new\n", old.as_ref()).seal().unwrap();
        change();
        assert!(matches!(sealed.commit(old), Err(CommitError::Changed)));
        assert!(std::fs::read(home.file()).map_or(true, |now| now != b"new\n"));
    }
    home.put("somebody's\n", USER.uid);
    let sealed = home.stage("new\n", None).seal().unwrap();
    assert!(matches!(sealed.commit(None), Err(CommitError::Changed)));
    assert_eq!(home.names(), [NAME]);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn what_reaches_the_old_file_by_an_open_handle_is_handed_over() {
    let home = home();
    home.put("old\n", USER.uid);
    let mut appender = std::fs::OpenOptions::new()
        .append(true)
        .open(home.file())
        .unwrap();
    let mut old = home.read().unwrap().unwrap();
    assert!(old.late().unwrap().is_empty());
    appender.write_all(b"late\n").unwrap();
    assert_eq!(old.late().unwrap(), b"late\n");
    assert!(old.late().unwrap().is_empty());
    let mut writer = std::fs::OpenOptions::new()
        .write(true)
        .open(home.file())
        .unwrap();
    writer.write_all(b"OLD\nlate\n").unwrap();
    assert_eq!(old.late().unwrap(), b"OLD\n");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn only_a_plain_file_is_read() {
    let home = home();
    let refused = |home: &Home| match home.read() {
        Err(ReadError::NotPlain(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(home.read().unwrap().is_none());
    symlink("/etc/passwd", home.file()).unwrap();
    assert_eq!(refused(&home), "is a symbolic link");
    std::fs::remove_file(home.file()).unwrap();
    rustix::fs::mknodat(&home.dir, NAME, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(refused(&home), "is not a regular file");
    std::fs::remove_file(home.file()).unwrap();
    std::fs::create_dir(home.file()).unwrap();
    assert_eq!(refused(&home), "is not a regular file");
    std::fs::remove_dir(home.file()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.file()).unwrap();
    assert_eq!(refused(&home), "is a socket");
    std::fs::remove_file(home.file()).unwrap();
    home.put("other's", 4712);
    assert_eq!(refused(&home), "belongs to another user");
    home.put("root's", 0);
    assert!(home.read().is_ok());
    std::fs::hard_link(home.file(), home.path.join("second")).unwrap();
    assert_eq!(refused(&home), "is root's and has more than one name");
    std::fs::remove_file(home.file()).unwrap();
    File::options()
        .write(true)
        .create_new(true)
        .open(home.file())
        .unwrap()
        .set_len(MAX_FILE + 1)
        .unwrap();
    assert_eq!(refused(&home), "is larger than 8 MiB");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn leftovers_of_a_run_that_was_cut_off_are_swept_and_nothing_else() {
    let home = home();
    home.put("old\n", USER.uid);
    std::mem::forget(home.stage("new\n", None));
    std::fs::write(home.path.join(".authorized_keys.swp"), "").unwrap();
    assert_eq!(home.names().len(), 3);
    assert_eq!(sweep(&home.dir, NAME.as_ref()).unwrap(), 1);
    assert_eq!(home.names(), [".authorized_keys.swp", NAME]);
}

/// Its owner may put names like ours there for ever.
#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_sweep_looks_at_so_many_names_and_the_next_one_goes_on() {
    let home = home();
    for n in 0..=MOST_LOOKED_AT {
        std::fs::write(home.path.join(format!(".{NAME}.sshkeyd-{n}")), "").unwrap();
    }
    // The directory itself and the one above it count too.
    let first = sweep(&home.dir, NAME.as_ref()).unwrap();
    assert!(
        (MOST_LOOKED_AT - 2..=MOST_LOOKED_AT).contains(&first),
        "{first}"
    );
    assert_eq!(
        sweep(&home.dir, NAME.as_ref()).unwrap(),
        MOST_LOOKED_AT + 1 - first
    );
    assert!(home.names().is_empty());
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn of_two_renames_around_an_exchange_the_newer_file_stays() {
    let home = home();
    let seen = |name: &str| Seen::of(&home.dir.look(name.as_ref()).unwrap().unwrap());
    let put = |name: &str, text: &str| std::fs::write(home.path.join(name), text).unwrap();
    // The exchange took the first of them out; the second came over our own file since.
    put("temp", "first\n");
    put("ours", "ours\n");
    let ours = seen("ours");
    put("ours", "kept alive, so that no other gets its number\n");
    put(NAME, "second\n");
    put_back(&home.dir, "temp".as_ref(), NAME.as_ref(), ours).unwrap();
    assert_eq!(std::fs::read(home.file()).unwrap(), b"second\n");
    assert_eq!(std::fs::read(home.path.join("temp")).unwrap(), b"first\n");
    // Only one came: it goes back, and ours comes out.
    std::fs::rename(home.path.join("ours"), home.file()).unwrap();
    put_back(&home.dir, "temp".as_ref(), NAME.as_ref(), ours).unwrap();
    assert_eq!(std::fs::read(home.file()).unwrap(), b"first\n");
    assert!(seen("temp").same_file(&ours));
    // Taken away altogether: that was somebody's wish.
    std::fs::remove_file(home.file()).unwrap();
    let gone = put_back(&home.dir, "temp".as_ref(), NAME.as_ref(), ours);
    assert!(matches!(gone, Err(CommitError::Changed)));
}

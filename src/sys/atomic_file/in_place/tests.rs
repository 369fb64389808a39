//! Writing in place: cut off at every byte, the next run finds what the file held.

use super::*;
use crate::sys::dir::Owner;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

const OLD: &str = "mine 1\n# BEGIN sshkeyd\nkey 1\nkey 2\n# END sshkeyd\nmine 2\n";
const NEWER: [&str; 4] = [
    "mine 1\nmine 2\n",
    "mine 1\n# BEGIN sshkeyd\nkey 3\nkey 2\n# END sshkeyd\nmine 2\n",
    "mine 1\n# BEGIN sshkeyd\nkey 1\nkey 2\nkey 3, the longest\n# END sshkeyd\nmine 2\n",
    "",
];

struct Setting {
    top: tempfile::TempDir,
    dir: Dir,
    owner: Owner,
    spare: InPlace,
}

fn setting() -> Setting {
    let top = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let about = std::fs::metadata(top.path()).unwrap();
    let (uid, gid) = (about.uid(), about.gid());
    let owner = Owner { uid, gid };
    Setting {
        dir: Dir::open(top.path(), owner).unwrap(),
        owner,
        spare: InPlace::new(top.path().join("state/record")),
        top,
    }
}

impl Setting {
    fn put(&self, text: &[u8]) {
        std::fs::write(self.top.path().join("keys"), text).unwrap();
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.top.path().join("keys")).unwrap()
    }

    fn read(&self) -> Current {
        let read = Current::read(&self.dir, "keys".as_ref(), self.owner);
        read.unwrap().unwrap()
    }

    fn write(&self, old: &Current, new: &str) -> Result<Vec<u8>, CommitError> {
        let (bytes, new) = (old.bytes().to_vec(), new.as_bytes());
        self.spare
            .write(&self.dir, "keys".as_ref(), old, &bytes, new)
    }

    fn has_record(&self) -> bool {
        self.top.path().join("state/record").exists()
    }
}

#[test]
fn the_same_file_reads_the_new_bytes_and_no_record_is_left() {
    let setting = setting();
    setting.put(OLD.as_bytes());
    let inode = || {
        std::fs::metadata(setting.top.path().join("keys"))
            .unwrap()
            .ino()
    };
    let before = inode();
    for new in NEWER.into_iter().chain([OLD]) {
        assert_eq!(setting.write(&setting.read(), new).unwrap(), b"");
        assert_eq!((setting.text().as_str(), inode()), (new, before));
        assert!(!setting.has_record());
    }
    let old = setting.read();
    setting.put(b"somebody's\n");
    assert!(matches!(
        setting.write(&old, "x\n"),
        Err(CommitError::Changed)
    ));
    assert_eq!(setting.text(), "somebody's\n");
}

/// Every state that the steps of a write pass, byte by byte.
fn states(old: &[u8], new: &[u8]) -> Vec<Vec<u8>> {
    let mut now = old.to_vec();
    let mut states = vec![now.clone()];
    while now.len() < new.len() {
        now.push(b'\n');
        states.push(now.clone());
    }
    for (at, byte) in new.iter().enumerate() {
        now[at] = *byte;
        states.push(now.clone());
    }
    states.push(new.to_vec());
    states
}

#[test]
fn cut_off_anywhere_what_the_file_held_comes_back_with_what_others_appended() {
    let old = OLD.as_bytes();
    for new in NEWER.map(str::as_bytes) {
        let record = Record {
            old: old.to_vec(),
            new: new.to_vec(),
            mending: false,
        };
        assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        for now in states(old, new) {
            for appended in ["", "theirs\n"] {
                let record = Record {
                    old: old.to_vec(),
                    new: new.to_vec(),
                    mending: false,
                };
                let is_ours_in_front = now.len() >= old.len().max(new.len());
                let now = [&now[..], appended.as_bytes()].concat();
                let held = [old, appended.as_bytes()].concat();
                let whole = [held.clone(), [new, appended.as_bytes()].concat()];
                let mended = record.mended(&now).unwrap_or_else(|| now.clone());
                let text = String::from_utf8_lossy(&now);
                if is_ours_in_front || now.starts_with(new) || appended.is_empty() {
                    assert!(mended == held || whole.contains(&mended), "{text}");
                } else {
                    // While blank lines are still to come theirs stands among them.
                    let lines: Vec<_> = mended.split(|b| *b == b'\n').collect();
                    assert!(lines.contains(&&b"theirs"[..]), "{text}");
                    assert!(mended.starts_with(old) || mended.starts_with(new), "{text}");
                }
            }
        }
    }
}

#[test]
fn a_file_that_is_somebodys_by_now_is_left_and_a_page_that_was_lost_is_not() {
    let setting = setting();
    let (old, new) = (OLD.as_bytes().to_vec(), NEWER[2].as_bytes().to_vec());
    let record = |mending| Record {
        old: old.clone(),
        new: new.clone(),
        mending,
    };
    let path = setting.top.path().join("state/record");
    private_file::replace(&path, &record(false).to_bytes()).unwrap();
    let theirs = b"rewritten by hand, and rather longer than it was before all this happened here";
    assert_eq!(setting.spare.recover(theirs).unwrap(), None);
    assert!(!setting.has_record(), "it would speak of another file");
    let mut lost = new.clone();
    lost[10..20].fill(0);
    private_file::replace(&path, &record(false).to_bytes()).unwrap();
    assert_eq!(setting.spare.recover(&lost).unwrap(), Some(old.clone()));
    // While a damaged file was being mended nothing in it tells whose it is.
    private_file::replace(&path, &record(true).to_bytes()).unwrap();
    assert_eq!(
        setting.spare.recover(theirs).unwrap().unwrap()[..old.len()],
        old
    );
}

#[test]
fn what_comes_between_the_look_and_the_write_is_kept() {
    let setting = setting();
    setting.put(b"a\n");
    let mut appender = std::fs::OpenOptions::new()
        .append(true)
        .open(setting.top.path().join("keys"))
        .unwrap();
    // A second name for the same file: the first look passes, and the line comes just after.
    let old = setting.read();
    appender.write_all(b"theirs\n").unwrap();
    assert!(matches!(
        setting.write(&old, "a\nb\nc\nd\n"),
        Err(CommitError::Changed)
    ));
    assert_eq!(setting.text(), "a\ntheirs\n");
    let path = setting.top.path().join("keys");
    let file = File::options().read(true).write(true).open(path).unwrap();
    appender.write_all(b"\n\n\n\n").unwrap();
    let told = setting.spare.withdraw(&file, 2, 4).unwrap();
    assert!(matches!(told, CommitError::Changed));
    assert_eq!(setting.text(), "a\ntheirs\n");
}

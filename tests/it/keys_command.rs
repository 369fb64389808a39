//! The method `command`: the index, and `sshkeyd authorized-keys` as a real sshd runs it.

use crate::support::host::Host;
use crate::support::keys_user::KeysUser;
use crate::support::managed::Managed;
use crate::support::process::{Ran, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{KeyPair, Sshd, User, keygen, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sshkeyd::keys::{IndexLine, PublicKey, RawKey, encode_index};
use sshkeyd::sinks::IndexFile;
use sshkeyd::sys::clock;
use sshkeyd::wire::State;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn pair(dir: &Path, name: &str) -> KeyPair {
    keygen(dir, name, "ed25519")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Type and blob, as sshd's `%t %k`.
fn words(key: &PublicKey) -> [String; 2] {
    let text = key.to_string();
    let (kind, blob) = text.split_once(' ').unwrap();
    [kind.to_owned(), blob.to_owned()]
}

fn prints(ran: &Ran, what: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), what), "{ran:?}");
}

/// Nothing is printed, and the status says so.
fn refuses(ran: &Ran, code: i32, why: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
}

/// An index without an agent: of the user `daemon`, below a directory of its own.
struct Shelf {
    keys_user: KeysUser,
    index: PathBuf,
}

const UID: u32 = 1;

impl Shelf {
    fn new(lines: &[IndexLine]) -> Self {
        let keys_user = KeysUser::new();
        let index = keys_user.dir().join("keys");
        let shelf = Self { keys_user, index };
        shelf.put(lines);
        shelf
    }

    fn put(&self, lines: &[IndexLine]) {
        let file = IndexFile::open(&self.file(), UID).unwrap();
        let bytes = encode_index(UID, lines).unwrap();
        file.replace(&file.read().unwrap(), &bytes, rand::random())
            .unwrap();
    }

    fn file(&self) -> PathBuf {
        self.index.join(UID.to_string())
    }

    fn previous(&self) -> PathBuf {
        self.index.join(format!("{UID}.previous"))
    }

    fn ask(&self, args: &[&str]) -> Ran {
        let args = [&["daemon"], args].concat();
        self.keys_user.ask(&self.index, &args)
    }

    /// A program that only root may write, of these shell commands.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.keys_user.dir().join(name);
        put(&path, &format!("#!/bin/sh\n{text}\n"), 0o755);
        path.to_str().unwrap().to_owned()
    }
}

fn line(key: &PublicKey) -> IndexLine {
    IndexLine {
        fingerprint: key.fingerprint(),
        ends: None,
        line: key.to_string().into_bytes(),
    }
}

fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
        .unwrap();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_indexed_key_logs_in_and_a_deleted_one_is_refused_without_a_reload() {
    let (keys_user, user) = (KeysUser::new(), User::new());
    let host = Host::new();
    let sshd = Sshd::start(&keys_user.sshd_config(&host.indexes(), ""));
    let [laptop, other] = ["laptop", "other"].map(|name| pair(sshd.dir(), name));
    let mut host = host
        .with_program(&keys_user.program)
        .with_sshd(&sshd)
        .with_file("keys")
        .with_command(&user.name, "keys");
    let both = format!("{} laptop\n{} other\n", laptop.public, other.public);
    host.write_file("keys", &both);
    host.up();
    let fingerprint = laptop.public.fingerprint().to_string();
    let status = host.wait_status("the proof", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.accepted.contains(&fingerprint))
    });
    assert_eq!((status.state, &status.conditions[..]), (State::Ok, &[][..]));
    let target = &status.targets[0];
    let index = host.indexes().join(user.uid.to_string());
    assert_eq!(
        (target.path.as_str(), target.method.as_str()),
        (index.to_str().unwrap(), "command")
    );
    assert_eq!((target.foreign, target.managed.len()), (0, 2));
    assert!(target.digest.as_ref().unwrap().starts_with("sha256:"));
    for key in [&laptop, &other] {
        assert!(sshd.lets_in(&user, &key.private), "{}", sshd.log());
    }
    assert!(!user.authorized_keys().exists(), "nothing in the home");

    let [kind, blob] = words(&laptop.public);
    let asked = || keys_user.ask(&host.indexes(), &[&user.name, &kind, &blob]);
    prints(&asked(), &format!("{} laptop\n", laptop.public));
    let began = clock::monotonic();
    host.write_file("keys", &format!("{} other\n", other.public));
    wait_until("the key to leave the index", || asked().out.is_empty());
    let took = clock::monotonic() - began;
    assert!(!sshd.lets_in(&user, &laptop.private), "{}", sshd.log());
    assert!(took < SECOND, "{took:?}");
    assert!(sshd.lets_in(&user, &other.private));
    let log = sshd.log();
    assert!(!log.contains("SIGHUP"), "{log}");
    host.wait_status("sshd's refusal", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused == [fingerprint.clone()])
    });
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn options_and_ends_are_honoured_by_sshd() {
    let (keys_user, user, service) = (KeysUser::new(), User::new(), Service::start());
    let host = Host::new();
    let sshd = Sshd::start(&keys_user.sshd_config(&host.indexes(), ""));
    let [forced, ended, ending] = ["forced", "ended", "ending"].map(|name| pair(sshd.dir(), name));
    let mut host = host
        .with_sshd(&sshd)
        .of_account(&service)
        .with_file("keys")
        .with_command(&user.name, "keys account");
    host.write_file(
        "keys",
        &format!(
            "command=\"echo forced\",no-pty {}\nexpiry-time=\"20200101\" {}\n",
            forced.public, ended.public
        ),
    );
    host.up();
    host.wait_listed();
    service.save(&ending.public, "ending", &["--expires", "6s", "--wait"]);
    host.kill();
    let said = sshd.login(&user, &forced.private);
    assert_eq!(
        String::from_utf8(said.stdout).unwrap(),
        "forced\n",
        "{}",
        sshd.log()
    );
    assert!(!sshd.lets_in(&user, &ended.private));
    assert!(sshd.lets_in(&user, &ending.private), "{}", sshd.log());
    wait_until("its end", || !sshd.lets_in(&user, &ending.private));
    // sshd reads it in the line; an older one would not be shown the line at all.
    let [kind, blob] = words(&ending.public);
    wait_until("the line to be left out", || {
        let ran = keys_user.ask(&host.indexes(), &[&user.name, &kind, &blob]);
        ran.code == Some(0) && ran.out.is_empty()
    });
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_ended_key_is_left_out_by_the_clock() {
    let [ended, ending, endless] = [(); 3].map(|()| public_key());
    let now = clock::now().as_second();
    let with_end = |key: &PublicKey, end: i64| IndexLine {
        ends: Some(Timestamp::from_second(end).unwrap()),
        ..line(key)
    };
    let shelf = Shelf::new(&[
        with_end(&ended, now - 1),
        with_end(&ending, now + 600),
        line(&endless),
    ]);
    prints(&shelf.ask(&[]), &format!("{ending}\n{endless}\n"));
    prints(&shelf.ask(&[&ended.fingerprint().to_string()]), "");
    prints(
        &shelf.ask(&[&ending.fingerprint().to_string()]),
        &format!("{ending}\n"),
    );
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_damaged_index_means_the_one_before_and_two_mean_nothing() {
    let [old, new] = [(); 2].map(|()| public_key());
    let shelf = Shelf::new(&[line(&old)]);
    shelf.put(&[line(&old), line(&new)]);
    prints(&shelf.ask(&[]), &format!("{old}\n{new}\n"));
    damage(&shelf.file());
    let ran = shelf.ask(&[]);
    prints(&ran, &format!("{old}\n"));
    assert!(
        ran.err.contains("is damaged; the one before is used"),
        "{ran:?}"
    );
    // Cut off, of another's, and no index at all.
    let whole = fs::read(shelf.previous()).unwrap();
    for bytes in [
        &whole[..whole.len() - 1],
        &encode_index(UID + 1, &[line(&new)]).unwrap(),
        b"",
    ] {
        put(&shelf.file(), "", 0o644);
        let mut file = fs::File::options().write(true).open(shelf.file()).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        prints(&shelf.ask(&[]), &format!("{old}\n"));
    }
    damage(&shelf.previous());
    refuses(&shelf.ask(&[]), 1, "is damaged");
    refuses(
        &shelf.ask(&[&old.fingerprint().to_string()]),
        1,
        "is damaged",
    );
    fs::remove_file(shelf.previous()).unwrap();
    refuses(&shelf.ask(&[]), 1, "is not there");
    // No index is no doubt: this user has no keys here.
    fs::remove_file(shelf.file()).unwrap();
    prints(&shelf.ask(&[]), "");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_index_that_others_may_have_written_is_not_read() {
    let key = public_key();
    let shelf = Shelf::new(&[line(&key)]);
    let (file, dir) = (shelf.file(), shelf.index.clone());
    let refused = |why: &str| refuses(&shelf.ask(&[]), 1, why);
    chmod(&file, 0o666);
    refused("may be changed by others");
    chmod(&file, 0o644);
    chown(&file, Some(UID), None).unwrap();
    refused("is not root's");
    chown(&file, Some(0), None).unwrap();
    for (mode, why) in [
        (0o777, "may be changed by others"),
        (0o775, "may be changed by others"),
    ] {
        chmod(&dir, mode);
        refused(why);
    }
    chmod(&dir, 0o755);
    chown(&dir, Some(UID), None).unwrap();
    refused("belongs to another user");
    chown(&dir, Some(0), None).unwrap();
    prints(&shelf.ask(&[]), &format!("{key}\n"));

    // A directory above it counts as well, and so does a link in the place of the file.
    let open = tempfile::tempdir_in("/tmp").unwrap();
    chmod(open.path(), 0o755);
    let below = open.path().join("keys");
    fs::create_dir(&below).unwrap();
    chmod(&below, 0o755);
    fs::copy(&file, below.join(UID.to_string())).unwrap();
    refuses(
        &shelf.keys_user.ask(&below, &["daemon"]),
        1,
        "/tmp may be changed by others",
    );
    let moved = dir.join("moved");
    fs::hard_link(&file, &moved).unwrap();
    fs::remove_file(&file).unwrap();
    symlink("moved", &file).unwrap();
    refused("is a symbolic link");
    refuses(
        &shelf.keys_user.ask(&dir.join("none"), &["daemon"]),
        1,
        "is not there",
    );
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn root_is_refused() {
    let shelf = Shelf::new(&[line(&public_key())]);
    let mut command = sshkeyd();
    command
        .args(["authorized-keys", "daemon", "--index"])
        .arg(&shelf.index)
        .args(["--chain", "/bin/echo", "lines"]);
    refuses(&Ran::of(&mut command), 77, "not as root");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn names_that_nobody_has_print_nothing_and_reach_nobody() {
    let shelf = Shelf::new(&[line(&public_key())]);
    let ask = |user: &str| {
        let args = [user, "--chain", "/bin/echo", "reached"];
        shelf.keys_user.ask(&shelf.index, &args)
    };
    for user in ["../1", "1/../1", "..", "", "a\nb", "a\u{1b}[2Jb", "a\u{7f}"] {
        let ran = ask(user);
        refuses(&ran, 64, "is not the name of a local user");
        let is_plain = |c: char| !c.is_control() || c == '\n';
        assert!(ran.err.chars().all(is_plain), "{ran:?}");
    }
    refuses(&ask("-x"), 64, "");
    let alone = shelf.keys_user.ask(&shelf.index, &["no-such-user-here"]);
    refuses(&alone, 1, "there is no local user");
    // Who is a user only to sshd may still be known to the other command.
    prints(&ask("no-such-user-here"), "reached\n");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_key_that_is_no_key_prints_nothing() {
    let key = public_key();
    let shelf = Shelf::new(&[line(&key)]);
    let [kind, blob] = words(&key);
    prints(&shelf.ask(&[&kind, &blob]), &format!("{key}\n"));
    prints(
        &shelf.ask(&[&key.fingerprint().to_string()]),
        &format!("{key}\n"),
    );
    prints(&shelf.ask(&[&public_key().fingerprint().to_string()]), "");
    let [_, other] = words(&public_key());
    prints(&shelf.ask(&[&kind, &other]), "");
    refuses(&shelf.ask(&["MD5:11:22"]), 64, "a fingerprint is SHA256:");
    refuses(&shelf.ask(&["ssh-rsa", &blob]), 64, "another type");
    refuses(&shelf.ask(&[&kind, &blob[..10]]), 64, "");
    refuses(
        &shelf.ask(&[&"a".repeat(100_000)]),
        64,
        "longer than any key",
    );
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_chained_command_adds_its_lines_and_never_costs_ours() {
    let (ours, theirs) = (public_key(), public_key());
    let shelf = Shelf::new(&[line(&ours)]);
    let chain = |args: &[&str]| shelf.ask(&[&["--chain"], args].concat());
    let good = shelf.script("good", &format!("echo \"# $*\"\necho '{theirs}'"));
    let words = ["daemon", "--index", "-x", "--", "a b"];
    prints(
        &chain(&[&[good.as_str()][..], &words].concat()),
        &format!("{ours}\n# daemon --index -x -- a b\n{theirs}\n"),
    );

    let failing = shelf.script("failing", "echo half a line; exit 3");
    let ran = chain(&[&failing]);
    prints(&ran, &format!("{ours}\n"));
    assert!(ran.err.contains("what it printed is left out"), "{ran:?}");
    let slow = shelf.script("slow", "echo too early; sleep 300 & echo $! > \"$1\"; wait");
    let told = shelf.keys_user.dir().join("pid");
    put(&told, "", 0o666);
    let began = clock::monotonic();
    let ran = chain(&[&slow, told.to_str().unwrap()]);
    let took = clock::monotonic() - began;
    prints(&ran, &format!("{ours}\n"));
    assert!(took > SECOND && took < 8 * SECOND, "{took:?}");
    let pid = fs::read_to_string(&told).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    wait_until("its child to be dead", || {
        !fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "))
    });
    for absent in ["/nonexistent/program", "true"] {
        prints(&chain(&[absent]), &format!("{ours}\n"));
    }
    // sshd would not run what others may write, nor do we.
    chmod(Path::new(&good), 0o777);
    let ran = chain(&[&good]);
    prints(&ran, &format!("{ours}\n"));
    assert!(ran.err.contains("may be changed by others"), "{ran:?}");
    chmod(Path::new(&good), 0o755);

    // Our own doubt does not cost theirs.
    damage(&shelf.file());
    prints(&chain(&[&good]), &format!("# \n{theirs}\n"));
    refuses(&chain(&[&failing]), 1, "is damaged");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn sshd_takes_the_keys_of_both_commands() {
    let (keys_user, user) = (KeysUser::new(), User::new());
    let host = Host::new();
    let theirs = keys_user.dir().join("theirs");
    let chain = format!(" --chain {} %u", theirs.display());
    let sshd = Sshd::start(&keys_user.sshd_config(&host.indexes(), &chain));
    let [ours, other, nobodys] = ["ours", "other", "nobodys"].map(|n| pair(sshd.dir(), n));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = {} ] && echo '{}'\n",
        user.name, other.public
    );
    put(&theirs, &script, 0o755);
    let host = host.with_file("keys").with_command(&user.name, "keys");
    host.write_file("keys", &format!("{}\n", ours.public));
    host.once().done();
    for (key, gets_in) in [(&ours, true), (&other, true), (&nobodys, false)] {
        assert_eq!(sshd.lets_in(&user, &key.private), gets_in, "{}", sshd.log());
    }
    put(&theirs, "#!/bin/sh\nexit 1\n", 0o755);
    assert!(sshd.lets_in(&user, &ours.private), "{}", sshd.log());
    // In doubt of our index, sshd's own files still count.
    damage(&host.indexes().join(user.uid.to_string()));
    user.authorize(&format!("{} mine\n", nobodys.public));
    assert!(!sshd.lets_in(&user, &ours.private));
    assert!(sshd.lets_in(&user, &nobodys.private), "{}", sshd.log());
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn of_ten_thousand_keys_the_one_is_found() {
    let keys_user = KeysUser::new();
    let key = |number: u32| {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([number.to_be_bytes(); 8].concat());
        let raw = RawKey::from_words(b"ssh-ed25519", STANDARD.encode(blob).as_bytes());
        PublicKey::try_from(raw.unwrap()).unwrap()
    };
    let host = Host::new().with_file("keys").with_command("daemon", "keys");
    let text: String = (0..10_000).map(|n| format!("{} k{n}\n", key(n))).collect();
    host.write_file("keys", &text);
    host.once().done();
    prints(&keys_user.ask(&host.indexes(), &["daemon"]), &text);
    for number in [0, 4_999, 9_999] {
        let [kind, blob] = words(&key(number));
        let ran = keys_user.ask(&host.indexes(), &["daemon", &kind, &blob]);
        prints(&ran, &format!("{} k{number}\n", key(number)));
    }
    let absent = key(10_000).fingerprint().to_string();
    prints(&keys_user.ask(&host.indexes(), &["daemon", &absent]), "");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn the_state_is_passed_by_others_and_all_else_of_it_is_closed() {
    let (keys_user, service) = (KeysUser::new(), Service::start());
    let mut host = Host::new()
        .of_account(&service)
        .with_file("keys")
        .with_command("daemon", "account keys");
    let state = host.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    chmod(&state, 0o700);
    let key = public_key();
    host.write_file("keys", &format!("{key}\n"));
    host.up();
    host.wait_listed();
    wait_until("the index", || {
        keys_user.ask(&host.indexes(), &["daemon"]).out == format!("{key}\n")
    });
    service.save(&public_key(), "saved", &[]);
    wait_until("the one before", || {
        host.indexes().join("1.previous").exists()
    });
    host.stop();
    assert_eq!((mode(&state), mode(&host.indexes())), (0o711, 0o755));
    let (mut todo, mut files) = (vec![state], 0);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is_index = path.starts_with(host.indexes());
            if path.is_dir() {
                assert_eq!(
                    mode(&path),
                    if is_index { 0o755 } else { 0o700 },
                    "{path:?}"
                );
                todo.push(path);
            } else {
                assert_eq!(
                    mode(&path),
                    if is_index { 0o644 } else { 0o600 },
                    "{path:?}"
                );
                files += 1;
            }
        }
    }
    assert!(
        files >= 5,
        "identity, session, list, lock, record and index: {files}"
    );
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_index_is_written_when_it_changes_and_put_back_when_somebody_changes_it() {
    let keys_user = KeysUser::new();
    let mut host = Host::new().with_file("keys").with_command("daemon", "keys");
    let [old, new] = [(); 2].map(|()| public_key());
    host.write_file("keys", &format!("{old}\n"));
    host.up();
    let indexes = host.indexes();
    let index = indexes.join("1");
    let ask = || keys_user.ask(&indexes, &["daemon"]).out;
    wait_until("the index", || ask() == format!("{old}\n"));
    let about = || {
        let meta = fs::metadata(&index).unwrap();
        (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec())
    };
    let before = about();
    let applied = host.sync().targets[0].applied_at;
    assert_eq!(host.sync().targets[0].applied_at, applied);
    assert_eq!(about(), before, "nothing changed, nothing is written");

    for spoil in [
        &damage as &dyn Fn(&Path),
        &|file| chmod(file, 0o666),
        &|file| {
            fs::remove_file(file).unwrap();
        },
    ] {
        let began = clock::monotonic();
        spoil(&index);
        wait_until("a good index", || {
            index.exists() && mode(&index) == 0o644 && ask() == format!("{old}\n")
        });
        let took = clock::monotonic() - began;
        assert!(took < 3 * SECOND, "{took:?}");
    }
    assert!(
        !host.indexes().join("1.previous").exists(),
        "damage is never the one before"
    );
    host.write_file("keys", &format!("{new}\n"));
    wait_until("the change", || ask() == format!("{new}\n"));
    host.kill();
    damage(&index);
    assert_eq!(
        ask(),
        format!("{new}\n"),
        "a deleted key does not come back"
    );
    host.up();
    wait_until("the change again", || ask() == format!("{new}\n"));

    let ran = host.run(&["unmanage"]).done();
    assert!(ran.out.contains("nothing of ours is left"), "{ran:?}");
    assert_eq!(fs::read_dir(host.indexes()).unwrap().count(), 0);
    prints(&keys_user.ask(&host.indexes(), &["daemon"]), "");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_index_that_nobody_could_read_is_a_condition() {
    let host = Host::new().with_file("keys").with_command("daemon", "keys");
    host.write_file("keys", &format!("{}\n", public_key()));
    chmod(host.dir.path(), 0o700);
    let ran = host.once();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let why = "cannot be passed by others";
    assert!(ran.err.contains("unsafe-path"), "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
    chmod(host.dir.path(), 0o755);
    host.once().done();
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_agent_that_is_cut_off_anywhere_leaves_an_index_of_before_or_after() {
    let keys_user = KeysUser::new();
    let host = Host::new().with_file("keys").with_command("daemon", "keys");
    // By turns a key comes and goes: what stood before is kept, or goes as well.
    let one = format!("{}\n", public_key());
    let two = format!("{one}{}\n", public_key());
    host.write_file("keys", &one);
    host.once().done();
    let ask = || keys_user.ask(&host.indexes(), &["daemon"]);
    let (mut held, mut next, mut cut) = (one, two, 0);
    let errors = ["fchmod", "fsync", "renameat2", "renameat", "unlinkat"];
    let kill = ["write"]
        .iter()
        .chain(&errors)
        .map(|call| (*call, "signal=KILL"));
    let all = kill.chain(errors.iter().map(|call| (*call, "error=ENOSPC")));
    for (call, what) in all {
        let mut missed = 0;
        for nth in 1..=60 {
            host.write_file("keys", &next);
            host.configure();
            let mut strace = Command::new("timeout");
            strace
                .args(["30", "strace", "-f", "-o", "/dev/null"])
                .args(["-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:{what}:when={nth}")])
                .arg(env!("CARGO_BIN_EXE_sshkeyd"))
                .args(["agent", "--once", "--config"])
                .arg(&host.config);
            let ran = Ran::of(&mut strace);
            let said = ask();
            let whole = [&held, &next].contains(&&said.out) && said.code == Some(0);
            assert!(
                whole && said.err.is_empty(),
                "{call} {what} {nth}: {said:?}"
            );
            host.once().done();
            prints(&ask(), &next);
            let left = fs::read_dir(host.indexes()).unwrap().count();
            assert!(left <= 2, "{call} {what} {nth}: {left} files");
            std::mem::swap(&mut held, &mut next);
            // strace counts each thread's calls by itself, and not every error is an end.
            let is_whole = ran.code == Some(0);
            missed += u32::from(is_whole);
            cut += u32::from(!is_whole);
            if missed == 3 {
                break;
            }
        }
    }
    assert!(cut >= 15, "only {cut} runs were cut off");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_narrow_umask_closes_nothing_that_is_to_be_open() {
    let keys_user = KeysUser::new();
    let host = Host::new().with_file("keys").with_command("daemon", "keys");
    let key = public_key();
    host.write_file("keys", &format!("{key}\n"));
    host.configure();
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_sshkeyd"))
        .args(["agent", "--once", "--config"])
        .arg(&host.config);
    Ran::of(&mut command).done();
    prints(
        &keys_user.ask(&host.indexes(), &["daemon"]),
        &format!("{key}\n"),
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_missing_user_is_a_condition_that_says_what_to_do_and_changes_nothing() {
    let keys_user = KeysUser::new();
    let managed = Managed::new("");
    let host = managed.host_of("").with_program(&keys_user.program);
    let mut host = host.with_command(&managed.user.name, "list");
    host.up();
    wait_until("the drop-in", || managed.drop_in().exists());
    wait_until("a login", || managed.lets_in(&managed.listed));
    let text = fs::read_to_string(managed.drop_in()).unwrap();
    host.stop();

    // The same machine without the user, in a mount namespace of its own.
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let others = passwd
        .lines()
        .filter(|line| !line.starts_with("sshkeyd-keys:"));
    let without = keys_user.dir().join("passwd");
    put(
        &without,
        &(others.collect::<Vec<_>>().join("\n") + "\n"),
        0o644,
    );
    let mut command = Command::new("unshare");
    command
        .args([
            "-m",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/passwd && exec \"$@\"",
        ])
        .arg(&without)
        .arg(&keys_user.program)
        .args(["agent", "--once", "--config"])
        .arg(&host.config);
    let ran = Ran::of(&mut command);
    assert!(ran.err.contains("keys-user-missing"), "{ran:?}");
    assert!(ran.err.contains("useradd --system"), "{ran:?}");
    assert_eq!(fs::read_to_string(managed.drop_in()).unwrap(), text);
    assert!(managed.lets_in(&managed.listed), "{}", managed.sshd.log());
    let ran = host.once().done();
    assert!(!ran.err.contains("keys-user-missing"), "{ran:?}");
}

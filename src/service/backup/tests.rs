//! Copies, what is made of them, and what is refused.

use super::*;
use crate::service::Service;
use jiff::SignedDuration;
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

struct Bed {
    dir: tempfile::TempDir,
    config: ServerConfig,
}

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T19:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::service::api::tests::config(&dir);
        config.database = Database::Sqlite(dir.path().join("sshkeyd.db"));
        Self { dir, config }
    }

    fn database(&self) -> &Path {
        self.config.database.file().unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, seconds: i64) -> Service {
        Service::open_at(&self.config, Arc::new(move || at(seconds))).unwrap()
    }

    /// Returns when nobody has the database open: the last takes its log away.
    async fn closed(&self) {
        while with_end(self.database(), "-wal").exists() {
            tokio::task::yield_now().await;
        }
    }

    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let db = Connection::open(self.database()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn a_copy_of_a_database_in_use_is_whole_private_and_of_one_moment() {
    let bed = Bed::new();
    let service = bed.open(0);
    service.add_account("a@example.com", None).await.unwrap();
    backup(&bed.config, &bed.file("copy")).unwrap();
    service.add_account("b@example.com", None).await.unwrap();
    let mode = std::fs::metadata(bed.file("copy"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let count = |path: PathBuf| {
        let db = Connection::open(path).unwrap();
        db.query_row("SELECT count(*) FROM accounts", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
    };
    assert_eq!(count(bed.file("copy")), 1);
    backup(&bed.config, &bed.file("copy")).unwrap();
    assert_eq!(count(bed.file("copy")), 2);
    let refused = backup(&bed.config, bed.database());
    assert!(matches!(refused, Err(BackupError::Itself(_))));
    let refused = backup(&bed.config, &bed.file("none/copy"));
    assert!(matches!(refused, Err(BackupError::File { .. })));
    let left = std::fs::read_dir(bed.dir.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.ends_with(".tmp")));
}

#[tokio::test]
async fn a_restore_lifts_every_account_and_gives_no_number_twice() {
    let bed = Bed::new();
    let service = bed.open(0);
    service.add_account("a@example.com", None).await.unwrap();
    backup(&bed.config, &bed.file("copy")).unwrap();
    let refused = restore(&bed.config, &bed.file("copy"), at(10));
    assert!(matches!(refused, Err(BackupError::InUse(_))));
    service.add_account("b@example.com", None).await.unwrap();
    // What agents have seen lies ahead: a clock that was wrong for a while.
    let ahead = u64::try_from(at(100_000).as_millisecond()).unwrap();
    let seen = service.store.lift(1, ahead, at(5)).await.unwrap();
    drop(service);
    let restored = loop {
        // The store's own thread lets go of the database when it has ended.
        match restore(&bed.config, &bed.file("copy"), at(10)) {
            Err(BackupError::InUse(_)) => tokio::task::yield_now().await,
            done => break done.unwrap(),
        }
    };
    assert_eq!((restored.accounts, restored.sessions), (1, 0));
    let revision: i64 = bed.ask("SELECT revision FROM accounts");
    assert!(u64::try_from(revision).unwrap() > seen, "{revision} {seen}");
    let action: String = bed.ask("SELECT action FROM audit ORDER BY id DESC LIMIT 1");
    assert_eq!(action, "server.restore");
    let kept = Connection::open(restored.kept.unwrap()).unwrap();
    let accounts: i64 = kept
        .query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(accounts, 2);
    // The next account is the third, though the second is not there any more.
    let service = bed.open(20);
    let made = service.add_account("c@example.com", None).await.unwrap();
    assert_eq!(made.account, 3);
}

#[tokio::test]
async fn a_restore_revokes_every_certificate_that_was_signed_before_it() {
    use crate::service::store::{Actor, CertificateRow, Issued};
    use crate::trust::Role;
    let bed = Bed::new();
    let service = bed.open(0);
    service.add_account("a@example.com", None).await.unwrap();
    let ca = service.cas(1, Role::User).await.unwrap().remove(0).id;
    let issue = async |service: &Service| {
        let row = CertificateRow {
            ca,
            key_id: "1/0/1".to_owned(),
            fingerprint: "SHA256:a".to_owned(),
            ssh_key: None,
            session: None,
            api_key: None,
            instance: None,
            valid_after: at(0),
            valid_before: at(3_600),
        };
        let issued = service.store.add_certificate(Actor::server(1), row, at(1));
        match issued.await.unwrap() {
            Issued::Serial(serial) => serial,
            other => panic!("{other:?}"),
        }
    };
    let before = issue(&service).await;
    backup(&bed.config, &bed.file("copy")).unwrap();
    let unknown = issue(&service).await;
    drop(service);
    bed.closed().await;
    restore(&bed.config, &bed.file("copy"), at(10)).unwrap();
    let service = bed.open(20);
    let after = issue(&service).await;
    let revoked = async || {
        let (_, krl) = service.store.keys_and_krl(1, None).await.unwrap();
        let krl = krl.unwrap();
        let of_ca = krl.certificates.values().next().unwrap();
        [before, unknown, after].map(|serial| of_ca.serials.contains(serial))
    };
    assert_eq!(revoked().await, [true, true, false]);
    // Until none of them can be good.
    let day = 24 * 3_600;
    service.store.forget_certificates(at(day)).await.unwrap();
    assert_eq!(revoked().await, [true, true, false]);
    let over = at(day + 3_700);
    service.store.forget_certificates(over).await.unwrap();
    assert_eq!(revoked().await, [false; 3]);
}

#[tokio::test]
async fn where_the_old_database_is_gone_or_damaged_numbers_go_far_ahead() {
    let bed = Bed::new();
    let service = bed.open(0);
    service.add_account("a@example.com", None).await.unwrap();
    backup(&bed.config, &bed.file("copy")).unwrap();
    drop(service);
    let overwrite = || {
        let options = std::fs::OpenOptions::new().write(true).open(bed.database());
        io::Write::write_all(&mut options.unwrap(), &[7; 4096]).unwrap();
    };
    bed.closed().await;
    overwrite();
    let restored = restore(&bed.config, &bed.file("copy"), at(10)).unwrap();
    let kept = std::fs::read(restored.kept.unwrap()).unwrap();
    assert_eq!(kept[..4096], [7; 4096]);
    let service = bed.open(20);
    let made = service.add_account("c@example.com", None).await.unwrap();
    assert!(made.account > 1_000_000, "{}", made.account);
}

#[tokio::test]
async fn what_is_no_copy_of_ours_changes_nothing() {
    let bed = Bed::new();
    let service = bed.open(0);
    service.add_account("a@example.com", None).await.unwrap();
    backup(&bed.config, &bed.file("copy")).unwrap();
    drop(service);
    bed.closed().await;
    let before = std::fs::read(bed.database()).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(bed.file(name));
        io::Write::write_all(&mut file.unwrap(), bytes).unwrap();
        bed.file(name)
    };
    let whole = std::fs::read(bed.file("copy")).unwrap();
    let mut bent = whole.clone();
    // The second page: a table's root, whatever the schema is.
    bent[4096..8192].fill(0xff);
    let newer = bed.file("newer");
    std::fs::copy(bed.file("copy"), &newer).unwrap();
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let other = bed.file("other");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    for file in [
        put("text", b"not a database at all"),
        put("empty", b""),
        put("half", &whole[..whole.len() / 2]),
        put("bent", &bent),
        newer,
        other,
        bed.file("nowhere"),
        bed.database().to_owned(),
    ] {
        let refused = restore(&bed.config, &file, at(10));
        assert!(refused.is_err(), "{}", file.display());
        assert_eq!(std::fs::read(bed.database()).unwrap(), before);
    }
    restore(&bed.config, &bed.file("copy"), at(10)).unwrap();
}

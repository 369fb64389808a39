//! Exports that came through whole, and those that did not.

use super::*;
use crate::service::Service;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

struct Bed {
    dir: tempfile::TempDir,
    config: ServerConfig,
}

impl Bed {
    async fn with_an_account() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::service::api::tests::config(&dir);
        config.database = Database::Sqlite(dir.path().join("sshkeyd.db"));
        let service = Service::open(&config).unwrap();
        service.add_account("a@example.com", None).await.unwrap();
        Self { dir, config }
    }

    fn other(&self, name: &str) -> ServerConfig {
        ServerConfig {
            database: Database::Sqlite(self.file(name)),
            ..self.config.clone()
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn exported(&self, config: &ServerConfig) -> Vec<u8> {
        let mut bytes = Vec::new();
        export_to(config, &mut bytes).unwrap();
        bytes
    }

    /// What is said of it; nothing is left behind.
    fn refused(&self, bytes: &[u8]) -> String {
        let config = self.other("other.db");
        let refused = import(&config, &mut &*bytes, Path::new("x"), None).unwrap_err();
        let left = std::fs::read_dir(self.dir.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = left
            .filter(|name| name.starts_with("other.db") && name != "other.db.lock")
            .collect();
        assert!(left.is_empty(), "{left:?}");
        refused.to_string()
    }
}

#[tokio::test]
async fn what_was_imported_exports_the_same() {
    let bed = Bed::with_an_account().await;
    let bytes = bed.exported(&bed.config);
    let other = bed.other("other.db");
    let moved = import(&other, &mut &*bytes, Path::new("x"), None).unwrap();
    assert!(moved.rows > 1 && moved.lifted.is_none());
    let lines = |bytes: Vec<u8>| {
        let mut lines: Vec<_> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        lines.truncate(lines.len() - 2);
        lines.sort();
        lines
    };
    assert_eq!(lines(bed.exported(&other)), lines(bytes.clone()));
    let again = import(&other, &mut &*bytes, Path::new("x"), None).unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");

    export(&bed.config, &bed.file("all.jsonl")).unwrap();
    let about = std::fs::metadata(bed.file("all.jsonl")).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn a_file_that_was_cut_off_or_bent_is_refused_and_leaves_nothing() {
    let bed = Bed::with_an_account().await;
    let bytes = bed.exported(&bed.config);
    let step = bytes.len() / 40;
    for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
        bed.refused(&bytes[..at]);
        for bit in [1, 0x20] {
            let mut bent = bytes.clone();
            bent[at] ^= bit;
            bed.refused(&bent);
        }
    }
    assert!(bed.refused(&bytes[..bytes.len() - 1]).contains("cut off"));
    let mut longer = bytes.clone();
    longer.extend(b"[]\n");
    assert!(bed.refused(&longer).contains("behind its end"));
    // A row less, in which nothing else is wrong.
    let lines: Vec<_> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let mut fewer = lines.clone();
    fewer.remove(lines.len() - 2);
    assert!(bed.refused(&fewer.concat()).contains("SHA-256"));
}

#[tokio::test]
async fn another_schema_and_other_secrets_are_refused_with_what_to_do() {
    let bed = Bed::with_an_account().await;
    let text = String::from_utf8(bed.exported(&bed.config)).unwrap();
    let ours = format!("\"sqlite\":{}", Steps::OURS.sqlite);
    assert!(text.contains(&ours));
    let older = text.replacen(&ours, "\"sqlite\":1", 1);
    assert!(bed.refused(older.as_bytes()).contains("export again"));
    let newer = text.replacen(&ours, "\"sqlite\":99", 1);
    assert!(bed.refused(newer.as_bytes()).contains("newer"));
    let lacks = text.replacen("\"revision\",", "", 1);
    assert!(bed.refused(lacks.as_bytes()).contains("shape"));

    for secrets in ["none", "others"] {
        let mut config = bed.other("third.db");
        config.secrets_dir = bed.file(secrets);
        if secrets == "others" {
            secrets::Secrets::load(&config.secrets_dir).unwrap();
        }
        let refused = import(&config, &mut text.as_bytes(), Path::new("x"), None).unwrap_err();
        assert!(refused.to_string().contains("copy the whole"), "{refused}");
        assert!(!bed.file("third.db").exists());
        assert_eq!(bed.file(secrets).exists(), secrets == "others");
    }
}

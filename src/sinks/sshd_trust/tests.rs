//! The files in directories that are not as they were left.

#![expect(clippy::disallowed_methods, reason = "a test sets files up by path")]

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// A directory of root's that others may pass, and ours in it.
fn place() -> (tempfile::TempDir, TrustFiles) {
    let top = tempfile::tempdir_in("/var/lib").unwrap();
    fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
    let files = TrustFiles::new(&top.path().join("trust"));
    (top, files)
}

fn list(version: u64) -> Wanted {
    let mut krl = Krl {
        version,
        comment: "account 1".to_owned(),
        ..Krl::default()
    };
    let key = crate::trust::Signer::from_seed(&[7; 32]).public();
    krl.sha256.insert(key.fingerprint());
    Wanted {
        krl: WantedKrl::Is {
            version,
            bytes: Arc::new(krl.encode()),
        },
        ..Wanted::default()
    }
}

async fn standing(files: &TrustFiles, wanted: &Wanted) -> Put {
    files.put(wanted, true, &Left::new()).await
}

#[tokio::test]
#[ignore = "needs root; tests/run includes it"]
async fn a_list_that_sshd_knows_by_another_name_stays() {
    let (top, files) = place();
    standing(&files, &list(5)).await;
    let link = top.path().join("link");
    symlink("trust", &link).unwrap();
    let by_link = TrustFiles::new(&link);
    let both = [
        (&files, by_link.krl().display().to_string()),
        (&by_link, files.krl().display().to_string()),
        (&files, format!("{} # ours", files.krl().display())),
    ];
    for (asked, named) in both {
        let left = asked.clear((true, true), &[named].into()).await;
        assert_eq!(left, [asked.krl()]);
        assert!(files.krl().exists());
    }
    assert!(files.clear((true, true), &BTreeSet::new()).await.is_empty());
    assert!(!files.krl().exists());
}

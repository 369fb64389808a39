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

#[tokio::test]
#[ignore = "needs root; tests/run includes it"]
async fn a_list_that_sshd_reads_stays_named_and_is_not_forgotten() {
    let (top, files) = place();
    standing(&files, &list(5)).await;
    let before = fs::read(files.krl()).unwrap();
    // Others may change what is above: nothing is written there, and what was revoked stays so.
    fs::set_permissions(top.path(), Permissions::from_mode(0o777)).unwrap();
    for wanted in [list(6), Wanted::default(), Wanted::nothing()] {
        let put = standing(&files, &wanted).await;
        assert_eq!(put.standing.krl, Some(5), "{wanted:?}");
        let is_said = put.findings.iter().any(|f| f.code == Code::KrlNotInForce);
        assert_eq!(
            is_said,
            wanted.krl != WantedKrl::Nothing,
            "{:?}",
            put.findings
        );
        assert_eq!(fs::read(files.krl()).unwrap(), before);
    }
    fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
    // A link to it, one that others may change: the same in its place, and no empty one.
    let aside = top.path().join("aside");
    fs::rename(files.krl(), &aside).unwrap();
    symlink(&aside, files.krl()).unwrap();
    let put = standing(&files, &Wanted::default()).await;
    assert_eq!((put.standing.krl, put.findings), (Some(5), Vec::new()));
    assert!(fs::symlink_metadata(files.krl()).unwrap().is_file());
    fs::set_permissions(files.krl(), Permissions::from_mode(0o666)).unwrap();
    standing(&files, &Wanted::default()).await;
    assert_eq!(fs::read(files.krl()).unwrap(), before);
    let mode = fs::metadata(files.krl()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[tokio::test]
#[ignore = "needs root; tests/run includes it"]
async fn a_list_that_was_lost_is_said_to_be_for_as_long_as_it_is() {
    let (_top, files) = place();
    standing(&files, &list(5)).await;
    fs::remove_file(files.krl()).unwrap();
    for _ in 0..2 {
        let put = standing(&files, &Wanted::default()).await;
        assert_eq!(put.standing.krl, Some(0));
        assert_eq!(put.findings.len(), 1, "{:?}", put.findings);
    }
    let put = standing(&files, &list(5)).await;
    assert_eq!((put.standing.krl, put.findings), (Some(5), Vec::new()));
}

//! Secret files: what is read, what is said about their modes, and what is refused.

use super::*;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

fn file(directory: &Path, bytes: &[u8], mode: u32) -> PathBuf {
    let mut file = tempfile::NamedTempFile::new_in(directory).unwrap();
    file.write_all(bytes).unwrap();
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .unwrap();
    file.into_temp_path().keep().unwrap()
}

#[test]
fn a_secret_is_trimmed_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let read = read_secret_file(&file(dir.path(), b"  skd_enr_abc \r\n", 0o600)).unwrap();
    assert_eq!(read.secret.expose(), "skd_enr_abc");
    assert!(!read.readable_by_others);
    assert!(!format!("{read:?}").contains("abc"));
}

#[test]
fn a_file_that_others_may_read_is_read_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o640, 0o604] {
        let read = read_secret_file(&file(dir.path(), b"x", mode)).unwrap();
        assert!(read.readable_by_others);
    }
}

#[test]
fn what_is_no_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = read_secret_file(&dir.path().join("none"));
    assert!(matches!(missing, Err(SecretError::Missing(_))));
    let beyond = vec![b'x'; MAX_SECRET as usize + 1];
    let unfit: [&[u8]; 4] = [b" \n", b"\xff", b"one\ntwo", &beyond];
    for bytes in unfit {
        let read = read_secret_file(&file(dir.path(), bytes, 0o600));
        assert!(matches!(read, Err(SecretError::Unfit(..))), "{read:?}");
    }
    let directory = read_secret_file(dir.path());
    assert!(matches!(directory, Err(SecretError::Unfit(..))));
}

#[test]
fn a_credential_is_found_by_its_plain_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), b"secret", 0o600);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let at = dir.path().as_os_str().to_owned();
    let env = move |key: &str| (key == "CREDENTIALS_DIRECTORY").then(|| at.clone());
    assert_eq!(credential(&env, &name), Some(path));
    assert_eq!(credential(&env, "other"), None);
    assert_eq!(credential(&env, "../passwd"), None);
    assert_eq!(credential(&|_| None, &name), None);
    // What a unit sets where its file is not there.
    let blank = file(dir.path(), b" ", 0o600);
    let blank = blank.file_name().unwrap().to_str().unwrap();
    assert_eq!(credential(&env, blank), None);
}

//! What is kept of an enrolment, where it was copied or is damaged.

use super::*;

fn load(dir: &Path, source: &str, host: HostMarks) -> Enroller {
    let settings = AccountSource {
        urls: Vec::new(),
        enroll_token_file: None,
        ca_file: None,
        signers: Vec::new(),
        proxy: false,
    };
    Enroller::load(source, &settings, dir, "run", host).unwrap()
}

#[test]
fn damaged_files_are_set_aside_and_the_agent_begins() {
    let dir = tempfile::tempdir().unwrap();
    let first = load(dir.path(), "a", HostMarks::default());
    for path in [first.tried_path(), first.path()] {
        private_file::replace(&path, b"{\"cut").unwrap();
    }
    let begun = load(dir.path(), "a", HostMarks::default());
    assert!(begun.kept().is_none() && begun.tried.is_empty());
    assert!(!begun.tried_path().exists() && !begun.path().exists());
}

#[test]
fn of_two_sources_on_a_copy_the_second_leaves_the_new_identity_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let marks = |name: &str| serde_json::from_str(&format!("{{\"CONTAINER_ID\":\"{name}\"}}"));
    let load = |source: &str, host: HostMarks| load(dir.path(), source, host);
    let original = identity(dir.path()).unwrap().public();
    for source in ["a", "b"] {
        let mut enroller = load(source, HostMarks::default());
        let kept = Enrolment {
            instance: 1,
            account: 1,
            session_key: String::new(),
            signers: Vec::new(),
            floor: 0,
            host: marks("first").unwrap(),
            identity: Some(original.to_string()),
        };
        enroller.keep(kept).unwrap();
    }
    let [a, b] = ["a", "b"].map(|source| load(source, marks("second").unwrap()));
    assert!(a.clone_finding().is_some() && b.clone_finding().is_some());
    a.set_aside().unwrap();
    let new = identity(dir.path()).unwrap().public();
    assert_ne!(new, original);
    b.set_aside().unwrap();
    assert_eq!(identity(dir.path()).unwrap().public(), new);
}

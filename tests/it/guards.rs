//! What keeps a configuration or a source from doing harm by accident; no service, no SSH.

use crate::support::host::{Home, Host, read};
use crate::support::ssh::public_key;
use sshkeyd::keys::PublicKey;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// A fixed path and a template may name one file: nobody sees it before the user is known.
#[test]
#[ignore = "needs root; tests/run includes it"]
fn two_targets_of_one_file_do_not_fight_over_it() {
    let home = Home::new();
    let [one, two] = [(); 2].map(|()| public_key());
    let dir = home.path();
    let more = format!(
        "[[target]]\nuser = \"root\"\npath = \"{0}/root\"\nsources = [\"one\"]\n\
         [[target]]\nuser = \"root\"\npath = \"{0}/%u\"\nsources = [\"two\"]\n",
        dir.display()
    );
    let mut host = Host::new()
        .with_file("one")
        .with_file("two")
        .with_home(&home, "two", &more);
    host.write_file("one", &format!("{one} one\n"));
    host.write_file("two", &format!("{two} two\n"));
    host.up();
    home.wait_has(&two, true);
    assert_eq!(
        host.wait_condition("another-agent").about,
        format!("{}/root", dir.display())
    );
    let inode = || fs::metadata(dir.join("root")).unwrap().ino();
    let before = inode();
    host.sync();
    assert_eq!(inode(), before);
    let text = read(&dir.join("root"));
    assert!(text.contains(&one.to_string()) && !text.contains(&two.to_string()));
}

/// One reading is one answer: a list that lost its keys by accident needs two more.
#[test]
fn a_shrunk_list_is_not_believed_by_running_once() {
    let home = Home::new();
    let host = Host::new()
        .with_file("break-glass")
        .with_home(&home, "break-glass", "");
    let keys = [(); 5].map(|()| public_key());
    let list = |keys: &[PublicKey]| {
        keys.iter()
            .map(|key| format!("{key}\n"))
            .collect::<String>()
    };
    host.write_file("break-glass", &list(&keys));
    host.configure();
    host.once().done();
    host.write_file("break-glass", &list(&keys[..1]));
    for _ in 0..3 {
        host.once();
        assert!(home.has(&keys[4]));
    }
}

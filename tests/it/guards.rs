//! What keeps a configuration or a source from doing harm by accident; no service, no SSH.

use crate::support::host::{Home, Host, read};
use crate::support::process::pause;
use crate::support::ssh::public_key;
use sshkeyd::keys::PublicKey;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

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

/// One run is one answer: a list that lost its keys by accident needs two more, also where the agent
/// never runs for longer than that.
#[test]
fn a_shrunk_list_is_believed_by_the_third_run_and_not_before() {
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
    let runs = |list: &[PublicKey], most: usize| {
        let text = list
            .iter()
            .map(|key| format!("{key}\n"))
            .collect::<String>();
        host.write_file("break-glass", &text);
        for run in 1..=most {
            host.once();
            if !home.has(&keys[4]) {
                return Some(run);
            }
            // Runs of a clock are further apart than answers that count as one.
            pause(Duration::from_millis(600));
        }
        None
    };
    // Two runs do not agree with a third that says otherwise.
    assert_eq!(runs(&keys[..1], 2), None);
    assert_eq!(runs(&keys[1..2], 2), None);
    assert_eq!(runs(&keys, 1), None);
    assert_eq!(runs(&keys[..1], 5), Some(3));
    assert!(home.has(&keys[0]));
}

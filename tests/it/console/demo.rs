//! The first thing that a newcomer does: `sshkeyd demo`, and a look at what it prints.

use crate::support::chromium::Chromium;
use crate::support::process::{Daemon, sshkeyd, wait_for};
use crate::support::sshd::{WorkDir, keygen};
use std::fs;

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn the_demo_prints_a_way_into_its_console_and_a_key_saved_there_is_proved() {
    let dir = WorkDir::new();
    let (stage, keys) = (dir.path().join("demo"), dir.path().join("keys"));
    fs::create_dir(&keys).unwrap();
    let mut command = sshkeyd();
    command.arg("demo").arg("--dir").arg(&stage);
    let mut demo = Daemon::start("demo", &mut command, dir.path());
    let printed = wait_for("the way in", || {
        assert!(demo.is_up(), "{}", demo.log());
        let log = demo.log();
        log.contains("Ctrl-C ends it").then_some(log)
    });
    let after = |word: &str| {
        let mut lines = printed
            .lines()
            .filter_map(|line| line.trim().strip_prefix(word));
        lines.next().unwrap().trim().to_owned()
    };
    let url = format!("http://{}", after("http://"));
    assert!(
        !url.contains('?') && !url.contains('#'),
        "{url}: no secret in it"
    );

    let chromium = Chromium::start();
    let page = chromium.person();
    page.open(&url);
    page.fill("textbox", "Email", &after("email"));
    page.fill("textbox", "Password", &after("password"));
    page.click("button", "Sign in");
    page.sees("1 of 1 instance live");
    keygen(&keys, "newcomer", "ed25519");
    page.click("button", "+ New SSH key");
    page.drop_file("textbox", "Public key", &keys.join("newcomer.pub"));
    page.sees("Ed25519, 256 bits");
    page.click("button", "Save key");
    page.sees("Proved on 1 of 1, ");
    page.is_clean();
    assert!(demo.stop().success());
}

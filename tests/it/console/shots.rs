//! Pictures of the console for README: written to `docs/screenshots` where `SSHKEYD_SCREENSHOTS`
//! is set, else made all the same and looked at.

use super::{Desk, add_key, no_dialog};
use crate::support::chromium::Page;
use crate::support::told::{Told, session};
use jiff::SignedDuration;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Condition, Device, Severity};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes what is on the screen, and holds that it is a picture of something.
fn shoot(page: &Page, dir: &Path, name: &str, size: (u32, u32)) {
    let png = page.screenshot();
    assert!(png.starts_with(b"\x89PNG"), "{name}");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((number(16), number(20)), size, "{name}");
    assert!(
        (10_000..300_000).contains(&png.len()),
        "{name}: {} bytes",
        png.len()
    );
    let path = dir.join(format!("{name}.png"));
    let mut file = OpenOptions::new();
    let mut file = file
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    file.write_all(&png).unwrap();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn the_pictures_for_readme_are_made() {
    let desk = Desk::new();
    let dir = match std::env::var_os("SSHKEYD_SCREENSHOTS") {
        Some(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots"),
        None => desk.service.dir().join("screenshots"),
    };
    fs::create_dir_all(&dir).unwrap();
    let page = desk.person();
    page.desk(1100, 760);
    let mut fleet: Vec<Told> = ["trainer-1", "trainer-2", "inference-eu", "render-3"]
        .map(|label| Told::enrol(&desk.service, label))
        .into();
    let keys: Vec<_> = ["ci-runner", "work-desktop", "laptop"]
        .map(|name| {
            let (pair, line) = desk.key(name, "ed25519");
            add_key(&page, &line);
            pair.public
        })
        .into();
    let all: Vec<_> = keys.iter().collect();
    for (n, told) in fleet.iter_mut().enumerate() {
        if n == 1 {
            told.status.sessions = vec![session(&keys[2], 50_022), session(&keys[2], 50_023)];
            told.status.conditions = vec![Condition {
                code: "drift-fight".to_owned(),
                severity: Severity::Warning,
                since: clock::now() - SignedDuration::from_mins(12),
                about: "root".to_owned(),
                text: "something rewrites /root/.ssh/authorized_keys again and again".to_owned(),
                todo: "find the program that rewrites the file and stop it, or give the agent \
                           a file of its own"
                    .to_owned(),
            }];
        }
        // The last one has not got as far as the others.
        told.proves(if n == 3 { &all[..2] } else { &all });
        let device = Device {
            hostname: format!("c-{}", 31_847 + n * 211),
            os: "Ubuntu 24.04 LTS".to_owned(),
            kernel: "6.8.0".to_owned(),
            ..Device::default()
        };
        told.say(Some(device), Vec::new());
    }
    page.sees("Proved on 3 of 4");
    page.sees("2 open SSH sessions");
    page.wait("no message over it", "!document.querySelector('#say p')");
    page.eval("document.activeElement.blur(), window.scrollTo(0, 0)");
    shoot(&page, &dir, "keys", (1100, 760));

    page.scheme("dark");
    page.click("button", "Delete laptop");
    page.sees("It opened 2 SSH sessions");
    shoot(&page, &dir, "delete", (1100, 760));
    page.press("Escape");
    no_dialog(&page);

    page.scheme("light");
    page.open(&format!("{}/#instances/2", desk.service.url));
    page.sees("opened with laptop");
    page.sees("drift-fight");
    shoot(&page, &dir, "instance", (1100, 760));

    page.scheme("dark");
    page.phone(360);
    page.open(&format!("{}/#keys", desk.service.url));
    page.sees("Proved on 3 of 4");
    shoot(&page, &dir, "phone", (720, 1480));
    page.is_clean();
    drop(fleet);
}

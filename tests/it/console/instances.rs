//! Instances on the page: added, looked at, renamed, removed, and the keys on one.

use super::{Desk, add_key, no_dialog};
use crate::support::told::{Told, session};
use jiff::SignedDuration;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Condition, Device, Severity};

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn an_instance_is_added_by_a_line_and_seen_to_come_up() {
    let desk = Desk::new();
    let page = desk.person();
    page.click("link", "Instances");
    page.sees("No instance yet.");
    page.click("button", "+ Add an instance");
    page.fill("textbox", "Label", "gpu box");
    page.click("button", "Make install line");
    page.click("button", "Copy the install line");
    page.sees("Copied");
    let line = page.eval("navigator.clipboard.readText()");
    let line = line.as_str().unwrap();
    let (_, token) = line.split_once("skd_enr_").unwrap();
    let token = token.split([' ', '\'', '"']).next().unwrap();
    page.sees("Waiting for it to report");
    let told = Told::with_token(&desk.service, 1, "box", &format!("skd_enr_{token}"));
    told.say(None, Vec::new());
    page.sees("It is live");
    page.click("button", "Close");
    no_dialog(&page);
    page.sees("1 live");

    page.click("button", "Rename gpu box");
    page.fill("textbox", "Label", "trainer");
    page.click("button", "Save");
    no_dialog(&page);
    page.sees("trainer");

    page.click("button", "Remove trainer");
    page.click(
        "radio",
        "Take them out: no key of this account logs in there",
    );
    page.click("button", "Remove instance");
    no_dialog(&page);
    page.sees("removing");
    let (list, _) = told.list(None);
    assert!(list.removed.unwrap().take_keys);
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn an_instance_says_how_it_is_who_is_on_it_and_what_to_do() {
    let desk = Desk::new();
    let page = desk.person();
    let (laptop, line) = desk.key("laptop", "ed25519");
    add_key(&page, &line);
    let mut web = Told::enrol(&desk.service, "web");
    web.status.sessions = vec![session(&laptop.public, 812)];
    web.status.conditions = vec![Condition {
        code: "drift-fight".to_owned(),
        severity: Severity::Warning,
        since: clock::now() - SignedDuration::from_mins(5),
        about: "root".to_owned(),
        text: "something rewrites /root/.ssh/authorized_keys again and again".to_owned(),
        todo: "find the program that rewrites the file and stop it".to_owned(),
    }];
    web.proves(&[&laptop.public]);
    let device = Device {
        hostname: "box-7".to_owned(),
        os: "Debian GNU/Linux 12".to_owned(),
        ..Device::default()
    };
    web.say(Some(device), Vec::new());
    page.click("link", "Instances");
    page.sees("1 condition");
    page.sees("1 of 1 keys proved");
    page.sees("1 open SSH session");
    page.click("link", "web");
    for said in [
        "Debian GNU/Linux 12",
        "drift-fight",
        "Something rewrites /root/.ssh/authorized_keys again and again",
        "What to do: find the program that rewrites the file and stop it",
        "root from 203.0.113.9:812",
        "opened with laptop",
        "1 proof: median",
    ] {
        page.sees(said);
    }
    page.click("button", "Detach laptop");
    page.sees("“laptop” detached.");
    page.wait(
        "the way back",
        "document.querySelector('[data-f=\"Attach laptop\"]')",
    );
    assert_eq!(web.list(None).0.keys, []);
    page.click("button", "Attach laptop");
    page.sees("“laptop” attached.");
    assert_eq!(web.list(None).0.keys.len(), 1);
    web.status.conditions.clear();
    web.status.sessions.clear();
    web.say(None, Vec::new());
    page.sees("None: all is as it should be.");
    page.sees("None is open.");
    page.is_clean();
}

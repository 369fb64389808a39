//! SSH keys on the page: checked as they are typed, saved, edited, deleted, revoked, and seen to be
//! in force.

use super::{Desk, add_key, no_dialog};
use crate::support::process::wait_for;
use crate::support::ssh::public_key;
use crate::support::told::{Told, session};
use serde_json::json;
use sshkeyd::wire::{OrderOutcome, Page, SshKey};
use std::fs;

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_key_is_checked_while_it_is_typed_and_a_private_one_never_leaves_the_browser() {
    let desk = Desk::new();
    let page = desk.person();
    page.eval(
        "globalThis.sent = []; const real = fetch;
         globalThis.fetch = (to, how) => {sent.push([how?.method, to, how?.body].join(' ')); return real(to, how);}; 0",
    );
    // What the page asks by itself is a GET without a body.
    let sent = || page.eval("sent.filter((one) => !/^GET \\S+ $/.test(one))");
    page.click("button", "+ New SSH key");
    let (pair, line) = desk.key("laptop", "ed25519");
    let fingerprint = pair.public.fingerprint().to_string();

    page.fill("textbox", "Public key", line.trim_end().get(..40).unwrap());
    page.sees("The key is cut off");
    page.fill("textbox", "Public key", &line);
    for said in ["Ed25519, 256 bits", &fingerprint, "laptop"] {
        page.sees(said);
    }
    for (kind, said) in [("rsa", "RSA, 2048 bits"), ("ecdsa", "ECDSA, 256 bits")] {
        let (pair, line) = desk.key(kind, kind);
        page.fill("textbox", "Public key", &line);
        page.sees(said);
        page.sees(&pair.public.fingerprint().to_string());
    }
    page.fill("textbox", "Public key", "not a key");
    page.sees("This is no public key");
    page.fill("textbox", "Public key", &format!("{line}\n{line}"));
    page.sees("Add one key at a time");

    let private = fs::read_to_string(&pair.private).unwrap();
    page.fill("textbox", "Public key", &private);
    page.sees("That was a private key");
    page.click("button", "Save key");
    page.sees("Paste a public key first");
    assert_eq!(page.eval("document.querySelector('textarea').value"), "");
    assert!(!page.text().contains(private.lines().nth(1).unwrap()));
    assert_eq!(sent(), json!([]), "nothing was sent");

    let file = pair.private.with_extension("pub");
    page.drop_file("textbox", "Public key", &file);
    page.sees(&fingerprint);
    page.click("button", "Save key");
    no_dialog(&page);
    page.sees("Key “laptop” saved.");
    assert!(
        sent()[0]
            .as_str()
            .unwrap()
            .starts_with("POST /v1/ssh-keys ")
    );
    let saved: Page<SshKey> = desk.command(&["ssh-keys", "list", "--json"]).json();
    assert_eq!(saved.items[0].fingerprint, fingerprint);

    page.click("button", "+ New SSH key");
    page.fill("textbox", "Public key", &line);
    page.sees("You have this key already, as “laptop”");
    page.press("Escape");
    no_dialog(&page);
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn options_in_front_of_a_key_find_their_field() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, line) = desk.key("restricted", "ed25519");
    page.click("button", "+ New SSH key");
    let text = format!("no-port-forwarding,from=\"203.0.113.0/24\" {line}");
    page.fill("textbox", "Public key", &text);
    page.click("button", "Move them to Options");
    page.sees("Ed25519, 256 bits");
    page.click("button", "Save key");
    no_dialog(&page);
    let saved: Page<SshKey> = desk.command(&["ssh-keys", "list", "--json"]).json();
    assert!(saved.items[0].options.contains("no-port-forwarding"));
    page.sees("from=\"203.0.113.0/24\"");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_key_is_edited_renamed_and_replaced_under_its_id() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, old) = desk.key("old", "ed25519");
    let (new, line) = desk.key("new", "ed25519");
    add_key(&page, &old);
    page.click("button", "Edit old");
    page.fill("textbox", "Name", "work laptop");
    page.click("button", "Save changes");
    no_dialog(&page);
    page.sees("work laptop");

    page.click("button", "Edit work laptop");
    page.fill("textbox", "Public key", &line);
    page.sees("This is another key");
    page.click("button", "Save changes");
    no_dialog(&page);
    page.sees(&new.public.fingerprint().to_string());
    let saved: Page<SshKey> = desk.command(&["ssh-keys", "list", "--json"]).json();
    assert_eq!(saved.items.len(), 1);
    assert_eq!(
        saved.items[0].fingerprint,
        new.public.fingerprint().to_string()
    );
    assert_eq!(saved.items[0].name, "work laptop");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_deletion_says_what_it_will_do_and_is_seen_to_be_done() {
    let desk = Desk::new();
    let page = desk.person();
    let (pair, line) = desk.key("laptop", "ed25519");
    let key = &pair.public;
    add_key(&page, &line);
    page.sees("No instance yet");

    let mut web = Told::enrol(&desk.service, "web");
    let mut db = Told::enrol(&desk.service, "db");
    db.say(None, Vec::new());
    web.status.sessions = vec![session(key, 811), session(key, 812)];
    web.proves(&[key]);
    page.sees("Proved on 1 of 2");
    page.sees("1 on the way");
    page.click("DisclosureTriangle", "Which 1 lags");
    page.sees("db on its way, since");
    db.proves(&[key, &public_key()]);
    page.sees("Proved on 2 of 2, ");
    let foreign = key.fingerprint().to_string();
    db.status.targets[0].foreign_keys = vec![foreign];
    db.status.targets[0].foreign = 1;
    db.say(None, Vec::new());

    page.click("button", "Delete laptop");
    for said in [
        "It is on 2 instances: ",
        "It opened 2 SSH sessions that are open now.",
        "It is the only key on 1 instance: web.",
        "On 1 instance someone else’s line still lets it in: db.",
    ] {
        page.sees(said);
    }
    page.click("checkbox", "End those 2 sessions too");
    page.click("button", "Delete key");
    no_dialog(&page);
    page.sees("Key “laptop” deleted.");
    page.sees("Gone from 0 of 2");
    for told in [&mut web, &mut db] {
        let order = wait_for("the order", || told.list(None).0.end_sessions.pop());
        told.proves(&[]);
        let ended = u32::try_from(told.status.sessions.len()).unwrap();
        told.answer(&order, OrderOutcome::Ended, ended);
    }
    page.sees("Gone from 2 of 2");
    page.sees("2 SSH sessions ended");
    page.click("button", "Dismiss laptop");
    page.sees("No SSH key yet");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_revoked_key_is_gone_and_cannot_be_saved_again() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, line) = desk.key("stolen", "ed25519");
    add_key(&page, &line);
    page.click("button", "Revoke stolen");
    page.sees("For a key that was lost or stolen");
    page.click("button", "Revoke key");
    no_dialog(&page);
    page.sees("Key “stolen” revoked.");
    let saved: Page<SshKey> = desk.command(&["ssh-keys", "list", "--json"]).json();
    assert_eq!(saved.items, []);
    page.sees("0 SSH keys");

    page.click("button", "+ New SSH key");
    page.fill("textbox", "Public key", &line);
    page.sees("Ed25519, 256 bits");
    page.click("button", "Save key");
    page.sees("revoked this key");
    page.press("Escape");
    no_dialog(&page);
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn what_another_client_does_is_seen_at_once_and_disturbs_nobody() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, line) = desk.key("mine", "ed25519");
    add_key(&page, &line);
    let edit = "document.querySelector('[data-f=\"Edit mine\"]')";
    page.wait("its row", edit);
    page.eval(&format!("{edit}.focus(), window.stays = 1"));
    let other = public_key();
    let id = desk.service.save(&other, "from the shell", &[]);
    page.sees("from the shell");
    page.sees(&other.fingerprint().to_string());
    assert_eq!(page.focused(), ("button".into(), "Edit mine".into()));
    desk.service.delete(id);
    page.sees_no("from the shell");
    assert_eq!(page.focused(), ("button".into(), "Edit mine".into()));
    assert_eq!(page.eval("window.stays"), 1, "it was not loaded again");

    // So is one that is being typed.
    page.click("button", "+ New SSH key");
    page.fill("textbox", "Public key", &format!("{other} elsewhere"));
    page.sees(&other.fingerprint().to_string());
    let id = desk.service.save(&other, "from elsewhere", &[]);
    page.sees("You have this key already, as “from elsewhere”");
    desk.service.delete(id);
    page.sees_no("You have this key already");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn markup_in_a_name_or_a_comment_is_text() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, line) = desk.key("plain", "ed25519");
    let bare = line.trim_end().strip_suffix("plain").unwrap();
    let comment = "<script>hit=1</script><img src=x onerror=hit=1>";
    add_key(&page, &format!("{bare}{comment}"));
    page.sees(comment);
    desk.service
        .run(&["instances", "create", "--label", "<b onclick=hit=1>x</b>"])
        .done();
    page.open(&format!("{}#instances", desk.service.url));
    page.sees("<b onclick=hit=1>x</b>");
    page.click("link", "<b onclick=hit=1>x</b>");
    page.sees("SSH keys here");
    page.sees(comment);
    page.open(&format!("{}#activity", desk.service.url));
    page.sees("ssh-key.add");
    let made = page.eval("document.querySelectorAll('main script, main img, main b').length");
    assert_eq!(made, 0);
    assert_eq!(page.eval("typeof hit"), "undefined");
    page.is_clean();
}

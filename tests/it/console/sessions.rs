//! Session keys: signing in, and who else is.

use super::{Desk, EMAIL, PASSWORD, add_key, no_dialog, sign_in};
use crate::support::chromium::Chromium;
use crate::support::service::Service;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_person_signs_in_and_out_and_nothing_of_it_is_within_reach_of_a_script() {
    let desk = Desk::new();
    let page = desk.stranger();
    page.click("button", "Sign in");
    page.sees("Give your email.");
    page.fill("textbox", "Email", EMAIL);
    page.fill("textbox", "Password", "wrong");
    page.click("button", "Sign in");
    page.sees("Address or password is wrong");
    page.fill("textbox", "Password", PASSWORD);
    page.press("Enter");
    page.sees("this browser");
    assert_eq!(page.eval("document.title"), "Keys – sshkeyd");
    assert_eq!(page.eval("document.cookie"), "");
    assert_eq!(page.eval("localStorage.length + sessionStorage.length"), 0);
    let url = page.eval("location.href");
    assert!(!url.as_str().unwrap().contains("skd_"), "{url}");

    page.reload();
    page.sees("this browser");
    page.click("button", "Sign out");
    page.sees("You are signed out.");
    assert_eq!(page.focused().1, "Email");
    page.reload();
    page.sees("Sign in");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_session_that_is_deleted_in_one_browser_logs_the_other_out() {
    let desk = Desk::new();
    let (mine, other) = (desk.person(), desk.person());
    mine.sees("End all others");
    let rows = "document.querySelectorAll('[aria-label=\"Session keys\"] > li').length === 2";
    mine.wait("both sessions", rows);
    other.click("button", "+ New SSH key");
    mine.click("button", "End session of Chrome on Linux");
    mine.click("button", "End session");
    no_dialog(&mine);
    other.sees("Your session has ended.");
    other.wait("no dialog over it", "!document.querySelector('dialog')");
    mine.sees("this browser");

    sign_in(&other);
    mine.wait("it to be back", rows);
    mine.click("button", "End all others: sessions");
    mine.click("button", "End them");
    no_dialog(&mine);
    other.sees("Your session has ended.");
    mine.sees("this browser");
    mine.is_clean();
    other.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn the_log_shows_its_older_pages_each_row_once() {
    let desk = Desk::new();
    for n in 0..60 {
        let made = desk.command(&["api-keys", "create", &format!("k{n}"), "--json"]);
        let made: Value = serde_json::from_str(&made.out).unwrap();
        desk.command(&["api-keys", "delete", &made["id"].to_string()]);
    }
    let page = desk.person();
    page.eval("location.hash = '#activity'");
    page.sees("session.create");
    page.click("button", "Show older");
    page.sees("account.create");
    let rows = page.eval("[...document.querySelectorAll('tbody tr')].map(r => r.textContent)");
    let made = |action: &str| {
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row.as_str().unwrap().contains(action))
            .count()
    };
    assert_eq!((made("api-key.create"), made("api-key.delete")), (60, 60));
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn all_of_it_is_done_with_the_keyboard_alone() {
    let desk = Desk::new();
    let page = desk.stranger();
    let (_, line) = desk.key("typed", "ed25519");
    assert_eq!(page.focused().1, "Email");
    page.insert(EMAIL);
    page.press("Tab");
    page.insert(PASSWORD);
    page.press("Enter");
    page.sees("this browser");
    let reach = |name: &str| {
        for _ in 0..60 {
            if page.focused().1 == name {
                return;
            }
            page.press("Tab");
        }
        panic!("{name} is not reached by Tab");
    };
    reach("+ New SSH key");
    page.press("Enter");
    assert_eq!(page.focused().1, "Public key");
    page.insert(&line);
    page.sees("Ed25519, 256 bits");
    // Tab stays within the question.
    for _ in 0..12 {
        page.press("Tab");
        let within = "document.activeElement === document.body || \
                      !!document.activeElement.closest('dialog')";
        assert_eq!(page.eval(within), true, "{:?}", page.focused());
    }
    reach("Save key");
    page.press("Enter");
    no_dialog(&page);
    assert_eq!(page.focused().1, "+ New SSH key", "the focus is back");
    page.sees("typed");
    reach("Delete typed");
    page.press("Space");
    page.wait("the question", "document.querySelector('dialog')");
    page.press("Escape");
    no_dialog(&page);
    assert_eq!(page.focused().1, "Delete typed", "the focus is back");
    page.press("Enter");
    page.wait("the question", "document.querySelector('dialog')");
    reach("Delete key");
    page.press("Enter");
    page.sees("No SSH key yet");
    assert_eq!(page.focused().1, "SSH keys", "the heading of what is left");
    page.is_clean();
}

#[test]
fn the_page_is_served_with_its_policy_and_under_no_other_name() {
    let service = Service::start();
    for path in ["/", "/app.js", "/app.css"] {
        let (status, head, _) = service.http(&format!("GET {path}"), "");
        assert_eq!(status, 200);
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "etag: \"",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
    }
    // A page that was told that its own name is our address.
    let mut stream = TcpStream::connect(service.address).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: keys.evil.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(
        answer.contains("wrong-host") && !answer.contains("<script"),
        "{answer}"
    );
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn who_did_what_stands_in_the_activity_log() {
    let desk = Desk::new();
    let page = desk.person();
    let (_, line) = desk.key("seen", "ed25519");
    add_key(&page, &line);
    page.click("link", "Activity");
    page.sees("ssh-key.add");
    page.sees("Chrome session");
    page.sees("127.0.0.1");
    // It grows while it is looked at.
    desk.command(&["instances", "create", "--label", "box"]);
    page.sees("instance.create");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn the_service_may_go_and_come_back() {
    let mut desk = Desk::new();
    let page = desk.person();
    assert!(desk.service.stop().success());
    page.sees("The service does not answer.");
    desk.service.up();
    page.sees_no("The service does not answer.");
    let (_, line) = desk.key("after", "ed25519");
    add_key(&page, &line);
    page.sees("after");
    let listed: Value = desk.command(&["ssh-keys", "list", "--json"]).json();
    assert_eq!(listed["items"][0]["name"], "after");
}

/// Turns a second factor on, as an authenticator does it (RFC 6238); gives the backup codes.
const SECOND_FACTOR: &str = r#"(async () => {
    const post = (path, body) => fetch(path, {method: 'POST', body: JSON.stringify(body),
        headers: {'X-Sshkeyd': '1', 'Content-Type': 'application/json'}}).then((r) => r.json());
    const {secret} = await post('/v1/account/totp', {password: PASSWORD});
    const bits = [...secret.replace(/=+$/, '')].map((c) =>
        'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
    const bytes = Uint8Array.from(bits.match(/.{8}/g), (byte) => parseInt(byte, 2));
    const hmac = {name: 'HMAC', hash: 'SHA-1'};
    const key = await crypto.subtle.importKey('raw', bytes, hmac, false, ['sign']);
    const step = new DataView(new ArrayBuffer(8));
    step.setUint32(4, Date.now() / 30000);
    const mac = new DataView(await crypto.subtle.sign('HMAC', key, step.buffer));
    const code = (mac.getUint32(mac.getUint8(19) & 15) & 0x7fffffff) % 1e6;
    const done = await post('/v1/account/totp/confirm', {code: String(code).padStart(6, '0')});
    return done.backup_codes;
})()"#;

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn the_second_factor_is_asked_for_when_there_is_one() {
    let desk = Desk::new();
    let page = desk.person();
    let begin = SECOND_FACTOR.replace("PASSWORD", &Value::from(PASSWORD).to_string());
    let codes = page.eval(&begin);
    let code = |nth: usize| codes[nth].as_str().unwrap();
    page.click("button", "Sign out");
    page.sees("You are signed out.");
    page.fill("textbox", "Email", EMAIL);
    page.fill("textbox", "Password", PASSWORD);
    page.press("Enter");
    page.sees("Now the code of your authenticator.");
    assert_eq!(page.focused().1, "Code of your authenticator");
    page.insert("000000");
    page.press("Enter");
    page.sees("This code is not good");
    page.fill("textbox", "Code of your authenticator", code(0));
    page.press("Enter");
    page.sees("this browser");

    // And where a secret is shown again.
    page.click("button", "View API key first");
    page.fill("textbox", "Password", PASSWORD);
    page.click("button", "View key");
    page.fill("textbox", "Code of your authenticator", code(1));
    page.click("button", "View key");
    page.sees("Whoever has it can do what it may.");
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn people_sign_up_where_they_may() {
    let service = Service::start_with("sign-up = true\n");
    let chromium = Chromium::start();
    let page = chromium.person();
    page.open(&service.url);
    page.click("button", "Create an account");
    page.sees("I have an account");
    page.fill("textbox", "Email", "new@example.com");
    page.fill("textbox", "Password", PASSWORD);
    page.click("button", "Create account");
    page.sees("this browser");
    page.sees("new@example.com");
    let rows = "document.querySelectorAll('[aria-label=\"Session keys\"] > li').length";
    assert_eq!(page.eval(rows), 1, "one session, and it is this one");
    page.is_clean();
    // Elsewhere nobody is led to a door that is shut.
    assert!(!Desk::new().stranger().text().contains("Create an account"));
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_changed_password_ends_all_other_sessions() {
    let desk = Desk::new();
    let (mine, other) = (desk.person(), desk.person());
    mine.click("button", "Password: change it");
    mine.fill("textbox", "Password", PASSWORD);
    mine.fill("textbox", "New password", "another pass phrase of mine");
    mine.click("button", "Change password");
    no_dialog(&mine);
    mine.sees("Password changed");
    other.sees("Your session has ended.");
    mine.sees("this browser");
    mine.is_clean();
    other.is_clean();
}

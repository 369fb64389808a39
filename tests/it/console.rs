//! The console as its owner meets it: in a real browser, by mouse and by keyboard.

mod api_keys;
mod demo;
mod instances;
mod looks;
mod sessions;
mod shots;
mod ssh_keys;

use crate::support::chromium::{Chromium, Page};
use crate::support::process::Ran;
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, keygen};
use std::fs;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "a pass phrase nobody guesses";

/// A service, an owner with a password, and a browser.
struct Desk {
    service: Service,
    chromium: Chromium,
}

impl Desk {
    fn new() -> Self {
        Self {
            service: Service::start().for_person(EMAIL, PASSWORD),
            chromium: Chromium::start(),
        }
    }

    /// Somebody who is signed in.
    fn person(&self) -> Page {
        let page = self.stranger();
        sign_in(&page);
        page
    }

    /// Somebody who sees the page for the first time.
    fn stranger(&self) -> Page {
        let page = self.chromium.person();
        page.scheme("light");
        page.open(&self.service.url);
        page.sees("Sign in");
        page
    }

    /// A key pair of `ssh-keygen`, and its public line.
    fn key(&self, name: &str, kind: &str) -> (KeyPair, String) {
        let pair = keygen(self.service.dir(), name, kind);
        let line = fs::read_to_string(pair.private.with_extension("pub")).unwrap();
        (pair, line)
    }

    /// Another client of the same account.
    fn command(&self, args: &[&str]) -> Ran {
        self.service.run(args).done()
    }
}

fn sign_in(page: &Page) {
    page.fill("textbox", "Email", EMAIL);
    page.fill("textbox", "Password", PASSWORD);
    page.click("button", "Sign in");
    page.sees("this browser");
    page.sees("may: everything");
}

/// Pastes a key into the dialog for a new one and saves it.
fn add_key(page: &Page, line: &str) {
    page.click("button", "+ New SSH key");
    page.fill("textbox", "Public key", line);
    page.wait("the check", "document.querySelector('dialog .found.ok')");
    page.click("button", "Save key");
    no_dialog(page);
}

/// Waits until no question is open.
fn no_dialog(page: &Page) {
    page.wait("the dialog's end", "!document.querySelector('dialog')");
}

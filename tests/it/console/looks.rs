//! What can be seen and heard of the page, by rules: names, roles, contrast, focus, a phone's
//! width, and how soon there is something to see.

use super::{Desk, add_key, no_dialog};
use crate::support::chromium::Page;
use crate::support::told::{Told, session};
use jiff::SignedDuration;
use serde_json::Value;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Condition, Severity};
use std::io::Write as _;

/// Text whose contrast to what lies behind it is under 4.5 (WCAG 2.2, 1.4.3), as the browser has
/// computed both; placeholders too.
const FAINT: &str = r#"(() => {
    const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
    const over = (a, b) => [0, 1, 2].map((n) => a[n] * a[3] + b[n] * (1 - a[3])).concat(1);
    const light = (c) => {
        const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (e) => {
        const all = [];
        for (; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor);
            all.push(c);
            if (c[3] === 1) break;
        }
        return all.reverse().reduce((under, c) => over(c, under), [255, 255, 255, 1]);
    };
    const contrast = (e, colour) => {
        const under = ground(e), a = light(over(parse(colour), under)), b = light(under);
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const faint = [], home = document.querySelector('dialog') || document.body;
    const look = (e, text, colour) => {
        const found = contrast(e, colour);
        if (found < 4.5) faint.push(`${found.toFixed(2)}: ${text.trim().slice(0, 40)}`);
        seen += 1;
    };
    let seen = 0;
    const walker = document.createTreeWalker(home, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const e = node.parentElement;
        if (!node.data.trim() || !e.checkVisibility() || e.closest('button:disabled, noscript, title')) continue;
        const style = getComputedStyle(e);
        look(e, node.data, e.closest('svg') ? style.fill : style.color);
    }
    for (const e of home.querySelectorAll('input, textarea, select')) {
        if (!e.checkVisibility()) continue;
        look(e, e.value, getComputedStyle(e).color);
        if (e.placeholder) look(e, e.placeholder, getComputedStyle(e, '::placeholder').color);
    }
    return seen < 3 ? ['nothing was looked at'] : faint;
})()"#;

/// What is wrong with the page's order.
const ORDER: &str = r#"(() => {
    const wrong = [], all = (s) => [...document.querySelectorAll(s)];
    if (document.documentElement.lang !== 'en') wrong.push('no language');
    if (!document.title) wrong.push('no title');
    if (all('h1').length !== 1) wrong.push(`${all('h1').length} h1`);
    if (all('main').length !== 1 || all('header').length !== 1) wrong.push('no landmarks');
    let level = 1;
    for (const heading of all('main :is(h1, h2, h3)')) {
        const now = Number(heading.tagName[1]);
        if (now > level + 1) wrong.push(`h${now} after h${level}`);
        level = now;
    }
    const ids = all('[id]').map((e) => e.id);
    if (new Set(ids).size !== ids.length) wrong.push('an id twice');
    for (const e of all('[aria-labelledby], [aria-describedby]')) {
        for (const id of [e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby')]) {
            if (id && !document.getElementById(id)?.textContent) wrong.push(`nothing is ${id}`);
        }
    }
    for (const e of all('ul > :not(li)')) wrong.push(`${e.tagName} in a list`);
    for (const e of all('[tabindex]')) if (e.tabIndex > 0) wrong.push('an order of its own');
    for (const e of all('button, a, summary, input, select')) {
        const box = e.getBoundingClientRect();
        const inline = e.tagName === 'A' || e.tagName === 'SUMMARY' || e.matches('.skip, .tick input, .link');
        if (e.checkVisibility() && !inline && box.height < 24) wrong.push(`too small: ${e.outerHTML.slice(0, 60)}`);
    }
    return wrong;
})()"#;

/// Holds what must be true of every page and every question.
#[track_caller]
fn is_accessible(page: &Page, what: &str) {
    let controls = [
        "button",
        "link",
        "textbox",
        "searchbox",
        "checkbox",
        "radio",
        "combobox",
        "DisclosureTriangle",
        "dialog",
        "image",
        "table",
    ];
    let said = page.accessible();
    let nameless = said
        .iter()
        .filter(|(role, name, _)| controls.contains(&role.as_str()) && name.trim().is_empty())
        .filter(|(role, ..)| role != "table");
    assert_eq!(nameless.collect::<Vec<_>>(), Vec::<&_>::new(), "{what}");
    let odd = said
        .iter()
        .filter(|(role, _, focusable)| *focusable && role == "generic");
    assert_eq!(
        odd.count(),
        0,
        "{what}: a focus on something without a role"
    );
    assert_eq!(page.eval(ORDER), Value::Array(Vec::new()), "{what}");
    for scheme in ["light", "dark"] {
        page.scheme(scheme);
        let faint = page.eval(FAINT);
        assert_eq!(faint, Value::Array(Vec::new()), "{what}, {scheme}");
    }
    page.scheme("light");
}

/// Goes through all that takes the focus, and holds that one sees where it is.
#[track_caller]
fn focus_is_seen(page: &Page, what: &str) {
    page.eval("document.activeElement.blur(), window.scrollTo(0, 0)");
    let (mut reached, mut rounds) = (0, 0);
    while rounds < 2 {
        page.press("Tab");
        let seen = page.eval(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);
                if (e === document.body) return null;
                return [s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && e.checkVisibility(),
                    e.outerHTML.slice(0, 80)]; })()",
        );
        if seen.is_null() {
            rounds += 1;
            continue;
        }
        assert_eq!(seen[0], true, "{what}: {}", seen[1]);
        reached += 1;
    }
    assert!(
        (3..400).contains(&reached),
        "{what}: {reached} things take the focus"
    );
}

/// Holds that nothing is wider than the screen.
#[track_caller]
fn fits(page: &Page, width: u32, what: &str) {
    let wide = page.eval(
        "[document.documentElement.scrollWidth, [...document.querySelectorAll('body *')].filter((e) =>
            e.getBoundingClientRect().right > innerWidth + 0.5 && e.checkVisibility()).map((e) => e.outerHTML.slice(0, 80))]",
    );
    assert!(
        wide[0].as_u64().unwrap() <= u64::from(width),
        "{what}: {wide}"
    );
    assert_eq!(wide[1], Value::Array(Vec::new()), "{what}");
}

/// An account with something of everything.
fn furnished(desk: &Desk, page: &Page) -> Told {
    let (laptop, line) = desk.key("laptop", "ed25519");
    add_key(page, &line);
    let (_, long) = desk.key("a-name-that-is-much-longer-than-any-phone-is-wide", "rsa");
    add_key(page, &long);
    let mut web = Told::enrol(&desk.service, "web");
    web.status.sessions = vec![session(&laptop.public, 812)];
    web.status.conditions = [Severity::Error, Severity::Warning, Severity::Notice]
        .map(|severity| Condition {
            code: format!("{severity:?}").to_lowercase(),
            severity,
            since: clock::now() - SignedDuration::from_mins(5),
            about: "root".to_owned(),
            text: "something rewrites /root/.ssh/authorized_keys again and again".to_owned(),
            todo: "find the program that rewrites the file".to_owned(),
        })
        .into();
    web.proves(&[&laptop.public]);
    page.click("button", "+ New API key");
    page.fill("textbox", "Name", "deploy");
    page.click("button", "Make key");
    page.click("button", "Close");
    no_dialog(page);
    page.sees("may: everything");
    web
}

/// Every page and every question, one after the other.
fn tour(desk: &Desk, page: &Page, mut look: impl FnMut(&Page, &str)) {
    let at = |hash: &str, text: &str| {
        page.open(&format!("{}/#{hash}", desk.service.url));
        page.sees(text);
    };
    at("keys", "Proved on 1 of 1");
    page.sees("may: everything");
    look(page, "keys");
    for (button, said) in [
        ("+ New SSH key", "Public key"),
        ("Edit laptop", "Ed25519, 256 bits"),
        ("Delete laptop", "It is on 1 instance"),
        ("Revoke laptop", "lost or stolen"),
        ("+ New API key", "Permissions"),
        ("View API key deploy", "Password"),
        ("Reset API key deploy", "new secret"),
        ("Password: change it", "New password"),
    ] {
        page.click("button", button);
        page.wait("the question", "document.querySelector('dialog')");
        page.sees(said);
        if button == "+ New API key" {
            page.click("radio", "By category");
        }
        look(page, button);
        page.press("Escape");
        no_dialog(page);
    }
    at("instances", "1 live");
    page.sees("2 conditions");
    look(page, "instances");
    for button in ["+ Add an instance", "Rename web", "Remove web"] {
        page.click("button", button);
        page.wait("the question", "document.querySelector('dialog')");
        look(page, button);
        page.press("Escape");
        no_dialog(page);
    }
    page.click("link", "web");
    page.sees("opened with laptop");
    page.sees("proof: median");
    look(page, "an instance");
    at("activity", "ssh-key.add");
    look(page, "activity");
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn names_roles_order_and_contrast_are_as_they_should_be_on_every_page() {
    let desk = Desk::new();
    let page = desk.stranger();
    is_accessible(&page, "signing in");
    focus_is_seen(&page, "signing in");
    super::sign_in(&page);
    is_accessible(&page, "an empty account");
    let _web = furnished(&desk, &page);
    tour(&desk, &page, |page, what| {
        is_accessible(page, what);
        if !what.contains(' ') {
            focus_is_seen(page, what);
        }
    });
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn a_phone_shows_all_of_it_without_scrolling_sideways() {
    let desk = Desk::new();
    let page = desk.stranger();
    page.phone(360);
    fits(&page, 360, "signing in");
    super::sign_in(&page);
    let _web = furnished(&desk, &page);
    tour(&desk, &page, |page, what| fits(page, 360, what));
    page.is_clean();
}

#[test]
#[ignore = "needs Chromium; tests/run includes it"]
fn there_is_something_to_see_at_once() {
    let desk = Desk::new();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let page = desk.chromium.person();
            page.open(&desk.service.url);
            let paint = "performance.getEntriesByName('first-contentful-paint')[0]";
            page.wait("the first paint", paint);
            page.sees("Sign in");
            page.eval(&format!("{paint}.startTime")).as_f64().unwrap()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    // Past the capture of the test's output: a figure, with no claim.
    let mut out = std::io::stdout();
    writeln!(
        out,
        "console: first paint on loopback, median of five: {:.0} ms",
        times[2]
    )
    .unwrap();
    assert!(times[2] < 3_000.0, "{times:?}");
}

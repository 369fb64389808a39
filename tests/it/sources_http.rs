//! Any address as a source, against real servers that answer well, badly, too much or never.

use crate::support::host::{Home, Host};
use crate::support::process::{pause, wait_until};
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use crate::support::web::{Reply, Web};
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{SourceState, State};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

const TEXT: &str = "Content-Type: text/plain; charset=utf-8";
/// Half of GitHub's own.
const MIB_400: usize = 400 * 1024 * 1024;

fn lines(keys: &[&PublicKey]) -> String {
    keys.iter().map(|key| format!("{key}\n")).collect()
}

/// A machine whose one source is this server, asked each second.
fn of(web: &Web, more: &str) -> (Home, Host) {
    let home = Home::new();
    let settings = format!(
        "poll-interval = \"1s\"\nhttp.url = \"{}/alice.keys\"\n{more}",
        web.url
    );
    let mut host = Host::new()
        .with_source("web", &settings)
        .with_home(&home, "web", "");
    if let Some(ca) = &web.ca {
        host = host.with_env("SSL_CERT_FILE", ca.to_str().unwrap());
    }
    (home, host)
}

#[test]
fn lines_arrive_with_their_options_and_what_is_unchanged_is_not_sent_again() {
    let [plain, tied] = [(); 2].map(|()| public_key());
    let body = format!("{plain}\n# a note\nno-pty,from=\"10.0.0.0/8\" {tied} tied\nnonsense\n");
    let tagged = move |asked: &crate::support::web::Asked| {
        let fresh = asked.header("if-none-match") == Some("W/\"1\"");
        match fresh {
            true => Reply::new("304 Not Modified", &["ETag: W/\"1\""], ""),
            false => Reply::new("200 OK", &[TEXT, "ETag: W/\"1\""], &body),
        }
    };
    let web = Web::start(tagged);
    let (home, mut host) = of(&web, "");
    host.up();
    home.wait_has(&tied, true);
    let text = home.text();
    assert!(
        text.contains(&format!("no-pty,from=\"10.0.0.0/8\" {tied} tied\n")),
        "{text}"
    );
    let place = format!("localhost:{}/alice.keys", web.address.port());
    assert!(
        text.contains(&format!("# web key {place}:1 \"\"\n{plain}\n")),
        "{text}"
    );
    let record = host.dir.path().join("state/sources/web.json");
    let inode = || fs::metadata(&record).unwrap().ino();
    let before = inode();
    wait_until("three answers of 304", || web.asked().len() >= 4);
    let asked = web.asked();
    assert_eq!(asked[0].path, "/alice.keys");
    assert_eq!(asked[0].header("if-none-match"), None);
    assert_eq!(asked[3].header("if-none-match"), Some("W/\"1\""));
    let status = host.status();
    let source = &status.sources[0];
    assert_eq!((source.state, source.keys), (SourceState::Live, 2));
    assert_eq!(source.rejected.len(), 1);
    assert_eq!(source.rejected[0].at, format!("{place}:4"));
    assert_eq!((status.state, inode()), (State::Ok, before));

    // The list changes: what is gone goes.
    web.always(Reply::lines(&lines(&[&plain])));
    home.wait_has(&tied, false);
    assert!(home.has(&plain));
}

#[test]
fn json_arrives_by_its_pointer() {
    let [one, two] = [(); 2].map(|()| public_key());
    let list = move |keys: &[&PublicKey]| {
        let items = keys
            .iter()
            .map(|k| format!("{{\"id\":1,\"public_key\":\"{k} work\"}}"));
        format!(
            "{{\"n\":2,\"ssh_keys\":[{}]}}",
            items.collect::<Vec<_>>().join(",")
        )
    };
    let web = Web::start({
        let all = list(&[&one, &two]);
        move |_| Reply::json(&all)
    });
    let pointer = "http.format = \"json\"\nhttp.keys = \"/ssh_keys/*/public_key\"\n";
    let (home, mut host) = of(&web, pointer);
    host.up();
    home.wait_has(&two, true);
    assert!(home.text().contains(&format!(
        "# web key /ssh_keys/0/public_key \"work\"\n{one} work\n"
    )));
    for (body, code) in [
        ("{\"error\":\"try later\"}", "source-malformed"),
        ("{\"ssh_keys\":[{\"public_key\":null}]}", "source-malformed"),
        ("{\"ssh_keys\":[", "source-malformed"),
        ("{\"ssh_keys\":[]}", "hold-empty-list"),
    ] {
        web.always(Reply::json(body));
        host.wait_condition(code);
        assert!(home.has(&one) && home.has(&two), "{body}");
        web.always(Reply::json(&list(&[&one, &two])));
        host.wait_cleared(code);
    }
    web.always(Reply::json(&list(&[&one])));
    home.wait_has(&two, false);
}

#[test]
fn each_fault_of_an_answer_holds_the_keys_by_its_name_and_clears() {
    let [one, two] = [(); 2].map(|()| public_key());
    let good = lines(&[&one, &two]);
    let half = lines(&[&one]);
    let web = Web::start({
        let good = Reply::lines(&good);
        move |_| good.clone()
    });
    let (home, mut host) = of(&web, "");
    host.up();
    home.wait_has(&two, true);
    let before = home.text();
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{TEXT}\r\n{more}\r\n{half}").into_bytes();
    let (long, chunk) = (half.len() + 50, format!("{:x}\r\n{half}\r\n", half.len()));
    let chunked = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    let status = |status| Reply::new(status, &[TEXT], &half);
    let typed = |kind: &str| Reply::new("200 OK", &[&format!("Content-Type: {kind}")], &half);
    for (what, reply, code) in [
        ("401", status("401 Unauthorized"), "source-unauthorized"),
        ("403", status("403 Forbidden"), "source-unauthorized"),
        ("404", status("404 Not Found"), "source-not-found"),
        ("429", status("429 Too Many Requests"), "source-busy"),
        ("500", status("500 Internal Server Error"), "source-offline"),
        ("503", status("503 Service Unavailable"), "source-busy"),
        ("206", status("206 Partial Content"), "source-malformed"),
        (
            "204",
            Reply::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            "source-malformed",
        ),
        ("a page", typed("text/html"), "source-malformed"),
        (
            "no type",
            Reply::new("200 OK", &[], &half),
            "source-malformed",
        ),
        (
            "a page as text",
            Reply::lines("<html>\n<p>Sign in\n"),
            "source-malformed",
        ),
        ("no end", Reply::Raw(head("")), "source-malformed"),
        (
            "a cut",
            Reply::Raw(head(&format!("Content-Length: {long}\r\n"))),
            "source-offline",
        ),
        (
            "a cut between chunks",
            Reply::Raw(chunked.into_bytes()),
            "source-offline",
        ),
        ("no answer", Reply::Raw(Vec::new()), "source-offline"),
        (
            "too much",
            Reply::Raw(head("Content-Length: 9000000\r\n")),
            "source-too-large",
        ),
        ("nothing", Reply::lines("# nobody\n"), "hold-empty-list"),
        ("no body", Reply::lines(""), "hold-empty-list"),
    ] {
        println!("{what}: {code}");
        web.always(reply);
        let condition = host.wait_condition(code);
        assert_eq!(condition.about, "web", "{what}");
        let status = host.status();
        assert_eq!(status.conditions.len(), 1, "{what}: {status:?}");
        assert_eq!(status.sources[0].state, SourceState::Held, "{what}");
        assert_eq!(home.text(), before, "{what}");
        web.always(Reply::lines(&good));
        host.wait_cleared(code);
    }
}

#[test]
fn four_hundred_megabytes_cost_neither_keys_nor_memory() {
    let key = public_key();
    let good = Reply::lines(&lines(&[&key]));
    let web = Web::start({
        let good = good.clone();
        move |_| good.clone()
    });
    let (home, mut host) = of(&web, "");
    host.up();
    home.wait_has(&key, true);
    let before = host.daemon.as_ref().unwrap().peak_memory();
    let head = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n");
    web.always(Reply::Flood(head.into_bytes(), MIB_400));
    host.wait_condition("source-too-large");
    // As many lines as fit, each of them nonsense.
    let nonsense = "x\n".repeat(4 * 1024 * 1024 - 10);
    web.always(Reply::lines(&nonsense));
    host.wait_condition("source-malformed");
    let after = host.daemon.as_ref().unwrap().peak_memory();
    println!("peak before {before} KiB, after {after} KiB");
    // The limit is 8 MiB, and a buffer that grows is at most doubled.
    assert!(after - before < 32 * 1024, "{before} KiB, then {after} KiB");
    assert!(home.has(&key));
    web.always(good);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn a_server_that_drips_is_left_and_hurts_no_other() {
    let head = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nContent-Length: 5000\r\n\r\n");
    let web = Web::start(move |_| Reply::Drip(head.clone().into_bytes()));
    let (home, [first, second]) = (Home::new(), [(); 2].map(|()| public_key()));
    let settings = format!("poll-interval = \"1s\"\nhttp.url = \"{}\"", web.url);
    let mut host = Host::new()
        .with_source("drip", &settings)
        .with_file("own")
        .with_home(&home, "drip own", "");
    host.write_file("own", &lines(&[&first]));
    host.up();
    wait_until("the question", || !web.asked().is_empty());
    // While it drips, the other source goes on at once.
    let began = clock::monotonic();
    host.write_file("own", &lines(&[&first, &second]));
    home.wait_has(&second, true);
    assert!(clock::monotonic() - began < Duration::from_secs(10));
    let condition = host.wait_condition("source-offline");
    assert!(condition.text.contains("within the time"), "{condition:?}");
    assert_eq!(condition.about, "drip");
}

#[test]
fn no_credential_goes_to_another_host_and_none_is_logged() {
    let key = public_key();
    let list = Reply::lines(&lines(&[&key]));
    let other = Web::start(move |_| list.clone());
    let to = other.url.clone();
    let web = Web::start(move |_| Reply::redirect(&format!("{to}/moved")));
    let (home, mut host) = of(&web, "");
    let token = host.dir.path().join("token");
    put(&token, "Bearer hunter2-hunter2\n", 0o600);
    let text = host.toml().replace(
        "[[target]]",
        &format!(
            "[source.http.headers]\nAuthorization = \"file:{0}\"\nX-Api-Key = \"file:{0}\"\n\
             Accept = \"text/plain\"\n[[target]]",
            token.display()
        ),
    );
    host.configure_as(text.replace("[agent]", "[agent]\nlog = \"trace\""));
    host.up();
    home.wait_has(&key, true);
    let first = web.asked().remove(0);
    assert_eq!(
        first.header("authorization"),
        Some("Bearer hunter2-hunter2")
    );
    assert_eq!(first.header("x-api-key"), Some("Bearer hunter2-hunter2"));
    assert_eq!(first.header("accept"), Some("text/plain"));
    let moved = other.asked().remove(0);
    assert_eq!(moved.path, "/moved");
    assert!(!moved.head().contains("hunter2"), "{}", moved.head());
    let status = host.run(&["status", "--json"]).out;
    let log = host.daemon.as_ref().unwrap().log();
    let record = fs::read_to_string(host.dir.path().join("state/sources/web.json")).unwrap();
    for text in [status, log, record] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_redirect_is_followed_three_times_and_never_to_plain_http() {
    let key = public_key();
    let web = Web::start_with_tls(|_| Reply::redirect("/again"));
    let (home, mut host) = of(&web, "");
    let text = host
        .toml()
        .replace("poll-interval = \"1s\"", "poll-interval = \"1h\"");
    host.configure_as(text);
    host.up();
    let condition = host.wait_condition("source-malformed");
    assert!(condition.text.contains("redirect"), "{condition:?}");
    assert_eq!(web.asked().len(), 4, "one question, and three redirects");

    let plain = Web::start(|_| Reply::lines(""));
    let to = plain.url.clone();
    web.answer(move |_| Reply::redirect(&to));
    let status = host.sync();
    assert_eq!(status.conditions[0].code, "source-malformed", "{status:?}");
    assert!(
        status.conditions[0].text.contains("plain http"),
        "{status:?}"
    );
    assert!(plain.asked().is_empty());

    let list = lines(&[&key]);
    web.answer(move |asked| match asked.path.as_str() {
        "/3" => Reply::lines(&list),
        "/2" => Reply::redirect("/3"),
        "/1" => Reply::redirect("2"),
        _ => Reply::redirect("/1"),
    });
    host.sync();
    home.wait_has(&key, true);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn https_wants_a_ca_that_is_known_here() {
    let key = public_key();
    let list = Reply::lines(&lines(&[&key]));
    let web = Web::start_with_tls(move |_| list.clone());
    let other = Web::start_with_tls(|_| Reply::lines(""));
    let (home, host) = of(&web, "");
    let mut host = host.with_env(
        "SSL_CERT_FILE",
        other.ca.as_ref().unwrap().to_str().unwrap(),
    );
    host.up();
    host.wait_condition("source-offline");
    assert!(web.asked().is_empty() && !home.has(&key));
    host.stop();
    let mut host = host.with_env("SSL_CERT_FILE", web.ca.as_ref().unwrap().to_str().unwrap());
    host.up();
    home.wait_has(&key, true);
}

#[test]
fn a_changed_credential_is_taken_at_the_next_question() {
    let key = public_key();
    let list = Reply::lines(&lines(&[&key]));
    let web = Web::start(move |asked| match asked.header("authorization") {
        Some("Bearer two") => list.clone(),
        _ => Reply::refusal("401 Unauthorized", "Invalid user key"),
    });
    let (home, host) = of(&web, "");
    let token = host.dir.path().join("token");
    let header = format!(
        "http.headers = {{ Authorization = \"file:{}\" }}\n",
        token.display()
    );
    let text = host
        .toml()
        .replace("[[target]]", &format!("{header}[[target]]"));
    let mut host = host;
    host.configure_as(text);
    host.up();
    let condition = host.wait_condition("no-credential");
    assert!(
        condition.text.contains(token.to_str().unwrap()),
        "{condition:?}"
    );
    assert!(
        web.asked().is_empty(),
        "without its credential it does not ask"
    );
    put(&token, "Bearer one\n", 0o600);
    let condition = host.wait_condition("source-unauthorized");
    assert!(condition.text.contains("Invalid user key"), "{condition:?}");
    put(&token, "Bearer two\n", 0o600);
    home.wait_has(&key, true);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn who_asks_to_be_left_alone_is_left_alone() {
    let key = public_key();
    let headers = ["Retry-After: 3600", TEXT];
    let busy = Reply::new("429 Too Many Requests", &headers, "slow down");
    let web = Web::start(move |_| busy.clone());
    let (home, mut host) = of(&web, "");
    host.up();
    let condition = host.wait_condition("source-busy");
    assert!(condition.text.contains("slow down"), "{condition:?}");
    let asked = web.asked().len();
    for _ in 0..2 {
        let status = host.sync();
        assert_eq!(status.sources[0].state, SourceState::Unknown);
    }
    // Two intervals go by.
    pause(Duration::from_secs(2));
    assert_eq!(web.asked().len(), asked);
    // A short word is obeyed as well, and then it is asked again.
    web.answer({
        let list = lines(&[&key]);
        let mut first = true;
        move |_| match std::mem::take(&mut first) {
            true => Reply::new("503 Service Unavailable", &["Retry-After: 1"], ""),
            false => Reply::lines(&list),
        }
    });
    host.stop();
    host.up();
    home.wait_has(&key, true);
    host.wait_cleared("source-busy");
}

#[test]
fn a_proxy_of_the_environment_is_used_only_where_the_source_says_so() {
    let key = public_key();
    let list = Reply::lines(&lines(&[&key]));
    let web = Web::start_with_tls(move |_| list.clone());
    let proxy = Web::start(|_| Reply::new("403 Forbidden", &[], ""));
    let (home, host) = of(&web, "");
    let mut host = host.with_env("HTTPS_PROXY", &proxy.url);
    host.up();
    home.wait_has(&key, true);
    assert!(proxy.asked().is_empty());
    let text = host
        .toml()
        .replace("http.url", "http.proxy = true\nhttp.url");
    host.configure_as(text);
    host.signal("HUP");
    host.wait_condition("source-offline");
    let asked = proxy.asked().remove(0);
    assert_eq!(asked.path, format!("localhost:{}", web.address.port()));
    assert!(asked.head().starts_with("CONNECT "), "{}", asked.head());
    assert!(home.has(&key));
}

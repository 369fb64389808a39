//! Vast.ai's API as a source, several sources beside each other, several replicas of the account,
//! and files that are none.

use crate::support::host::{Home, Host, read};
use crate::support::process::{pause, wait_until};
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use crate::support::web::{Asked, Reply, Web};
use serde_json::{Value, json};
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{InstanceState, SourceKind, SourceState};
use std::fs;
use std::time::Duration;

const ACCOUNT: &str = "/api/v0/ssh/";
const INSTANCE: &str = "/api/v0/instances/12345/ssh/";

/// One key as the service lists it.
fn item(id: u64, key: &PublicKey, name: &str) -> Value {
    json!({"id": id, "user_id": 3, "public_key": format!("{key} {name}\n"),
           "created_at": 1_763_800_000.25, "deleted_at": null})
}

/// The keys of the account and those of the instance, in the forms that the service gives them.
fn vast(account: Vec<Value>, instance: Vec<Value>) -> impl FnMut(&Asked) -> Reply + Send {
    let account = Value::from(account).to_string();
    let inside = Value::from(instance).to_string();
    let instance = json!({"success": true, "ssh_keys": inside}).to_string();
    move |asked| match (asked.header("authorization"), asked.path.as_str()) {
        (Some("Bearer vast-secret"), ACCOUNT) => Reply::json(&account),
        (Some("Bearer vast-secret"), INSTANCE) => Reply::json(&instance),
        (Some("Bearer vast-secret"), _) => Reply::refusal("404 Not Found", "Instance not found."),
        _ => Reply::refusal("401 Unauthorized", "Invalid user key"),
    }
}

/// A machine whose one source is this service.
fn rented(web: &Web, instance: &str) -> (Home, Host) {
    let (home, host) = (Home::new(), Host::new());
    let key_file = host.dir.path().join("vast-api-key");
    put(&key_file, "vast-secret\n", 0o600);
    let settings = format!(
        "poll-interval = \"1s\"\nvast.url = \"{}\"\nvast.api-key-file = \"{}\"\n{instance}",
        web.url,
        key_file.display()
    );
    let host = host.with_source("vast", &settings);
    let host = host.with_home(&home, "vast", "");
    (home, host)
}

#[test]
fn keys_of_the_account_and_of_the_instance_arrive_as_one_list() {
    let [both, saved, attached, deleted] = [(); 4].map(|()| public_key());
    let mut gone = item(8, &deleted, "gone");
    gone["deleted_at"] = json!(1_763_900_000.0);
    let account = vec![item(7, &saved, "laptop"), gone, item(9, &both, "both")];
    let instance = vec![
        json!({"id": 9, "name": "both", "public_key": both.to_string()}),
        json!({"id": 11, "name": "build", "public_key": attached.to_string()}),
    ];
    let web = Web::start_with_tls(vast(account.clone(), instance));
    let (home, host) = rented(&web, "vast.instance = 12345");
    let mut host = host.with_env("SSL_CERT_FILE", web.ca.as_ref().unwrap().to_str().unwrap());
    host.debug_log();
    host.up();
    home.wait_has(&attached, true);
    let text = home.text();
    for line in [
        format!("# vast key 7 \"laptop\", saved 2025-11-22\n{saved} laptop\n"),
        format!("# vast key 9 \"both\", saved 2025-11-22\n{both} both\n"),
        format!("# vast key 11 of instance 12345 \"build\"\n{attached} build\n"),
    ] {
        assert!(text.contains(&line), "{line} not in {text}");
    }
    assert_eq!(text.matches(&both.to_string()).count(), 1);
    assert!(!home.has(&deleted));
    let status = host.status();
    assert_eq!(status.sources[0].kind, SourceKind::Vast);
    assert_eq!(
        (status.sources[0].keys, status.conditions.len()),
        (3, 0),
        "{status:?}"
    );
    let asked = web.asked();
    assert_eq!((&*asked[0].path, &*asked[1].path), (ACCOUNT, INSTANCE));
    for asked in &asked {
        assert_eq!(asked.header("authorization"), Some("Bearer vast-secret"));
    }
    // Detached: it goes, and the others stay.
    web.answer(vast(account, Vec::new()));
    home.wait_has(&attached, false);
    assert!(home.has(&both) && home.has(&saved));
    for text in [
        host.daemon.as_ref().unwrap().log(),
        host.run(&["status", "--json"]).out,
    ] {
        assert!(!text.contains("vast-secret"), "{text}");
    }
}

#[test]
fn half_an_answer_is_no_shorter_list_whichever_half_is_missing() {
    let [one, two, attached] = [(); 3].map(|()| public_key());
    let account = vec![item(1, &one, "one"), item(2, &two, "two")];
    let on_instance = vec![item(3, &attached, "attached")];
    let web = Web::start(vast(account.clone(), on_instance.clone()));
    let (home, mut host) = rented(&web, "vast.instance = 12345");
    host.up();
    home.wait_has(&attached, true);
    let before = home.text();
    let fails = |path: &'static str, reply: Reply| {
        let mut good = vast(vec![item(1, &one, "one")], Vec::new());
        web.answer(move |asked| match asked.path == path {
            true => reply.clone(),
            false => good(asked),
        });
    };
    let too_frequent = "API requests too frequent: endpoint threshold=1.0";
    let plain = ["Content-Type: text/plain"];
    let page = ["Content-Type: text/html"];
    let failed = r#"{"success":false,"ssh_keys":[],"msg":"try again later"}"#;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n[]";
    for path in [ACCOUNT, INSTANCE] {
        for (reply, code, words) in [
            (
                Reply::new("429 Too Many Requests", &plain, too_frequent),
                "source-busy",
                too_frequent,
            ),
            (
                Reply::refusal("401 Unauthorized", "Invalid user key"),
                "source-unauthorized",
                "Invalid",
            ),
            (
                Reply::refusal("404 Not Found", "Instance not found."),
                "source-not-found",
                "Instance",
            ),
            (Reply::json(failed), "source-malformed", "try again later"),
            (
                Reply::json("{\"success\":true}"),
                "source-malformed",
                "ssh_keys",
            ),
            (
                Reply::new("200 OK", &page, "[]"),
                "source-malformed",
                "text/html",
            ),
            (Reply::Raw(cut.to_vec()), "source-offline", "middle"),
            (
                Reply::new("502 Bad Gateway", &page, "<h1>no</h1>"),
                "source-offline",
                "502",
            ),
        ] {
            fails(path, reply);
            let condition = host.wait_condition(code);
            assert!(condition.text.contains(words), "{path}: {condition:?}");
            assert_eq!(home.text(), before, "{path} {code}");
            web.answer(vast(account.clone(), on_instance.clone()));
            host.wait_cleared(code);
        }
    }
}

#[test]
fn no_keys_found_is_a_word_of_the_account_and_an_unsigned_one() {
    let [saved, attached] = [(); 2].map(|()| public_key());
    let on_instance = vec![item(3, &attached, "attached")];
    let web = Web::start(vast(vec![item(1, &saved, "saved")], on_instance.clone()));
    let (home, mut host) = rented(&web, "vast.instance = 12345");
    host.up();
    home.wait_has(&saved, true);
    let none_of_the_account = |instance: Vec<Value>| {
        let mut good = vast(Vec::new(), instance);
        web.answer(move |asked| match asked.path.as_str() {
            ACCOUNT => Reply::refusal("404 Not Found", "No SSH keys found"),
            _ => good(asked),
        });
    };
    // Nothing saved, one attached: that is a list.
    none_of_the_account(on_instance);
    home.wait_has(&saved, false);
    assert!(home.has(&attached));
    // Nothing at all is an unsigned "no keys".
    none_of_the_account(Vec::new());
    host.wait_condition("hold-empty-list");
    assert!(home.has(&attached));
    let text = host
        .toml()
        .replace("vast.instance", "danger-allow-empty = true\nvast.instance");
    host.configure_as(text);
    host.signal("HUP");
    home.wait_has(&attached, false);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn the_container_and_systemd_say_what_the_file_leaves_out() {
    let [saved, attached] = [(); 2].map(|()| public_key());
    let web = Web::start(vast(
        vec![item(1, &saved, "s")],
        vec![item(2, &attached, "a")],
    ));
    let (home, mut host) = rented(&web, "");
    host.up();
    let condition = host.wait_condition("instance-unknown");
    assert!(condition.text.contains("$CONTAINER_ID"), "{condition:?}");
    assert!(
        web.asked().is_empty() && !home.has(&saved),
        "half a list is none"
    );
    let ran = host.run(&["check"]).done();
    assert!(ran.err.contains("no $CONTAINER_ID here"), "{ran:?}");
    host.stop();

    let mut host = host.with_env("CONTAINER_ID", "12345");
    host.up();
    home.wait_has(&attached, true);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
    host.run(&["check"]).done();
    host.stop();

    // The key by systemd's hand alone.
    let key_file = host.dir.path().join("vast-api-key");
    let line = format!("vast.api-key-file = \"{}\"\n", key_file.display());
    host.configure_as(host.toml().replace(&line, ""));
    assert!(
        host.run(&["check"])
            .done()
            .err
            .contains("no systemd credential")
    );
    host.up();
    host.wait_condition("no-credential");
    assert!(home.has(&attached));
    host.stop();
    let credentials = host.dir.path().to_str().unwrap().to_owned();
    let mut host = host.with_env("CREDENTIALS_DIRECTORY", &credentials);
    host.up();
    host.wait_status("no trouble", |s| s.conditions.is_empty());
    assert!(home.has(&attached) && home.has(&saved));
}

#[test]
fn one_of_several_sources_that_fails_hurts_no_other() {
    let [vast_key, web_key, shared, own] = [(); 4].map(|()| public_key());
    let rented_from = Web::start(vast(
        vec![item(1, &vast_key, "v"), item(2, &shared, "from-vast")],
        Vec::new(),
    ));
    let list = format!("{shared} from-web\n{web_key} w\n");
    let web = Web::start(move |_| Reply::lines(&list));
    let (home, host) = (Home::new(), Host::new());
    put(&host.dir.path().join("vast-api-key"), "vast-secret", 0o600);
    let of_vast = format!(
        "poll-interval = \"1s\"\nvast.url = \"{}\"\nvast.instance = 12345\n\
         vast.api-key-file = \"{}/vast-api-key\"",
        rented_from.url,
        host.dir.path().display()
    );
    let of_web = format!("poll-interval = \"1s\"\nhttp.url = \"{}\"", web.url);
    let mut host = host
        .with_source("vast", &of_vast)
        .with_source("web", &of_web)
        .with_file("own")
        .with_home(&home, "web own vast", "");
    host.write_file("own", &format!("{own} own\n"));
    host.up();
    for key in [&vast_key, &web_key, &shared, &own] {
        home.wait_has(key, true);
    }
    // A union in the order in which the target names them; who names a key first gives it its line.
    host.wait_status("no trouble", |s| s.conditions.is_empty());
    let text = home.text();
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("{what} not in {text}"))
    };
    assert!(at(&web_key.to_string()) < at(&own.to_string()));
    assert!(at(&own.to_string()) < at(&vast_key.to_string()));
    assert!(text.contains("from-web") && !text.contains("from-vast"));

    // One is gone: its keys stay, the others' come and go.
    web.always(Reply::new("500 Internal Server Error", &[], ""));
    assert_eq!(host.wait_condition("source-offline").about, "web");
    let [new, later] = [(); 2].map(|()| public_key());
    host.write_file("own", &format!("{new} new\n"));
    rented_from.answer(vast(
        vec![item(1, &later, "l"), item(2, &shared, "s")],
        Vec::new(),
    ));
    home.wait_has(&new, true);
    home.wait_has(&later, true);
    home.wait_has(&own, false);
    home.wait_has(&vast_key, false);
    assert!(home.has(&web_key) && home.has(&shared));
    let states: Vec<_> = host.status().sources.iter().map(|s| s.state).collect();
    assert_eq!(
        states,
        [SourceState::Live, SourceState::Held, SourceState::Live]
    );
}

#[test]
fn each_source_is_asked_at_its_own_times() {
    let [one, two] = [(); 2].map(|()| public_key());
    let [often, seldom] = [&one, &two].map(|key| {
        let list = format!("{key}\n");
        Web::start(move |_| Reply::lines(&list))
    });
    let home = Home::new();
    let of = |web: &Web, interval: &str| {
        format!("poll-interval = \"{interval}\"\nhttp.url = \"{}\"", web.url)
    };
    let mut host = Host::new()
        .with_source("often", &of(&often, "1s"))
        .with_source("seldom", &of(&seldom, "1h"))
        .with_home(&home, "often seldom", "");
    host.up();
    home.wait_has(&one, true);
    home.wait_has(&two, true);
    wait_until("five questions", || often.asked().len() >= 5);
    assert_eq!(seldom.asked().len(), 1);
    // A person's sync asks both.
    host.sync();
    assert_eq!(seldom.asked().len(), 2);
}

#[test]
fn the_next_replica_is_asked_at_once_and_only_their_all_being_gone_is_a_condition() {
    let (near, far) = (Proxy::start(), Proxy::start());
    let service = Service::start_behind(Some(near.address));
    near.stand_before(service.address);
    far.stand_before(service.address);
    let home = Home::new();
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    let both = format!("urls = [\"{}\", \"http://{}\"]", service.url, far.address);
    let text = host
        .toml()
        .replace(&format!("urls = [\"{}\"]", service.url), &both);
    assert!(text.contains(&both));
    host.configure_as(text.replace("[agent]", "[agent]\nlog = \"sshkeyd=debug\""));
    host.up();
    host.wait_listed();
    let [first, second, third] = [(); 3].map(|()| public_key());
    service.save(&first, "first", &[]);
    home.wait_has(&first, true);

    near.kill();
    service.save(&second, "second", &[]);
    home.wait_has(&second, true);
    wait_until("heartbeats by the other", || {
        service.instance_state(id) == InstanceState::Live
    });
    let log = || host.daemon.as_ref().unwrap().log();
    assert!(log().contains("the next replica is asked"));
    assert!(
        !log().contains("source-offline"),
        "one of two is no condition"
    );
    assert_eq!(host.status().conditions, []);

    far.kill();
    host.wait_condition("source-offline");
    assert!(home.has(&first) && home.has(&second));
    let rounds = || log().matches("the next replica is asked").count();
    let before = rounds();
    pause(Duration::from_secs(2));
    // A round waits a quarter of a second at the least.
    assert!(
        rounds() - before <= 10,
        "{} rounds in 2 s",
        rounds() - before
    );

    near.stand_before(service.address);
    service.save(&third, "third", &[]);
    home.wait_has(&third, true);
    host.wait_cleared("source-offline");
}

#[test]
fn a_pipe_or_a_directory_of_files_in_the_files_place() {
    let (home, [one, two]) = (Home::new(), [(); 2].map(|()| public_key()));
    let mut host = Host::new().with_file("own").with_home(&home, "own", "");
    host.write_file("own", &format!("{one} one\n"));
    host.up();
    home.wait_has(&one, true);
    let path = host.file("own");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let condition = host.wait_condition("source-malformed");
    assert!(condition.text.contains("not a plain file"), "{condition:?}");
    // Nobody waits for the pipe's writer: the agent goes on.
    assert_eq!(host.sync().sources[0].state, SourceState::Held);
    assert!(home.has(&one));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    put(&path.join("a.pub"), &format!("{one} one\n"), 0o600);
    put(&path.join("b.pub"), &format!("{two} two\n"), 0o600);
    put(&path.join("c.txt"), "nothing\n", 0o600);
    home.wait_has(&two, true);
    host.wait_cleared("source-malformed");
    let a = path.join("a.pub");
    assert!(
        home.text()
            .contains(&format!("# own key {}:1 \"one\"", a.display()))
    );
    fs::remove_file(&a).unwrap();
    home.wait_has(&one, false);
    // A link that leads nowhere is a file that cannot be read, and not one key less.
    std::os::unix::fs::symlink("/nonexistent", path.join("d.pub")).unwrap();
    fs::remove_file(path.join("b.pub")).unwrap();
    let condition = host.wait_condition("source-not-found");
    assert!(condition.text.contains("d.pub"), "{condition:?}");
    assert!(home.has(&two));
}

#[test]
fn check_says_what_will_keep_a_source_from_answering() {
    let (home, host) = (Home::new(), Host::new());
    let dir = host.dir.path().display().to_string();
    put(&host.dir.path().join("open"), "vast-secret\n", 0o644);
    put(&host.dir.path().join("word"), "hunter2\n", 0o600);
    let host = host
        .with_source("rented", &format!("vast.api-key-file = \"{dir}/open\""))
        .with_source(
            "web",
            &format!(
                "http.url = \"https://keys.example.com\"\nhttp.proxy = true\n\
                 http.headers = {{ Authorization = \"file:{dir}/word\", X-A = \"file:{dir}/none\" }}"
            ),
        )
        .with_home(&home, "rented", "")
        .with_env("HTTPS_PROXY", "");
    host.configure();
    let ran = host.run(&["check"]).done();
    assert!(ran.out.contains("no fault"), "{ran:?}");
    for note in [
        "source \"rented\": ".to_owned() + &dir + "/open may be read by others; make it 0600",
        "source \"rented\": no instance, and no $CONTAINER_ID here".to_owned(),
        "source \"web\": ".to_owned() + &dir + "/word holds one word; Authorization begins",
        "source \"web\": ".to_owned() + &dir + "/none: no such file; put the credential there",
        "source \"web\": proxy = true, and no HTTPS_PROXY here".to_owned(),
        "source \"web\": no target takes keys from it".to_owned(),
    ] {
        assert!(ran.err.contains(&note), "{note}: {ran:?}");
    }
    assert!(
        !ran.err.contains("secret\n") && !ran.err.contains("hunter2"),
        "{ran:?}"
    );
    assert_eq!(read(&home.authorized_keys()), "");
}

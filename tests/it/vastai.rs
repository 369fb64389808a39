//! Vast's own client against `/api/v0`: its keys commands as people type them, good and bad.

use crate::support::host::{Home, Host};
use crate::support::process::{Ran, sshkeyd};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use crate::support::vastai::{NOW, OLD, Vast, id_in};
use serde_json::{Value, json};
use sshkeyd::keys::PublicKey;

/// A service, its owner's client, and an instance whose agent keeps a file.
struct Stage {
    service: Service,
    vast: Vast,
    home: Home,
    instance: String,
    _host: Host,
}

impl Stage {
    fn new(version: &str) -> Self {
        let service = Service::start();
        let vast = Vast::with_key(version, &service, &service.api_key);
        let home = Home::new();
        let (host, id) = Host::new().of_new_instance(&service, "web");
        let mut host = host.with_home(&home, "account", "");
        host.up();
        host.wait_listed();
        Self {
            service,
            vast,
            home,
            instance: id.to_string(),
            _host: host,
        }
    }

    /// Another instance, with no agent yet.
    fn another(&self) -> String {
        self.service.create_instance("spare").0.to_string()
    }
}

/// The keys as the client lists them.
fn keys(vast: &Vast) -> Vec<Value> {
    let list = vast.raw(&["show", "ssh-keys"]);
    list.as_array().unwrap().clone()
}

/// Saves a key and gives its id, as text and as number.
fn create(vast: &Vast, key: &PublicKey, comment: &str) -> (String, i64) {
    let said = vast.ok(&["create", "ssh-key", &format!("{key} {comment}")]);
    let id = id_in(&said);
    (id.to_string(), id)
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn a_key_saved_with_vastai_reaches_the_instance_and_a_deleted_one_leaves_it() {
    let stage = Stage::new(NOW);
    let (vast, home) = (&stage.vast, &stage.home);
    let (first, second) = (public_key(), public_key());
    let said = vast.ok(&["create", "ssh-key", &format!("{first} alice@laptop")]);
    assert!(
        said.contains("ssh-key created {'success': True, 'key': {'id': "),
        "{said}"
    );
    let id = id_in(&said);
    home.wait_has(&first, true);
    let list = keys(vast);
    assert_eq!(list.len(), 1, "{list:?}");
    let text = format!("{first} alice@laptop");
    for field in ["public_key", "key", "ssh_key"] {
        assert_eq!(list[0][field], text, "{list:?}");
    }
    assert_eq!(
        (&list[0]["id"], &list[0]["deleted_at"]),
        (&json!(id), &Value::Null)
    );
    assert_eq!(list[0]["user_id"], stage.service.account);
    assert!(list[0]["created_at"].is_f64(), "{list:?}");

    // The same once more, and with what the client leaves on: the same key.
    for text in [text, format!("  {first} \r\n"), format!("{first}")] {
        assert_eq!(id_in(&vast.ok(&["create", "ssh-key", &text])), id);
    }
    assert_eq!(keys(vast).len(), 1);

    // From a file, with its newline: another key under the same id.
    let file = vast.file("new.pub", &format!("{second} alice@desk\n"));
    let said = vast.ok(&["update", "ssh-key", &id.to_string(), &file]);
    assert!(said.contains("'success': True"), "{said}");
    assert_eq!(id_in(&said), id);
    home.wait_has(&second, true);
    home.wait_has(&first, false);
    assert_eq!(keys(vast)[0]["public_key"], format!("{second} alice@desk"));

    let said = vast.ok(&["delete", "ssh-key", &id.to_string()]);
    assert_eq!(said.trim(), "{'success': True}");
    home.wait_has(&second, false);
    assert!(keys(vast).is_empty());
    // Saved again it is a new key.
    assert_ne!(create(vast, &second, "again").1, id);
    home.wait_has(&second, true);
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn vastai_makes_a_key_pair_and_saves_its_public_half() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let said = vast.ok(&["create", "ssh-key", "-y"]);
    let public = std::fs::read_to_string(vast.home().join(".ssh/id_ed25519.pub")).unwrap();
    assert!(said.contains("'success': True"), "{said}");
    assert_eq!(keys(&vast)[0]["public_key"], public.trim());
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn what_is_no_public_key_is_refused_in_words_and_not_saved() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let (good, other) = (public_key(), public_key());
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END";
    let path = vast.file("good.pub", &format!("{good} x\n"));
    for (text, why) in [
        (path.as_str(), "file's name"),
        ("/home/alice/.ssh/id_ed25519", "file's name"),
        (private, "private key"),
        (&format!("{good}\n{other}"), "more than one key"),
        ("hello world", "not an SSH public key"),
        (" ", "No ssh key provided"),
        (&format!("no-pty {good}"), "options"),
        ("ssh-ed25519 AAAA", "may have been cut"),
        ("ssh-ed25519 %%%%", "base64"),
    ] {
        let said = vast.no(400, &["create", "ssh-key", text]);
        assert!(said.contains(why), "{text}: {said}");
        assert!(!said.contains("b3Blbn"), "{said}");
    }
    assert!(keys(&vast).is_empty());
    let raw = vast.run(&["create", "ssh-key", "hello world", "--raw"]);
    let error: Value = serde_json::from_str(&raw.err).unwrap();
    assert_eq!(
        (&error["error"], &error["status_code"]),
        (&json!(true), &json!(400))
    );

    let (id, _) = create(&vast, &good, "good");
    let (second, _) = create(&vast, &other, "other");
    let two = vast.file("two.pub", &format!("{good}\n{other}\n"));
    let said = vast.no(400, &["update", "ssh-key", &id, &two]);
    assert!(said.contains("more than one key"), "{said}");
    let said = vast.no(409, &["update", "ssh-key", &id, &other.to_string()]);
    assert!(said.contains(&second), "{said}");
    let said = vast.no(
        400,
        &["update", "ssh-key", "999", &public_key().to_string()],
    );
    assert!(said.contains("no ssh key of that id"), "{said}");
    let said = vast.no(400, &["delete", "ssh-key", "999"]);
    assert!(said.contains("no ssh key of that id"), "{said}");
    // The client itself refuses these, and nothing is asked of the service.
    let key = vast.file("key", private);
    let ran = vast.run(&["update", "ssh-key", &id, &key]);
    assert!(ran.err.contains("*private* SSH key"), "{ran:?}");
    assert_eq!(keys(&vast).len(), 2);
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn a_key_is_attached_to_one_instance_and_detached_from_it() {
    let stage = Stage::new(NOW);
    let (vast, home, instance) = (&stage.vast, &stage.home, stage.instance.as_str());
    let spare = stage.another();
    let key = public_key();
    let file = vast.file("one.pub", &format!("{key} only-here\n"));
    let said = vast.ok(&["attach", "ssh", instance, &file]);
    assert_eq!(
        said.trim(),
        "{'success': True, 'msg': 'SSH key attached successfully'}"
    );
    home.wait_has(&key, true);
    // There once is there; no traceback, no other key.
    let said = vast.ok(&["attach", "ssh", instance, &file]);
    assert_eq!(
        said.trim(),
        "{'success': False, 'msg': 'SSH key already associated with instance.'}"
    );
    let list = keys(vast);
    assert_eq!(list.len(), 1, "{list:?}");
    let id = list[0]["id"].to_string();
    assert!(of_instance(&stage.service, &spare).is_empty());
    let there = of_instance(&stage.service, instance);
    assert_eq!(there[0]["public_key"].as_str().unwrap(), key.to_string());

    let said = vast.ok(&["detach", "ssh", instance, &id]);
    assert!(said.contains("'success': True"), "{said}");
    assert!(said.contains("SSH key removed from instance."), "{said}");
    home.wait_has(&key, false);
    assert_eq!(keys(vast).len(), 1, "it stays saved");

    // A key of all instances is there already; off one it is off that one alone.
    let everywhere = public_key();
    let (id, _) = create(vast, &everywhere, "everywhere");
    home.wait_has(&everywhere, true);
    let said = vast.ok(&["attach", "ssh", instance, &everywhere.to_string()]);
    assert!(said.contains("already associated"), "{said}");
    vast.ok(&["detach", "ssh", instance, &id]);
    home.wait_has(&everywhere, false);
    assert_eq!(of_instance(&stage.service, &spare).len(), 1);
    vast.ok(&["attach", "ssh", instance, &everywhere.to_string()]);
    home.wait_has(&everywhere, true);
}

/// The keys of an instance, out of the JSON in the JSON.
fn of_instance(service: &Service, instance: &str) -> Vec<Value> {
    let (status, _, answer) = service.http(&format!("GET /api/v0/instances/{instance}/ssh/"), "");
    assert_eq!(
        (status, &answer["success"]),
        (200, &json!(true)),
        "{answer}"
    );
    serde_json::from_str(answer["ssh_keys"].as_str().unwrap()).unwrap()
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn attaching_what_is_not_there_is_refused_in_words() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let (instance, _) = service.create_instance("web");
    let instance = instance.to_string();
    let key = public_key().to_string();
    let said = vast.no(404, &["attach", "ssh", "999", &key]);
    assert!(said.contains("Instance not found."), "{said}");
    let said = vast.no(400, &["attach", "ssh", &instance, "ssh-ed25519 AAAA"]);
    assert!(said.contains("may have been cut"), "{said}");
    assert!(keys(&vast).is_empty());
    vast.ok(&["attach", "ssh", &instance, &key]);
    vast.no(404, &["detach", "ssh", &instance, "abc"]);
    let said = vast.no(404, &["detach", "ssh", &instance, "999"]);
    assert!(said.contains("no ssh key of that id"), "{said}");
    let said = vast.no(404, &["detach", "ssh", "999", "1"]);
    assert!(said.contains("Instance not found."), "{said}");
    assert_eq!(of_instance(&service, &instance).len(), 1);
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn instances_are_listed_shown_labelled_and_paged() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    assert!(
        vast.ok(&["show", "instances", "--no-color"])
            .contains("No instances found.")
    );
    assert_eq!(vast.raw(&["show", "instances"]), json!([]));
    for n in 0..30 {
        service.create_instance(if n % 2 == 0 { "even" } else { "odd" });
    }
    let all = vast.raw(&["show", "instances"]);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 30);
    assert!(all.iter().all(|row| row["start_date"].is_f64()), "{all:?}");
    assert_eq!(all[0]["extra_env"], json!({}));
    let table = vast.ok(&["show", "instances", "--no-color"]);
    assert!(table.contains("Total: 30 instances"), "{table}");
    assert!(
        table.contains("even: 15") && table.contains("created"),
        "{table}"
    );
    let ids = vast.ok(&["show", "instances", "-q"]);
    assert_eq!(ids.lines().count(), 30, "{ids}");
    let odd = vast.ok(&[
        "show",
        "instances",
        "--label",
        "odd",
        "-q",
        "--order-by",
        "id desc",
    ]);
    let odd: Vec<i64> = odd.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(odd.len(), 15);
    assert!(odd.is_sorted_by(|a, b| a > b), "{odd:?}");
    let page = vast.raw(&["show", "instances", "--limit", "20"]);
    assert_eq!(page["instances"].as_array().unwrap().len(), 20);
    let token = page["next_token"].as_str().unwrap();
    let rest = vast.raw(&["show", "instances", "--limit", "20", "--next-token", token]);
    assert_eq!(rest["instances"].as_array().unwrap().len(), 10);
    assert_eq!(rest["next_token"], Value::Null);
    assert!(
        vast.ok(&["show", "instances", "-v", "--no-color"])
            .contains("Total: 30")
    );

    let id = all[0]["id"].to_string();
    let one = vast.raw(&["show", "instance", &id]);
    assert_eq!((&one["id"], &one["label"]), (&all[0]["id"], &json!("even")));
    assert!(vast.ok(&["show", "instance", &id]).contains("even"));
    let ran = vast.run(&["show", "instance", "999"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("not found or no longer exists"), "{ran:?}");
    let said = vast.ok(&["label", "instance", &id, "renamed"]);
    assert_eq!(said.trim(), format!("label for {id} set to renamed."));
    assert_eq!(vast.raw(&["show", "instance", &id])["label"], "renamed");
    let said = vast.no(404, &["label", "instance", "999", "x"]);
    assert!(said.contains("Instance not found."), "{said}");
    vast.no(400, &["label", "instance", &id, "a\u{1b}[2J"]);
    let said = vast.run(&["ssh-url", &id]);
    assert!(said.out.contains("ssh port not found"), "{said:?}");
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn an_api_key_is_made_narrow_shown_reset_and_deleted() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let reader = json!({"api": {"user_read": {}, "misc": {}}}).to_string();
    let reader = vast.file("reader.json", &reader);
    let said = vast.ok(&[
        "create",
        "api-key",
        "--name",
        "reader",
        "--permission_file",
        &reader,
    ]);
    assert!(
        said.contains("api-key created {'success': True, 'id': "),
        "{said}"
    );
    let id = id_in(&said);
    let (_, key) = said.split_once("'key': '").unwrap();
    let key = key.split('\'').next().unwrap();

    // It is shown without its secret.
    let list = vast.raw(&["show", "api-keys"]);
    let list = list["apikeys"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(!json!(list).to_string().contains(key));
    let reads = list.iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(reads["name"], "reader");
    assert_eq!(
        reads["rights"],
        json!({"api": {"user_read": {}, "misc": {}}})
    );
    let one = vast.ok(&["show", "api-key", &id.to_string()]);
    assert!(one.contains("'reader'") && !one.contains(key), "{one}");
    assert!(
        vast.no(404, &["show", "api-key", "999"])
            .contains("API Key not found.")
    );

    // It reads, and does not write.
    let narrow = Vast::with_key(NOW, &service, key);
    assert!(keys(&narrow).is_empty());
    let user = narrow.raw(&["show", "user"]);
    assert_eq!(
        (&user["key_id"], &user["rights"]),
        (&json!(id), &reads["rights"])
    );
    let more = public_key().to_string();
    for refused in [
        vec!["create", "ssh-key", &more],
        vec!["delete", "ssh-key", "1"],
        vec!["show", "instances", "-q"],
        vec!["attach", "ssh", "1", &more],
        vec!["detach", "ssh", "1", "1"],
        vec![
            "create",
            "api-key",
            "--name",
            "wide",
            "--permission_file",
            &reader,
        ],
        vec!["delete", "api-key", "1"],
        vec!["reset", "api-key"],
    ] {
        let said = narrow.no(403, &refused);
        assert!(said.contains("no right to"), "{refused:?}: {said}");
    }
    // One that may write makes none that may more, and deletes none.
    let writer = json!({"api": {"user_read": {}, "user_write": {}}}).to_string();
    let writer = vast.file("writer.json", &writer);
    let said = vast.ok(&[
        "create",
        "api-key",
        "--name",
        "writer",
        "--permission_file",
        &writer,
    ]);
    let (_, key) = said.split_once("'key': '").unwrap();
    let wide = vast.file("wide.json", &json!({"api": {}}).to_string());
    let writes = Vast::with_key(NOW, &service, key.split('\'').next().unwrap());
    writes.no(
        403,
        &[
            "create",
            "api-key",
            "--name",
            "w",
            "--permission_file",
            &wide,
        ],
    );
    let said = writes.no(403, &["delete", "api-key", "1"]);
    assert!(
        said.contains("You do not have permission to delete this API Key."),
        "{said}"
    );

    // Reset: the old one stops at once.
    let said = writes.ok(&["reset", "api-key"]);
    let renewed = said
        .trim()
        .strip_prefix("New api-key: ")
        .unwrap()
        .to_owned();
    assert!(
        writes
            .no(401, &["show", "ssh-keys"])
            .contains("Invalid user key")
    );
    let renewed = Vast::with_key(NOW, &service, &renewed);
    assert!(keys(&renewed).is_empty());

    let said = vast.ok(&["delete", "api-key", &id.to_string()]);
    assert_eq!(said.trim(), "Successfully Deleted API Key");
    assert!(
        narrow
            .no(401, &["show", "ssh-keys"])
            .contains("Invalid user key")
    );
    assert!(
        vast.no(404, &["delete", "api-key", "999"])
            .contains("API Key not found.")
    );
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn an_api_key_that_is_not_described_well_is_not_made() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let good = vast.file("good.json", &json!({"api": {"user_read": {}}}).to_string());
    for (name, tree) in [
        ("array", json!([])),
        ("null", json!(null)),
        ("word", json!({"api": {"everything": {}}})),
        ("flat", json!({"read": true, "write": false})),
    ] {
        let file = vast.file(name, &tree.to_string());
        let said = vast.no(
            400,
            &[
                "create",
                "api-key",
                "--name",
                "x",
                "--permission_file",
                &file,
            ],
        );
        assert!(said.contains("permissions"), "{tree}: {said}");
    }
    let create = [
        "create",
        "api-key",
        "--permission_file",
        &good,
        "--key_params",
    ];
    let said = vast.no(400, &[&create[..], &["id=5", "--name", "x"]].concat());
    assert!(said.contains("key_params"), "{said}");
    let ran = vast.run(&["create", "api-key", "--permission_file", "/none"]);
    assert!(
        ran.out.contains("Permission file '/none' not found."),
        "{ran:?}"
    );

    // Without a name, and held to an address that it does not come from.
    let away = json!({"ip_whitelist": ["203.0.113.7"]}).to_string();
    let said = vast.ok(&[&create[..], &[away.as_str()]].concat());
    let (_, key) = said.split_once("'key': '").unwrap();
    let held = Vast::with_key(NOW, &service, key.split('\'').next().unwrap());
    assert!(
        held.no(401, &["show", "ssh-keys"])
            .contains("Invalid user key")
    );
    assert_eq!(
        vast.raw(&["show", "api-keys"])["apikeys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn the_user_is_shown_and_a_key_saved_in_his_settings() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let user = vast.raw(&["show", "user"]);
    assert_eq!(user["id"], service.account);
    assert_eq!(user["email"], "alice@example.com");
    assert_eq!(user["rights"], json!({"api": {}}));
    assert!(vast.ok(&["show", "user"]).contains("alice@example.com"));
    assert_eq!(vast.raw(&["show", "subaccounts"]), json!([]));
    let key = public_key();
    let file = vast.file(
        "user.json",
        &json!({"ssh_key": format!("{key} mine\n")}).to_string(),
    );
    let said = vast.ok(&["set", "user", "--file", &file]);
    assert!(said.contains("'success': True"), "{said}");
    assert_eq!(keys(&vast)[0]["public_key"], format!("{key} mine"));
    for (settings, why) in [
        (json!({}), "nothing"),
        (json!({"ssh_key": "hello world"}), "not an SSH public key"),
        (json!({"email": "b@example.com"}), "ssh_key"),
    ] {
        let file = vast.file("bad.json", &settings.to_string());
        let said = vast.no(400, &["set", "user", "--file", &file]);
        assert!(said.contains(why), "{settings}: {said}");
    }
    let (status, _, sessions) = service.http("GET /api/v0/auth/sessions/", "");
    assert_eq!((status, &sessions["success"]), (200, &json!(true)));
    assert!(vast.raw(&["show", "ipaddrs"]).is_array());

    let log = vast.raw(&["show", "audit-logs"]);
    let rows = log.as_array().unwrap();
    let added = rows.iter().find(|row| row["api_route"] == "ssh-key.add");
    let added = added.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(added["ip_address"], "127.0.0.1");
    assert_eq!(added["api_key_id"], user["key_id"]);
    assert!(added["created_at"].is_f64(), "{added}");
    assert!(vast.ok(&["show", "audit-logs"]).contains("ssh-key.add"));
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn a_key_that_is_none_is_named_and_an_ended_session_falls_back_to_the_api_key() {
    let service = Service::start();
    let wrong = Vast::with_key(NOW, &service, "skd_api_nothing");
    let nobody = Vast::new(NOW, &service);
    for vast in [&wrong, &nobody] {
        let said = vast.no(401, &["show", "ssh-keys"]);
        assert!(said.contains("Invalid user key"), "{said}");
    }
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    let ended = service.api_key.replace("skd_api_", "skd_ses_");
    vast.file("config/vastai/vast_tfa_key", &ended);
    let ran = vast.run(&["show", "ssh-keys"]).done();
    assert!(ran.out.contains("Your 2FA session has expired."), "{ran:?}");
    assert!(
        ran.out.contains("Trying again with your normal API Key"),
        "{ran:?}"
    );
    assert!(ran.out.trim().ends_with("[]"), "{ran:?}");
    // What is not served is said to be so, and is no page of HTML.
    let said = vast.no(404, &["show", "env-vars"]);
    assert!(said.contains("nothing at this path"), "{said}");
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn an_old_client_with_its_key_in_the_query_works_and_the_key_is_not_logged() {
    let mut stage = Stage::new(OLD);
    let (vast, home) = (&stage.vast, &stage.home);
    let key = public_key();
    let said = vast.ok(&["create", "ssh-key", &format!("{key} old")]);
    let id = id_in(&said).to_string();
    home.wait_has(&key, true);
    assert!(vast.ok(&["show", "ssh-keys"]).contains(&key.to_string()));
    let said = vast.no(400, &["create", "ssh-key", "/root/.ssh/id_ed25519.pub"]);
    assert!(said.contains("file's name"), "{said}");
    let other = public_key();
    vast.ok(&["update", "ssh-key", &id, &other.to_string()]);
    home.wait_has(&other, true);
    let rows = vast.raw(&["show", "instances"]);
    assert_eq!(rows[0]["id"].to_string(), stage.instance);
    assert!(vast.ok(&["show", "instances"]).contains("web"));
    assert!(
        vast.ok(&["show", "instance", &stage.instance])
            .contains("web")
    );
    vast.ok(&["label", "instance", &stage.instance, "renamed"]);
    assert!(vast.ok(&["show", "user"]).contains("alice@example.com"));
    let said = vast.ok(&["attach", "ssh", &stage.instance, &other.to_string()]);
    assert!(said.contains("already associated"), "{said}");
    vast.ok(&["detach", "ssh", &stage.instance, &id]);
    home.wait_has(&other, false);
    vast.no(404, &["detach", "ssh", &stage.instance, "abc"]);
    vast.ok(&["show", "api-keys"]);
    vast.ok(&["show", "audit-logs"]);
    vast.ok(&["delete", "ssh-key", &id]);
    let wrong = Vast::with_key(OLD, &stage.service, "skd_api_nothing");
    assert!(
        wrong
            .no(401, &["show", "ssh-keys"])
            .contains("Invalid user key")
    );
    let key = stage.service.api_key.clone();
    stage.service.stop();
    for entry in std::fs::read_dir(stage.service.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(key.len()).any(|w| w == key.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn the_sdk_reads_what_the_command_line_wrote() {
    let service = Service::start();
    let vast = Vast::with_key(NOW, &service, &service.api_key);
    service.create_instance("web");
    let (key, other) = (public_key(), public_key());
    let script = format!(
        "import requests
def refused(status, call):
    try:
        call()
    except requests.exceptions.HTTPError as e:
        assert e.response.status_code == status, e.response.text
        assert e.response.json()['success'] is False, e.response.text
        assert e.response.json()['msg'], e.response.text
    else:
        raise AssertionError('not refused')
made = vast.create_ssh_key('{key} sdk')
assert made['success'] is True and isinstance(made['key']['id'], int), made
assert [k['public_key'] for k in vast.show_ssh_keys()] == ['{key} sdk']
refused(400, lambda: vast.create_ssh_key(None))
refused(400, lambda: vast.create_ssh_key('/root/.ssh/id_ed25519.pub'))
instance = vast.show_instances()[0]['id']
assert vast.show_instance(instance)['label'] == 'web'
assert vast.show_instance(instance + 1) is None
assert vast.attach_ssh(instance, '{other}')['success'] is True
assert 'already associated' in vast.attach_ssh(instance, '{other}')['msg']
vast.delete_ssh_key(made['key']['id'])
assert len(vast.show_ssh_keys()) == 1
key = vast.create_api_key('ci', {{'api': {{'user_read': {{}}}}}})
assert len(vast.show_api_keys()) == 2
assert vast.delete_api_key(key['id']) == 'Successfully Deleted API Key'
assert vast.show_user()['email'] == 'alice@example.com'
print('well')
"
    );
    let ran = vast.sdk(&service.api_key, &script);
    assert_eq!(ran.out.trim(), "well", "{ran:?}");
}

#[test]
#[ignore = "needs vastai; tests/run includes it"]
fn a_code_of_the_second_factor_makes_a_session_that_ends_when_it_is_deleted() {
    let mut service = Service::start();
    let password = service.dir().join("password");
    put(&password, "correct horse\n", 0o600);
    let mut add = sshkeyd();
    add.args(["account", "add", "bob@example.com", "--json", "--config"])
        .arg(service.dir().join("server.toml"))
        .arg("--password-file")
        .arg(&password);
    let made: Value = Ran::of(&mut add).done().json();
    let key = made["api_key"].as_str().unwrap().to_owned();
    let vast = Vast::with_key(NOW, &service, &key);
    assert!(
        vast.ok(&["tfa", "status"])
            .contains("No active 2FA methods found")
    );
    let no = vast.run(&["tfa", "login", "-t", "totp", "-c", "123456"]);
    assert!(
        no.out.contains("the account has no second factor"),
        "{no:?}"
    );

    // The factor is set up with the password, by a person.
    let login = json!({"email": "bob@example.com", "password": "correct horse"});
    let (status, _, login) = service.http("POST /v1/login", &login.to_string());
    assert_eq!(status, 200, "{login}");
    service.api_key = login["session_key"].as_str().unwrap().to_owned();
    let begun = json!({"password": "correct horse"}).to_string();
    let (_, _, begun) = service.http("POST /v1/account/totp", &begun);
    let secret = begun["secret"].as_str().unwrap();
    let code = json!({"code": vast.totp(secret, 0)}).to_string();
    let (status, _, confirmed) = service.http("POST /v1/account/totp/confirm", &code);
    assert_eq!(status, 200, "{confirmed}");
    let backup = confirmed["backup_codes"][0].as_str().unwrap();

    let said = vast.ok(&["tfa", "status"]);
    assert!(said.contains("Enabled") && said.contains("totp"), "{said}");
    assert!(said.contains("Backup codes remaining: 10"), "{said}");
    let no = vast.run(&["tfa", "login", "-c", "not-it"]);
    assert!(
        no.out.contains("this code is not good, or was used"),
        "{no:?}"
    );
    let next = vast.totp(secret, 1);
    let said = vast.ok(&["tfa", "login", "-t", "totp", "-c", &next]);
    assert!(
        said.contains("2FA login successful! Session key saved to"),
        "{said}"
    );
    let session = vast.saved_session();
    assert!(session.starts_with("skd_ses_"));
    let user = vast.raw(&["show", "user"]);
    assert_eq!(
        (&user["key_id"], user["sid"].is_i64()),
        (&Value::Null, true)
    );
    let said = vast.no(400, &["reset", "api-key"]);
    assert!(said.contains("session key"), "{said}");

    // Deleted, it is over, and the client goes back to its API key by itself.
    service.api_key = key;
    let (status, _, list) = service.http("GET /api/v0/auth/sessions/", "");
    let sessions = list["sessions"].as_array().unwrap();
    let ours = sessions
        .iter()
        .find(|row| row["id"] == user["sid"])
        .unwrap();
    assert_eq!(
        (status, &ours["user_agent"]),
        (200, &json!("vastai-cli/1.9.1"))
    );
    let which = json!({"id": user["sid"]}).to_string();
    let (status, _, done) = service.http("DELETE /api/v0/auth/sessions/", &which);
    assert_eq!((status, &done["success"]), (200, &json!(true)));
    let ran = vast.run(&["show", "ssh-keys"]).done();
    assert!(
        ran.out
            .contains("Failed with error 404: Your 2FA session has expired."),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("Trying again with your normal API Key"),
        "{ran:?}"
    );
    assert!(ran.out.trim().ends_with("[]"), "{ran:?}");

    // A backup code is good once.
    let said = vast.ok(&["tfa", "login", "--backup-code", backup]);
    assert!(said.contains("Backup codes remaining: 9"), "{said}");
    std::fs::remove_file(vast.home().join("config/vastai/vast_tfa_key")).unwrap();
    let no = vast.run(&["tfa", "login", "--backup-code", backup]);
    assert!(
        no.out.contains("this code is not good, or was used"),
        "{no:?}"
    );
}

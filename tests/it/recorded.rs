//! Neighbours of other versions: what an earlier version said, kept below tests/recorded/, against
//! what this one says, reads and takes over. `tests/recorded/README.md` says how a recording is made.

mod described;
mod making;
mod recording;
mod shape;

use crate::support::host::{Home, Host, read};
use crate::support::process::wait_until;
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use making::{Calls, HOME, PASSWORD, ask, done};
use recording::{Recording, json_of};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use shape::{Schemas, Shape, lost_of, with_unknown};
use sshkeyd::trust::{AGENT_NAMESPACE, Signer};
use sshkeyd::wire::{
    Account, AccountSession, ApiKey, ApiKeySecret, AuditItem, Condition, Doctor, EnrollAnswer,
    Handover, HandoverPayload, HeartbeatAnswer, Instance, InstanceState, LoginAnswer,
    NewInstanceAnswer, NonceAnswer, Page, Payload, Plan, Problem, RenewAnswer, Rollout, Severity,
    SignedSnapshot, SourceState, SshKey, Status, renewal_message,
};
use std::fs;
use std::path::{Path, PathBuf};

/// Reads a body as this version's programs do, and writes what was understood.
type Reads = fn(&Value) -> Result<Value, serde_json::Error>;

fn reads<T: DeserializeOwned + Serialize>(body: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(body.clone())?)
}

/// Answers that agent and command line read.
const READ: [(&str, Reads); 18] = [
    ("POST /v1/agent/enroll", reads::<EnrollAnswer>),
    ("GET /v1/agent/nonce", reads::<NonceAnswer>),
    ("POST /v1/agent/renew", reads::<RenewAnswer>),
    ("GET /v1/agent/snapshot", reads::<SignedSnapshot>),
    ("GET /v1/agent/signers", reads::<Page<Handover>>),
    ("POST /v1/agent/heartbeat", reads::<HeartbeatAnswer>),
    ("GET /v1/ssh-keys", reads::<Page<SshKey>>),
    ("POST /v1/ssh-keys", reads::<SshKey>),
    ("GET /v1/ssh-keys/{id}", reads::<SshKey>),
    ("GET /v1/ssh-keys/{id}/rollout", reads::<Rollout>),
    ("GET /v1/api-keys", reads::<Page<ApiKey>>),
    ("POST /v1/api-keys", reads::<ApiKeySecret>),
    ("GET /v1/instances", reads::<Page<Instance>>),
    ("POST /v1/instances", reads::<NewInstanceAnswer>),
    ("GET /v1/sessions", reads::<Page<AccountSession>>),
    ("GET /v1/audit", reads::<Page<AuditItem>>),
    ("POST /v1/login", reads::<LoginAnswer>),
    ("GET /v1/account", reads::<Account>),
];

fn assert_none(lost: &[String], dir: &Path) {
    assert!(lost.is_empty(), "{}:\n{}", dir.display(), lost.join("\n"));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn nothing_is_lost_of_what_an_earlier_version_said() {
    // Where a recording is to be kept, it goes there.
    let scratch = tempfile::tempdir().unwrap();
    let into = std::env::var_os("SSHKEYD_RECORD").map(PathBuf::from);
    let into = into.unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&into).unwrap();
    making::make(&into);
    let now = Recording::load(into);
    for was in Recording::all() {
        let mut lost = Vec::new();
        for ((call, status), bodies) in &was.calls {
            let at = format!("{call} {status}");
            let Some(said) = now.calls.get(&(call.clone(), *status)) else {
                lost.push(format!("{at} is not answered so any more"));
                continue;
            };
            Shape::of(&bodies.answers).lost(&Shape::of(&said.answers), &at, &mut lost);
            // What agents leave out an earlier service may want.
            if call.contains("/v1/agent/") {
                Shape::of(&bodies.requests).lost(&Shape::of(&said.requests), &at, &mut lost);
            }
        }
        for name in ["status", "plan", "doctor"] {
            let file = format!("local/{name}.json");
            let (was, now) = (json_of(&was.dir.join(&file)), json_of(&now.dir.join(&file)));
            lost.extend(lost_of(&was, &now, name));
        }
        assert_none(&lost, &was.dir);
    }
}

/// Reads a body as it was, with fields of a later version, and without those that its writer could
/// leave out; nothing that was there may be lost on the way.
fn understood(reads: Reads, schemas: &Schemas<'_>, schema: &Value, body: &Value, at: &str) {
    let read = |body: &Value| reads(body).unwrap_or_else(|e| panic!("{at}: {e}: {body:#}"));
    assert_eq!(lost_of(body, &read(body), at), [] as [String; 0]);
    let more = read(&with_unknown(body));
    assert_eq!(
        lost_of(body, &more, at),
        [] as [String; 0],
        "with unknown fields"
    );
    let less = schemas.only_required(schema, body);
    assert_eq!(
        lost_of(&less, &read(&less), at),
        [] as [String; 0],
        "with required fields only"
    );
}

#[test]
fn what_an_earlier_version_said_is_read_with_more_fields_and_with_fewer() {
    for was in Recording::all() {
        let schemas = was.schemas();
        for (call, reads) in READ {
            let found = was
                .calls
                .iter()
                .filter(|((other, status), _)| other == call && *status < 300);
            let mut seen = 0;
            for ((_, status), bodies) in found {
                let (_, schema) = was.described(call, *status);
                assert!(schema.is_object(), "{call} {status}: no schema");
                for body in &bodies.answers {
                    understood(reads, &schemas, schema, body, call);
                    seen += 1;
                }
                // Every field, also what did not come up in the recording.
                understood(reads, &schemas, schema, &schemas.whole(schema), call);
            }
            assert!(seen > 0, "{}: no {call}", was.dir.display());
        }
        let mut refusals = 0;
        for ((call, status), bodies) in &was.calls {
            for body in bodies.answers.iter().filter(|_| *status >= 400) {
                understood(
                    reads::<Problem>,
                    &schemas,
                    &schemas.0["Problem"],
                    body,
                    call,
                );
                refusals += 1;
            }
        }
        assert!(refusals > 2);
        let status: [(&str, Reads); 3] = [
            ("status", reads::<Status>),
            ("plan", reads::<Plan>),
            ("doctor", reads::<Doctor>),
        ];
        for (name, reads) in status {
            let body = json_of(&was.dir.join(format!("local/{name}.json")));
            understood(reads, &schemas, &Value::Null, &body, name);
        }
        // What is signed, too.
        for (name, reads) in [
            ("Payload", reads::<Payload> as Reads),
            ("HandoverPayload", reads::<HandoverPayload>),
        ] {
            let schema = json_of(&was.dir.join(format!("schemas/{name}.json")));
            let none = Map::new();
            let schemas = Schemas(schema["$defs"].as_object().unwrap_or(&none));
            understood(reads, &schemas, &schema, &schemas.whole(&schema), name);
        }
        for body in &was.bodies("GET /v1/agent/snapshot", 200).answers {
            use base64::Engine as _;
            let payload = body["payload"].as_str().unwrap();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(payload)
                .unwrap();
            let payload: Value = serde_json::from_slice(&bytes).unwrap();
            let read = reads::<Payload>(&with_unknown(&payload)).unwrap();
            assert_eq!(lost_of(&payload, &read, "payload"), [] as [String; 0]);
        }
    }
}

#[test]
fn the_service_takes_what_agents_and_people_of_other_versions_say() {
    for was in Recording::all() {
        let service = Service::start().for_person("person@example.com", PASSWORD);
        let at = service.address;
        let (instance, token) = service.create_instance("web");
        let token = token.split('.').next().unwrap();
        let signer = Signer::from_seed(&rand::random());
        let run = "00000000000000000000000000000001";
        let with = |mut body: Value, own: &[(&str, Value)]| {
            for (name, value) in own {
                body[*name] = value.clone();
            }
            body
        };
        let mut session = String::new();
        for body in was.requests("POST /v1/agent/enroll", 200) {
            let own = [
                ("token", json!(token)),
                ("public_key", json!(signer.public().to_string())),
                ("run", json!(run)),
            ];
            let answer = done(at, "", "POST /v1/agent/enroll", &with(body, &own));
            assert_eq!(answer["instance"], instance);
            session = answer["session_key"].as_str().unwrap().to_owned();
        }
        for body in was.requests("POST /v1/agent/renew", 200) {
            let nonce = done(at, "", "GET /v1/agent/nonce", &Value::Null);
            let nonce: NonceAnswer = serde_json::from_value(nonce).unwrap();
            let message = renewal_message(instance, &service.url, nonce.at, &nonce.nonce);
            let own = [
                ("instance", json!(instance)),
                ("url", json!(service.url)),
                ("at", json!(nonce.at)),
                ("nonce", json!(nonce.nonce)),
                ("run", json!(run)),
                ("signature", json!(signer.sign(AGENT_NAMESPACE, &message))),
            ];
            let answer = done(at, "", "POST /v1/agent/renew", &with(body, &own));
            session = answer["session_key"].as_str().unwrap().to_owned();
        }
        let beat = "POST /v1/agent/heartbeat";
        let whole = was.schemas().whole(was.described(beat, 200).0);
        let mut beats = was.requests(beat, 200);
        beats.extend([whole.clone(), with_unknown(&whole)]);
        for body in beats {
            done(
                at,
                &session,
                beat,
                &with(body.clone(), &[("run", json!(run))]),
            );
            let shown = done(
                at,
                &service.api_key,
                &format!("GET /v1/instances/{instance}"),
                &Value::Null,
            );
            assert_eq!(
                shown["status"]["version"], body["status"]["version"],
                "{body:#}"
            );
        }
        done(at, &session, "GET /v1/agent/snapshot?wait=0", &Value::Null);

        for call in [
            "POST /v1/ssh-keys",
            "POST /v1/api-keys",
            "POST /v1/instances",
            "POST /v1/login",
        ] {
            let statuses = was
                .calls
                .keys()
                .filter(|(other, status)| other == call && *status < 300);
            let statuses: Vec<u16> = statuses.map(|(_, status)| *status).collect();
            assert!(!statuses.is_empty(), "{call}");
            for status in statuses {
                for body in was.requests(call, status) {
                    let own = [("public_key", json!(public_key().to_string()))];
                    let own: &[_] = if body["public_key"].is_string() {
                        &own
                    } else {
                        &[]
                    };
                    let token = if call.ends_with("login") {
                        ""
                    } else {
                        &service.api_key
                    };
                    let (said, answer) = ask(at, token, call, &with(body.clone(), own));
                    assert_eq!(said, status, "{call} {body}: {answer}");
                }
            }
        }
        for (of, call) in [
            ("ssh-keys", "PATCH /v1/ssh-keys/{id}"),
            ("api-keys", "PATCH /v1/api-keys/{id}"),
            ("instances", "PATCH /v1/instances/{id}"),
        ] {
            let list = done(at, &service.api_key, &format!("GET /v1/{of}"), &Value::Null);
            let id = list["items"].as_array().unwrap().last().unwrap()["id"].clone();
            for body in was.requests(call, 200) {
                let path = call.replace("{id}", &id.to_string());
                done(at, &service.api_key, &path, &body);
            }
        }
    }
}

#[test]
fn an_agent_goes_on_with_a_later_and_with_an_earlier_service() {
    for was in Recording::all() {
        for is_later in [true, false] {
            let proxy = Proxy::start();
            let service = Service::start_behind(Some(proxy.address));
            proxy.stand_before(service.address);
            let api = was.api.clone();
            let recording = Recording {
                dir: was.dir.clone(),
                calls: Calls::new(),
                api,
            };
            proxy.lie(move |first, mut answer| {
                let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
                    return Some(answer);
                };
                let status = answer.head.split(' ').nth(1).unwrap().parse().unwrap();
                let call = making::normal(first.rsplit_once(' ').unwrap().0);
                let body = if is_later {
                    with_unknown(&body)
                } else if recording.has(&call) {
                    let schema = recording.described(&call, status).1;
                    recording.schemas().only_required(schema, &body)
                } else {
                    // It does not know the call.
                    answer.head =
                        "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json"
                            .to_owned();
                    json!({"type": "about:blank", "title": "Not Found", "status": 404})
                };
                answer.body = body.to_string().into_bytes();
                Some(answer)
            });
            let (home, laptop, phone) = (Home::new(), public_key(), public_key());
            let id = service.save(&laptop, "laptop", &[]);
            let (host, instance) = Host::new().of_new_instance(&service, "web");
            let mut host = host.with_home(&home, "account", "");
            host.up();
            home.wait_has(&laptop, true);
            wait_until("the service to hear of it", || {
                service.instance_state(instance) == InstanceState::Live
            });
            // A restart with a session that has ended renews it.
            host.stop();
            making::end_session(&host);
            service.delete(id);
            service.save(&phone, "phone", &[]);
            host.up();
            home.wait_has(&phone, true);
            home.wait_has(&laptop, false);
            assert_well(&host.status());
        }
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn state_directories_of_an_earlier_version_are_taken_over() {
    for was in Recording::all() {
        let state = was.dir.join("state");
        let about = json_of(&state.join("about.json"));
        let mut service = Service::start_with_data(|data| {
            let secrets = data.parent().unwrap().join("secrets");
            copy(&state.join("service/secrets"), &secrets, &|bytes| bytes);
            copy(&state.join("service/data"), data, &|bytes| bytes);
        });
        service.api_key = about["api_key"].as_str().unwrap().to_owned();
        service.account = about["account"].as_i64().unwrap();
        let instance = about["instance"].as_i64().unwrap();

        let home = Home::new();
        let place = home.path().display().to_string();
        let placed = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(HOME, &place)
                .into_bytes()
        };
        home.write(&read(&state.join("authorized_keys")));
        let before = home.text();
        let host = Host::new().with_token(&service, "skd_enr_spent");
        let mut host = host.with_home(&home, "account", "");
        let kept = host.dir.path().join("state");
        copy(&state.join("agent"), &kept, &placed);
        let identity = read(&kept.join("identity"));
        assert!(identity.contains("PRIVATE KEY"));
        host.up();
        wait_until("the instance to be live", || {
            service.instance_state(instance) == InstanceState::Live
        });
        let status = host.status();
        assert_eq!(status.instance, Some(instance));
        assert_eq!(home.text(), before, "nothing was to be changed");
        assert_eq!(status.targets[0].managed.len(), 1);

        let key = public_key();
        service.save(&key, "new", &[]);
        home.wait_has(&key, true);
        let status = host.wait_status("both keys", |s| s.targets[0].managed.len() == 2);
        assert_well(&status);
        assert_eq!(read(&kept.join("identity")), identity);
        // What was taken over lets go as well.
        host.run(&["unmanage"]).done();
        assert_eq!(home.text(), "# mine\n");
    }
}

/// Nothing is at fault; that a neighbour does not know of something may be said.
#[track_caller]
fn assert_well(status: &Status) {
    let at_fault = |condition: &Condition| condition.severity == Severity::Error;
    assert!(!status.conditions.iter().any(at_fault), "{status:?}");
    assert_eq!(status.sources[0].state, SourceState::Live, "{status:?}");
}

fn copy(from: &Path, to: &Path, change: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, change);
        } else {
            put(&target, "", 0o600);
            let mut file = fs::OpenOptions::new().write(true).open(&target).unwrap();
            let bytes = change(fs::read(entry.path()).unwrap());
            std::io::Write::write_all(&mut file, &bytes).unwrap();
        }
    }
}

//! Host certificates: whose names they have, which keys get one, and who says so.

use super::*;
use crate::keys::PublicKey;
use crate::trust::{Certificate, Role};
use crate::wire::{Cas, HostCertificatesAnswer, HostKeyState, Instance, Page, RevokedHostKey};

/// The fingerprint of `Bed::host_key`.
pub(super) const HOST_KEY: &str = "SHA256:RFGPmv0HqTEFgFwzM49kDpWeoM4LSFeh+oNnj0R89WQ";

impl Bed {
    /// A host key that waits on this instance.
    pub(super) async fn host_key(&self, instance: i64) {
        use crate::service::store::{Actor, By};
        let actor = Actor {
            by: By::Agent { instance },
            ..Actor::server(1)
        };
        let key = Signer::from_seed(&[8; 32]).public();
        assert_eq!(key.fingerprint().to_string(), HOST_KEY);
        let now = self.service.now() + SignedDuration::from_hours(2);
        let seen = self
            .service
            .store
            .see_host_keys(actor, instance, vec![key], now);
        assert!(seen.await.unwrap().is_some());
    }
}

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

fn key(seed: u8) -> PublicKey {
    Signer::from_seed(&[seed; 32]).public()
}

fn print(seed: u8) -> String {
    key(seed).fingerprint().to_string()
}

impl TestAgent {
    async fn host_keys(&self, bed: &Bed, keys: &[PublicKey]) -> Reply {
        let keys: Vec<_> = keys.iter().map(PublicKey::to_string).collect();
        let body = json!({"run": self.run, "keys": keys});
        let call = "POST /v1/agent/host-certificates";
        bed.call(&self.session, call, Some(body)).await
    }

    /// The certificate for one key.
    async fn certified(&self, bed: &Bed, seed: u8) -> Certificate {
        let answer: HostCertificatesAnswer = self.host_keys(bed, &[key(seed)]).await.of(200);
        assert_eq!(answer.waiting, [""; 0]);
        let given = &answer.certificates[0];
        let certificate = Certificate::parse(&given.certificate).unwrap();
        assert_eq!(given.key, print(seed));
        assert_eq!(certificate.serial(), given.serial);
        assert_eq!(certificate.valid_before(), given.valid_before);
        certificate
    }
}

impl Bed {
    async fn agent_called(&self, label: &str) -> TestAgent {
        let agent = self.agent().await;
        self.rename(agent.instance, label).await;
        agent
    }

    async fn rename(&self, instance: i64, label: &str) {
        let call = format!("PATCH /v1/instances/{instance}");
        let renamed = self.own(&call, Some(json!({"label": label}))).await;
        assert_eq!(renamed.status, 200);
    }

    async fn host_keys(&self, instance: i64) -> Vec<(String, HostKeyState)> {
        let call = format!("GET /v1/instances/{instance}");
        let shown: Instance = self.own(&call, None).await.of(200);
        let keys = shown.host_keys.into_iter();
        keys.map(|key| (key.fingerprint, key.state)).collect()
    }

    async fn approve(&self, instance: i64, seed: u8) -> Reply {
        let call = format!("POST /v1/instances/{instance}/host-keys");
        self.own(&call, Some(json!({"fingerprint": print(seed)})))
            .await
    }

    async fn refuse(&self, instance: i64, seed: u8) -> Reply {
        let print = print(seed).replace('+', "%2B");
        let call = format!("DELETE /v1/instances/{instance}/host-keys?fingerprint={print}");
        self.own(&call, None).await
    }

    async fn host_ca(&self) -> Vec<PublicKey> {
        let cas: Cas = self.own("GET /v1/ca", None).await.of(200);
        let read = |line: &String| PublicKey::parse_text(line).unwrap().0;
        cas.host_ca.iter().map(read).collect()
    }

    async fn revoked_keys(&self) -> Vec<RevokedHostKey> {
        let page: Page<RevokedHostKey> = self.own("GET /v1/host-keys/revoked", None).await.of(200);
        page.items
    }
}

#[tokio::test]
async fn a_certificate_has_the_services_names_and_is_the_same_until_it_is_due() {
    let bed = Bed::new().await;
    let agent = bed.agent_called("Web-1").await;
    let id = agent.instance;
    let first = agent.certified(&bed, 1).await;
    let now = bed.service.now();
    let own = format!("instance-{id}.sshkeyd");
    first
        .judge(Role::Host, &bed.host_ca().await, now, &own)
        .unwrap();
    assert_eq!(first.key(), &key(1));
    assert_eq!(first.principals(), [own.clone(), "web-1".into()]);
    assert_eq!(first.key_id(), format!("1/instance/{id}"));
    let life = first.valid_before().duration_since(now);
    assert_eq!(life.as_secs(), 30 * DAY);

    for _ in 0..50 {
        assert_eq!(agent.certified(&bed, 1).await.serial(), first.serial());
    }
    bed.pass(17 * DAY);
    assert_eq!(agent.certified(&bed, 1).await.serial(), first.serial());
    bed.pass(3 * DAY);
    let second = agent.certified(&bed, 1).await;
    assert!(second.serial() > first.serial());
    assert_eq!(second.principals(), first.principals());
    assert_eq!(agent.certified(&bed, 1).await.serial(), second.serial());
}

#[tokio::test]
async fn a_label_is_a_name_only_while_no_other_instance_has_it() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent_called("web").await, bed.agent_called("db").await);
    let names = async |agent: &TestAgent, seed| {
        let certificate = agent.certified(&bed, seed).await;
        certificate.principals()[1..].to_vec()
    };
    assert_eq!(names(&one, 1).await, ["web"]);
    assert_eq!(names(&two, 2).await, ["db"]);
    bed.rename(two.instance, "WEB").await;
    assert_eq!(names(&one, 1).await, [""; 0]);
    assert_eq!(names(&two, 2).await, [""; 0]);
    // Not another's own name, nor one that everybody has.
    for label in [
        format!("instance-{}.sshkeyd", one.instance),
        "*".into(),
        "a,web".into(),
    ] {
        bed.rename(two.instance, &label).await;
        assert_eq!(names(&two, 2).await, [""; 0], "{label}");
    }
    assert_eq!(names(&one, 1).await, ["web"]);
    bed.rename(one.instance, "db.example.com").await;
    assert_eq!(names(&one, 1).await, ["db.example.com"]);
    // One on its way out holds no name back.
    bed.rename(two.instance, "db.example.com").await;
    assert_eq!(names(&one, 1).await, [""; 0]);
    let remove = format!("DELETE /v1/instances/{}", two.instance);
    assert_eq!(bed.own(&remove, None).await.status, 204);
    assert_eq!(names(&one, 1).await, ["db.example.com"]);
    assert_eq!(
        two.host_keys(&bed, &[key(2)]).await.code(),
        (409, "removing")
    );
}

#[tokio::test]
async fn after_its_first_hour_a_changed_key_waits_for_the_owners_word() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let id = agent.instance;
    agent.certified(&bed, 1).await;
    bed.pass(HOUR - 1);
    // Still as it comes: the one before is none any more.
    let second = agent.certified(&bed, 2).await;
    assert_eq!(
        bed.host_keys(id).await,
        [(print(2), HostKeyState::Approved)]
    );
    assert_eq!(bed.revoked_keys().await[0].public_key, key(1).to_string());
    bed.pass(2);
    for seed in [3, 4] {
        let answer: HostCertificatesAnswer = agent.host_keys(&bed, &[key(seed)]).await.of(200);
        assert_eq!(answer.certificates, []);
        assert_eq!(answer.waiting, [print(seed)]);
    }
    let waits = [
        (print(2), HostKeyState::Approved),
        (print(4), HostKeyState::Waiting),
    ];
    assert_eq!(bed.host_keys(id).await, waits);
    assert_eq!(agent.certified(&bed, 2).await.serial(), second.serial());

    assert_eq!(bed.approve(id, 3).await.status, 404);
    assert_eq!(bed.approve(id, 4).await.status, 204);
    let fourth = agent.certified(&bed, 4).await;
    assert!(fourth.serial() > second.serial());
    assert_eq!(
        bed.host_keys(id).await,
        [(print(4), HostKeyState::Approved)]
    );
    let revoked = bed.revoked_keys().await;
    let second_row = revoked
        .iter()
        .find(|row| row.public_key == key(2).to_string());
    let row = second_row.unwrap();
    assert_eq!((row.instance, row.until), (id, second.valid_before()));
    assert_eq!(row.names, second.principals());
    // The old one comes back: it waits as any other.
    let answer: HostCertificatesAnswer = agent.host_keys(&bed, &[key(2)]).await.of(200);
    assert_eq!(answer.waiting, [print(2)]);

    assert_eq!(bed.refuse(id, 2).await.status, 204);
    let answer: HostCertificatesAnswer = agent.host_keys(&bed, &[key(2)]).await.of(200);
    assert_eq!((answer.certificates.len(), answer.waiting.len()), (0, 0));
    assert_eq!(bed.refuse(id, 4).await.status, 204);
    let answer: HostCertificatesAnswer = agent.host_keys(&bed, &[key(4)]).await.of(200);
    assert_eq!(answer.certificates, []);
    assert!(
        bed.revoked_keys()
            .await
            .iter()
            .any(|row| row.public_key == key(4).to_string())
    );
    // His word can be given again, and takes the key off the list.
    assert_eq!(bed.approve(id, 4).await.status, 204);
    agent.certified(&bed, 4).await;
    assert!(
        bed.revoked_keys()
            .await
            .iter()
            .all(|row| row.public_key != key(4).to_string())
    );
    bed.pass(31 * DAY);
    assert_eq!(bed.revoked_keys().await, []);
}

#[tokio::test]
async fn a_key_that_another_instance_has_waits_even_in_the_first_hour() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    one.certified(&bed, 1).await;
    let answer: HostCertificatesAnswer = two.host_keys(&bed, &[key(1)]).await.of(200);
    assert_eq!(
        (answer.certificates.len(), answer.waiting),
        (0, vec![print(1)])
    );
    let call = format!("GET /v1/instances/{}", two.instance);
    let shown: Instance = bed.own(&call, None).await.of(200);
    assert_eq!(shown.host_keys[0].also_on, Some(one.instance));
    // With the owner's word it has its own name, and no other's.
    assert_eq!(bed.approve(two.instance, 1).await.status, 204);
    let certificate = two.certified(&bed, 1).await;
    assert_eq!(
        certificate.principals(),
        [format!("instance-{}.sshkeyd", two.instance)]
    );
}

#[tokio::test]
async fn a_removed_instances_keys_are_revoked_and_it_gets_no_more() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let certificate = agent.certified(&bed, 1).await;
    let remove = format!("DELETE /v1/instances/{}", agent.instance);
    assert_eq!(bed.own(&remove, None).await.status, 204);
    assert_eq!(
        agent.host_keys(&bed, &[key(1)]).await.code(),
        (409, "removing")
    );
    let revoked = bed.revoked_keys().await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].names, certificate.principals());
    // Also once it is gone whole.
    agent.snapshot(&bed, 0, None).await;
    agent.heartbeat(&bed, json!({"stopping": true})).await;
    assert_eq!(agent.host_keys(&bed, &[key(1)]).await.status, 401);
    assert_eq!(bed.revoked_keys().await, revoked);
}

#[tokio::test]
async fn what_is_no_host_key_or_no_agents_is_refused() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let ask = async |keys: Value| {
        let body = json!({"run": agent.run, "keys": keys});
        let call = "POST /v1/agent/host-certificates";
        let reply = bed.call(&agent.session, call, Some(body)).await;
        (
            reply.status.as_u16(),
            reply.json["code"].as_str().unwrap_or("").to_owned(),
        )
    };
    let given = agent.certified(&bed, 1).await;
    let two = json!([key(1).to_string(), key(2).to_string()]);
    assert_eq!(ask(two).await, (400, "two-of-a-type".into()));
    let answer: HostCertificatesAnswer = agent.host_keys(&bed, &[key(1)]).await.of(200);
    let certificate = json!([answer.certificates[0].certificate]);
    let refused = ask(certificate).await;
    assert_eq!(refused.0, 400, "{refused:?}");
    assert_eq!(
        ask(json!(vec![key(1).to_string(); 9])).await.1,
        "too-many-keys"
    );
    for keys in [
        json!([""]),
        json!(["x"]),
        json!([ED.replace("AAAAC3", "AAAAB3")]),
    ] {
        assert_eq!(ask(keys.clone()).await.0, 400, "{keys}");
    }
    assert_eq!(ask(json!([])).await.0, 200);
    // An API key, another run of the same agent, and nobody.
    let body = json!({"run": agent.run, "keys": [key(1).to_string()]});
    let call = "POST /v1/agent/host-certificates";
    assert_eq!(bed.own(call, Some(body.clone())).await.status, 403);
    assert_eq!(bed.call("", call, Some(body)).await.status, 401);
    let twin = TestAgent {
        run: "run-2".into(),
        ..agent.clone()
    };
    twin.certified(&bed, 1).await;
    assert_eq!(
        agent.host_keys(&bed, &[key(1)]).await.code(),
        (409, "clone")
    );
    assert_eq!(twin.certified(&bed, 1).await.serial(), given.serial());
}

#[tokio::test]
async fn an_instance_is_given_only_so_many_a_day() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let mut last = 0;
    for seed in 1..=32 {
        last = agent.certified(&bed, seed).await.serial();
    }
    let refused = agent.host_keys(&bed, &[key(33)]).await;
    assert_eq!(refused.code(), (429, "too-many-certificates"));
    assert_eq!(refused.headers["retry-after"], "3600");
    bed.pass(DAY + 1);
    // By now it is no first hour any more.
    assert_eq!(bed.approve(agent.instance, 33).await.status, 204);
    assert!(agent.certified(&bed, 33).await.serial() > last);
}

#[tokio::test]
async fn the_owners_word_takes_both_rights_and_stands_in_the_log() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    bed.pass(2 * HOUR);
    agent.host_keys(&bed, &[key(1)]).await;
    let call = format!("POST /v1/instances/{}/host-keys", agent.instance);
    let body = json!({"fingerprint": print(1)});
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let theirs = bed.call(&other.api_key, &call, Some(body.clone())).await;
    assert_eq!(theirs.status, 404);
    for (rights, status) in [
        (json!({"api": {"instance_write": {}}}), 403),
        (json!({"api": {"user_write": {}}}), 403),
        (
            json!({"api": {"instance_write": {}, "user_write": {}}}),
            204,
        ),
    ] {
        let key = bed.key_of(rights.clone()).await.key;
        let reply = bed.call(&key, &call, Some(body.clone())).await;
        assert_eq!(reply.status, status, "{rights}");
    }
    let rows = bed.service.store.audit(1, i64::MAX, 50).await.unwrap();
    let seen = |action: &str| rows.iter().filter(|row| row.action == action).count();
    assert_eq!((seen("host-key.wait"), seen("host-key.approve")), (1, 1));
    assert_eq!(
        rows.iter().filter(|row| row.outcome == "refused").count(),
        2
    );
}

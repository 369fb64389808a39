//! What owners of accounts call.

use super::*;
use crate::service::api::routes::{Access, Call};
use crate::wire::{Instance, InstanceState, Page, Rollout, RolloutState};
use base64::Engine as _;

/// A call of the table with ids in the place of its parameters.
fn route(call: &Call) -> String {
    let path = call.path.replace("{id}", "1").replace("{key}", "1");
    format!("{} {path}", call.method)
}

#[tokio::test]
async fn every_route_wants_a_token_of_its_own_kind() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let lost = bed.key.replace("skd_api_", "skd_ses_");
    let (_, calls) = super::super::routes().done();
    for call in calls {
        let (agents, v0) = match call.access {
            Access::Anyone => continue,
            Access::Agent => (true, false),
            _ => (false, call.path.starts_with("/api/")),
        };
        let route = route(&call);
        for token in ["", "nonsense", &lost, &agent.token] {
            let reply = bed.call(token, &route, Some(json!({}))).await;
            assert_eq!(reply.status, 401, "{route}");
            if v0 {
                assert_eq!(reply.json["msg"], "Invalid user key", "{route}");
            } else {
                assert_eq!(reply.code().1, "unauthorized", "{route}");
                assert_eq!(reply.headers["www-authenticate"], "Bearer");
            }
        }
        let wrong = if agents { &bed.key } else { &agent.session };
        let reply = bed.call(wrong, &route, Some(json!({}))).await;
        assert_eq!(reply.status, 403, "{route}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_a_problem_too() {
    let bed = Bed::new().await;
    let reply = bed.own("GET /v1/ssh-keys/%ff", None).await;
    assert_eq!(reply.code(), (400, "bad-path"));
}

#[tokio::test]
async fn one_account_sees_nothing_of_another() {
    let bed = Bed::new().await;
    let key = bed.save(ED).await;
    let instance = bed.instance().await;
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let other = other.api_key.as_str();
    for list in ["GET /v1/ssh-keys", "GET /v1/instances"] {
        assert_eq!(bed.call(other, list, None).await.json["items"], json!([]));
    }
    for call in [
        format!("GET /v1/ssh-keys/{}", key.id),
        format!("DELETE /v1/ssh-keys/{}", key.id),
        format!("GET /v1/ssh-keys/{}/rollout", key.id),
        format!("GET /v1/instances/{}", instance.id),
        format!("DELETE /v1/instances/{}", instance.id),
    ] {
        let reply = bed.call(other, &call, None).await;
        assert_eq!(reply.code(), (404, "not-found"), "{call}");
    }
    let again = bed.call(other, "POST /v1/ssh-keys", Some(json!({"public_key": ED})));
    let theirs: SshKey = again.await.of(201);
    assert_ne!(theirs.id, key.id);
}

#[tokio::test]
async fn a_key_is_saved_shown_and_deleted() {
    let bed = Bed::new().await;
    let key = bed.save(&format!("{ED} alice@laptop")).await;
    assert_eq!(key.name, "alice@laptop");
    assert_eq!(key.public_key, ED);
    assert!(key.fingerprint.starts_with("SHA256:"));
    let path = format!("/v1/ssh-keys/{}", key.id);
    let shown: SshKey = bed.own(&format!("GET {path}"), None).await.of(200);
    assert_eq!(shown, key);
    let list: Page<SshKey> = bed.own("GET /v1/ssh-keys", None).await.of(200);
    assert_eq!(list.items, std::slice::from_ref(&key));

    let body = json!({"public_key": ED, "name": "other"});
    let again: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(200);
    assert_eq!(again, key);
    let body = json!({"public_key": ED, "expires_at": "2027-01-01T00:00:00Z"});
    let differs = bed.own("POST /v1/ssh-keys", Some(body)).await;
    assert_eq!(differs.code(), (409, "options-differ"));
    let named = format!("as {}", key.id);
    assert!(differs.json["detail"].as_str().unwrap().contains(&named));

    let delete = format!("DELETE {path}");
    assert_eq!(bed.own(&delete, None).await.status, 204);
    assert_eq!(bed.own(&delete, None).await.code(), (404, "not-found"));
    assert_ne!(bed.save(ED).await.id, key.id);
}

#[tokio::test]
async fn a_nameless_key_is_called_by_its_fingerprints_end() {
    let bed = Bed::new().await;
    let key = bed.save(ED).await;
    let end = key.name.strip_prefix('…').unwrap();
    assert!(key.fingerprint.ends_with(end) && end.len() == 8);
}

fn blob_line(key_type: &str, parts: &[&[u8]]) -> String {
    use base64::Engine as _;
    let mut blob = Vec::new();
    for part in std::iter::once(&key_type.as_bytes()).chain(parts) {
        blob.extend((part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    let base64 = base64::engine::general_purpose::STANDARD.encode(blob);
    format!("{key_type} {base64}")
}

#[tokio::test]
async fn what_is_no_public_key_is_refused_by_name() {
    let bed = Bed::new().await;
    let rsa_1024 = [&[0_u8][..], &[0xff; 128]].concat();
    let certificate = "ssh-ed25519-cert-v01@openssh.com";
    let other = Signer::from_seed(&rand::random()).public().to_string();
    for (text, code) in [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3B\n".to_owned(),
            "private-key",
        ),
        (format!("{ED}\n{other}"), "several-keys"),
        ("~/.ssh/id_ed25519.pub".to_owned(), "path"),
        (blob_line("ssh-dss", &[&[1; 20]]), "dsa"),
        (
            blob_line("ssh-rsa", &[&[1, 0, 1], &rsa_1024]),
            "rsa-too-short",
        ),
        (blob_line(certificate, &[&[1; 32]]), "certificate"),
        (
            blob_line("ssh-mldsa-44@openssh.com", &[&[1; 32]]),
            "unknown-type",
        ),
        (format!("{ED} a\0b"), "nul"),
        (format!("{ED} a\nrm -rf"), "newline"),
        (format!("command=\"x\" {ED}"), "options-in-front"),
        (String::new(), "empty"),
    ] {
        let body = json!({"public_key": text});
        let reply = bed.own("POST /v1/ssh-keys", Some(body)).await;
        assert_eq!(reply.code(), (400, code), "{text:?}");
        assert!(
            reply.json["detail"]
                .as_str()
                .unwrap()
                .starts_with("public_key: ")
        );
    }
    for (more, code) in [
        (json!({"name": "x".repeat(129)}), "bad-name"),
        (json!({"name": "a\nb"}), "bad-name"),
        (json!({"expires_at": "2026-11-22T19:00:00.9Z"}), "expired"),
        (json!({"expires_at": "tomorrow"}), "bad-json"),
    ] {
        let mut body = more.clone();
        body["public_key"] = json!(ED);
        let reply = bed.own("POST /v1/ssh-keys", Some(body)).await;
        assert_eq!(reply.code(), (400, code), "{more}");
    }
}

#[tokio::test]
async fn options_are_kept_in_one_form() {
    let bed = Bed::new().await;
    let save = async |options: &str| {
        let body = json!({"public_key": ED, "options": options});
        bed.own("POST /v1/ssh-keys", Some(body)).await
    };
    let key: SshKey = save(" No-PTY,from=\"10.0.0.0/8,!10.1.1.1\" ").await.of(201);
    assert_eq!(key.options, "no-pty,from=\"10.0.0.0/8,!10.1.1.1\"");
    let again: SshKey = save("no-pty,FROM=\"10.0.0.0/8,!10.1.1.1\"").await.of(200);
    assert_eq!(again, key);
    assert_eq!(save("no-pty").await.code(), (409, "options-differ"));
}

#[tokio::test]
async fn options_that_are_none_are_refused_by_name() {
    let bed = Bed::new().await;
    for (options, code, names) in [
        ("no-ptty", "unknown-option", "no-ptty"),
        ("cert-authority", "forbidden-option", "cert-authority"),
        (
            "restrict,Principals=\"a\"",
            "forbidden-option",
            "Principals",
        ),
        ("command", "option-needs-value", "command"),
        ("command=\"x", "option-needs-value", "command"),
        ("from=10.0.0.1", "option-needs-value", "from"),
        ("no-pty=\"x\"", "option-takes-no-value", "no-pty"),
        ("no-pty,no-pty", "option-twice", "no-pty"),
        ("no-pty,", "bad-options", "comma"),
        ("no-pty\nrestrict", "bad-options", "one line"),
    ] {
        let body = json!({"public_key": ED, "options": options});
        let reply = bed.own("POST /v1/ssh-keys", Some(body)).await;
        assert_eq!(reply.code(), (400, code), "{options}");
        let detail = reply.json["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("options: ") && detail.contains(names),
            "{detail}"
        );
    }
    let body = json!({"public_key": ED, "options": "expiry-time=\"20990101\"",
        "expires_at": "2027-01-01T00:00:00Z"});
    let reply = bed.own("POST /v1/ssh-keys", Some(body)).await;
    assert_eq!(reply.code(), (400, "option-twice"));
    let list: Page<SshKey> = bed.own("GET /v1/ssh-keys", None).await.of(200);
    assert!(list.items.is_empty());
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_in_our_words() {
    let bed = Bed::new().await;
    assert_eq!(
        bed.call("", "GET /nowhere", None).await.code(),
        (404, "not-found")
    );
    let wrong = bed.own("PUT /v1/ssh-keys", None).await;
    assert_eq!(wrong.code(), (405, "method-not-allowed"));
    assert_eq!(wrong.headers["allow"], "GET,HEAD,POST");
    let bare = bed.own("POST /v1/ssh-keys", None).await;
    assert_eq!(bare.code(), (415, "unsupported-media-type"));
    let text = bed.own("POST /v1/ssh-keys", Some(json!("x"))).await;
    assert_eq!(text.code(), (400, "bad-json"));
    let large = json!({"public_key": "x".repeat(1024 * 1024)});
    let large = bed.own("POST /v1/ssh-keys", Some(large)).await;
    assert_eq!(large.code(), (413, "too-large"));
    assert_eq!(
        bed.own("GET /v1/ssh-keys/x", None).await.code(),
        (404, "not-found")
    );
    let wait = bed.own("GET /v1/ssh-keys/1/rollout?wait=x", None).await;
    assert_eq!(wait.code(), (400, "bad-query"));
    for path in ["GET /healthz", "GET /readyz"] {
        assert_eq!(bed.call("", path, None).await.status, 200);
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_that_names_only_the_request() {
    let bed = Bed::new().await;
    let router = Router::new()
        .route(
            "/",
            axum::routing::get(async || -> &'static str { panic!("a secret") }),
        )
        .layer(super::super::around::layer(bed.service.clone()));
    let bed = Bed { router, ..bed };
    let reply = bed.call("", "GET /", None).await;
    assert_eq!(reply.code(), (500, "internal"));
    assert!(!reply.json.to_string().contains("secret"));
}

#[tokio::test]
async fn an_instance_is_made_with_a_token_that_pins_the_signer() {
    let bed = Bed::new().await;
    let made = bed.instance().await;
    let (token, pin) = made.enroll_token.split_once('.').unwrap();
    assert!(token.starts_with("skd_enr_") && pin.starts_with("SHA256:"));
    assert!(made.install.contains(&made.enroll_token));
    let list: Page<Instance> = bed.own("GET /v1/instances", None).await.of(200);
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].state, InstanceState::Never);
    for label in ["", " ", "a\nb", &"x".repeat(129)] {
        let body = json!({"label": label});
        let reply = bed.own("POST /v1/instances", Some(body)).await;
        assert_eq!(reply.code(), (400, "bad-label"));
    }
    let path = format!("/v1/instances/{}", made.id);
    assert_eq!(bed.own(&format!("DELETE {path}"), None).await.status, 204);
    assert_eq!(bed.own(&format!("GET {path}"), None).await.status, 404);
}

#[tokio::test]
async fn a_rollout_follows_a_key_from_wanted_to_proved() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    bed.instance().await;
    let key = bed.save(ED).await;
    let path = format!("GET /v1/ssh-keys/{}/rollout", key.id);
    let rollout: Rollout = bed.own(&path, None).await.of(200);
    assert_eq!(rollout.fingerprint, key.fingerprint);
    assert_eq!((rollout.counts.total, rollout.counts.live), (2, 1));
    assert_eq!((rollout.counts.wanted, rollout.counts.offline), (1, 1));

    let managed = json!({"managed": [key.fingerprint]});
    agent
        .applied(&bed, rollout.revision, managed)
        .await
        .of::<Value>(200);
    let written: Rollout = bed.own(&path, None).await.of(200);
    assert_eq!(written.instances[0].state, RolloutState::Written);
    assert_eq!(written.instances[0].why, None);

    bed.pass(2);
    let held = bed.own(&path, None).await.etag();
    let waiting = format!("{path}?wait=60");
    let known = [("if-none-match", held.as_str())];
    let (seen, _) = tokio::join!(bed.call_with(&bed.key, &waiting, &known, None), async {
        bed.held().await;
        let proof = json!({"accepted": [key.fingerprint], "at": null});
        let target = json!({"managed": [key.fingerprint], "proof": proof});
        agent
            .applied(&bed, rollout.revision, target)
            .await
            .of::<Value>(200);
    });
    let seen: Rollout = seen.of(200);
    assert_eq!(seen.counts.proved, 1);
    assert_eq!(seen.instances[0].proved_after_ms, Some(2_000));

    bed.pass(3_600);
    let later: Rollout = bed.own(&path, None).await.of(200);
    assert_eq!(later.instances[0].instance_state, InstanceState::Offline);
    assert!(later.instances[0].offline_since.is_some());
    let since: Instance = bed
        .own(&format!("GET /v1/instances/{}", agent.instance), None)
        .await
        .of(200);
    assert_eq!(since.revision, Some(rollout.revision));
    assert_eq!(since.hostname, "box[2J");
}

#[tokio::test]
async fn what_was_heard_outlives_a_restart() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let proof = json!({"accepted": [key.fingerprint], "at": null});
    let revision = u64::try_from(key.created_at.as_millisecond()).unwrap() + 9;
    agent
        .applied(&bed, revision, json!({"proof": proof}))
        .await
        .of::<Value>(200);
    let clock = bed.clock.clone();
    bed.service.store.write_reports().await.unwrap();
    let again = Service::open_at(&config(&bed.dir), Arc::new(move || *clock.lock().unwrap()));
    let again = Bed {
        router: router(again.unwrap()),
        ..bed
    };
    let path = format!("GET /v1/ssh-keys/{}/rollout", key.id);
    let rollout: Rollout = again.own(&path, None).await.of(200);
    assert_eq!(rollout.counts.proved, 1);
    assert_eq!(rollout.instances[0].proved_after_ms, Some(0));
}

#[tokio::test]
async fn a_revoked_key_is_gone_named_in_the_snapshot_and_never_taken_again() {
    let bed = Bed::new().await;
    let id = bed.save(ED).await.id;
    let revoke = format!("POST /v1/ssh-keys/{id}/revoke");
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    assert_eq!(bed.own(&revoke, None).await.code(), (404, "not-found"));
    let agent = bed.agent().await;
    let reply = agent.snapshot(&bed, 0, None).await;
    let payload = base64::engine::general_purpose::STANDARD
        .decode(reply.json["payload"].as_str().unwrap())
        .unwrap();
    let payload: crate::wire::Payload = serde_json::from_slice(&payload).unwrap();
    let fingerprint = crate::keys::PublicKey::parse_text(ED)
        .unwrap()
        .0
        .fingerprint();
    assert!(payload.keys.is_empty());
    assert_eq!(payload.revoked[0].fingerprint, fingerprint.to_string());
    let again = bed
        .own("POST /v1/ssh-keys", Some(json!({ "public_key": ED })))
        .await;
    assert_eq!(again.code(), (409, "revoked"));
}

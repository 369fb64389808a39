//! What a key is held to: its networks, its limits on parameters, its end while a query is held.

use super::*;
use crate::service::listen::Conn;

#[tokio::test]
async fn a_key_with_networks_is_good_from_there_and_makes_none_without() {
    let bed = Bed::new().await;
    let near = json!({"name": "near", "addresses": ["127.0.0.0/8", "192.0.2.0/24"]});
    let near: ApiKeySecret = bed.key_by(&bed.key, near).await.of(201);
    let far = json!({"name": "far", "addresses": ["192.0.2.0/24"]});
    let far: ApiKeySecret = bed.key_by(&bed.key, far).await.of(201);
    let from_loopback = async |token: &str, call: &str, body: Option<Value>| {
        let (method, path) = call.split_once(' ').unwrap();
        let (_, stopping) = tokio::sync::watch::channel(false);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .extension(Conn::of_test(stopping))
            .body(Body::from(body.map(|b| b.to_string()).unwrap_or_default()));
        bed.send(request.unwrap()).await
    };
    let list = "GET /v1/api-keys";
    assert_eq!(from_loopback(&near.key, list, None).await.status, 200);
    let not_from_here = from_loopback(&far.key, list, None).await;
    assert_eq!(not_from_here.code(), (401, "unauthorized"));
    let used = bed.own(&format!("{list}/{}", near.about.id), None).await;
    assert_eq!(used.json["last_used_from"], "127.0.0.1");

    let delete_far = format!("DELETE /v1/api-keys/{}", far.about.id);
    let delete_first = "DELETE /v1/api-keys/1";
    let own = format!("PATCH /v1/api-keys/{}", near.about.id);
    let make = |addresses: Value| Some(json!({"name": "x", "addresses": addresses}));
    for (call, body, allowed) in [
        (
            "POST /v1/api-keys",
            make(json!(["127.0.0.1", "192.0.2.128/25"])),
            true,
        ),
        (
            "POST /v1/api-keys",
            make(json!(["127.0.0.1", "192.0.3.1"])),
            false,
        ),
        ("POST /v1/api-keys", make(json!(["0.0.0.0/0"])), false),
        ("POST /v1/api-keys", make(json!([])), false),
        (own.as_str(), Some(json!({"addresses": []})), false),
        (delete_first, None, false),
        (delete_far.as_str(), None, true),
    ] {
        let reply = from_loopback(&near.key, call, body).await;
        if allowed {
            assert!(reply.status.is_success(), "{call} {}", reply.json);
        } else {
            assert_eq!(reply.code(), (403, "wider-than-you"), "{call}");
        }
    }
}

#[tokio::test]
async fn a_limit_on_a_parameter_is_of_what_is_done() {
    let bed = Bed::new().await;
    let label = json!({"constraints": {"label": {"eq": "box"}}});
    let tree = json!({"api": {"instance_write": {"api.instances": {"POST": label}}}});
    let key = bed.key_of(tree).await.key;
    let call = "POST /v1/instances";
    let made = bed.call(&key, call, Some(json!({"label": "box"}))).await;
    assert_eq!(made.status, 201, "{}", made.json);
    for (query, body) in [
        ("", json!({"label": "crate"})),
        ("", json!({})),
        ("", json!([{"label": "box"}])),
        ("?label=box", json!({"label": "crate"})),
        ("?label=crate", json!({"label": "box"})),
    ] {
        let reply = bed.call(&key, &format!("{call}{query}"), Some(body)).await;
        assert_eq!(reply.code(), (403, "scope"), "{query}");
    }
    let (one, other) = (bed.instance().await.id, bed.instance().await.id);
    let id = json!({"constraints": {"id": {"eq": one}}});
    let key = bed
        .key_of(json!({"api": {"instance_read": {"api.instances": id}}}))
        .await
        .key;
    let show = |id: String| format!("GET /v1/instances/{id}");
    assert_eq!(
        bed.call(&key, &show(one.to_string()), None).await.status,
        200
    );
    for path in [
        other.to_string(),
        format!("{other}?id={one}"),
        format!("0{one}"),
        format!("+{one}"),
    ] {
        let reply = bed.call(&key, &show(path.clone()), None).await;
        assert_eq!(reply.code(), (403, "scope"), "{path}");
    }
    let all = bed.call(&key, "GET /v1/instances", None).await;
    assert_eq!(all.code(), (403, "scope"), "a list names no id");
}

#[tokio::test]
async fn a_parameter_that_the_call_does_not_read_meets_no_limit() {
    let bed = Bed::new().await;
    let saved = bed.save(ED).await.id;
    let one = bed.instance().await.id;
    let id = |id: i64| json!({"constraints": {"id": {"eq": id}}});
    let tree = json!({"api": {"user_read": id(saved), "user_write": id(saved),
        "instance_read": id(one), "instance_write": id(one), "misc": id(one)}});
    let key = bed.key_of(tree).await.key;
    let other = Signer::from_seed(&rand::random()).public().to_string();
    let save = json!({"public_key": other, "ssh_key": other, "id": saved});
    let label = json!({"label": "crate", "id": one});
    for (call, body) in [
        (format!("GET /v1/ssh-keys?id={saved}"), None),
        (format!("GET /v1/api-keys?id={saved}"), None),
        (format!("GET /v1/sessions?id={saved}"), None),
        (format!("GET /v1/instances?id={one}"), None),
        (format!("GET /v1/audit?id={one}"), None),
        (format!("GET /v1/events?id={one}"), None),
        (format!("DELETE /v1/sessions?others=true&id={saved}"), None),
        (format!("POST /v1/ssh-keys?id={saved}"), Some(&save)),
        ("POST /v1/ssh-keys".to_owned(), Some(&save)),
        (format!("POST /v1/instances?id={one}"), Some(&label)),
        ("POST /v1/instances".to_owned(), Some(&label)),
        ("GET /v1/ssh-keys".to_owned(), Some(&save)),
        (format!("GET /api/v0/ssh/?id={saved}"), None),
        (format!("POST /api/v0/ssh/?id={saved}"), Some(&save)),
        ("POST /api/v0/ssh".to_owned(), Some(&save)),
        ("PUT /api/v0/users/".to_owned(), Some(&save)),
        (format!("GET /api/v0/instances/?id={one}"), None),
        (format!("GET /api/v1/instances/?id={one}"), None),
    ] {
        let reply = bed.call(&key, &call, body.cloned()).await;
        let scope = reply.json["code"]
            .as_str()
            .or_else(|| reply.json["error"].as_str());
        assert_eq!(
            (reply.status.as_u16(), scope),
            (403, Some("scope")),
            "{call}"
        );
    }
    let name = json!({"constraints": {"name": {"eq": "ci"}}});
    let by_name = bed
        .key_of(json!({"api": {"user_write": {"api.ssh.keys": name}}}))
        .await
        .key;
    let call = "POST /v1/ssh-keys?name=ci";
    let reply = bed.call(&by_name, call, Some(save.clone())).await;
    assert_eq!(reply.code(), (403, "scope"), "the name is in the body");
    // What is read counts as ever.
    let show = format!("GET /v1/ssh-keys/{saved}");
    assert_eq!(bed.call(&key, &show, None).await.status, 200);
    let end = json!({ "id": saved });
    let ended = bed.call(&key, "DELETE /api/v0/auth/sessions/", Some(end));
    assert_ne!(ended.await.json["error"], "scope");
    let ended = format!("DELETE /api/v0/auth/sessions/?id={saved}");
    let ended = bed.call(&key, &ended, None).await;
    assert_ne!(ended.json["error"], "scope");
    let named = json!({"name": "ci", "public_key": other});
    let saved = bed.call(&by_name, "POST /v1/ssh-keys", Some(named)).await;
    assert_eq!(saved.status, 201, "{}", saved.json);
}

#[tokio::test]
async fn a_query_that_is_held_ends_when_its_key_does() {
    let bed = Bed::new().await;
    let saved = bed.save(ED).await.id;
    let ends = bed.service.now() + SignedDuration::from_millis(500);
    let body = json!({"name": "short", "expires_at": ends});
    let made: ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
    let held = format!("GET /v1/ssh-keys/{saved}/rollout?wait=60");
    let began = crate::sys::clock::monotonic();
    let (reply, ()) = tokio::join!(bed.call(&made.key, &held, None), async {
        bed.held().await;
        bed.pass(1);
    });
    assert_eq!(reply.code(), (401, "unauthorized"));
    assert!(
        crate::sys::clock::monotonic()
            .saturating_sub(began)
            .as_secs()
            < 30,
        "it was held on"
    );
}

#[tokio::test]
async fn a_query_that_is_held_ends_with_its_key() {
    let bed = Bed::new().await;
    let saved = bed.save(ED).await.id;
    for change in ["reset", "delete", "narrow"] {
        let made: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
        let path = format!("/v1/api-keys/{}", made.about.id);
        let held = format!("GET /v1/ssh-keys/{saved}/rollout?wait=60");
        let (reply, ()) = tokio::join!(bed.call(&made.key, &held, None), async {
            bed.held().await;
            let reply = match change {
                "reset" => bed.own(&format!("POST {path}/reset"), None).await,
                "delete" => bed.own(&format!("DELETE {path}"), None).await,
                _ => {
                    let body = json!({"permissions": {"api": {"misc": {}}}});
                    bed.own(&format!("PATCH {path}"), Some(body)).await
                }
            };
            assert!(reply.status.is_success());
        });
        assert_eq!(reply.code(), (401, "unauthorized"), "{change}");
    }
}

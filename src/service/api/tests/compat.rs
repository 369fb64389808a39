//! `/api/v0` as its clients meet it: both forms of each path, who is let in, and no bad input that
//! is our fault. `tests/it/vastai.rs` is the same with the real client.

use super::*;
use crate::service::api::routes::{Access, Call};
use crate::wire::LoginAnswer;

fn calls() -> Vec<Call> {
    let (_, calls) = super::super::routes().done();
    calls
        .into_iter()
        .filter(|call| call.path.starts_with("/api/"))
        .collect()
}

fn route(call: &Call, id: &str) -> String {
    let path = call.path.replace("{id}", id).replace("{key}", id);
    format!("{} {path}", call.method)
}

async fn api_key(bed: &Bed, permissions: Value) -> String {
    let body = json!({"name": "narrow", "permissions": permissions});
    let made = bed.own("POST /api/v0/auth/apikeys/", Some(body)).await;
    assert_eq!(made.json["success"], true, "{}", made.json);
    made.json["key"].as_str().unwrap().to_owned()
}

fn is_refusal(reply: &Reply, route: &str) {
    assert!(reply.status.is_client_error(), "{route}: {}", reply.json);
    assert_eq!(reply.json["success"], false, "{route}: {}", reply.json);
    for field in ["error", "msg"] {
        let text = reply.json[field].as_str().unwrap();
        assert!(!text.is_empty(), "{route}: {}", reply.json);
    }
}

#[test]
fn each_path_stands_with_and_without_a_slash() {
    let calls = calls();
    assert!(calls.len() > 50);
    for call in &calls {
        let other = match call.path.strip_suffix('/') {
            Some(path) => path.to_owned(),
            None => format!("{}/", call.path),
        };
        let pair = calls
            .iter()
            .find(|c| c.path == other && c.method == call.method);
        let access = format!("{:?}", pair.unwrap().access);
        assert_eq!(access, format!("{:?}", call.access), "{}", call.path);
    }
}

#[tokio::test]
async fn a_key_without_the_right_is_refused_everywhere() {
    let bed = Bed::new().await;
    let none = api_key(&bed, json!({"api": {"billing_read": {}}})).await;
    for call in calls() {
        let route = route(&call, "1");
        let reply = bed.call(&none, &route, Some(json!({}))).await;
        if matches!(call.access, Access::Right(_) | Access::Person(_)) {
            assert_eq!(reply.status, 403, "{route}");
            is_refusal(&reply, &route);
            assert_eq!(reply.json["error"], "scope");
        } else {
            assert_eq!(reply.status, 200, "{route}");
        }
    }
}

#[tokio::test]
async fn nothing_of_one_account_is_reached_from_another() {
    let bed = Bed::new().await;
    let key = bed.save(ED).await.id;
    let instance = bed.instance().await.id;
    let other = bed.service.add_account("b@example.com", None).await;
    let other = other.unwrap().api_key.to_string();
    for call in calls() {
        if !call.path.contains("{id}") {
            continue;
        }
        let path = call.path.replace("{key}", &key.to_string());
        let id = match path.contains("/instances/") {
            true => instance,
            false => 1,
        };
        let route = format!("{} {}", call.method, path.replace("{id}", &id.to_string()));
        let body = json!({"ssh_key": ED, "label": "theirs"});
        let reply = bed.call(&other, &route, Some(body)).await;
        if reply.status == 200 {
            assert_eq!(reply.json, json!({"instances": null}), "{route}");
        } else {
            is_refusal(&reply, &route);
        }
    }
    for (list, empty) in [
        ("GET /api/v0/ssh/", json!([])),
        (
            "GET /api/v0/instances/",
            json!({"success": true, "instances": []}),
        ),
    ] {
        assert_eq!(bed.call(&other, list, None).await.json, empty);
    }
    let keys = bed.own("GET /api/v0/ssh", None).await.json;
    assert_eq!(keys[0]["id"], key);
    let call = format!("GET /api/v0/instances/{instance}");
    let one = bed.own(&call, None).await;
    assert_eq!(one.json["instances"]["label"], "box");
}

#[tokio::test]
async fn no_input_is_our_fault() {
    let bed = Bed::new().await;
    bed.instance().await;
    let bodies = [
        json!(null),
        json!([]),
        json!("x"),
        json!({"ssh_key": 5}),
        json!({"ssh_key": {"a": []}}),
        json!({"ssh_key": "\u{0}"}),
        json!({"label": ["x"], "state": {}}),
        json!({"name": 7, "permissions": {"api": 5}}),
        json!({"name": "x", "permissions": {"api": {"user_read": {"constraints": 5}}}}),
        json!({"id": "x"}),
        json!({"id": -1}),
        json!({"code": "", "tfa_method": "sms"}),
        json!({"code": "000000", "backup_code": "x"}),
    ];
    for call in calls() {
        for id in ["0", "-1", "abc", "99999999999999999999", "%00", "1%2f2"] {
            let route = route(&call, id);
            for body in &bodies {
                let reply = bed.own(&route, Some(body.clone())).await;
                assert!(!reply.status.is_server_error(), "{route} {body}");
                if !reply.status.is_success() {
                    is_refusal(&reply, &route);
                }
            }
        }
    }
    for query in [
        "limit=x",
        "limit=-1",
        "select_filters=%7b",
        "after_token=x",
        "order_by=5",
    ] {
        let reply = bed
            .own(&format!("GET /api/v1/instances/?{query}"), None)
            .await;
        assert_eq!(reply.status, 400, "{query}");
        is_refusal(&reply, query);
    }
}

#[tokio::test]
async fn the_query_may_carry_the_key_here_and_nowhere_else() {
    let bed = Bed::new().await;
    let (key, call) = (&bed.key, "GET /api/v0/users/current");
    let ask = async |call: &str| bed.call("", call, None).await;
    let reply = ask(&format!("{call}?owner=me&api_key={key}")).await;
    assert_eq!(reply.json["email"], "a@example.com");
    let twice = ask(&format!("{call}?api_key={key}&api_key={key}")).await;
    assert_eq!(twice.status, 401);
    let elsewhere = ask(&format!("GET /v1/ssh-keys?api_key={key}")).await;
    assert_eq!(elsewhere.status, 401);
}

#[tokio::test]
async fn an_old_client_finds_the_field_that_it_takes_out() {
    let bed = Bed::new().await;
    let user = bed.own("GET /api/v0/users/current?owner=me", None).await;
    assert_eq!(user.json["api_key"], Value::Null);
    assert!(user.json.as_object().unwrap().contains_key("api_key"));
}

#[tokio::test]
async fn who_may_not_save_keys_attaches_only_what_the_account_has() {
    let bed = Bed::new().await;
    let instance = bed.instance().await.id;
    let narrow = api_key(&bed, json!({"api": {"instance_write": {}}})).await;
    let call = format!("POST /api/v0/instances/{instance}/ssh/");
    let attach = async |token: &str| {
        let body = json!({"ssh_key": format!("{ED} me@home\n")});
        bed.call(token, &call, Some(body)).await
    };
    let refused = attach(&narrow).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json["error"]),
        (403, &json!("scope"))
    );
    assert_eq!(bed.own("GET /api/v0/ssh/", None).await.json, json!([]));
    let made = attach(&bed.key).await;
    assert_eq!(made.json["msg"], "SSH key attached successfully");
    let keys = bed.own("GET /api/v0/ssh/", None).await.json;
    let detach = format!("DELETE /api/v0/instances/{instance}/ssh/{}/", keys[0]["id"]);
    let gone = bed.call(&narrow, &detach, None).await;
    let msg = gone.json["msg"].as_str().unwrap();
    assert!(msg.starts_with("SSH key removed from instance.") && msg.contains("on no instance"));
    assert_eq!(attach(&narrow).await.json["success"], true);
    let again = attach(&narrow).await;
    assert_eq!(
        (again.status.as_u16(), &again.json["success"]),
        (200, &json!(false))
    );
    assert_eq!(
        again.json["msg"],
        "SSH key already associated with instance."
    );
}

#[tokio::test]
async fn a_session_is_listed_and_ended_by_its_id_in_body_or_query() {
    let bed = Bed::new().await;
    let password = zeroize::Zeroizing::new("correct horse".to_owned());
    let owner = bed.service.add_account("p@example.com", Some(password));
    let owner = owner.await.unwrap().api_key.to_string();
    let login = json!({"email": "p@example.com", "password": "correct horse"});
    for (query, body) in [("?id=ID", None), ("", Some("ID")), ("?id=ID", Some("ID"))] {
        let made: LoginAnswer = bed
            .call("", "POST /v1/login", Some(login.clone()))
            .await
            .of(200);
        let session = made.session_key.unwrap();
        let list = bed.call(&session, "GET /api/v0/auth/sessions/", None).await;
        let listed = list.json["sessions"].as_array().unwrap().clone();
        assert_eq!((listed.len(), &listed[0]["current"]), (1, &json!(true)));
        assert!(listed[0]["expires_at"].as_f64() > listed[0]["created_at"].as_f64());
        assert!(!list.json.to_string().contains(&session));
        let id = listed[0]["id"].as_i64().unwrap();
        let call = format!("DELETE /api/v0/auth/sessions/{query}").replace("ID", &id.to_string());
        let reply = bed
            .call(&owner, &call, body.map(|_| json!({ "id": id })))
            .await;
        assert_eq!(reply.json["success"], true, "{call}: {}", reply.json);
        let reply = bed.call(&session, "GET /api/v0/ssh/", None).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.json["msg"], "Session expired. Please log in again.");
    }
    for (query, body) in [
        ("", None),
        ("", Some(json!({}))),
        ("?id=1", Some(json!({"id": 2}))),
    ] {
        let call = format!("DELETE /api/v0/auth/sessions/{query}");
        assert_eq!(bed.call(&owner, &call, body).await.status, 400, "{call}");
    }
    let none = bed.call(&owner, "DELETE /api/v0/auth/sessions/?id=999", None);
    assert_eq!(none.await.status, 404);
}

#[tokio::test]
async fn a_code_makes_no_more_of_a_narrow_key() {
    let bed = Bed::new().await;
    let code = json!({"tfa_method": "totp", "code": "123456"});
    let reply = bed.own("POST /api/v0/tfa/", Some(code.clone())).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["error"]),
        (400, &json!("no_second_factor"))
    );
    let narrow = json!({"api": {"user_read": {}, "user_write": {}}});
    let narrow = api_key(&bed, narrow).await;
    let held = json!({"name": "held", "permissions": {"api": {}},
        "expires_at": "2026-11-23T19:00:00Z"});
    let held = bed.own("POST /v1/api-keys", Some(held)).await;
    for key in [&narrow, held.json["key"].as_str().unwrap()] {
        let reply = bed.call(key, "POST /api/v0/tfa/", Some(code.clone())).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["error"]),
            (403, &json!("wider_than_you"))
        );
    }
}

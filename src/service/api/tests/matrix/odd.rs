//! What is no request, at every route: no 5xx, ever.

use super::*;

/// Bodies that no handler expects.
fn odd_bodies() -> Vec<Vec<u8>> {
    let fields = [
        "name",
        "permissions",
        "addresses",
        "expires_at",
        "public_key",
        "options",
        "scope",
        "label",
        "email",
        "password",
        "new_password",
        "code",
        "device",
        "ssh_key",
        "id",
        "run",
        "token",
        "instance",
        "url",
        "at",
        "nonce",
        "signature",
        "status",
        "hostname",
        "device_token",
        "client_id",
        "key_params",
        "ttl",
        "serial",
        "key_id",
        "role",
    ];
    let of_all = |value: Value| {
        let all = fields
            .iter()
            .map(|field| ((*field).to_owned(), value.clone()));
        Value::Object(all.collect()).to_string().into_bytes()
    };
    let deep = |open: &str, close: &str, n: usize| {
        format!("{}{}", open.repeat(n), close.repeat(n)).into_bytes()
    };
    let mut all = vec![
        Vec::new(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\"\"".to_vec(),
        b"1e999".to_vec(),
        b"{\"name\":\"x\",\"name\":\"y\"}".to_vec(),
        b"{\"name\":\"\\ud800\"}".to_vec(),
        b"{\"name\":\"\xff\xfe\"}".to_vec(),
        b"{\"name\":".to_vec(),
        vec![0; 1_000],
        deep("[", "]", 100_000),
        deep("{\"permissions\":", "}", 10_000),
        deep("{\"a\":[", "]}", 60),
        vec![b'x'; 1024 * 1024 + 1],
    ];
    for value in [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("\u{0}"),
        json!("\u{202e}\u{1b}[2J\u{fffd}\u{10ffff}"),
        json!("a".repeat(900)),
        json!([[]]),
        json!({"": {"": {}}}),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("-009999-01-02T01:59:59Z"),
    ] {
        all.push(of_all(value));
    }
    let long = |field: &str| json!({field: "é".repeat(450_000)}).to_string().into_bytes();
    all.extend(["name", "label", "public_key", "email", "permissions"].map(long));
    for field in fields {
        all.push(
            json!({"name": "x", "label": "x", "public_key": ED, field: "\u{0}"})
                .to_string()
                .into(),
        );
    }
    all
}

#[tokio::test]
async fn no_body_brings_a_handler_down() {
    let bed = Bed::new().await;
    let things = Things::new(&bed).await;
    let agent = bed.agent().await;
    let person = bed.person().await;
    let bodies = odd_bodies();
    let mut calls: Vec<Call> = bed.calls().into_iter().filter(is_write).collect();
    // What takes things away comes last.
    calls.sort_by_key(|call| call.method == Method::DELETE);
    for call in &calls {
        let token = match call.access {
            Access::Person(_) | Access::AnyKey => &person,
            Access::Agent => &agent.session,
            Access::Anyone | Access::Right(_) => &bed.key,
        };
        for body in &bodies {
            let seen = bed
                .see(token, call, &things.path(call), Some(body.clone()))
                .await;
            let begin = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert!(seen.status < 500, "{call:?} {begin}: {}", seen.status);
            let known = !matches!(call.access, Access::Anyone);
            assert!(!known || seen.status != 401, "{call:?} {begin}");
        }
    }
}

#[tokio::test]
async fn no_path_and_no_query_brings_a_handler_down() {
    let bed = Bed::new().await;
    let person = bed.person().await;
    let ids = [
        "-1",
        "0",
        "9223372036854775807",
        "99999999999999999999",
        "%00",
        "%ff",
        "%2e%2e",
        "%2F",
        "caf%C3%A9",
        "1%20",
        "+1",
        "01",
        "*",
    ];
    let queries = [
        "?",
        "?&&=&",
        "?before=99999999999999999999&limit=0",
        "?limit=18446744073709551616",
        "?after=x",
        "?wait=x",
        "?end_sessions=%00",
        "?%ff=%ff",
        "?before=1&before=2",
    ];
    for call in bed.calls() {
        if matches!(call.access, Access::Agent) {
            continue;
        }
        let token = match call.access {
            Access::Person(_) => &person,
            _ => &bed.key,
        };
        for id in ids.iter().filter(|_| call.path.contains('{')) {
            let parts = call.path.split('/');
            let parts = parts.map(|part| if part.starts_with('{') { id } else { part });
            let path = parts.collect::<Vec<_>>().join("/");
            let seen = bed.see(token, &call, &path, None).await;
            assert!(seen.status < 500, "{call:?} {id}: {}", seen.status);
        }
        for query in queries {
            let path = format!("{}{query}", Things::nowhere(&call));
            let seen = bed.see(token, &call, &path, None).await;
            assert!(
                seen.status < 500 || call.path == "/readyz",
                "{call:?} {query}"
            );
        }
        let long = format!("{}?x={}", Things::nowhere(&call), "x".repeat(60_000));
        let seen = bed.see(token, &call, &long, None).await;
        assert!(seen.status < 500, "{call:?}");
    }
}

//! The stream that says what is new, and the audit log, as a reader meets them.

use super::super::{Asked, Face, events};
use super::*;
use crate::service::auth::{Identity, Means};
use crate::service::listen::Conn;
use crate::service::store::testing;
use crate::wire::{ApiKeySecret, AuditItem, Event, Page};
use axum::body::Body;
use hyper::body::Body as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// A stream, piece by piece.
struct Reading(Body);

impl Reading {
    async fn begin(bed: &Bed, token: &str, conn: Option<Conn>) -> Self {
        let mut request = Request::builder()
            .uri("/v1/events")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        if let Some(conn) = conn {
            request.extensions_mut().insert(conn);
        }
        let response = bed.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut reading = Self(response.into_body());
        assert!(reading.next().await.unwrap().starts_with(": "));
        reading
    }

    /// The next piece, within a second.
    async fn next(&mut self) -> Option<String> {
        self.within(Duration::from_secs(1)).await
    }

    async fn within(&mut self, limit: Duration) -> Option<String> {
        let frame = poll_fn(|context| Pin::new(&mut self.0).poll_frame(context));
        let frame = timeout(limit, frame).await.unwrap()?;
        let bytes = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Kinds that changed.
    async fn kinds(&mut self) -> Vec<String> {
        let piece = self.next().await.unwrap();
        let mut kinds = Vec::new();
        for event in piece.split_terminator("\n\n") {
            let data = event.strip_prefix("event: change\ndata: ").unwrap();
            kinds.push(serde_json::from_str::<Event>(data).unwrap().kind);
        }
        kinds
    }

    async fn is_silent(&mut self) {
        let frame = poll_fn(|context| Pin::new(&mut self.0).poll_frame(context));
        assert!(timeout(Duration::from_millis(400), frame).await.is_err());
    }
}

#[tokio::test]
async fn a_stream_names_what_changed_and_a_slow_reader_gets_each_kind_once() {
    let bed = Bed::new().await;
    let mut reading = Reading::begin(&bed, &bed.key, None).await;
    bed.save(ED).await;
    assert_eq!(reading.kinds().await, ["ssh-keys", "audit"]);
    for n in 0..5 {
        let body = json!({"name": n.to_string()});
        bed.key_by(&bed.key, body).await.of::<ApiKeySecret>(201);
        bed.instance().await;
    }
    assert_eq!(reading.kinds().await, ["api-keys", "instances", "audit"]);
    reading.is_silent().await;
    drop(reading);
    assert_eq!(bed.service.holds.taken(), 0);
}

#[tokio::test]
async fn a_stream_tells_a_key_only_of_what_it_may_list() {
    let bed = Bed::new().await;
    let tree = json!({"api": {"misc": {"api.events": {}}, "instance_read": {}}});
    let key = bed.key_of(tree).await.key;
    let mut reading = Reading::begin(&bed, &key, None).await;
    bed.save(ED).await;
    reading.is_silent().await;
    bed.instance().await;
    assert_eq!(reading.kinds().await, ["instances"]);
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    bed.call(
        &other.api_key,
        "POST /v1/instances",
        Some(json!({"label": "x"})),
    )
    .await
    .of::<Value>(201);
    reading.is_silent().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_at_a_stop() {
    let bed = Bed::new().await;
    let end = bed.service.now() + SignedDuration::from_millis(300);
    for (how, body) in [
        ("delete", json!({"name": "x"})),
        ("reset", json!({"name": "x"})),
        (
            "expire",
            json!({"name": "x", "expires_at": end.to_string()}),
        ),
        ("stop", json!({"name": "x"})),
    ] {
        let made: ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
        let path = format!("/v1/api-keys/{}", made.about.id);
        let (stop, stopping) = watch::channel(false);
        let conn = Conn::of_test(stopping);
        let mut reading = Reading::begin(&bed, &made.key, Some(conn)).await;
        assert_eq!(bed.service.holds.taken(), 1);
        match how {
            "delete" => drop(bed.own(&format!("DELETE {path}"), None).await),
            "reset" => drop(bed.own(&format!("POST {path}/reset"), None).await),
            "stop" => drop(stop.send_replace(true)),
            _ => {}
        }
        assert_eq!(reading.next().await, None, "{how}");
        drop(reading);
        assert_eq!(bed.service.holds.taken(), 0);
    }
    // Somebody else's end is not ours.
    let mut reading = Reading::begin(&bed, &bed.key, None).await;
    let made = bed.key_of(json!({"api": {}})).await;
    assert_eq!(reading.kinds().await, ["api-keys", "audit"]);
    let delete = format!("DELETE /v1/api-keys/{}", made.about.id);
    assert_eq!(bed.own(&delete, None).await.status, 204);
    assert_eq!(reading.kinds().await, ["api-keys", "audit"]);
}

#[tokio::test]
async fn a_token_holds_sixteen_streams() {
    let bed = Bed::new().await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(Reading::begin(&bed, &bed.key, None).await);
    }
    let more = bed.own("GET /v1/events", None).await;
    assert_eq!(more.code(), (429, "too-many-held"));
    assert!(more.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives_and_is_begun_anew_after_a_while() {
    let bed = Bed::new().await;
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", bed.key);
    headers.insert("authorization", bearer.parse().unwrap());
    let means = Means::of(
        &bed.service,
        &headers,
        &"/v1/events".parse().unwrap(),
        Face::V1,
    )
    .unwrap();
    let asked = Asked {
        face: Face::V1,
        from: None,
        id: String::new(),
    };
    let Ok(Identity::Caller(caller)) = bed.service.identify(&means, &asked).await else {
        panic!("the owner's key is good");
    };
    let ms = Duration::from_millis;
    let body = events::body(bed.service.clone(), caller, None, ms(100), ms(550));
    let mut reading = Reading(body.await.unwrap());
    let begin = reading.next().await.unwrap();
    assert!(begin.contains("retry: ") && begin.ends_with("\n\n"));
    let mut comments = 0;
    while let Some(piece) = reading.next().await {
        assert_eq!(piece, ":\n\n");
        comments += 1;
    }
    assert!((1..=5).contains(&comments), "{comments}");
}

async fn page(bed: &Bed, token: &str, query: &str) -> Page<AuditItem> {
    let call = format!("GET /v1/audit{query}");
    bed.call(token, &call, None).await.of(200)
}

#[tokio::test]
async fn the_log_says_who_did_what_with_which_key() {
    let bed = Bed::new().await;
    let key = bed.key_of(json!({"api": {"user_read": {}}})).await;
    let refused = bed
        .call(&key.key, "POST /v1/ssh-keys", Some(json!({})))
        .await;
    assert_eq!(refused.code(), (403, "scope"));
    let saved = bed.save(ED).await;
    let all = page(&bed, &bed.key, "").await;
    let [save, no, make, begin] = &all.items[..] else {
        panic!("{all:?}");
    };
    assert_eq!(
        (save.action.as_str(), save.about),
        ("ssh-key.add", Some(saved.id))
    );
    assert_eq!(
        (save.by.kind.as_str(), save.by.name.as_str()),
        ("api-key", "first")
    );
    assert_eq!(
        (no.outcome.as_str(), no.by.name.as_str()),
        ("refused", "some")
    );
    assert_eq!(no.detail["call"], "POST /v1/ssh-keys");
    assert_eq!(
        no.request_id,
        refused.headers["x-request-id"].to_str().unwrap()
    );
    assert_eq!(
        (make.action.as_str(), make.about),
        ("api-key.create", Some(key.about.id))
    );
    assert_eq!(
        (begin.action.as_str(), begin.by.kind.as_str()),
        ("account.create", "server")
    );
    assert_eq!(all.next, None);
}

#[tokio::test]
async fn pages_of_the_log_meet_without_a_gap_and_end() {
    let bed = Bed::new().await;
    for n in 0..7 {
        let body = json!({"name": n.to_string()});
        bed.key_by(&bed.key, body).await.of::<ApiKeySecret>(201);
    }
    let whole: Vec<i64> = page(&bed, &bed.key, "")
        .await
        .items
        .iter()
        .map(|i| i.id)
        .collect();
    assert_eq!(whole.len(), 8);
    for limit in [1, 3, 8, 9] {
        let mut ids = Vec::new();
        let mut query = format!("?limit={limit}");
        loop {
            let page = page(&bed, &bed.key, &query).await;
            assert!(page.items.len() <= limit);
            ids.extend(page.items.iter().map(|item| item.id));
            let Some(next) = page.next else { break };
            query = format!("?limit={limit}&before={next}");
        }
        assert_eq!(ids, whole, "{limit}");
    }
    assert!(page(&bed, &bed.key, "?before=-1").await.items.is_empty());
    for bad in ["?limit=x", "?before=", "?limit=-1"] {
        let reply = bed.own(&format!("GET /v1/audit{bad}"), None).await;
        assert_eq!(reply.code(), (400, "bad-query"), "{bad}");
    }
}

#[tokio::test]
async fn a_reader_sees_rows_of_what_it_may_read_and_gets_past_the_others() {
    let bed = Bed::new().await;
    let instance = bed.instance().await.id;
    bed.instance().await;
    let tree = json!({"api": {"misc": {}, "instance_read": {}}});
    let machines = bed.key_of(tree).await.key;
    let tree = json!({"api": {"misc": {}, "user_read": {}}});
    let people = bed.key_of(tree).await.key;
    let one = json!({"constraints": {"id": {"eq": instance}}});
    let one = json!({"api": {"misc": {}, "instance_read": {"api.instances": one}}});
    let one = bed.key_of(one).await.key;
    let misc = bed.key_of(json!({"api": {"misc": {}}})).await.key;
    // Far more than is looked through for one page.
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100)
        INSERT INTO audit (account, at, action, outcome, by_kind, by_name, address, detail, request)
        SELECT 1, 0, 'ssh-key.add', 'done', 'server', '', '', '{}', '' FROM n";
    let made = testing::with(bed.dir.path(), |db| db.execute(many, []));
    assert_eq!(made.unwrap(), 2_100);
    for (token, actions, count) in [
        (&machines, "instance.create", 2),
        (&one, "instance.create", 1),
        (&misc, "", 0),
    ] {
        let mut seen = Vec::new();
        let mut query = String::new();
        let mut pages = 0;
        loop {
            let page = page(&bed, token, &query).await;
            seen.extend(page.items);
            pages += 1;
            let Some(next) = page.next else { break };
            query = format!("?before={next}");
        }
        assert!((2..10).contains(&pages), "{pages}");
        assert_eq!(seen.len(), count, "{seen:?}");
        assert!(seen.iter().all(|item| item.action == actions));
    }
    let first = page(&bed, &people, "?limit=500").await;
    assert!(first.items.iter().all(|item| item.action == "ssh-key.add"));
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let theirs = page(&bed, &other.api_key, "").await;
    assert_eq!(theirs.items.len(), 1, "of its own account");
}

#[tokio::test]
async fn the_log_is_append_only_by_the_databases_own_word() {
    let bed = Bed::new().await;
    bed.save(ED).await;
    let dir = bed.dir.path();
    let count = || {
        let count = "SELECT count(*) FROM audit";
        let of = testing::with(dir, |db| db.query_row(count, [], |row| row.get(0)));
        of.unwrap()
    };
    let before: i64 = count();
    assert!(before >= 2);
    let of_engine: &[&str] = match testing::is_postgres() {
        true => &["TRUNCATE audit", "UPDATE audit SET id = id WHERE false"],
        false => &["REPLACE INTO audit SELECT * FROM audit"],
    };
    let of_both = [
        "UPDATE audit SET action = 'x'",
        "UPDATE audit SET id = id + 100",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT * FROM audit WHERE true
         ON CONFLICT (id) DO UPDATE SET action = 'x'",
    ];
    for sql in of_both.iter().chain(of_engine) {
        let error = testing::with(dir, |db| db.execute(sql, []));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    testing::with(dir, |db| db.execute("DELETE FROM accounts", [])).unwrap();
    assert_eq!(count(), before, "an account's rows outlive it");
}

//! The limits of protocol.md section 4, and who may look at the counts.

use super::served::{Served, served};
use super::*;
use crate::service::crowd::{Crowd, PER_ADDRESS};
use crate::service::holds::Holder;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends the same request that many times over one connection; gives the answers.
async fn ask(to: SocketAddr, request: &str, headers: &str, times: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let host = match headers.starts_with("host:") {
        true => "",
        false => "host: localhost\r\n",
    };
    let one = |more: &str| format!("{request} HTTP/1.1\r\n{host}{headers}{more}\r\n");
    let text = one("").repeat(times - 1) + &one("connection: close\r\n");
    let (mut read, mut write) = stream.split();
    let mut answers = String::new();
    let sending = async { write.write_all(text.as_bytes()).await };
    let (sent, got) = tokio::join!(sending, read.read_to_string(&mut answers));
    sent.unwrap();
    got.unwrap();
    let answers: Vec<String> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(str::to_owned)
        .collect();
    assert_eq!(answers.len(), times);
    answers
}

fn refused(answers: &[String]) -> Vec<&String> {
    answers.iter().filter(|a| a.starts_with("429")).collect()
}

/// A service that believes what we say of where we come from.
async fn behind_a_proxy() -> (Bed, Served) {
    let bed = Bed::new().await;
    bed.service
        .proxies
        .set(vec!["127.0.0.1/32".parse().unwrap()]);
    let served = served(&bed).await;
    (bed, served)
}

#[tokio::test]
async fn an_address_without_a_token_is_slowed_down_and_no_other() {
    let (_bed, served) = behind_a_proxy().await;
    let nonce = "GET /v1/agent/nonce";
    let far = "x-forwarded-for: 203.0.113.9\r\n";
    let answers = ask(served.address, nonce, far, 600).await;
    let no = refused(&answers);
    assert!((1..=300).contains(&no.len()), "{}", no.len());
    assert!(no[0].contains("retry-after: "), "{}", no[0]);
    assert!(no[0].contains("\"code\":\"too-often\""), "{}", no[0]);
    let other = "forwarded: for=203.0.113.10\r\n";
    assert!(refused(&ask(served.address, nonce, other, 20).await).is_empty());
    // Health is asked for by load balancers, all from few addresses.
    let health = ask(served.address, "GET /healthz", far, 50).await;
    assert!(refused(&health).is_empty());
    // One of a /64 is all of it.
    let net = |n: u32| format!("forwarded: for=\"[2001:db8::{n}]\"\r\n");
    ask(served.address, nonce, &net(1), 600).await;
    assert!(!refused(&ask(served.address, nonce, &net(2), 250).await).is_empty());
}

#[tokio::test]
async fn on_the_machine_itself_an_address_is_nobody() {
    let bed = Bed::new().await;
    let served = served(&bed).await;
    let answers = ask(served.address, "GET /v1/agent/nonce", "", 600).await;
    assert!(refused(&answers).is_empty());
}

#[tokio::test]
async fn a_token_has_a_rate_of_its_own() {
    let bed = Bed::new().await;
    let served = served(&bed).await;
    let bearer = format!("authorization: Bearer {}\r\n", bed.key);
    let answers = ask(served.address, "GET /v1/ssh-keys/0", &bearer, 3_000).await;
    let no = refused(&answers);
    assert!(!no.is_empty() && no.len() <= 2_500, "{}", no.len());
    assert!(no[0].contains("this token"), "{}", no[0]);
    let agent = bed.agent().await;
    let bearer = format!("authorization: Bearer {}\r\n", agent.session);
    let answers = ask(served.address, "GET /v1/ssh-keys/0", &bearer, 1).await;
    assert!(answers[0].starts_with("403"), "{}", answers[0]);
}

#[tokio::test]
async fn held_queries_count_for_the_address_behind_the_proxy() {
    let (bed, served) = behind_a_proxy().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let far: IpAddr = "203.0.113.9".parse().unwrap();
    let take = |n: i64| bed.service.holds.take(Holder::Agent(1_000 + n), Some(far));
    let _held: Vec<_> = (0..256).map(|n| take(n).unwrap()).collect();
    let request = "GET /v1/agent/snapshot?wait=1";
    let headers = |from: &str| {
        format!(
            "x-forwarded-for: {from}\r\nauthorization: Bearer {}\r\nx-sshkeyd-run: {}\r\n\
             if-none-match: {etag}\r\n",
            agent.session, agent.run
        )
    };
    let answers = ask(served.address, request, &headers("203.0.113.9"), 1).await;
    assert!(answers[0].starts_with("429") && answers[0].contains("too-many-held"));
    assert!(answers[0].contains("retry-after: "), "{}", answers[0]);
    let answers = ask(served.address, request, &headers("203.0.113.10"), 1).await;
    assert!(answers[0].starts_with("304"), "{}", answers[0]);
}

#[tokio::test]
async fn connections_of_one_address_are_counted_but_not_those_of_a_proxy() {
    let bed = Bed::new().await;
    bed.service.proxies.set(vec!["10.0.0.0/8".parse().unwrap()]);
    let crowd = Arc::new(Crowd::default());
    let admit = |from: &str| bed.service.admit(&crowd, from.parse().unwrap()).ok();
    for (one, same, counts) in [
        ("203.0.113.9", "::ffff:203.0.113.9", true),
        ("2001:db8::1", "2001:db8::ffff", true),
        ("10.0.0.1", "10.0.0.1", false),
        ("127.0.0.1", "::1", false),
    ] {
        let places: Vec<_> = (0..PER_ADDRESS).map(|_| admit(one).unwrap()).collect();
        assert_eq!(admit(same).is_none(), counts, "{one}");
        drop(places);
        assert!(admit(same).is_some());
    }
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_limit() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let pad = |bytes: usize| json!({"public_key": "x".repeat(bytes)});
    let large = bed.own("POST /v1/ssh-keys", Some(pad(1024 * 1024))).await;
    assert_eq!(large.code(), (413, "too-large"));
    let fits = bed.own("POST /v1/ssh-keys", Some(pad(1_000_000))).await;
    assert_eq!(fits.status, 400);
    let beat = |bytes: usize| json!({"about": "x".repeat(bytes)});
    assert_eq!(
        agent.heartbeat(&bed, beat(64 * 1024)).await.code(),
        (413, "too-large")
    );
    assert_eq!(agent.heartbeat(&bed, beat(60_000)).await.status, 200);
}

#[tokio::test]
async fn counts_are_for_this_machine_or_for_the_right_to_misc_and_name_nobody() {
    let bed = Bed::new().await;
    let mut agent = bed.agent().await;
    agent.heartbeat(&bed, json!({})).await.of::<Value>(200);
    agent.run = "run-1".to_owned();
    let served = served(&bed).await;
    let get = |headers: String| async move {
        ask(served.address, "GET /metrics", &headers, 1)
            .await
            .remove(0)
    };
    let text = get(String::new()).await;
    assert!(
        text.starts_with("200") && text.contains("openmetrics-text"),
        "{text}"
    );
    for line in [
        "sshkeyd_http_requests_total{route=\"/v1/agent/heartbeat\",method=\"POST\",status=\"2xx\"} 1",
        "sshkeyd_heartbeats_total 1",
        "sshkeyd_connections 1",
        "sshkeyd_held_queries 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for secret in ["skd_", "example.com", "box"] {
        assert!(!text.contains(secret), "{text}");
    }
    // A page that calls this machine by a name of its own, in a browser that runs here.
    let rebound = get("host: evil.example\r\n".to_owned()).await;
    assert!(rebound.starts_with("401"), "{rebound}");
    assert!(
        get("x-forwarded-for: 203.0.113.9\r\n".to_owned())
            .await
            .starts_with("401")
    );
    let with =
        |token: &str| format!("forwarded: for=203.0.113.9\r\nauthorization: Bearer {token}\r\n");
    assert!(get(with(&bed.key)).await.starts_with("200"));
    assert!(get(with(&agent.session)).await.starts_with("403"));
}

#[tokio::test]
async fn the_time_from_save_to_proof_is_counted_for_instances_that_were_there() {
    let bed = Bed::new().await;
    let old = bed.save(ED).await;
    bed.pass(1);
    let agent = bed.agent().await;
    agent.heartbeat(&bed, json!({})).await.of::<Value>(200);
    bed.pass(60);
    let other = ED.replace("IAECAwQF", "IAECAwQG");
    let new = bed.save(&other).await;
    let snapshot = agent.snapshot(&bed, 0, None).await;
    assert_eq!(snapshot.status, 200);
    bed.pass(3);
    let head = bed.service.store.head(1).await.unwrap().unwrap();
    let target = json!({"managed": [old.fingerprint, new.fingerprint],
        "proof": {"accepted": [old.fingerprint, new.fingerprint], "at": null}});
    agent
        .applied(&bed, head.revision, target)
        .await
        .of::<Value>(200);
    let now = crate::service::metrics::Now { held: 0, queued: 0 };
    let text = bed.service.metrics.text(now).unwrap();
    assert!(
        text.contains("sshkeyd_save_to_proof_seconds_count 1"),
        "{text}"
    );
    assert!(
        text.contains("sshkeyd_save_to_proof_seconds_sum 3.0"),
        "{text}"
    );
}

//! The client against a server that lies, stalls and floods.

use super::super::canned::{Canned, Reply};
use super::*;
use std::io::Write as _;

fn http() -> Http {
    Http::try_new(&HttpOptions {
        user_agent: "test/1".to_owned(),
        ..HttpOptions::default()
    })
    .unwrap()
}

fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: Url::parse(url).unwrap(),
        headers: HeaderMap::new(),
        json: None,
        accept: &["application/json"],
        redirects: 0,
        hops: 0,
        known: None,
        head_within: Duration::from_secs(20),
        body_within: Duration::from_secs(20),
        limit: 1000,
    }
}

async fn error_for(reply: Reply) -> ClientError {
    let server = Canned::plain(vec![reply]).await;
    let result = http().send(get(&server.url)).await;
    server.requests().await;
    result.unwrap_err()
}

#[tokio::test]
async fn an_answer_comes_with_its_etag_and_the_servers_clock() {
    let headers = [
        "Content-Type: Application/JSON; charset=utf-8",
        "ETag: \"42-7\"",
        "Date: Sun, 22 Nov 2026 19:00:00 GMT",
    ];
    let server = Canned::plain(vec![Reply::new("200 OK", &headers, "{}")]).await;
    let answer = http().send(get(&server.url)).await.unwrap();
    assert_eq!(answer.body, b"{}");
    assert_eq!(answer.etag.as_deref(), Some("\"42-7\""));
    assert_eq!(answer.date, Some("2026-11-22T19:00:00Z".parse().unwrap()));
    let requests = server.requests().await;
    assert!(
        requests[0].starts_with("GET / HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[0].contains("user-agent: test/1\r\n"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_cut_body_is_offline_never_a_short_answer() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{}";
    let error = error_for(Reply::raw(cut)).await;
    assert!(
        matches!(&error, ClientError::Offline { why } if why.contains("middle")),
        "{error}"
    );
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
    let error = error_for(Reply::raw(chunked)).await;
    assert!(matches!(error, ClientError::Offline { .. }), "{error}");
}

#[tokio::test]
async fn a_body_that_stops_coming_ends_with_its_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let server = Canned::plain(vec![Reply::raw(head).then_hang()]).await;
    let mut request = get(&server.url);
    request.body_within = Duration::from_millis(50);
    let error = http().send(request).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout), "{error}");
}

#[tokio::test]
async fn a_silent_server_ends_with_the_time_for_the_head() {
    let server = Canned::plain(vec![Reply::raw("").then_hang()]).await;
    let mut request = get(&server.url);
    request.head_within = Duration::from_millis(50);
    let error = http().send(request).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout), "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_announced_or_not() {
    let error = error_for(Reply::json(&"x".repeat(1001))).await;
    assert!(
        matches!(error, ClientError::TooLarge { limit: 1000 }),
        "{error}"
    );
    let mut endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
    endless.extend(vec![b'x'; 4 << 20]);
    // It stays open: only the limit can end this.
    let error = error_for(Reply::raw(endless).then_hang()).await;
    assert!(
        matches!(error, ClientError::TooLarge { limit: 1000 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_page_for_people_is_no_answer() {
    let page = Reply::new(
        "200 OK",
        &["Content-Type: text/html"],
        "<html>\x1b[2J</html>",
    );
    let error = error_for(page).await;
    let ClientError::Malformed { what } = &error else {
        panic!("{error}")
    };
    assert!(
        what.contains("text/html") && !what.contains("<html>"),
        "{what}"
    );
    let untyped = error_for(Reply::new("200 OK", &[], "{}")).await;
    assert!(
        matches!(untyped, ClientError::Malformed { .. }),
        "{untyped}"
    );
}

#[tokio::test]
async fn each_status_is_its_own_reaction() {
    let of = |status: &'static str| error_for(Reply::new(status, &[], ""));
    assert!(matches!(
        of("401 Unauthorized").await,
        ClientError::Unauthorized(_)
    ));
    assert!(matches!(
        of("403 Forbidden").await,
        ClientError::Forbidden(_)
    ));
    assert!(matches!(
        of("404 Not Found").await,
        ClientError::NotFound(_)
    ));
    assert!(matches!(of("409 Conflict").await, ClientError::Conflict(_)));
    assert!(matches!(
        of("422 Unprocessable Content").await,
        ClientError::Refused(_)
    ));
    assert!(matches!(
        of("500 Internal Server Error").await,
        ClientError::Fault(_)
    ));
    assert!(matches!(of("502 Bad Gateway").await, ClientError::Fault(_)));
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let error = of(status).await;
        assert!(
            matches!(
                error,
                ClientError::Busy {
                    retry_after: None,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(
        of("404 Not Found").await.to_string(),
        "not found: 404 Not Found"
    );
}

#[tokio::test]
async fn a_problem_is_read_and_cleaned_and_the_status_line_counts() {
    let long = "x".repeat(2000);
    let body = format!(
        r#"{{"title":"Nope","status":200,"code":"clone","detail":"a\u001b[31mb\n{long}","request_id":"r1"}}"#
    );
    let typed = ["Content-Type: application/problem+json"];
    let error = error_for(Reply::new("409 Conflict", &typed, &body)).await;
    let ClientError::Conflict(problem) = &error else {
        panic!("{error}")
    };
    assert_eq!((problem.status, problem.code.as_str()), (409, "clone"));
    assert!(problem.detail.starts_with("a[31mb x"), "{}", problem.detail);
    assert_eq!(problem.detail.len(), MAX_REMOTE_TEXT);

    let fault = error_for(Reply::new("500 Oops", &typed, &body.replace(&long, ""))).await;
    assert_eq!(
        fault.to_string(),
        "the service has a fault: a[31mb  (request r1)"
    );
    // The same bytes without the type are some proxy's page.
    let page = error_for(Reply::new(
        "409 Conflict",
        &["Content-Type: text/html"],
        &body,
    ))
    .await;
    assert_eq!(page.to_string(), "conflict: 409 Conflict");
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
    let date = "Date: Sun, 22 Nov 2026 19:00:00 GMT";
    for (value, seconds) in [
        ("7", Some(7)),
        ("86400", Some(3600)),
        ("99999999999999999999999", Some(3600)),
        ("Sun, 22 Nov 2026 19:00:30 GMT", Some(30)),
        ("Sun, 22 Nov 2026 18:00:00 GMT", Some(0)),
        ("Mon, 23 Nov 2026 19:00:30 GMT", Some(3600)),
        ("soon", None),
        ("-3", None),
    ] {
        let header = format!("Retry-After: {value}");
        let error = error_for(Reply::new("429 Too Many", &[date, &header], "")).await;
        assert_eq!(
            error.retry_after(),
            seconds.map(Duration::from_secs),
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let to = [
        "Location: http://localhost:1/elsewhere",
        "Content-Type: text/html",
    ];
    let error = error_for(Reply::new("302 Found", &to, "")).await;
    let ClientError::Malformed { what } = &error else {
        panic!("{error}")
    };
    assert!(
        what.contains("redirect to http://localhost:1/elsewhere"),
        "{what}"
    );
}

#[tokio::test]
async fn nothing_listening_is_offline_and_says_where() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = http().send(get(&url)).await.unwrap_err();
    let ClientError::Offline { why } = &error else {
        panic!("{error}")
    };
    assert!(why.starts_with(&url) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_refused_before_any_packet() {
    // An address that can be called, were the scheme let through: the listener sees no one.
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let url = format!("http://0.0.0.0:{}", listener.local_addr().unwrap().port());
    let error = http().send(get(&url)).await.unwrap_err();
    assert!(matches!(error, ClientError::Setup { .. }), "{error}");
    let nobody = timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(nobody.is_err());
}

struct Ca {
    file: tempfile::NamedTempFile,
    server: rustls::ServerConfig,
}

fn ca() -> Ca {
    install_crypto();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Ca { file, server }
}

fn trusting(path: &Path) -> Http {
    Http::try_new(&HttpOptions {
        ca_file: Some(path.to_owned()),
        ..HttpOptions::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_ca_file_is_the_only_thing_trusted() {
    let ours = ca();
    let server = Canned::tls(vec![Reply::json("{}")], ours.server).await;
    let answer = trusting(ours.file.path()).send(get(&server.url)).await;
    assert_eq!(answer.unwrap().body, b"{}");

    let (theirs, other) = (ca(), ca());
    for http in [trusting(other.file.path()), http()] {
        let server = Canned::tls(vec![Reply::json("{}")], theirs.server.clone()).await;
        let error = http.send(get(&server.url)).await.unwrap_err();
        let ClientError::Offline { why } = &error else {
            panic!("{error}")
        };
        assert!(why.contains("ca-file"), "{why}");
        assert!(server.requests().await[0].starts_with("no handshake"));
    }
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .unwrap();
    for path in [empty.path(), key.path(), Path::new("/nonexistent/ca.pem")] {
        let ca_file = Some(path.to_owned());
        let options = HttpOptions {
            ca_file,
            ..HttpOptions::default()
        };
        let error = Http::try_new(&options).unwrap_err();
        assert!(matches!(error, ClientError::Setup { .. }), "{error}");
        assert!(
            error.to_string().starts_with(path.to_str().unwrap()),
            "{error}"
        );
    }
}

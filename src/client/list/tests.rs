//! Somebody else's server: redirects, pages, halves, and what it must not learn.

use super::super::HttpOptions;
use super::super::canned::{Canned, Reply};
use super::*;

const TEXT: &str = "Content-Type: text/plain; charset=utf-8";

fn http() -> Http {
    Http::try_new(&HttpOptions {
        one_shot: true,
        ..HttpOptions::default()
    })
    .unwrap()
}

fn lines(body: &str) -> Reply {
    Reply::new("200 OK", &[TEXT], body)
}

fn to(status: &str, place: &str) -> Reply {
    Reply::new(status, &[&format!("Location: {place}")], "")
}

async fn ask(url: &str, known: Option<&Known>) -> Result<Listed, ClientError> {
    let headers = [
        (
            "authorization".to_owned(),
            Secret::new("Bearer hunter2".to_owned()),
        ),
        ("x-token".to_owned(), Secret::new("hunter3".to_owned())),
    ];
    http()
        .list(&ListQuery {
            url,
            headers: &headers,
            kind: ListKind::Text,
            limit: 1000,
            known,
        })
        .await
}

async fn fault(reply: Reply) -> String {
    let server = Canned::plain(vec![reply]).await;
    ask(&server.url, None).await.unwrap_err().to_string()
}

fn body(listed: Listed) -> (String, Option<Known>) {
    match listed {
        Listed::New { body, known } => (String::from_utf8(body).unwrap(), known),
        Listed::Unchanged => panic!("unchanged"),
    }
}

fn has_secret(request: &str) -> bool {
    request.contains("hunter")
}

#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_header_along_and_none_comes_back() {
    let last = Canned::plain(vec![lines("k\n")]).await;
    let between = Canned::plain(vec![
        to("307 Temporary Redirect", "/b"),
        to("302 Found", &last.url),
    ]);
    let between = between.await;
    let first = Canned::plain(vec![to("301 Moved Permanently", &between.url)]).await;
    let got = ask(&first.url, None).await.unwrap();
    assert_eq!(body(got).0, "k\n");
    assert!(has_secret(&first.requests().await[0]));
    for request in between
        .requests()
        .await
        .iter()
        .chain(&last.requests().await)
    {
        assert!(!has_secret(request), "{request}");
    }
    // Away and back again: who led it back knows nothing of the secret either.
    let home = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}", home.local_addr().unwrap().port());
    let away = Canned::plain(vec![to("302 Found", &url)]).await;
    let place = away.url.clone();
    let seen = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut seen = Vec::new();
        for answer in [
            format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nConnection: close\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nContent-Length: 2\r\n\r\nk\n"),
        ] {
            let (mut stream, _) = home.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            seen.push(String::from_utf8_lossy(&request[..n]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        seen
    });
    ask(&url, None).await.unwrap();
    let seen = seen.await.unwrap();
    assert_eq!(
        seen.iter().map(|r| has_secret(r)).collect::<Vec<_>>(),
        [true, false]
    );
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let step = || to("308 Permanent Redirect", "/again");
    let server = Canned::plain(vec![step(), step(), step(), lines("k\n")]).await;
    assert!(ask(&server.url, None).await.is_ok());
    let requests = server.requests().await;
    assert!(requests.iter().all(|request| has_secret(request)));
    assert!(requests[1].starts_with("GET /again "), "{}", requests[1]);
    let server = Canned::plain(vec![step(), step(), step(), step()]).await;
    let fault = ask(&server.url, None).await.unwrap_err().to_string();
    assert!(fault.contains("3 were followed"), "{fault}");
}

#[tokio::test]
async fn a_redirect_leads_to_no_plain_http_and_to_nothing_odd() {
    for place in [
        "http://keys.example.com/?token=hunter4",
        "http://me:hunter4@127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://[",
    ] {
        let fault = fault(to("302 Found", place)).await;
        assert!(fault.contains("redirect"), "{place}: {fault}");
        assert!(!has_secret(&fault), "{fault}");
    }
    for status in ["300 Multiple Choices", "305 Use Proxy", "302 Found"] {
        let fault = fault(Reply::new(status, &[], "")).await;
        assert!(fault.contains("redirect to no place"), "{status}: {fault}");
    }
}

#[tokio::test]
async fn what_is_known_is_told_to_whom_it_is_from_and_to_no_other() {
    let tagged = || Reply::new("200 OK", &[TEXT, "ETag: W/\"7\""], "k\n");
    let unchanged = || Reply::new("304 Not Modified", &["ETag: W/\"7\""], "");
    let server = Canned::plain(vec![tagged(), unchanged()]).await;
    let (_, known) = body(ask(&server.url, None).await.unwrap());
    let again = ask(&server.url, known.as_ref()).await.unwrap();
    assert!(matches!(again, Listed::Unchanged));
    let requests = server.requests().await;
    assert!(!requests[0].contains("if-none-match"));
    assert!(
        requests[1].contains("if-none-match: W/\"7\"\r\n"),
        "{}",
        requests[1]
    );

    // Led elsewhere, it says nothing; and who answers 304 all the same is not believed.
    let other = Canned::plain(vec![unchanged()]).await;
    let fault = ask(&other.url, known.as_ref())
        .await
        .unwrap_err()
        .to_string();
    assert!(fault.contains("is a 304"), "{fault}");
    assert!(!other.requests().await[0].contains("if-none-match"));
}

#[tokio::test]
async fn a_part_of_a_list_is_no_list() {
    let part = Reply::new("206 Partial Content", &[TEXT], "k\n");
    assert!(fault(part).await.contains("is a 206"));
    let nothing = Reply::raw("HTTP/1.1 204 No Content\r\n\r\n");
    assert!(fault(nothing).await.contains("is a 204"));
    let endless = Reply::raw(format!("HTTP/1.1 200 OK\r\n{TEXT}\r\n\r\nk\n"));
    assert!(fault(endless).await.contains("where it ends"));
    for link in [
        "<https://x/?page=2>; rel=\"next\", <https://x/?page=9>; rel=\"last\"",
        "<https://x/?page=2>;rel=next",
        "<https://x/?page=2>; title=\"x\"; Rel=\"last next\"",
    ] {
        let page = Reply::new("200 OK", &[TEXT, &format!("Link: {link}")], "k\n");
        assert!(fault(page).await.contains("one page"), "{link}");
    }
    let whole = "Link: <https://x/?page=1>; rel=\"first\"; title=\"next\"";
    let whole = Canned::plain(vec![Reply::new("200 OK", &[TEXT, whole], "k\n")]).await;
    assert!(ask(&whole.url, None).await.is_ok());
    let chunked = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let whole = Reply::raw(format!("{chunked}2\r\nk\n\r\n0\r\n\r\n"));
    let whole = Canned::plain(vec![whole]).await;
    assert_eq!(body(ask(&whole.url, None).await.unwrap()).0, "k\n");
    assert!(
        fault(Reply::raw(format!("{chunked}2\r\nk\n\r\n")))
            .await
            .contains("middle")
    );
    let packed = Reply::new("200 OK", &[TEXT, "Content-Encoding: gzip"], "k\n");
    assert!(fault(packed).await.contains("compressed"));
    let cut = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nContent-Length: 9\r\n\r\nk\n");
    assert!(fault(Reply::raw(cut)).await.contains("middle"));
}

#[tokio::test]
async fn types_fit_their_kind() {
    for (kind, header, fits) in [
        (ListKind::Text, "text/plain", true),
        (ListKind::Text, "binary/octet-stream", true),
        (ListKind::Text, "text/html", false),
        (ListKind::Text, "application/json", false),
        (ListKind::Json, "application/json;charset=utf-8", true),
        (ListKind::Json, "application/vnd.github+json", true),
        (ListKind::Json, "text/plain", false),
        (ListKind::Json, "text/html", false),
    ] {
        let header = format!("Content-Type: {header}");
        let server = Canned::plain(vec![Reply::new("200 OK", &[&header], "[]")]).await;
        let query = ListQuery {
            url: &server.url,
            headers: &[],
            kind,
            limit: 1000,
            known: None,
        };
        assert_eq!(http().list(&query).await.is_ok(), fits, "{kind:?} {header}");
    }
}

#[tokio::test]
async fn a_refusals_own_words_are_heard_but_not_those_of_a_page() {
    let said = |kind: &str, body: &str| {
        let kind = format!("Content-Type: {kind}");
        fault(Reply::new("429 Too Many Requests", &[&kind], body))
    };
    let plain = "API requests too frequent: endpoint threshold=1.0\x1b[31m";
    assert_eq!(
        said("text/plain", plain).await,
        "busy: API requests too frequent: endpoint threshold=1.0[31m"
    );
    let json = r#"{"success":false,"error":"x","msg":"slow down"}"#;
    assert_eq!(said("application/json", json).await, "busy: slow down");
    assert_eq!(
        said("text/html", "<p>no</p>").await,
        "busy: 429 Too Many Requests"
    );
}

//! Held queries on real connections: what comes before, during and after the wait on one line.

use super::served::{self, Served};
use super::*;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Another key than [`ED`].
const ED2: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

/// One connection of an agent.
struct Line {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Line {
    async fn open(served: &Served, agent: &TestAgent) -> Self {
        let stream = TcpStream::connect(served.address).await.unwrap();
        Self {
            stream: BufReader::new(stream),
            head: format!(
                "host: x\r\nx-sshkeyd-run: {}\r\nauthorization: Bearer {}\r\n",
                agent.run, agent.session
            ),
        }
    }

    fn hold(&self, etag: &str, more: &str) -> String {
        let head = &self.head;
        format!(
            "GET /v1/agent/snapshot?wait=300 HTTP/1.1\r\n{head}if-none-match: {etag}\r\n{more}\r\n"
        )
    }

    async fn send(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .await
            .unwrap();
    }

    /// Status, headers in lower case, body.
    async fn answer(&mut self) -> (u16, String, Vec<u8>) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.stream.read_line(&mut head).await.unwrap() > 0,
                "{head}"
            );
        }
        let head = head.to_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1);
        let length = length.map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
        let mut body = vec![0; if status == 304 { 0 } else { length }];
        self.stream.read_exact(&mut body).await.unwrap();
        (status, head, body)
    }
}

fn etag(head: &str) -> String {
    let value = head.split("etag: ").nth(1).unwrap();
    value.split("\r\n").next().unwrap().to_owned()
}

async fn held(bed: &Bed) {
    while bed.service.holds.taken() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_connection_holds_query_after_query() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let served = served::served(&bed).await;
    let mut line = Line::open(&served, &agent).await;
    let mut etag_now = agent.snapshot(&bed, 0, None).await.etag();
    for key in [ED, ED2] {
        let hold = line.hold(&etag_now, "");
        line.send(&hold).await;
        held(&bed).await;
        bed.save(key).await;
        let (status, head, body) = line.answer().await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(serde_json::from_slice::<Value>(&body).unwrap()["payload"].is_string());
        assert_ne!(etag(&head), etag_now);
        etag_now = etag(&head);
    }
    line.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(line.answer().await.0, 200);
}

#[tokio::test]
async fn one_that_hangs_up_gives_its_place_back_whatever_it_said_of_its_connection() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served::served(&bed).await;
    for more in ["", "connection: close\r\n"] {
        let mut line = Line::open(&served, &agent).await;
        let hold = line.hold(&etag, more);
        line.send(&hold).await;
        held(&bed).await;
        drop(line);
        while bed.service.holds.taken() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_asked_during_the_wait_is_answered_after_it() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served::served(&bed).await;
    let mut line = Line::open(&served, &agent).await;
    let hold = line.hold(&etag, "");
    // One with the query, one while it is held.
    line.send(&format!("{hold}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    held(&bed).await;
    line.send("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
    bed.save(ED).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(line.answer().await.0);
    }
    assert_eq!(statuses, [200, 200, 404]);
}

#[tokio::test]
async fn a_connection_that_is_to_close_closes_after_the_wait() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served::served(&bed).await;
    let mut line = Line::open(&served, &agent).await;
    let hold = line.hold(&etag, "connection: close\r\n");
    line.send(&hold).await;
    held(&bed).await;
    bed.save(ED).await;
    let (status, head, _) = line.answer().await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(line.stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_caller_that_talks_on_and_on_is_answered_all_the_same() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served::served(&bed).await;
    let mut line = Line::open(&served, &agent).await;
    let hold = line.hold(&etag, "");
    line.send(&hold).await;
    held(&bed).await;
    // More than any buffer of a socket holds, so that the sender stands still.
    let noise = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let limit = std::time::Duration::from_millis(300);
    while let Ok(written) = tokio::time::timeout(limit, line.stream.get_mut().write(&noise)).await {
        sent += written.unwrap();
        assert!(sent < 64 * 1024 * 1024, "the service reads all of it");
    }
    bed.save(ED).await;
    assert_eq!(line.answer().await.0, 200);
}

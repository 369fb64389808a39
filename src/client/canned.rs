//! A server for this folder's tests: canned bytes, one connection an answer, and what was asked.
//!
//! Owns a listener on loopback. Refuses to understand HTTP beyond where a request ends.

use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What one connection gets.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    hang: bool,
}

impl Reply {
    /// These bytes, then the end of the connection.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { bytes, hang: false }
    }

    /// A status line, headers, and a body of the right length.
    pub(crate) fn new(status: &str, headers: &[&str], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        let length = body.len();
        Self::raw(format!("{head}Content-Length: {length}\r\n\r\n{body}"))
    }

    /// 200 and JSON.
    pub(crate) fn json(body: &str) -> Self {
        Self::new("200 OK", &["Content-Type: application/json"], body)
    }

    /// The same, but the connection stays open and silent after it.
    pub(crate) fn then_hang(mut self) -> Self {
        self.hang = true;
        self
    }
}

/// Connections that are kept open and silent.
type Open = Vec<Box<dyn std::any::Any + Send>>;

/// A running server.
pub(crate) struct Canned {
    pub(crate) url: String,
    /// The requests, and the connections that are still open: they live until this is joined.
    task: JoinHandle<(Vec<String>, Open)>,
}

impl Canned {
    /// Gives `replies` in order, in plain text.
    pub(crate) async fn plain(replies: Vec<Reply>) -> Self {
        Self::start(replies, None).await
    }

    /// Gives `replies` in order, over TLS.
    pub(crate) async fn tls(replies: Vec<Reply>, config: rustls::ServerConfig) -> Self {
        Self::start(replies, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut open = Open::new();
            for reply in replies {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => seen.push(answer(stream, reply, &mut open).await),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => seen.push(answer(stream, reply, &mut open).await),
                        Err(error) => seen.push(format!("no handshake: {error}")),
                    },
                }
            }
            (seen, open)
        });
        let url = format!("{scheme}://localhost:{port}");
        Self { url, task }
    }

    /// The requests, as they came, once every reply is given.
    pub(crate) async fn requests(self) -> Vec<String> {
        self.task.await.unwrap().0
    }
}

async fn answer<S>(mut stream: S, reply: Reply, open: &mut Open) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut chunk).await.unwrap_or(0) {
            0 => break,
            n => request.extend_from_slice(&chunk[..n]),
        }
    }
    // The client may have hung up at its limit: that is its right.
    let _ = stream.write_all(&reply.bytes).await;
    let _ = stream.flush().await;
    if reply.hang {
        open.push(Box::new(stream));
    } else {
        let _ = stream.shutdown().await;
    }
    String::from_utf8(request).unwrap()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length: ")
            .map(|n| n.parse().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

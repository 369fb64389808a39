//! HTTP/1.1 over one connection, with as little work as can be: the client shares the cores with
//! what is measured.

use crate::stage::Outcome;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A request, as it goes over the wire but for its end.
pub(crate) struct Request {
    head: String,
    body: String,
}

impl Request {
    pub(crate) fn get(path: &str, token: &str) -> Self {
        Self::new("GET", path, token, String::new())
    }

    pub(crate) fn post(path: &str, token: &str, body: &serde_json::Value) -> Self {
        let request = Self::new("POST", path, token, body.to_string());
        request.header("content-type", "application/json")
    }

    fn new(method: &str, path: &str, token: &str, body: String) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        let request = Self { head, body };
        match token {
            "" => request,
            token => request.header("authorization", &format!("Bearer {token}")),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.head += &format!("{name}: {value}\r\n");
        }
        self
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> Outcome<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    pub(crate) fn json(&self) -> Outcome<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Where the service listens.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Server {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// One that shows this certificate, for `localhost`.
    pub(crate) fn secure(address: SocketAddr, shows: CertificateDer<'static>) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(shows)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            tls: Some(TlsConnector::from(Arc::new(config))),
        })
    }
}

/// What a request goes over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for S {}

/// A connection.
pub(crate) struct Conn(Option<Box<dyn Stream>>);

impl Conn {
    pub(crate) async fn open(to: &Server) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &to.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                Box::new(tls.connect(name, stream).await?)
            }
        };
        Ok(Self(Some(stream)))
    }

    pub(crate) fn close(&mut self) {
        self.0 = None;
    }

    fn stream(&mut self) -> std::io::Result<&mut Box<dyn Stream>> {
        let closed = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        self.0.as_mut().ok_or_else(closed)
    }

    pub(crate) async fn send(&mut self, request: &Request) -> std::io::Result<()> {
        let Request { head, body } = request;
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let stream = self.stream()?;
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await
    }

    pub(crate) async fn answer(&mut self) -> std::io::Result<Answer> {
        let bad = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let stream = self.stream()?;
        let mut bytes = Vec::with_capacity(1024);
        let head = loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
        };
        let body = bytes.split_off(head + 4);
        let head = std::str::from_utf8(&bytes).map_err(|_| bad())?;
        let status = head
            .get(9..12)
            .and_then(|text| text.parse().ok())
            .ok_or_else(bad)?;
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (of, value) = line.split_once(": ")?;
                of.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length = header("content-length").and_then(|length| length.parse().ok());
        let mut answer = Answer {
            status,
            etag: header("etag"),
            body,
        };
        while answer.body.len() < length.unwrap_or(0) {
            if stream.read_buf(&mut answer.body).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answer)
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> std::io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Asks again when told that it is too often.
    pub(crate) async fn patiently(&mut self, request: &Request) -> std::io::Result<Answer> {
        loop {
            let answer = self.ask(request).await?;
            if answer.status != 429 {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

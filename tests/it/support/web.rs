//! Somebody else's web server: what a test says it answers, and what it was asked.

use crate::support::process::pause;
use crate::support::sshd::{WorkDir, put};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) path: String,
    head: String,
}

impl Asked {
    /// A header's value; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Everything of it.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }
}

/// What the server does with a connection.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole answer.
    Whole {
        status: &'static str,
        headers: Vec<String>,
        body: Vec<u8>,
    },
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// These bytes, then one more now and then, for as long as somebody listens.
    Drip(Vec<u8>),
    /// These bytes, then chunks up to so many bytes, for as long as somebody listens.
    Flood(Vec<u8>, usize),
}

impl Reply {
    pub(crate) fn new(status: &'static str, headers: &[&str], body: &str) -> Self {
        Self::Whole {
            status,
            headers: headers.iter().map(|h| (*h).to_owned()).collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// As GitHub and GitLab answer for `.keys`.
    pub(crate) fn lines(body: &str) -> Self {
        Self::new("200 OK", &["Content-Type: text/plain; charset=utf-8"], body)
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::new("200 OK", &["Content-Type: application/json"], body)
    }

    /// A refusal in the words of Vast.ai's service.
    pub(crate) fn refusal(status: &'static str, msg: &str) -> Self {
        let body = format!(r#"{{"success":false,"error":"some_code","msg":"{msg}"}}"#);
        Self::new(status, &["Content-Type: application/json"], &body)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new("302 Found", &[&format!("Location: {to}")], "")
    }
}

type Answers = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// The server. It listens for as long as the test process runs.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    /// Who signed its certificate, where it has one.
    pub(crate) ca: Option<PathBuf>,
    shared: Arc<Shared>,
    _dir: WorkDir,
}

struct Shared {
    answers: Mutex<Answers>,
    asked: Mutex<Vec<Asked>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Web {
    pub(crate) fn start(answers: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::listen(Box::new(answers), WorkDir::new(), None)
    }

    /// With a certificate for `localhost`.
    pub(crate) fn start_with_tls(answers: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        sshkeyd::client::install_crypto();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let dir = WorkDir::new();
        put(&dir.path().join("ca.pem"), &made.cert.pem(), 0o644);
        Self::listen(Box::new(answers), dir, Some(Arc::new(config)))
    }

    fn listen(answers: Answers, dir: WorkDir, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers),
            asked: Mutex::default(),
            tls,
        });
        let web = Self {
            address,
            url: format!("{scheme}://localhost:{}", address.port()),
            ca: shared.tls.is_some().then(|| dir.path().join("ca.pem")),
            shared: Arc::clone(&shared),
            _dir: dir,
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that hangs up is no news.
                std::thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        web
    }

    /// From here on it answers so.
    pub(crate) fn answer(&self, answers: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.shared.answers.lock().unwrap() = Box::new(answers);
    }

    /// From here on it answers this.
    pub(crate) fn always(&self, reply: Reply) {
        self.answer(move |_| reply.clone());
    }

    /// Everything that it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    match &shared.tls {
        None => converse(stream, shared),
        Some(config) => {
            let session = rustls::ServerConnection::new(Arc::clone(config));
            let mut stream = rustls::StreamOwned::new(session.unwrap(), stream);
            converse(&mut stream, shared)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn converse(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let asked = Asked { path, head };
    shared.asked.lock().unwrap().push(asked.clone());
    let reply = (shared.answers.lock().unwrap())(&asked);
    match reply {
        Reply::Raw(bytes) => stream.write_all(&bytes)?,
        Reply::Whole {
            status,
            headers,
            body,
        } => {
            let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
            )?;
            stream.write_all(&body)?;
        }
        Reply::Drip(bytes) => {
            stream.write_all(&bytes)?;
            loop {
                stream.flush()?;
                pause(Duration::from_millis(300));
                stream.write_all(b"#")?;
            }
        }
        Reply::Flood(bytes, total) => {
            stream.write_all(&bytes)?;
            let chunk = vec![b'#'; 64 * 1024];
            for _ in 0..total / chunk.len() {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(&chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
    }
    stream.flush()
}

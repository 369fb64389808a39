//! A proxy between agent and service that may lie: it changes, replays or cuts what it passes on.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of an answer: it is given the request's first line. `None` cuts the connection.
type Lie = Box<dyn FnMut(&str, Answer) -> Option<Answer> + Send>;

/// An answer of the service.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Status line and headers, without the last empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What was asked, and what the service answered, before anybody lied.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Method and path, with its query.
    pub(crate) call: String,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Answer,
}

/// The proxy. It listens for as long as the test process runs; it holds nothing but a port.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Mutex<Option<SocketAddr>>,
    lie: Mutex<Lie>,
    snapshots: Mutex<Vec<Answer>>,
    requests: Mutex<Vec<(String, Vec<u8>)>>,
    exchanges: Mutex<Vec<Exchange>>,
    bytes_only: AtomicBool,
    /// Who is connected, by his address.
    open: Mutex<HashMap<SocketAddr, TcpStream>>,
}

impl Proxy {
    /// Honest, and with nothing behind it yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(None),
            lie: Mutex::new(Box::new(|_, answer| Some(answer))),
            snapshots: Mutex::default(),
            requests: Mutex::default(),
            exchanges: Mutex::default(),
            bytes_only: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // The clone goes with the connection: as long as it is there, nobody hangs up.
                    let place = stream.peer_addr().ok()?;
                    let clone = stream.try_clone().ok()?;
                    shared.open.lock().unwrap().insert(place, clone);
                    let passed = pass(stream, &shared);
                    shared.open.lock().unwrap().remove(&place);
                    passed
                });
            }
        });
        proxy
    }

    pub(crate) fn stand_before(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = Some(upstream);
    }

    /// Passes bytes both ways from here on and looks at none; until something stands behind the
    /// proxy it hangs up on whoever comes.
    pub(crate) fn pass_bytes_to(&self, upstream: SocketAddr) {
        self.shared.bytes_only.store(true, Ordering::Relaxed);
        self.stand_before(upstream);
    }

    /// Cuts everything that goes through it, and hangs up on whoever comes, until something stands
    /// behind it again.
    pub(crate) fn kill(&self) {
        *self.shared.upstream.lock().unwrap() = None;
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From here on every answer goes through this.
    pub(crate) fn lie(&self, lie: impl FnMut(&str, Answer) -> Option<Answer> + Send + 'static) {
        *self.shared.lie.lock().unwrap() = Box::new(lie);
    }

    pub(crate) fn be_honest(&self) {
        self.lie(|_, answer| Some(answer));
    }

    /// Bodies of all requests for a path, as text.
    pub(crate) fn requests_of(&self, path: &str) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        let of_path = requests.iter().filter(|(first, _)| first.contains(path));
        of_path
            .map(|(_, body)| String::from_utf8_lossy(body).into_owned())
            .collect()
    }

    /// Everything that was asked and answered, the newest last.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges.lock().unwrap().clone()
    }

    /// Every snapshot that the service has sent, the newest last.
    pub(crate) fn snapshots(&self) -> Vec<Answer> {
        self.shared.snapshots.lock().unwrap().clone()
    }
}

fn pass(mut client: TcpStream, shared: &Shared) -> Option<()> {
    let upstream = (*shared.upstream.lock().unwrap())?;
    if shared.bytes_only.load(Ordering::Relaxed) {
        return both_ways(client, TcpStream::connect(upstream).ok()?).ok();
    }
    let (head, body) = message(&mut client).ok()?;
    let first = head.lines().next()?.to_owned();
    let seen = (first.clone(), body.clone());
    shared.requests.lock().unwrap().push(seen);
    let mut server = TcpStream::connect(upstream).ok()?;
    // Longer than a query is held.
    server
        .set_read_timeout(Some(Duration::from_secs(320)))
        .ok()?;
    send(&mut server, &head, &body).ok()?;
    let (head, answered) = message(&mut server).ok()?;
    let call = first.rsplit_once(' ').map_or(&*first, |(call, _)| call);
    let answer = Answer {
        head,
        body: answered,
    };
    shared.exchanges.lock().unwrap().push(Exchange {
        call: call.to_owned(),
        request: body,
        answer: answer.clone(),
    });
    if first.contains("/v1/agent/snapshot") && answer.head.contains(" 200 ") {
        shared.snapshots.lock().unwrap().push(answer.clone());
    }
    let told = (shared.lie.lock().unwrap())(&first, answer)?;
    send(&mut client, &told.head, &told.body).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

fn both_ways(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut client, &mut server);
    server.shutdown(Shutdown::Both)
}

/// One message a connection: the length of its body is as it is, and nothing comes after.
fn send(stream: &mut TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !["connection", "content-length"].contains(&name.to_ascii_lowercase().as_str())
    });
    let mut text: String = kept.map(|line| format!("{line}\r\n")).collect();
    text.push_str("connection: close\r\n");
    if !head.contains(" 304 ") {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())?;
    stream.write_all(body)
}

fn message(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            let length = if head.contains(" 304 ") { 0 } else { length };
            if bytes.len() >= end + 4 + length {
                return Ok((head, bytes[end + 4..end + 4 + length].to_vec()));
            }
        }
        match stream.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
}

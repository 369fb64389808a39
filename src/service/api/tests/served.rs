//! The service on a socket: held queries over HTTP, its stop, its door.

use super::*;
use crate::config::TlsFiles;
use crate::service::{ServiceError, serve, tls};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(super) struct Served {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), ServiceError>>,
}

pub(super) async fn served(bed: &Bed) -> Served {
    served_with(bed, None).await
}

async fn served_with(bed: &Bed, tls: Option<TlsFiles>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let until = async {
        let _ = stopped.await;
    };
    let done = tokio::spawn(serve(bed.service.clone(), listener, tls, until));
    Served {
        address,
        stop,
        done,
    }
}

/// Sends a request for the list as of `etag`, to be held.
async fn subscribe(to: SocketAddr, agent: &TestAgent, etag: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = format!(
        "GET /v1/agent/snapshot?wait=300 HTTP/1.1\r\nhost: x\r\nx-sshkeyd-run: {}\r\n\
         authorization: Bearer {}\r\nif-none-match: {etag}\r\n\r\n",
        agent.run, agent.session
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status line's number.
async fn status(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    String::from_utf8(head[9..].to_vec()).unwrap()
}

#[tokio::test]
async fn a_stop_ends_held_queries_at_once() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served(&bed).await;
    let mut held = subscribe(served.address, &agent, &etag).await;
    bed.held().await;
    served.stop.send(()).unwrap();
    assert_eq!(status(&mut held).await, "304");
    let mut rest = Vec::new();
    held.read_to_end(&mut rest).await.unwrap();
    served.done.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn a_caller_that_hangs_up_gives_its_place_back() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served(&bed).await;
    let held = subscribe(served.address, &agent, &etag).await;
    bed.held().await;
    drop(held);
    while bed.service.holds.taken() > 0 {
        tokio::task::yield_now().await;
    }
    served.stop.send(()).unwrap();
    served.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_another_process_saves_wakes_too() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let served = served(&bed).await;
    let mut held = subscribe(served.address, &agent, &etag).await;
    bed.held().await;
    let other = Service::open(&config(&bed.dir)).unwrap();
    let other = Bed {
        router: router(other.clone()),
        service: other,
        clock: bed.clock.clone(),
        key: bed.key.clone(),
        dir: tempfile::tempdir().unwrap(),
    };
    other.save(ED).await;
    assert_eq!(status(&mut held).await, "200");
    served.stop.send(()).unwrap();
    drop(held);
    served.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn plaintext_is_spoken_on_loopback_only() {
    let bed = Bed::new().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(bed.service.clone(), listener, None, async {}).await;
    assert!(matches!(refused, Err(ServiceError::Plaintext(_))));
}

#[tokio::test]
async fn tls_is_spoken_to_those_who_speak_it() {
    let bed = Bed::new().await;
    let files = TlsFiles {
        certificate: bed.dir.path().join("cert.pem"),
        key: bed.dir.path().join("key.pem"),
    };
    let certificate = tls::tests::renew(&files);
    let served = served_with(&bed, Some(files)).await;

    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Reset or closed, with a TLS alert or without one.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));

    let name = "localhost".try_into().unwrap();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut stream = tls::tests::client(certificate)
        .connect(name, stream)
        .await
        .unwrap();
    let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"));
    served.stop.send(()).unwrap();
    served.done.await.unwrap().unwrap();
}

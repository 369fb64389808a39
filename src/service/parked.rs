//! A connection whose request is being waited for: nothing of HTTP is kept for it meanwhile.
//!
//! Hyper keeps two buffers of 8 KiB for as long as it has a connection, which is most of what a held
//! query costs. So the answer that is waited for is kept beside the connection, not within it; once
//! its handler says that it waits, the connection is taken apart. The answer is written here, and
//! hyper gets the stream again when the next request begins. Reads nothing of HTTP.

use super::listen::HEADERS;
use crate::sys::clock;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Method, Request, StatusCode, Version};
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Notify;

/// Bytes of later requests that are taken in while one is waited for; what comes beyond them waits
/// with the sender.
const EARLY: usize = 4 * 1024;

/// Bytes of an answer that was waited for: a list and its signatures have 8 MiB at the most.
const ANSWER: usize = 16 * 1024 * 1024;

/// An answer under way.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send + 'static>>;

/// The place of the one request that a connection may have under way.
#[derive(Clone, Default)]
pub(super) struct Seat(Arc<Seated>);

#[derive(Default)]
struct Seated {
    under_way: Mutex<Option<UnderWay>>,
    waits: Notify,
}

struct UnderWay {
    answering: Answering,
    may_part: bool,
}

impl Seat {
    /// Takes a request that `answer` answers.
    pub(super) fn take(
        &self,
        request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> Answering,
    ) -> Answer {
        let may_part = may_part(&request);
        let answering = answer(request);
        *self.lock() = Some(UnderWay {
            answering,
            may_part,
        });
        Answer(self.clone())
    }

    /// Called where the request that is under way begins to wait for something to happen.
    pub(super) fn waits(&self) {
        self.0.waits.notify_one();
    }

    /// Returns when the request that is under way waits, and its connection may be taken apart.
    pub(super) async fn may_part(&self) {
        loop {
            self.0.waits.notified().await;
            if self.lock().as_ref().is_some_and(|it| it.may_part) {
                return;
            }
        }
    }

    /// The request that is under way, out of its connection; none where it was answered just now.
    pub(super) fn part<S>(&self, stream: S, early: Bytes) -> Option<Parked<S>> {
        let under_way = self.lock().take()?;
        Some(Parked {
            stream,
            early: early.into(),
            answering: under_way.answering,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        // A request that panics is caught by what is around it.
        let under_way = self.0.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what is under way with its connection: a request knows its connection, and so its own seat,
/// and would keep both for ever.
pub(super) struct Occupied(pub(super) Seat);

impl Drop for Occupied {
    fn drop(&mut self) {
        let under_way = self.0.lock().take();
        drop(under_way);
    }
}

/// Whether the answer can be given without hyper. How much of a body was read only hyper knows, and
/// a connection that is to end after its answer, or of an older HTTP, is its to end.
fn may_part(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let length = headers.get_all(CONTENT_LENGTH).iter();
    let has_body = length.into_iter().any(|bytes| bytes != "0");
    let has_body = has_body || headers.contains_key(TRANSFER_ENCODING);
    let goes_on = request.version() == Version::HTTP_11 && !headers.contains_key(CONNECTION);
    request.method() == Method::GET && !has_body && goes_on
}

/// What a connection waits for.
pub(super) struct Answer(Seat);

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut place = self.0.lock();
        let Some(under_way) = place.as_mut() else {
            // It was taken away, and its connection ends.
            return Poll::Pending;
        };
        let answer = ready!(under_way.answering.as_mut().poll(context));
        *place = None;
        Poll::Ready(answer)
    }
}

/// A request that is waited for, without a connection around it.
pub(super) struct Parked<S> {
    stream: S,
    early: BytesMut,
    answering: Answering,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Parked<S> {
    /// Waits for the answer and gives it. The stream again; none where the other end has gone.
    pub(super) async fn answered(self, closes: impl Fn() -> bool) -> Option<Quiet<S>> {
        let Self {
            mut stream,
            mut early,
            mut answering,
        } = self;
        let answer = tokio::select! {
            answer = &mut answering => answer,
            () = gone(&mut stream, &mut early) => return None,
        };
        drop(answering);
        let Ok(answer) = answer;
        let closes = closes();
        Box::pin(give(&mut stream, answer, closes)).await.ok()?;
        (!closes).then_some(Quiet { stream, early })
    }
}

/// Returns when the other end is gone; keeps what it sends before that.
async fn gone(stream: &mut (impl AsyncRead + Unpin), early: &mut BytesMut) {
    loop {
        let room = EARLY.saturating_sub(early.len());
        if room == 0 {
            return std::future::pending().await;
        }
        if !matches!(read(stream, early, room).await, Ok(1..)) {
            return;
        }
    }
}

/// Reads what there is, but not more than there is room for.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    early: &mut BytesMut,
    room: usize,
) -> io::Result<usize> {
    let mut bytes = [0; 64];
    let part = bytes.get_mut(..room.min(64)).unwrap_or_default();
    let count = stream.read(part).await?;
    early.extend_from_slice(bytes.get(..count).unwrap_or_default());
    Ok(count)
}

/// Writes an answer of known length (RFC 9112, sections 4 to 6).
async fn give(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: Response,
    closes: bool,
) -> io::Result<()> {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, ANSWER).await.map_err(io::Error::other)?;
    let now = clock::now()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let now = HeaderValue::try_from(now).map_err(io::Error::other)?;
    parts.headers.entry(DATE).or_insert(now);
    if parts.status != StatusCode::NOT_MODIFIED {
        parts.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    if closes {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = BytesMut::with_capacity(512);
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).as_bytes());
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let mut all = head.freeze().chain(body);
    stream.write_all_buf(&mut all).await?;
    stream.flush().await
}

/// A stream between two requests, with what was read of the next.
pub(super) struct Quiet<S> {
    stream: S,
    early: BytesMut,
}

impl<S: AsyncRead + Unpin> Quiet<S> {
    /// A stream of which nothing was read.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            early: BytesMut::new(),
        }
    }

    /// Waits for a request to begin; none where none does in time.
    pub(super) async fn begun(mut self) -> Option<Begun<S>> {
        if self.early.is_empty() {
            let first = read(&mut self.stream, &mut self.early, EARLY);
            let first = tokio::time::timeout(HEADERS, first).await;
            let Ok(Ok(1..)) = first else { return None };
        }
        Some(Begun {
            first: self.early.freeze(),
            stream: self.stream,
        })
    }
}

/// A stream of which the beginning of a request was read.
pub(super) struct Begun<S> {
    first: Bytes,
    stream: S,
}

impl<S> Begun<S> {
    /// The stream. Whoever takes it has read what stood before it.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..count).unwrap_or_default());
        self.first.advance(count);
        if self.first.is_empty() {
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

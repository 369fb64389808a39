//! A connection whose request is being waited for: nothing of HTTP is kept for it meanwhile.
//!
//! Hyper keeps two buffers of 8 KiB for as long as a request is under way, which is most of what a
//! held query costs. So the answer that is waited for is kept beside the connection, not within it;
//! once its handler says that it waits, the connection is taken apart, and a new one is made when
//! the answer is there. That one is given a request line to read and answers with what has come.
//! Refuses to know HTTP beyond that line.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Method, Request, Version};
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Bytes of later requests that are taken in while one is waited for; what comes beyond them waits
/// with the sender.
const EARLY: usize = 4 * 1024;

/// An answer under way.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send + 'static>>;

/// The place of the one request that a connection may have under way.
#[derive(Clone, Default)]
pub(super) struct Seat(Arc<Seated>);

#[derive(Default)]
struct Seated {
    taken: Mutex<Taken>,
    waits: Notify,
}

#[derive(Default)]
struct Taken {
    /// What is to be answered next, whatever is asked.
    ready: Option<Response>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    answering: Answering,
    /// What a new connection is to read; none where this one cannot be taken apart.
    line: Option<Bytes>,
}

impl Seat {
    /// Takes a request that `answer` answers.
    pub(super) fn take(
        &self,
        request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> Answering,
    ) -> Answer {
        let mut taken = self.lock();
        if taken.ready.is_none() {
            let line = line(&request);
            let answering = answer(request);
            taken.under_way = Some(UnderWay { answering, line });
        }
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
            let taken = self.lock();
            if taken.under_way.as_ref().is_some_and(|it| it.line.is_some()) {
                return;
            }
        }
    }

    /// Has the answer that is given next, if there is one, be the last of its connection.
    pub(super) fn closes_after(&self) -> bool {
        let mut taken = self.lock();
        let last = HeaderValue::from_static("close");
        let ready = taken.ready.as_mut();
        ready
            .map(|answer| answer.headers_mut().insert(CONNECTION, last))
            .is_some()
    }

    /// The request that is under way, out of its connection; none where it was answered just now.
    pub(super) fn part<S>(&self, stream: S, early: Bytes) -> Option<Parked<S>> {
        let UnderWay { answering, line } = self.lock().under_way.take()?;
        Some(Parked {
            stream,
            early: early.into(),
            answering,
            line: line?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // A request that panics is caught by what is around it.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line that stands for a request whose connection was taken apart. One with a body has none:
/// how much of that was read only its connection knows.
fn line(request: &Request<Body>) -> Option<Bytes> {
    let headers = request.headers();
    let has_body = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let is_plain = request.version() == Version::HTTP_11 && !headers.contains_key(CONNECTION);
    let may = request.method() == Method::GET && !has_body && is_plain;
    may.then(|| Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"))
}

/// What a connection waits for.
pub(super) struct Answer(Seat);

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut taken = self.0.lock();
        if let Some(ready) = taken.ready.take() {
            return Poll::Ready(Ok(ready));
        }
        let Some(under_way) = &mut taken.under_way else {
            // It was taken away, and its connection ends.
            return Poll::Pending;
        };
        let answer = ready!(under_way.answering.as_mut().poll(context));
        taken.under_way = None;
        Poll::Ready(answer)
    }
}

/// A request that is waited for, without a connection around it.
pub(super) struct Parked<S> {
    stream: S,
    early: BytesMut,
    answering: Answering,
    line: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Parked<S> {
    /// Waits for the answer. Gives the stream for the connection that is to give it; none where the
    /// other end has gone.
    pub(super) async fn answered(self, seat: &Seat) -> Option<Resumed<S>> {
        let Self {
            mut stream,
            mut early,
            mut answering,
            line,
        } = self;
        let answer = tokio::select! {
            answer = &mut answering => answer,
            () = gone(&mut stream, &mut early) => return None,
        };
        let Ok(answer) = answer;
        seat.lock().ready = Some(answer);
        let mut first = BytesMut::with_capacity(line.len() + early.len());
        first.extend_from_slice(&line);
        first.extend_from_slice(&early);
        Some(Resumed {
            first: first.freeze(),
            stream,
        })
    }
}

/// Returns when the other end is gone; keeps what it sends before that.
async fn gone(stream: &mut (impl AsyncRead + Unpin), early: &mut BytesMut) {
    loop {
        let room = EARLY.saturating_sub(early.len());
        if room == 0 {
            return std::future::pending().await;
        }
        let mut bytes = [0; 64];
        let part = bytes.len().min(room);
        match stream.read(bytes.get_mut(..part).unwrap_or_default()).await {
            Ok(0) | Err(_) => return,
            Ok(count) => early.extend_from_slice(bytes.get(..count).unwrap_or_default()),
        }
    }
}

/// A stream, and what is read before anything of it.
pub(super) struct Resumed<S> {
    first: Bytes,
    stream: S,
}

impl<S> Resumed<S> {
    /// A stream of which nothing was read.
    pub(super) fn new(stream: S) -> Self {
        Self {
            first: Bytes::new(),
            stream,
        }
    }

    /// The stream. Whoever takes it has read what stood before it.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Resumed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Resumed<S> {
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

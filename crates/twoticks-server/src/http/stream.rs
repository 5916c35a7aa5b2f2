//! A connection as the HTTP library sees it: heads framed, and closed without losing the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use twoticks_wire::head::{Framer, Targets};

/// Bytes read from the connection at once.
const READ_BYTES: usize = 8 * 1024;
/// How long a closed connection still takes bytes that the caller is sending.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes it still takes: a little more than the longest request.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A stream whose input goes through a [`Framer`].
pub(super) struct Framed<S> {
    stream: S,
    framer: Framer,
    received: Box<[u8]>,
    /// Framed bytes that have not been read yet, from `read` on.
    framed: Vec<u8>,
    read: usize,
    closing: Option<Closing>,
}

/// The writing side is shut; what the caller still sends is read and dropped, because a
/// connection that is closed with bytes unread is reset, and the answer lost with it.
struct Closing {
    deadline: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<S> Framed<S> {
    /// Frames `stream`. The token has to be random.
    pub(super) fn new(stream: S, token: [u8; 16]) -> Self {
        Self {
            stream,
            framer: Framer::new(token),
            received: vec![0; READ_BYTES].into_boxed_slice(),
            framed: Vec::new(),
            read: 0,
            closing: None,
        }
    }

    pub(super) fn targets(&self) -> Targets {
        self.framer.targets()
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// Reads a body to where it is wanted: most bytes are those of bodies, and are copied once.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.framer.body_left();
        let before = out.filled().len();
        if out.remaining() <= left {
            ready!(Pin::new(&mut self.stream).poll_read(context, out))?;
        } else {
            let mut body = ReadBuf::new(out.initialize_unfilled_to(left));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut body))?;
            let count = body.filled().len();
            out.advance(count);
        }
        self.framer.passed(out.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let waiting = this.framed.get(this.read..).unwrap_or_default();
            if !waiting.is_empty() {
                let count = waiting.len().min(out.remaining());
                out.put_slice(waiting.get(..count).unwrap_or_default());
                this.read += count;
                return Poll::Ready(Ok(()));
            }
            this.framed.clear();
            this.read = 0;
            if this.framer.is_broken() {
                return Poll::Ready(Ok(()));
            }
            if this.framer.body_left() > 0 {
                return this.poll_body(context, out);
            }
            let mut received = ReadBuf::new(&mut this.received);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut received))?;
            if received.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.framer.feed(received.filled(), &mut this.framed);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            let deadline = Box::pin(tokio::time::sleep(LINGER));
            this.closing = Some(Closing { deadline, bytes: 0 });
        }
        let Some(closing) = &mut this.closing else { return Poll::Ready(Ok(())) };
        while closing.bytes < LINGER_BYTES {
            if closing.deadline.as_mut().poll(context).is_ready() {
                break;
            }
            let mut received = ReadBuf::new(&mut this.received);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut received)) {
                Ok(()) if !received.filled().is_empty() => {
                    closing.bytes += received.filled().len();
                }
                // The caller has closed its side, or is gone.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

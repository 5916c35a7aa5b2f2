//! Lets request targets of up to 1 MiB through an HTTP library that stops at 65,534 bytes.
//!
//! The server gives every byte that it reads from a connection to [`Framer::feed`] and hands what
//! comes out to the library. The framer follows HTTP/1.1 from message to message; a target that
//! the library could not hold is replaced by a marker, and the service asks [`Targets::take`] for
//! the original. A head that must not be served is replaced by a request whose marker says why, so
//! that the caller gets an error in its own format; whatever follows on that connection is
//! discarded. A new reason to refuse is a variant of [`HeadRefusal`].
//! What always holds: any cut of the input gives the same output, memory is bounded by
//! [`TARGET_MAX`], [`HEADERS_MAX`] and [`PIPELINED_MAX`], and a client cannot make a marker, which
//! carries a random token of the connection.

mod body;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq as _;

use self::body::{Body, Step};
use crate::code::{Code, Refusal};

/// A request target is at most this long, in bytes.
pub const TARGET_MAX: usize = 1024 * 1024;

/// The headers of a request, with their line ends, are at most this long together, in bytes.
pub const HEADERS_MAX: usize = 64 * 1024;

/// A request has at most this many headers; the HTTP library's own limit.
pub const HEADERS_COUNT_MAX: usize = 100;

/// A target longer than this many bytes is replaced.
pub const REPLACED_ABOVE: usize = 16 * 1024;

/// So many replaced targets may wait for their requests on one connection; no official client
/// sends a request before the last one is answered.
pub const PIPELINED_MAX: usize = 4;

/// Method, blanks and version of a request line take at most so many bytes beside the target.
const LINE_SLACK: usize = 64;

/// The room for a head is kept for the next one up to so many bytes.
const KEPT_MAX: usize = 4 * 1024;

/// What a marker begins with; the token and a number follow.
const MARKER: &str = "/~head.";

/// Why a request's head is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadRefusal {
    /// The target is longer than [`TARGET_MAX`].
    TargetTooLong,
    /// The headers are longer than [`HEADERS_MAX`] or more than [`HEADERS_COUNT_MAX`].
    HeadersTooLarge,
    /// Not the head of an HTTP/1 request.
    Malformed,
    /// The length of the body can be read in two ways, or in none.
    AmbiguousLength,
    /// More than [`PIPELINED_MAX`] long requests at once.
    TooManyPipelined,
}

impl HeadRefusal {
    /// What the caller is told.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::TargetTooLong => Code::RequestTargetTooLong.into(),
            Self::HeadersTooLarge => Code::RequestHeadersTooLarge.into(),
            Self::TooManyPipelined => Code::SystemLimitControl.into(),
            Self::Malformed | Self::AmbiguousLength => Code::MalformedRequest.into(),
        }
    }
}

/// What a marker stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Original {
    /// The target as it was received.
    Target(String),
    /// The request is to be refused, and the connection closed after it.
    Refused(HeadRefusal),
}

/// The originals of one connection, shared between its framer and its service.
#[derive(Clone)]
pub struct Targets(Arc<Shared>);

struct Shared {
    /// [`MARKER`], the token and a dot.
    prefix: String,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Number of the next marker.
    next: u64,
    originals: VecDeque<(u64, Original)>,
}

impl Targets {
    /// The original that a request target stands for, `None` if it is not a marker of this
    /// connection. Each is there once; those of earlier requests are given up with it.
    pub fn take(&self, target: &str) -> Option<Original> {
        let (prefix, number) = target.split_at_checked(self.0.prefix.len())?;
        if !bool::from(prefix.as_bytes().ct_eq(self.0.prefix.as_bytes())) {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        let mut waiting = self.waiting();
        let at = waiting.originals.iter().position(|(waits, _)| *waits == number)?;
        waiting.originals.drain(..=at).next_back().map(|(_, original)| original)
    }

    /// The marker under which the original is kept, or the original if there is no room.
    fn put(&self, original: Original) -> Result<String, Original> {
        let mut waiting = self.waiting();
        // A refusal is the last of its connection and needs no room to speak of.
        let is_target = matches!(original, Original::Target(_));
        if is_target && waiting.originals.len() >= PIPELINED_MAX {
            return Err(original);
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.originals.push_back((number, original));
        Ok(format!("{}{number}", self.0.prefix))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and a queue has no half-done state.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the requests of one connection and replaces what the HTTP library cannot hold.
pub struct Framer {
    targets: Targets,
    state: State,
    head: Head,
}

enum State {
    Head,
    Body(Body),
    /// Refused: an answer is on its way, the rest does not matter.
    Refused,
    /// The framing of a body broke: the connection has to end.
    Broken,
}

/// A head while it is collected.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    /// Length of the request line with its line end, once it is there.
    line: Option<usize>,
    /// Where the current line begins.
    line_start: usize,
}

enum Collected {
    More,
    Whole,
    Refused(HeadRefusal),
}

impl Framer {
    /// A framer for a new connection. The token has to be random: it is what keeps clients from
    /// making markers.
    pub fn new(token: [u8; 16]) -> Self {
        let mut prefix = String::from(MARKER);
        for byte in token {
            prefix.push_str(&format!("{byte:02x}"));
        }
        prefix.push('.');
        let targets = Targets(Arc::new(Shared { prefix, waiting: Mutex::default() }));
        Self { targets, state: State::Head, head: Head::default() }
    }

    /// The store of this connection's originals, for its service.
    pub fn targets(&self) -> Targets {
        self.targets.clone()
    }

    /// Whether the body of a request broke off in a way that cannot be followed: nothing more will
    /// come out, and the reader should tell the HTTP library that the input has ended.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Takes bytes as received and appends to `out` what the HTTP library is to see of them.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while !rest.is_empty() {
            match &mut self.state {
                State::Head => match self.head.collect(&mut rest) {
                    Collected::More => {}
                    Collected::Whole => self.finish_head(out),
                    Collected::Refused(why) => self.refuse(why, out),
                },
                State::Body(body) => match body.step(&mut rest, out) {
                    Step::More => {}
                    Step::Done => self.state = State::Head,
                    Step::Broken => self.state = State::Broken,
                },
                State::Refused | State::Broken => return,
            }
        }
    }

    /// How many of the next bytes are of a body and pass as they are. Whoever passes some of them
    /// without [`Framer::feed`] says so with [`Framer::passed`].
    pub fn body_left(&self) -> usize {
        match &self.state {
            State::Body(body) => usize::try_from(body.left()).unwrap_or(usize::MAX),
            State::Head | State::Refused | State::Broken => 0,
        }
    }

    /// Takes note that the next `count` bytes have passed: at most [`Framer::body_left`].
    pub fn passed(&mut self, count: usize) {
        if let State::Body(body) = &mut self.state
            && let Step::Done = body.pass(count)
        {
            self.state = State::Head;
        }
    }

    fn finish_head(&mut self, out: &mut Vec<u8>) {
        let mut head = std::mem::take(&mut self.head).bytes;
        match self.pass_head(&head, out) {
            Ok(Some(body)) => self.state = State::Body(body),
            Ok(None) => {}
            Err(why) => return self.refuse(why, out),
        }
        // The next one is hardly longer.
        if head.capacity() <= KEPT_MAX {
            head.clear();
            self.head.bytes = head;
        }
    }

    /// Writes a whole head, its target replaced if need be, and says what body follows it.
    fn pass_head(&self, head: &[u8], out: &mut Vec<u8>) -> Result<Option<Body>, HeadRefusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_COUNT_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(HeadRefusal::HeadersTooLarge),
            Ok(_) | Err(_) => return Err(HeadRefusal::Malformed),
        }
        let (Some(method), Some(target), Some(version)) =
            (request.method, request.path, request.version)
        else {
            return Err(HeadRefusal::Malformed);
        };
        if target.len() > TARGET_MAX {
            return Err(HeadRefusal::TargetTooLong);
        }
        let body = Body::of(version, request.headers)?;
        if is_plain(target) {
            out.extend_from_slice(head);
            return Ok(body);
        }
        // The line is `method SP target SP …`, with one blank each: httparse takes nothing else.
        let after = method.len() + 1 + target.len();
        let tail = head.get(after..).ok_or(HeadRefusal::Malformed)?;
        let marker = self
            .targets
            .put(Original::Target(target.to_owned()))
            .map_err(|_| HeadRefusal::TooManyPipelined)?;
        for part in [method.as_bytes(), b" ", marker.as_bytes(), tail] {
            out.extend_from_slice(part);
        }
        Ok(body)
    }

    fn refuse(&mut self, why: HeadRefusal, out: &mut Vec<u8>) {
        self.head = Head::default();
        self.state = State::Refused;
        if let Ok(marker) = self.targets.put(Original::Refused(why)) {
            let request = format!("GET {marker} HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n");
            out.extend_from_slice(request.as_bytes());
        }
    }
}

impl Head {
    /// Moves bytes from `rest` up to the end of the head, or up to a limit.
    fn collect(&mut self, rest: &mut &[u8]) -> Collected {
        while let Some((&byte, after)) = rest.split_first() {
            // Empty lines between requests are nobody's; servers skip them.
            if self.bytes.is_empty() && matches!(byte, b'\r' | b'\n') {
                *rest = after;
                continue;
            }
            let room = match self.line {
                None => (TARGET_MAX + LINE_SLACK).saturating_sub(self.bytes.len()),
                Some(line) => (line + HEADERS_MAX).saturating_sub(self.bytes.len()),
            };
            let window = rest.get(..room).unwrap_or(rest);
            let Some(newline) = window.iter().position(|&byte| byte == b'\n') else {
                if window.len() == room && room < rest.len() || room == 0 {
                    return Collected::Refused(match self.line {
                        None => HeadRefusal::TargetTooLong,
                        Some(_) => HeadRefusal::HeadersTooLarge,
                    });
                }
                self.bytes.extend_from_slice(window);
                *rest = &[];
                return Collected::More;
            };
            let (line, after) = rest.split_at_checked(newline + 1).unwrap_or((rest, &[]));
            self.bytes.extend_from_slice(line);
            *rest = after;
            let whole_line = self.bytes.get(self.line_start..).unwrap_or_default();
            let is_empty = matches!(whole_line, b"\n" | b"\r\n");
            self.line_start = self.bytes.len();
            self.line.get_or_insert(self.line_start);
            if is_empty {
                return Collected::Whole;
            }
        }
        Collected::More
    }
}

/// Whether the HTTP library takes the target as it is: short, a path, and of ordinary characters.
fn is_plain(target: &str) -> bool {
    target.len() <= REPLACED_ABOVE
        && target.starts_with('/')
        && target
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?@!$&'()*+,;=%[]".contains(&byte))
}

#[cfg(test)]
mod tests;

//! How webhooks get to a receiver: a few connections, kept open, one request at a time on each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer is waited for; a receiver that takes longer has not taken it.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody listens, or the connection broke.
    #[error("the connection to {address} failed: {source}")]
    Connection {
        /// Where to.
        address: SocketAddr,
        /// What happened.
        source: std::io::Error,
    },
    /// It is no HTTP, too long, or broken off.
    #[error("the answer of {address} cannot be read: {why}")]
    Unreadable {
        /// Where from.
        address: SocketAddr,
        /// What is wrong.
        why: String,
    },
    /// It took too long.
    #[error("{address} did not answer within {} s", ANSWER_WITHIN.as_secs())]
    TooLate {
        /// Where from.
        address: SocketAddr,
    },
}

/// A request to be made.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST` unless it is something else.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers besides `host` and `content-length`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

type Open = (SendRequest<Full<Bytes>>, Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>);

/// A connection to one address, opened when it is needed.
pub struct Lane {
    address: SocketAddr,
    open: Option<Open>,
}

impl Lane {
    /// A lane to `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Where to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the `host` header says.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Makes a request. If an open connection turns out to be closed, on a new one.
    ///
    /// # Errors
    /// [`NoAnswer`]; whether the receiver has taken it is then not known.
    pub async fn ask(&mut self, asked: &Asked) -> Result<Answered, NoAnswer> {
        let address = self.address;
        let was_open = self.open.as_ref().is_some_and(|(sender, _)| !sender.is_closed());
        let within = tokio::time::timeout(ANSWER_WITHIN, async {
            match self.exchange(asked).await {
                Err(_) if was_open => {
                    self.open = None;
                    self.exchange(asked).await
                }
                done => done,
            }
        });
        let answered = within.await.unwrap_or(Err(NoAnswer::TooLate { address }));
        if answered.is_err() {
            self.open = None;
        }
        answered
    }

    async fn exchange(&mut self, asked: &Asked) -> Result<Answered, NoAnswer> {
        let address = self.address;
        let unreadable = |why: String| NoAnswer::Unreadable { address, why };
        if self.open.as_ref().is_none_or(|(sender, _)| sender.is_closed()) {
            let stream = connect(address).await?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|it| unreadable(it.to_string()))?;
            self.open = Some((sender, Box::pin(connection)));
        }
        let Some((sender, connection)) = &mut self.open else {
            return Err(unreadable("there is no connection".to_owned()));
        };
        let mut request = Request::builder()
            .method(&asked.method)
            .uri(&asked.target)
            .header("host", self.address.to_string());
        for (name, value) in &asked.headers {
            request = request.header(name, value.as_slice());
        }
        let request = request
            .body(Full::new(asked.body.clone()))
            .map_err(|error| unreadable(error.to_string()))?;
        let answer = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, hyper::Error>((
                parts.status,
                Limited::new(body, ANSWER_BYTES_MAX).collect().await,
            ))
        };
        let mut answer = std::pin::pin!(answer);
        let (status, body) = tokio::select! {
            answer = answer.as_mut() => answer.map_err(|error| unreadable(error.to_string()))?,
            ended = connection => match answer.now_or_never() {
                // An answer may end with its connection (HTTP/1.0).
                Some(Ok(answer)) => answer,
                Some(Err(_)) | None => {
                    let why = ended.err();
                    let why = why.map_or("it was closed".to_owned(), |error| error.to_string());
                    return Err(unreadable(why));
                }
            },
        };
        let body = body.map_err(|error| unreadable(error.to_string()))?.to_bytes();
        Ok(Answered { status, body })
    }

    /// Begins a request, breaks off in the midst of its body, and waits until the other end has
    /// noticed.
    ///
    /// # Errors
    /// [`NoAnswer::Connection`] if it cannot even begin.
    pub async fn break_off(&mut self, asked: &Asked) -> Result<(), NoAnswer> {
        let address = self.address;
        let broken = |source| NoAnswer::Connection { address, source };
        let mut stream = connect(address).await?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n",
            asked.method,
            asked.target,
            asked.body.len()
        )
        .into_bytes();
        for (name, value) in &asked.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(asked.body.get(..asked.body.len() / 2).unwrap_or_default());
        stream.write_all(&head).await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)?;
        let mut answer = Vec::new();
        let mut rest = stream.take(ANSWER_BYTES_MAX as u64);
        match tokio::time::timeout(ANSWER_WITHIN, rest.read_to_end(&mut answer)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NoAnswer::TooLate { address }),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, NoAnswer> {
    let failed = |source| NoAnswer::Connection { address, source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // A request is one small write; waiting for more would only delay it.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_may_end_with_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked {
            method: Method::GET,
            target: "/".to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        for (told, expected) in [
            ("HTTP/1.0 200 OK\r\n\r\nhello", Some("hello")),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", Some("")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", None),
            ("HTTP/1.", None),
            ("", None),
        ] {
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1_024];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                stream.write_all(told.as_bytes()).await.unwrap();
            };
            let mut lane = Lane::new(address);
            let (answer, ()) = tokio::join!(lane.ask(&asked), answering);
            let body = answer.map(|it| String::from_utf8(it.body.to_vec()).unwrap());
            assert_eq!(body.ok().as_deref(), expected, "{told}");
        }
    }
}

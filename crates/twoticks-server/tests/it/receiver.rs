//! Somebody to whom something is passed on: a real HTTP server that keeps what it gets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What it got.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A status and a body.
    Say(u16, &'static str),
    /// A status and where to go instead.
    Redirect(SocketAddr),
    /// Nothing, for as long as it is waited for.
    Hang,
    /// More than anybody reads.
    Flood,
}

/// What CAMS takes for an acknowledgement.
pub(crate) const TAKEN: Answer = Answer::Say(200, r#"{"code":0,"msg":"ok"}"#);

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// Said to the next ones; then the last one is said again.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    posts: watch::Receiver<Vec<Post>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let (put, posts) = watch::channel(Vec::new());
        let (of, put) = (Arc::clone(&answers), Arc::new(put));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&of), Arc::clone(&put)));
            }
        });
        Self { address, answers, posts, _serving: serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn say(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.borrow().clone()
    }

    /// Waits until it got so many posts.
    pub(crate) async fn wait_for(&mut self, count: usize) -> Vec<Post> {
        self.posts.wait_for(|posts| posts.len() >= count).await.unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    put: Arc<watch::Sender<Vec<Post>>>,
) {
    let mut bytes = Vec::new();
    while let Some((post, length)) = next(&mut stream, &mut bytes).await {
        bytes.drain(..length);
        let answer = {
            let mut answers = answers.lock().unwrap();
            let last = answers.len() == 1;
            if last { answers[0] } else { answers.pop_front().unwrap() }
        };
        put.send_modify(|posts| posts.push(post));
        let said = match answer {
            Answer::Say(status, body) => {
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Answer::Redirect(to) => {
                format!("HTTP/1.1 307 x\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Hang => std::future::pending().await,
            Answer::Flood => {
                let flood = "x".repeat(10 << 20);
                format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{flood}", flood.len())
            }
        };
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request of a connection, and how long it is.
async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(Post, usize)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let path = lines.next()?.split(' ').nth(1)?.to_owned();
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                return Some((Post { path, headers, body }, end + 4 + length));
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
            _ => return None,
        }
    }
}

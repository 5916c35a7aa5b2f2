//! One HTTP/1.1 connection that is kept: requests one after the other.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A connection, and the task that drives it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// `HOST:PORT` of `http://HOST:PORT/…`.
///
/// # Errors
/// If `url` is something else.
pub(super) fn authority(url: &str) -> Result<&str> {
    let rest = url.strip_prefix("http://");
    let host = rest.and_then(|rest| rest.split('/').next()).filter(|host| host.contains(':'));
    match host {
        Some(host) => Ok(host),
        None => bail!("`{url}` is not of the form `http://HOST:PORT`"),
    }
}

impl Connection {
    pub(super) async fn open(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority)
            .await
            .with_context(|| format!("cannot connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // What ends it is told to whoever sends next.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

//! A client of our own: one connection to a server on this machine, one request at a time.
//!
//! Just enough HTTP/1.1 for the demo to speak to itself as a caller and as WhatsApp would.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use twoticks_core::clock::Time;
use twoticks_wire::signature::Algorithm;
use twoticks_wire::signature::sign::{Call, Pairs, SecretKey, Signer, sign_v3};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// A connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

/// Who signs calls.
pub(super) struct Caller<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) key: &'a SecretKey,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to the demo's own server on {address}"))?;
        stream.set_nodelay(true).context("cannot set nodelay")?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_string() })
    }

    /// Makes a signed call and gives its answer.
    pub(super) async fn call(
        &mut self,
        caller: &Caller<'_>,
        now: Time,
        nonce: &str,
        action: &str,
        form: Pairs,
    ) -> Result<Value> {
        let call = Call {
            method: "POST".to_owned(),
            host: self.host.clone(),
            action: action.to_owned(),
            version: twoticks_server::ops::VERSION.to_owned(),
            query: Vec::new(),
            form,
        };
        let signer = Signer {
            access_key_id: caller.access_key_id,
            key: caller.key,
            security_token: None,
            now_ms: now.0,
            nonce,
        };
        let signed = sign_v3(&call, &signer, Algorithm::HmacSha256)?;
        let answer =
            self.exchange(&signed.method, &signed.target, &signed.headers, &signed.body).await;
        let answer = answer.with_context(|| format!("the call of {action} failed"))?;
        serde_json::from_slice(&answer).context("the answer is not JSON")
    }

    /// Posts a webhook as WhatsApp does, signed with `app_secret`.
    pub(super) async fn webhook(&mut self, app_secret: &str, body: &Value) -> Result<()> {
        let body = body.to_string().into_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(&body);
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let headers = [
            ("host".to_owned(), self.host.clone().into_bytes()),
            ("content-type".to_owned(), b"application/json".to_vec()),
            ("x-hub-signature-256".to_owned(), format!("sha256={hex}").into_bytes()),
        ];
        self.exchange("POST", "/webhooks/whatsapp", &headers, &body)
            .await
            .context("a webhook was refused")?;
        Ok(())
    }

    /// Sends a request and gives the body of its answer, which has to be a 200.
    async fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.context("the connection broke")?;
        let status = self.line().await?;
        let mut length = 0;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().context("the answer's length is not a number")?;
            }
        }
        if length > ANSWER_MAX {
            bail!("the answer has {length} bytes; at most {ANSWER_MAX} are read");
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.context("the connection broke")?;
        if status.split(' ').nth(1) != Some("200") {
            bail!("{status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let limit = u64::try_from(ANSWER_MAX).unwrap_or(u64::MAX);
        (&mut self.stream)
            .take(limit)
            .read_line(&mut line)
            .await
            .context("the connection broke")?;
        if line.is_empty() {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

//! The limit of the door (Y2): verifies the signature, reads the JSON into types, answers 200.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use tokio::net::TcpListener;

use super::server::SECRET;
use crate::output;

/// What a count needs of a webhook.
#[derive(Deserialize)]
struct Hook<'a> {
    #[serde(borrow)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    value: Told<'a>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    statuses: Vec<Status<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    phone_number_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    biz_opaque_callback_data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pricing: Option<Pricing<'a>>,
}

#[derive(Deserialize)]
struct Pricing<'a> {
    #[serde(borrow, default)]
    category: Option<Cow<'a, str>>,
}

/// How many bytes of text it has read: so that nothing of the reading can be left out.
static READ: AtomicU64 = AtomicU64::new(0);

/// Serves until it is ended.
pub(super) async fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/webhooks/whatsapp", post(take));
    output::value(true, &serde_json::json!({ "endpoint": format!("http://{address}") }))?;
    axum::serve(listener, router).await.context("cannot serve")
}

async fn take(headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    if !is_signed(&headers, &body) {
        return (StatusCode::UNAUTHORIZED, "");
    }
    match serde_json::from_slice::<Hook<'_>>(&body) {
        Ok(hook) => {
            READ.fetch_add(read(&hook), Ordering::Relaxed);
            (StatusCode::OK, "ok")
        }
        Err(_) => (StatusCode::BAD_REQUEST, ""),
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let given =
        headers.get("x-hub-signature-256").and_then(|it| it.as_bytes().strip_prefix(b"sha256="));
    let Some((pairs, [])) = given.map(<[u8]>::as_chunks::<2>) else { return false };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut digest = [0; 32];
    if pairs.len() != digest.len() {
        return false;
    }
    for (to, [high, low]) in digest.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
        *to = high << 4 | low;
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.verify_slice(&digest).is_ok()
}

fn read(hook: &Hook<'_>) -> u64 {
    let changes = hook.entry.iter().flat_map(|entry| &entry.changes);
    let texts = changes.flat_map(|change| {
        let statuses = change.value.statuses.iter().flat_map(|it| {
            let category = it.pricing.as_ref().and_then(|it| it.category.as_deref());
            let sign = it.biz_opaque_callback_data.as_deref();
            [Some(&*it.id), Some(&*it.status), Some(&*it.timestamp), sign, category]
        });
        statuses.chain([Some(&*change.value.metadata.phone_number_id)])
    });
    texts.flatten().map(|text| text.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use twoticks_emulator::meta::signature;
    use twoticks_emulator::stream::{Plan, bodies};

    use super::*;

    #[tokio::test]
    async fn it_takes_what_is_signed_and_nothing_else() {
        for body in bodies(1, &Plan::life_like(200), (1, 100)) {
            let signed = signature(SECRET.as_bytes(), &body.bytes);
            let mut headers = HeaderMap::new();
            headers.insert("x-hub-signature-256", HeaderValue::from_str(&signed).unwrap());
            let bytes = Bytes::from(body.bytes);
            assert_eq!(take(headers.clone(), bytes.clone()).await.0, StatusCode::OK);
            let other = Bytes::from([&bytes[..], b" "].concat());
            assert_eq!(take(headers, other).await.0, StatusCode::UNAUTHORIZED);
            assert_eq!(take(HeaderMap::new(), bytes).await.0, StatusCode::UNAUTHORIZED);
        }
    }
}

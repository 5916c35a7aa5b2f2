//! A server in memory, with two tenants and a ledger that can be told to refuse.
//!
//! Account 1 has the channels `a` and `b`, which share an app secret, `c` with two of its own (one
//! is being replaced), and `r`, which takes receipts; account 2 has `z`. Channel `x`'s number is
//! `1555000000n`, with the id `id-x`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt as _;
use twoticks_core::clock::{ManualClock, Time};
use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Text};
use twoticks_server::app::{App, Surroundings};
use twoticks_server::carrier::LocalCarrier;
use twoticks_server::run;
use twoticks_server::settings::Settings;
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::model::{Account, Channel, Number, StatusSource, TemplateRecord};
use twoticks_store::directory::names::{Secret, Uid};
use twoticks_store::directory::{Change, Directory as _};
use twoticks_store::keys::{HashOf, Keys};
use twoticks_store::ledger::{Entry, Ledger as _};

use crate::moody::Moody;

/// The present: 2026-10-02T00:00:00Z.
pub(crate) const NOW: Time = Time(1_790_899_200_000);
/// The present in seconds.
pub(crate) const SECONDS: i64 = NOW.0 / 1_000;

/// The channels, in the order of their numbers, with the app secrets and the account of each.
pub(crate) const CHANNELS: [(&str, &[&str], u8); 5] = [
    ("a", &["shared-secret"], 1),
    ("b", &["shared-secret"], 1),
    ("c", &["old-secret", "new-secret"], 1),
    ("r", &["secret-r"], 1),
    ("z", &["secret-z"], 2),
];

pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) ledger: Arc<Moody>,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn channel(id: &str) -> ChannelId {
    ChannelId::new(id).unwrap()
}

pub(crate) fn uid(n: u8) -> Uid {
    Uid::new(&format!("100000000000000{n}")).unwrap()
}

pub(crate) fn number(id: &str) -> PhoneNumber {
    let index = CHANNELS.iter().position(|(known, ..)| *known == id).unwrap();
    PhoneNumber::new(&format!("1555000000{index}")).unwrap()
}

pub(crate) fn promo(id: &str) -> TemplateRecord {
    TemplateRecord {
        channel: channel(id),
        code: text("promo"),
        language: text("en"),
        name: text("summer"),
        meta_id: Some(text("4711")),
        category: Category::Marketing,
        buttons: vec![Button { kind: ButtonKind::QuickReply, text: text("Yes") }],
        graph: None,
        links: Vec::new(),
    }
}

pub(crate) fn channel_record(id: &str) -> Channel {
    let (_, secrets, account) = CHANNELS.into_iter().find(|(known, ..)| *known == id).unwrap();
    let secret = |text: &str| Secret::new(text).unwrap();
    Channel {
        id: channel(id),
        account: uid(account),
        name: text(id),
        waba_id: Some(text(&format!("waba-{id}"))),
        app_secrets: secrets.iter().map(|text| secret(text)).collect(),
        verify_token: secret(&format!("verify-token-{id}")),
        receipts_secret: secret(&format!("receipts-secret-{id}")),
        status_source: if id == "r" { StatusSource::Receipts } else { StatusSource::CloudApi },
        connection: None,
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = MemoryDirectory::new();
        let account =
            |n| Change::AddAccount(Account { uid: uid(n), name: text("x"), subscribed: true });
        let mut changes = vec![account(1), account(2)];
        for (id, ..) in CHANNELS {
            changes.push(Change::AddChannel(channel_record(id)));
            changes.push(Change::PutNumber(Number {
                phone_number: number(id),
                phone_number_id: text(&format!("id-{id}")),
                channel: channel(id),
                graph: None,
            }));
            changes.push(Change::PutTemplate(promo(id)));
        }
        directory.change(changes).await.unwrap();
        let mut settings = Settings::default();
        change(&mut settings);
        let ledger = Arc::new(Moody::default());
        let clock = Arc::new(ManualClock::new(NOW));
        let app = Arc::new(App::new(
            settings,
            Surroundings {
                clock: clock.clone(),
                keys: Arc::new(Keys::from_bytes([5; 32])),
                ledger: ledger.clone(),
                directory: Arc::new(directory),
                carrier: Arc::new(LocalCarrier),
            },
        ));
        Self { router: run::router(&app), app, ledger, clock }
    }

    pub(crate) async fn change(&self, change: Change) {
        self.app.directory.change(vec![change]).await.unwrap();
    }

    pub(crate) fn request(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let router = self.router.clone();
        async move { router.oneshot(request).await.unwrap() }
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.request(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.answer(Request::post(path).body(body.into()).unwrap()).await
    }

    /// Posts a webhook signed with `secret`; the status that was answered.
    pub(crate) async fn webhook(&self, path: &str, secret: &str, body: &str) -> u16 {
        self.answer(signed(path, secret, body)).await.status
    }

    /// Posts a webhook that has to be taken.
    pub(crate) async fn tell(&self, secret: &str, body: &Value) {
        assert_eq!(self.webhook("/webhooks/whatsapp", secret, &body.to_string()).await, 200);
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.ledger.entries(1, 1_000).await.unwrap()
    }

    /// The last entry: how many events, and the reasons of its dead parts.
    pub(crate) async fn last(&self) -> (usize, Vec<String>) {
        let entries = self.entries().await;
        let batch = &entries.last().unwrap().batch;
        (batch.events.len(), batch.dead.iter().map(|dead| dead.why.clone()).collect())
    }

    pub(crate) fn hash(&self, kind: HashOf, id: &str, what: &str) -> Hash {
        self.app.keys.hash(kind, &channel(id), what.as_bytes())
    }
}

/// `X-Hub-Signature-256` of `body` under `secret`.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

pub(crate) fn signed(path: &str, secret: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("X-Hub-Signature-256", signature(secret, body.as_bytes()))
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// A webhook of channel `id` whose list `name` has these elements.
pub(crate) fn body(id: &str, name: &str, elements: &[Value]) -> Value {
    json!({"object": "whatsapp_business_account", "entry": [change(id, name, elements)]})
}

/// An entry of such a webhook.
pub(crate) fn change(id: &str, name: &str, elements: &[Value]) -> Value {
    json!({"id": format!("waba-{id}"), "changes": [{"field": "messages", "value": {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "+1 555", "phone_number_id": format!("id-{id}")},
        name: elements}}]})
}

pub(crate) fn status(wamid: &str, word: &str) -> Value {
    json!({"id": wamid, "status": word, "timestamp": SECONDS.to_string(),
        "recipient_id": "4915112345678"})
}

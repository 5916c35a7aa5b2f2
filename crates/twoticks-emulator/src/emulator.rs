//! The emulator as what stands around a server: its doors beside the server's, an eye on what is
//! refused, callers whom nobody has told of, and beginning anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;
use twoticks_core::clock::{Clock as _, Time};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_server::app::App;
use twoticks_server::rehearsal::Rehearsal;
use twoticks_store::directory::model::{AccessKey, Account, Channel, Number, Owner, StatusSource};
use twoticks_store::directory::names::{AccessKeyId, Secret, Uid};
use twoticks_store::directory::{self, Change, Directory};
use twoticks_store::ledger::Ledger;
use twoticks_store::memory::MemoryLedger;

use crate::dice::{mix, seed_of, seed_of_name};
use crate::doors;
use crate::fixtures::{FixtureError, Fixtures, has_history, number_of};
use crate::graph::{self, Desk};
use crate::renewable::Renewable;
use crate::tenants;
use crate::whatsapp::{Config, WhatsApp};

/// How many refusals are remembered.
const ERRORS_MAX: usize = 1_000;
/// How long calls that are under way may go on using a ledger that is replaced.
const USED_FOR_MAX: Duration = Duration::from_secs(20);
/// After which time it is looked at again.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest refusal that is looked into, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What an emulator is.
pub struct Emulator {
    /// What pages say of their figures.
    pub label: &'static str,
    /// The WhatsApp behind it.
    pub whatsapp: Arc<WhatsApp>,
    renewal: OnceLock<Renewal>,
    /// Whether it takes any access key.
    pub any_key: Option<AnyKey>,
    errors: Mutex<VecDeque<Refused>>,
    /// How many times the account of a key was made anew.
    generations: Mutex<HashMap<String, u64>>,
    /// Held while an account is made, so that two calls with a new key make one.
    introducing: AsyncMutex<()>,
    /// What the Graph doors remember.
    pub(crate) desk: Desk,
}

/// Any access key id names an account of its own.
pub struct AnyKey {
    /// The secret that all of them sign with; without one nothing is checked.
    pub secret: Option<Secret>,
}

/// A ledger and a directory to begin anew with; the ones before were closed.
pub type Fresh = (Arc<dyn Ledger>, Arc<dyn Directory>);

/// How an emulator begins anew.
pub struct Renewal {
    /// The ledger that is in use.
    pub ledger: Arc<Renewable<dyn Ledger>>,
    /// The directory that is in use.
    pub directory: Arc<Renewable<dyn Directory>>,
    /// Makes an empty ledger and an empty directory; may block.
    pub fresh: Arc<dyn Fn() -> Result<Fresh, String> + Send + Sync>,
    /// What it was set to at the start, and how fast its clock went.
    pub config: Config,
    /// See `config`.
    pub speed: u32,
    /// Who is there from the start, with the same keys each time.
    pub founding: Vec<Change>,
    /// What is loaded at the start.
    pub fixtures: Option<Fixtures>,
}

/// A call or a webhook that was refused, as it is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) at: Time,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) action: Option<String>,
    pub(crate) access_key_id: Option<String>,
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) request_id: Option<String>,
}

/// Why it did not begin anew.
#[derive(Debug, thiserror::Error)]
pub enum NotReset {
    /// A demo lives on in its folder.
    #[error("a demo does not begin anew while it runs; stop it and remove its folder")]
    Demo,
    /// What it keeps could not be replaced.
    #[error("the emulator cannot begin anew: {0}")]
    Store(String),
    /// Who was there from the start cannot be made again.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// What was loaded at the start cannot be loaded again.
    #[error(transparent)]
    Fixtures(#[from] FixtureError),
    /// The key is of the account that everything began with.
    #[error(
        "the access key `{0}` is of the account that is there from the start; reset without `key` \
         begins anew"
    )]
    First(String),
    /// The key names no account; says what would do.
    #[error("{0}")]
    NoAccount(String),
}

impl Emulator {
    /// An emulator around `whatsapp`.
    #[must_use]
    pub fn new(label: &'static str, whatsapp: Arc<WhatsApp>) -> Self {
        Self {
            label,
            whatsapp,
            renewal: OnceLock::new(),
            any_key: None,
            errors: Mutex::default(),
            generations: Mutex::default(),
            introducing: AsyncMutex::default(),
            desk: Desk::default(),
        }
    }

    /// From now on it can begin anew. A second way to do so is not taken.
    pub fn can_renew(&self, renewal: Renewal) {
        drop(self.renewal.set(renewal));
    }

    /// Forgets everything that was counted, sent and planned; keys, and what was there at the
    /// start, are as they were. What is under way ends before.
    ///
    /// # Errors
    /// [`NotReset`].
    pub async fn reset(&self, app: &App, seed: Option<u64>) -> Result<(), NotReset> {
        let renewal = self.renewal.get().ok_or(NotReset::Demo)?;
        let config = self.whatsapp.config();
        let config = Config { seed: seed.unwrap_or(config.seed), ..renewal.config };
        let _alone = self.introducing.lock().await;
        let begin = async {
            let Renewal { ledger, directory, fresh, founding, .. } = renewal;
            close(ledger).await?;
            let fresh = Arc::clone(fresh);
            let made = tokio::task::spawn_blocking(move || fresh()).await;
            let made = made.unwrap_or_else(|error| Err(error.to_string()));
            let (new_ledger, new_directory) = made.map_err(NotReset::Store)?;
            new_directory.change(founding.clone()).await?;
            drop(ledger.replace(new_ledger));
            drop(directory.replace(new_directory));
            Ok::<_, NotReset>(())
        };
        self.whatsapp.reset(config, renewal.speed, begin).await?;
        self.errors().clear();
        self.desk.faults.clear();
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(fixtures) = &renewal.fixtures
            && let Some(account) = tenants::first_account(&app.directory.snapshot())
        {
            fixtures.load(app, &self.whatsapp, &account.uid).await?;
        }
        Ok(())
    }

    /// Makes the account of a key anew: its channels, numbers and templates, and what was counted
    /// of them. The others see nothing of it.
    ///
    /// # Errors
    /// [`NotReset`].
    pub async fn reset_account(&self, app: &App, key: &str) -> Result<(), NotReset> {
        let _alone = self.introducing.lock().await;
        let snapshot = app.directory.snapshot();
        let account = self.account_of(app, key);
        let account = account.ok_or_else(|| NotReset::NoAccount(self.no_account(key)))?;
        if tenants::first_account(&snapshot).is_some_and(|first| first.uid == account) {
            return Err(NotReset::First(key.to_owned()));
        }
        let channels = snapshot.channels_of(&account);
        channels.iter().for_each(|channel| self.whatsapp.forget(&channel.id));
        let mut changes: Vec<Change> =
            channels.iter().map(|channel| Change::RemoveChannel(channel.id.clone())).collect();
        changes.extend(self.unused_line(app, key, &account).await?);
        app.directory.change(changes).await?;
        self.errors().retain(|refused| refused.access_key_id.as_deref() != Some(key));
        Ok(())
    }

    /// A channel that the account of a key has not had yet: also none that it had before a restart.
    async fn unused_line(
        &self,
        app: &App,
        key: &str,
        account: &Uid,
    ) -> Result<Vec<Change>, NotReset> {
        loop {
            let generation = {
                let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
                let generation = all.entry(key.to_owned()).or_default();
                *generation += 1;
                *generation
            };
            let line = self.line(app, key, account, generation);
            let Some(Change::AddChannel(channel)) = line.first() else { return Ok(line) };
            let is_there = app.directory.snapshot().channel(&channel.id).is_some();
            let asked = has_history(app, &channel.id).await;
            if !is_there && !asked.map_err(|error| NotReset::Store(error.to_string()))? {
                return Ok(line);
            }
        }
    }

    /// The account that a key acts for.
    #[must_use]
    pub fn account_of(&self, app: &App, key: &str) -> Option<Uid> {
        let principal = app.directory.snapshot().principal(key)?;
        Some(principal.account().uid.clone())
    }

    /// Why a key names no account, and what would do.
    pub(crate) fn no_account(&self, key: &str) -> String {
        match AccessKeyId::new(key) {
            Err(why) => why.to_string(),
            Ok(_) if self.any_key.is_some() => {
                format!("the access key `{key}` has no account; the first call with it makes one")
            }
            Ok(_) => format!("there is no access key `{key}`"),
        }
    }

    /// The channel of an account that a key has made, with a number of its own.
    fn line(&self, app: &App, key: &str, account: &Uid, generation: u64) -> Vec<Change> {
        let seed = seed_of(seed_of_name(0x6c_696e_6573, key), generation);
        let snapshot = app.directory.snapshot();
        let text = |number: u64| format!("{number:016x}");
        let id = ChannelId::new(&format!("cams-{}", text(seed))).expect("it is visible ASCII");
        // One app secret for all: a webhook without a channel tries every one there is.
        let shared = snapshot.channels().find_map(|channel| channel.app_secrets.last().cloned());
        let made = |of: u64| {
            let (one, other) = (seed_of(seed, of), seed_of(seed, of + 100));
            Secret::new(&format!("{}{}", text(one), text(other))).expect("digits make a secret")
        };
        let channel = Channel {
            id: id.clone(),
            account: account.clone(),
            name: Text::lossy(key),
            waba_id: Some(Text::lossy(&(mix(seed) >> 14).to_string())),
            app_secrets: vec![shared.unwrap_or_else(|| made(1))],
            verify_token: made(2),
            receipts_secret: made(3),
            status_source: StatusSource::CloudApi,
            connection: None,
        };
        // Others may have been given the same by chance: one in 10^10 each.
        let mut index = 0;
        let mut phone_number = number_of(&id, index);
        while snapshot.number(&phone_number).is_some() {
            index += 1;
            phone_number = number_of(&id, index);
        }
        let number = Number {
            phone_number_id: Text::lossy(&format!("10{phone_number}")),
            phone_number,
            channel: id,
            graph: None,
        };
        vec![Change::AddChannel(channel), Change::PutNumber(number)]
    }

    pub(crate) fn errors(&self) -> MutexGuard<'_, VecDeque<Refused>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, refused: Refused) {
        let mut errors = self.errors();
        if errors.len() >= ERRORS_MAX {
            errors.pop_front();
        }
        errors.push_back(refused);
    }
}

/// Closes the ledger and waits until nobody uses it any more, so that its folder can be taken
/// again. What is to be recorded meanwhile is refused, as by a server that stops.
async fn close(ledger: &Renewable<dyn Ledger>) -> Result<(), NotReset> {
    let failed = |error: twoticks_store::error::Error| NotReset::Store(error.to_string());
    let closed = Arc::new(MemoryLedger::new());
    closed.close().await.map_err(failed)?;
    let old = ledger.replace(closed);
    old.close().await.map_err(failed)?;
    let mut waited = Duration::ZERO;
    while Arc::strong_count(&old) > 1 {
        if waited > USED_FOR_MAX {
            let why = format!("its ledger is still used after {} s", USED_FOR_MAX.as_secs());
            return Err(NotReset::Store(why));
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
    Ok(())
}

/// The uid of the account that a key makes.
fn uid_of(key: &str) -> Uid {
    let digits = seed_of_name(0x75_6964, key) % 1_000_000_000_000_000;
    Uid::new(&format!("1{digits:015}")).expect("a 1 and 15 digits make a uid")
}

#[async_trait]
impl Rehearsal for Emulator {
    fn label(&self) -> &'static str {
        self.label
    }

    fn doors(self: Arc<Self>, app: &Arc<App>, doors: Router) -> Router {
        let watched = doors.layer(from_fn_with_state(Arc::clone(&self), watch));
        let all = watched.merge(doors::routes(Arc::clone(app), Arc::clone(&self)));
        graph::beside(all, Arc::clone(app), self)
    }

    async fn introduce(&self, app: &App, access_key_id: &str) {
        let Some(any_key) = &self.any_key else { return };
        let is_known = || app.directory.snapshot().principal(access_key_id).is_some();
        if is_known() {
            return;
        }
        let Ok(id) = AccessKeyId::new(access_key_id) else { return };
        let _alone = self.introducing.lock().await;
        if is_known() {
            return;
        }
        let uid = uid_of(access_key_id);
        let nobodys = || Secret::new(access_key_id).ok();
        let Some(secret) = any_key.secret.clone().or_else(nobodys) else { return };
        let name = Text::lossy(access_key_id);
        let mut changes = vec![
            Change::AddAccount(Account { uid: uid.clone(), name, subscribed: true }),
            Change::AddKey(AccessKey {
                id,
                secret,
                owner: Owner::Root(uid.clone()),
                active: true,
                rsa_public_key: None,
                v1_allowed: true,
            }),
        ];
        changes.extend(self.line(app, access_key_id, &uid, 0));
        if let Err(error) = app.directory.change(changes).await {
            warn!(key.id = access_key_id, "no account for `{access_key_id}`: {error}");
        }
    }

    fn believes_callers(&self) -> bool {
        self.any_key.as_ref().is_some_and(|any_key| any_key.secret.is_none())
    }
}

/// Remembers what was refused.
async fn watch(State(emulator): State<Arc<Emulator>>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let action = asked_for(request.headers(), request.uri().query());
    let key = claimed_key(request.headers(), request.uri().query());
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = match Limited::new(body, REFUSAL_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let field = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let short = |text: String| text.chars().take(256).collect();
    emulator.remember(Refused {
        at: emulator.whatsapp.clock().now(),
        method,
        path: path.chars().take(256).collect(),
        action: action.map(short),
        access_key_id: key.map(|key| key.chars().take(128).collect()),
        status: status.as_u16(),
        code: field("Code"),
        message: field("Message"),
        request_id: field("RequestId"),
    });
    Response::from_parts(parts, axum::body::Body::from(bytes))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(HeaderValue::as_bytes).map(|it| String::from_utf8_lossy(it).into_owned())
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let params = twoticks_wire::params::Params::parse(query?.as_bytes(), None).ok()?;
    params.get(name).map(str::to_owned)
}

fn asked_for(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    header(headers, "x-acs-action").or_else(|| parameter(query, "Action"))
}

fn claimed_key(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let authorization = header(headers, "authorization").unwrap_or_default();
    let credential = authorization.split_once("Credential=").map(|(_, rest)| rest);
    let of_header = credential.and_then(|rest| rest.split([',', ' ', '/']).next());
    of_header.map(str::to_owned).or_else(|| parameter(query, "AccessKeyId"))
}

//! A server in memory with the emulator behind it, on a port of its own and a clock that stands
//! still unless it is turned.
//!
//! Account 1 has the channels `cams-shop` and `cams-bank`, which share an app secret, and
//! `cams-outlet` with one of its own. Each has two numbers and four templates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use twoticks_core::channel::Side;
use twoticks_core::clock::{Clock as _, DAY, ManualClock, Time};
use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_core::query::{Query, Select, Subject as Counted};
use twoticks_core::totals::{Atom, Totals};
use twoticks_core::window::Window;
use twoticks_emulator::book::{Cell, Subject, Sums};
use twoticks_emulator::caller::Caller;
use twoticks_emulator::clock::TurnedClock;
use twoticks_emulator::emulator::{AnyKey, Emulator, Fresh, Renewal};
use twoticks_emulator::post::{Asked, Lane};
use twoticks_emulator::renewable::Renewable;
use twoticks_emulator::whatsapp::{Config, Standing, WhatsApp};
use twoticks_server::app::{App, Surroundings};
use twoticks_server::control::{Command, channels, execute};
use twoticks_server::run;
use twoticks_server::settings::Settings;
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::model::{AccessKey, Account, Channel, Number, Owner, StatusSource};
use twoticks_store::directory::names::{AccessKeyId, Secret, Uid};
use twoticks_store::directory::{Change, Directory as _};
use twoticks_store::error::Error;
use twoticks_store::keys::Keys;
use twoticks_store::memory::MemoryLedger;

/// 2026-10-02T08:00:00Z, a Friday.
pub(crate) const START: Time = Time(1_790_928_000_000);
pub(crate) const KEY: (&str, &str) = ("LTAIemulatortest", "a-secret-of-the-test");
/// Channel, app secret, and the numbers with their ids.
type Line = (&'static str, &'static str, [(&'static str, &'static str); 2]);
pub(crate) const CHANNELS: [Line; 3] = [
    ("cams-shop", "app-one", [("628110000001", "id-1"), ("628110000002", "id-2")]),
    ("cams-bank", "app-one", [("5511900000001", "id-3"), ("5511900000002", "id-4")]),
    ("cams-outlet", "app-two", [("4915100000001", "id-5"), ("4915100000002", "id-6")]),
];
pub(crate) const PROMO: (&str, &str) = ("promo", "id");
pub(crate) const SHIPPED: (&str, &str) = ("shipped", "id");
pub(crate) const CODE: (&str, &str) = ("code", "id");
pub(crate) const MOVED: (&str, &str) = ("moved", "id");

pub(crate) struct Emulated {
    pub(crate) app: Arc<App>,
    pub(crate) whatsapp: Arc<WhatsApp>,
    pub(crate) source: Arc<ManualClock>,
    pub(crate) lane: Lane,
    pub(crate) caller: Caller,
    /// When each channel opted in, by what the test did.
    opted_in: BTreeMap<String, Time>,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinSet<Result<usize, Error>>,
}

pub(crate) fn channel(id: &str) -> ChannelId {
    ChannelId::new(id).unwrap()
}

pub(crate) fn template((code, language): (&str, &str)) -> Template {
    Template { code: Text::new(code).unwrap(), language: Text::new(language).unwrap() }
}

impl Emulated {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_with(config, Settings::default(), None).await
    }

    pub(crate) async fn start_with(
        config: Config,
        settings: Settings,
        any_key: Option<AnyKey>,
    ) -> Self {
        let source = Arc::new(ManualClock::new(START));
        let clock = Arc::new(TurnedClock::new(source.clone()));
        let memory =
            || -> Fresh { (Arc::new(MemoryLedger::new()), Arc::new(MemoryDirectory::new())) };
        let (ledger, directory) = memory();
        let (ledger, directory) =
            (Arc::new(Renewable::new(ledger)), Arc::new(Renewable::new(directory)));
        directory.change(everything()).await.unwrap();
        let whatsapp = Arc::new(WhatsApp::new(clock.clone(), directory.clone(), config));
        let surroundings = Surroundings {
            clock,
            keys: Arc::new(Keys::from_bytes([7; 32])),
            ledger: ledger.clone(),
            directory: directory.clone(),
            carrier: whatsapp.clone(),
        };
        let mut emulator = Emulator::new("emulator", whatsapp.clone());
        emulator.any_key = any_key;
        emulator.can_renew(Renewal {
            ledger,
            directory,
            fresh: Arc::new(move || Ok(memory())),
            config,
            speed: 1,
            founding: everything(),
            fixtures: None,
        });
        let app = App::new(settings, surroundings);
        let rehearsal = Arc::new(emulator);
        let app =
            Arc::new(App { callers_clock: source.clone(), rehearsal: Some(rehearsal), ..app });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        let served = app.clone();
        serving.spawn(async move {
            let stop = async move { drop(stopped.await) };
            run::serve(served, listener, Duration::from_secs(5), stop).await
        });
        whatsapp.listen_at(address).await;
        let emulated = Self {
            app,
            whatsapp,
            source,
            lane: Lane::new(address),
            caller: Caller::new(KEY.0, KEY.1, "test"),
            opted_in: BTreeMap::new(),
            shutdown: Some(shutdown),
            serving,
        };
        emulated.put_templates().await;
        emulated
    }

    pub(crate) async fn put_templates(&self) {
        for (id, ..) in CHANNELS {
            self.put(id, PROMO, Category::Marketing, &["Beli", "!Toko", "Nanti"]).await;
            self.put(id, SHIPPED, Category::Utility, &["Lacak"]).await;
            self.put(id, CODE, Category::Authentication, &[]).await;
            self.put(id, MOVED, Category::Utility, &["Ya", "Tidak"]).await;
        }
    }

    /// Asks a door of the emulator's: the status, and the answer.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let asked = Asked {
            method: method.parse().unwrap(),
            target: format!("/_twoticks/{target}"),
            headers: Vec::new(),
            body: body.as_bytes().to_vec().into(),
        };
        let answered = self.lane.ask(&asked).await.unwrap();
        (answered.status.as_u16(), serde_json::from_slice(&answered.body).unwrap())
    }

    /// Asks a door that has to do it.
    pub(crate) async fn post(&mut self, target: &str, body: &str) -> Value {
        let (status, answer) = self.ask("POST", target, body).await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    pub(crate) async fn get(&mut self, target: &str) -> Value {
        let (status, answer) = self.ask("GET", target, "").await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    /// Asks a door that has to refuse; why it does.
    pub(crate) async fn refused(&mut self, target: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.ask("POST", target, body).await;
        assert!(status >= 400, "{target}: {answer}");
        (status, answer["error"].as_str().unwrap().to_owned())
    }

    /// Puts a template; a button that begins with `!` is a link.
    async fn put(&self, id: &str, of: (&str, &str), category: Category, buttons: &[&str]) {
        let button = |text: &&str| match text.strip_prefix('!') {
            Some(text) => Button { kind: ButtonKind::Url, text: Text::new(text).unwrap() },
            None => Button { kind: ButtonKind::QuickReply, text: Text::new(text).unwrap() },
        };
        let template = template(of);
        let new = channels::NewTemplate {
            channel: channel(id),
            code: template.code.clone(),
            language: template.language.clone(),
            name: None,
            meta_id: None,
            category,
            buttons: buttons.iter().map(button).collect(),
        };
        let command = Command::Channels(channels::Command::PutTemplate(new));
        execute(&self.app, command).await.unwrap();
        self.whatsapp.put_template(&channel(id), &template, category, Standing::Approved);
    }

    pub(crate) async fn call(&mut self, action: &str, form: &[(&str, &str)]) -> Value {
        // Callers sign by their own clock, and no test makes more than five calls of one
        // operation within one of its seconds.
        self.source.set(self.source.now().plus(200));
        let now = self.source.now();
        self.caller.call(&mut self.lane, action, form, now).await.unwrap()
    }

    pub(crate) async fn opt_in(&mut self, id: &str) {
        self.call("EnableWhatsappROIMetric", &[("CustSpaceId", id)]).await;
        // The clock stands still, so this is when it was.
        let now = self.whatsapp.clock().now();
        self.opted_in(id, now);
    }

    /// A channel has opted in at `time`; of several the earliest stands.
    pub(crate) fn opted_in(&mut self, id: &str, time: Time) {
        let known = self.opted_in.entry(id.to_owned()).or_insert(time);
        *known = (*known).min(time);
    }

    /// Sends a template to `count` people, from the first one on.
    pub(crate) async fn send(
        &mut self,
        id: &str,
        number: usize,
        of: (&str, &str),
        first: usize,
        count: usize,
    ) {
        let (_, _, numbers) = CHANNELS.into_iter().find(|(known, ..)| *known == id).unwrap();
        let from = numbers[number].0;
        let list: Vec<Value> = (first..first + count)
            .map(|it| json!({"To": format!("{}{it:07}", &from[..4])}))
            .collect();
        let list = Value::from(list).to_string();
        let form = [
            ("ChannelType", "whatsapp"),
            ("CustSpaceId", id),
            ("From", from),
            ("TemplateCode", of.0),
            ("Language", of.1),
            ("SenderList", list.as_str()),
        ];
        let answer = self.call("SendChatappMassMessage", &form).await;
        assert_eq!(answer["Code"], "OK");
    }

    pub(crate) async fn advance(&self, milliseconds: i64) {
        let to = self.whatsapp.clock().now().plus(milliseconds);
        self.whatsapp.advance(to).await.unwrap();
    }

    /// What the ledger has counted, in the form of the book.
    pub(crate) async fn counted(&self, id: &str) -> BTreeMap<Cell, Sums> {
        let first = Atom::of(START.plus(-DAY));
        let last = Atom::of(self.whatsapp.clock().now().plus(DAY));
        let windows: Vec<Window> =
            (first.0..last.0).map(|it| Window { from: Atom(it), to: Atom(it + 1) }).collect();
        let mut cells = BTreeMap::new();
        let mut selects = vec![(Select::Numbers { number: None, attribution: None }, None)];
        for category in Category::ALL {
            let select = Select::Templates { code: None, language: None, category: Some(category) };
            selects.push((select, Some(category)));
        }
        for (select, category) in selects {
            for side in [Side::Before, Side::After] {
                let query = Query {
                    channel: channel(id),
                    select: select.clone(),
                    side: Some(side),
                    windows: windows.clone(),
                };
                for point in self.app.ledger.series(query).await.unwrap() {
                    let subject = match point.subject {
                        Counted::Number(number) => Subject::Number(number),
                        Counted::Template(template) => Subject::Template(template, category),
                    };
                    let counts = side == Side::After;
                    let cell = Cell { subject, counts, atom: point.window.start() };
                    let sums = sums(&point.totals);
                    if sums != Sums::default() {
                        cells.insert(cell, sums);
                    }
                }
            }
        }
        cells
    }

    /// What the book says has to be counted.
    pub(crate) fn booked(&self, id: &str) -> BTreeMap<Cell, Sums> {
        let opt_in = self.opted_in.get(id).copied();
        self.whatsapp.read_book(|book| book.cells(&channel(id), opt_in))
    }

    /// Compares all channels, cell by cell; how many messages were sent in all.
    pub(crate) async fn compare(&self, what: &str) -> i64 {
        let mut sent = 0;
        for (id, ..) in CHANNELS {
            let (counted, booked) = (self.counted(id).await, self.booked(id));
            for (cell, sums) in &booked {
                assert_eq!(
                    counted.get(cell),
                    Some(sums),
                    "{what}: {id} {cell:?} is not counted so"
                );
            }
            for cell in counted.keys() {
                assert!(booked.contains_key(cell), "{what}: {id} {cell:?} is not in the book");
            }
            let numbers =
                booked.iter().filter(|(cell, _)| matches!(cell.subject, Subject::Number(_)));
            sent += numbers.map(|(_, sums)| sums.sent).sum::<i64>();
        }
        sent
    }

    pub(crate) async fn stop(mut self) {
        drop(self.shutdown.take());
        // A server that stops waits for those who are connected to it.
        drop(self.lane);
        let stop = CancellationToken::new();
        stop.cancel();
        self.whatsapp.run(&stop).await;
        let left = self.serving.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(left, 0, "no task is left");
    }
}

fn sums(totals: &Totals) -> Sums {
    Sums {
        sent: totals.sent,
        delivered: totals.delivered,
        read: totals.read,
        failed: totals.failures.clone().into_iter().collect(),
        clicks: totals
            .clicks
            .iter()
            .map(|(button, clicks)| (button.clone(), (clicks.all, clicks.unique)))
            .collect(),
        charged: totals
            .charged
            .iter()
            .map(|(it, count)| {
                let (category, kind) = (it.category.as_str(), it.kind.as_str());
                ((category.to_owned(), kind.to_owned()), *count)
            })
            .collect(),
        cost_micros: totals.cost.values().sum(),
        late: totals.late,
    }
}

/// One account, its key, and the channels with their numbers.
fn everything() -> Vec<Change> {
    let uid = Uid::new("1000000000000001").unwrap();
    let text = |text: &str| Text::new(text).unwrap();
    let secret = |text: &str| Secret::new(text).unwrap();
    let mut changes = vec![
        Change::AddAccount(Account { uid: uid.clone(), name: text("test"), subscribed: true }),
        Change::AddKey(AccessKey {
            id: AccessKeyId::new(KEY.0).unwrap(),
            secret: secret(KEY.1),
            owner: Owner::Root(uid.clone()),
            active: true,
            rsa_public_key: None,
            v1_allowed: true,
        }),
    ];
    for (index, (id, app_secret, numbers)) in CHANNELS.into_iter().enumerate() {
        changes.push(Change::AddChannel(Channel {
            id: channel(id),
            account: uid.clone(),
            name: text(id),
            waba_id: Some(text(&format!("30000000000{index}"))),
            app_secrets: vec![secret(app_secret)],
            verify_token: secret(&format!("verify-token-{index}")),
            receipts_secret: secret(&format!("receipts-secret-{index}")),
            status_source: StatusSource::CloudApi,
            connection: None,
        }));
        for (phone_number, phone_number_id) in numbers {
            changes.push(Change::PutNumber(Number {
                phone_number: PhoneNumber::new(phone_number).unwrap(),
                phone_number_id: text(phone_number_id),
                channel: channel(id),
                graph: None,
            }));
        }
    }
    changes
}

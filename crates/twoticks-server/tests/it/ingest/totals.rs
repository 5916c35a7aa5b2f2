//! Sums after any delivery equal those of the core's model.
//!
//! A plan says what happened: messages of two tenants with their statuses, taps, categories. The
//! facts go to the model directly; the server gets them as webhooks and receipts, repeated,
//! reordered, cut into bodies of any size up to a thousand updates, among rubbish and other
//! tenants' numbers. Every question then has to have the same answer from both.

use serde_json::{Value, json};
use twoticks_core::channel::Side;
use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Event, MessageEvent, Pricing, Sign, Source,
    Status, TapEvent,
};
use twoticks_core::ids::Template;
use twoticks_core::model::Model;
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::{ATOM, Atom};
use twoticks_core::window::Window;
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Batch, Kind, Ledger as _};

use crate::ingest::harness::{NOW, SECONDS, Server, change, channel, number, text};

/// Numbers that look random and are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(length as u64)).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.index(index + 1);
            items.swap(index, other);
        }
    }
}

/// One update as it is told, and the fact that it is.
#[derive(Clone)]
struct Told {
    /// The channel whose number it names.
    id: &'static str,
    /// The list of a webhook's value that it stands in; `receipts` for those of CAMS.
    list: &'static str,
    update: Value,
    fact: Event,
}

const TEMPLATES: [&str; 2] = ["promo", "other"];

/// A time within the eight hours before the present, in seconds.
fn second(dice: &mut Dice) -> i64 {
    SECONDS - i64::try_from(dice.roll(8 * 3_600)).unwrap()
}

fn template(dice: &mut Dice) -> Template {
    Template { code: text(TEMPLATES[dice.index(2)]), language: text("en") }
}

/// A status of a message by webhook, perhaps with our sign and a price.
fn webhook_status(server: &Server, dice: &mut Dice, id: &'static str, message: u64) -> Told {
    let wamid = format!("wamid.{message}");
    let (word, status) = [
        ("sent", Status::Sent),
        ("delivered", Status::Delivered),
        ("read", Status::Read),
        ("played", Status::Played),
        ("failed", Status::Failed),
    ][dice.index(5)];
    let seconds = second(dice);
    let mut update = json!({"id": wamid, "status": word, "timestamp": seconds.to_string()});
    // The sign of a message is always the same.
    let mut own = Dice(message + 77);
    let claim = (own.roll(3) > 0).then(|| Claim {
        source: Source::Sign,
        template: Some(template(&mut own)),
        campaign: (own.roll(2) > 0).then(|| text("spring")),
    });
    if let Some(Claim { template: Some(template), campaign, .. }) = &claim {
        let campaign = campaign.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
        update["biz_opaque_callback_data"] = json!(format!("tt1:{}:en{campaign}", template.code));
    }
    let is_delivery = matches!(status, Status::Delivered | Status::Read | Status::Played);
    let pricing = (dice.roll(2) > 0).then(|| {
        update["pricing"] =
            json!({"category": "marketing", "type": "regular", "pricing_model": "PMP"});
        Pricing {
            category: text("marketing"),
            kind: text("regular"),
            model: text("PMP"),
            cost: None,
        }
    });
    if status == Status::Failed {
        update["errors"] = json!([{"code": 131_026}]);
    }
    let group = own.roll(4) == 0;
    let mut participant = Vec::new();
    if group && dice.roll(4) > 0 {
        let who = format!("4915100000{}", dice.roll(3));
        participant.push(server.hash(HashOf::Recipient, id, &who));
        update["recipient_type"] = json!("group");
        update["recipient_participant_id"] = json!(who);
    }
    let fact = Event::Message(MessageEvent {
        channel: channel(id),
        number: number(id),
        message: server.hash(HashOf::Message, id, &wamid),
        participant,
        time: Time(seconds * 1_000),
        status: Some(status),
        error: (status == Status::Failed).then_some(131_026),
        pricing: pricing.filter(|_| is_delivery).map(Into::into),
        claim: claim.map(Into::into),
    });
    Told { id, list: "statuses", update, fact }
}

/// A tap, on a message, by sign, or on nothing that is known.
fn tap(server: &Server, dice: &mut Dice, id: &'static str, message: u64) -> Told {
    let (seconds, inbound) = (second(dice), format!("inbound.{}", dice.roll(40)));
    let label = ["Yes", "No"][dice.index(2)];
    let mut button = json!({"text": label});
    let mut update = json!({"id": inbound, "type": "button", "timestamp": seconds});
    let on = (dice.roll(3) > 0).then(|| format!("wamid.{message}"));
    if let Some(wamid) = &on {
        update["context"] = json!({"id": wamid});
    }
    let sign = (dice.roll(2) > 0).then(|| {
        let template = template(dice);
        button["payload"] = json!(format!("tt1:{}:en|x", template.code));
        Sign { template, campaign: None }
    });
    update["button"] = button;
    let fact = Event::Tap(TapEvent {
        channel: channel(id),
        number: number(id),
        id: server.hash(HashOf::Inbound, id, &inbound),
        time: Time(seconds * 1_000),
        button: Button { kind: ButtonKind::QuickReply, text: text(label) },
        message: on.map(|wamid| server.hash(HashOf::Message, id, &wamid)),
        sign,
    });
    Told { id, list: "messages", update, fact }
}

/// A status of a message by receipt.
fn receipt_status(server: &Server, dice: &mut Dice, message: u64) -> Told {
    let (word, status) = [
        ("Sent", Status::Sent),
        ("Delivered", Status::Delivered),
        ("Read", Status::Read),
        ("Failed", Status::Failed),
    ][dice.index(4)];
    let milliseconds = second(dice) * 1_000 + 123;
    let template = template(&mut Dice(message + 9));
    let update = json!({"MessageId": format!("cams.{message}"), "From": number("r").as_str(),
        "Timestamp": milliseconds, "Status": word, "MsgFrameType": "template",
        "TemplateCode": template.code, "Language": "en", "ErrorCode": "470"});
    let fact = Event::Message(MessageEvent {
        channel: channel("r"),
        number: number("r"),
        message: server.hash(HashOf::Message, "r", &format!("cams.{message}")),
        participant: Vec::new(),
        time: Time(milliseconds),
        status: Some(status),
        error: (status == Status::Failed).then_some(470),
        pricing: None,
        claim: Some(
            Claim { source: Source::Receipt, template: Some(template), campaign: None }.into(),
        ),
    });
    Told { id: "r", list: "receipts", update, fact }
}

fn plan(server: &Server, dice: &mut Dice, size: usize) -> Vec<Told> {
    (0..size)
        .map(|_| {
            let id = ["a", "b", "z"][dice.index(3)];
            let message = dice.roll(size as u64 / 4 + 1);
            match dice.roll(8) {
                0 | 1 => tap(server, dice, id, message),
                2 => receipt_status(server, dice, message),
                _ => webhook_status(server, dice, id, message),
            }
        })
        .collect()
}

/// Tells a batch: receipts by their door, the rest in one webhook per tenant, an entry per
/// channel, with rubbish and a stranger's number in between.
async fn tell(server: &Server, batch: &[Told]) {
    let receipts: Vec<&Value> =
        batch.iter().filter(|told| told.list == "receipts").map(|told| &told.update).collect();
    if !receipts.is_empty() {
        let body = json!(receipts).to_string();
        let answer = server.post("/webhooks/cams/receipts-secret-r", body).await;
        assert_eq!(answer.status, 200);
    }
    for (secret, ids) in [("shared-secret", ["a", "b"].as_slice()), ("secret-z", &["z"])] {
        let mut entries = vec![change("nobody", "statuses", &[json!({"id": 1})])];
        for id in ids {
            for list in ["statuses", "messages"] {
                let told: Vec<Value> = batch
                    .iter()
                    .filter(|told| told.id == *id && told.list == list)
                    .map(|told| told.update.clone())
                    .collect();
                if !told.is_empty() {
                    entries.push(change(id, list, &told));
                }
            }
        }
        server.tell(secret, &json!({"entry": entries})).await;
    }
}

/// Questions about everything that the channel can be asked.
fn questions(id: &str) -> Vec<Query> {
    let end = Atom::of(NOW).0 + 1;
    let windows: Vec<Window> = (end - 36..end)
        .step_by(2)
        .map(|from| Window { from: Atom(from), to: Atom(from + 2) })
        .collect();
    let mut questions = Vec::new();
    for side in [None, Some(Side::Before), Some(Side::After)] {
        for select in [
            Select::Numbers { number: None, attribution: None },
            Select::Templates { code: None, language: None, category: None },
            Select::Templates { code: None, language: None, category: Some(Category::Marketing) },
        ] {
            let (channel, windows) = (channel(id), windows.clone());
            questions.push(Query { channel, select, side, windows });
        }
    }
    questions
}

async fn assert_equal(server: &Server, model: &Model, what: &str) {
    let mut points = 0;
    for id in ["a", "b", "c", "r", "z"] {
        for question in questions(id) {
            let expected = model.points(&question);
            points += expected.len();
            let answered = server.ledger.series(question.clone()).await.unwrap();
            assert_eq!(answered, expected, "{what}: {question:?}");
        }
    }
    assert!(points > 20, "{what}: there was something to compare");
}

/// An opt-in in the middle of it all, and what the categories of the templates are.
fn surroundings() -> Vec<Event> {
    let opt_in = |id| Event::OptIn { channel: channel(id), time: Time(NOW.0 - 4 * 3_600_000) };
    let category = |id, code, category, ago: i64, previous| {
        Event::Category(CategoryEvent {
            channel: channel(id),
            template: Template { code: text(code), language: text("en") },
            effective: Time(NOW.0 - ago * ATOM),
            category,
            previous,
        })
    };
    let (marketing, utility) = (Category::Marketing, Category::Utility);
    vec![
        opt_in("a"),
        opt_in("z"),
        category("a", "promo", marketing, 16, Some(utility)),
        category("b", "promo", marketing, 1_000, None),
        category("z", "other", utility, 1_000, None),
    ]
}

async fn run(seed: u64, size: usize, batch_max: u64) {
    let server = Server::new().await;
    let mut dice = Dice(seed);
    let mut model = Model::default();
    let told = plan(&server, &mut dice, size);
    for told in &told {
        assert!(model.record(NOW, &told.fact), "{:?}", told.fact);
    }
    let facts = surroundings();
    facts.iter().for_each(|fact| assert!(model.record(NOW, fact)));

    // Everything at least once, a third of it twice, in another order.
    let mut delivery = told.clone();
    let repeated = told.len() / 3;
    delivery.extend(told.into_iter().take(repeated));
    dice.shuffle(&mut delivery);
    let mut rest = delivery.as_slice();
    while !rest.is_empty() {
        let length = usize::try_from(1 + dice.roll(batch_max)).unwrap().min(rest.len());
        let (batch, after) = rest.split_at(length);
        tell(&server, batch).await;
        rest = after;
        if rest.len() <= delivery.len() / 2 && server.ledger.counters().entries > 0 {
            // The opt-in and the categories become known while webhooks pour in.
            for fact in &facts {
                server.ledger.record(of_fact(fact)).await.unwrap();
            }
        }
    }
    assert_equal(&server, &model, &format!("seed {seed}, {size} updates")).await;
    assert!(server.ledger.counters().duplicates > 0);
}

fn of_fact(fact: &Event) -> Batch {
    Batch {
        kind: Kind::Category,
        accepted: NOW,
        origin: String::new(),
        channel: Some(fact.channel().clone()),
        group: None,
        events: vec![fact.clone()],
        dead: Vec::new(),
        resolves: None,
        body: Vec::new(),
    }
}

#[tokio::test]
async fn any_delivery_gives_the_sums_of_the_model() {
    for seed in 1..=12 {
        run(seed * 0x9e37_79b9, 120, 40).await;
    }
}

#[tokio::test]
async fn bodies_of_a_thousand_updates_give_the_sums_of_the_model() {
    run(0x00c0_ffee, 800, 998).await;
}

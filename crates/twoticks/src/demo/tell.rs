//! Telling the story to the server, through its doors, at the times at which it happened.
//!
//! The clock goes forward from one thing to the next. What happens is gathered for two hours and
//! then brought, number by number, as WhatsApp's batches would: shuffled, and some of them twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_server::app::App;
use twoticks_server::control::{Command, execute, feed};
use twoticks_store::directory::names::Secret;
use twoticks_wire::signature::sign::SecretKey;

use super::client::{Caller, Client};
use super::story::{self, Dice, LENGTH, NUMBERS, OPT_IN, Send, TEMPLATES, Told, What};
use super::tenants::Tenants;
use crate::clock::StoryClock;

/// What happens within this is brought together, in milliseconds: two hours.
const SLOT: i64 = 2 * 60 * 60 * 1_000;
/// How many updates a batch has at most, as WhatsApp's do.
const UPDATES_MAX: usize = 1_000;
/// How many batches are brought a second time, in thousandths.
const REPEATED: i64 = 40;

/// What a slot brings, by the number that it is about.
type Slot = [Vec<Value>; NUMBERS.len()];

struct Teller<'a> {
    app: &'a App,
    clock: &'a StoryClock,
    caller: Caller<'a>,
    channel: &'a ChannelId,
    waba_id: &'a str,
    app_secret: &'a Secret,
    /// One for each number, so that they do not wait for each other.
    clients: Vec<Client>,
    start: i64,
    dice: Dice,
    slots: BTreeMap<i64, Slot>,
    nonce: u64,
    tap: u64,
}

/// Tells the whole story; it begins at `start`.
///
/// # Errors
/// If the server refuses a part of it.
pub(super) async fn tell(
    app: &App,
    clock: &StoryClock,
    address: SocketAddr,
    tenants: &Tenants,
    start: Time,
    seed: u64,
) -> Result<()> {
    let key = SecretKey::secret(tenants.admin.secret.expose());
    let caller = Caller { access_key_id: tenants.admin.id.as_str(), key: &key };
    let mut dice = Dice::new(seed);
    let sends = story::sends(&mut dice);
    let clients = try_join_all(NUMBERS.iter().map(|_| Client::connect(address))).await?;
    let channel = &tenants.channel;
    let mut teller = Teller {
        app,
        clock,
        caller,
        channel: &channel.id,
        waba_id: channel.waba_id.as_ref().context("the demo's channel has a WABA")?.as_str(),
        app_secret: channel.app_secrets.last().context("the demo's channel has an app secret")?,
        clients,
        start: start.0,
        dice,
        slots: BTreeMap::new(),
        nonce: 0,
        tap: 0,
    };
    let mut has_opted_in = false;
    for send in sends {
        if !has_opted_in && send.at >= OPT_IN {
            has_opted_in = true;
            teller.opt_in().await?;
        }
        teller.bring_until(send.at).await?;
        teller.send(&send).await?;
    }
    teller.bring_until(LENGTH).await?;
    clock.go_live();
    Ok(())
}

impl Teller<'_> {
    fn go_to(&self, at: i64) -> Time {
        let time = Time(self.start + at);
        self.clock.show(time);
        time
    }

    async fn call(&mut self, now: Time, action: &str, form: Vec<(&str, String)>) -> Result<Value> {
        self.nonce += 1;
        let nonce = format!("demo-{}-{}", self.start, self.nonce);
        let form = form.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let client = self.clients.first_mut().context("there is a connection")?;
        client.call(&self.caller, now, &nonce, action, form).await
    }

    async fn opt_in(&mut self) -> Result<()> {
        self.bring_until(OPT_IN).await?;
        let now = self.go_to(OPT_IN);
        let form = vec![("CustSpaceId", self.channel.to_string())];
        self.call(now, "EnableWhatsappROIMetric", form).await?;
        Ok(())
    }

    /// Makes the send, and decides what becomes of each of its messages.
    async fn send(&mut self, send: &Send) -> Result<()> {
        let now = self.go_to(send.at);
        let template = TEMPLATES.get(send.template).context("a send has a template")?;
        let (from, _) = NUMBERS.get(template.number).context("a template has a number")?;
        let list: Vec<Value> = send.recipients.iter().map(|to| json!({"To": to})).collect();
        let form = vec![
            ("ChannelType", "whatsapp".to_owned()),
            ("CustSpaceId", self.channel.to_string()),
            ("From", (*from).to_owned()),
            ("TemplateCode", template.code.to_owned()),
            ("Language", template.language.to_owned()),
            ("SenderList", Value::from(list).to_string()),
        ];
        let answer = self.call(now, "SendChatappMassMessage", form).await?;
        let group = answer.get("GroupMessageId").and_then(Value::as_str);
        let group = group.context("the mass send has an id")?.to_owned();
        let list = feed::Command::ListMessages { group, channel: Some(self.channel.clone()) };
        let messages = Box::pin(execute(self.app, Command::Data(list))).await?;
        for message in messages.as_array().into_iter().flatten() {
            let field = |name: &str| message.get(name).and_then(Value::as_str);
            let wamid = field("message_id").context("a recipient has a message id")?;
            let to = field("to").context("a message has a recipient")?;
            for told in story::fate(&mut self.dice, template, send.at) {
                // What comes after the end is never told.
                if told.comes < LENGTH {
                    let update = self.update(template, to, wamid, &told);
                    let slot = self.slots.entry(told.comes.div_euclid(SLOT)).or_default();
                    if let Some(updates) = slot.get_mut(template.number) {
                        updates.push(update);
                    }
                }
            }
        }
        Ok(())
    }

    /// What a webhook says, as an element of `statuses` or `messages`.
    fn update(&mut self, template: &story::Template, to: &str, wamid: &str, told: &Told) -> Value {
        let timestamp = (self.start + told.at).div_euclid(1_000).to_string();
        let status = |word: &str| {
            json!({
                "id": wamid, "status": word, "timestamp": timestamp, "recipient_id": to,
                "pricing": {
                    "billable": true, "pricing_model": "PMP", "type": "regular",
                    "category": template.category.as_str(),
                },
            })
        };
        match &told.what {
            What::Sent => status("sent"),
            What::Delivered => status("delivered"),
            What::Read => status("read"),
            What::Failed(code, title) => json!({
                "id": wamid, "status": "failed", "timestamp": timestamp, "recipient_id": to,
                "errors": [{"code": code, "title": title, "message": title}],
            }),
            What::Tapped(text) => {
                self.tap += 1;
                json!({
                    "from": to, "id": format!("wamid.demo-tap-{}-{}", self.start, self.tap),
                    "timestamp": timestamp, "type": "button",
                    "button": {"payload": text, "text": text},
                    "context": {"id": wamid},
                })
            }
        }
    }

    /// Brings all slots that end at `at` or before.
    async fn bring_until(&mut self, at: i64) -> Result<()> {
        while let Some(first) = self.slots.first_entry() {
            let end = (first.key() + 1) * SLOT;
            if end > at {
                break;
            }
            let mut slot = first.remove();
            self.go_to(end);
            let (dice, waba_id) = (&mut self.dice, self.waba_id);
            let bringing = slot.iter_mut().zip(NUMBERS).zip(&mut self.clients).map(
                |((updates, number), client)| {
                    dice.shuffle(updates);
                    let times = if dice.chance(REPEATED) { 2 } else { 1 };
                    let bodies = updates.chunks(UPDATES_MAX);
                    let bodies = bodies.map(|updates| webhook(waba_id, number, updates)).collect();
                    bring(client, self.app_secret, bodies, times)
                },
            );
            let bringing: Vec<_> = bringing.collect();
            try_join_all(bringing).await?;
        }
        Ok(())
    }
}

async fn bring(
    client: &mut Client,
    secret: &Secret,
    bodies: Vec<Value>,
    times: usize,
) -> Result<()> {
    for body in bodies {
        for _ in 0..times {
            client.webhook(secret.expose(), &body).await?;
        }
    }
    Ok(())
}

/// A body in the shape of the Cloud API, with statuses and inbound messages of one number.
fn webhook(waba_id: &str, (number, number_id): (&str, &str), updates: &[Value]) -> Value {
    let (messages, statuses): (Vec<&Value>, Vec<&Value>) =
        updates.iter().partition(|update| update.get("from").is_some());
    let metadata = json!({"display_phone_number": number, "phone_number_id": number_id});
    let change = |name: &str, items: Vec<&Value>| {
        json!({
            "field": "messages",
            "value": {"messaging_product": "whatsapp", "metadata": metadata, name: items},
        })
    };
    let mut changes = Vec::new();
    if !statuses.is_empty() {
        changes.push(change("statuses", statuses));
    }
    if !messages.is_empty() {
        changes.push(change("messages", messages));
    }
    json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": waba_id, "changes": changes}],
    })
}

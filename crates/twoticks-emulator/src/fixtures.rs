//! What a test wants to be there: channels, numbers, templates and opt-ins, as JSON.
//!
//! A fixture says how things are, so loading it twice changes nothing. What was there before and
//! is otherwise now is told by webhook, as WhatsApp does. To add a field: here, and in
//! docs/guide/testing.md. What always holds: an unknown field is refused by name, with those that
//! there are; of a refused fixture nothing is loaded.

use serde::Deserialize;
use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_core::event::{Button, ButtonKind, Category, CategoryEvent, Event};
use twoticks_core::ids::{ChannelId, InvalidId, PhoneNumber, Template, Text};
use twoticks_server::app::App;
use twoticks_store::directory::model::{Channel, Number, StatusSource, TemplateRecord};
use twoticks_store::directory::names::{Secret, Uid};
use twoticks_store::directory::{self, Change, Snapshot};
use twoticks_store::error;
use twoticks_store::ledger::{Batch, Kind};

use crate::chaos::Chaos;
use crate::clock::LATEST;
use crate::dice::seed_of_name;
use crate::doors::config::outcome;
use crate::graph::{access_token, app_id};
use crate::life::Outcome;
use crate::parameters::{Instant, by_word};
use crate::whatsapp::{Liking, Quality, Standing, WhatsApp};

/// Everything that a fixture can hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fixtures {
    channels: Vec<ChannelFixture>,
    numbers: Vec<NumberFixture>,
    templates: Vec<TemplateFixture>,
    opt_ins: Vec<OptInFixture>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelFixture {
    id: String,
    name: Option<String>,
    waba_id: Option<String>,
    app_secret: Option<String>,
    verify_token: Option<String>,
    receipts_secret: Option<String>,
    /// Whether opened links are told (Marketing Messages API).
    links: Option<bool>,
    chaos: Option<String>,
    outcome: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NumberFixture {
    phone_number: Option<String>,
    phone_number_id: Option<String>,
    channel: Option<String>,
    quality: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFixture {
    code: String,
    language: String,
    channel: Option<String>,
    name: Option<String>,
    meta_id: Option<String>,
    category: String,
    status: Option<String>,
    #[serde(default)]
    buttons: Vec<ButtonFixture>,
    /// From when on its category holds, if that is another than before; else from now on.
    category_from: Option<Instant>,
    appeal: Option<i64>,
    limited: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ButtonFixture {
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptInFixture {
    channel: Option<String>,
    time: Option<Instant>,
}

/// Why a fixture is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// It is no JSON object, or has a field that there is not.
    #[error("the fixture cannot be read: {0}")]
    Unreadable(String),
    /// A name in it will not do.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A word in it is none of those that there are.
    #[error("{0}")]
    Word(String),
    /// It names no channel, and there is none or there are several.
    #[error("the {what} names no channel, and the account has {count}; add `channel`")]
    WhichChannel {
        /// What should have named one.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The channel is not there, or is somebody else's.
    #[error("there is no channel `{0}` in this account; add it under `channels`")]
    NoChannel(String),
    /// The number is somebody else's.
    #[error("the number `{0}` is another account's; leave `phone_number` out to get one")]
    Taken(String),
    /// What was counted of a channel before its account began anew is still there.
    #[error(
        "the channel `{0}` was there before its account was reset, and what was counted of it still \
         is; name another one, or reset without `key`"
    )]
    Used(ChannelId),
    /// The directory does not take it.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// The ledger does not take it.
    #[error(transparent)]
    Ledger(#[from] error::Error),
}

/// The kinds of buttons, by Meta's words.
const BUTTONS: [(&str, ButtonKind); 3] = [
    ("quick_reply", ButtonKind::QuickReply),
    ("url", ButtonKind::Url),
    ("phone_number", ButtonKind::PhoneNumber),
];

/// What of a fixture is WhatsApp's to know.
#[derive(Default)]
struct ToTell {
    links: Vec<(ChannelId, bool)>,
    chaos: Vec<(ChannelId, Chaos)>,
    outcomes: Vec<(ChannelId, Outcome)>,
    qualities: Vec<(ChannelId, PhoneNumber, Quality)>,
    templates: Vec<TellTemplate>,
    opt_ins: Vec<(ChannelId, Time)>,
}

struct TellTemplate {
    channel: ChannelId,
    template: Template,
    category: Category,
    from: Option<Time>,
    standing: Standing,
    liking: Liking,
    is_new: bool,
}

impl Fixtures {
    /// Reads JSON.
    ///
    /// # Errors
    /// [`FixtureError::Unreadable`], with the name of an unknown field and of those that there are.
    pub fn read(json: &[u8]) -> Result<Self, FixtureError> {
        if json.trim_ascii_start().first() == Some(&b'[') {
            let why = "it is a list and no object; there are `channels`, `numbers`, `templates`, \
                       `opt_ins`";
            return Err(FixtureError::Unreadable(why.to_owned()));
        }
        serde_json::from_slice(json).map_err(|error| FixtureError::Unreadable(error.to_string()))
    }

    /// Makes it so in the account `uid`.
    ///
    /// # Errors
    /// [`FixtureError`]; then nothing has changed, unless it is the ledger that fails: load it
    /// again.
    pub async fn load(
        &self,
        app: &App,
        whatsapp: &WhatsApp,
        uid: &Uid,
    ) -> Result<(), FixtureError> {
        let now = app.clock.now();
        let snapshot = app.directory.snapshot();
        let (changes, tell) = self.changes(&snapshot, uid, now)?;
        for change in &changes {
            if let Change::AddChannel(channel) = change
                && has_history(app, &channel.id).await?
            {
                return Err(FixtureError::Used(channel.id.clone()));
            }
        }
        app.directory.change(changes).await?;
        app.pass_on.changed(app).await;
        for (channel, tells) in tell.links {
            whatsapp.tell_links(&channel, tells);
        }
        for (channel, chaos) in tell.chaos {
            whatsapp.set_chaos(Some(&channel), Some(chaos));
        }
        for (channel, outcome) in tell.outcomes {
            whatsapp.set_outcome(&channel, outcome);
        }
        for (channel, number, quality) in tell.qualities {
            whatsapp.set_quality(&channel, &number, quality);
        }
        for it in tell.templates {
            if it.is_new {
                categorise(app, (&it.channel, &it.template), it.category, now).await?;
            }
            let from = it.from.filter(|_| !it.is_new);
            match from {
                None => {
                    whatsapp.put_template(&it.channel, &it.template, it.category, it.standing);
                }
                Some(from) => {
                    whatsapp.stand(&it.channel, &it.template, it.standing);
                    whatsapp.recategorise(&it.channel, &it.template, it.category, from);
                }
            }
            whatsapp.like(&it.channel, &it.template, it.liking);
        }
        for (channel, time) in tell.opt_ins {
            let event = Event::OptIn { channel: channel.clone(), time };
            app.ledger.record(batch(Kind::OptIn, channel, now, event)).await?;
        }
        Ok(())
    }

    fn changes(
        &self,
        snapshot: &Snapshot,
        uid: &Uid,
        now: Time,
    ) -> Result<(Vec<Change>, ToTell), FixtureError> {
        let mut tell = ToTell::default();
        let mut changes = Vec::new();
        let mut known: Vec<ChannelId> =
            snapshot.channels_of(uid).iter().map(|channel| channel.id.clone()).collect();
        for it in &self.channels {
            let channel = it.channel(snapshot, uid)?;
            let is_new = !known.contains(&channel.id);
            tell.links.extend(it.links.map(|links| (channel.id.clone(), links)));
            if let Some(chaos) = &it.chaos {
                let chaos = Chaos::parse(chaos).map_err(|it| FixtureError::Word(it.to_string()))?;
                tell.chaos.push((channel.id.clone(), chaos));
            }
            if let Some(word) = &it.outcome {
                let ends = outcome(word).map_err(FixtureError::Word)?;
                tell.outcomes.push((channel.id.clone(), ends));
            }
            if is_new {
                known.push(channel.id.clone());
                changes.push(Change::AddChannel(channel));
            } else {
                changes.push(Change::UpdateChannel(channel));
            }
        }
        let which = |what: &'static str, named: Option<&String>| match (named, known.as_slice()) {
            (Some(named), _) => known
                .iter()
                .find(|id| id.as_str() == named)
                .cloned()
                .ok_or_else(|| FixtureError::NoChannel(named.clone())),
            (None, [only]) => Ok(only.clone()),
            (None, several) => Err(FixtureError::WhichChannel { what, count: several.len() }),
        };
        for (index, it) in self.numbers.iter().enumerate() {
            let channel = which("number", it.channel.as_ref())?;
            let number = it.number(snapshot, uid, channel.clone(), index)?;
            if let Some(word) = &it.quality {
                let quality =
                    by_word("quality", &Quality::ALL, word).map_err(FixtureError::Word)?;
                tell.qualities.push((channel, number.phone_number.clone(), quality));
            }
            changes.push(Change::PutNumber(number));
        }
        for it in &self.templates {
            let channel = which("template", it.channel.as_ref())?;
            let (record, template) = it.template(snapshot, channel, now)?;
            changes.push(Change::PutTemplate(record));
            tell.templates.push(template);
        }
        for it in &self.opt_ins {
            let channel = which("opt-in", it.channel.as_ref())?;
            let time = it.time.map_or(now, |Instant(time)| time);
            if !time.is_possible(now) {
                let text = "an opt-in is before 2009 or more than a day ahead of the clock";
                return Err(FixtureError::Word(text.to_owned()));
            }
            tell.opt_ins.push((channel, time));
        }
        Ok((changes, tell))
    }
}

impl ChannelFixture {
    fn channel(&self, snapshot: &Snapshot, uid: &Uid) -> Result<Channel, FixtureError> {
        let id = ChannelId::new(&self.id)?;
        let found = snapshot.channel(&id);
        let known = found.filter(|channel| channel.account == *uid);
        if found.is_some() && known.is_none() {
            let taken = "channel ids are unique over all accounts";
            return Err(FixtureError::Word(format!(
                "the channel `{id}` is another account's: {taken}"
            )));
        }
        // What is left out is as it was, or is made up from the name so that it stays the same.
        let made = |what: &str| {
            let of = format!("{what} {id}");
            let (one, other) = (seed_of_name(1, &of), seed_of_name(2, &of));
            Secret::new(&format!("{one:016x}{other:016x}"))
        };
        let secret = |given: &Option<String>, known: Option<Secret>, what: &str| match given {
            Some(text) => Secret::new(text),
            None => known.map_or_else(|| made(what), Ok),
        };
        let shared = snapshot.channels_of(uid).first();
        let app_secret = known.or(shared).and_then(|channel| channel.app_secrets.last().cloned());
        let text = |given: &Option<String>| given.as_deref().map(Text::new).transpose();
        let name = text(&self.name)?.or_else(|| known.map(|channel| channel.name.clone()));
        let waba_id = text(&self.waba_id)?.or_else(|| known.and_then(|it| it.waba_id.clone()));
        let numbered = || Text::lossy(&(seed_of_name(3, &self.id) >> 14).to_string());
        Ok(Channel {
            account: uid.clone(),
            name: name.unwrap_or_else(|| Text::lossy(&self.id)),
            waba_id: Some(waba_id.unwrap_or_else(numbered)),
            app_secrets: vec![secret(&self.app_secret, app_secret, "app")?],
            verify_token: secret(
                &self.verify_token,
                known.map(|channel| channel.verify_token.clone()),
                "verify",
            )?,
            receipts_secret: secret(
                &self.receipts_secret,
                known.map(|channel| channel.receipts_secret.clone()),
                "receipts",
            )?,
            status_source: StatusSource::CloudApi,
            connection: None,
            id,
        })
    }
}

impl NumberFixture {
    fn number(
        &self,
        snapshot: &Snapshot,
        uid: &Uid,
        channel: ChannelId,
        index: usize,
    ) -> Result<Number, FixtureError> {
        let phone_number = match &self.phone_number {
            Some(text) => PhoneNumber::new(text)?,
            None => number_of(&channel, index),
        };
        let known = snapshot.number(&phone_number);
        let is_own = |number: &Number| {
            snapshot.channel(&number.channel).is_some_and(|channel| channel.account == *uid)
        };
        if known.is_some_and(|number| !is_own(number)) {
            return Err(FixtureError::Taken(phone_number.to_string()));
        }
        let phone_number_id = match (&self.phone_number_id, known) {
            (Some(text), _) => Text::new(text)?,
            (None, Some(known)) => known.phone_number_id.clone(),
            (None, None) => Text::lossy(&format!("10{phone_number}")),
        };
        Ok(Number { phone_number, phone_number_id, channel, graph: None })
    }
}

/// The number that a channel gets when none is named: the same each time.
#[must_use]
pub fn number_of(channel: &ChannelId, index: usize) -> PhoneNumber {
    let made = seed_of_name(4, channel.as_str()) % 10_000_000_000;
    // Of a calling code that is not in use.
    PhoneNumber::new(&format!("999{made:010}{index:02}")).expect("they are digits")
}

impl TemplateFixture {
    fn template(
        &self,
        snapshot: &Snapshot,
        channel: ChannelId,
        now: Time,
    ) -> Result<(TemplateRecord, TellTemplate), FixtureError> {
        let (code, language) = (Text::new(&self.code)?, Text::new(&self.language)?);
        let categories = Category::ALL.map(|category| (category.as_str(), category));
        let lower = self.category.to_lowercase();
        let category = by_word("category", &categories, &lower).map_err(FixtureError::Word)?;
        let standing = match &self.status {
            Some(word) => by_word("status", &Standing::ALL, word).map_err(FixtureError::Word)?,
            None => Standing::Approved,
        };
        let buttons = self.buttons.iter().map(|button| {
            let kind = by_word("type", &BUTTONS, &button.kind).map_err(FixtureError::Word)?;
            Ok(Button { kind, text: Text::new(&button.text)? })
        });
        let usual = Liking::default();
        let share = |what: &str, given: Option<i64>, usual: i64, most: i64| match given {
            None => Ok(usual),
            Some(given) if (0..=most).contains(&given) => Ok(given),
            Some(given) => {
                let text = format!("`{what}` is `{given}`; 0 to {most} thousandths would do");
                Err(FixtureError::Word(text))
            }
        };
        let from = self.category_from.map(|Instant(time)| time);
        if let Some(Time(from)) = from.filter(|time| *time > LATEST) {
            let text = format!("`category_from` is `{from}`; until the year 2100 would do");
            return Err(FixtureError::Word(text));
        }
        let known = snapshot.template(&channel, &code, &language);
        let template = Template { code: code.clone(), language: language.clone() };
        let text = |given: &Option<String>| given.as_deref().map(Text::new).transpose();
        let record = TemplateRecord {
            channel: channel.clone(),
            name: text(&self.name)?.unwrap_or_else(|| code.clone()),
            meta_id: text(&self.meta_id)?,
            // A later category is told by webhook.
            category: known.map_or(category, |known| known.category),
            buttons: buttons.collect::<Result<_, FixtureError>>()?,
            graph: None,
            links: Vec::new(),
            code,
            language,
        };
        let tell = TellTemplate {
            channel,
            template,
            category,
            from: from.filter(|time| *time > now),
            standing,
            liking: Liking {
                appeal: share("appeal", self.appeal, usual.appeal, 10_000)?,
                limited: share("limited", self.limited, usual.limited, 1_000)?,
            },
            is_new: known.is_none(),
        };
        Ok((record, tell))
    }
}

/// Whether anything is known of how the messages of a channel count: it is, or has been, there.
///
/// # Errors
/// If the ledger cannot say.
pub(crate) async fn has_history(app: &App, channel: &ChannelId) -> Result<bool, error::Error> {
    let row = app.ledger.channel(channel).await?;
    Ok(row.opted_in().is_some() || row.categories().next().is_some())
}

/// A new template's category, into the journal.
///
/// # Errors
/// If the ledger does not take it.
pub(crate) async fn categorise(
    app: &App,
    (channel, template): (&ChannelId, &Template),
    category: Category,
    now: Time,
) -> Result<(), error::Error> {
    let event = Event::Category(CategoryEvent {
        channel: channel.clone(),
        template: template.clone(),
        effective: now,
        category,
        previous: None,
    });
    app.ledger.record(batch(Kind::Category, channel.clone(), now, event)).await?;
    Ok(())
}

fn batch(kind: Kind, channel: ChannelId, accepted: Time, event: Event) -> Batch {
    Batch {
        kind,
        accepted,
        origin: "fixtures".to_owned(),
        channel: Some(channel),
        group: None,
        events: vec![event],
        dead: Vec::new(),
        resolves: None,
        body: Vec::new(),
    }
}

/// What an account has, as a fixture's answer and the ready line say it.
#[must_use]
pub fn shown(snapshot: &Snapshot, uid: &Uid) -> Value {
    let channels = snapshot.channels_of(uid);
    let numbers = channels.iter().flat_map(|channel| snapshot.numbers_of(&channel.id));
    let numbers = numbers.map(|number| {
        json!({
            "phone_number": number.phone_number, "phone_number_id": number.phone_number_id,
            "channel": number.channel,
        })
    });
    let templates = channels.iter().flat_map(|channel| snapshot.templates_of(&channel.id));
    let templates = templates.map(|template| {
        json!({
            "code": template.code, "language": template.language,
            "category": template.category.as_str(), "channel": template.channel,
        })
    });
    let shown = channels.iter().map(|channel| {
        json!({
            "id": channel.id, "name": channel.name, "waba_id": channel.waba_id,
            "app_secret": channel.app_secrets.last().map(Secret::expose),
            "verify_token": channel.verify_token.expose(),
            "receipts_secret": channel.receipts_secret.expose(),
            "app_id": app_id(channel), "access_token": access_token(channel),
        })
    });
    json!({
        "account": uid,
        "channel": channels.first().map(|channel| &channel.id),
        "channels": shown.collect::<Value>(),
        "numbers": numbers.collect::<Value>(),
        "templates": templates.collect::<Value>(),
    })
}

//! Facts in short: what tests put into the ledger besides calling.

use serde::Deserialize;
use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Event, MessageEvent, Source, Status,
    TapEvent,
};
use twoticks_core::ids::{Template, Text};
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Batch, Kind};

use crate::harness::Server;
use crate::tenants::{CHANNEL, NUMBER, channel_id, number};

/// One fact, as recorded calls write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fact {
    Status {
        status: String,
        message: String,
        at: i64,
        /// Code and language.
        template: Option<(String, String)>,
        number: Option<String>,
        channel: Option<String>,
    },
    Tap {
        kind: String,
        text: String,
        id: String,
        message: Option<String>,
        at: i64,
    },
    OptIn {
        at: i64,
        channel: Option<String>,
    },
    Category {
        template: (String, String),
        category: String,
        from: i64,
        channel: Option<String>,
    },
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn template((code, language): &(String, String)) -> Template {
    Template { code: text(code), language: text(language) }
}

fn event(server: &Server, fact: &Fact) -> Event {
    let id = |channel: &Option<String>| channel_id(channel.as_deref().unwrap_or(CHANNEL));
    let hash =
        |kind, channel: &_, text: &String| server.app.keys.hash(kind, channel, text.as_bytes());
    match fact {
        Fact::Status { status, message, at, template: of, number: from, channel } => {
            let channel = id(channel);
            let status = Status::ALL.into_iter().find(|known| known.as_str() == status);
            Event::Message(MessageEvent {
                number: number(from.as_deref().unwrap_or(NUMBER)),
                message: hash(HashOf::Message, &channel, message),
                channel,
                participant: Vec::new(),
                time: Time(*at),
                status: Some(status.expect("a status")),
                error: None,
                pricing: None,
                claim: of.as_ref().map(|of| {
                    let template = Some(template(of));
                    Claim { source: Source::Send, template, campaign: None }.into()
                }),
            })
        }
        Fact::Tap { kind, text: on, id, message, at } => {
            let channel = channel_id(CHANNEL);
            let kinds = [
                ButtonKind::QuickReply,
                ButtonKind::Url,
                ButtonKind::PhoneNumber,
                ButtonKind::Interactive,
                ButtonKind::UrlMachine,
            ];
            let kind = kinds.into_iter().find(|known| known.as_str() == kind).expect("a kind");
            Event::Tap(TapEvent {
                number: number(NUMBER),
                id: hash(HashOf::Inbound, &channel, id),
                time: Time(*at),
                button: Button { kind, text: text(on) },
                message: message.as_ref().map(|it| hash(HashOf::Message, &channel, it)),
                sign: None,
                channel,
            })
        }
        Fact::OptIn { at, channel } => Event::OptIn { channel: id(channel), time: Time(*at) },
        Fact::Category { template: of, category, from, channel } => {
            Event::Category(CategoryEvent {
                channel: id(channel),
                template: template(of),
                effective: Time(*from),
                category: Category::parse(category).expect("a category"),
                previous: None,
            })
        }
    }
}

/// Records facts, all in one batch.
pub(crate) async fn record(server: &Server, facts: &[Fact]) {
    let batch = Batch {
        kind: Kind::Webhook,
        accepted: twoticks_core::clock::Clock::now(&*server.clock),
        origin: "a test".to_owned(),
        channel: None,
        group: None,
        events: facts.iter().map(|fact| event(server, fact)).collect(),
        dead: Vec::new(),
        resolves: None,
        body: Vec::new(),
    };
    server.app.ledger.record(batch).await.unwrap();
}

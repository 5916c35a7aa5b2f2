//! Events: a row for each fact in the journal, in the order in which it was acknowledged, repeats
//! included. Bodies are not in it: people are keyed hashes here as well.

use std::collections::HashSet;

use tokio::runtime::Handle;
use twoticks_core::clock::Time;
use twoticks_core::event::{
    Category, CategoryEvent, Claim, Event, MessageEvent, Pricing, Sign, Source, Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_store::journal::Position;
use twoticks_store::ledger::{Entry, Kind, Ledger};

use super::columns::{Column, integer, integer_if, json, made_if, text, text_if, time};
use super::{ControlError, Sink, Work};

/// How many entries of the journal are read together, at most; the list itself bounds their bodies.
const ENTRIES_MAX: usize = 64;
/// About so many facts are read together: where entries have many, fewer entries are.
const FACTS: usize = 16_384;

/// A fact and the entry that it came with.
pub(super) struct Row {
    position: Position,
    index: usize,
    kind: Kind,
    accepted: Time,
    event: Event,
}

/// Gives the facts of `channels` (of all if `None`) up to the entry `until` away. Blocks.
pub(super) fn rows(
    work: &Work,
    ledger: &dyn Ledger,
    channels: Option<Vec<ChannelId>>,
    (until, handle): (Position, &Handle),
    sink: &mut Sink<'_, Row>,
) -> Result<(), ControlError> {
    let channels: Option<HashSet<ChannelId>> =
        channels.map(|channels| channels.into_iter().collect());
    let (mut next, mut most) = (1, 1);
    while next <= until {
        work.go_on()?;
        let page = handle.block_on(ledger.entries(next, most))?;
        let Some(last) = page.last() else { break };
        next = last.position + 1;
        let facts: usize = page.iter().map(|entry| entry.batch.events.len()).sum();
        most = if facts > FACTS { most / 2 } else { most * 2 }.clamp(1, ENTRIES_MAX);
        for Entry { position, batch } in page {
            if position > until || !work.span.contains(batch.accepted) {
                continue;
            }
            let (kind, accepted) = (batch.kind, batch.accepted);
            for (index, event) in batch.events.into_iter().enumerate() {
                if channels.as_ref().is_none_or(|channels| channels.contains(event.channel())) {
                    sink(&Row { position, index, kind, accepted, event })?;
                }
            }
        }
    }
    Ok(())
}

impl Row {
    fn word(&self) -> &'static str {
        match &self.event {
            Event::Message(_) => "message",
            Event::Tap(_) => "tap",
            Event::OptIn { .. } => "opt_in",
            Event::Category(_) => "category",
        }
    }

    fn time(&self) -> Time {
        match &self.event {
            Event::Message(MessageEvent { time, .. })
            | Event::Tap(TapEvent { time, .. })
            | Event::OptIn { time, .. }
            | Event::Category(CategoryEvent { effective: time, .. }) => *time,
        }
    }

    fn number(&self) -> Option<&PhoneNumber> {
        match &self.event {
            Event::Message(MessageEvent { number, .. }) | Event::Tap(TapEvent { number, .. }) => {
                Some(number)
            }
            Event::OptIn { .. } | Event::Category(_) => None,
        }
    }

    fn message_event(&self) -> Option<&MessageEvent> {
        match &self.event {
            Event::Message(event) => Some(event),
            Event::Tap(_) | Event::OptIn { .. } | Event::Category(_) => None,
        }
    }

    fn tap(&self) -> Option<&TapEvent> {
        match &self.event {
            Event::Tap(event) => Some(event),
            Event::Message(_) | Event::OptIn { .. } | Event::Category(_) => None,
        }
    }

    fn category(&self) -> Option<&CategoryEvent> {
        match &self.event {
            Event::Category(event) => Some(event),
            Event::Message(_) | Event::Tap(_) | Event::OptIn { .. } => None,
        }
    }

    fn message(&self) -> Option<Hash> {
        self.message_event().map(|event| event.message).or_else(|| self.tap()?.message)
    }

    fn claim(&self) -> Option<&Claim> {
        self.message_event()?.claim.as_deref()
    }

    fn sign(&self) -> Option<&Sign> {
        self.tap()?.sign.as_ref()
    }

    fn template(&self) -> Option<&Template> {
        let of_category = self.category().map(|event| &event.template);
        let of_sign = self.sign().map(|sign| &sign.template);
        self.claim().and_then(|claim| claim.template.as_ref()).or(of_sign).or(of_category)
    }

    fn campaign(&self) -> Option<&Text> {
        let of_sign = self.sign().and_then(|sign| sign.campaign.as_ref());
        self.claim().and_then(|claim| claim.campaign.as_ref()).or(of_sign)
    }

    fn pricing(&self) -> Option<&Pricing> {
        self.message_event()?.pricing.as_deref()
    }
}

fn source_word(source: Source) -> &'static str {
    match source {
        Source::Send => "send",
        Source::Sign => "sign",
        Source::Receipt => "receipt",
        Source::Import => "import",
    }
}

/// The columns.
pub(super) fn columns() -> Vec<Column<Row>> {
    let mut columns = of_all();
    columns.extend(of_messages());
    columns.extend(of_templates_and_taps());
    columns
}

fn of_all() -> Vec<Column<Row>> {
    vec![
        integer("position", "The journal's entry, from 1.", |row: &Row| {
            i64::try_from(row.position).unwrap_or(i64::MAX)
        }),
        integer("index", "Which fact of the entry, from 0.", |row: &Row| {
            i64::try_from(row.index).unwrap_or(i64::MAX)
        }),
        text("kind", "What the entry is, such as `webhook` or `send`.", |row: &Row| {
            row.kind.as_str()
        }),
        time(
            "accepted",
            "When the entry was accepted. `--from` and `--until` compare it.",
            |row: &Row| row.accepted,
        ),
        text(
            "event",
            "What the fact is about: `message`, `tap`, `opt_in` or `category`.",
            |row: &Row| row.word(),
        ),
        text("channel", "The channel.", |row: &Row| row.event.channel().as_str()),
        text_if("phone_number", "The business number.", |row: &Row| {
            row.number().map(PhoneNumber::as_str)
        }),
        made_if("message", "The message's id, as a keyed hash.", |row: &Row| {
            row.message().map(|hash| hash.to_string())
        }),
        json(
            "participants",
            "In groups: the number and the BSUID of whom it reached, as keyed hashes.",
            |row: &Row| {
                let ids = row.message_event().map(|event| event.participant.as_slice());
                ids.unwrap_or_default().iter().map(Hash::to_string).collect()
            },
        ),
        time("time", "When it happened, by its own words.", Row::time),
    ]
}

fn of_messages() -> Vec<Column<Row>> {
    vec![
        text_if("status", "The status that is told.", |row: &Row| {
            row.message_event()?.status.map(Status::as_str)
        }),
        integer_if("error_code", "The error code of a failure.", |row: &Row| {
            row.message_event()?.error
        }),
        text_if("pricing_category", "`pricing.category`.", |row: &Row| {
            row.pricing().map(|pricing| pricing.category.as_str())
        }),
        text_if("pricing_type", "`pricing.type`.", |row: &Row| {
            row.pricing().map(|pricing| pricing.kind.as_str())
        }),
        text_if("pricing_model", "`pricing.pricing_model`.", |row: &Row| {
            row.pricing().map(|pricing| pricing.model.as_str())
        }),
        text_if("cost_currency", "The currency of the cost, as told.", |row: &Row| {
            Some(row.pricing()?.cost.as_ref()?.currency().as_str())
        }),
        integer_if("cost_micros", "The cost, as told.", |row: &Row| {
            Some(row.pricing()?.cost.as_ref()?.micros())
        })
        .in_unit("millionths of the currency"),
        text_if(
            "source",
            "Where the knowledge of the template comes from: `send`, `sign`, `receipt`, `import`.",
            |row: &Row| row.claim().map(|claim| source_word(claim.source)),
        ),
    ]
}

fn of_templates_and_taps() -> Vec<Column<Row>> {
    vec![
        text_if("template_code", "The template's code.", |row: &Row| {
            row.template().map(|template| template.code.as_str())
        }),
        text_if("language", "The template's language.", |row: &Row| {
            row.template().map(|template| template.language.as_str())
        }),
        text_if("campaign", "The campaign, where there is one.", |row: &Row| {
            row.campaign().map(Text::as_str)
        }),
        made_if("tap", "The inbound message's id, as a keyed hash.", |row: &Row| {
            row.tap().map(|tap| tap.id.to_string())
        }),
        text_if("button_type", "The type of the button that was tapped.", |row: &Row| {
            row.tap().map(|tap| tap.button.kind.as_str())
        }),
        text_if("button_text", "The text on it.", |row: &Row| {
            row.tap().map(|tap| tap.button.text.as_str())
        }),
        text_if("category", "The template's category from `time` on.", |row: &Row| {
            row.category().map(|event| event.category.as_str())
        }),
        text_if("category_before", "Its category before, where it is told.", |row: &Row| {
            row.category()?.previous.map(Category::as_str)
        }),
    ]
}

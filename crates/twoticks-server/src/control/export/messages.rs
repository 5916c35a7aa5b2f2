//! Messages: a row for each message and, in groups, each participant, so that what is counted adds
//! up to what the totals count. Nobody is named: there is no recipient and no wamid here, only the
//! keyed hash of the latter, and participants of a group are numbered as they come.

use twoticks_core::channel::{Channel, Side};
use twoticks_core::clock::Time;
use twoticks_core::event::{Category, Claim, Pricing, Status};
use twoticks_core::fold::Touched;
use twoticks_core::message::{Age, Message, MessageKey};
use twoticks_core::totals::Attribution;

use super::columns::{Column, integer, integer_if, made, text, text_if, time, time_if};
use super::span::Span;
use super::totals::{attribution_word, side_word};
use super::{ControlError, Sink};

/// A message and one of its recipients.
pub(super) struct Row {
    key: MessageKey,
    accepted: Time,
    attribution: Attribution,
    claim: Option<Claim>,
    /// Which of a group's participants, from 1.
    participant: Option<i64>,
    time: Time,
    side: Side,
    category: Option<Category>,
    told: [Option<Time>; Status::ALL.len()],
    counted: [Option<Time>; Status::ALL.len()],
    error: Option<i64>,
    pricing: Option<Pricing>,
    taps: i64,
    first_tap: Option<Time>,
}

/// Gives the rows of a message away that lie in `span`. What is older than the horizon (counting
/// rule 12) is no state any more, even if it has not been cleared away yet.
pub(super) fn rows(
    (key, touched): (&MessageKey, &Touched<Message>),
    channel: &Channel,
    (span, now): (Span, Time),
    sink: &mut Sink<'_, Row>,
) -> Result<(), ControlError> {
    let Touched { accepted, row: message } = touched;
    if Age::of(*accepted, now) != Age::Live {
        return Ok(());
    }
    let claim = message.claim();
    for (index, outcome) in (1..).zip(message.outcomes(channel)) {
        let first = outcome.told.into_iter().flatten().min();
        let sent = Status::ALL.into_iter().zip(outcome.counted);
        let sent = sent.filter(|(status, _)| *status == Status::Sent).find_map(|(_, time)| time);
        let time = sent.or(first).or(outcome.first_tap).or(claim.map(|(_, time)| time));
        // A message of which nothing at all is known is none.
        let Some(time) = time.filter(|time| span.contains(*time)) else { continue };
        sink(&Row {
            key: key.clone(),
            accepted: *accepted,
            attribution: message.attribution(),
            claim: claim.map(|(claim, _)| claim.clone()),
            participant: outcome.is_participant.then_some(index),
            time,
            side: outcome.side,
            category: outcome.category,
            told: outcome.told,
            counted: outcome.counted,
            error: outcome.error,
            pricing: outcome.pricing.cloned(),
            taps: i64::try_from(outcome.taps).unwrap_or(i64::MAX),
            first_tap: outcome.first_tap,
        })?;
    }
    Ok(())
}

/// The columns.
pub(super) fn columns() -> Vec<Column<Row>> {
    let times = Status::ALL.into_iter().enumerate().flat_map(|(index, status)| {
        let word = status.as_str();
        let told = time_if(
            format!("{word}_told"),
            format!("The earliest time told of `{word}`."),
            move |row: &Row| row.told.get(index).copied().flatten(),
        );
        let counted = time_if(
            format!("{word}_counted"),
            format!("The time at which `{word}` counts, told or implied; missing if it does not."),
            move |row: &Row| row.counted.get(index).copied().flatten(),
        );
        [told, counted]
    });
    whose().into_iter().chain(times).chain(beside()).collect()
}

fn whose() -> Vec<Column<Row>> {
    vec![
        text("channel", "The channel.", |row: &Row| row.key.channel.as_str()),
        text("phone_number", "The business number that sent it.", |row: &Row| {
            row.key.number.as_str()
        }),
        made("message", "The message's id, as a keyed hash.", |row: &Row| {
            row.key.message.to_string()
        }),
        integer_if(
            "participant",
            "In groups: which of the message's participants, from 1. The numbers name nobody and \
             may change.",
            |row: &Row| row.participant,
        ),
        time(
            "time",
            "When it was sent, told or implied; else the first that is known of it. `--from` and \
             `--until` compare it.",
            |row: &Row| row.time,
        ),
        text(
            "attribution",
            "What is known of its template: `template`, `free_form` (there is none) or \
             `unattributed` (nothing).",
            |row: &Row| attribution_word(row.attribution),
        ),
        text_if("template_code", "The template's code.", |row: &Row| {
            Some(row.claim.as_ref()?.template.as_ref()?.code.as_str())
        }),
        text_if("language", "The template's language.", |row: &Row| {
            Some(row.claim.as_ref()?.template.as_ref()?.language.as_str())
        }),
        text_if("campaign", "The campaign, where there is one.", |row: &Row| {
            Some(row.claim.as_ref()?.campaign.as_ref()?.as_str())
        }),
        text_if(
            "category",
            "The template's category when it was sent, where it is known.",
            |row: &Row| row.category.map(Category::as_str),
        ),
        text(
            "side",
            "Whether it was sent `before_opt_in` or `after_opt_in` of its channel.",
            |row: &Row| side_word(row.side),
        ),
    ]
}

fn beside() -> Vec<Column<Row>> {
    vec![
        integer_if(
            "error_code",
            "The error code of its failure, also if it does not count because it was delivered.",
            |row: &Row| row.error,
        ),
        text_if("pricing_category", "`pricing.category` of its delivery.", |row: &Row| {
            row.pricing.as_ref().map(|pricing| pricing.category.as_str())
        }),
        text_if("pricing_type", "`pricing.type` of its delivery.", |row: &Row| {
            row.pricing.as_ref().map(|pricing| pricing.kind.as_str())
        }),
        text_if("pricing_model", "`pricing.pricing_model` of its delivery.", |row: &Row| {
            row.pricing.as_ref().map(|pricing| pricing.model.as_str())
        }),
        text_if("cost_currency", "The currency of its cost, as told.", |row: &Row| {
            Some(row.pricing.as_ref()?.cost.as_ref()?.currency().as_str())
        }),
        integer_if("cost_micros", "Its cost, as told.", |row: &Row| {
            Some(row.pricing.as_ref()?.cost.as_ref()?.micros())
        })
        .in_unit("millionths of the currency"),
        integer(
            "taps",
            "Taps of its buttons, the first 1,000; of a group's message on its first row only.",
            |row: &Row| row.taps,
        )
        .in_unit("count"),
        time_if("first_tap", "The first of these taps.", |row: &Row| row.first_tap),
        time("accepted", "When it was last told of.", |row: &Row| row.accepted),
    ]
}

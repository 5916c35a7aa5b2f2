//! The same as `walk`, in one pass, for bodies that are as Meta usually writes them.
//!
//! Whatever is unusual in an envelope leaves the whole body to `walk`; whatever is unusual in an
//! element leaves that one to its own reader, as `walk` would. What always holds: what is read
//! here says the same as what is read there, which `tests/webhook_plain.rs` checks over damaged
//! bodies, so everything unclear is `None`.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::cursor::Cursor;
use super::{Place, PricingView, StatusView, Told, UPDATES_MAX, Update, What, message, status};

/// About how many bytes an update takes, to make room for them.
const UPDATE_BYTES: usize = 512;

/// Reads a body; `None` if its envelopes are not plain, or if it is to be refused.
pub(super) fn read(raw: &[u8]) -> Option<Vec<Told<'_>>> {
    let text = std::str::from_utf8(raw).ok()?;
    let mut body = Body { told: Vec::with_capacity(raw.len() / UPDATE_BYTES + 1), entries: 0 };
    let mut cursor = Cursor::new(text);
    let mut has_entries = false;
    cursor.object(|cursor, key| match key {
        "entry" => {
            first(&mut has_entries)?;
            cursor.list(|cursor| body.entry(cursor))
        }
        _ => cursor.skip(),
    })?;
    cursor.end()?;
    // Without any the body says something else.
    (!body.told.is_empty()).then_some(body.told)
}

/// Notes that something is there; `None` if it was there before.
fn first(seen: &mut bool) -> Option<()> {
    (!std::mem::replace(seen, true)).then_some(())
}

/// Keeps the first value of a key; `None` if there is one already.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// What was found so far.
struct Body<'a> {
    told: Vec<Told<'a>>,
    entries: u32,
}

/// Which list an element stands in.
#[derive(Clone, Copy)]
enum List {
    Statuses,
    Messages,
    UserActions,
}

impl<'a> Body<'a> {
    fn entry(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        let entry = self.entries;
        self.entries += 1;
        let before = self.told.len();
        let (mut id, mut time, mut has_changes) = (None, None, false);
        cursor.object(|cursor, key| match key {
            "id" => once(&mut id, cursor.word()?),
            "time" => once(&mut time, cursor.integer()?.checked_mul(1_000)?),
            "changes" => {
                first(&mut has_changes)?;
                let mut count = 0;
                cursor.list(|cursor| {
                    let place = Place { entry: Some(entry), change: Some(count), element: None };
                    count += 1;
                    self.change(cursor, place)
                })
            }
            _ => cursor.skip(),
        })?;
        let mut waba_id: Option<Arc<str>> = None;
        let told = self.told.get_mut(before..).filter(|told| !told.is_empty())?;
        for told in told {
            if let Told::Update(update) = told {
                if waba_id.is_none() {
                    waba_id = id.map(Arc::from);
                }
                update.waba_id.clone_from(&waba_id);
                update.entry_time_ms = time;
            }
        }
        Some(())
    }

    fn change(&mut self, cursor: &mut Cursor<'a>, place: Place) -> Option<()> {
        let (mut field, mut has_value) = (None, false);
        cursor.object(|cursor, key| match key {
            "field" => once(&mut field, cursor.word()?),
            "value" => {
                first(&mut has_value)?;
                self.value(cursor, place)
            }
            _ => cursor.skip(),
        })?;
        (has_value && field == Some("messages")).then_some(())
    }

    fn value(&mut self, cursor: &mut Cursor<'a>, place: Place) -> Option<()> {
        let before = self.told.len();
        let mut seen = [false; 3];
        let mut metadata = None;
        cursor.object(|cursor, key| {
            let (list, name, seen) = match (key, &mut seen) {
                ("statuses", [seen, _, _]) => (List::Statuses, "statuses", seen),
                ("messages", [_, seen, _]) => (List::Messages, "messages", seen),
                ("user_actions", [_, _, seen]) => (List::UserActions, "user_actions", seen),
                ("metadata", _) => return once(&mut metadata, numbers(cursor)?),
                _ => return cursor.skip(),
            };
            first(seen)?;
            let mut count = 0;
            cursor.list(|cursor| {
                let place = Place { element: Some((name, count)), ..place };
                count += 1;
                self.element(cursor, list, place)
            })
        })?;
        let (id, display) = metadata?;
        let mut shared: Option<(Arc<str>, Option<Arc<str>>)> = None;
        // Without elements it says something else.
        let told = self.told.get_mut(before..).filter(|told| !told.is_empty())?;
        for told in told {
            match told {
                Told::Status { phone_number_id, .. } => *phone_number_id = Some(id),
                Told::Update(update) => {
                    let (id, display) =
                        shared.get_or_insert_with(|| (id.into(), display.map(Arc::from)));
                    update.phone_number_id = Some(Arc::clone(id));
                    update.display_phone_number.clone_from(display);
                }
            }
        }
        Some(())
    }

    fn element(&mut self, cursor: &mut Cursor<'a>, list: List, place: Place) -> Option<()> {
        if self.told.len() == UPDATES_MAX {
            return None;
        }
        if matches!(list, List::Statuses) {
            let mut ahead = cursor.clone();
            if let Some(status) = status_of(&mut ahead) {
                *cursor = ahead;
                self.told.push(Told::Status { place, phone_number_id: None, status });
                return Some(());
            }
        }
        let raw: &RawValue = serde_json::from_str(cursor.raw()?).ok()?;
        let read = match list {
            List::Statuses => status::read(raw),
            List::Messages => message::read(raw),
            List::UserActions => message::read_action(raw),
        };
        self.told.push(Told::Update(Update {
            place,
            waba_id: None,
            phone_number_id: None,
            display_phone_number: None,
            entry_time_ms: None,
            what: read.unwrap_or_else(|why| What::Bad { why }),
        }));
        Some(())
    }
}

/// `metadata`: the number's id, and the number as it is shown.
fn numbers<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a str, Option<&'a str>)> {
    let (mut id, mut display) = (None, None);
    cursor.object(|cursor, key| match key {
        "phone_number_id" => once(&mut id, cursor.word()?),
        "display_phone_number" => once(&mut display, cursor.word()?),
        _ => cursor.skip(),
    })?;
    Some((id?, display))
}

/// A status of which every known field is plain.
fn status_of<'a>(cursor: &mut Cursor<'a>) -> Option<StatusView<'a>> {
    let (mut wamid, mut word, mut time, mut kind) = (None, None, None, None);
    let (mut recipient_type, mut recipient, mut user) = (None, None, None);
    let (mut participant, mut participant_user) = (None, None);
    let (mut data, mut pricing, mut has_conversation, mut errors) = (None, None, false, None);
    cursor.object(|cursor, key| match key {
        "id" => once(&mut wamid, cursor.text()?),
        "status" => once(&mut word, cursor.word()?),
        "timestamp" => once(&mut time, cursor.digits()?.checked_mul(1_000)?),
        "recipient_id" => once(&mut recipient, cursor.word()?),
        "recipient_user_id" => once(&mut user, cursor.word()?),
        "biz_opaque_callback_data" => once(&mut data, cursor.text()?),
        "pricing" => once(&mut pricing, pricing_of(cursor)?),
        "conversation" => {
            first(&mut has_conversation)?;
            conversation(cursor)
        }
        "errors" => once(&mut errors, error_code(cursor)?),
        "type" => once(&mut kind, cursor.word()?),
        "recipient_type" => once(&mut recipient_type, cursor.word()?),
        "recipient_participant_id" => once(&mut participant, cursor.word()?),
        "recipient_participant_user_id" => once(&mut participant_user, cursor.word()?),
        _ => cursor.skip(),
    })?;
    if kind.is_some_and(|kind: &str| kind.eq_ignore_ascii_case("call")) {
        return None;
    }
    let word = word?;
    Some(StatusView {
        wamid: wamid?,
        status: status::status_word(word),
        word,
        time_ms: time?,
        group: recipient_type.is_some_and(|kind: &str| kind.eq_ignore_ascii_case("group")),
        participant_id: participant,
        participant_user_id: participant_user,
        biz_opaque_callback_data: data,
        pricing,
        error_code: errors.flatten(),
        unread: &[],
    })
}

fn pricing_of<'a>(cursor: &mut Cursor<'a>) -> Option<PricingView<'a>> {
    let mut billable = None;
    let mut pricing = PricingView { model: None, kind: None, category: None, cost: None };
    cursor.object(|cursor, key| match key {
        "billable" => once(&mut billable, cursor.flag()?),
        "pricing_model" => once(&mut pricing.model, cursor.word()?),
        "type" => once(&mut pricing.kind, cursor.word()?),
        "category" => once(&mut pricing.category, cursor.word()?),
        "cost" => once(&mut pricing.cost, cost(cursor)?),
        _ => cursor.skip(),
    })?;
    Some(pricing)
}

/// The millionths and the currency; both, or it is not plain.
fn cost<'a>(cursor: &mut Cursor<'a>) -> Option<(i64, &'a str)> {
    let (mut micros, mut currency) = (None, None);
    cursor.object(|cursor, key| match key {
        "amount" => once(&mut micros, super::super::json::micros(cursor.raw()?)?),
        "currency" => once(&mut currency, cursor.word()?),
        _ => cursor.skip(),
    })?;
    Some((micros?, currency?))
}

/// Goes over a conversation, whose fields decide about nothing.
fn conversation(cursor: &mut Cursor<'_>) -> Option<()> {
    let (mut id, mut expires, mut origin) = (None, None, None);
    cursor.object(|cursor, key| match key {
        "id" => once(&mut id, cursor.word()?),
        "expiration_timestamp" => once(&mut expires, cursor.digits()?),
        "origin" => {
            let mut kind = None;
            cursor.object(|cursor, key| match key {
                "type" => once(&mut kind, cursor.word()?),
                _ => cursor.skip(),
            })?;
            once(&mut origin, ())
        }
        _ => cursor.skip(),
    })
}

/// The code of the first of the errors, if it has one; there is at least one error.
fn error_code(cursor: &mut Cursor<'_>) -> Option<Option<i64>> {
    let mut code = None;
    let mut is_first = true;
    cursor.list(|cursor| {
        if !std::mem::replace(&mut is_first, false) {
            return cursor.skip();
        }
        let (mut title, mut data) = (None, None);
        cursor.object(|cursor, key| match key {
            "code" => once(&mut code, cursor.integer()?),
            "title" => once(&mut title, cursor.any_text()?),
            "error_data" => {
                let mut details = None;
                cursor.object(|cursor, key| match key {
                    "details" => once(&mut details, cursor.any_text()?),
                    _ => cursor.skip(),
                })?;
                once(&mut data, ())
            }
            _ => cursor.skip(),
        })
    })?;
    Some(code)
}

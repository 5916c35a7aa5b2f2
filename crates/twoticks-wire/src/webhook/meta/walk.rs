//! The envelopes: entry, change, value and the lists in it.
//!
//! Each container is read as its members or elements, and these stay bytes until it is their turn:
//! the bytes are passed over once per level, which is the price of a bad part leaving its
//! neighbours alone. A key told twice: lists are both walked, of other things the last one counts.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::{self, Member};
use super::super::{Defect, Unreadable};
use super::{OTHERS_MAX, Place, UPDATES_MAX, Update, What, field, message, status, unknown};

/// Walks a body from its outermost envelope.
pub(super) fn walk(raw: &[u8]) -> Result<Vec<Update>, Unreadable> {
    let text = String::from_utf8_lossy(raw);
    let body: &RawValue = serde_json::from_str(&text)
        .map_err(|error| Unreadable::NotJson { line: error.line(), column: error.column() })?;
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    let mut walk =
        Walk { updates: Vec::new(), elements: 0, others: 0, entries: 0, over: None, is_utf8 };
    json::elements(body, &mut |envelope| {
        walk.envelope(envelope);
        walk.over.is_none()
    });
    if walk.updates.is_empty() {
        walk.other(Place::default(), unknown("body without entries"));
    }
    match walk.over {
        Some(max) => Err(Unreadable::TooMany { max }),
        None => Ok(walk.updates),
    }
}

/// What was found so far.
struct Walk {
    updates: Vec<Update>,
    elements: usize,
    others: usize,
    entries: u32,
    /// The limit that is exceeded: nothing more is read.
    over: Option<usize>,
    /// Whether all the bytes were UTF-8; if not, what is read has replacement characters.
    is_utf8: bool,
}

/// What a change is about: Meta's field, and how many elements its lists had so far.
struct Change<'a> {
    place: Place,
    field: Option<&'a str>,
    counts: [u32; 3],
}

#[derive(Deserialize)]
struct RawMetadata<'a> {
    #[serde(borrow)]
    phone_number_id: Option<&'a RawValue>,
    display_phone_number: Option<&'a RawValue>,
}

impl Walk {
    fn other(&mut self, place: Place, what: What) {
        if self.others == OTHERS_MAX {
            self.over = Some(OTHERS_MAX);
        } else {
            self.others += 1;
            self.push(place, what);
        }
    }

    fn element(&mut self, place: Place, what: What) {
        if self.elements == UPDATES_MAX {
            self.over = Some(UPDATES_MAX);
        } else {
            self.elements += 1;
            self.push(place, what);
        }
    }

    fn push(&mut self, place: Place, what: What) {
        self.updates.push(Update {
            place,
            waba_id: None,
            phone_number_id: None,
            display_phone_number: None,
            entry_time_ms: None,
            what,
        });
    }

    /// The updates since there were `count` of them.
    fn since(&mut self, count: usize) -> &mut [Update] {
        self.updates.get_mut(count..).unwrap_or_default()
    }

    /// Whether it may be in these bytes that some were not UTF-8.
    fn is_spoilt(&self, raw: &RawValue) -> bool {
        !self.is_utf8 && raw.get().contains(char::REPLACEMENT_CHARACTER)
    }

    /// An envelope with entries; or a lone change or a lone value, as the test panel of Meta's
    /// console shows them.
    fn envelope(&mut self, raw: &RawValue) {
        let Some(members) = json::members(raw) else {
            return self.other(Place::default(), What::Bad { why: Defect::NotAnObject });
        };
        let has = |names: &[&str]| members.iter().any(|(key, _)| names.contains(&key.as_ref()));
        if has(&["entry"]) {
            let before = self.updates.len();
            for entries in all(&members, "entry") {
                json::objects(entries, &mut |entry| {
                    self.entry(entry);
                    self.over.is_none()
                });
            }
            if self.updates.len() == before {
                self.other(Place::default(), What::Nothing { kind: "no entries" });
            }
        } else if has(&["value"]) {
            self.change(Place::default(), &members);
        } else if has(&["metadata", "statuses", "messages", "user_actions"]) {
            let mut lone = Change { place: Place::default(), field: None, counts: [0; 3] };
            self.value(&mut lone, raw);
        } else {
            self.other(Place::default(), unknown("body without entries"));
        }
    }

    fn entry(&mut self, members: Option<Vec<Member<'_>>>) {
        let place = Place { entry: Some(self.entries), ..Place::default() };
        self.entries += 1;
        let Some(members) = members else {
            return self.other(place, What::Bad { why: Defect::NotAnObject });
        };
        let before = self.updates.len();
        let (mut seen, mut count) = (false, 0);
        for changes in all(&members, "changes") {
            seen = true;
            json::objects(changes, &mut |change| {
                let place = Place { change: Some(count), ..place };
                count += 1;
                match change {
                    Some(members) => self.change(place, &members),
                    None => self.other(place, What::Bad { why: Defect::NotAnObject }),
                }
                self.over.is_none()
            });
        }
        if self.updates.len() == before {
            let nothing = What::Nothing { kind: "no changes" };
            self.other(place, if seen { nothing } else { unknown("entry without changes") });
        }
        let waba_id: Option<Arc<str>> = last_word(&members, "id").map(Arc::from);
        let entry_time_ms = all(&members, "time").last().and_then(json::seconds);
        for update in self.since(before) {
            update.waba_id.clone_from(&waba_id);
            update.entry_time_ms = entry_time_ms;
        }
    }

    fn change(&mut self, place: Place, members: &[Member<'_>]) {
        let field = last_word(members, "field");
        let mut change = Change { place, field: field.as_deref(), counts: [0; 3] };
        let before = self.updates.len();
        for values in all(members, "value") {
            json::elements(values, &mut |value| {
                self.value(&mut change, value);
                self.over.is_none()
            });
        }
        if self.updates.len() == before {
            self.other(place, unknown(field.as_deref().unwrap_or("change")));
        }
    }

    fn value(&mut self, change: &mut Change<'_>, raw: &RawValue) {
        let Some(members) = json::members(raw) else {
            return self.other(change.place, What::Bad { why: Defect::NotAnObject });
        };
        let before = self.updates.len();
        let lists = ["statuses", "messages", "user_actions"];
        for (key, list) in &members {
            let found = lists.iter().zip(&mut change.counts).find(|(name, _)| *name == key);
            let Some((name, count)) = found else { continue };
            json::elements(list, &mut |element| {
                let place = Place { element: Some((*name, *count)), ..change.place };
                *count += 1;
                let what = if self.is_spoilt(element) {
                    What::Bad { why: Defect::NotUtf8 }
                } else {
                    element_of(name, change.field, element)
                };
                self.element(place, what);
                self.over.is_none()
            });
        }
        if self.updates.len() == before {
            let what = if self.is_spoilt(raw) {
                What::Bad { why: Defect::NotUtf8 }
            } else {
                without_elements(change.field, &members, raw)
            };
            self.other(change.place, what);
        }
        let metadata = all(&members, "metadata").last();
        let Some(Ok(told)) = metadata.map(json::object::<RawMetadata<'_>>) else { return };
        let shared = |raw: Option<&RawValue>| raw.and_then(json::word).map(Arc::<str>::from);
        let (id, number) = (shared(told.phone_number_id), shared(told.display_phone_number));
        for update in self.since(before) {
            update.phone_number_id.clone_from(&id);
            update.display_phone_number.clone_from(&number);
        }
    }
}

/// Every value of the key `name`.
fn all<'m, 'a>(
    members: &'m [Member<'a>],
    name: &'m str,
) -> impl Iterator<Item = &'a RawValue> + use<'m, 'a> {
    members.iter().filter(move |(key, _)| key == name).map(|(_, raw)| *raw)
}

fn last_word(members: &[Member<'_>], name: &str) -> Option<String> {
    all(members, name).last().and_then(json::word)
}

/// One element of the list `name` under `field`; without a field the lists say what they are.
fn element_of(name: &str, field: Option<&str>, raw: &RawValue) -> What {
    if let Some(field) = field.filter(|field| *field != "messages") {
        return match field::nothing(field) {
            Some(kind) => What::Nothing { kind },
            None => unknown(field),
        };
    }
    let read = match name {
        "statuses" => status::read(raw),
        "messages" => message::read(raw),
        _ => message::read_action(raw),
    };
    read.unwrap_or_else(|why| What::Bad { why })
}

/// A value without statuses, messages and user actions. The documentation has samples whose
/// field is inside the value.
fn without_elements(field: Option<&str>, members: &[Member<'_>], raw: &RawValue) -> What {
    let has = |name| all(members, name).next().is_some();
    let inner = last_word(members, "field");
    match field.or(inner.as_deref()) {
        None | Some("messages") if has("errors") => What::Nothing { kind: "errors" },
        None | Some("messages") if has("message_echoes") => {
            What::Nothing { kind: "message_echoes" }
        }
        None => unknown("change"),
        Some("messages") => {
            let known = ["contacts", "statuses", "messages", "user_actions"];
            let mut lists = members.iter().filter(|(_, raw)| raw.get().starts_with('['));
            match lists.find(|(key, _)| !known.contains(&key.as_ref())) {
                Some((list, _)) => unknown(&format!("messages.{list}")),
                None => What::Nothing { kind: "messages without any" },
            }
        }
        Some("template_category_update") => {
            field::category(raw).unwrap_or_else(|why| What::Bad { why })
        }
        Some("message_template_status_update") => {
            field::template_status(raw).unwrap_or_else(|why| What::Bad { why })
        }
        Some(field) => match field::nothing(field) {
            Some(kind) => What::Nothing { kind },
            None => unknown(field),
        },
    }
}

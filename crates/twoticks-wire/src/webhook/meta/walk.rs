//! The envelopes: entry, change, value and the lists in it.
//!
//! The containers are walked in one pass, a change's value in a second, each element in a third:
//! that is the price of one bad change or element leaving its neighbours alone.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed as _, IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use super::super::json::{self, Elements, Keys, Lenient, Objects};
use super::super::{Defect, Unreadable};
use super::{OTHERS_MAX, Place, UPDATES_MAX, Update, What, field, message, status, unknown};

/// Walks a body from its outermost envelope.
pub(super) fn walk(raw: &[u8]) -> Result<Vec<Update>, Unreadable> {
    let text = String::from_utf8_lossy(raw);
    let mut walk = Walk {
        updates: Vec::new(),
        elements: 0,
        others: 0,
        entries: 0,
        over: None,
        is_utf8: matches!(text, Cow::Borrowed(_)),
    };
    let mut body = Body { walk: &mut walk, text: &text };
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let read = Lenient(&mut body).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Some(max) = walk.over {
        return Err(Unreadable::TooMany { max });
    }
    if let Err(error) = read {
        return Err(Unreadable::NotJson { line: error.line(), column: error.column() });
    }
    if walk.updates.is_empty() {
        walk.other(Place::default(), unknown("body without entries"));
    }
    Ok(walk.updates)
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

    /// Stops the walk once a limit is exceeded.
    fn go_on<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.over.is_some() { Err(E::custom("too many updates")) } else { Ok(()) }
    }
}

/// The body: an envelope with entries; or a lone change or a lone value, as the test panel of
/// Meta's console sends them.
struct Body<'w> {
    walk: &'w mut Walk,
    text: &'w str,
}

impl Objects for Body<'_> {
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let before = self.walk.updates.len();
        let (mut entry, mut lone_value) = (false, false);
        let mut change = Change::new(Place::default());
        while let Some(key) = keys.next(map)? {
            match key.as_str() {
                "entry" => {
                    entry = true;
                    map.next_value_seed(Lenient(&mut Entries { walk: self.walk }))?;
                }
                "field" | "value" => change.read(&key, map)?,
                "metadata" | "statuses" | "messages" | "user_actions" => {
                    lone_value = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            self.walk.go_on()?;
        }
        if !change.values.is_empty() {
            change.walk(self.walk);
        } else if lone_value && !entry && self.text.trim_start().starts_with('{') {
            change.walk_value(self.walk, self.text, None, &mut [0; 3]);
        }
        if self.walk.updates.len() == before {
            let nothing = What::Nothing { kind: "no entries" };
            let what = if entry { nothing } else { unknown("body without entries") };
            self.walk.other(Place::default(), what);
        }
        self.walk.go_on()
    }

    fn odd(&mut self) {
        self.walk.other(Place::default(), What::Bad { why: Defect::NotAnObject });
    }
}

struct Entries<'w> {
    walk: &'w mut Walk,
}

impl Entries<'_> {
    fn place(&mut self) -> Place {
        let entry = self.walk.entries;
        self.walk.entries += 1;
        Place { entry: Some(entry), ..Place::default() }
    }
}

impl Objects for Entries<'_> {
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.walk.go_on()?;
        let place = self.place();
        let before = self.walk.updates.len();
        let (mut id, mut time, mut seen, mut changes) = (None, None, false, 0);
        while let Some(key) = keys.next(map)? {
            match key.as_str() {
                "id" => id = word(map.next_value()?),
                "time" => time = map.next_value::<Option<&RawValue>>()?.and_then(json::seconds),
                "changes" => {
                    seen = true;
                    let mut found = Changes { walk: self.walk, place, count: changes };
                    map.next_value_seed(Lenient(&mut found))?;
                    changes = found.count;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if self.walk.updates.len() == before {
            let nothing = What::Nothing { kind: "no changes" };
            let what = if seen { nothing } else { unknown("entry without changes") };
            self.walk.other(place, what);
        }
        let id: Option<Arc<str>> = id.map(Arc::from);
        for update in self.walk.since(before) {
            update.waba_id.clone_from(&id);
            update.entry_time_ms = time;
        }
        Ok(())
    }

    fn odd(&mut self) {
        let place = self.place();
        self.walk.other(place, What::Bad { why: Defect::NotAnObject });
    }
}

fn word(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(json::word)
}

struct Changes<'w> {
    walk: &'w mut Walk,
    place: Place,
    count: u32,
}

impl Changes<'_> {
    fn place(&mut self) -> Place {
        let change = Some(self.count);
        self.count += 1;
        Place { change, ..self.place }
    }
}

impl Objects for Changes<'_> {
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.walk.go_on()?;
        let mut change = Change::new(self.place());
        while let Some(key) = keys.next(map)? {
            change.read(&key, map)?;
        }
        change.walk(self.walk);
        self.walk.go_on()
    }

    fn odd(&mut self) {
        let place = self.place();
        self.walk.other(place, What::Bad { why: Defect::NotAnObject });
    }
}

/// One change: the field may be told after the value.
struct Change<'de> {
    place: Place,
    field: Option<String>,
    values: Vec<&'de RawValue>,
}

impl<'de> Change<'de> {
    fn new(place: Place) -> Self {
        Self { place, field: None, values: Vec::new() }
    }

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "field" => self.field = word(map.next_value()?),
            "value" => self.values.extend(map.next_value::<Option<&'de RawValue>>()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    fn walk(&self, walk: &mut Walk) {
        let mut counts = [0; 3];
        for value in &self.values {
            if walk.over.is_some() {
                return;
            }
            self.walk_value(walk, value.get(), Some(value), &mut counts);
        }
        if self.values.is_empty() {
            walk.other(self.place, unknown(self.field.as_deref().unwrap_or("change")));
        }
    }

    /// Walks `text`, the value; `raw` is the same where it can be had. `counts` are the elements
    /// that the change's lists had before.
    fn walk_value(
        &self,
        walk: &mut Walk,
        text: &str,
        raw: Option<&RawValue>,
        counts: &mut [u32; 3],
    ) {
        let before = walk.updates.len();
        let mut value = Value::new(walk, self.place, self.field.as_deref(), counts);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = Lenient(&mut value).deserialize(&mut deserializer);
        let Value { metadata, inner_field, unknown_list, errors, echoes, .. } = value;
        if walk.over.is_some() {
            return;
        }
        if read.is_err() {
            walk.other(self.place, What::Bad { why: Defect::Keys });
        } else if walk.updates.len() == before {
            let field = self.field.as_deref().or(inner_field.as_deref());
            let what = match field {
                Some("messages") | None if errors => What::Nothing { kind: "errors" },
                Some("messages") | None if echoes => What::Nothing { kind: "message_echoes" },
                Some("messages") => match unknown_list {
                    Some(list) => unknown(&format!("messages.{list}")),
                    None => What::Nothing { kind: "messages without any" },
                },
                field => Self::managed(walk, field, raw),
            };
            walk.other(self.place, what);
            metadata.stamp(walk.since(before));
        }
    }

    /// What a field besides `messages` tells.
    fn managed(walk: &Walk, field: Option<&str>, raw: Option<&RawValue>) -> What {
        let (Some(field), Some(raw)) = (field, raw) else { return unknown("change") };
        if walk.is_spoilt(raw) {
            return What::Bad { why: Defect::NotUtf8 };
        }
        let read = match field {
            "template_category_update" => field::category(raw),
            "message_template_status_update" => field::template_status(raw),
            _ => Ok(match field::nothing(field) {
                Some(kind) => What::Nothing { kind },
                None => unknown(field),
            }),
        };
        read.unwrap_or_else(|why| What::Bad { why })
    }
}

/// Whose number it is.
#[derive(Default)]
struct Metadata {
    id: Option<Arc<str>>,
    number: Option<Arc<str>>,
}

impl Metadata {
    fn read(raw: &RawValue) -> Self {
        let shared = |raw| word(raw).map(Arc::from);
        match json::object::<RawMetadata<'_>>(raw) {
            Ok(told) => {
                Self { id: shared(told.phone_number_id), number: shared(told.display_phone_number) }
            }
            Err(_) => Self::default(),
        }
    }

    fn stamp(&self, updates: &mut [Update]) {
        for update in updates {
            update.phone_number_id.clone_from(&self.id);
            update.display_phone_number.clone_from(&self.number);
        }
    }
}

/// The value of a change.
struct Value<'w> {
    walk: &'w mut Walk,
    place: Place,
    field: Option<&'w str>,
    counts: &'w mut [u32; 3],
    metadata: Metadata,
    inner_field: Option<String>,
    unknown_list: Option<String>,
    errors: bool,
    echoes: bool,
}

#[derive(Deserialize)]
struct RawMetadata<'a> {
    #[serde(borrow)]
    phone_number_id: Option<&'a RawValue>,
    display_phone_number: Option<&'a RawValue>,
}

impl<'w> Value<'w> {
    fn new(
        walk: &'w mut Walk,
        place: Place,
        field: Option<&'w str>,
        counts: &'w mut [u32; 3],
    ) -> Self {
        Self {
            walk,
            place,
            field,
            counts,
            metadata: Metadata::default(),
            inner_field: None,
            unknown_list: None,
            errors: false,
            echoes: false,
        }
    }

    /// The list `name`, whose elements are what the change's field makes of them.
    fn list<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        which: usize,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let Self { walk, place, field, counts, .. } = self;
        let field = *field;
        let mut index = counts.get(which).copied().unwrap_or_default();
        let read = map.next_value_seed(Elements(&mut |raw| {
            let place = Place { element: Some((name, index)), ..*place };
            index += 1;
            let what = if walk.is_spoilt(raw) {
                What::Bad { why: Defect::NotUtf8 }
            } else {
                element(name, field, raw)
            };
            walk.element(place, what);
            walk.over.is_none()
        }));
        if let Some(count) = counts.get_mut(which) {
            *count = index;
        }
        read
    }
}

/// One element of the list `name` under `field`; without a field the lists say what they are.
fn element(name: &str, field: Option<&str>, raw: &RawValue) -> What {
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

impl Objects for Value<'_> {
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let before = self.walk.updates.len();
        self.metadata = Metadata::default();
        let read = self.members(keys, map);
        // What was found before a defect is sound, and whose it is may have been told.
        self.metadata.stamp(self.walk.since(before));
        read
    }

    fn odd(&mut self) {
        self.walk.other(self.place, What::Bad { why: Defect::NotAnObject });
    }
}

impl Value<'_> {
    fn members<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error> {
        while let Some(key) = keys.next(map)? {
            match key.as_str() {
                "statuses" => self.list("statuses", 0, map)?,
                "messages" => self.list("messages", 1, map)?,
                "user_actions" => self.list("user_actions", 2, map)?,
                "metadata" => {
                    let raw: Option<&RawValue> = map.next_value()?;
                    self.metadata = raw.map(Metadata::read).unwrap_or_default();
                }
                "field" => self.inner_field = word(map.next_value()?),
                "contacts" | "messaging_product" => drop(map.next_value::<IgnoredAny>()?),
                "errors" => {
                    self.errors = true;
                    map.next_value::<IgnoredAny>()?;
                }
                "message_echoes" => {
                    self.echoes = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    let raw: Option<&RawValue> = map.next_value()?;
                    if raw.is_some_and(|raw| raw.get().starts_with('[')) {
                        self.unknown_list.get_or_insert(key);
                    }
                }
            }
        }
        Ok(())
    }
}

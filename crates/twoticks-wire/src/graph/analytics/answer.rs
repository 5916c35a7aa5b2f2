//! Reading: the points of an answer, in whichever of the shapes it comes.
//!
//! `{field: {data: [{data_points}]}, id}`, `{field: {data_points}, id}`,
//! `{data: [{data_points}], paging}` (which is also what follows a first page of the other two)
//! and a bare list are the same to whoever asks.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ButtonClicked, Clicks, Cost, MessagesPoint, PricingPoint, TemplateDay};
use crate::webhook::Defect;
use crate::webhook::json::{self, Fields, needed};

/// The longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many points of one answer are read.
pub const POINTS_MAX: usize = 100_000;

/// What one answer tells, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its points.
    pub points: Vec<T>,
    /// Points that could not be read: why, each.
    pub bad: Vec<Defect>,
    /// Where it goes on: the whole address, which has the access token in it and is no text for a
    /// log. `None` on the last page.
    pub next: Option<String>,
    /// Where it goes on: the value of the parameter `after`. It may be there on the last page too.
    pub after: Option<String>,
}

/// Why an answer could not be read. Errors of the Graph API are answers of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Longer than [`ANSWER_BYTES_MAX`].
    #[error("the answer has `{bytes}` bytes, at most `{ANSWER_BYTES_MAX}` are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not one JSON text.
    #[error("the answer is not JSON")]
    NotJson,
    /// JSON, but none of the known shapes.
    #[error("the answer has neither `{field}` nor `data` nor `data_points`")]
    NoPoints {
        /// The field that was asked for.
        field: &'static str,
    },
    /// More points than [`POINTS_MAX`].
    #[error("the answer has more than `{POINTS_MAX}` points; ask for fewer days")]
    TooMany,
}

/// Reads an answer to [`super::templates`]. Days come as they are told, repetitions included.
///
/// # Errors
///
/// If the answer as a whole cannot be read; a point that cannot is in [`Page::bad`].
pub fn read_templates(answer: &[u8]) -> Result<Page<TemplateDay>, Unread> {
    let mut page = page(answer, "template_analytics", &mut template_day)?;
    page.points.sort_by(|a, b| {
        (a.start_seconds, &a.template_id, &a.product).cmp(&(
            b.start_seconds,
            &b.template_id,
            &b.product,
        ))
    });
    Ok(page)
}

/// Reads an answer to [`super::messages`].
///
/// # Errors
///
/// If the answer as a whole cannot be read; a point that cannot is in [`Page::bad`].
pub fn read_messages(answer: &[u8]) -> Result<Page<MessagesPoint>, Unread> {
    let mut page = page(answer, "analytics", &mut |raw, _| messages_point(raw))?;
    page.points.sort_by_key(|point| (point.start_seconds, point.end_seconds));
    Ok(page)
}

/// Reads an answer to [`super::pricing`].
///
/// # Errors
///
/// If the answer as a whole cannot be read; a point that cannot is in [`Page::bad`].
pub fn read_pricing(answer: &[u8]) -> Result<Page<PricingPoint>, Unread> {
    let mut page = page(answer, "pricing_analytics", &mut |raw, _| pricing_point(raw))?;
    page.points.sort_by_key(|point| (point.start_seconds, point.end_seconds));
    Ok(page)
}

/// Reads one point, given the `product_type` of what it stands in.
type ReadPoint<'r, T> = &'r mut dyn FnMut(&RawValue, Option<&str>) -> Result<T, Defect>;

fn page<T>(answer: &[u8], field: &'static str, read: ReadPoint<'_, T>) -> Result<Page<T>, Unread> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(Unread::TooLong { bytes: answer.len() });
    }
    let raw: &RawValue = serde_json::from_slice(answer).map_err(|_| Unread::NotJson)?;
    let page = Page { points: Vec::new(), bad: Vec::new(), next: None, after: None };
    let mut walk = Walk { page, read, full: false };
    if raw.get().starts_with('[') {
        walk.groups(raw);
    } else {
        let root = Envelope::of(raw).ok_or(Unread::NoPoints { field })?;
        let asked = member(raw, field);
        match &asked {
            Some(inner) if inner.get().starts_with('[') => walk.groups(inner),
            Some(inner) => {
                if let Some(inner) = Envelope::of(inner) {
                    walk.envelope(&inner);
                }
            }
            // A field with nothing in it is left out, and the id alone is told.
            None if root.is_told() || root.id.is_some() => walk.envelope(&root),
            None => return Err(Unread::NoPoints { field }),
        }
    }
    if walk.full { Err(Unread::TooMany) } else { Ok(walk.page) }
}

fn member<'a>(raw: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let members = json::members(raw)?;
    members.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// What may hold points: the answer, its field, or one group of points.
struct Envelope<'a> {
    id: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_points: Option<&'a RawValue>,
    paging: Option<&'a RawValue>,
    product_type: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn of(raw: &'a RawValue) -> Option<Self> {
        let mut envelope =
            Self { id: None, data: None, data_points: None, paging: None, product_type: None };
        for (key, value) in json::members(raw)? {
            match key.as_ref() {
                "id" => envelope.id = Some(value),
                "data" => envelope.data = Some(value),
                "data_points" => envelope.data_points = Some(value),
                "paging" => envelope.paging = Some(value),
                "product_type" => envelope.product_type = Some(value),
                _ => {}
            }
        }
        Some(envelope)
    }

    fn is_told(&self) -> bool {
        self.data.is_some() || self.data_points.is_some()
    }
}

#[derive(Deserialize)]
struct RawPaging<'a> {
    #[serde(borrow)]
    next: Option<&'a RawValue>,
    cursors: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCursors<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
}

struct Walk<'r, T> {
    page: Page<T>,
    read: ReadPoint<'r, T>,
    full: bool,
}

impl<T> Walk<'_, T> {
    fn envelope(&mut self, envelope: &Envelope<'_>) {
        if let Some(data) = envelope.data {
            self.groups(data);
        }
        if envelope.data_points.is_some() {
            self.points(envelope);
        }
        if let Some(paging) = envelope.paging {
            self.paging(paging);
        }
    }

    /// A list of groups of points, or of points.
    fn groups(&mut self, list: &RawValue) {
        json::elements(list, &mut |element| {
            match Envelope::of(element) {
                Some(group) if group.data_points.is_some() => self.points(&group),
                _ => self.point(element, None),
            }
            !self.full
        });
    }

    fn points(&mut self, group: &Envelope<'_>) {
        let product = group.product_type.and_then(json::word);
        let product = product.map(|product| product.to_ascii_lowercase());
        if let Some(points) = group.data_points {
            json::elements(points, &mut |point| {
                self.point(point, product.as_deref());
                !self.full
            });
        }
    }

    fn point(&mut self, raw: &RawValue, product: Option<&str>) {
        if self.page.points.len() + self.page.bad.len() >= POINTS_MAX {
            self.full = true;
            return;
        }
        match (self.read)(raw, product) {
            Ok(point) => self.page.points.push(point),
            Err(defect) => self.page.bad.push(defect),
        }
    }

    fn paging(&mut self, raw: &RawValue) {
        let Ok(RawPaging { next, cursors }) = json::object(raw) else { return };
        self.page.next = next.and_then(json::word);
        let cursors = cursors.and_then(|raw| json::object::<RawCursors<'_>>(raw).ok());
        self.page.after = cursors.and_then(|cursors| cursors.after).and_then(json::word);
    }
}

#[derive(Deserialize)]
struct RawTemplateDay<'a> {
    #[serde(borrow)]
    template_id: Option<&'a RawValue>,
    start: Option<&'a RawValue>,
    product_type: Option<&'a RawValue>,
    sent: Option<&'a RawValue>,
    delivered: Option<&'a RawValue>,
    read: Option<&'a RawValue>,
    clicked: Option<&'a RawValue>,
    cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawClicked<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    button_content: Option<&'a RawValue>,
    count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCost<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
}

fn template_day(raw: &RawValue, product: Option<&str>) -> Result<TemplateDay, Defect> {
    let told: RawTemplateDay<'_> = json::object(raw)?;
    let mut fields = Fields::default();
    let own_product = fields.word("product_type", told.product_type);
    Ok(TemplateDay {
        template_id: needed("template_id", told.template_id, json::word)?,
        start_seconds: needed("start", told.start, json::integer)?,
        product: own_product.map(|own| own.to_ascii_lowercase()).or(product.map(str::to_owned)),
        sent: count(&mut fields, "sent", told.sent),
        delivered: count(&mut fields, "delivered", told.delivered),
        read: count(&mut fields, "read", told.read),
        clicks: clicks(&mut fields, told.clicked),
        cost: cost(&mut fields, told.cost),
        unread: sorted(fields.unread),
    })
}

/// Each name once, in one order, so that merging twice changes nothing.
fn sorted(mut unread: Vec<&'static str>) -> Vec<&'static str> {
    unread.sort_unstable();
    unread.dedup();
    unread
}

/// A count: a whole number that is not negative.
fn count(fields: &mut Fields, name: &'static str, raw: Option<&RawValue>) -> Option<u64> {
    let told = fields.integer(name, raw)?;
    let count = u64::try_from(told).ok();
    if count.is_none() {
        fields.unread.push(name);
    }
    count
}

fn clicks(fields: &mut Fields, raw: Option<&RawValue>) -> Option<Clicks> {
    let raw = raw.filter(|raw| raw.get() != "null")?;
    let mut clicks = Clicks::default();
    if json::integer(raw).is_some() {
        clicks.total = Some(count(fields, "clicked", Some(raw))?);
        return Some(clicks);
    }
    json::elements(raw, &mut |element| {
        let Some(told) = fields.object::<RawClicked<'_>>("clicked", Some(element)) else {
            return true;
        };
        let kind = fields.word("clicked.type", told.kind);
        let content = fields.text("clicked.button_content", told.button_content);
        match (kind, count(fields, "clicked.count", told.count)) {
            (Some(kind), Some(count)) => {
                let button = ButtonClicked { kind, content: content.unwrap_or_default() };
                let kept = clicks.buttons.entry(button).or_default();
                // Two buttons of the same text are two elements.
                *kept = kept.saturating_add(count);
            }
            (None, _) | (_, None) => fields.unread.push("clicked"),
        }
        true
    });
    Some(clicks)
}

fn cost(fields: &mut Fields, raw: Option<&RawValue>) -> Option<Cost> {
    let mut cost =
        Cost { spent_micros: None, per_delivered_micros: None, per_url_click_micros: None };
    json::elements(raw?, &mut |element| {
        let Some(told) = fields.object::<RawCost<'_>>("cost", Some(element)) else { return true };
        let kind = fields.word("cost.type", told.kind);
        let value = fields.micros("cost.value", told.value);
        match kind.as_deref() {
            Some("amount_spent") => cost.spent_micros = value,
            Some("cost_per_delivered") => cost.per_delivered_micros = value,
            Some("cost_per_url_button_click") => cost.per_url_click_micros = value,
            // An open list.
            _ => {}
        }
        true
    });
    let Cost { spent_micros, per_delivered_micros, per_url_click_micros } = &cost;
    let is_told = spent_micros.or(*per_delivered_micros).or(*per_url_click_micros).is_some();
    is_told.then_some(cost)
}

#[derive(Deserialize)]
struct RawMessages<'a> {
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    end: Option<&'a RawValue>,
    sent: Option<&'a RawValue>,
    delivered: Option<&'a RawValue>,
}

fn messages_point(raw: &RawValue) -> Result<MessagesPoint, Defect> {
    let told: RawMessages<'_> = json::object(raw)?;
    let mut fields = Fields::default();
    Ok(MessagesPoint {
        start_seconds: needed("start", told.start, json::integer)?,
        end_seconds: needed("end", told.end, json::integer)?,
        sent: count(&mut fields, "sent", told.sent),
        delivered: count(&mut fields, "delivered", told.delivered),
        unread: sorted(fields.unread),
    })
}

#[derive(Deserialize)]
struct RawPricing<'a> {
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    end: Option<&'a RawValue>,
    country: Option<&'a RawValue>,
    phone_number: Option<&'a RawValue>,
    tier: Option<&'a RawValue>,
    pricing_type: Option<&'a RawValue>,
    pricing_category: Option<&'a RawValue>,
    volume: Option<&'a RawValue>,
    cost: Option<&'a RawValue>,
}

fn pricing_point(raw: &RawValue) -> Result<PricingPoint, Defect> {
    let told: RawPricing<'_> = json::object(raw)?;
    let mut fields = Fields::default();
    Ok(PricingPoint {
        start_seconds: needed("start", told.start, json::integer)?,
        end_seconds: needed("end", told.end, json::integer)?,
        country: fields.word("country", told.country),
        phone_number: fields.word("phone_number", told.phone_number),
        tier: fields.word("tier", told.tier),
        pricing_type: fields.word("pricing_type", told.pricing_type),
        pricing_category: fields.word("pricing_category", told.pricing_category),
        volume: count(&mut fields, "volume", told.volume),
        cost_micros: fields.micros("cost", told.cost),
        unread: sorted(fields.unread),
    })
}

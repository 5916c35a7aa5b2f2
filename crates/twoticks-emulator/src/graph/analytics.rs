//! Analytics, from the emulator's own book. Days are UTC's, and what is nothing is left out.
//!
//! As with Meta, reads and clicks of a template are told for a week after the message was sent, and
//! nothing is told that is older than the field looks back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};
use twoticks_core::clock::{DAY, SECOND};
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::{PhoneNumber, Template};

use super::given::Given;
use super::refusal::Refusal;
use super::{Asked, Here};
use crate::book::{Fact, What};
use crate::whatsapp::template_id;

/// How many templates one call may ask for (Meta).
const TEMPLATES_MAX: usize = 10;
/// How far back templates and everything else can be asked for, in seconds (Meta).
const TEMPLATES_BACK: i64 = 90 * DAY / SECOND;
const ALL_BACK: i64 = 365 * DAY / SECOND;
/// For how long after a message was sent its reads and clicks are told, in seconds (Meta).
const TOLD_FOR: i64 = 7 * DAY / SECOND;
const DAY_SECONDS: i64 = DAY / SECOND;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    HalfHour,
    Day,
    Month,
}

impl Grain {
    /// The bucket that a second lies in: its start, and the start of the next.
    fn of(self, second: i64) -> (i64, i64) {
        let by = match self {
            Self::HalfHour => DAY_SECONDS / 48,
            Self::Day => DAY_SECONDS,
            Self::Month => return month_of(second).unwrap_or((second, second + 1)),
        };
        let start = second.div_euclid(by) * by;
        (start, start + by)
    }
}

fn month_of(second: i64) -> Option<(i64, i64)> {
    let date = Timestamp::from_second(second).ok()?.to_zoned(TimeZone::UTC).date();
    let first = date.first_of_month();
    let next = first.checked_add(1.month()).ok()?;
    Some((midnight(first)?, midnight(next)?))
}

fn midnight(date: Date) -> Option<i64> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// What span of time is asked for, and how it is cut.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: i64,
    grain: Grain,
}

impl Span {
    /// Reads `start`, `end` and `granularity`, one of `grains`; what is too long ago is cut off.
    fn read(
        given: &Given,
        grains: &[(&str, Grain)],
        (now, back): (i64, i64),
    ) -> Result<Self, Refusal> {
        let [start, end] = ["start", "end"].map(|name| {
            let text = given.text(name).ok_or_else(|| Refusal::missing(name))?;
            let date = || text.parse::<Date>().ok().and_then(midnight);
            text.parse::<i64>().ok().or_else(date).ok_or_else(|| {
                let rule = "must be a UNIX timestamp in seconds or YYYY-MM-DD";
                Refusal::parameter(format!("Param {name} {rule}"))
            })
        });
        let (start, end) = (start?, end?);
        if end < start {
            return Err(Refusal::parameter("Param end must not be before start"));
        }
        let word = given.text("granularity").ok_or_else(|| Refusal::missing("granularity"))?;
        let grain = grains.iter().find(|(known, _)| known.eq_ignore_ascii_case(&word));
        let Some((_, grain)) = grain else {
            let all: Vec<&str> = grains.iter().map(|(known, _)| *known).collect();
            let rule = format!("Param granularity must be one of {{{}}}", all.join(", "));
            return Err(Refusal::parameter(rule));
        };
        Ok(Self { start: start.max(now - back), end, grain: *grain })
    }

    /// The bucket of a second, if any of it is asked for.
    fn bucket(&self, second: i64) -> Option<(i64, i64)> {
        let (from, to) = self.grain.of(second);
        (from < self.end.max(self.start + 1) && to > self.start).then_some((from, to))
    }
}

/// Reads the book where it may block: a long one takes a while.
async fn read<T: Send + 'static>(
    here: &Here,
    mut sums: T,
    mut add: impl FnMut(&mut T, &Fact<'_>) + Send + 'static,
) -> Result<T, Refusal> {
    let (whatsapp, channel) = (Arc::clone(&here.whatsapp), here.channel.id.clone());
    let reading = tokio::task::spawn_blocking(move || {
        whatsapp.read_book(|book| book.facts(&channel, |fact| add(&mut sums, fact)));
        sums
    });
    reading.await.map_err(|error| Refusal::of(2, error.to_string()))
}

/// Words of an open list, those of `all` that are asked for; all of them if nobody says.
fn words(given: &Given, name: &str, all: &[&'static str]) -> Result<Vec<&'static str>, Refusal> {
    let Some(asked) = given.list(name).filter(|asked| !asked.is_empty()) else {
        return Ok(all.to_vec());
    };
    let found = asked.iter().map(|word| {
        all.iter().find(|known| known.eq_ignore_ascii_case(word)).copied().ok_or_else(|| {
            let rule = format!("Param {name} must be of {{{}}}", all.join(", "));
            Refusal::parameter(rule)
        })
    });
    found.collect()
}

/// The numbers that are asked for; all of the channel's if nobody says.
fn numbers(here: &Here, given: &Given) -> Result<BTreeSet<PhoneNumber>, Refusal> {
    let own = here.snapshot.numbers_of(&here.channel.id);
    let Some(asked) = given.list("phone_numbers").filter(|asked| !asked.is_empty()) else {
        return Ok(own.iter().map(|number| number.phone_number.clone()).collect());
    };
    let found = asked.iter().map(|text| {
        let number = PhoneNumber::new(text).ok();
        number.filter(|it| own.iter().any(|known| known.phone_number == *it)).ok_or_else(|| {
            Refusal::parameter("Param phone_numbers has a number that is not of this account")
        })
    });
    found.collect()
}

/// Where recipients live is not kept.
fn no_countries(given: &Given) -> Result<(), Refusal> {
    match given.list("country_codes").filter(|asked| !asked.is_empty()) {
        Some(_) => Err(Refusal::parameter("country_codes is not played: leave it out")),
        None => Ok(()),
    }
}

/// Millionths as a number with a point.
fn money(micros: i64) -> Value {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.parse::<f64>().map_or(Value::Null, Value::from)
}

const METRICS: [&str; 5] = ["COST", "CLICKED", "DELIVERED", "READ", "SENT"];
/// What Meta's own list has besides, for websites and apps: nothing is ever told of it.
const CONVERSIONS: [&str; 14] = [
    "APP_ACTIVATIONS",
    "APP_ADD_TO_CART",
    "APP_CHECKOUTS_INITIATED",
    "APP_PURCHASES",
    "APP_PURCHASES_CONVERSION_VALUE",
    "REPLIED",
    "WEBSITE_ADD_TO_CART",
    "WEBSITE_CHECKOUTS_INITIATED",
    "WEBSITE_LEAD",
    "WEBSITE_LEADS",
    "WEBSITE_PURCHASES",
    "WEBSITE_PURCHASES_CONVERSION_VALUE",
    "WEBSITE_REGISTRATIONS",
    "WEBSITE_VIEW_CONTENT",
];
/// The products, and whether they are the Marketing Messages API, which has two names.
const PRODUCTS: [(&str, bool); 3] = [
    ("CLOUD_API", false),
    ("MARKETING_MESSAGES_API_FOR_WHATSAPP", true),
    ("MARKETING_MESSAGES_LITE_API", true),
];

/// The sums of a template on a day.
#[derive(Debug, Default)]
struct OfTemplate {
    sent: i64,
    delivered: i64,
    read: i64,
    /// By type and text of the button.
    clicked: BTreeMap<(&'static str, String), i64>,
    micros: i64,
    is_cost_unknown: bool,
}

/// What is asked of templates.
struct Wanted {
    span: Span,
    now: i64,
    /// Id and category by template.
    templates: BTreeMap<Template, (String, Category)>,
    metrics: Vec<&'static str>,
    product: &'static str,
    is_lite: bool,
}

impl Wanted {
    fn read(here: &Here, given: &Given) -> Result<Self, Refusal> {
        let now = here.now.second();
        let span = Span::read(given, &[("DAILY", Grain::Day)], (now, TEMPLATES_BACK))?;
        let ids = given.list("template_ids").ok_or_else(|| Refusal::missing("template_ids"))?;
        if ids.is_empty() || ids.len() > TEMPLATES_MAX {
            let rule = format!("Param template_ids must have 1 to {TEMPLATES_MAX} elements.");
            return Err(Refusal::parameter(rule));
        }
        let known: BTreeMap<String, _> = here
            .snapshot
            .templates_of(&here.channel.id)
            .map(|template| (template_id(template), Arc::clone(template)))
            .collect();
        let mut templates = BTreeMap::new();
        for id in ids {
            let Some(template) = known.get(&id) else {
                let rule = "Param template_ids has a template that is not of this account";
                return Err(Refusal::parameter(rule));
            };
            let standing = here.whatsapp.template(&here.channel.id, &template.identity());
            let category = standing.map_or(template.category, |(category, _)| category);
            templates.insert(template.identity(), (id, category));
        }
        let all: Vec<&str> = METRICS.into_iter().chain(CONVERSIONS).collect();
        let metrics = words(given, "metric_types", &all)?;
        let product = given.text("product_type").unwrap_or_else(|| "CLOUD_API".to_owned());
        let found = PRODUCTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&product));
        let Some((product, is_lite)) = found.copied() else {
            let all = PRODUCTS.map(|(known, _)| known).join(", ");
            let rule = format!("Param product_type must be one of {{{all}}}");
            return Err(Refusal::parameter(rule));
        };
        Ok(Self { span, now, templates, metrics, product, is_lite })
    }

    fn add(&self, sums: &mut BTreeMap<(i64, String), OfTemplate>, fact: &Fact<'_>) {
        let found = fact.template.and_then(|template| self.templates.get(template));
        let Some((id, category)) = found.filter(|_| fact.is_lite == self.is_lite) else { return };
        let Some((start, _)) = self.span.bucket(fact.second) else { return };
        let is_told = fact.sent.is_some_and(|sent| self.now - sent <= TOLD_FOR);
        let sums = sums.entry((start, id.clone())).or_default();
        match fact.what {
            What::Sent => sums.sent += 1,
            What::Delivered { price: _, cost_micros } => {
                sums.delivered += 1;
                sums.micros += cost_micros.unwrap_or(0);
                sums.is_cost_unknown |= cost_micros.is_none();
            }
            What::Read => sums.read += i64::from(is_told),
            What::Clicked { button, is_first } if is_told => {
                let mut click = |kind: &'static str| {
                    let key = (kind, button.text.as_str().to_owned());
                    *sums.clicked.entry(key).or_default() += 1;
                };
                match button.kind {
                    _ if *category == Category::Authentication => {}
                    ButtonKind::QuickReply => click("quick_reply_button"),
                    ButtonKind::Url => {
                        click("url_button");
                        if is_first {
                            click("unique_url_button");
                        }
                    }
                    ButtonKind::PhoneNumber | ButtonKind::Interactive | ButtonKind::UrlMachine => {}
                }
            }
            What::Clicked { .. } => {}
        }
    }

    /// A day of a template; nothing if nothing happened.
    fn point(&self, (start, id): (i64, String), sums: &OfTemplate) -> Option<Value> {
        let OfTemplate { sent, delivered, read, clicked, micros, is_cost_unknown } = sums;
        if *sent + *delivered + *read == 0 && clicked.is_empty() {
            return None;
        }
        let mut point = Map::new();
        let mut put = |name: &str, value: Value| point.insert(name.to_owned(), value);
        put("template_id", id.into());
        put("start", start.into());
        put("end", (start + DAY_SECONDS).into());
        let is_wanted = |metric| self.metrics.contains(&metric);
        for (metric, name, count) in
            [("SENT", "sent", sent), ("DELIVERED", "delivered", delivered), ("READ", "read", read)]
        {
            if is_wanted(metric) {
                put(name, (*count).into());
            }
        }
        if is_wanted("CLICKED") && !clicked.is_empty() {
            let rows = clicked.iter().map(|((kind, content), count)| {
                json!({"type": kind, "button_content": content, "count": count})
            });
            put("clicked", rows.collect());
        }
        if is_wanted("COST") && !is_cost_unknown && *delivered > 0 {
            let mut rows = vec![
                json!({"type": "amount_spent", "value": money(*micros)}),
                json!({"type": "cost_per_delivered", "value": money(micros / delivered)}),
            ];
            let is_link = |((kind, _), count): (&(&str, String), &i64)| {
                if *kind == "url_button" { *count } else { 0 }
            };
            let opened: i64 = clicked.iter().map(is_link).sum();
            if opened > 0 {
                let value = money(micros / opened);
                rows.push(json!({"type": "cost_per_url_button_click", "value": value}));
            }
            put("cost", rows.into());
        }
        Some(point.into())
    }
}

/// `template_analytics`.
pub(super) async fn templates(here: &Here, given: &Given) -> Result<Value, Refusal> {
    if !here.whatsapp.has_insights(&here.channel.id) {
        return Err(Refusal::of(200_007, "Template Insights not enabled").with(
            "Template insights have to be enabled for this account: \
             POST is_enabled_for_insights=true",
        ));
    }
    let wanted = Arc::new(Wanted::read(here, given)?);
    let by = Arc::clone(&wanted);
    let sums = read(here, BTreeMap::new(), move |sums, fact| by.add(sums, fact)).await?;
    let points: Vec<Value> =
        sums.into_iter().filter_map(|(key, sums)| wanted.point(key, &sums)).collect();
    let mut answer = json!({
        "data": [{
            "granularity": "DAILY", "product_type": wanted.product.to_lowercase(),
            "data_points": points,
        }],
        "paging": {"cursors": {"before": "MAZDZD", "after": "MjQZD"}},
    });
    if given.whether("use_waba_timezone")? == Some(true)
        && let Some(fields) = answer.as_object_mut()
    {
        fields.insert("waba_timezone".to_owned(), "UTC".into());
    }
    Ok(answer)
}

const MESSAGING: [(&str, Grain); 3] =
    [("HALF_HOUR", Grain::HalfHour), ("DAY", Grain::Day), ("MONTH", Grain::Month)];
/// Of templates, of other messages that are sent, and of those that come in.
const PRODUCT_TYPES: [&str; 3] = ["0", "2", "100"];

/// `analytics`: what numbers sent and what arrived.
pub(super) async fn messaging(here: &Here, given: &Given) -> Result<Value, Refusal> {
    let span = Span::read(given, &MESSAGING, (here.now.second(), ALL_BACK))?;
    no_countries(given)?;
    let numbers = numbers(here, given)?;
    let products = words(given, "product_types", &PRODUCT_TYPES)?;
    let by = numbers.clone();
    let sums = read(here, BTreeMap::new(), move |sums: &mut BTreeMap<_, [i64; 2]>, fact| {
        let product = if fact.template.is_some() { "0" } else { "2" };
        let is_wanted = products.contains(&product) && by.contains(fact.number);
        let Some(bucket) = span.bucket(fact.second).filter(|_| is_wanted) else { return };
        let place = match fact.what {
            What::Sent => 0,
            What::Delivered { .. } => 1,
            What::Read | What::Clicked { .. } => return,
        };
        let counts = sums.entry(bucket).or_default();
        counts.iter_mut().skip(place).take(1).for_each(|count| *count += 1);
    })
    .await?;
    let points = sums.into_iter().map(|((start, end), [sent, delivered])| {
        json!({"start": start, "end": end, "sent": sent, "delivered": delivered})
    });
    let word = MESSAGING.iter().find(|(_, grain)| *grain == span.grain).map(|(word, _)| word);
    Ok(json!({
        "phone_numbers": numbers, "country_codes": [], "granularity": word,
        "data_points": points.collect::<Value>(),
    }))
}

/// The same as an edge of its own.
pub(super) async fn messaging_edge(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    Ok(json!({"data": [messaging(here, &asked.given).await?]}))
}

const PRICING: [(&str, Grain); 3] =
    [("HALF_HOUR", Grain::HalfHour), ("DAILY", Grain::Day), ("MONTHLY", Grain::Month)];
const DIMENSIONS: [&str; 3] = ["PHONE", "PRICING_CATEGORY", "PRICING_TYPE"];
const PRICING_METRICS: [&str; 2] = ["COST", "VOLUME"];

/// A word of a price as analytics write it.
fn capitals(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

/// By what prices are told apart: start and end, number, category, type.
type OfPrice = ((i64, i64), Option<PhoneNumber>, Option<String>, Option<String>);

/// `pricing_analytics`: what was delivered, and what it cost where that is known.
pub(super) async fn pricing(here: &Here, given: &Given) -> Result<Value, Refusal> {
    let span = Span::read(given, &PRICING, (here.now.second(), ALL_BACK))?;
    no_countries(given)?;
    let numbers = numbers(here, given)?;
    let dimensions = match given.list("dimensions") {
        None => Vec::new(),
        Some(_) => words(given, "dimensions", &DIMENSIONS)?,
    };
    let metrics = words(given, "metric_types", &PRICING_METRICS)?;
    let lists = ["pricing_categories", "pricing_types"].map(|name| given.list(name));
    let has = |name: &str| dimensions.contains(&name);
    let [by_phone, by_category, by_kind] = DIMENSIONS.map(has);
    let sums = read(here, BTreeMap::new(), move |sums: &mut BTreeMap<OfPrice, _>, fact| {
        let What::Delivered { price: Some(price), cost_micros } = fact.what else { return };
        let (category, kind) = (capitals(price.category), capitals(price.kind));
        let fits = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|it| it.eq_ignore_ascii_case(word)))
        };
        let [categories, kinds] = &lists;
        let is_wanted =
            numbers.contains(fact.number) && fits(categories, &category) && fits(kinds, &kind);
        let Some(bucket) = span.bucket(fact.second).filter(|_| is_wanted) else { return };
        let number = by_phone.then(|| fact.number.clone());
        let key = (bucket, number, by_category.then_some(category), by_kind.then_some(kind));
        let (volume, cost) = sums.entry(key).or_insert((0_i64, Some(0_i64)));
        *volume += 1;
        *cost = cost.zip(cost_micros).map(|(sum, micros)| sum + micros);
    })
    .await?;
    let points =
        sums.into_iter().map(|(((start, end), number, category, kind), (volume, cost))| {
            let mut point = Map::new();
            let mut put = |name: &str, value: Option<Value>| {
                point.extend(value.map(|value| (name.to_owned(), value)));
            };
            put("start", Some(start.into()));
            put("end", Some(end.into()));
            put("phone_number", number.map(|number| json!(number)));
            put("pricing_category", category.map(Value::from));
            put("pricing_type", kind.map(Value::from));
            put("volume", metrics.contains(&"VOLUME").then(|| volume.into()));
            put("cost", cost.filter(|_| metrics.contains(&"COST")).map(money));
            Value::from(point)
        });
    let points: Vec<Value> = points.collect();
    Ok(json!({"data": [{"data_points": points}]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_utc() {
        // 2026-02-28T23:59:59Z.
        let second = 1_772_323_199;
        assert_eq!(Grain::HalfHour.of(second), (1_772_321_400, 1_772_323_200));
        assert_eq!(Grain::Day.of(second), (1_772_236_800, 1_772_323_200));
        assert_eq!(Grain::Month.of(second), (1_769_904_000, 1_772_323_200));
    }

    #[test]
    fn a_bucket_is_asked_for_if_any_of_it_is() {
        let day = 1_718_064_000;
        let span = |start, end| Span { start, end, grain: Grain::Day };
        for (of, is_in) in [
            (span(day, day + 58_745), true),
            (span(day + 100, day + 200), true),
            (span(day, day), true),
            (span(day - DAY_SECONDS, day), false),
            (span(day + DAY_SECONDS, day + 2 * DAY_SECONDS), false),
        ] {
            assert_eq!(of.bucket(day + 50).is_some(), is_in, "{of:?}");
        }
    }

    #[test]
    fn money_has_six_places() {
        assert_eq!(money(41_100).to_string(), "0.0411");
        assert_eq!(money(0).to_string(), "0.0");
        assert_eq!(money(12_000_001).to_string(), "12.000001");
    }
}

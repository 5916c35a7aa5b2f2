//! The overview: sent, delivered, read and clicked over the chosen days, as a chart and a table,
//! by template and by number.
//!
//! The address says everything: channel, days and zone. Every figure is a sum of the ledger's; what
//! is not known (days to come) is a dash, never a zero, and what the API leaves out is marked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template as _;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Address, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use twoticks_core::channel::Side;
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, Template};
use twoticks_core::query::{Point, Query, Select, Subject};
use twoticks_core::totals::{Attribution, Totals};
use twoticks_core::window::{Granularity, Window, windows};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Channel, StatusSource, TemplateRecord};

use super::channels::Choosable;
use super::chart::{Chart, chart, grouped};
use super::{Refusal, Visitor, channels, cookies, setup, visitor};
use crate::app::App;

/// The longest period of a page, in days.
const DAYS_MAX: i32 = 366;
/// A minute, in milliseconds.
const MINUTE: i64 = 60 * SECOND;
/// How many days are shown when none are chosen.
const DAYS_DEFAULT: i32 = 14;

/// What the address of the page can say.
#[derive(Deserialize)]
pub(super) struct Choice {
    t: Option<String>,
    channel: Option<String>,
    from: Option<String>,
    to: Option<String>,
    zone: Option<String>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    choice: Result<Address<Choice>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Address(choice) = choice.map_err(|_| {
        Refusal::Address("Each of channel, from, to and zone can be given once.".to_owned())
    })?;
    let visitor = visitor(State(&app), choice.t.as_deref(), cookies(&headers))?;
    let html = render(&app, &visitor, &choice).await?;
    let cookie = visitor.cookie.map(|cookie| [(header::SET_COOKIE, cookie)]);
    Ok((cookie, Html(html)).into_response())
}

async fn render(app: &App, visitor: &Visitor, choice: &Choice) -> Result<String, Refusal> {
    let account = &visitor.account;
    let now = app.clock.now();
    let period = Period::chosen(choice, now)?;
    let directory = app.directory.snapshot();
    let chosen = channels::chosen(&directory, account, choice.channel.as_deref())?;
    let chosen = chosen.as_deref();
    let figures = match chosen {
        Some(channel) => Some(figures(app, &directory, &channel.id, &period).await?),
        None => None,
    };
    let page = Page {
        label: app.rehearsal.as_ref().map(|rehearsal| rehearsal.label()),
        account: directory.account(account.as_str()).map_or("", |account| account.name.as_str()),
        channels: channels::choosable(&directory, account, chosen),
        from: period.from.to_string(),
        to: period.to.to_string(),
        zone: period.zone_name.clone(),
        figures,
        may_set_up: visitor.session.is_some(),
        to_connect: chosen.filter(|it| lacks_whatsapp(app, it)).map(|it| setup::address(&it.id)),
    };
    page.render().map_err(|_| Refusal::Unavailable)
}

/// Whether a channel is to be connected with WhatsApp and is not.
fn lacks_whatsapp(app: &App, channel: &Channel) -> bool {
    channel.connection.is_none()
        && channel.status_source == StatusSource::CloudApi
        && app.rehearsal.is_none()
}

/// The days chosen, both included, in a zone.
struct Period {
    from: Date,
    to: Date,
    zone: TimeZone,
    zone_name: String,
    days: Vec<Window>,
    /// When the page was asked for.
    now: Time,
}

impl Period {
    fn chosen(choice: &Choice, now: Time) -> Result<Self, Refusal> {
        let refuse = |text: String| Refusal::Address(text);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let zone_name = given(&choice.zone).unwrap_or_else(|| "UTC".to_owned());
        let zone = TimeZone::get(&zone_name).map_err(|_| {
            refuse(format!(
                "`{zone_name}` is no time zone; write an IANA name such as Asia/Jakarta."
            ))
        })?;
        let date = |text: Option<String>, otherwise: Date| match text {
            None => Ok(otherwise),
            Some(text) => text.parse::<Date>().map_err(|_| {
                refuse(format!("`{text}` is no date; write year, month and day as 2026-11-03."))
            }),
        };
        let today = Timestamp::from_millisecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let to = date(given(&choice.to), zone.to_datetime(today).date())?;
        let from = date(given(&choice.from), to.saturating_sub((DAYS_DEFAULT - 1).days()))?;
        let outside = || refuse("That is outside of the calendar.".to_owned());
        let length = from.until(to).map_err(|_| outside())?.get_days();
        if !(0..DAYS_MAX).contains(&length) {
            return Err(refuse(format!(
                "From {from} to {to} is no period of 1 to {DAYS_MAX} days."
            )));
        }
        let instant = |date: Date| {
            let zoned = date.to_zoned(zone.clone()).map_err(|_| outside())?;
            Ok(Time(zoned.timestamp().as_millisecond()))
        };
        let start = instant(from)?;
        let end = instant(to.checked_add(1.day()).map_err(|_| outside())?)?;
        let days = windows(start, end, Granularity::Daily, &zone).map_err(|_| outside())?;
        Ok(Self { from, to, zone, zone_name, days, now })
    }

    fn format(&self, instant: Time, format: &str) -> String {
        let instant = Timestamp::from_millisecond(instant.0).unwrap_or(Timestamp::UNIX_EPOCH);
        instant.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    /// What is to be known of a day beside its figures.
    fn remark(&self, day: Window, opt_in: Option<Time>) -> String {
        let mut remarks = Vec::new();
        let minutes = (day.end().0 - day.start().0) / MINUTE;
        if minutes != DAY / MINUTE {
            let (hours, rest) = (minutes / 60, minutes % 60);
            remarks.push(match rest {
                0 => format!("{hours} h"),
                rest => format!("{hours} h {rest} min"),
            });
        }
        match opt_in {
            Some(opt_in) if day.end() <= opt_in => remarks.push("before the opt-in".to_owned()),
            Some(opt_in) if day.start() < opt_in => {
                remarks.push(format!("opt-in at {}", self.format(opt_in, "%H:%M")));
            }
            Some(_) | None => {}
        }
        if day.start() > self.now {
            remarks.push("to come".to_owned());
        } else if day.end() > self.now {
            remarks.push("until now".to_owned());
        }
        remarks.join(", ")
    }

    /// The period as one window.
    fn whole(&self) -> Vec<Window> {
        let bounds = self.days.first().zip(self.days.last());
        bounds.map(|(first, last)| Window { from: first.from, to: last.to }).into_iter().collect()
    }
}

async fn figures(
    app: &App,
    directory: &Snapshot,
    channel: &ChannelId,
    period: &Period,
) -> Result<Figures, Refusal> {
    let ask = async |select: Select, side: Option<Side>, windows: Vec<Window>| {
        let query = Query { channel: channel.clone(), select, side, windows };
        app.ledger.series(query).await.map_err(|error| unavailable(&error))
    };
    let numbers = |attribution| Select::Numbers { number: None, attribution };
    let daily = ask(numbers(None), None, period.days.clone()).await?;
    let templates = Select::Templates { code: None, language: None, category: None };
    let by_template = ask(templates, None, period.whole()).await?;
    let unknown = ask(numbers(Some(Attribution::Unattributed)), None, period.whole()).await?;
    let free = ask(numbers(Some(Attribution::FreeForm)), None, period.whole()).await?;
    let before = ask(numbers(None), Some(Side::Before), period.whole()).await?;
    let state = app.ledger.channel(channel).await.map_err(|error| unavailable(&error))?;
    let opt_in = state.opted_in();
    let named = |subject: &Subject| match subject {
        Subject::Number(number) => format!("+{number}"),
        Subject::Template(template) => {
            let known = directory.template(channel, &template.code, &template.language);
            template_name(template, known, state.category(template, period.now))
        }
    };

    let mut days: Vec<Totals> = vec![Totals::default(); period.days.len()];
    for point in &daily {
        let index = period.days.partition_point(|day| day.from < point.window.from);
        if let Some(day) = days.get_mut(index) {
            *day = sum([&*day, &point.totals])?;
        }
    }
    let whole = sum(&days)?;
    let mut numbers = Vec::new();
    for (subject, totals) in by_subject(&daily)? {
        numbers.push(Row::new(named(subject), &totals));
    }
    let mut by_template: Vec<&Point> = by_template.iter().collect();
    by_template.sort_by_key(|point| Reverse(point.totals.sent));
    let mut templates: Vec<Row> = by_template
        .into_iter()
        .map(|point| Row::new(named(&point.subject), &point.totals))
        .collect();
    for (name, points) in [("free-form messages", free), ("unattributed", unknown)] {
        let totals = sum(points.iter().map(|point| &point.totals))?;
        if !totals.is_zero() {
            templates.push(Row::new(name.to_owned(), &totals));
        }
    }
    Ok(Figures {
        opt_in: opt_in_note(opt_in, sum(before.iter().map(|point| &point.totals))?.sent, period),
        now: format!("{} {}", period.format(period.now, "%-d %b %Y %H:%M:%S"), period.zone_name),
        is_empty: whole.is_zero(),
        cards: cards(&whole),
        chart: lines(&days, opt_in, period),
        days: day_rows(&days, opt_in, period),
        numbers,
        templates,
    })
}

/// The chart, up to the present.
fn lines(days: &[Totals], opt_in: Option<Time>, period: &Period) -> Chart {
    let names: Vec<String> =
        period.days.iter().map(|day| period.format(day.start(), "%-d %b")).collect();
    let begun = period.days.partition_point(|day| day.start() <= period.now);
    let before = period.days.partition_point(|day| opt_in.is_some_and(|at| day.end() <= at));
    let line = |count: fn(&Totals) -> i64| days.iter().take(begun).map(count).collect::<Vec<_>>();
    chart(
        &names,
        before,
        vec![
            ("sent", line(|day| day.sent)),
            ("delivered", line(|day| day.delivered)),
            ("read", line(|day| day.read)),
            ("clicked", line(Totals::unique_clicks)),
        ],
    )
}

fn day_rows(days: &[Totals], opt_in: Option<Time>, period: &Period) -> Vec<Row> {
    let rows = period.days.iter().zip(days).map(|(day, totals)| {
        let name = period.format(day.start(), "%a %-d %b %Y");
        let row = if day.start() > period.now && totals.is_zero() {
            Row::unknown(name)
        } else {
            Row::new(name, totals)
        };
        Row { remark: period.remark(*day, opt_in), ..row }
    });
    rows.collect()
}

/// Logs why the ledger does not answer.
fn unavailable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, "the overview could not be read");
    Refusal::Unavailable
}

/// The sum, which is either exact or not shown.
fn sum<'a>(totals: impl IntoIterator<Item = &'a Totals>) -> Result<Totals, Refusal> {
    totals.into_iter().try_fold(Totals::default(), Totals::checked_add).ok_or(Refusal::Unavailable)
}

fn by_subject(points: &[Point]) -> Result<BTreeMap<&Subject, Totals>, Refusal> {
    let mut sums: BTreeMap<&Subject, Totals> = BTreeMap::new();
    for point in points {
        let known = sums.entry(&point.subject).or_default();
        *known = sum([&*known, &point.totals])?;
    }
    Ok(sums)
}

/// The template as people know it, with the category that it has now.
fn template_name(
    template: &Template,
    known: Option<&Arc<TemplateRecord>>,
    category: Option<Category>,
) -> String {
    let name = known.map_or_else(|| template.code.to_string(), |known| known.name.to_string());
    let category = category.or_else(|| known.map(|known| known.category));
    let category = category.map(|it| format!(" ({})", it.as_str())).unwrap_or_default();
    format!("{name}{category} · {}", template.language)
}

fn opt_in_note(opt_in: Option<Time>, before: i64, period: &Period) -> String {
    let Some(opt_in) = opt_in else {
        return "ROI statistics are not enabled for this channel: the API answers nothing for it yet."
            .to_owned();
    };
    let enabled = format!("ROI statistics enabled {}.", period.format(opt_in, "%-d %b %Y %H:%M"));
    if before == 0 {
        return enabled;
    }
    format!(
        "{enabled} {} of the messages shown were sent before that and are not in the API's answers.",
        grouped(before)
    )
}

fn cards(whole: &Totals) -> Vec<Card> {
    let share =
        |part: i64, of: i64, word: &str| format!("{} of {} {word}", percent(part, of), grouped(of));
    let clicked = whole.unique_clicks();
    vec![
        Card { name: "Sent", count: grouped(whole.sent), note: "told or implied".to_owned() },
        Card {
            name: "Delivered",
            count: grouped(whole.delivered),
            note: share(whole.delivered, whole.sent, "sent"),
        },
        Card {
            name: "Read",
            count: grouped(whole.read),
            note: share(whole.read, whole.delivered, "delivered"),
        },
        Card {
            name: "Clicked",
            count: grouped(clicked),
            note: match whole.machine_clicks() {
                0 => share(clicked, whole.delivered, "delivered"),
                hidden => format!(
                    "{}; machines {} hidden",
                    share(clicked, whole.delivered, "delivered"),
                    grouped(hidden)
                ),
            },
        },
        Card {
            name: "Failed",
            count: grouped(whole.failed()),
            note: "and never delivered".to_owned(),
        },
    ]
}

/// A share in per cent with one digit, rounded to the nearest; of nothing there is none.
fn percent(part: i64, of: i64) -> String {
    if of == 0 {
        return "—".to_owned();
    }
    let tenths = (i128::from(part) * 2_000 + i128::from(of)) / (i128::from(of) * 2);
    format!("{}.{}\u{a0}%", tenths / 10, (tenths % 10).abs())
}

/// A page that says one thing; what stands in backticks is shown as code. `back` leads to the
/// overview as it is without an address of its own.
pub(super) fn notice(status: StatusCode, text: &str, back: bool) -> Result<String, askama::Error> {
    let title = status.canonical_reason().unwrap_or("twoticks");
    Notice { title, text, back }.render()
}

#[derive(askama::Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    title: &'a str,
    /// With code in backticks.
    text: &'a str,
    back: bool,
}

#[derive(askama::Template)]
#[template(path = "overview.html")]
struct Page<'a> {
    label: Option<&'static str>,
    account: &'a str,
    channels: Vec<Choosable<'a>>,
    from: String,
    to: String,
    zone: String,
    figures: Option<Figures>,
    may_set_up: bool,
    /// Where the channel is connected, if it is not.
    to_connect: Option<String>,
}

struct Figures {
    opt_in: String,
    now: String,
    is_empty: bool,
    cards: Vec<Card>,
    chart: Chart,
    days: Vec<Row>,
    numbers: Vec<Row>,
    templates: Vec<Row>,
}

struct Card {
    name: &'static str,
    count: String,
    note: String,
}

struct Row {
    name: String,
    remark: String,
    sent: String,
    delivered: String,
    read: String,
    clicked: String,
    failed: String,
}

impl Row {
    fn new(name: String, totals: &Totals) -> Self {
        Self {
            name,
            remark: String::new(),
            sent: grouped(totals.sent),
            delivered: grouped(totals.delivered),
            read: grouped(totals.read),
            clicked: grouped(totals.unique_clicks()),
            failed: grouped(totals.failed()),
        }
    }

    /// What is not known is no zero.
    fn unknown(name: String) -> Self {
        let dash = || "—".to_owned();
        Self {
            name,
            remark: String::new(),
            sent: dash(),
            delivered: dash(),
            read: dash(),
            clicked: dash(),
            failed: dash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_to_a_tenth() {
        for (part, of, text) in [
            (1, 3, "33.3\u{a0}%"),
            (2, 3, "66.7\u{a0}%"),
            (0, 9, "0.0\u{a0}%"),
            (132, 131, "100.8\u{a0}%"),
            (0, 0, "—"),
        ] {
            assert_eq!(percent(part, of), text);
        }
    }
}

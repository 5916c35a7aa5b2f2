//! Compare with Meta: ours beside what WhatsApp says that it counted, by day for a number or a
//! template, and the sums of all of them.
//!
//! The address says everything: channel, days, and what is shown by day. Days are those of UTC,
//! because Meta's are. What differs is marked and has its likely reason; what one side does not know
//! is a dash, never a zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template as _;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use twoticks_core::clock::Time;
use twoticks_core::ids::Text;
use twoticks_store::directory::names::Uid;

use super::channels::Choosable;
use super::chart::grouped;
use super::{Refusal, channels, cookies, visitor};
use crate::app::App;
use crate::graph::figures::day_text;
use crate::reconcile::{
    Days, Figure, Reason, Report, Row, Subject, Uncompared, add, report, words,
};

/// What the address of the page can say.
#[derive(Deserialize)]
pub(super) struct Choice {
    t: Option<String>,
    channel: Option<String>,
    from: Option<String>,
    to: Option<String>,
    of: Option<String>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    choice: Result<Query<Choice>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Query(choice) = choice.map_err(|_| {
        Refusal::Address("Each of channel, from, to and of can be given once.".to_owned())
    })?;
    let visitor = visitor(State(&app), choice.t.as_deref(), cookies(&headers))?;
    let html = render(&app, &visitor.account, &choice).await?;
    let cookie = visitor.cookie.map(|cookie| [(header::SET_COOKIE, cookie)]);
    Ok((cookie, Html(html)).into_response())
}

async fn render(app: &App, account: &Uid, choice: &Choice) -> Result<String, Refusal> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (from, to) = (given(&choice.from), given(&choice.to));
    let days = Days::chosen(from.as_deref(), to.as_deref(), app.clock.now());
    let days = days.map_err(|why| Refusal::Address(format!("These days will not do: {why}.")))?;
    let directory = app.directory.snapshot();
    let chosen = channels::chosen(&directory, account, choice.channel.as_deref())?;
    let chosen = chosen.as_deref();
    let figures = match chosen {
        None => None,
        Some(channel) => {
            let report = report(app, &channel.id, days).await.map_err(|why| refusal(&why))?;
            Some(Figures::of(&report, given(&choice.of).as_deref()))
        }
    };
    let page = Page {
        label: app.rehearsal.as_ref().map(|rehearsal| rehearsal.label()),
        account: directory.account(account.as_str()).map_or("", |account| account.name.as_str()),
        channels: channels::choosable(&directory, account, chosen),
        from: day_text(days.first),
        to: day_text(days.last),
        figures,
    };
    page.render().map_err(|_| Refusal::Unavailable)
}

fn refusal(why: &Uncompared) -> Refusal {
    match why {
        Uncompared::TooMuch => Refusal::Address(format!("{why}.")),
        _ => {
            let error = why as &dyn std::error::Error;
            tracing::error!(error, "ours and Meta's could not be compared");
            Refusal::Unavailable
        }
    }
}

#[derive(askama::Template)]
#[template(path = "reconcile.html")]
struct Page<'a> {
    label: Option<&'static str>,
    account: &'a str,
    channels: Vec<Choosable<'a>>,
    from: String,
    to: String,
    figures: Option<Figures>,
}

struct Figures {
    notes: Vec<String>,
    problems: Vec<String>,
    /// What can be shown by day: its key, its name, whether it is.
    subjects: Vec<(String, String, bool)>,
    by_day: Grid,
    sums: Grid,
    buttons: Grid,
    prices: Grid,
}

/// A table: rows with a pair of cells for each figure.
struct Grid {
    title: String,
    what: &'static str,
    figures: Vec<&'static str>,
    rows: Vec<GridRow>,
}

struct GridRow {
    name: String,
    cells: Vec<Cell>,
    reasons: Vec<Reason>,
}

impl GridRow {
    fn why(&self) -> String {
        words(&self.reasons)
    }
}

/// Both sides of a figure, as they are shown.
#[derive(Clone)]
struct Cell {
    ours: String,
    meta: String,
    /// Ours less Meta's; empty if they are equal or one is not known.
    difference: String,
}

/// The figures that a table has, with their headings.
const COUNTS: [(Figure, &str); 4] = [
    (Figure::Sent, "Sent"),
    (Figure::Delivered, "Delivered"),
    (Figure::Read, "Read"),
    (Figure::Clicked, "Clicked"),
];
const PRICES: [(Figure, &str); 2] = [(Figure::Volume, "Delivered"), (Figure::Cost, "Cost")];

fn nothing() -> Cell {
    let dash = || "—".to_owned();
    Cell { ours: dash(), meta: dash(), difference: String::new() }
}

/// Millionths as people write amounts: at least two digits behind the point.
fn money(micros: i64, currency: Option<&Text>) -> String {
    let (whole, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let digits = format!("{rest:06}");
    let (always, more) = digits.split_at_checked(2).unwrap_or((&digits, ""));
    let sign = if micros < 0 { "\u{2212}" } else { "" };
    let currency = currency.map(|it| format!("\u{a0}{it}")).unwrap_or_default();
    let whole = grouped(i64::try_from(whole).unwrap_or(i64::MAX));
    format!("{sign}{whole}.{always}{}{currency}", more.trim_end_matches('0'))
}

/// What a choice of a subject is called in the address.
fn key(subject: &Subject) -> String {
    match subject {
        Subject::Channel => "channel".to_owned(),
        Subject::Number(number) => format!("number {number}"),
        Subject::Template(template) => format!("template {} {}", template.code, template.language),
        Subject::Stranger(id) => format!("meta {id}"),
        Subject::Price { category, kind } => format!("price {category} {kind}"),
    }
}

fn is_counted(subject: &Subject) -> bool {
    matches!(subject, Subject::Number(_) | Subject::Template(_) | Subject::Stranger(_))
}

impl Figures {
    fn of(report: &Report, of: Option<&str>) -> Self {
        let currency = report.standing.as_ref().and_then(|it| it.currency.as_ref());
        let mut counted: Vec<&Subject> =
            report.sums.iter().map(|row| &row.subject).filter(|it| is_counted(it)).collect();
        counted.dedup();
        let chosen = counted.iter().find(|subject| of == Some(key(subject).as_str()));
        let chosen = chosen.or(counted.first()).copied();
        let all = |row: &&Row| is_counted(&row.subject);
        let prices = |row: &&Row| matches!(row.figure, Figure::Volume | Figure::Cost);
        let name = |row: &Row| report.name(&row.subject);
        let day = |row: &Row| row.day.map_or_else(String::new, day_text);
        let of_chosen = |row: &&Row| Some(&row.subject) == chosen;
        let mut by_day = Grid::of(
            ("By day", "Day (UTC)"),
            (&COUNTS, report.rows.iter().filter(of_chosen)),
            day,
            currency,
        );
        if let Some(chosen) = chosen {
            by_day.title = format!("By day: {}", report.name(chosen));
        }
        Self {
            notes: notes(report),
            problems: report
                .standing
                .iter()
                .flat_map(|it| &it.problems)
                .map(ToString::to_string)
                .collect(),
            subjects: counted
                .iter()
                .map(|subject| (key(subject), report.name(subject), Some(*subject) == chosen))
                .collect(),
            by_day,
            sums: Grid::of(
                ("By number and template", "Number or template"),
                (&COUNTS, report.sums.iter().filter(all)),
                name,
                currency,
            ),
            buttons: buttons(report),
            prices: Grid::of(
                ("Prices and costs", "Charged as, or template"),
                (&PRICES, report.sums.iter().filter(prices)),
                name,
                currency,
            ),
        }
    }
}

fn notes(report: &Report) -> Vec<String> {
    if !report.is_connected {
        return vec![
            "This channel is not connected with WhatsApp, so there is nothing of Meta's to compare \
             with; `twoticks channel connect` connects it."
                .to_owned(),
        ];
    }
    let at = |time: Time| {
        let at = Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH);
        at.strftime("%-d %b %Y %H:%M UTC").to_string()
    };
    let standing = report.standing.as_ref();
    let read = match (standing.and_then(|it| it.read), standing.map(|it| it.tried)) {
        (Some(read), _) => format!("Meta's figures were read to the end {}.", at(read)),
        (None, Some(tried)) => {
            format!("Meta's figures were asked for {}, and not all read.", at(tried))
        }
        (None, None) => "Meta has not been asked yet; `twoticks reconcile --sync` asks.".to_owned(),
    };
    let insights = match standing.and_then(|it| it.insights) {
        Some(false) => "Meta's insights are not enabled: it tells nothing of templates.",
        _ => "",
    };
    let same = "Each side counts by itself, and nothing here changes either. Sums are of the days \
                that both sides know.";
    [read, insights.to_owned(), same.to_owned()].into_iter().filter(|it| !it.is_empty()).collect()
}

/// Clicks by button, those that only Meta sees too.
fn buttons(report: &Report) -> Grid {
    let rows = report.sums.iter().filter_map(|row| {
        let Figure::Button { kind, text } = &row.figure else { return None };
        let kind = kind.as_str().replace('_', " ");
        Some(GridRow {
            name: format!("{} · {kind} “{text}”", report.name(&row.subject)),
            cells: vec![cell(row, None)],
            reasons: row.reasons.clone(),
        })
    });
    let (title, what) = ("Buttons".to_owned(), "Button");
    Grid { title, what, figures: vec!["Clicks"], rows: rows.collect() }
}

fn cell(row: &Row, currency: Option<&Text>) -> Cell {
    let shown = |count: Option<i64>| match count {
        None => "—".to_owned(),
        Some(micros) if row.figure == Figure::Cost => money(micros, currency),
        Some(count) => grouped(count),
    };
    let difference = row.difference().filter(|difference| *difference != 0);
    let difference = difference.map_or_else(String::new, |difference| {
        format!("{}{}", if difference > 0 { "+" } else { "" }, shown(Some(difference)))
    });
    Cell { ours: shown(row.ours), meta: shown(row.meta), difference }
}

impl Grid {
    /// Puts rows of a comparison that have the same name into one.
    fn of<'r>(
        (title, what): (&str, &'static str),
        (figures, rows): (&[(Figure, &'static str)], impl Iterator<Item = &'r Row>),
        name: impl Fn(&Row) -> String,
        currency: Option<&Text>,
    ) -> Self {
        let rows: Vec<&Row> = rows.collect();
        // A number has neither reads nor clicks: such columns are left out.
        let is_there = |figure: &Figure| rows.iter().any(|row| row.figure == *figure);
        let figures: Vec<&(Figure, &'static str)> =
            figures.iter().filter(|(figure, _)| is_there(figure)).collect();
        let mut found: BTreeMap<(Option<i64>, &Subject), GridRow> = BTreeMap::new();
        for row in rows {
            let Some(place) = figures.iter().position(|(figure, _)| *figure == row.figure) else {
                continue;
            };
            let day = row.day.map(|day| day.0);
            let grid = found.entry((day, &row.subject)).or_insert_with(|| GridRow {
                name: name(row),
                cells: vec![nothing(); figures.len()],
                reasons: Vec::new(),
            });
            if let Some(there) = grid.cells.get_mut(place) {
                *there = cell(row, currency);
            }
            for reason in &row.reasons {
                // Of the figures of a day the counts are of the same messages.
                add(&mut grid.reasons, reason, u64::max);
            }
        }
        let figures = figures.into_iter().map(|(_, heading)| *heading).collect();
        Self { title: title.to_owned(), what, figures, rows: found.into_values().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_at_least_two_digits() {
        let usd = Text::new("USD").unwrap();
        for (micros, text) in [
            (0, "0.00\u{a0}USD"),
            (30_000, "0.03\u{a0}USD"),
            (1_234_567, "1.234567\u{a0}USD"),
            (-1_500_000, "\u{2212}1.50\u{a0}USD"),
            (12_345_000_000, "12\u{202f}345.00\u{a0}USD"),
        ] {
            assert_eq!(money(micros, Some(&usd)), text);
        }
        assert_eq!(money(1, None), "0.000001");
    }
}

//! Ours beside Meta's: what we counted and what WhatsApp says that it counted, per day of UTC, the
//! difference, and its likely reason.
//!
//! [`report`] puts together [`sides`] (both sides' figures of a day) and [`reason`] (why they
//! differ, from what is known and nothing else). The command line, the pages and [`door`]
//! (`GET /api/v1/reconciliation`) show the same rows. To add a figure: a variant of [`Figure`] and
//! both sides of it in `sides`. What always holds: neither side changes the other, nor anything;
//! what one of them does not know is unknown and not zero, and no reason is made up.

pub(crate) mod door;
mod reason;
mod sides;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::error::Error;
use twoticks_store::figures::{Day, Standing};

use self::reason::Known;
use self::sides::Sides;
use crate::app::App;
use crate::graph::figures::{account_of, day_text};

pub(crate) use self::reason::{Reason, add};

/// The most days that are compared at once.
const DAYS_MAX: i64 = 92;
/// How many days are compared when none are chosen: those that Meta's figures may still change in.
const DAYS_DEFAULT: i64 = 9;
/// The most rows of a comparison.
const ROWS_MAX: usize = 100_000;

/// Days of UTC; both are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    pub(crate) first: Day,
    pub(crate) last: Day,
}

impl Days {
    /// The days that are asked for, as people write them; else the last [`DAYS_DEFAULT`].
    ///
    /// # Errors
    /// What is wrong with them, and what would do.
    pub(crate) fn chosen(
        first: Option<&str>,
        last: Option<&str>,
        now: Time,
    ) -> Result<Self, String> {
        let today = Day::of(now);
        let day = |text: &str| {
            let wrong = || format!("`{text}` is no day; write year, month and day as 2026-11-03");
            let date: jiff::civil::Date = text.parse().map_err(|_| wrong())?;
            let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
            Ok::<_, String>(Day::of(Time(start.timestamp().as_millisecond())))
        };
        let last = last.map_or(Ok(today), day)?;
        let first = first.map_or(Ok(Day(last.0 - DAYS_DEFAULT + 1)), day)?;
        let [shown_first, shown_last] = [first, last].map(day_text);
        if last > today {
            let today = day_text(today);
            return Err(format!("{shown_last} is to come; {today} is the last day there is"));
        }
        if !(0..DAYS_MAX).contains(&(last.0 - first.0)) {
            let rule = format!("1 to {DAYS_MAX} days are compared at once");
            return Err(format!("from {shown_first} to {shown_last} will not do: {rule}"));
        }
        Ok(Self { first, last })
    }

    fn all(self) -> impl Iterator<Item = Day> {
        (self.first.0..=self.last.0).map(Day)
    }
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// All numbers together.
    Channel,
    /// A business number.
    Number(PhoneNumber),
    /// A template that is known here.
    Template(Template),
    /// A template that Meta tells of and that is not known here, by Meta's id.
    Stranger(Text),
    /// What messages were charged as, in Meta's words.
    Price { category: Text, kind: Text },
}

/// Which figure of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    Sent,
    Delivered,
    Read,
    /// All clicks on its buttons.
    Clicked,
    /// Clicks on one of them; `unique_url_button` counts people.
    Button {
        kind: Text,
        text: Text,
    },
    /// Messages delivered at a price.
    Volume,
    /// In millionths of the account's currency.
    Cost,
}

impl Figure {
    /// The word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Clicked => "clicked",
            Self::Button { .. } => "button_clicked",
            Self::Volume => "volume",
            Self::Cost => "cost_micros",
        }
    }
}

/// One figure of both sides; `None` is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// None: the sum of the days that both sides know; see [`sums`].
    pub(crate) day: Option<Day>,
    pub(crate) subject: Subject,
    pub(crate) figure: Figure,
    pub(crate) ours: Option<i64>,
    pub(crate) meta: Option<i64>,
    /// Why they differ, or one of them is unknown; of a sum, those of its days.
    pub(crate) reasons: Vec<Reason>,
}

impl Row {
    /// Ours less Meta's.
    pub(crate) fn difference(&self) -> Option<i64> {
        self.ours.zip(self.meta).and_then(|(ours, meta)| ours.checked_sub(meta))
    }
}

/// Reasons in plain words; empty if there is nothing to explain.
pub(crate) fn words(reasons: &[Reason]) -> String {
    let words: Vec<String> = reasons.iter().map(Reason::words).collect();
    words.join("; ")
}

/// A comparison.
pub(crate) struct Report {
    pub(crate) channel: ChannelId,
    pub(crate) days: Days,
    pub(crate) is_connected: bool,
    /// How reading Meta's side stands; none if it was never tried.
    pub(crate) standing: Option<Standing>,
    /// By day, subject and figure.
    pub(crate) rows: Vec<Row>,
    /// By subject and figure.
    pub(crate) sums: Vec<Row>,
    /// As of when, for templates' names.
    pub(crate) directory: std::sync::Arc<Snapshot>,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Uncompared {
    /// One of the stores does not answer.
    #[error(transparent)]
    Store(#[from] Error),
    /// There is too much of it.
    #[error("there are more than {ROWS_MAX} figures in these days; ask for fewer days")]
    TooMuch,
    /// The channel is not there.
    #[error("there is no channel `{0}`")]
    NoChannel(ChannelId),
}

/// Both sides' figures of a day.
type Pairs = BTreeMap<(Subject, Figure), (Option<i64>, Option<i64>)>;

/// Compares the days of a channel. Changes nothing.
///
/// # Errors
/// [`Uncompared`].
pub(crate) async fn report(
    app: &App,
    channel: &ChannelId,
    days: Days,
) -> Result<Report, Uncompared> {
    let directory = app.directory.snapshot();
    let known = directory.channel(channel).ok_or_else(|| Uncompared::NoChannel(channel.clone()))?;
    let account = account_of(known);
    let standing = match &account {
        Some(account) => app.figures.kept().standing(account).await?,
        None => None,
    };
    let mut sides = Sides::of(app, channel, days, standing.as_ref()).await?;
    if let Some(account) = &account {
        sides.metas = app.figures.kept().days(account, days.first, days.last).await?;
    }
    let mut by_day = BTreeMap::new();
    let mut count = 0;
    for day in days.all() {
        let pairs = sides.pairs(&directory, channel, day);
        count += pairs.len();
        by_day.insert(day, pairs);
    }
    if count > ROWS_MAX {
        return Err(Uncompared::TooMuch);
    }
    let known = Known::gather(app, channel, days, standing.clone(), account.is_some()).await?;
    let (rows, sums) = rows((&directory, channel), &sides, &known, by_day);
    let is_connected = account.is_some();
    Ok(Report { channel: channel.clone(), days, is_connected, standing, rows, sums, directory })
}

fn rows(
    (directory, channel): (&Snapshot, &ChannelId),
    sides: &Sides,
    known: &Known,
    by_day: BTreeMap<Day, Pairs>,
) -> (Vec<Row>, Vec<Row>) {
    let mut sums = sums(&by_day);
    let differences = Differences::of(&by_day, |subject, day| {
        sides.read(subject, day).is_some_and(|read| read.last >= next(day).start())
    });
    let mut rows = Vec::new();
    for (day, pairs) in by_day {
        let only_meta = only_metas(&pairs);
        for ((subject, figure), (ours, meta)) in pairs {
            let key = (subject, figure);
            let shift = differences.shift(&key, day);
            let sum = sums.get_mut(&key);
            let (subject, figure) = key;
            let mut row = Row { day: Some(day), subject, figure, ours, meta, reasons: Vec::new() };
            let circumstances = sides.circumstances(directory, channel, &row.subject, (day, shift));
            let only_meta = only_meta.get(&row.subject).copied().unwrap_or(0);
            row.reasons.extend(known.why(&row, day, &circumstances, only_meta));
            if let Some(sum) = sum.filter(|sum| sum.difference() != Some(0)) {
                for why in &row.reasons {
                    add(&mut sum.reasons, why, u64::saturating_add);
                }
            }
            rows.push(row);
        }
    }
    (rows, sums.into_values().collect())
}

fn next(day: Day) -> Day {
    Day(day.0.saturating_add(1))
}

/// Ours less Meta's, of the days of which neither side will change: those that were over when Meta
/// was asked.
struct Differences(BTreeMap<(Subject, Figure), BTreeMap<Day, i64>>);

/// How the difference of a day goes with those of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shift {
    /// The sums of all days are equal.
    is_even: bool,
    /// What is here on this day may be what Meta has on a day up to a week before, or the other way
    /// round: Meta's day is that of the send.
    is_of_send: bool,
}

impl Differences {
    fn of(by_day: &BTreeMap<Day, Pairs>, is_settled: impl Fn(&Subject, Day) -> bool) -> Self {
        let mut all: BTreeMap<(Subject, Figure), BTreeMap<Day, i64>> = BTreeMap::new();
        for (day, pairs) in by_day {
            for (key, (ours, meta)) in pairs {
                let difference = ours.zip(*meta).and_then(|(ours, meta)| ours.checked_sub(meta));
                if let Some(difference) = difference.filter(|_| is_settled(&key.0, *day)) {
                    all.entry(key.clone()).or_default().insert(*day, difference);
                }
            }
        }
        Self(all)
    }

    fn shift(&self, key: &(Subject, Figure), day: Day) -> Shift {
        let Some(all) = self.0.get(key) else { return Shift::default() };
        let Some(here) = all.get(&day) else { return Shift::default() };
        let sum = all.values().try_fold(0_i64, |sum, more| sum.checked_add(*more));
        let (week_before, week_after) = (Day(day.0 - 7)..day, next(day)..=Day(day.0 + 7));
        let is_of_send = match here.signum() {
            1 => all.range(week_before).any(|(_, there)| *there < 0),
            -1 => all.range(week_after).any(|(_, there)| *there > 0),
            _ => false,
        };
        Shift { is_even: sum == Some(0), is_of_send }
    }
}

/// The sums of the days that both sides know; where one side knows none of them, of those that the
/// other knows.
fn sums(by_day: &BTreeMap<Day, Pairs>) -> BTreeMap<(Subject, Figure), Row> {
    /// A sum, and what each side knows alone.
    type Sum = (Row, [Option<i64>; 2]);
    let plus =
        |sum: &mut Option<i64>, more: i64| *sum = Some(sum.unwrap_or(0).saturating_add(more));
    let mut sums: BTreeMap<(Subject, Figure), Sum> = BTreeMap::new();
    for (key, (ours, meta)) in by_day.values().flatten() {
        let (sum, [ours_alone, meta_alone]) = sums.entry(key.clone()).or_insert_with(|| {
            let (subject, figure) = key.clone();
            let row = Row { day: None, subject, figure, ours: None, meta: None, reasons: vec![] };
            (row, [None; 2])
        });
        match (ours, meta) {
            (Some(ours), Some(meta)) => {
                plus(&mut sum.ours, *ours);
                plus(&mut sum.meta, *meta);
            }
            (Some(ours), None) => plus(ours_alone, *ours),
            (None, Some(meta)) => plus(meta_alone, *meta),
            (None, None) => {}
        }
    }
    let sums = sums.into_iter().map(|(key, (mut sum, [ours, meta]))| {
        if sum.ours.is_none() {
            (sum.ours, sum.meta) = (ours, meta);
        }
        (key, sum)
    });
    sums.collect()
}

/// How many of Meta's clicks are such that no webhook tells, by template.
fn only_metas(pairs: &Pairs) -> BTreeMap<Subject, i64> {
    let mut sums: BTreeMap<Subject, i64> = BTreeMap::new();
    for ((subject, figure), both) in pairs {
        if let (Some(0), Some(meta)) = both
            && reason::only_meta(figure)
            && sides::is_counted(figure)
        {
            let sum = sums.entry(subject.clone()).or_default();
            *sum = sum.saturating_add(*meta);
        }
    }
    sums
}

impl Report {
    /// What it is about, as people know it.
    pub(crate) fn name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Channel => "all numbers".to_owned(),
            Subject::Number(number) => format!("+{number}"),
            Subject::Template(template) => {
                let (code, language) = (&template.code, &template.language);
                let known = self.directory.template(&self.channel, code, language);
                let name = known.map_or(code, |known| &known.name);
                format!("{name} · {language}")
            }
            Subject::Stranger(id) => format!("Meta's template {id}"),
            Subject::Price { category, kind } => format!("{category} {kind}"),
        }
    }

    /// As the command line and the API show it.
    pub(crate) fn json(&self) -> Value {
        let standing = self.standing.as_ref();
        json!({
            "channel": self.channel,
            "start": day_text(self.days.first), "end": day_text(self.days.last),
            "connected": self.is_connected,
            "meta_tried": standing.map(|it| it.tried.0),
            "meta_read": standing.and_then(|it| it.read).map(|at| at.0),
            "insights": standing.and_then(|it| it.insights),
            "currency": standing.and_then(|it| it.currency.clone()),
            "problems": standing.map_or_else(Vec::new, |it| it.problems.clone()),
            "sums": self.sums.iter().map(|row| self.row_json(row)).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(|row| self.row_json(row)).collect::<Vec<_>>(),
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        if let Some(day) = row.day {
            put("day", day_text(day).into());
        }
        let of = match &row.subject {
            Subject::Channel => "channel",
            Subject::Number(_) => "number",
            Subject::Template(_) | Subject::Stranger(_) => "template",
            Subject::Price { .. } => "price",
        };
        put("of", of.into());
        put("name", self.name(&row.subject).into());
        match &row.subject {
            Subject::Channel => {}
            Subject::Number(number) => put("phone_number", json!(number)),
            Subject::Template(Template { code, language }) => {
                put("template_code", json!(code));
                put("language", json!(language));
                let known = self.directory.template(&self.channel, code, language);
                put("meta_id", json!(known.and_then(|known| known.meta_id.clone())));
            }
            Subject::Stranger(id) => put("meta_id", json!(id)),
            Subject::Price { category, kind } => {
                put("category", json!(category));
                put("type", json!(kind));
            }
        }
        put("figure", row.figure.word().into());
        if let Figure::Button { kind, text } = &row.figure {
            put("button_type", json!(kind));
            put("button_text", json!(text));
        }
        put("ours", json!(row.ours));
        put("meta", json!(row.meta));
        put("difference", json!(row.difference()));
        put("reasons", row.reasons.iter().map(Reason::code).collect());
        put("why", words(&row.reasons).into());
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_may_still_change_are_no_evidence() {
        let key = (Subject::Channel, Figure::Read);
        let shift = |differences: &[(i64, i64)], day: i64| {
            let pairs = |difference| Pairs::from([(key.clone(), (Some(difference), Some(0)))]);
            let by_day = differences.iter().map(|(day, it)| (Day(*day), pairs(*it))).collect();
            let differences = Differences::of(&by_day, |_, day| day < Day(20));
            let Shift { is_even, is_of_send } = differences.shift(&key, Day(day));
            (is_even, is_of_send)
        };
        assert_eq!(shift(&[(1, 2), (2, -2)], 1), (true, false));
        assert_eq!(shift(&[(1, -2), (2, 2)], 1), (true, true));
        assert_eq!(shift(&[(1, -2), (2, 2)], 2), (true, true));
        // Of today nothing is known yet, and it spoils nothing.
        assert_eq!(shift(&[(1, -2), (2, 2), (20, 5)], 2), (true, true));
        assert_eq!(shift(&[(1, -2), (20, 2)], 1), (false, false));
        assert_eq!(shift(&[(1, -2), (20, 2)], 20), (false, false));
        // A week, and no longer.
        assert_eq!(shift(&[(1, -2), (8, 1)], 8), (false, true));
        assert_eq!(shift(&[(1, -2), (9, 1)], 9), (false, false));
        assert_eq!(shift(&[(1, -2), (8, 1)], 1), (false, true));
        assert_eq!(shift(&[(1, -2), (9, 1)], 1), (false, false));
    }

    #[test]
    fn days_are_chosen_within_their_limits() {
        let now = Time(1_795_435_200_000);
        let days = |first, last| Days::chosen(first, last, now);
        let text = |first, last| {
            let Days { first, last } = days(first, last).unwrap();
            (day_text(first), day_text(last))
        };
        let of = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(text(None, None), of("2026-11-15", "2026-11-23"));
        assert_eq!(text(None, Some("2026-10-09")), of("2026-10-01", "2026-10-09"));
        // Ninety-two days, and one more.
        assert!(days(Some("2026-08-24"), None).is_ok());
        for (first, last, part) in [
            (Some("2026-08-23"), None, "1 to 92 days"),
            (Some("2026-11-02"), Some("2026-11-01"), "1 to 92 days"),
            (None, Some("2026-11-24"), "is to come"),
            (Some("1 Nov"), None, "`1 Nov` is no day"),
        ] {
            let said = days(first, last).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}

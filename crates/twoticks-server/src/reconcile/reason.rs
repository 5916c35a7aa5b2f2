//! Why two figures differ, or one is unknown: from what is known, in the order of how sure it is.
//! Where nothing that is known explains it, it says so.

use std::collections::BTreeMap;

use twoticks_core::clock::{DAY, Time};
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::error::Error;
use twoticks_store::figures::{Day, Read, Standing};
use twoticks_store::journal::Position;
use twoticks_store::ledger::ENTRIES_MAX;
use twoticks_wire::graph::analytics;

use super::{Days, Figure, Row, Shift};
use crate::app::App;

/// For how long after a message was sent Meta tells that it was read or clicked, in milliseconds.
const TOLD_FOR: i64 = 7 * DAY;

/// How many pages of dead parts are looked at: many more than there are where somebody looks at
/// them.
const DEAD_PAGES_MAX: usize = 10;

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The channel is not connected with WhatsApp.
    NotConnected,
    /// Meta was not asked for this day.
    NotRead,
    /// Meta's insights are not enabled.
    InsightsOff,
    /// Meta has no figures of templates for this account.
    Unsupported,
    /// The day of the opt-in, or one before.
    BeforeOptIn,
    /// Meta says that it does not know the template, or its id there is not known here.
    UnknownToMeta,
    /// Meta does not tell clicks on authentication templates.
    NoClicksTold,
    /// Meta told no cost.
    NoCostTold,
    /// No status told a cost.
    OursNoCost,
    /// Our costs are not kept by price.
    NotByPrice,
    /// Meta left the figure out.
    NotTold,
    /// Today.
    DayNotOver,
    /// Meta was asked last before the day was over.
    ReadTooEarly,
    /// Meta was asked first when it did not tell any more.
    FirstReadLate,
    /// Taps that no webhook tells.
    OnlyMeta,
    /// The sums are equal, of the days that were over when Meta was asked.
    OtherDay,
    /// So many parts of webhooks could not be counted.
    DeadLetters(u64),
    /// So many messages name no template.
    Unattributed(u64),
    /// So many statuses came after a message's state had been dropped.
    Late(u64),
    /// So many messages went through another API, of which Meta was not asked.
    MarketingMessages(u64),
    /// Meta counts reads and clicks on the day of the send.
    DayOfSend,
    /// Reads and clicks of messages that were sent longer ago.
    LaterThanSevenDays,
    /// Nothing that is known explains it.
    Unknown,
}

impl Reason {
    /// The word for it, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NotRead => "not_read",
            Self::InsightsOff => "insights_off",
            Self::Unsupported => "unsupported",
            Self::BeforeOptIn => "before_opt_in",
            Self::UnknownToMeta => "unknown_to_meta",
            Self::NoClicksTold => "no_clicks_told",
            Self::NoCostTold => "no_cost_told",
            Self::OursNoCost => "ours_no_cost",
            Self::NotByPrice => "not_by_price",
            Self::NotTold => "not_told",
            Self::DayNotOver => "day_not_over",
            Self::ReadTooEarly => "read_too_early",
            Self::FirstReadLate => "first_read_late",
            Self::OnlyMeta => "only_meta",
            Self::OtherDay => "other_day",
            Self::DeadLetters(_) => "dead_letters",
            Self::Unattributed(_) => "unattributed",
            Self::Late(_) => "late",
            Self::MarketingMessages(_) => "marketing_messages",
            Self::DayOfSend => "day_of_send",
            Self::LaterThanSevenDays => "later_than_seven_days",
            Self::Unknown => "unknown",
        }
    }

    fn count(&mut self) -> Option<&mut u64> {
        match self {
            Self::DeadLetters(count)
            | Self::Unattributed(count)
            | Self::Late(count)
            | Self::MarketingMessages(count) => Some(count),
            _ => None,
        }
    }

    /// In plain words.
    pub(crate) fn words(&self) -> String {
        let fixed = match self {
            Self::NotConnected => "the channel is not connected with WhatsApp",
            Self::NotRead => "Meta was not asked for this day yet",
            Self::InsightsOff => {
                "Meta's insights are not enabled, and it tells nothing of templates before they are"
            }
            Self::Unsupported => {
                "Meta has no template figures for this account (as for those in the EU, the UK and \
                 Japan)"
            }
            Self::BeforeOptIn => {
                "before the opt-in or on its day: Meta's template figures begin about a day after it"
            }
            Self::UnknownToMeta => {
                "Meta does not know this template, or we do not know its id there"
            }
            Self::NoClicksTold => "Meta tells no clicks on authentication templates",
            Self::NoCostTold => {
                "Meta tells no cost (as for accounts on a partner's credit line): unknown, not nothing"
            }
            Self::OursNoCost => {
                "no status told a cost: WhatsApp does where a maximum price applies"
            }
            Self::NotByPrice => "our costs are not kept by category: see those of all numbers",
            Self::NotTold => "Meta left this figure out",
            Self::DayNotOver => "the day is not over",
            Self::ReadTooEarly => "Meta was asked before the day was over",
            Self::FirstReadLate => {
                "Meta was first asked when seven days had passed, and tells reads and clicks no more \
                 then"
            }
            Self::OnlyMeta => "only Meta sees these taps: no webhook tells them",
            Self::OtherDay => {
                "counted on another day: the sums are equal of the days that were over when Meta \
                 was asked"
            }
            Self::DayOfSend => {
                "possibly counted on the day of the send: Meta counts reads and clicks there, and \
                 here they count when they happen"
            }
            Self::LaterThanSevenDays => {
                "possibly read or clicked more than seven days after the send: Meta does not tell \
                 those"
            }
            Self::Unknown => {
                "not explained by what is known here; Meta calls its figures approximate"
            }
            Self::DeadLetters(count) => {
                let parts = counted(*count, "part", "parts");
                return format!(
                    "{parts} of webhooks since then not counted: see `twoticks replay`"
                );
            }
            Self::Unattributed(count) => {
                let messages = counted(*count, "message", "messages");
                return format!("{messages} of these days with no template known here");
            }
            Self::Late(count) => {
                let statuses = counted(*count, "status", "statuses");
                return format!("{statuses} came when the message was not kept any more");
            }
            Self::MarketingMessages(count) => {
                let messages = counted(*count, "message", "messages");
                return format!(
                    "{messages} went through the Marketing Messages API, for which Meta was not \
                     asked: `twoticks channel connect --marketing-messages true`"
                );
            }
        };
        fixed.to_owned()
    }
}

fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Adds a reason to those of several figures: one that is there already is said once, with `counts`
/// made of both counts.
pub(crate) fn add(reasons: &mut Vec<Reason>, more: &Reason, counts: fn(u64, u64) -> u64) {
    let same = std::mem::discriminant(more);
    let Some(known) = reasons.iter_mut().find(|it| std::mem::discriminant(*it) == same) else {
        reasons.push(more.clone());
        return;
    };
    if let (Some(known), Some(more)) = (known.count(), more.clone().count()) {
        *known = counts(*known, *more);
    }
}

/// What is known of a channel, for all of its rows.
pub(super) struct Known {
    now: Time,
    is_connected: bool,
    standing: Standing,
    marketing_messages: bool,
    opt_in: Option<Time>,
    /// Dead parts by the day they were accepted on.
    dead: BTreeMap<Day, u64>,
}

/// What is known of a subject and a day.
pub(super) struct Circumstances {
    pub(super) is_template: bool,
    pub(super) meta_id: Option<Text>,
    pub(super) category: Option<Category>,
    pub(super) read: Option<Read>,
    pub(super) shift: Shift,
    pub(super) late: u64,
    pub(super) lite: u64,
    pub(super) unattributed: u64,
}

impl Known {
    pub(super) async fn gather(
        app: &App,
        channel: &ChannelId,
        days: Days,
        standing: Option<Standing>,
        is_connected: bool,
    ) -> Result<Self, Error> {
        let opt_in = app.ledger.channel(channel).await?.opted_in();
        let dead = dead(app, channel, days).await?;
        let snapshot = app.directory.snapshot();
        let connection = snapshot.channel(channel).and_then(|known| known.connection.as_ref());
        Ok(Self {
            now: app.clock.now(),
            is_connected,
            standing: standing.unwrap_or_default(),
            marketing_messages: connection.is_some_and(|it| it.marketing_messages),
            opt_in,
            dead,
        })
    }

    /// Why a row is as it is; `None` if there is nothing to explain. `only_meta` is how many clicks
    /// of its subject and day no webhook tells.
    pub(super) fn why(
        &self,
        row: &Row,
        day: Day,
        of: &Circumstances,
        only_meta: i64,
    ) -> Option<Reason> {
        match (row.ours, row.meta) {
            (Some(ours), Some(meta)) if ours == meta => None,
            (Some(ours), Some(meta))
                if row.figure == Figure::Clicked && meta.checked_sub(ours) == Some(only_meta) =>
            {
                Some(Reason::OnlyMeta)
            }
            (Some(ours), Some(meta)) => Some(self.differ(row, (ours, meta), day, of)),
            (_, None) => Some(self.unknown(row, day, of)),
            (None, Some(_)) => Some(match row.subject {
                super::Subject::Price { .. } => Reason::NotByPrice,
                _ => Reason::OursNoCost,
            }),
        }
    }

    fn is_before_opt_in(&self, day: Day, of: &Circumstances) -> bool {
        // It takes about a day until Meta's begin.
        of.is_template && self.opt_in.is_some_and(|opt_in| Day::of(opt_in) >= day)
    }

    /// Meta's is not known.
    fn unknown(&self, row: &Row, day: Day, of: &Circumstances) -> Reason {
        let is_unknown = of.is_template
            && of.meta_id.as_ref().is_none_or(|id| {
                !analytics::is_id(id.as_str()) || self.standing.unknown.contains(id)
            });
        if !self.is_connected {
            Reason::NotConnected
        } else if of.is_template && self.standing.is_unsupported {
            Reason::Unsupported
        } else if of.is_template && self.standing.insights == Some(false) {
            Reason::InsightsOff
        } else if is_unknown {
            Reason::UnknownToMeta
        } else if of.read.is_none() && self.is_before_opt_in(day, of) {
            Reason::BeforeOptIn
        } else if of.read.is_none() {
            Reason::NotRead
        } else if row.figure == Figure::Cost {
            Reason::NoCostTold
        } else if is_click(&row.figure) && of.category == Some(Category::Authentication) {
            Reason::NoClicksTold
        } else {
            Reason::NotTold
        }
    }

    fn differ(&self, row: &Row, (ours, meta): (i64, i64), day: Day, of: &Circumstances) -> Reason {
        let end = Day(day.0.saturating_add(1)).start();
        // A part of the day's messages will do.
        let is_late = |read: Read| read.first > day.start().plus(TOLD_FOR);
        let told_for_a_while = row.figure == Figure::Read || is_click(&row.figure);
        let dead: u64 = self.dead.range(day..=Day(day.0 + 7)).map(|(_, count)| count).sum();
        if only_meta(&row.figure) && ours == 0 {
            Reason::OnlyMeta
        } else if self.now < end {
            Reason::DayNotOver
        } else if of.read.is_some_and(|read| read.last < end) {
            Reason::ReadTooEarly
        } else if self.is_before_opt_in(day, of) && ours > meta {
            Reason::BeforeOptIn
        } else if told_for_a_while && ours > meta && of.read.is_some_and(is_late) {
            Reason::FirstReadLate
        } else if of.shift.is_even {
            Reason::OtherDay
        } else if ours > meta && of.lite > 0 && !self.marketing_messages {
            Reason::MarketingMessages(of.lite)
        } else if told_for_a_while && of.shift.is_of_send {
            Reason::DayOfSend
        } else if ours > meta && told_for_a_while {
            Reason::LaterThanSevenDays
        } else if ours < meta && dead > 0 {
            Reason::DeadLetters(dead)
        } else if ours < meta && of.unattributed > 0 {
            Reason::Unattributed(of.unattributed)
        } else if ours < meta && of.late > 0 {
            Reason::Late(of.late)
        } else {
            Reason::Unknown
        }
    }
}

/// Dead parts of a channel by the day they were accepted on, from the first of `days` on.
async fn dead(app: &App, channel: &ChannelId, days: Days) -> Result<BTreeMap<Day, u64>, Error> {
    let mut dead: BTreeMap<Day, u64> = BTreeMap::new();
    let mut from = begin(app, days.first.start()).await?;
    for _ in 0..DEAD_PAGES_MAX {
        let page = app.ledger.dead_letters(from, ENTRIES_MAX).await?;
        let Some(last) = page.last() else { break };
        from = last.position.saturating_add(1);
        for entry in page {
            // What names no channel may be another tenant's.
            if entry.batch.channel.as_ref() == Some(channel) {
                let day = Day::of(entry.batch.accepted);
                *dead.entry(day).or_default() += entry.batch.dead.len() as u64;
            }
        }
    }
    Ok(dead)
}

/// The position of the first entry that was accepted at `time` or later. Entries are in that order,
/// but for those after a clock was set back.
async fn begin(app: &App, time: Time) -> Result<Position, Error> {
    let (mut from, mut to) = (1, app.ledger.newest().saturating_add(1));
    while from < to {
        let middle = from.midpoint(to);
        match app.ledger.entries(middle, 1).await?.first() {
            Some(entry) if entry.batch.accepted < time => from = entry.position.saturating_add(1),
            _ => to = middle,
        }
    }
    Ok(from)
}

fn is_click(figure: &Figure) -> bool {
    matches!(figure, Figure::Clicked | Figure::Button { .. })
}

/// Whether it is of a button whose taps come by no webhook: all but quick replies.
pub(super) fn only_meta(figure: &Figure) -> bool {
    matches!(figure, Figure::Button { kind, .. } if kind.as_str() != ButtonKind::QuickReply.as_str())
}

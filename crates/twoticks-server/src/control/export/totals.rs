//! Totals: a row for each cell, or for each window of a zone, with every sum that is not a ratio.
//!
//! Cells come in the order of their keys, so those of one number or template and one window come
//! together: sums of one window are all that is kept in memory.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use twoticks_core::channel::Side;
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, Text};
use twoticks_core::metric::{self, METRICS};
use twoticks_core::query::{Overflow, Subject};
use twoticks_core::totals::{Attribution, Cell, Scope, Totals};
use twoticks_core::window::Window;

use super::columns::{Column, integer, json, made, text, text_if, time};
use super::span::Windows;
use super::{ControlError, Sink};

/// Sums of one window.
pub(super) struct Row {
    /// Whose; its atom is the first of the window.
    cell: Cell,
    window: Window,
    totals: Totals,
}

/// Adds cells up, which have to come in the order of their keys.
pub(super) struct Sums {
    windows: Windows,
    of: Option<(ChannelId, Subject, Window)>,
    sums: BTreeMap<Cell, Totals>,
}

impl Sums {
    pub(super) fn new(windows: Windows) -> Self {
        Self { windows, of: None, sums: BTreeMap::new() }
    }

    /// Takes a cell in; the rows before it are given away once nothing can come to them any more.
    pub(super) fn take(
        &mut self,
        cell: Cell,
        totals: &Totals,
        sink: &mut Sink<'_, Row>,
    ) -> Result<(), ControlError> {
        let window = self.windows.of(cell.atom)?;
        if !self.windows.asks_for(window) {
            return Ok(());
        }
        let subject = match &cell.scope {
            Scope::Number { number, attribution: _ } => Subject::Number(number.clone()),
            Scope::Template { template, category: _, campaign: _ } => {
                Subject::Template(template.clone())
            }
        };
        let of = (cell.channel.clone(), subject, window);
        if self.of.as_ref() != Some(&of) {
            self.give(sink)?;
            self.of = Some(of);
        }
        let sum = self.sums.entry(Cell { atom: window.from, ..cell }).or_default();
        *sum = std::mem::take(sum).checked_add(totals).ok_or_else(|| {
            let source = Overflow.into();
            twoticks_store::error::Error::Unavailable { doing: "adding up", source }
        })?;
        Ok(())
    }

    /// Gives the last rows away.
    pub(super) fn give(&mut self, sink: &mut Sink<'_, Row>) -> Result<(), ControlError> {
        let Some((_, _, window)) = self.of.take() else { return Ok(()) };
        for (cell, totals) in std::mem::take(&mut self.sums) {
            if !totals.is_zero() {
                sink(&Row { cell, window, totals })?;
            }
        }
        Ok(())
    }
}

/// The columns; times in `zone` as well, where it is not UTC.
pub(super) fn columns(zone: &TimeZone) -> Vec<Column<Row>> {
    let counts = METRICS.iter().filter_map(|metric| match metric.value {
        metric::Value::Count(count) => {
            let column = integer(metric.name, metric.help, move |row: &Row| count(&row.totals));
            Some(column.in_unit("count"))
        }
        // Of sums of shares there is no sense: who reads the export divides.
        metric::Value::Share { .. } => None,
    });
    whose().into_iter().chain(when(zone)).chain(counts).chain(maps()).collect()
}

fn whose() -> Vec<Column<Row>> {
    vec![
        text("channel", "The channel.", |row: &Row| row.cell.channel.as_str()),
        text(
            "scope",
            "Whose sums: `number`, or `template`. Each message is in a row of its number and, if \
             its template is known, in one of its template: add up rows of one scope only.",
            |row: &Row| match row.cell.scope {
                Scope::Number { .. } => "number",
                Scope::Template { .. } => "template",
            },
        ),
        text_if("phone_number", "The business number, of scope `number`.", |row: &Row| match &row
            .cell
            .scope
        {
            Scope::Number { number, .. } => Some(number.as_str()),
            Scope::Template { .. } => None,
        }),
        text_if(
            "attribution",
            "What is known of the messages' template, of scope `number`: `template`, `free_form` \
             (there is none) or `unattributed` (nothing).",
            |row: &Row| match &row.cell.scope {
                Scope::Number { attribution, .. } => Some(attribution_word(*attribution)),
                Scope::Template { .. } => None,
            },
        ),
        text_if(
            "template_code",
            "The template's code, of scope `template`.",
            |row: &Row| match &row.cell.scope {
                Scope::Template { template, .. } => Some(template.code.as_str()),
                Scope::Number { .. } => None,
            },
        ),
        text_if(
            "language",
            "The template's language, of scope `template`.",
            |row: &Row| match &row.cell.scope {
                Scope::Template { template, .. } => Some(template.language.as_str()),
                Scope::Number { .. } => None,
            },
        ),
        text_if(
            "category",
            "The template's category when the messages were sent, where it is known.",
            |row: &Row| match &row.cell.scope {
                Scope::Template { category, .. } => category.map(Category::as_str),
                Scope::Number { .. } => None,
            },
        ),
        text_if("campaign", "The campaign, where there is one.", |row: &Row| {
            match &row.cell.scope {
                Scope::Template { campaign, .. } => campaign.as_ref().map(Text::as_str),
                Scope::Number { .. } => None,
            }
        }),
        text(
            "side",
            "Whether the messages were sent `before_opt_in` or `after_opt_in` of their channel.",
            |row: &Row| side_word(row.cell.side),
        ),
    ]
}

fn when(zone: &TimeZone) -> Vec<Column<Row>> {
    let mut columns = vec![
        time("start_utc", "When the window begins.", |row: &Row| row.window.start()),
        time("end_utc", "When the window is over; it is not part of it.", |row: &Row| {
            row.window.end()
        }),
    ];
    if zone.iana_name() != Some("UTC") {
        let (of_start, of_end) = (zone.clone(), zone.clone());
        columns.push(made("start_local", "`start_utc` in the export's zone.", move |row: &Row| {
            local(row.window.start(), &of_start)
        }));
        columns.push(made("end_local", "`end_utc` in the export's zone.", move |row: &Row| {
            local(row.window.end(), &of_end)
        }));
    }
    columns.push(
        integer("start_ms", "`start_utc` as a number.", |row: &Row| row.window.start().0)
            .in_unit("ms since 1970-01-01T00:00:00Z"),
    );
    columns.push(
        integer("end_ms", "`end_utc` as a number.", |row: &Row| row.window.end().0)
            .in_unit("ms since 1970-01-01T00:00:00Z"),
    );
    columns
}

/// A map of [`Totals`] and its column. What is left out here is a count among the metrics.
fn maps() -> [Column<Row>; 4] {
    [
        json("failures", "Failed messages by error code; `0` where none was told.", |row: &Row| {
            Maps::of(&row.totals).failures
        })
        .in_unit("count"),
        json(
            "button_clicks",
            "Taps by button: all, and the first of each message.",
            |row: &Row| Maps::of(&row.totals).clicks,
        )
        .in_unit("count"),
        json("charged", "Delivered messages by what they were charged as.", |row: &Row| {
            Maps::of(&row.totals).charged
        })
        .in_unit("count"),
        json("cost", "Cost as the provider told it, by currency.", |row: &Row| {
            Maps::of(&row.totals).cost
        })
        .in_unit("millionths of the currency"),
    ]
}

/// What of totals is no count.
struct Maps {
    failures: Value,
    clicks: Value,
    charged: Value,
    cost: Value,
}

impl Maps {
    fn of(totals: &Totals) -> Self {
        // By name, so that a new quantity has to be thought of here.
        let Totals {
            accepted: _,
            sent: _,
            delivered: _,
            read: _,
            played: _,
            late: _,
            failures,
            clicks,
            charged,
            cost,
        } = totals;
        Self {
            failures: failures
                .iter()
                .map(|(code, count)| (code.to_string(), json!(count)))
                .collect(),
            clicks: clicks
                .iter()
                .map(|(button, clicks)| {
                    json!({"type": button.kind.as_str(), "text": button.text,
                        "all": clicks.all, "unique": clicks.unique})
                })
                .collect(),
            charged: charged
                .iter()
                .map(|(charge, count)| {
                    json!({"category": charge.category, "type": charge.kind,
                        "model": charge.model, "count": count})
                })
                .collect(),
            cost: cost
                .iter()
                .map(|(currency, micros)| (currency.to_string(), json!(micros)))
                .collect(),
        }
    }
}

/// The word for it in an export.
pub(super) fn attribution_word(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Template => "template",
        Attribution::FreeForm => "free_form",
        Attribution::Unattributed => "unattributed",
    }
}

/// The word for it in an export.
pub(super) fn side_word(side: Side) -> &'static str {
    match side {
        Side::Before => "before_opt_in",
        Side::After => "after_opt_in",
    }
}

/// RFC 3339 with the zone's offset.
fn local(time: twoticks_core::clock::Time, zone: &TimeZone) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(
        |_| time.0.to_string(),
        |instant| instant.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    )
}

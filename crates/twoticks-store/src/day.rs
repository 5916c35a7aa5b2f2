//! The cells of one subject (a number, or a template) and one UTC day, as one row.
//!
//! A question about three months reads ninety rows, and a commit that touches a template's whole
//! day writes one. What cells have beside plain sums (buttons, charges, error codes, currencies)
//! is written once per row and named by its index. The format, behind the version byte:
//!
//! `extras: count, each a code and its fields | campaigns: count, texts | cells: count, each:`
//! `quarter (1) | side and what (1) | campaign | mask (1), a sum for each bit | extras: count,`
//! `each an index and a sum`. Counts, indices and sums are LEB128, sums zigzag. A campaign is 0,
//! or 1 + its index. Extras, campaigns and cells are sorted, and there are none that count
//! nothing, so that equal rows have equal bytes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;
use twoticks_core::event::{Button, ButtonKind, Pricing};
use twoticks_core::ids::Text;
use twoticks_core::totals::{Atom, Charge, Clicks, Measure, Totals};

use crate::layout::LayoutError;
use crate::varint::{get, get_signed, put, put_signed};

/// How many atoms a day has.
pub(crate) const ATOMS: i32 = 96;

/// The day in which an atom lies, counted from 1970-01-01.
pub(crate) fn of(atom: Atom) -> i32 {
    atom.0.div_euclid(ATOMS)
}

/// What a cell can have beside its plain sums.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Extra {
    /// Failures with this code.
    Failed(i64),
    /// Taps of this button.
    Clicked(Button),
    /// First taps of this button.
    ClickedFirst(Button),
    /// Deliveries charged as this.
    Charged(Charge),
    /// Millionths of this currency.
    Cost(Text),
}

/// The plain sums: accepted, sent, delivered, read, played, late.
const PLAIN: usize = 6;

/// The sums of a cell; what is beside the plain ones is named by an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    plain: [i64; PLAIN],
    /// In a row none of them is zero.
    extras: SmallVec<[(u32, i64); 2]>,
}

impl Sums {
    /// Counts `measure` so many `times`; `extras` are those of the measure, counted once.
    pub(crate) fn count(&mut self, measure: Measure<'_>, times: i64, extras: &[(u32, i64)]) {
        let plain = match measure {
            Measure::Accepted => Some(0),
            Measure::Sent => Some(1),
            Measure::Delivered(_) => Some(2),
            Measure::Read => Some(3),
            Measure::Played => Some(4),
            Measure::Late => Some(5),
            Measure::Failed(_) | Measure::Clicked(..) => None,
        };
        // Changes of one overlay are far below the range: amounts are bounded by `Cost`.
        if let Some(sum) = plain.and_then(|plain| self.plain.get_mut(plain)) {
            *sum += times;
        }
        for (index, by) in extras {
            self.bump(*index, by * times);
        }
    }

    fn bump(&mut self, index: u32, by: i64) {
        match self.extras.iter_mut().find(|(known, _)| *known == index) {
            Some((_, sum)) => *sum += by,
            None => self.extras.push((index, by)),
        }
    }

    /// Adds `totals`. `index` gives extras their indices.
    pub(crate) fn add(&mut self, totals: &Totals, mut index: impl FnMut(Extra) -> u32) {
        let Totals { accepted, sent, delivered, read, played, late, .. } = totals;
        let plain = [accepted, sent, delivered, read, played, late];
        for (sum, by) in self.plain.iter_mut().zip(plain) {
            *sum += by;
        }
        each_extra(totals, |extra, by| self.bump(index(extra), by));
    }

    /// Adds `other`, whose extras have the same indices; `false` if a sum leaves the range of `i64`,
    /// and some are added then.
    #[must_use]
    fn checked_add(&mut self, other: &Self) -> bool {
        for (sum, by) in self.plain.iter_mut().zip(other.plain) {
            let Some(added) = sum.checked_add(by) else { return false };
            *sum = added;
        }
        for (index, by) in &other.extras {
            match self.extras.iter_mut().find(|(known, _)| known == index) {
                None => self.extras.push((*index, *by)),
                Some((_, sum)) => {
                    let Some(added) = sum.checked_add(*by) else { return false };
                    *sum = added;
                }
            }
        }
        true
    }

    /// The sums as they are asked for.
    pub(crate) fn totals(&self, extras: &[Extra]) -> Totals {
        let named = self.extras.iter().filter_map(|(index, by)| {
            Some((extras.get(usize::try_from(*index).unwrap_or(usize::MAX))?, *by))
        });
        totals_of(self.plain, named)
    }
}

/// Plain sums and extras as they are asked for.
fn totals_of<'a>(plain: [i64; PLAIN], extras: impl Iterator<Item = (&'a Extra, i64)>) -> Totals {
    let [accepted, sent, delivered, read, played, late] = plain;
    let mut totals = Totals { accepted, sent, delivered, read, played, late, ..Totals::default() };
    for (extra, by) in extras.filter(|(_, by)| *by != 0) {
        match extra {
            Extra::Failed(code) => drop(totals.failures.insert(*code, by)),
            Extra::Charged(charge) => drop(totals.charged.insert(charge.clone(), by)),
            Extra::Cost(currency) => drop(totals.cost.insert(currency.clone(), by)),
            Extra::Clicked(button) => totals.clicks.entry(button.clone()).or_default().all = by,
            Extra::ClickedFirst(button) => {
                totals.clicks.entry(button.clone()).or_default().unique = by;
            }
        }
    }
    totals
}

/// The extras of a measure counted once.
pub(crate) fn extras_of(measure: Measure<'_>) -> SmallVec<[(Extra, i64); 2]> {
    let mut extras = SmallVec::new();
    match measure {
        Measure::Failed(code) => extras.push((Extra::Failed(code), 1)),
        Measure::Clicked(button, is_first) => {
            extras.push((Extra::Clicked(button.clone()), 1));
            if is_first {
                extras.push((Extra::ClickedFirst(button.clone()), 1));
            }
        }
        Measure::Delivered(Some(pricing)) => {
            extras.push((Extra::Charged(Charge::from(pricing)), 1));
            let Pricing { cost, .. } = pricing;
            if let Some(cost) = cost.as_ref().filter(|cost| cost.micros() != 0) {
                extras.push((Extra::Cost(cost.currency().clone()), cost.micros()));
            }
        }
        _ => {}
    }
    extras
}

fn each_extra(totals: &Totals, mut visit: impl FnMut(Extra, i64)) {
    let Totals { failures, clicks, charged, cost, .. } = totals;
    failures.iter().for_each(|(code, by)| visit(Extra::Failed(*code), *by));
    for (button, Clicks { all, unique }) in clicks {
        if *all != 0 {
            visit(Extra::Clicked(button.clone()), *all);
        }
        if *unique != 0 {
            visit(Extra::ClickedFirst(button.clone()), *unique);
        }
    }
    charged.iter().for_each(|(charge, by)| visit(Extra::Charged(charge.clone()), *by));
    cost.iter().for_each(|(currency, by)| visit(Extra::Cost(currency.clone()), *by));
}

/// Where in its subject and day a cell is; sorted by time first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The quarter of an hour, from 0 to 95.
    pub(crate) quarter: u8,
    /// The side of the opt-in: 0 before, 1 after.
    pub(crate) side: u8,
    /// The attribution, or the category, as `layout` codes it.
    pub(crate) what: u8,
    /// The campaign; none for numbers.
    pub(crate) campaign: Option<Text>,
}

impl Place {
    /// The atom that it is at, on `day`.
    pub(crate) fn atom(&self, day: i32) -> Atom {
        atom(day, self.quarter)
    }
}

/// The atom that a quarter of an hour of a day is.
pub(crate) fn atom(day: i32, quarter: u8) -> Atom {
    Atom(day.wrapping_mul(ATOMS).wrapping_add(i32::from(quarter)))
}

/// A row that is being changed.
#[derive(Debug, Default)]
pub(crate) struct Day {
    /// In the order of their first use.
    extras: Vec<Extra>,
    cells: BTreeMap<Place, Sums>,
}

impl Day {
    /// Reads what [`Day::encode`] wrote.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, LayoutError> {
        let names = Names::of(row)?;
        let mut cells = BTreeMap::new();
        let mut stored = names.cells(row)?;
        while let Some(Cell { quarter, side, what, campaign }) = stored.next()? {
            let mut sums = Sums::default();
            let Sums { plain, extras } = &mut sums;
            stored.sums(
                |index, sum| plain.iter_mut().skip(index).take(1).for_each(|it| *it = sum),
                |index, sum| extras.push((index, sum)),
            )?;
            let campaign = campaign.and_then(|index| names.campaigns.get(index)).cloned();
            cells.insert(Place { quarter, side, what, campaign }, sums);
        }
        Ok(Self { extras: names.extras, cells })
    }

    /// Adds `change`, whose extras `extras` names, to a cell; `false`, and nothing is changed, if
    /// a sum would leave the range of `i64`.
    #[must_use]
    pub(crate) fn add(&mut self, place: Place, change: &Sums, extras: &[Extra]) -> bool {
        let mut sum = self.cells.get(&place).cloned().unwrap_or_default();
        let mut named = Sums { plain: change.plain, extras: SmallVec::new() };
        for (index, by) in change.extras.iter().filter(|(_, by)| *by != 0) {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            let Some(extra) = extras.get(index) else { continue };
            named.extras.push((self.index(extra), *by));
        }
        if !sum.checked_add(&named) {
            return false;
        }
        sum.extras.retain(|(_, sum)| *sum != 0);
        if sum == Sums::default() {
            self.cells.remove(&place);
        } else {
            self.cells.insert(place, sum);
        }
        true
    }

    fn index(&mut self, extra: &Extra) -> u32 {
        // There are few of them in a day of a number or a template.
        let found = self.extras.iter().position(|known| known == extra);
        let index = found.unwrap_or_else(|| {
            self.extras.push(extra.clone());
            self.extras.len() - 1
        });
        u32::try_from(index).expect("what is named is in memory, and that is bounded")
    }

    /// The cells, sorted.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (&Place, Totals)> {
        self.cells.iter().map(|(place, sums)| (place, sums.totals(&self.extras)))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The row, behind `version`.
    pub(crate) fn encode(&self, version: u8) -> Vec<u8> {
        let used = self.cells.values().flat_map(|sums| &sums.extras).map(|(index, _)| *index);
        let used: BTreeSet<u32> = used.collect();
        let name = |index: u32| self.extras.get(usize::try_from(index).ok()?);
        let mut sorted: Vec<u32> = used.into_iter().collect();
        sorted.sort_unstable_by_key(|index| name(*index));
        let mut places = vec![0; self.extras.len()];
        for (place, index) in (0_u32..).zip(&sorted) {
            if let Some(known) = places.get_mut(usize::try_from(*index).unwrap_or(usize::MAX)) {
                *known = place;
            }
        }
        let campaigns = self.cells.keys().filter_map(|place| place.campaign.as_ref());
        let campaigns: BTreeSet<&Text> = campaigns.collect();
        let mut out = Vec::with_capacity(64 + self.cells.len() * 16);
        out.push(version);
        put(&mut out, sorted.len() as u64);
        sorted.iter().filter_map(|index| name(*index)).for_each(|it| put_extra(&mut out, it));
        put(&mut out, campaigns.len() as u64);
        campaigns.iter().for_each(|campaign| put_text(&mut out, campaign));
        put(&mut out, self.cells.len() as u64);
        for (Place { quarter, side, what, campaign }, sums) in &self.cells {
            out.extend_from_slice(&[*quarter, side << 4 | what]);
            let campaign = campaign.as_ref();
            let campaign =
                campaign.and_then(|campaign| campaigns.iter().position(|it| *it == campaign));
            put(&mut out, campaign.map_or(0, |index| index as u64 + 1));
            let set = sums.plain.iter().enumerate().filter(|(_, sum)| **sum != 0);
            out.push(set.clone().fold(0, |mask, (bit, _)| mask | 1 << bit));
            set.for_each(|(_, sum)| put_signed(&mut out, *sum));
            let place = |index: u32| places.get(usize::try_from(index).ok()?).copied();
            let mut extras: SmallVec<[(u32, i64); 4]> = sums
                .extras
                .iter()
                .filter_map(|(index, sum)| Some((place(*index)?, *sum)))
                .collect();
            extras.sort_unstable();
            put(&mut out, extras.len() as u64);
            for (index, sum) in extras {
                put(&mut out, u64::from(index));
                put_signed(&mut out, sum);
            }
        }
        out
    }
}

/// Sums cells that lie in one window, without making totals of each, of rows with the same names.
pub(crate) struct Adder {
    plain: [i64; PLAIN],
    /// By the index of their names.
    extras: Vec<i64>,
}

impl Adder {
    pub(crate) fn of(names: &Names) -> Self {
        Self { plain: [0; PLAIN], extras: vec![0; names.extras.len()] }
    }

    /// What has been added since the last time.
    pub(crate) fn take(&mut self, names: &Names) -> Totals {
        let extras = names.extras.iter().zip(&self.extras);
        let totals = totals_of(self.plain, extras.map(|(extra, sum)| (extra, *sum)));
        self.plain = [0; PLAIN];
        self.extras.fill(0);
        totals
    }
}

/// Where a cell of a row is.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) quarter: u8,
    pub(crate) side: u8,
    pub(crate) what: u8,
    /// An index of the row's campaigns.
    campaign: Option<usize>,
}

/// What the cells of a row name. The rows of a subject mostly name the same, so that those of one
/// can stand for those of the next.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) extras: Vec<Extra>,
    campaigns: Vec<Text>,
    /// As they stand in the row; empty for no row's.
    bytes: Vec<u8>,
}

impl Names {
    /// Those of `row`, which is what stands behind the version byte.
    pub(crate) fn of(row: &[u8]) -> Result<Self, LayoutError> {
        let mut rest = row;
        let read = |rest: &mut &[u8]| {
            let mut extras = Vec::new();
            for _ in 0..get(rest)? {
                extras.push(get_extra(rest)?);
            }
            let mut campaigns = Vec::new();
            for _ in 0..get(rest)? {
                campaigns.push(get_text(rest)?);
            }
            Some((extras, campaigns))
        };
        let (extras, campaigns) = read(&mut rest).ok_or(LayoutError::Row)?;
        let bytes = row.get(..row.len() - rest.len()).unwrap_or_default().to_vec();
        Ok(Self { extras, campaigns, bytes })
    }

    /// Whether they are those of `row` as well.
    pub(crate) fn are_of(&self, row: &[u8]) -> bool {
        // They say themselves where they end.
        !self.bytes.is_empty() && row.starts_with(&self.bytes)
    }

    /// The cells of `row`, which names these.
    pub(crate) fn cells<'a>(&self, row: &'a [u8]) -> Result<Cells<'a>, LayoutError> {
        let mut rest = row.get(self.bytes.len()..).ok_or(LayoutError::Row)?;
        let left = get(&mut rest).ok_or(LayoutError::Row)?;
        Ok(Cells { rest, left })
    }
}

/// Reads the cells of a row: where one is, then its sums.
pub(crate) struct Cells<'a> {
    rest: &'a [u8],
    left: u64,
}

impl Cells<'_> {
    /// Where the next cell is, if there is one. Its sums have to be read before the next one.
    pub(crate) fn next(&mut self) -> Result<Option<Cell>, LayoutError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let mut cell = || {
            let (&[quarter, file], behind) = self.rest.split_first_chunk()?;
            self.rest = behind;
            let campaign = get(&mut self.rest)?.checked_sub(1).map(usize::try_from);
            let campaign = campaign.transpose().ok()?;
            Some(Cell { quarter, side: file >> 4, what: file & 15, campaign })
        };
        cell().ok_or(LayoutError::Row).map(Some)
    }

    /// Reads its sums and calls `plain` and `extra` with the index of each and what it is.
    fn sums(
        &mut self,
        mut plain: impl FnMut(usize, i64),
        mut extra: impl FnMut(u32, i64),
    ) -> Result<(), LayoutError> {
        let mut read = || {
            let rest = &mut self.rest;
            let (&mask, behind) = rest.split_first()?;
            *rest = behind;
            for bit in (0..PLAIN).filter(|bit| mask & 1 << bit != 0) {
                plain(bit, get_signed(rest)?);
            }
            for _ in 0..get(rest)? {
                let index = u32::try_from(get(rest)?).ok()?;
                extra(index, get_signed(rest)?);
            }
            Some(())
        };
        read().ok_or(LayoutError::Row)
    }

    /// Passes over its sums.
    pub(crate) fn skip(&mut self) -> Result<(), LayoutError> {
        self.sums(|_, _| {}, |_, _| {})
    }

    /// Adds its sums to `adder`; `false` if one leaves the range of `i64`.
    pub(crate) fn add_to(&mut self, adder: &mut Adder) -> Result<bool, LayoutError> {
        let Adder { plain, extras } = adder;
        let is_in_range = std::cell::Cell::new(true);
        let add = |sum: Option<&mut i64>, by: i64| {
            let Some(sum) = sum else { return };
            match sum.checked_add(by) {
                Some(added) => *sum = added,
                None => is_in_range.set(false),
            }
        };
        self.sums(
            |index, by| add(plain.get_mut(index), by),
            |index, by| add(extras.get_mut(usize::try_from(index).unwrap_or(usize::MAX)), by),
        )?;
        Ok(is_in_range.get())
    }
}

/// The codes are stored and never reused.
fn put_extra(out: &mut Vec<u8>, extra: &Extra) {
    let mut button = |code, Button { kind, text }: &Button| {
        let kind = match kind {
            ButtonKind::QuickReply => 0,
            ButtonKind::Url => 1,
            ButtonKind::PhoneNumber => 2,
            ButtonKind::Interactive => 3,
            ButtonKind::UrlMachine => 4,
        };
        out.extend_from_slice(&[code, kind]);
        put_text(out, text);
    };
    match extra {
        Extra::Clicked(clicked) => button(2, clicked),
        Extra::ClickedFirst(clicked) => button(3, clicked),
        Extra::Failed(code) => {
            out.push(1);
            put_signed(out, *code);
        }
        Extra::Charged(Charge { category, kind, model }) => {
            out.push(4);
            for text in [category, kind, model] {
                put_text(out, text);
            }
        }
        Extra::Cost(currency) => {
            out.push(5);
            put_text(out, currency);
        }
    }
}

fn get_extra(rest: &mut &[u8]) -> Option<Extra> {
    let (&code, behind) = rest.split_first()?;
    *rest = behind;
    let button = |rest: &mut &[u8]| {
        let (&kind, behind) = rest.split_first()?;
        *rest = behind;
        let kind = match kind {
            0 => ButtonKind::QuickReply,
            1 => ButtonKind::Url,
            2 => ButtonKind::PhoneNumber,
            3 => ButtonKind::Interactive,
            4 => ButtonKind::UrlMachine,
            _ => return None,
        };
        Some(Button { kind, text: get_text(rest)? })
    };
    Some(match code {
        1 => Extra::Failed(get_signed(rest)?),
        2 => Extra::Clicked(button(rest)?),
        3 => Extra::ClickedFirst(button(rest)?),
        4 => {
            let (category, kind) = (get_text(rest)?, get_text(rest)?);
            Extra::Charged(Charge { category, kind, model: get_text(rest)? })
        }
        5 => Extra::Cost(get_text(rest)?),
        _ => return None,
    })
}

fn put_text(out: &mut Vec<u8>, text: &Text) {
    put(out, text.as_str().len() as u64);
    out.extend_from_slice(text.as_str().as_bytes());
}

fn get_text(rest: &mut &[u8]) -> Option<Text> {
    let length = usize::try_from(get(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Text::new(std::str::from_utf8(text).ok()?).ok()
}

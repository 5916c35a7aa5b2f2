//! What can be asked of a ledger, and how cells become points.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::channel::Side;
use crate::event::Category;
use crate::ids::{ChannelId, PhoneNumber, Template, Text};
use crate::totals::{Atom, Attribution, Cell, Scope, Totals};
use crate::window::Window;

/// A question of one channel: sums by window and by number or template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The tenant.
    pub channel: ChannelId,
    /// Whose sums.
    pub select: Select,
    /// Which side of the opt-in; both if `None`.
    pub side: Option<Side>,
    /// The windows, sorted and disjoint.
    pub windows: Vec<Window>,
}

/// Whose sums are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// Of numbers, a point per number.
    Numbers {
        /// Only this one.
        number: Option<PhoneNumber>,
        /// Only messages of which this is known.
        attribution: Option<Attribution>,
    },
    /// Of templates, a point per template (code and language).
    Templates {
        /// Only this code.
        code: Option<Text>,
        /// Only this language.
        language: Option<Text>,
        /// Only messages whose template had this category when they were sent.
        category: Option<Category>,
    },
}

/// Whose sums a point holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A business number.
    Number(PhoneNumber),
    /// A template.
    Template(Template),
}

/// The sums of one subject in one window. There is no point where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub window: Window,
    /// Whose.
    pub subject: Subject,
    /// The sums.
    pub totals: Totals,
}

impl Query {
    /// The atoms that can matter: from the first window's begin to the last one's end.
    #[must_use]
    pub fn span(&self) -> Option<Window> {
        let (first, last) = (self.windows.first()?, self.windows.last()?);
        Some(Window { from: first.from, to: last.to })
    }

    /// Whose point `cell` belongs to; `None` if it is not asked for (its atom left aside).
    #[must_use]
    pub fn subject(&self, cell: &Cell) -> Option<Subject> {
        if cell.channel != self.channel || self.side.is_some_and(|side| side != cell.side) {
            return None;
        }
        match (&self.select, &cell.scope) {
            (
                Select::Numbers { number, attribution },
                Scope::Number { number: of, attribution: known },
            ) => (number.as_ref().is_none_or(|number| number == of)
                && attribution.is_none_or(|attribution| attribution == *known))
            .then(|| Subject::Number(of.clone())),
            (
                Select::Templates { code, language, category },
                Scope::Template { template, category: known, campaign: _ },
            ) => (code.as_ref().is_none_or(|code| *code == template.code)
                && language.as_ref().is_none_or(|language| *language == template.language)
                && category.is_none_or(|category| Some(category) == *known))
            .then(|| Subject::Template(template.clone())),
            (Select::Numbers { .. }, Scope::Template { .. })
            | (Select::Templates { .. }, Scope::Number { .. }) => None,
        }
    }

    /// The index of the window in which `atom` lies.
    #[must_use]
    pub fn window(&self, atom: Atom) -> Option<usize> {
        let index = self.windows.partition_point(|window| window.to <= atom);
        self.windows.get(index).filter(|window| window.from <= atom).map(|_| index)
    }
}

/// Sums cells into points.
#[derive(Debug)]
pub struct Series<'a> {
    query: &'a Query,
    /// Sorted by the index of their window.
    sums: BTreeMap<Subject, Vec<(usize, Totals)>>,
}

/// A sum left the range of `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sum is beyond 9.2e18")]
pub struct Overflow;

impl<'a> Series<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(query: &'a Query) -> Self {
        Self { query, sums: BTreeMap::new() }
    }

    /// Adds a cell; one that the query does not ask for changes nothing.
    ///
    /// # Errors
    /// [`Overflow`] if a sum leaves the range of `i64`.
    pub fn add(&mut self, cell: &Cell, totals: &Totals) -> Result<(), Overflow> {
        if let Some(window) = self.query.window(cell.atom)
            && let Some(subject) = self.query.subject(cell)
        {
            return put(self.sums.entry(subject).or_default(), window, Cow::Borrowed(totals));
        }
        Ok(())
    }

    /// Adds sums of the window with this index, as [`Query::window`] says it, and of a subject that
    /// is asked for, as [`Query::subject`] says it.
    ///
    /// # Errors
    /// [`Overflow`] if a sum leaves the range of `i64`.
    pub fn add_to(
        &mut self,
        window: usize,
        subject: Subject,
        totals: Totals,
    ) -> Result<(), Overflow> {
        put(self.sums.entry(subject).or_default(), window, Cow::Owned(totals))
    }

    /// The points, sorted by window, then subject; those whose sums are all zero are left out.
    #[must_use]
    pub fn finish(self) -> Vec<Point> {
        let windows = &self.query.windows;
        let mut points = Vec::with_capacity(self.sums.values().map(Vec::len).sum());
        for (subject, sums) in self.sums {
            let sums = sums.into_iter().filter(|(_, totals)| !totals.is_zero());
            points.extend(sums.filter_map(|(index, totals)| {
                Some(Point { window: *windows.get(index)?, subject: subject.clone(), totals })
            }));
        }
        // The windows are sorted, and so are the subjects, each with its windows sorted.
        points.sort_by_key(|point| point.window.from);
        points
    }
}

/// Adds to the sums of a subject, which are sorted by the index of their window.
fn put(
    sums: &mut Vec<(usize, Totals)>,
    window: usize,
    totals: Cow<'_, Totals>,
) -> Result<(), Overflow> {
    // What comes is mostly later than what came.
    let place = match sums.last() {
        Some((last, _)) if *last >= window => sums.binary_search_by_key(&window, |(at, _)| *at),
        _ => Err(sums.len()),
    };
    match place {
        Err(place) => sums.insert(place, (window, totals.into_owned())),
        Ok(place) => {
            if let Some((_, sum)) = sums.get_mut(place) {
                *sum = std::mem::take(sum).checked_add(&totals).ok_or(Overflow)?;
            }
        }
    }
    Ok(())
}

//! The young part of the totals: what the cells have changed by since the last commit.
//!
//! A cell that is touched a thousand times between two commits is one entry here and is written
//! once. Names are interned while they are in use, so that counting copies no text.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use smallvec::SmallVec;
use twoticks_core::event::{Button, Pricing};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_core::totals::{Atom, Cell, Filing, FilingTemplate, Measure, Scope, Totals};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::day::{self, Extra, Place, Sums};
use crate::layout::{self, CellTable};

/// How many cells at the end of a subject are looked at before it is searched.
const NEAR: usize = 8;
/// Names that are kept for the next overlay; when there are more all are forgotten.
const NAMES_MAX: usize = 16_384;

/// Changes of cells, by subject.
#[derive(Default)]
pub(crate) struct Cells {
    numbers: Subjects,
    templates: Subjects,
    extras: Extras,
    /// How many cells there are.
    pub(crate) count: usize,
}

/// A number, or a template with a campaign.
pub(crate) struct Subject {
    /// What the keys of its rows begin with.
    pub(crate) key: Vec<u8>,
    pub(crate) campaign: Option<Text>,
    name: Name,
    /// Time and place of each cell, as [`pack`] has them, sorted: what comes concerns the end,
    /// mostly. Apart from the sums, so that a search reads one line of the processor's cache.
    places: Vec<u64>,
    /// The sums of the cell at the same index.
    sums: Vec<Sums>,
}

enum Name {
    Number(ChannelId, PhoneNumber),
    Template(ChannelId, Template),
}

#[derive(Default)]
struct Subjects {
    all: Vec<Subject>,
    by_name: HashTable<u32>,
    /// By key, for those who ask for all of a channel.
    by_key: BTreeMap<Vec<u8>, Vec<u32>>,
    /// The one that was used last: what comes together concerns the same.
    last: u32,
}

#[derive(Default)]
struct Extras {
    all: Vec<Extra>,
    by_extra: HashTable<u32>,
    /// The price that was counted last: most are the same.
    price: Option<(Pricing, Indices)>,
    /// The indices of what was counted last and was no price.
    other: Indices,
}

/// Extras of a measure, and what they count when it counts once.
type Indices = SmallVec<[(u32, i64); 2]>;

impl Cells {
    /// Counts `measure` so many `times` where it is filed.
    pub(crate) fn count(&mut self, filing: &Filing<'_>, measure: Measure<'_>, times: i64) {
        let Self { numbers, templates, extras, count } = self;
        let Filing { channel, number, attribution, template, side, atom } = *filing;
        let indices = extras.of_measure(measure);
        let mut bump = |subject: &mut Subject, what| {
            let sums = subject.sums(pack(atom, layout::side(side), what), count);
            sums.count(measure, times, indices);
        };
        bump(numbers.number(channel, number), layout::attribution(attribution));
        if let Some(FilingTemplate { template, category, campaign }) = template {
            bump(templates.template(channel, template, campaign), layout::category(category));
        }
    }

    /// Adds `change` to a cell.
    pub(crate) fn add(&mut self, cell: &Cell, change: &Totals) {
        let Self { numbers, templates, extras, count } = self;
        let (subject, what) = match &cell.scope {
            Scope::Number { number, attribution } => {
                (numbers.number(&cell.channel, number), layout::attribution(*attribution))
            }
            Scope::Template { template, category, campaign } => {
                let subject = templates.template(&cell.channel, template, campaign.as_ref());
                (subject, layout::category(*category))
            }
        };
        let sums = subject.sums(pack(cell.atom, layout::side(cell.side), what), count);
        sums.add(change, |extra| extras.of(extra));
    }

    /// Forgets all changes and keeps the names: most of what comes next concerns the same.
    pub(crate) fn clear(&mut self) {
        let Self { numbers, templates, extras, count } = self;
        let names = numbers.all.len() + templates.all.len() + extras.all.len();
        if names > NAMES_MAX {
            *self = Self::default();
            return;
        }
        *count = 0;
        for Subject { places, sums, .. } in numbers.all.iter_mut().chain(&mut templates.all) {
            places.clear();
            sums.clear();
        }
    }

    /// What the extras of changes are, by their indices.
    pub(crate) fn extras(&self) -> &[Extra] {
        &self.extras.all
    }

    /// All changes by what the keys of their rows begin with, sorted by day.
    pub(crate) fn by_key(
        &self,
        table: CellTable,
    ) -> impl Iterator<Item = (&[u8], Vec<Change<'_>>)> {
        let subjects = self.of(table);
        subjects.by_key.iter().map(|(key, indices)| {
            let mut changes = Vec::new();
            for subject in indices.iter().filter_map(|index| subjects.at(*index)) {
                for (place, sums) in subject.places.iter().zip(&subject.sums) {
                    let (atom, side, what) = unpack(*place);
                    let quarter = u8::try_from(atom.0.rem_euclid(day::ATOMS)).unwrap_or_default();
                    let place = Place { quarter, side, what, campaign: subject.campaign.clone() };
                    changes.push((day::of(atom), place, sums));
                }
            }
            if indices.len() > 1 {
                changes.sort_by_key(|(day, ..)| *day);
            }
            (key.as_slice(), changes)
        })
    }

    fn of(&self, table: CellTable) -> &Subjects {
        match table {
            CellTable::Numbers => &self.numbers,
            CellTable::Templates => &self.templates,
        }
    }

    /// The changes of the subjects whose keys begin with `prefix`.
    pub(crate) fn below<'a>(
        &'a self,
        table: CellTable,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Subject, Changes<'a>)> {
        let subjects = self.of(table);
        subjects
            .by_key
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .flat_map(|(_, indices)| indices)
            .filter_map(|index| subjects.at(*index))
            .map(|subject| (subject, Changes { subject, extras: &self.extras.all }))
    }
}

/// By how much a cell of some day changes.
pub(crate) type Change<'a> = (i32, Place, &'a Sums);

/// The changes of one subject.
pub(crate) struct Changes<'a> {
    subject: &'a Subject,
    extras: &'a [Extra],
}

impl<'a> Changes<'a> {
    /// Those of the atoms from `from` up to `to`, sorted by time: atom, side, what, by how much.
    pub(crate) fn between(
        &self,
        from: Atom,
        to: Atom,
    ) -> impl Iterator<Item = (Atom, u8, u8, Totals)> + use<'a> {
        let Self { subject, extras } = *self;
        let range = pack(from, 0, 0)..pack(to.max(from), 0, 0);
        let first = subject.places.partition_point(|place| *place < range.start);
        let places = subject.places.get(first..).unwrap_or_default();
        let cells = places.iter().zip(subject.sums.get(first..).unwrap_or_default());
        cells.take_while(move |(place, _)| **place < range.end).map(move |(place, sums)| {
            let (atom, side, what) = unpack(*place);
            (atom, side, what, sums.totals(extras))
        })
    }
}

/// Time first, so that the cells of a subject are sorted by it.
fn pack(atom: Atom, side: u8, what: u8) -> u64 {
    u64::from(atom.0.cast_unsigned() ^ 1 << 31) << 16 | u64::from(side) << 8 | u64::from(what)
}

fn unpack(place: u64) -> (Atom, u8, u8) {
    let [_, _, a, b, c, d, side, what] = place.to_be_bytes();
    let atom = u32::from_be_bytes([a, b, c, d]) ^ 1 << 31;
    (Atom(atom.cast_signed()), side, what)
}

fn hash(texts: &[&str]) -> u64 {
    texts.iter().fold(0, |seed, text| xxh3_64_with_seed(text.as_bytes(), seed))
}

impl Subjects {
    fn get(&mut self, index: u32) -> &mut Subject {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.all.get_mut(index).expect("an index is that of a subject")
    }

    fn at(&self, index: u32) -> Option<&Subject> {
        self.all.get(usize::try_from(index).ok()?)
    }

    fn is_last(&self, is: impl Fn(&Subject) -> bool) -> bool {
        self.at(self.last).is_some_and(is)
    }

    fn number(&mut self, channel: &ChannelId, number: &PhoneNumber) -> &mut Subject {
        let is = |subject: &Subject| matches!(&subject.name, Name::Number(c, n) if n == number && c == channel);
        if !self.is_last(is) {
            let hash = hash(&[channel.as_str(), number.as_str()]);
            self.last = self.find(hash, is, || Subject {
                key: layout::number(channel, number),
                campaign: None,
                name: Name::Number(channel.clone(), number.clone()),
                places: Vec::new(),
                sums: Vec::new(),
            });
        }
        self.get(self.last)
    }

    fn template(
        &mut self,
        channel: &ChannelId,
        template: &Template,
        campaign: Option<&Text>,
    ) -> &mut Subject {
        let is = |subject: &Subject| {
            subject.campaign.as_ref() == campaign
                && matches!(&subject.name, Name::Template(c, t) if t == template && c == channel)
        };
        if !self.is_last(is) {
            let Template { code, language } = template;
            let texts = [channel.as_str(), code.as_str(), language.as_str()];
            let hash = hash(&texts) ^ campaign.map_or(1, |campaign| hash(&[campaign.as_str()]));
            self.last = self.find(hash, is, || Subject {
                key: layout::template(channel, code, Some(language)),
                campaign: campaign.cloned(),
                name: Name::Template(channel.clone(), template.clone()),
                places: Vec::new(),
                sums: Vec::new(),
            });
        }
        self.get(self.last)
    }

    fn find(
        &mut self,
        hash: u64,
        is: impl Fn(&Subject) -> bool,
        make: impl FnOnce() -> Subject,
    ) -> u32 {
        let Self { all, by_name, by_key, last: _ } = self;
        let at = |index: &u32| usize::try_from(*index).ok().and_then(|index| all.get(index));
        if let Some(found) = by_name.find(hash, |index| at(index).is_some_and(&is)) {
            return *found;
        }
        let index = u32::try_from(all.len()).expect("an overlay is committed long before that");
        let hashes = |index: &u32| at(index).map_or(0, Subject::hash);
        by_name.insert_unique(hash, index, hashes);
        let subject = make();
        by_key.entry(subject.key.clone()).or_default().push(index);
        all.push(subject);
        index
    }
}

impl Subject {
    /// The sums at `place`; `count` counts those that are new.
    fn sums(&mut self, place: u64, count: &mut usize) -> &mut Sums {
        let near = self.places.len().saturating_sub(NEAR);
        let late = self.places.get(near..).unwrap_or_default();
        let found = match late.iter().position(|known| *known >= place) {
            // It may be before those.
            Some(0) if near > 0 => self.places.partition_point(|known| *known < place),
            Some(index) => near + index,
            None => self.places.len(),
        };
        if self.places.get(found) != Some(&place) {
            *count += 1;
            self.places.insert(found, place);
            self.sums.insert(found, Sums::default());
        }
        self.sums.get_mut(found).expect("it was found or has just been put")
    }

    fn hash(&self) -> u64 {
        match &self.name {
            Name::Number(channel, number) => hash(&[channel.as_str(), number.as_str()]),
            Name::Template(channel, Template { code, language }) => {
                let campaign = self.campaign.as_ref();
                hash(&[channel.as_str(), code.as_str(), language.as_str()])
                    ^ campaign.map_or(1, |campaign| hash(&[campaign.as_str()]))
            }
        }
    }
}

impl Extras {
    fn of_measure(&mut self, measure: Measure<'_>) -> &[(u32, i64)] {
        let Measure::Delivered(Some(pricing)) = measure else {
            self.other.clear();
            for (extra, by) in day::extras_of(measure) {
                let index = self.of(extra);
                self.other.push((index, by));
            }
            return &self.other;
        };
        if self.price.as_ref().is_none_or(|(known, _)| known != pricing) {
            let extras = day::extras_of(measure).into_iter();
            let indices = extras.map(|(extra, by)| (self.of(extra), by)).collect();
            self.price = Some((pricing.clone(), indices));
        }
        self.price.as_ref().map_or(&[], |(_, indices)| indices)
    }

    fn of(&mut self, extra: Extra) -> u32 {
        let Self { all, by_extra, price: _, other: _ } = self;
        let at = |index: &u32| usize::try_from(*index).ok().and_then(|index| all.get(index));
        let hash = extra.hash();
        if let Some(found) = by_extra.find(hash, |index| at(index) == Some(&extra)) {
            return *found;
        }
        let index = u32::try_from(all.len()).expect("an overlay is committed long before that");
        by_extra.insert_unique(hash, index, |index| at(index).map_or(0, Extra::hash));
        all.push(extra);
        index
    }
}

impl Extra {
    fn hash(&self) -> u64 {
        let button =
            |code, Button { kind, text }: &Button| hash(&[code, kind.as_str(), text.as_str()]);
        match self {
            Self::Failed(code) => code.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15),
            Self::Clicked(clicked) => button("2", clicked),
            Self::ClickedFirst(clicked) => button("3", clicked),
            Self::Charged(charge) => {
                hash(&[charge.category.as_str(), charge.kind.as_str(), charge.model.as_str()])
            }
            Self::Cost(currency) => hash(&[currency.as_str()]),
        }
    }
}

//! The emulator's book: what it told and was believed, kept by itself, to hold the metrics against.
//!
//! It shares no code with what counts for real: the counting rules are written down here once more,
//! for what an emulator can tell. An entry is made when the receiver has answered 200 and not
//! before; everything that is repeated is entered once. What always holds: [`Book::cells`] is what
//! the ledger has to say of the same channel, cell by cell. [`Book::facts`] is what WhatsApp itself
//! knows of it, whether or not a receiver can tell.

mod facts;

use std::collections::BTreeMap;

use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{Button, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};

use crate::meta::Price;

pub use self::facts::{Fact, What};

/// How many messages are entered; what is sent beyond it is told but not entered.
pub const MESSAGES_MAX: usize = 1_000_000;
/// For how long after its last news a message can still be told something (counting rule 12).
const KEPT: i64 = 45 * DAY;
/// How long after that it is known to be late.
const KNOWN_LATE: i64 = 180 * DAY;
/// A quarter of an hour.
const ATOM: i64 = 15 * 60 * SECOND;

/// A message's place in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(usize);

/// What was told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It was sent.
    Sent,
    /// It was delivered; what it was charged as, where that was told with it.
    Delivered(Option<Price>),
    /// It was read; likewise.
    Read(Option<Price>),
    /// It failed, with Meta's code.
    Failed(u32),
    /// A button was tapped; the webhook said whose message it answers.
    Tapped(Button),
    /// A button was tapped; the webhook named only the template, by our sign.
    TappedBySign(Button),
    /// A button was tapped; the webhook named the number only.
    TappedByNobody(Button),
    /// A link was opened; the webhook named the number only.
    Opened {
        /// As the webhook names the link.
        told: Button,
        /// The button behind it.
        button: Button,
    },
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Taken<'a> {
    /// The channel that sends.
    pub channel: &'a ChannelId,
    /// The number that sends.
    pub number: &'a PhoneNumber,
    /// The template that it uses.
    pub template: Option<&'a Template>,
    /// The template that the receiver of its webhooks knows it by: from the send itself, or by our
    /// sign.
    pub claimed: Option<Template>,
    /// Whether the receiver heard the carrier's yes, of the same recipient as everything else.
    pub is_answered: bool,
    /// Whether it went through the Marketing Messages API.
    pub is_lite: bool,
    /// What it is worth when it is delivered, in millionths of a US dollar, where that is known.
    pub worth_micros: Option<i64>,
    /// When.
    pub accepted: Time,
}

/// What the book is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A business number.
    Number(PhoneNumber),
    /// A template, with its category when the messages were sent.
    Template(Template, Option<Category>),
}

/// Where sums are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Of what.
    pub subject: Subject,
    /// Whether it counts in the answers of the CAMS operations: sent at or after the opt-in.
    pub counts: bool,
    /// The quarter of an hour it lies in: when that begins.
    pub atom: Time,
}

/// The sums of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Messages sent.
    pub sent: i64,
    /// Messages delivered.
    pub delivered: i64,
    /// Messages read.
    pub read: i64,
    /// Messages failed and never delivered, by Meta's code.
    pub failed: BTreeMap<i64, i64>,
    /// Taps by button: all, and the first of each message.
    pub clicks: BTreeMap<Button, (i64, i64)>,
    /// Messages delivered, by what they were charged as: category and type.
    pub charged: BTreeMap<(String, String), i64>,
    /// What was told that they cost, in millionths of a US dollar.
    pub cost_micros: i64,
    /// Statuses for messages of which nothing was kept any more.
    pub late: i64,
}

impl Sums {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        let Self { sent, delivered, read, failed, clicks, charged, cost_micros, late } = other;
        self.sent += sent;
        self.delivered += delivered;
        self.read += read;
        self.late += late;
        self.cost_micros += cost_micros;
        for (charge, count) in charged {
            *self.charged.entry(charge.clone()).or_default() += count;
        }
        for (code, count) in failed {
            *self.failed.entry(*code).or_default() += count;
        }
        for (button, (all, unique)) in clicks {
            let sum = self.clicks.entry(button.clone()).or_default();
            (sum.0, sum.1) = (sum.0 + all, sum.1 + unique);
        }
    }
}

/// A message, as the book knows it.
#[derive(Debug)]
struct Page {
    channel: ChannelId,
    number: PhoneNumber,
    /// The template that it uses, and the one that the receiver knows it by.
    template: Option<Template>,
    claimed: Option<Template>,
    accepted: Time,
    /// The last news of it.
    touched: Time,
    is_answered: bool,
    is_lite: bool,
    worth_micros: Option<i64>,
    people: BTreeMap<u16, Person>,
    /// By when, then by the id of the inbound message.
    taps: BTreeMap<(i64, u64), Button>,
}

/// What became of a message with one recipient, in seconds.
#[derive(Debug, Default)]
struct Person {
    sent: Option<i64>,
    delivered: Option<i64>,
    read: Option<i64>,
    failed: Option<(i64, u32)>,
    price: Option<Price>,
}

/// A tap that is nobody's, or only a template's.
#[derive(Debug)]
struct Loose {
    /// The message that WhatsApp knows it is of: its place among the pages.
    of: usize,
    channel: ChannelId,
    number: PhoneNumber,
    template: Option<Template>,
    second: i64,
    /// As it was told, and the button that it was.
    told: Button,
    button: Button,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    pages: Vec<Page>,
    /// By the inbound message, so that one is entered once.
    loose: BTreeMap<u64, Loose>,
    categories: BTreeMap<(ChannelId, Template), BTreeMap<Time, Category>>,
    late: BTreeMap<(ChannelId, PhoneNumber, i64), i64>,
    missed: u64,
    lost: u64,
    believed_forgeries: u64,
}

impl Person {
    fn sent(&self) -> Option<i64> {
        [self.sent, self.delivered, self.read].into_iter().flatten().min()
    }

    fn delivered(&self) -> Option<i64> {
        [self.delivered, self.read].into_iter().flatten().min()
    }

    fn first(&self) -> Option<i64> {
        let failed = self.failed.map(|(second, _)| second);
        [self.sent(), failed].into_iter().flatten().min()
    }
}

impl Book {
    /// A message was taken; `None` if the book is full.
    pub fn open(&mut self, taken: Taken<'_>) -> Option<Number> {
        if self.pages.len() >= MESSAGES_MAX {
            self.missed += 1;
            return None;
        }
        let Taken {
            channel,
            number,
            template,
            claimed,
            is_answered,
            is_lite,
            worth_micros,
            accepted,
        } = taken;
        self.pages.push(Page {
            channel: channel.clone(),
            number: number.clone(),
            template: template.cloned(),
            claimed,
            accepted,
            touched: accepted,
            is_answered,
            is_lite,
            worth_micros,
            people: BTreeMap::new(),
            taps: BTreeMap::new(),
        });
        Some(Number(self.pages.len() - 1))
    }

    /// A template has this category from `time` on.
    pub fn categorise(
        &mut self,
        channel: &ChannelId,
        template: &Template,
        time: Time,
        category: Category,
    ) {
        let key = (channel.clone(), template.clone());
        self.categories.entry(key).or_default().insert(time, category);
    }

    /// Something of the message was believed at `accepted`: it happened in that second, to that
    /// one of its recipients (0 outside groups); a tap has an id of its own.
    pub fn enter(
        &mut self,
        of: Number,
        accepted: Time,
        second: i64,
        who: u16,
        id: u64,
        it: &Entry,
    ) {
        let Some(page) = self.pages.get_mut(of.0) else { return };
        let loose = match it {
            Entry::Opened { told, button } => Some((told, button, false)),
            Entry::TappedByNobody(button) => Some((button, button, false)),
            Entry::TappedBySign(button) => Some((button, button, true)),
            Entry::Sent
            | Entry::Delivered(_)
            | Entry::Read(_)
            | Entry::Failed(_)
            | Entry::Tapped(_) => None,
        };
        if let Some((told, button, is_signed)) = loose {
            self.loose.insert(
                id,
                Loose {
                    of: of.0,
                    channel: page.channel.clone(),
                    number: page.number.clone(),
                    template: page.claimed.clone().filter(|_| is_signed),
                    second,
                    told: told.clone(),
                    button: button.clone(),
                },
            );
            return;
        }
        let age = accepted.0.saturating_sub(page.touched.0);
        if age > KEPT && age <= KEPT + KNOWN_LATE {
            let atom = (second * SECOND).div_euclid(ATOM) * ATOM;
            let key = (page.channel.clone(), page.number.clone(), atom);
            *self.late.entry(key).or_default() += 1;
            return;
        }
        if age > KEPT + KNOWN_LATE {
            // It is as if nothing had ever been heard of it, but for our sign in what is told now.
            page.people.clear();
            page.taps.clear();
        }
        page.touched = page.touched.max(accepted);
        let person = page.people.entry(who).or_default();
        match it {
            Entry::Sent => person.sent = Some(second),
            Entry::Delivered(price) => {
                person.delivered = Some(second);
                person.price = person.price.or(*price);
            }
            Entry::Read(price) => {
                person.read = Some(second);
                person.price = person.price.or(*price);
            }
            Entry::Failed(code) => person.failed = Some((second, *code)),
            Entry::Tapped(button) => {
                page.taps.insert((second, id), button.clone());
            }
            Entry::Opened { .. } | Entry::TappedBySign(_) | Entry::TappedByNobody(_) => {}
        }
    }

    /// Something was given up after days of trying.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// A body that nobody may believe was answered 200.
    pub fn believed_a_forgery(&mut self) {
        self.believed_forgeries += 1;
    }

    /// How many messages were sent when the book was full; it is whole while this is 0.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How many things were given up: told for seven days and never taken.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many forged or cut bodies were taken; anything but 0 is a receiver's fault.
    #[must_use]
    pub fn forgeries(&self) -> u64 {
        self.believed_forgeries
    }

    /// How many messages are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// What has to be counted of `channel`, which opted in at `opt_in`. Cells of nothing are left
    /// out.
    #[must_use]
    pub fn cells(&self, channel: &ChannelId, opt_in: Option<Time>) -> BTreeMap<Cell, Sums> {
        let mut sums = Summing { book: self, opt_in, cells: BTreeMap::new() };
        for page in self.pages.iter().filter(|page| page.channel == *channel) {
            sums.page(page);
        }
        for loose in self.loose.values().filter(|loose| loose.channel == *channel) {
            sums.loose(loose);
        }
        for ((of, number, atom), count) in &self.late {
            if of == channel {
                let subject = Subject::Number(number.clone());
                let cell = Cell { subject, counts: false, atom: Time(*atom) };
                sums.cells.entry(cell).or_default().late += count;
            }
        }
        sums.cells
    }

    fn category(&self, channel: &ChannelId, template: &Template, at: Time) -> Option<Category> {
        let history = self.categories.get(&(channel.clone(), template.clone()))?;
        let held = history.range(..=at).next_back().or_else(|| history.first_key_value());
        held.map(|(_, category)| *category)
    }
}

struct Summing<'a> {
    book: &'a Book,
    opt_in: Option<Time>,
    cells: BTreeMap<Cell, Sums>,
}

impl Summing<'_> {
    fn counts(&self, sent: Option<i64>) -> bool {
        let opt_in = self.opt_in.map(Time::second);
        sent.zip(opt_in).is_some_and(|(sent, opt_in)| sent >= opt_in)
    }

    /// Changes the sums of the number and, where there is one, of the template.
    fn change(
        &mut self,
        number: &PhoneNumber,
        template: Option<(&Template, Option<Category>)>,
        counts: bool,
        second: i64,
        change: impl Fn(&mut Sums),
    ) {
        let atom = Time((second * SECOND).div_euclid(ATOM) * ATOM);
        let number = Subject::Number(number.clone());
        let template = template.map(|(it, category)| Subject::Template(it.clone(), category));
        for subject in [Some(number), template].into_iter().flatten() {
            change(self.cells.entry(Cell { subject, counts, atom }).or_default());
        }
    }

    fn page(&mut self, page: &Page) {
        // Outside groups the carrier's yes is told of the same recipient as everything else.
        let yes = page.is_answered.then_some(page.accepted.second());
        let filed = |summing: &Self, sent: Option<i64>, first: Option<i64>| {
            let first = [first, yes].into_iter().flatten().min();
            let at = sent.or(first).map(|second| Time(second * SECOND));
            let template = page.claimed.as_ref().map(|template| {
                // The carrier's yes is known to the millisecond.
                let at = if sent.is_none() && first == yes { Some(page.accepted) } else { at };
                let category = at.and_then(|at| summing.book.category(&page.channel, template, at));
                (template, category)
            });
            (template, summing.counts(sent))
        };
        for person in page.people.values() {
            let (template, counts) = filed(self, person.sent(), person.first());
            if let Some(second) = person.sent() {
                self.change(&page.number, template, counts, second, |sums| sums.sent += 1);
            }
            if let Some(second) = person.delivered() {
                self.change(&page.number, template, counts, second, |sums| {
                    sums.delivered += 1;
                    if let Some(Price { kind, category, cost_micros }) = person.price {
                        let charge = (category.to_owned(), kind.to_owned());
                        *sums.charged.entry(charge).or_default() += 1;
                        sums.cost_micros += cost_micros.unwrap_or(0);
                    }
                });
            }
            if let Some(second) = person.read {
                self.change(&page.number, template, counts, second, |sums| sums.read += 1);
            }
            if let Some((second, code)) = person.failed.filter(|_| person.delivered().is_none()) {
                self.change(&page.number, template, counts, second, |sums| {
                    *sums.failed.entry(i64::from(code)).or_default() += 1;
                });
            }
        }
        let sent = page.people.values().filter_map(Person::sent).min();
        let first = page.people.values().filter_map(Person::first).min();
        let tapped = page.taps.first_key_value().map(|((second, _), _)| *second);
        let (template, counts) = filed(self, sent, first.or(tapped.filter(|_| !page.is_answered)));
        let mut seen: Vec<&Button> = Vec::new();
        for ((second, _), button) in &page.taps {
            let is_first = !seen.contains(&button);
            seen.push(button);
            self.change(&page.number, template, counts, *second, |sums| {
                let (all, unique) = sums.clicks.entry(button.clone()).or_default();
                *all += 1;
                *unique += i64::from(is_first);
            });
        }
    }

    fn loose(&mut self, loose: &Loose) {
        let Loose { of: _, channel, number, template, second, told, button: _ } = loose;
        let at = Time(second * SECOND);
        let template = template.as_ref().map(|template| {
            let category = self.book.category(channel, template, at);
            (template, category)
        });
        let counts = self.counts(Some(*second));
        self.change(number, template, counts, *second, |sums| {
            sums.clicks.entry(told.clone()).or_default().0 += 1;
        });
    }
}

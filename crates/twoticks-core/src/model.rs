//! The simplest possible ledger: the oracle of tests.
//!
//! It keeps the set of facts and nothing else, and works every cell out from scratch when asked,
//! by the counting rules as they are written and without a line of the code that counts for real
//! ([`crate::fold`], [`crate::message`], [`crate::tap`], [`crate::channel`]). It is slow on
//! purpose. Compiled with the feature `model` only.
//!
//! It knows no horizon (counting rule 12): give it facts whose acceptance times are less than
//! [`crate::message::STATE_KEPT`] apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Side;
use crate::clock::Time;
use crate::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Event, MessageEvent, Pricing, Sign, Status,
    TapEvent,
};
use crate::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use crate::message::TAPS_MAX;
use crate::query::{Point, Query, Select, Subject};
use crate::totals::{Atom, Attribution, Cell, Charge, Scope, Totals};

/// A set of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    facts: BTreeSet<Event>,
}

/// Everything that was told of one message: its facts and its taps.
#[derive(Default)]
struct Told<'a> {
    events: Vec<&'a MessageEvent>,
    taps: Vec<Tapped>,
}

/// A tap, all that was told of it taken together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tapped {
    time: Time,
    id: Hash,
    button: Button,
}

type MessageName = (ChannelId, PhoneNumber, Hash);

impl Model {
    /// Takes in a fact. `false`, and nothing else, if it cannot have happened (counting rule 13).
    pub fn record(&mut self, accepted: Time, event: &Event) -> bool {
        let possible = event.is_possible(accepted);
        if possible {
            self.facts.insert(event.clone());
        }
        possible
    }

    /// Every cell that is not zero.
    #[must_use]
    pub fn cells(&self) -> BTreeMap<Cell, Totals> {
        let mut cells = Cells::default();
        let mut messages: BTreeMap<MessageName, Told<'_>> = BTreeMap::new();
        for event in self.message_events() {
            let name = (event.channel.clone(), event.number.clone(), event.message);
            messages.entry(name).or_default().events.push(event);
        }
        let mut taps: BTreeMap<MessageName, Vec<&TapEvent>> = BTreeMap::new();
        for event in self.tap_events() {
            let name = (event.channel.clone(), event.number.clone(), event.id);
            taps.entry(name).or_default().push(event);
        }
        for ((channel, number, id), told) in taps {
            let rank = |tap: &TapEvent| tap.message.is_none() && tap.sign.is_none();
            let told_of = told.iter().map(|tap| (rank(tap), tap.time, &tap.button));
            let Some((_, time, button)) = told_of.min() else { continue };
            let template_button = button.kind != ButtonKind::Interactive;
            let context = told.iter().filter_map(|tap| Some((tap.time, tap.message?))).min();
            let sign = told.iter().filter_map(|tap| Some((tap.time, tap.sign.as_ref()?))).min();
            match (context, sign) {
                (Some((_, message)), _) if template_button => {
                    let told = messages.entry((channel, number, message)).or_default();
                    told.taps.push(Tapped { time, id, button: button.clone() });
                }
                (_, Some((_, sign))) if template_button => {
                    self.count_signed(&mut cells, (channel, number), time, button, sign);
                }
                _ => {
                    let attribution = if template_button {
                        Attribution::Unattributed
                    } else {
                        Attribution::FreeForm
                    };
                    let side = self.side(&channel, Some(time));
                    let totals =
                        cells.at(channel, Scope::Number { number, attribution }, side, time);
                    totals.clicks.entry(button.clone()).or_default().all += 1;
                }
            }
        }
        for (name, told) in &messages {
            self.count_message(&mut cells, name, told);
        }
        cells.0.into_iter().filter(|(_, totals)| !totals.is_zero()).collect()
    }

    /// What the answer to `query` should be.
    #[must_use]
    pub fn points(&self, query: &Query) -> Vec<Point> {
        let cells = self.cells();
        let mut sums: BTreeMap<(usize, Subject), Totals> = BTreeMap::new();
        for (index, window) in query.windows.iter().enumerate() {
            for (cell, totals) in &cells {
                let inside =
                    window.start() <= cell.atom.start() && cell.atom.start() < window.end();
                let subject = asked_for(query, cell).filter(|_| inside);
                if let Some(subject) = subject {
                    let sum = sums.entry((index, subject)).or_default();
                    *sum = std::mem::take(sum).checked_add(totals).unwrap_or_default();
                }
            }
        }
        let windows = &query.windows;
        sums.into_iter()
            .filter(|(_, totals)| !totals.is_zero())
            .filter_map(|((index, subject), totals)| {
                Some(Point { window: *windows.get(index)?, subject, totals })
            })
            .collect()
    }

    fn message_events(&self) -> impl Iterator<Item = &MessageEvent> {
        self.facts.iter().filter_map(|fact| match fact {
            Event::Message(event) => Some(event),
            Event::Tap(_) | Event::OptIn { .. } | Event::Category(_) => None,
        })
    }

    fn tap_events(&self) -> impl Iterator<Item = &TapEvent> {
        self.facts.iter().filter_map(|fact| match fact {
            Event::Tap(event) => Some(event),
            Event::Message(_) | Event::OptIn { .. } | Event::Category(_) => None,
        })
    }

    /// Rule 6.
    fn side(&self, of: &ChannelId, sent: Option<Time>) -> Side {
        let opt_ins = self.facts.iter().filter_map(|fact| match fact {
            Event::OptIn { channel, time } if channel == of => Some(*time),
            _ => None,
        });
        match (opt_ins.min(), sent) {
            (Some(opt_in), Some(sent)) if sent.0.div_euclid(1000) >= opt_in.0.div_euclid(1000) => {
                Side::After
            }
            _ => Side::Before,
        }
    }

    /// Rule 7.
    fn category(&self, channel: &ChannelId, template: &Template, time: Time) -> Option<Category> {
        let changes: Vec<&CategoryEvent> = self
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Event::Category(event)
                    if event.channel == *channel && event.template == *template =>
                {
                    Some(event)
                }
                _ => None,
            })
            .collect();
        let at = |instant: Time| changes.iter().filter(move |change| change.effective == instant);
        let changed = changes.iter().map(|change| change.effective);
        match changed.clone().filter(|effective| *effective <= time).max() {
            Some(last) => at(last).map(|change| change.category).min(),
            None => {
                let first = changed.min()?;
                let before = at(first).filter_map(|change| change.previous).min();
                before.or_else(|| at(first).map(|change| change.category).min())
            }
        }
    }

    /// Rule 5: a tap that names no message, but a template.
    fn count_signed(
        &self,
        cells: &mut Cells,
        (channel, number): (ChannelId, PhoneNumber),
        time: Time,
        button: &Button,
        Sign { template, campaign }: &Sign,
    ) {
        let side = self.side(&channel, Some(time));
        let category = self.category(&channel, template, time);
        let (template, campaign) = (template.clone(), campaign.clone());
        for scope in [
            Scope::Template { template, category, campaign },
            Scope::Number { number, attribution: Attribution::Template },
        ] {
            let totals = cells.at(channel.clone(), scope, side, time);
            totals.clicks.entry(button.clone()).or_default().all += 1;
        }
    }

    fn count_message(&self, cells: &mut Cells, name: &MessageName, told: &Told<'_>) {
        let claim = claim(&told.events);
        let recipients = recipients(&told.events);
        let place = |first: Option<Time>, sent: Option<Time>| Place {
            model: self,
            name,
            claim,
            sent,
            category_at: sent.or(first),
        };
        for events in &recipients {
            let first = events.iter().map(|event| event.time).min();
            let sent = effective(events, Status::Sent);
            count_recipient(cells, &place(first, sent), events);
        }
        let sent = recipients.iter().filter_map(|events| effective(events, Status::Sent)).min();
        let first = recipients.iter().flatten().map(|event| event.time).min();
        let mut taps = told.taps.clone();
        taps.sort();
        taps.truncate(TAPS_MAX);
        let first = first.or(taps.first().map(|tap| tap.time));
        let mut tapped = BTreeSet::new();
        for Tapped { time, id: _, button } in taps {
            let unique = i64::from(tapped.insert(button.clone()));
            place(first, sent).count(cells, time, |totals| {
                let clicks = totals.clicks.entry(button.clone()).or_default();
                clicks.all += 1;
                clicks.unique += unique;
            });
        }
    }
}

/// Rule 4: the best source, then the earliest, then the smallest.
fn claim<'a>(events: &[&'a MessageEvent]) -> Option<&'a Claim> {
    let claims = events.iter().filter_map(|event| Some((event.time, event.claim.as_deref()?)));
    claims
        .min_by_key(|(time, claim)| (claim.source, *time, &claim.template, &claim.campaign))
        .map(|(_, claim)| claim)
}

/// Rule 14: the statuses of each recipient that counts.
fn recipients<'a>(events: &[&'a MessageEvent]) -> Vec<Vec<&'a MessageEvent>> {
    let statuses = || events.iter().copied().filter(|event| event.status.is_some());
    let mut people: Vec<BTreeSet<Hash>> = Vec::new();
    for event in statuses().filter(|event| !event.participant.is_empty()) {
        let mut person: BTreeSet<Hash> = event.participant.iter().copied().collect();
        let (same, others): (Vec<_>, Vec<_>) =
            people.into_iter().partition(|other| !other.is_disjoint(&person));
        person.extend(same.into_iter().flatten());
        people = others;
        people.push(person);
    }
    if people.is_empty() {
        return vec![statuses().collect()];
    }
    people
        .into_iter()
        .map(|person| {
            statuses()
                .filter(|event| event.participant.iter().any(|id| person.contains(id)))
                .collect()
        })
        .collect()
}

/// Rule 3.
fn effective(events: &[&MessageEvent], status: Status) -> Option<Time> {
    use Status::{Accepted, Delivered, Failed, Played, Read, Sent};
    let sayers: &[Status] = match status {
        Accepted => &[Accepted],
        Sent => &[Sent, Delivered, Read, Played],
        Delivered => &[Delivered, Read, Played],
        Read => &[Read, Played],
        Played => &[Played],
        Failed if effective(events, Delivered).is_some() => &[],
        Failed => &[Failed],
    };
    let say = |event: &&&MessageEvent| event.status.is_some_and(|told| sayers.contains(&told));
    events.iter().filter(say).map(|event| event.time).min()
}

fn count_recipient(cells: &mut Cells, place: &Place<'_>, events: &[&MessageEvent]) {
    let mut count = |status, change: &dyn Fn(&mut Totals)| {
        if let Some(time) = effective(events, status) {
            place.count(cells, time, change);
        }
    };
    count(Status::Accepted, &|totals| totals.accepted += 1);
    count(Status::Sent, &|totals| totals.sent += 1);
    count(Status::Read, &|totals| totals.read += 1);
    count(Status::Played, &|totals| totals.played += 1);
    count(Status::Delivered, &|totals| {
        totals.delivered += 1;
        if let Some(Pricing { category, kind, model, cost }) = pricing(events) {
            let (category, kind, model) = (category.clone(), kind.clone(), model.clone());
            *totals.charged.entry(Charge { category, kind, model }).or_default() += 1;
            if let Some(cost) = cost.as_ref().filter(|cost| cost.micros() > 0) {
                *totals.cost.entry(cost.currency().clone()).or_default() += cost.micros();
            }
        }
    });
    let failures = events.iter().filter(|event| event.status == Some(Status::Failed));
    let error = failures.filter_map(|event| Some((event.time, event.error?))).min();
    count(Status::Failed, &|totals| {
        *totals.failures.entry(error.map_or(0, |(_, code)| code)).or_default() += 1;
    });
}

/// Rule 11: that of the least event that says delivered or read (played says read).
fn pricing<'a>(events: &[&'a MessageEvent]) -> Option<&'a Pricing> {
    let says = [Some(Status::Delivered), Some(Status::Read), Some(Status::Played)];
    let told = events.iter().filter(|event| says.contains(&event.status));
    told.filter_map(|event| Some((event.time, event.pricing.as_deref()?)))
        .min()
        .map(|(_, pricing)| pricing)
}

struct Place<'a> {
    model: &'a Model,
    name: &'a MessageName,
    claim: Option<&'a Claim>,
    sent: Option<Time>,
    category_at: Option<Time>,
}

impl Place<'_> {
    fn count(&self, cells: &mut Cells, time: Time, change: impl Fn(&mut Totals)) {
        let (channel, number, _) = self.name;
        let side = self.model.side(channel, self.sent);
        let template = self.claim.and_then(|claim| claim.template.as_ref());
        let attribution = match (self.claim, template) {
            (None, _) => Attribution::Unattributed,
            (Some(_), None) => Attribution::FreeForm,
            (Some(_), Some(_)) => Attribution::Template,
        };
        let scope = Scope::Number { number: number.clone(), attribution };
        change(cells.at(channel.clone(), scope, side, time));
        if let (Some(template), Some(instant)) = (template, self.category_at) {
            let scope = Scope::Template {
                template: template.clone(),
                category: self.model.category(channel, template, instant),
                campaign: self.claim.and_then(|claim| claim.campaign.clone()),
            };
            change(cells.at(channel.clone(), scope, side, time));
        }
    }
}

#[derive(Default)]
struct Cells(BTreeMap<Cell, Totals>);

impl Cells {
    fn at(&mut self, channel: ChannelId, scope: Scope, side: Side, time: Time) -> &mut Totals {
        self.0.entry(Cell { channel, scope, side, atom: Atom::of(time) }).or_default()
    }
}

fn asked_for(query: &Query, cell: &Cell) -> Option<Subject> {
    fn fits<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
        wanted.is_none() || wanted == is
    }
    let wanted = cell.channel == query.channel && fits(query.side.as_ref(), Some(&cell.side));
    match (&query.select, &cell.scope) {
        (
            Select::Numbers { number, attribution },
            Scope::Number { number: of, attribution: by },
        ) => (wanted && fits(number.as_ref(), Some(of)) && fits(attribution.as_ref(), Some(by)))
            .then(|| Subject::Number(of.clone())),
        (
            Select::Templates { code, language, category },
            Scope::Template { template, category: of, campaign: _ },
        ) => {
            let named: [(&Option<Text>, &Text); 2] =
                [(code, &template.code), (language, &template.language)];
            let named = named.into_iter().all(|(wanted, is)| fits(wanted.as_ref(), Some(is)));
            (wanted && named && fits(category.as_ref(), of.as_ref()))
                .then(|| Subject::Template(template.clone()))
        }
        _ => None,
    }
}

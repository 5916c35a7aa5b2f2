//! The two sides of a day: our sums, and Meta's figures where it was asked for them.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_core::query::{Query, Select, Subject as Of};
use twoticks_core::totals::{Attribution, Totals};
use twoticks_core::window::{Granularity, windows};
use twoticks_store::directory::Snapshot;
use twoticks_store::error::Error;
use twoticks_store::figures::{ButtonKey, Cost, Day, OfDay, Read, Standing, TemplateFigures};
use twoticks_wire::graph::analytics;

use super::reason::Circumstances;
use super::{Days, Figure, Pairs, Shift, Subject};
use crate::app::App;
use crate::graph::figures::told_of_all;

/// Meta's word for clicks on links.
const URL: &str = "url_button";
/// Meta's word for clicks that were counted once for each person.
const UNIQUE_URL: &str = "unique_url_button";
/// Such words begin so.
const UNIQUE: &str = "unique_";
/// How a message that went through the Marketing Messages API is charged.
const LITE: &str = "MARKETING_LITE";

/// Our sums of a day.
#[derive(Default)]
struct Ours {
    numbers: BTreeMap<PhoneNumber, Totals>,
    templates: BTreeMap<Template, Totals>,
    /// Sent without a template being known.
    unattributed: i64,
}

/// Both sides.
pub(super) struct Sides {
    ours: BTreeMap<Day, Ours>,
    pub(super) metas: BTreeMap<Day, OfDay>,
    currency: Option<Text>,
    /// Templates that Meta does not know.
    unknown: Vec<Text>,
}

/// A count as rows have it.
fn told(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether it counts clicks, and not people who clicked.
pub(super) fn is_counted(figure: &Figure) -> bool {
    !matches!(figure, Figure::Button { kind, .. } if kind.as_str().starts_with(UNIQUE))
}

/// What a button is called by both sides.
fn button(kind: &str, text: &Text) -> Figure {
    Figure::Button { kind: Text::lossy(kind), text: text.clone() }
}

/// The pricing words of webhooks as analytics write them.
fn capitals(word: &Text) -> Text {
    Text::lossy(&word.as_str().to_uppercase().replace('-', "_"))
}

impl Sides {
    /// Our side; Meta's is empty yet.
    pub(super) async fn of(
        app: &App,
        channel: &ChannelId,
        days: Days,
        standing: Option<&Standing>,
    ) -> Result<Self, Error> {
        let mut ours: BTreeMap<Day, Ours> = BTreeMap::new();
        let end = Day(days.last.0.saturating_add(1)).start();
        let cut = windows(days.first.start(), end, Granularity::Daily, &TimeZone::UTC);
        // They were checked to be of the calendar.
        let cut = cut.unwrap_or_default();
        let numbers = |attribution| Select::Numbers { number: None, attribution };
        let templates = Select::Templates { code: None, language: None, category: None };
        for (select, is_unattributed) in [
            (numbers(None), false),
            (templates, false),
            (numbers(Some(Attribution::Unattributed)), true),
        ] {
            // What came before the opt-in too: Meta does not know of ours.
            let channel = channel.clone();
            let query = Query { channel, select, side: None, windows: cut.clone() };
            for point in app.ledger.series(query).await? {
                let day = ours.entry(Day::of(point.window.start())).or_default();
                match point.subject {
                    Of::Number(_) if is_unattributed => {
                        day.unattributed = day.unattributed.saturating_add(point.totals.sent);
                    }
                    Of::Number(number) => drop(day.numbers.insert(number, point.totals)),
                    Of::Template(template) => drop(day.templates.insert(template, point.totals)),
                }
            }
        }
        let currency = standing.and_then(|standing| standing.currency.clone());
        let unknown = standing.map_or_else(Vec::new, |standing| standing.unknown.clone());
        Ok(Self { ours, metas: BTreeMap::new(), currency, unknown })
    }

    /// What both sides say of a day.
    pub(super) fn pairs(&self, directory: &Snapshot, channel: &ChannelId, day: Day) -> Pairs {
        let mut pairs = Pairs::new();
        let (nothing, unread) = (Ours::default(), OfDay::default());
        let ours = self.ours.get(&day).unwrap_or(&nothing);
        let metas = self.metas.get(&day).unwrap_or(&unread);
        self.of_numbers(&mut pairs, ours, metas);
        self.of_templates(&mut pairs, (directory, channel), ours, metas);
        self.of_prices(&mut pairs, ours, metas);
        pairs
    }

    fn of_numbers(&self, pairs: &mut Pairs, ours: &Ours, metas: &OfDay) {
        let mut numbers: Vec<&PhoneNumber> = ours.numbers.keys().collect();
        let told_of =
            metas.numbers.iter().filter(|(_, told)| (told.sent, told.delivered) != (0, 0));
        numbers.extend(told_of.map(|(number, _)| number));
        for number in numbers {
            let (own, told_of) = (ours.numbers.get(number), metas.numbers.get(number));
            let mut put = |figure, own: Option<i64>, of_meta: Option<u64>| {
                let of_meta = of_meta.map(told);
                pairs.insert((Subject::Number(number.clone()), figure), (own.or(Some(0)), of_meta));
            };
            put(Figure::Sent, own.map(|it| it.sent), told_of.map(|it| it.sent));
            put(Figure::Delivered, own.map(|it| it.delivered), told_of.map(|it| it.delivered));
        }
    }

    fn of_templates(
        &self,
        pairs: &mut Pairs,
        (directory, channel): (&Snapshot, &ChannelId),
        ours: &Ours,
        metas: &OfDay,
    ) {
        // What was told by either name of a product is the same.
        let mut products: BTreeMap<(&Text, &str), TemplateFigures> = BTreeMap::new();
        for (key, figures) in &metas.templates {
            let product = analytics::same_product(key.product.as_str());
            products.entry((&key.id, product)).or_default().merge(figures.clone());
        }
        let mut sums: BTreeMap<&Text, TemplateFigures> = BTreeMap::new();
        for ((id, _), figures) in products {
            match sums.get_mut(id) {
                Some(sum) => add(sum, &figures),
                None => drop(sums.insert(id, figures)),
            }
        }
        let mut subjects: BTreeMap<Subject, Option<TemplateFigures>> = BTreeMap::new();
        for (id, figures) in sums {
            let known = directory.template_by_meta_id(channel, id);
            let subject = known.map_or_else(
                || Subject::Stranger(id.clone()),
                |known| Subject::Template(known.identity()),
            );
            subjects.insert(subject, Some(figures));
        }
        // One that was asked for, and of which nothing was told, had nothing.
        let none = metas.templates_read.map(|_| TemplateFigures {
            sent: Some(0),
            delivered: Some(0),
            read: Some(0),
            ..TemplateFigures::default()
        });
        for template in ours.templates.keys() {
            let known = directory.template(channel, &template.code, &template.language);
            let meta_id = known.and_then(|known| known.meta_id.as_ref());
            let is_asked_for = meta_id
                .is_some_and(|id| analytics::is_id(id.as_str()) && !self.unknown.contains(id));
            let none = none.clone().filter(|_| is_asked_for);
            subjects.entry(Subject::Template(template.clone())).or_insert(none);
        }
        for (subject, told_of) in subjects {
            let (own, category) = match &subject {
                Subject::Template(template) => {
                    let known = directory.template(channel, &template.code, &template.language);
                    (ours.templates.get(template), known.map(|known| known.category))
                }
                _ => (None, None),
            };
            // Meta tells no clicks on these.
            let has_clicks = category != Some(Category::Authentication);
            self.of_template(pairs, &subject, own, told_of.as_ref(), has_clicks);
        }
    }

    fn of_template(
        &self,
        pairs: &mut Pairs,
        subject: &Subject,
        own: Option<&Totals>,
        told_of: Option<&TemplateFigures>,
        has_clicks: bool,
    ) {
        let nothing = Totals::default();
        let own = own.unwrap_or(&nothing);
        let mut put = |figure, own: Option<i64>, of_meta: Option<i64>| {
            pairs.insert((subject.clone(), figure), (own, of_meta));
        };
        let count = |of: fn(&TemplateFigures) -> Option<u64>| told_of.and_then(of).map(told);
        put(Figure::Sent, Some(own.sent), count(|it| it.sent));
        put(Figure::Delivered, Some(own.delivered), count(|it| it.delivered));
        put(Figure::Read, Some(own.read), count(|it| it.read));
        // Meta tells no clicks on some, and nothing of others.
        let tells = told_of.is_some() && has_clicks;
        let of_meta = told_of.and_then(|it| it.clicks.as_ref()).filter(|_| tells);
        let buttons = buttons(own, of_meta);
        // Links of which people alone are told: how often they were opened is not known.
        let is_opened = |ButtonKey { kind, text }: &ButtonKey| {
            let opened = ButtonKey { kind: Text::lossy(URL), text: text.clone() };
            kind.as_str() != UNIQUE_URL || of_meta.is_some_and(|it| it.contains_key(&opened))
        };
        let is_all_told = of_meta.into_iter().flat_map(BTreeMap::keys).all(is_opened);
        let counted = buttons.iter().filter(|(figure, _)| is_counted(figure));
        let (own_all, meta_all) = counted.fold((0_i64, 0_i64), |(own, meta), (_, both)| {
            (own.saturating_add(both.0), meta.saturating_add(both.1.unwrap_or(0)))
        });
        let total = of_meta.and_then(|it| it.get(&told_of_all())).map(|total| told(*total));
        let meta_all = total.map(|total| total.max(meta_all)).or(is_all_told.then_some(meta_all));
        if tells || own_all != 0 {
            put(Figure::Clicked, Some(own_all), meta_all.filter(|_| tells));
        }
        for (figure, (own, of_meta)) in buttons {
            put(figure, Some(own), of_meta.filter(|_| tells));
        }
        let own_cost = self.cost(own);
        let meta_cost = told_of.and_then(|it| it.cost).map(|cost| cost.micros);
        if own_cost.or(meta_cost).is_some() {
            put(Figure::Cost, own_cost, meta_cost);
        }
    }

    /// What was told that it cost, in the account's currency; unknown if nothing was.
    fn cost(&self, totals: &Totals) -> Option<i64> {
        totals.cost.get(self.currency.as_ref()?).copied()
    }

    fn of_prices(&self, pairs: &mut Pairs, ours: &Ours, metas: &OfDay) {
        let mut prices: BTreeMap<Subject, (i64, Option<i64>)> = BTreeMap::new();
        let read = metas.prices_read.map(|_| 0);
        for totals in ours.numbers.values() {
            for (charge, count) in totals.charged.iter() {
                let (category, kind) = (capitals(&charge.category), capitals(&charge.kind));
                let both = prices.entry(Subject::Price { category, kind }).or_insert((0, read));
                both.0 = both.0.saturating_add(*count);
            }
        }
        let costs = metas.prices.values().filter_map(|it| it.cost);
        let told_last = costs.map(|cost| cost.read).max().unwrap_or_default();
        let mut of_meta: Option<i64> = None;
        for (key, figures) in &metas.prices {
            let (category, kind) = (key.category.clone(), key.kind.clone());
            let subject = Subject::Price { category, kind };
            prices.entry(subject.clone()).or_insert((0, None)).1 = figures.volume.map(told);
            if let Some(cost) = figures.cost {
                // One that was told before and not with the others has been charged otherwise.
                let micros = if cost.read < told_last { 0 } else { cost.micros };
                // What one message cost is told, what each price comes to is not kept.
                pairs.insert((subject, Figure::Cost), (None, Some(micros)));
                of_meta = Some(of_meta.unwrap_or(0).saturating_add(micros));
            }
        }
        for (subject, (own, volume)) in prices {
            pairs.insert((subject, Figure::Volume), (Some(own), volume));
        }
        let own = ours.numbers.values().filter_map(|totals| self.cost(totals));
        let own = own.reduce(i64::saturating_add);
        if own.or(of_meta).is_some() {
            pairs.insert((Subject::Channel, Figure::Cost), (own, of_meta));
        }
    }

    /// When Meta was asked for a subject's figures of a day.
    pub(super) fn read(&self, subject: &Subject, day: Day) -> Option<Read> {
        let metas = self.metas.get(&day)?;
        match subject {
            Subject::Number(number) => metas.numbers.get(number).map(|it| it.read),
            Subject::Template(_) | Subject::Stranger(_) => metas.templates_read,
            Subject::Channel | Subject::Price { .. } => metas.prices_read,
        }
    }

    /// What is known of a subject and a day besides its figures.
    pub(super) fn circumstances(
        &self,
        directory: &Snapshot,
        channel: &ChannelId,
        subject: &Subject,
        (day, shift): (Day, Shift),
    ) -> Circumstances {
        let ours = self.ours.get(&day);
        let totals = |of: fn(&Totals) -> i64| {
            let found = match subject {
                Subject::Number(number) => ours.and_then(|ours| ours.numbers.get(number)),
                Subject::Template(template) => ours.and_then(|ours| ours.templates.get(template)),
                _ => None,
            };
            u64::try_from(found.map_or(0, of)).unwrap_or(0)
        };
        let is_lite = |totals: &Totals| {
            let lite =
                totals.charged.iter().filter(|(it, _)| capitals(&it.category).as_str() == LITE);
            lite.map(|(_, count)| *count).sum()
        };
        let (meta_id, category) = match subject {
            Subject::Template(template) => {
                let known = directory.template(channel, &template.code, &template.language);
                (known.and_then(|it| it.meta_id.clone()), known.map(|it| it.category))
            }
            Subject::Stranger(id) => (Some(id.clone()), None),
            _ => (None, None),
        };
        let is_template = matches!(subject, Subject::Template(_) | Subject::Stranger(_));
        let unattributed = ours.filter(|_| is_template).map_or(0, |ours| ours.unattributed);
        Circumstances {
            is_template,
            meta_id,
            category,
            read: self.read(subject, day),
            shift,
            late: totals(|totals| totals.late),
            lite: totals(is_lite),
            unattributed: u64::try_from(unattributed).unwrap_or(0),
        }
    }
}

/// Our clicks on a button, and Meta's where they are known.
type Both = (i64, Option<i64>);

/// Clicks by button. One that Meta does not name where it tells of clicks is not known.
fn buttons(own: &Totals, of_meta: Option<&BTreeMap<ButtonKey, u64>>) -> BTreeMap<Figure, Both> {
    let mut buttons: BTreeMap<Figure, Both> = BTreeMap::new();
    // An old form tells nothing of buttons.
    let named = of_meta.into_iter().flatten().filter(|(key, _)| **key != told_of_all());
    for (ButtonKey { kind, text }, count) in named {
        buttons.insert(button(kind.as_str(), text), (0, Some(told(*count))));
    }
    let untold = of_meta.is_none_or(BTreeMap::is_empty).then_some(0);
    for (tapped, clicks) in own.clicks.iter().filter(|(tapped, _)| tapped.kind.is_clicked()) {
        let figure = button(tapped.kind.as_str(), &tapped.text);
        buttons.entry(figure).or_insert((0, untold)).0 = clicks.all;
        // People are counted where Meta counts them.
        if let Some(both) = buttons.get_mut(&button(UNIQUE_URL, &tapped.text))
            && tapped.kind == ButtonKind::Url
        {
            both.0 = clicks.unique;
        }
    }
    buttons
}

/// Adds the figures of another product. A cost of which a part is not told is not known.
fn add(
    sum: &mut TemplateFigures,
    TemplateFigures { sent, delivered, read, clicks, cost }: &TemplateFigures,
) {
    for (sum, more) in
        [(&mut sum.sent, sent), (&mut sum.delivered, delivered), (&mut sum.read, read)]
    {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(*more));
        }
    }
    if let Some(clicks) = clicks {
        let known = sum.clicks.get_or_insert_default();
        for (button, count) in clicks {
            let known = known.entry(button.clone()).or_default();
            *known = known.saturating_add(*count);
        }
    }
    sum.cost = sum.cost.zip(*cost).map(|(sum, more)| Cost {
        read: sum.read.min(more.read),
        micros: sum.micros.saturating_add(more.micros),
    });
}

//! One run: the questions of a channel, in order, and what is done about answers that are none.
//!
//! Once through all questions is a round. A run asks each of them once, from behind where the last
//! run stopped, and over the end of the list from its beginning on, until it has put as many as it
//! may. What always holds: a question that fails is passed over, so that it keeps no other from
//! being put; nothing counts as read to its end before each question of a round was put for the
//! same days.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value;
use twoticks_core::clock::Time;
use twoticks_core::event::Category;
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::Channel;
use twoticks_store::figures::{Account, Day, OfDay, Question, Read, Round, Standing, UNKNOWN_MAX};
use twoticks_wire::graph::analytics::{
    self, Ask, DAY_SECONDS, Days, Dimension, Granularity, Page, Product, TEMPLATES_MAX, Unasked,
    Unread,
};
use twoticks_wire::graph::error::Remedy;

use super::{refused, told};
use crate::app::App;
use crate::graph::CallError;

/// The most requests of one run. Meta takes 200 an hour for an app and an account: the rest is left
/// for numbers and templates. What is not reached is read first by the next run.
pub(crate) const REQUESTS_MAX: u32 = 100;

/// How many of them ask again for templates that Meta did not know.
const AGAIN_MAX: u32 = 5;

/// How many problems of a run are named, and how many ids in one.
const PROBLEMS_MAX: usize = 5;

/// A parameter is wrong: a template that Meta does not know is one as well.
const WRONG_PARAMETER: i64 = 100;
/// Template insights are not available for this account, or not enabled.
const UNAVAILABLE: i64 = 200_005;
const NOT_ENABLED: i64 = 200_007;

/// Why a question has no answer.
enum Trouble {
    /// No other question would have one: the run ends.
    Everything(String),
    /// The run has put as many questions as it may.
    Enough,
    /// The answer is longer than is read.
    TooMuch(String),
    /// This question alone, with Meta's code.
    This(i64, String),
}

/// A run, and what it has been told so far.
pub(super) struct Run<'a> {
    app: &'a App,
    snapshot: std::sync::Arc<Snapshot>,
    channel: &'a Channel,
    account: Account,
    days: Days,
    standing: Standing,
    /// The round under way; what is noted of it is noted of `this` as well.
    round: Round,
    /// This run, as if it were a round of its own.
    this: Round,
    told: BTreeMap<Day, OfDay>,
    problems: Vec<String>,
    left: u32,
    templates: Templates,
}

/// What this run has learned of templates.
struct Templates {
    /// Meta has figures of them.
    are_told: bool,
    /// One of them was known to Meta.
    is_one_known: bool,
    /// Those that were not, and what was said of the last one.
    unknown: Vec<Text>,
    why: String,
    /// How the Marketing Messages API is asked for; not at all if there is none.
    marketing: Option<Product>,
    /// It was answered by that name.
    is_answered: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        app: &'a App,
        channel: &'a Channel,
        account: Account,
        before: Standing,
        (days, now): (Days, Time),
    ) -> Self {
        let mut standing = Standing { problems: Vec::new(), ..before };
        let this = Round {
            begun: now,
            first: Day(days.first.0),
            last: Day(days.last.0),
            after: None,
            is_cut: false,
            lacks_templates: false,
        };
        let round = standing.round.take().unwrap_or_else(|| this.clone());
        let has_marketing = channel.connection.as_ref().is_some_and(|it| it.marketing_messages);
        let templates = Templates {
            are_told: true,
            is_one_known: false,
            unknown: Vec::new(),
            why: String::new(),
            marketing: has_marketing.then_some(Product::MarketingMessages),
            is_answered: false,
        };
        Self {
            app,
            snapshot: app.directory.snapshot(),
            channel,
            account,
            days,
            standing,
            round,
            this,
            told: BTreeMap::new(),
            problems: Vec::new(),
            left: REQUESTS_MAX,
            templates,
        }
    }

    /// What was told, and how it stands.
    pub(super) fn finish(self) -> (BTreeMap<Day, OfDay>, Standing) {
        let round = Some(self.round).filter(|round| round.after.is_some());
        (self.told, Standing { round, ..self.standing })
    }

    /// Puts all questions; why not all of them were answered.
    pub(super) async fn all(&mut self) -> Result<(), String> {
        let questions = self.questions();
        let again = self.again();
        self.left -= again;
        let mut ended = self.in_order(&questions).await;
        self.settle();
        if let Ok(()) | Err(Trouble::Enough) = ended {
            self.left += again;
            ended = self.ask_again(again).await;
        }
        match ended {
            Ok(()) | Err(Trouble::Enough) => {}
            Err(Trouble::Everything(why) | Trouble::TooMuch(why) | Trouble::This(_, why)) => {
                self.problems.push(why);
            }
        }
        let more = self.problems.len().saturating_sub(PROBLEMS_MAX);
        let mut said: Vec<String> = self.problems.iter().take(PROBLEMS_MAX).cloned().collect();
        if more > 0 {
            said.push(format!("and {more} more"));
        }
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }

    /// All there is to ask for, in order.
    fn questions(&mut self) -> Vec<Question> {
        let numbers = self.snapshot.numbers_of(&self.channel.id);
        let mut questions: Vec<Question> =
            numbers.iter().map(|it| Question::Number(it.phone_number.clone())).collect();
        questions.push(Question::Prices);
        let templates = self.snapshot.templates_of(&self.channel.id);
        let ids: Vec<Text> = templates.filter_map(|known| known.meta_id.clone()).collect();
        self.standing.unknown.retain(|id| ids.contains(id));
        let (ids, odd): (Vec<Text>, Vec<Text>) =
            ids.into_iter().partition(|id| analytics::is_id(id.as_str()));
        if !odd.is_empty() {
            let mut named: Vec<String> =
                odd.iter().take(PROBLEMS_MAX).map(|id| format!("`{id}`")).collect();
            if odd.len() > named.len() {
                named.push(format!("and {} more", odd.len() - named.len()));
            }
            let why = "ids of templates that are not of digits were not asked for";
            self.problems.push(format!("{why}: {}", named.join(", ")));
        }
        let asked = ids.into_iter().filter(|id| !self.standing.unknown.contains(id));
        questions.extend(asked.map(Question::Template));
        questions.sort();
        questions.dedup();
        questions
    }

    async fn in_order(&mut self, questions: &[Question]) -> Result<(), Trouble> {
        self.account().await?;
        let is_put = |it: &Question| self.round.after.as_ref().is_some_and(|after| it <= after);
        let (put, left) = questions.split_at(questions.partition_point(is_put));
        self.put(left).await?;
        self.end_round();
        if !put.is_empty() {
            // Those that an earlier run has put: they are the first ones of the next round.
            self.put(put).await?;
            self.settle();
            // This run has put all of them.
            self.round = self.this.clone();
            self.end_round();
        }
        Ok(())
    }

    /// Puts questions one after the other, those of templates in tens.
    async fn put(&mut self, questions: &[Question]) -> Result<(), Trouble> {
        let mut left = questions;
        while let Some(question) = left.first() {
            let of_templates = matches!(question, Question::Template(_));
            let count = if of_templates { TEMPLATES_MAX.min(left.len()) } else { 1 };
            let (these, more) = left.split_at(count);
            let read = match question {
                Question::Number(number) => self.number(number).await,
                Question::Prices => self.prices().await,
                Question::Template(_) => {
                    let id = |it: &Question| match it {
                        Question::Template(id) => Some(id.clone()),
                        Question::Number(_) | Question::Prices => None,
                    };
                    self.of_templates(these.iter().filter_map(id).collect()).await
                }
            };
            let read = match read {
                // It is the first one of the next run.
                Err(Trouble::Enough) if self.this.after.is_some() => return Err(Trouble::Enough),
                // It was the first one: no run gets through it.
                Err(Trouble::Enough) => {
                    let why = format!("one question takes more than {REQUESTS_MAX} requests");
                    Err(Trouble::Everything(why))
                }
                read => read,
            };
            let ended = match read {
                Err(Trouble::This(_, why) | Trouble::TooMuch(why)) => {
                    self.problems.push(why);
                    self.note(|round| round.lacks_templates |= of_templates);
                    Ok(())
                }
                Err(other) => {
                    self.note(|round| {
                        round.is_cut = true;
                        round.lacks_templates |= of_templates;
                    });
                    Err(other)
                }
                Ok(()) => Ok(()),
            };
            self.note(|round| round.after = these.last().cloned());
            ended?;
            left = more;
        }
        Ok(())
    }

    fn note(&mut self, note: impl Fn(&mut Round)) {
        note(&mut self.round);
        note(&mut self.this);
    }

    /// Each question of the round was put.
    fn end_round(&mut self) {
        self.settle();
        let next =
            Round { after: None, is_cut: false, lacks_templates: false, ..self.this.clone() };
        let round = std::mem::replace(&mut self.round, next);
        let Round { begun, first, last, after: _, is_cut, lacks_templates } = round;
        if !is_cut {
            self.standing.read = self.standing.read.max(Some(begun));
        }
        if !lacks_templates {
            let templates_read = Some(Read::at(begun));
            // What an earlier run asked for may not be told any more.
            for day in (self.days.first.0.max(first.0)..=last.0).map(Day) {
                let read = OfDay { templates_read, ..OfDay::default() };
                self.told.entry(day).or_default().merge(read);
            }
        }
    }

    /// Notes what Meta does not know. If that is all that it was asked for, it may have meant
    /// something else.
    fn settle(&mut self) {
        let unknown = std::mem::take(&mut self.templates.unknown);
        if unknown.is_empty() {
            return;
        }
        let count = unknown.len();
        if !self.templates.is_one_known {
            let why = &self.templates.why;
            self.problems.push(format!("Meta knows none of {count} templates: {why}"));
            self.note(|round| (round.is_cut, round.lacks_templates) = (true, true));
            return;
        }
        let room = UNKNOWN_MAX.saturating_sub(self.standing.unknown.len());
        self.standing.unknown.extend(unknown.into_iter().take(room));
        if count > room {
            self.note(|round| round.lacks_templates = true);
        }
    }

    fn count(&mut self) -> Result<(), Trouble> {
        self.left = self.left.checked_sub(1).ok_or(Trouble::Enough)?;
        Ok(())
    }

    async fn account(&mut self) -> Result<(), Trouble> {
        self.count()?;
        let (graph, connection) = self.way()?;
        let fields = [("fields", "id,currency,is_enabled_for_insights")];
        let asked = graph.get(&connection.access_token, self.account.waba_id.as_str(), &fields);
        let said = asked.await.map_err(|why| trouble(&why))?;
        let currency = said.get("currency").and_then(Value::as_str);
        self.standing.currency = currency.map(Text::lossy).or(self.standing.currency.take());
        self.standing.insights = said.get("is_enabled_for_insights").and_then(Value::as_bool);
        Ok(())
    }

    fn way(
        &self,
    ) -> Result<(&'a crate::graph::Graph, &'a twoticks_store::directory::model::Connection), Trouble>
    {
        let graph = self.app.dispatcher.graph(self.app);
        let graph = graph.map_err(|why| Trouble::Everything(why.to_string()))?;
        let connection = self.channel.connection.as_ref();
        let gone = || Trouble::Everything("the channel is not connected any more".to_owned());
        Ok((graph, connection.ok_or_else(gone)?))
    }

    /// Puts a question about days, to its last page.
    async fn ask<T>(
        &mut self,
        days: Days,
        ask: Result<Ask, Unasked>,
        read: fn(&[u8]) -> Result<Page<T>, Unread>,
    ) -> Result<told::Answer<T>, Trouble> {
        let Ask { mut path, parameters } = ask.map_err(|why| Trouble::This(0, why.to_string()))?;
        let own = |(name, value): (&str, String)| (name.to_owned(), value);
        let mut parameters: Vec<(String, String)> = parameters.into_iter().map(own).collect();
        let (mut points, mut is_whole) = (Vec::new(), true);
        loop {
            self.count()?;
            let (graph, connection) = self.way()?;
            let query: Vec<(&str, &str)> =
                parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = graph.get_bytes(&connection.access_token, &path, &query).await;
            let answer = answer.map_err(|why| trouble(&why))?;
            let page = read(&answer).map_err(|why| match why {
                Unread::TooLong { .. } | Unread::TooMany => Trouble::TooMuch(why.to_string()),
                Unread::NotJson | Unread::NoPoints { .. } => Trouble::This(0, why.to_string()),
            })?;
            points.extend(page.points);
            if let Some(why) = page.bad.first() {
                is_whole = false;
                self.problems.push(format!("{} figures could not be read: {why}", page.bad.len()));
            }
            let Some(next) = page.next else {
                let days = Day(days.first.0)..=Day(days.last.0);
                let read = self.app.clock.now();
                return Ok(told::Answer { points, is_whole, days, read });
            };
            let further = further(&next).filter(|further| *further != (path, parameters));
            let lost = || Trouble::This(0, "Meta's answer goes on where it cannot".to_owned());
            (path, parameters) = further.ok_or_else(lost)?;
        }
    }

    /// In half hours: days are those of the account's own zone, half hours those of the clock.
    async fn number(&mut self, number: &PhoneNumber) -> Result<(), Trouble> {
        let (waba_id, digits) = (self.account.waba_id.as_str(), number.as_str());
        let ask = analytics::messages(waba_id, digits, span(self.days), Granularity::HalfHour);
        let answer = self.ask(self.days, ask, analytics::read_messages).await;
        let named = |why: Trouble| match why {
            Trouble::This(code, why) => {
                Trouble::This(code, format!("of the number {number}: {why}"))
            }
            other => other,
        };
        let odd = told::number(&mut self.told, number, answer.map_err(named)?);
        self.note_odd(odd);
        Ok(())
    }

    /// By number too: an account may have those of other channels. An answer that is too long is
    /// asked for in halves.
    async fn prices(&mut self) -> Result<(), Trouble> {
        let by = [Dimension::Phone, Dimension::PricingCategory, Dimension::PricingType];
        let of = self.snapshot.numbers_of(&self.channel.id);
        let numbers: Vec<PhoneNumber> = of.iter().map(|it| it.phone_number.clone()).collect();
        let mut parts = vec![self.days];
        while let Some(days) = parts.pop() {
            let waba_id = self.account.waba_id.as_str();
            let ask = analytics::pricing(waba_id, span(days), Granularity::HalfHour, &by);
            match self.ask(days, ask, analytics::read_pricing).await {
                Err(Trouble::TooMuch(_)) if days.first < days.last => {
                    let middle = analytics::Day(days.first.0.midpoint(days.last.0));
                    let next = analytics::Day(middle.0 + 1);
                    parts.push(Days { first: next, ..days });
                    parts.push(Days { last: middle, ..days });
                }
                answer => {
                    let odd = told::prices(&mut self.told, &numbers, answer?);
                    self.note_odd(odd);
                }
            }
        }
        Ok(())
    }

    fn note_odd(&mut self, odd: usize) {
        if odd > 0 {
            let why = "figures are of no day, or no number, that was asked for, and were left out";
            self.problems.push(format!("{odd} {why}"));
        }
    }

    async fn of_templates(&mut self, ids: Vec<Text>) -> Result<(), Trouble> {
        if !self.templates.are_told {
            self.note(|round| round.lacks_templates = true);
            return Ok(());
        }
        match self.chunk(&ids).await {
            // The channel's page and the comparison say so; it is no failure of a run.
            Err(Trouble::This(code @ (UNAVAILABLE | NOT_ENABLED), _)) => {
                self.templates.are_told = false;
                if code == UNAVAILABLE {
                    self.standing.is_unsupported = true;
                } else {
                    self.standing.insights = Some(false);
                }
                self.note(|round| round.lacks_templates = true);
                return Ok(());
            }
            other => other?,
        }
        self.standing.is_unsupported = false;
        let is_marketing = |id: &Text| {
            let known = self.snapshot.template_by_meta_id(&self.channel.id, id);
            known.is_some_and(|known| known.category == Category::Marketing)
                && !self.templates.unknown.contains(id)
        };
        let marketing: Vec<Text> = ids.into_iter().filter(is_marketing).collect();
        self.marketing(&marketing).await
    }

    /// What went through the Marketing Messages API.
    async fn marketing(&mut self, ids: &[Text]) -> Result<(), Trouble> {
        while let Some(product) = self.templates.marketing.filter(|_| !ids.is_empty()) {
            let named = |why: String| format!("of the Marketing Messages API: {why}");
            match self.some(ids, product, self.days).await {
                Ok(()) => {
                    self.templates.is_answered = true;
                    return Ok(());
                }
                Err(Trouble::This(WRONG_PARAMETER, why)) if !self.templates.is_answered => {
                    self.templates.marketing = product.fallback();
                    if self.templates.marketing.is_none() {
                        return Err(Trouble::This(WRONG_PARAMETER, named(why)));
                    }
                }
                Err(Trouble::This(code, why)) => return Err(Trouble::This(code, named(why))),
                other => return other,
            }
        }
        Ok(())
    }

    /// Reads a request's worth of templates. One that Meta does not know spoils the answer for all:
    /// they are halved until it is found.
    async fn chunk(&mut self, ids: &[Text]) -> Result<(), Trouble> {
        let mut parts: Vec<Vec<Text>> = vec![ids.to_vec()];
        while let Some(part) = parts.pop() {
            match self.some(&part, Product::CloudApi, self.days).await {
                Err(Trouble::This(WRONG_PARAMETER, _)) if part.len() > 1 => {
                    let (one, other) = part.split_at(part.len() / 2);
                    parts.extend([other.to_vec(), one.to_vec()]);
                }
                Err(Trouble::This(WRONG_PARAMETER, why)) => {
                    self.templates.unknown.extend(part);
                    self.templates.why = why;
                }
                other => {
                    other?;
                    self.templates.is_one_known = true;
                }
            }
        }
        Ok(())
    }

    async fn some(&mut self, ids: &[Text], product: Product, days: Days) -> Result<(), Trouble> {
        let ids: Vec<&str> = ids.iter().map(Text::as_str).collect();
        let ask = analytics::templates(self.account.waba_id.as_str(), &ids, days, product);
        let answer = self.ask(days, ask, analytics::read_templates).await?;
        let is_whole = answer.is_whole;
        let odd = told::templates(&mut self.told, answer, product);
        self.note_odd(odd);
        if odd > 0 || !is_whole {
            self.note(|round| round.lacks_templates = true);
        }
        Ok(())
    }

    /// How many templates that Meta did not know are asked for again.
    fn again(&self) -> u32 {
        u32::try_from(self.standing.unknown.len()).unwrap_or(AGAIN_MAX).min(AGAIN_MAX)
    }

    /// Asks again for templates that Meta did not know, each alone and for all days that are told:
    /// one that is known now was in no answer before.
    async fn ask_again(&mut self, count: u32) -> Result<(), Trouble> {
        let days = analytics::first_window(self.this.begun.second());
        for _ in 0..count {
            if !self.templates.are_told || self.standing.unknown.is_empty() {
                break;
            }
            let id = self.standing.unknown.remove(0);
            match self.some(std::slice::from_ref(&id), Product::CloudApi, days).await {
                Ok(()) => {}
                // The others are asked for first the next time.
                Err(why) => {
                    self.standing.unknown.push(id);
                    if !matches!(why, Trouble::This(..)) {
                        return Err(why);
                    }
                }
            }
        }
        Ok(())
    }
}

/// From the first second of days to the end of the last one.
fn span(days: Days) -> (i64, i64) {
    (days.first.start_seconds(), days.last.start_seconds().saturating_add(DAY_SECONDS))
}

/// Whether the run goes on after it.
fn trouble(why: &CallError) -> Trouble {
    let said = refused(why);
    match why.graph() {
        Some(error) if error.code == UNAVAILABLE || error.code == NOT_ENABLED => {
            Trouble::This(error.code, said)
        }
        Some(error) if error.remedy() == Remedy::Never => Trouble::This(error.code, said),
        _ => Trouble::Everything(said),
    }
}

/// Where an answer goes on, as a path and parameters of our own: the address is Meta's, has the
/// token in it, and may name another way to the Graph API than the one that is configured.
fn further(next: &str) -> Option<(String, Vec<(String, String)>)> {
    let next = Url::parse(next).ok()?;
    let mut path = next.path_segments()?;
    let _version = path.next()?;
    let path: Vec<&str> = path.collect();
    let is_plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !(1..=2).contains(&path.len()) || !path.iter().all(is_plain) {
        return None;
    }
    let parameters = next.query_pairs().filter(|(name, _)| name != "access_token");
    Some((path.join("/"), parameters.map(|(a, b)| (a.into_owned(), b.into_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_on_with_our_own_token_at_our_own_address() {
        let next = "https://graph.facebook.com/v24.0/41/template_analytics?access_token=EAAB&\
                    after=MjQZD&template_ids=%5B1%2C2%5D";
        let (path, parameters) = further(next).unwrap();
        assert_eq!(path, "41/template_analytics");
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parameters, [of("after", "MjQZD"), of("template_ids", "[1,2]")]);
        for odd in [
            "",
            "41",
            "https://x/",
            "https://x/v24.0/",
            "https://x/v24.0/1/2/3",
            "https://x/v1/a%2Fb",
        ] {
            assert_eq!(further(odd), None, "{odd}");
        }
    }
}

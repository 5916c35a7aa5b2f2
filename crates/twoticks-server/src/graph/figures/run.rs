//! One run: the questions of a channel, in order, and what is done about answers that are none.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value;
use twoticks_core::event::Category;
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::Channel;
use twoticks_store::figures::{Account, Day, OfDay, Read, Standing, UNKNOWN_MAX};
use twoticks_wire::graph::analytics::{
    self, Ask, DAY_SECONDS, Days, Dimension, Granularity, Page, Product, Unasked, Unread,
};
use twoticks_wire::graph::error::Remedy;

use super::{refused, told};
use crate::app::App;
use crate::graph::CallError;

/// The most requests of one run. Meta takes 200 an hour for an app and an account: the rest is left
/// for numbers and templates. What is not reached is read first by the next run.
pub(crate) const REQUESTS_MAX: u32 = 100;

/// How many problems of a run are named.
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
    told: BTreeMap<Day, OfDay>,
    problems: Vec<String>,
    left: u32,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        app: &'a App,
        channel: &'a Channel,
        account: Account,
        before: Standing,
        days: Days,
    ) -> Self {
        let standing = Standing { problems: Vec::new(), unknown: Vec::new(), ..before };
        Self {
            app,
            snapshot: app.directory.snapshot(),
            channel,
            account,
            days,
            standing,
            told: BTreeMap::new(),
            problems: Vec::new(),
            left: REQUESTS_MAX,
        }
    }

    /// What was told, and how it stands.
    pub(super) fn finish(self) -> (BTreeMap<Day, OfDay>, Standing) {
        (self.told, self.standing)
    }

    /// Puts all questions; why not all of them were answered.
    pub(super) async fn all(&mut self) -> Result<(), String> {
        let ended = self.in_order().await;
        match ended {
            Ok(()) | Err(Trouble::Enough) => {}
            Err(Trouble::Everything(why) | Trouble::This(_, why)) => self.problems.push(why),
        }
        let more = self.problems.len().saturating_sub(PROBLEMS_MAX);
        let mut said: Vec<String> = self.problems.iter().take(PROBLEMS_MAX).cloned().collect();
        if more > 0 {
            said.push(format!("and {more} more"));
        }
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }

    async fn in_order(&mut self) -> Result<(), Trouble> {
        self.account().await?;
        for number in self.snapshot.numbers_of(&self.channel.id).to_vec() {
            let read = self.number(&number.phone_number).await;
            self.go_on(read)?;
        }
        let read = self.prices().await;
        self.go_on(read)?;
        self.templates().await
    }

    /// Notes what concerns one question alone.
    fn go_on(&mut self, read: Result<(), Trouble>) -> Result<(), Trouble> {
        match read {
            Err(Trouble::This(_, why)) => self.problems.push(why),
            other => return other,
        }
        Ok(())
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

    /// Puts a question, to its last page.
    async fn ask<T>(
        &mut self,
        ask: Result<Ask, Unasked>,
        read: fn(&[u8]) -> Result<Page<T>, Unread>,
    ) -> Result<Vec<T>, Trouble> {
        let Ask { mut path, parameters } = ask.map_err(|why| Trouble::This(0, why.to_string()))?;
        let own = |(name, value): (&str, String)| (name.to_owned(), value);
        let mut parameters: Vec<(String, String)> = parameters.into_iter().map(own).collect();
        let mut points = Vec::new();
        loop {
            self.count()?;
            let (graph, connection) = self.way()?;
            let query: Vec<(&str, &str)> =
                parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = graph.get_bytes(&connection.access_token, &path, &query).await;
            let answer = answer.map_err(|why| trouble(&why))?;
            let page = read(&answer).map_err(|why| Trouble::This(0, why.to_string()))?;
            points.extend(page.points);
            if let Some(why) = page.bad.first() {
                self.problems.push(format!("{} figures could not be read: {why}", page.bad.len()));
            }
            let Some(next) = page.next else { return Ok(points) };
            let further = further(&next).filter(|further| *further != (path, parameters));
            let lost = || Trouble::This(0, "Meta's answer goes on where it cannot".to_owned());
            (path, parameters) = further.ok_or_else(lost)?;
        }
    }

    fn days(&self) -> impl Iterator<Item = Day> + use<> {
        (self.days.first.0..=self.days.last.0).map(Day)
    }

    fn span(&self) -> (i64, i64) {
        let end = self.days.last.start_seconds().saturating_add(DAY_SECONDS);
        (self.days.first.start_seconds(), end)
    }

    /// In half hours: days are those of the account's own zone, half hours those of the clock.
    async fn number(&mut self, number: &PhoneNumber) -> Result<(), Trouble> {
        let (waba_id, digits) = (self.account.waba_id.as_str(), number.as_str());
        let ask = analytics::messages(waba_id, digits, self.span(), Granularity::HalfHour);
        let points = self.ask(ask, analytics::read_messages).await;
        let named = |why: Trouble| match why {
            Trouble::This(code, why) => {
                Trouble::This(code, format!("of the number {number}: {why}"))
            }
            other => other,
        };
        let points = points.map_err(named)?;
        let read = Read::at(self.app.clock.now());
        let days: Vec<Day> = self.days().collect();
        let odd = told::number(&mut self.told, (number, &days), &points, read);
        self.note_odd(odd);
        Ok(())
    }

    async fn prices(&mut self) -> Result<(), Trouble> {
        let by = [Dimension::PricingCategory, Dimension::PricingType];
        let (waba_id, span) = (self.account.waba_id.as_str(), self.span());
        let ask = analytics::pricing(waba_id, span, Granularity::HalfHour, &by);
        let points = self.ask(ask, analytics::read_pricing).await?;
        let now = self.app.clock.now();
        let odd = told::prices(&mut self.told, &points, now);
        self.note_odd(odd);
        for day in self.days() {
            self.told.entry(day).or_default().prices_read = Some(Read::at(now));
        }
        Ok(())
    }

    fn note_odd(&mut self, odd: usize) {
        if odd > 0 {
            let why = "figures are of spans that lie in no single day of UTC, and were left out";
            self.problems.push(format!("{odd} {why}"));
        }
    }

    /// The templates that Meta may know, from where the last run stopped.
    fn ids(&self) -> Vec<(Text, Category)> {
        let of = self.snapshot.templates_of(&self.channel.id);
        let mut ids: Vec<(Text, Category)> =
            of.filter_map(|known| Some((known.meta_id.clone()?, known.category))).collect();
        ids.sort();
        let after = self.standing.after.as_ref();
        let begun = ids.partition_point(|(id, _)| after.is_some_and(|after| id <= after));
        // Behind the last one is the first.
        let begun = if begun == ids.len() { 0 } else { begun };
        ids.rotate_left(begun);
        ids
    }

    async fn templates(&mut self) -> Result<(), Trouble> {
        let ids = self.ids();
        self.standing.is_unsupported = false;
        let lite = self.channel.connection.as_ref().is_some_and(|it| it.marketing_messages);
        let mut lite = lite.then_some(Product::MarketingMessages);
        for chunk in analytics::requests(&ids) {
            let all: Vec<Text> = chunk.iter().map(|(id, _)| id.clone()).collect();
            let read = self.chunk(&all, Product::CloudApi).await;
            match read {
                Err(Trouble::This(UNAVAILABLE, _)) => {
                    self.standing.is_unsupported = true;
                    return Ok(());
                }
                // The channel's page and the comparison say so; it is no failure of a run.
                Err(Trouble::This(NOT_ENABLED, _)) => {
                    self.standing.insights = Some(false);
                    return Ok(());
                }
                other => self.go_on(other)?,
            }
            let is_known = |id: &Text| !self.standing.unknown.contains(id);
            let marketing = chunk.iter().filter(|(_, category)| *category == Category::Marketing);
            let marketing: Vec<Text> =
                marketing.map(|(id, _)| id).filter(|id| is_known(id)).cloned().collect();
            while let Some(product) = lite.filter(|_| !marketing.is_empty()) {
                match self.some(&marketing, product).await {
                    Err(Trouble::This(WRONG_PARAMETER, why)) => {
                        lite = product.fallback();
                        if lite.is_none() {
                            self.problems.push(format!("of the Marketing Messages API: {why}"));
                        }
                    }
                    other => {
                        self.go_on(other)?;
                        break;
                    }
                }
            }
            self.standing.after = all.last().cloned();
        }
        // All the way round.
        self.standing.after = None;
        let read = Read::at(self.app.clock.now());
        for day in self.days() {
            self.told.entry(day).or_default().templates_read = Some(read);
        }
        Ok(())
    }

    /// Reads a request's worth of templates. One that Meta does not know spoils the answer for all:
    /// they are halved until it is found.
    async fn chunk(&mut self, ids: &[Text], product: Product) -> Result<(), Trouble> {
        let mut parts: Vec<Vec<Text>> = vec![ids.to_vec()];
        while let Some(part) = parts.pop() {
            match self.some(&part, product).await {
                Err(Trouble::This(WRONG_PARAMETER, _)) if part.len() > 1 => {
                    let (one, other) = part.split_at(part.len() / 2);
                    parts.extend([other.to_vec(), one.to_vec()]);
                }
                Err(Trouble::This(WRONG_PARAMETER, _)) => {
                    if self.standing.unknown.len() < UNKNOWN_MAX {
                        self.standing.unknown.extend(part);
                    }
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn some(&mut self, ids: &[Text], product: Product) -> Result<(), Trouble> {
        let ids: Vec<&str> = ids.iter().map(Text::as_str).collect();
        let ask = analytics::templates(self.account.waba_id.as_str(), &ids, self.days, product);
        let points = self.ask(ask, analytics::read_templates).await?;
        told::templates(&mut self.told, points, product, self.app.clock.now());
        Ok(())
    }
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

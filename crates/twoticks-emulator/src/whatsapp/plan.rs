//! From a send, or from something that happens to a template or a number, to what is going to be
//! told of it.

use std::sync::Arc;

use serde_json::{Map, Value};
use twoticks_core::clock::Time;
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_server::carrier::{Outgoing, Refused};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Number, TemplateRecord};
use twoticks_wire::webhook::sign::Sign;

use super::state::{Config, Liking, Message, Quality, SendRecord, Standing, State, Thing, Way};
use crate::book::Taken;
use crate::dice::{Dice, seed_of, seed_of_name};
use crate::habits::{FAILURES, Failure, NO_WINDOW, PAUSED, Purpose, failure_of, market_of};
use crate::life::{Circumstances, Life, Outcome, Step, What, life};
use crate::meta::management::{self, Notice, OfTemplate};
use crate::meta::{Price, Recipient};
use crate::wamid::wamid;

/// 2026-10-01T00:00:00Z: since then Meta charges for utility within the window too.
const UTILITY_CHARGED: Time = Time(1_790_812_800_000);
/// How many members the smallest group has, and the largest.
const MEMBERS: (i64, i64) = (3, 8);
/// How much later than it happened something is told, in milliseconds (Meta: half within 250 ms,
/// fewer than 1 in 100 after a second).
const TOLD_AFTER: (i64, i64) = (60, 700);
/// The digits at the end of a recipient's number that are a code of Meta's: it fails with that.
const CODE_DIGITS: usize = 6;
/// What messages of the Marketing Messages API are charged as.
const LITE: &str = "marketing_lite";

impl State {
    /// Takes a message, or says what Meta would say. Of its call so much is remembered as `call`
    /// says.
    pub(super) fn take(
        &mut self,
        snapshot: &Snapshot,
        outgoing: &Outgoing,
        call: &Arc<Map<String, Value>>,
        way: Way,
        now: Time,
    ) -> Result<String, Refused> {
        self.catch_up(now);
        let planned = self.planned(snapshot, outgoing, way, now);
        let (answer, lives) = match planned {
            Ok((wamid, lives)) => (Ok(wamid), lives),
            Err(why) => (Err(why), Vec::new()),
        };
        let record = SendRecord {
            at: now,
            channel: outgoing.channel.clone(),
            from: outgoing.from.clone(),
            to: outgoing.to.clone(),
            template: outgoing.template.clone(),
            parameters: outgoing.parameters.clone(),
            call: Arc::clone(call),
            answer: answer.clone().map_err(|why| why.to_string()),
            life: lives.iter().flat_map(|life| life.steps().iter().copied()).collect(),
        };
        Self::remember(&mut self.sends, record);
        answer
    }

    fn planned(
        &mut self,
        snapshot: &Snapshot,
        outgoing: &Outgoing,
        way: Way,
        now: Time,
    ) -> Result<(String, Vec<Life>), Refused> {
        let Outgoing { channel, from, to, template, sign, parameters, call: _ } = outgoing;
        let (number, recipient, purpose) = self.admitted(snapshot, outgoing, now)?;
        let is_group = matches!(recipient, Recipient::Group(_));
        let to = to.trim_start_matches('+');
        let has_window = self.has_window(from, to, now);
        let (seed, tells_links, liking) = self.draw(outgoing, purpose, way);
        let price = price(purpose, recipient, tells_links, has_window, now);
        let wamid = wamid(&mut Dice::new(seed), to);
        let record = template
            .as_ref()
            .and_then(|template| snapshot.template(channel, &template.code, &template.language));
        let message = Arc::new(Message {
            page: self.book.open(Taken {
                channel,
                number: from,
                template: template.as_ref(),
                claimed: match way {
                    Way::Server => template.clone(),
                    Way::Graph { .. } => sign.as_deref().and_then(signed),
                },
                is_answered: way == Way::Server && !is_group,
                is_lite: price.category == LITE,
                worth_micros: worth(purpose, price, to),
                accepted: now,
            }),
            seed,
            channel: channel.clone(),
            account: snapshot.channel(channel).map(|channel| channel.account.clone()),
            waba_id: waba_id(snapshot, number),
            phone_number: from.clone(),
            phone_number_id: number.phone_number_id.clone(),
            wamid: wamid.clone(),
            to: to.to_owned(),
            is_group,
            members: members(self.config.seed, channel, to, is_group),
            template: template.clone(),
            buttons: record.map(|record| record.buttons.clone()).unwrap_or_default(),
            payloads: payloads(parameters.get("Payload")),
            sign: sign.clone(),
            price,
        });
        let kinds: Vec<ButtonKind> = message.buttons.iter().map(|button| button.kind).collect();
        let circumstances = Circumstances {
            accepted: now,
            purpose,
            market: market_of(to),
            buttons: &kinds,
            appeal: liking.appeal,
            limited: liking.limited,
            tells_links,
            outcome: self.outcome(channel, recipient, purpose, has_window),
        };
        let lived = |(member, it): (usize, &String)| {
            let circumstances = Circumstances { market: market_of(it), ..circumstances };
            life(seed_of(seed, 2 + member as u64), &circumstances)
        };
        let lives: Vec<Life> = message.members.iter().enumerate().map(lived).collect();
        for (member, life) in lives.iter().enumerate() {
            self.plan(&message, u16::try_from(member).unwrap_or(u16::MAX), life);
        }
        Ok((wamid, lives))
    }

    /// Whether Meta takes a message: from which number, to whom, and what for.
    fn admitted<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        outgoing: &'a Outgoing,
        now: Time,
    ) -> Result<(&'a Number, Recipient<'a>, Purpose), Refused> {
        let Outgoing { channel, from, to, template, parameters, .. } = outgoing;
        if self.pending() >= self.pending_max {
            let why = "so much waits to be told that nothing more is taken; turn its clock";
            return Err(Refused::Unavailable(why.to_owned()));
        }
        let number = snapshot
            .number(from)
            .filter(|number| number.channel == *channel)
            .ok_or_else(|| refuse(100, "the number is not registered"))?;
        let purpose = match template {
            Some(template) => self.purpose(snapshot, (channel, template), now)?,
            None => Purpose::Service,
        };
        let is_group = parameters.get("RecipientType").and_then(Value::as_str) == Some("group");
        let recipient = Recipient::read(to, is_group);
        if matches!(recipient, Recipient::User(_))
            && purpose == Purpose::Template(Category::Authentication)
        {
            return Err(refuse(131_062, "an authentication template needs a phone number"));
        }
        Ok((number, recipient, purpose))
    }

    /// A message's seed, whether links that are opened are told of it, and how it is liked.
    fn draw(&mut self, outgoing: &Outgoing, purpose: Purpose, way: Way) -> (u64, bool, Liking) {
        let Config { seed, after, .. } = self.config;
        let seed = if after == 0 { seed } else { seed_of(seed, after) };
        let line = self.line(&outgoing.channel);
        line.sent += 1;
        let seed = seed_of(seed_of_name(seed, outgoing.channel.as_str()), line.sent);
        let tells_links = line.tells_links || way == Way::Graph { is_lite: true };
        let tells_links = tells_links && purpose == Purpose::Template(Category::Marketing);
        let liking = outgoing.template.as_ref().and_then(|it| line.likings.get(it)).copied();
        (seed, tells_links, liking.unwrap_or_default())
    }

    /// What a template message is for, if it can be sent.
    fn purpose(
        &mut self,
        snapshot: &Snapshot,
        of: (&ChannelId, &Template),
        now: Time,
    ) -> Result<Purpose, Refused> {
        let (category, standing) = self.known_template(snapshot, of, now);
        match standing {
            Standing::Approved => Ok(Purpose::Template(category)),
            Standing::Pending | Standing::Rejected => {
                Err(refuse(132_001, "Template name does not exist in the translation"))
            }
            Standing::Paused => Err(refuse(132_015, "Template is paused")),
            Standing::Disabled => Err(refuse(132_016, "Template is disabled")),
        }
    }

    /// How the life of a message has to end: a number that ends in a code of Meta's fails with it,
    /// and a free-form message without a window does too.
    fn outcome(
        &self,
        channel: &ChannelId,
        to: Recipient<'_>,
        purpose: Purpose,
        has_window: bool,
    ) -> Outcome {
        if let Recipient::Number(digits) = to
            && let Some(failure) = asked_to_fail(digits)
        {
            return Outcome::Failed(failure);
        }
        let is_person = !matches!(to, Recipient::Group(_));
        let ordered = self.outcome_of(channel);
        match failure_of(NO_WINDOW) {
            Some(no_window)
                if purpose == Purpose::Service
                    && is_person
                    && !has_window
                    && ordered == Outcome::Life =>
            {
                Outcome::Failed(no_window)
            }
            _ => ordered,
        }
    }

    fn plan(&mut self, message: &Arc<Message>, member: u16, life: &Life) {
        let chaos = self.chaos_of(&message.channel);
        let mut dice = Dice::new(seed_of(message.seed, 1_000_000 + u64::from(member)));
        let mut is_charged = false;
        for step in life.steps() {
            let charges = matches!(step.what, What::Delivered | What::Read) && !is_charged;
            is_charged |= charges;
            let (from, to) = TOLD_AFTER;
            let arrives = step.at.plus(dice.between(from, to));
            let thing = Thing::Step {
                message: Arc::clone(message),
                step: *step,
                member,
                is_priced: charges || step.what == What::Sent,
            };
            self.tell(chaos, &mut dice, arrives, thing);
        }
    }

    /// What is told when a template is in another standing; nothing, if nobody knows it.
    pub(super) fn standing_notice(
        &self,
        snapshot: &Snapshot,
        (channel, template): (&ChannelId, &Template),
        (category, standing): (Category, Standing),
        at: Time,
    ) -> Option<Vec<u8>> {
        let (reason, info) = match standing {
            Standing::Rejected => ("INCORRECT_CATEGORY", None),
            Standing::Paused => {
                let text = "Your WhatsApp message template has been paused.";
                ("NONE", Some(("FIRST_PAUSE", text)))
            }
            Standing::Approved | Standing::Pending | Standing::Disabled => ("NONE", None),
        };
        let named = Named::find(snapshot, channel, template)?;
        let notice = Notice::Status {
            template: named.template(),
            event: standing.event(),
            category: &category.as_str().to_uppercase(),
            reason,
            info,
            disabled: (standing == Standing::Disabled).then_some(at.second()),
        };
        Some(named.body(at, &notice))
    }

    /// What is told now of a category that is going to change.
    pub(super) fn announcement(
        &self,
        snapshot: &Snapshot,
        (channel, template): (&ChannelId, &Template),
        (before, after): (Category, Category),
        effective: Time,
        now: Time,
    ) -> Option<Vec<u8>> {
        let named = Named::find(snapshot, channel, template)?;
        let notice = Notice::CategoryWillChange {
            template: named.template(),
            current: &before.as_str().to_uppercase(),
            future: &after.as_str().to_uppercase(),
            second: effective.second(),
        };
        Some(named.body(now, &notice))
    }

    /// What is told when a category has changed.
    pub(super) fn category_notice(
        &self,
        snapshot: &Snapshot,
        (channel, template): (&ChannelId, &Template),
        (before, after): (Category, Category),
        effective: Time,
    ) -> Option<Vec<u8>> {
        let named = Named::find(snapshot, channel, template)?;
        let notice = Notice::CategoryChanged {
            template: named.template(),
            previous: &before.as_str().to_uppercase(),
            category: &after.as_str().to_uppercase(),
        };
        Some(named.body(effective, &notice))
    }

    pub(super) fn set_quality(
        &mut self,
        snapshot: &Snapshot,
        channel: &ChannelId,
        number: &PhoneNumber,
        quality: Quality,
        now: Time,
    ) {
        let before = self.line(channel).qualities.insert(number.clone(), quality);
        let waba_id = snapshot.channel(channel).and_then(|channel| channel.waba_id.clone());
        let Some(waba_id) = waba_id.filter(|_| before.unwrap_or_default() != quality) else {
            return;
        };
        let (event, limit) = match quality {
            Quality::Green => ("UNFLAGGED", "TIER_100K"),
            Quality::Yellow => ("DOWNGRADE", "TIER_10K"),
            Quality::Red => ("FLAGGED", "TIER_1K"),
        };
        let notice = Notice::NumberQuality { phone_number: number.as_str(), event, limit };
        let mut body = Vec::new();
        management::body(&mut body, waba_id.as_str(), now.second(), &notice);
        self.tell_notice(channel, now, body);
    }

    /// Puts a notice of what happened at `at` to be told.
    pub(super) fn tell_notice(&mut self, channel: &ChannelId, at: Time, body: Vec<u8>) {
        let chaos = self.chaos_of(channel);
        let mut dice = Dice::new(seed_of(self.config.seed, at.0.unsigned_abs()));
        let (from, to) = TOLD_AFTER;
        let arrives = at.plus(dice.between(from, to));
        self.tell(chaos, &mut dice, arrives, Thing::Notice { channel: channel.clone(), body });
    }

    /// Messages of a template that is paused at `at` and have not gone out by then never do.
    pub(super) fn drop_what_waits(&mut self, channel: &ChannelId, template: &Template, at: Time) {
        let Some(paused) = failure_of(PAUSED) else { return };
        let mut dropped = Vec::new();
        self.each_due(|thing| {
            if let Thing::Step { message, step, member, .. } = thing
                && step.what == What::Sent
                && step.at > at
                && message.channel == *channel
                && message.template.as_ref() == Some(template)
            {
                dropped.push((Arc::clone(message), *member));
            }
        });
        // Chaos may tell the same twice.
        dropped.sort_unstable_by_key(|(message, member)| (Arc::as_ptr(message) as usize, *member));
        dropped.dedup_by(|a, b| Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1);
        self.drop_steps(&dropped);
        for (message, member) in dropped {
            let step = Step { at, what: What::Failed(paused) };
            let thing = Thing::Step { message, step, member, is_priced: false };
            let chaos = self.chaos_of(channel);
            let mut dice = Dice::new(seed_of(self.config.seed, at.0.unsigned_abs()));
            self.tell(chaos, &mut dice, at.plus(TOLD_AFTER.0), thing);
        }
    }
}

/// A template and its business account, as WhatsApp names them.
struct Named {
    waba_id: Text,
    id: String,
    name: String,
    language: String,
}

impl Named {
    fn find(snapshot: &Snapshot, channel: &ChannelId, template: &Template) -> Option<Self> {
        let waba_id = snapshot.channel(channel)?.waba_id.clone()?;
        let record = snapshot.template(channel, &template.code, &template.language)?;
        Some(Self {
            waba_id,
            id: template_id(record),
            name: record.name.as_str().to_owned(),
            language: record.language.as_str().to_owned(),
        })
    }

    fn body(&self, at: Time, notice: &Notice<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        management::body(&mut body, self.waba_id.as_str(), at.second(), notice);
        body
    }

    fn template(&self) -> OfTemplate<'_> {
        OfTemplate { id: &self.id, name: &self.name, language: &self.language }
    }
}

/// Meta's id of a template; where it has none, digits that are made from its names.
#[must_use]
pub fn template_id(template: &TemplateRecord) -> String {
    let TemplateRecord { channel, code, language, meta_id, .. } = template;
    let made = || seed_of_name(0x6d65_7461, &format!("{channel} {code} {language}")) >> 12;
    meta_id.as_ref().map_or_else(|| made().to_string(), |id| id.as_str().to_owned())
}

/// The template that `sign` names, if it is a sign of ours.
fn signed(sign: &str) -> Option<Template> {
    let Sign { code, language, campaign: _ } = Sign::parse(sign)?;
    Some(Template { code: Text::new(&code).ok()?, language: Text::new(&language).ok()? })
}

fn waba_id(snapshot: &Snapshot, number: &Number) -> Text {
    let channel = snapshot.channel(&number.channel);
    let waba_id = channel.and_then(|channel| channel.waba_id.clone());
    waba_id.unwrap_or_else(|| Text::lossy(number.channel.as_str()))
}

/// The failure whose code the number ends in.
fn asked_to_fail(digits: &str) -> Option<&'static Failure> {
    let last = digits.get(digits.len().checked_sub(CODE_DIGITS)?..)?;
    FAILURES.iter().find(|failure| failure.code.to_string() == last)
}

/// The members of a group, the same for the same group; else the one recipient.
fn members(seed: u64, channel: &ChannelId, to: &str, is_group: bool) -> Vec<String> {
    if !is_group {
        return vec![to.to_owned()];
    }
    let mut dice = Dice::new(seed_of_name(seed, &format!("{channel} {to}")));
    let (least, most) = MEMBERS;
    let count = dice.between(least, most + 1);
    (0..count).map(|member| format!("1555017{member:02}{:03}", dice.below(1_000))).collect()
}

/// What Meta says to a message that it does not take.
fn refuse(code: u32, why: &str) -> Refused {
    Refused::Rejected(format!("(#{code}) {why}"))
}

fn payloads(given: Option<&Value>) -> Vec<String> {
    let given = given.and_then(Value::as_array).into_iter().flatten();
    given.map(|payload| payload.as_str().unwrap_or_default().to_owned()).collect()
}

/// What a message costs when it is delivered: nothing, or what a rate card that is played says.
fn worth(purpose: Purpose, price: Price, to: &str) -> Option<i64> {
    let is_marketing = purpose == Purpose::Template(Category::Marketing);
    match price {
        Price { cost_micros: Some(micros), .. } => Some(micros),
        Price { kind: "regular", .. } => is_marketing.then(|| market_of(to).marketing_micros),
        Price { .. } => Some(0),
    }
}

/// What a message is charged as; in groups by categories of their own.
fn price(
    purpose: Purpose,
    to: Recipient<'_>,
    tells_links: bool,
    has_window: bool,
    now: Time,
) -> Price {
    let is_group = matches!(to, Recipient::Group(_));
    let category = |alone: &'static str, group| if is_group { group } else { alone };
    let free = category("free_customer_service", "free_group_customer_service");
    let price = |kind, category| Price { kind, category, cost_micros: None };
    match purpose {
        Purpose::Service => price(free, category("service", "group_service")),
        Purpose::Template(Category::Utility) => {
            let is_free = has_window && now < UTILITY_CHARGED;
            price(if is_free { free } else { "regular" }, category("utility", "group_utility"))
        }
        // The Marketing Messages API tells a cost.
        Purpose::Template(Category::Marketing) if tells_links && !is_group => {
            let (Recipient::Number(to) | Recipient::User(to) | Recipient::Group(to)) = to;
            let micros = market_of(to).marketing_micros;
            Price { cost_micros: Some(micros), ..price("regular", LITE) }
        }
        Purpose::Template(Category::Marketing) => {
            price("regular", category("marketing", "group_marketing"))
        }
        Purpose::Template(Category::Authentication) => price("regular", "authentication"),
    }
}

//! What WhatsApp itself knows of a channel's messages, one fact after the other: for its analytics.

use std::collections::BTreeMap;

use twoticks_core::event::Button;
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};

use super::{Book, Loose, Page, Person};
use crate::meta::Price;

/// Something that happened to a message and was told and believed.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// The number that sent it.
    pub number: &'a PhoneNumber,
    /// The template that it uses.
    pub template: Option<&'a Template>,
    /// Whether it went through the Marketing Messages API.
    pub is_lite: bool,
    /// When it was sent, in seconds of Unix time.
    pub sent: Option<i64>,
    /// When this happened, in seconds of Unix time.
    pub second: i64,
    /// What happened.
    pub what: What<'a>,
}

/// What happened to a message.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// It was sent.
    Sent,
    /// It was delivered.
    Delivered {
        /// What it was charged as.
        price: Option<Price>,
        /// What it cost, in millionths of a US dollar, where that is known.
        cost_micros: Option<i64>,
    },
    /// It was read.
    Read,
    /// A button was tapped, or its link opened.
    Clicked {
        /// The button.
        button: &'a Button,
        /// Whether it is the first time on this message.
        is_first: bool,
    },
}

impl Book {
    /// Everything that happened to the messages of `channel`, message by message.
    pub fn facts(&self, channel: &ChannelId, mut visit: impl FnMut(&Fact<'_>)) {
        let mut loose: BTreeMap<usize, Vec<&Loose>> = BTreeMap::new();
        for it in self.loose.values().filter(|it| it.channel == *channel) {
            loose.entry(it.of).or_default().push(it);
        }
        let pages = self.pages.iter().enumerate().filter(|(_, page)| page.channel == *channel);
        for (place, page) in pages {
            of_page(page, loose.get(&place).map_or(&[], Vec::as_slice), &mut visit);
        }
    }
}

fn of_page(page: &Page, loose: &[&Loose], visit: &mut impl FnMut(&Fact<'_>)) {
    let first = page.people.values().filter_map(Person::sent).min();
    let fact = |sent: Option<i64>, second: i64, what| Fact {
        number: &page.number,
        template: page.template.as_ref(),
        is_lite: page.is_lite,
        sent,
        second,
        what,
    };
    for person in page.people.values() {
        let sent = person.sent();
        if let Some(second) = sent {
            visit(&fact(sent, second, What::Sent));
        }
        if let Some(second) = person.delivered() {
            let what = What::Delivered { price: person.price, cost_micros: page.worth_micros };
            visit(&fact(sent, second, what));
        }
        if let Some(second) = person.read {
            visit(&fact(sent, second, What::Read));
        }
    }
    let of_loose = loose.iter().map(|it| (it.second, &it.button));
    let mut clicks: Vec<(i64, &Button)> =
        page.taps.iter().map(|((second, _), button)| (*second, button)).chain(of_loose).collect();
    clicks.sort_by_key(|(second, _)| *second);
    let mut seen: Vec<&Button> = Vec::new();
    for (second, button) in clicks {
        let is_first = !seen.contains(&button);
        seen.push(button);
        visit(&fact(first, second, What::Clicked { button, is_first }));
    }
}

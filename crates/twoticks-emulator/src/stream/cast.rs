//! Who is in a stream: channels, numbers and templates, the same for the same plan.

use std::sync::Arc;

use twoticks_core::event::{Button, ButtonKind, Category, Claim, Pricing, Source};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_wire::webhook::sign::Sign;

use super::Plan;
use crate::dice::{Dice, seed_of};
use crate::habits::MARKETS;

/// A business number of a stream.
#[derive(Clone, Debug)]
pub struct CastNumber {
    /// Its channel.
    pub channel: ChannelId,
    /// Meta's id of the business account.
    pub waba_id: Text,
    /// The digits.
    pub phone_number: PhoneNumber,
    /// Meta's id of the number.
    pub phone_number_id: Text,
    /// Where most of its customers live.
    pub(super) calling: &'static str,
}

/// A template of a stream.
#[derive(Clone, Debug)]
pub struct CastTemplate {
    /// Which of the channels has it.
    pub channel: ChannelId,
    /// Code and language.
    pub template: Template,
    /// What it is for.
    pub category: Category,
    /// Its buttons.
    pub buttons: Vec<Button>,
    pub(super) kinds: Vec<ButtonKind>,
    /// What its messages are charged as.
    pub(super) pricing: Arc<Pricing>,
    /// As whoever sends it claims it, and as our sign in its statuses does.
    pub(super) sent: Arc<Claim>,
    pub(super) signed: Arc<Claim>,
    pub(super) sign: String,
    pub(super) appeal: i64,
    /// The numbers of its channel: the first and how many there are, every so many apart.
    of_channel: u32,
}

impl CastTemplate {
    pub(super) fn button(&self, index: u8) -> Button {
        let known = self.buttons.get(usize::from(index)).cloned();
        known.unwrap_or(Button { kind: ButtonKind::QuickReply, text: Text::lossy("") })
    }

    pub(super) fn text(&self, index: u8) -> &str {
        self.buttons.get(usize::from(index)).map_or("", |button| button.text.as_str())
    }
}

/// Who is in a stream.
#[derive(Debug)]
pub struct Cast {
    /// Every number; those of a channel are as many apart as there are channels.
    pub numbers: Vec<CastNumber>,
    /// Every template, the most used first.
    pub templates: Vec<CastTemplate>,
    /// Up to which roll each template is chosen.
    up_to: Vec<u64>,
    channels: u32,
}

const LANGUAGES: [&str; 5] = ["id", "pt_BR", "de", "en", "es"];
/// The weight of the first template; the n-th has an n-th of it.
const ZIPF: u64 = 1_000_000_000;

impl Cast {
    /// The cast of `plan`: at least one channel, number and template.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let channels = plan.channels.max(1);
        // Every channel has a number, or nobody could send its templates.
        let numbers = plan.numbers.max(channels);
        let mut total = 0;
        let up_to = (1..=u64::from(plan.templates.max(1)))
            .map(|rank| {
                total += ZIPF / rank;
                total
            })
            .collect();
        Self {
            numbers: (0..numbers).map(|index| number(index, channels)).collect(),
            templates: (0..plan.templates.max(1)).map(|index| template(index, channels)).collect(),
            up_to,
            channels,
        }
    }

    pub(super) fn template(&self, dice: &mut Dice) -> &CastTemplate {
        let roll = dice.below(self.up_to.last().copied().unwrap_or(1));
        let index = self.up_to.partition_point(|up_to| *up_to <= roll);
        self.templates.get(index).unwrap_or_else(|| {
            self.templates.first().expect("a cast has a template: `of` sees to it")
        })
    }

    pub(super) fn number(&self, dice: &mut Dice, template: &CastTemplate) -> &CastNumber {
        let apart = self.channels as usize;
        let of_channel = template.of_channel as usize;
        let count = (self.numbers.len() - of_channel).div_ceil(apart);
        let which = usize::try_from(dice.below(count as u64)).unwrap_or(0);
        self.numbers
            .get(of_channel + which * apart)
            .unwrap_or_else(|| self.numbers.first().expect("a cast has a number: `of` sees to it"))
    }
}

fn channel(index: u32) -> ChannelId {
    ChannelId::new(&format!("cams-stream-{index:05}")).expect("it is visible ASCII")
}

fn number(index: u32, channels: u32) -> CastNumber {
    let of = index % channels;
    let market = MARKETS.get(of as usize % MARKETS.len());
    CastNumber {
        channel: channel(of),
        waba_id: Text::lossy(&(300_000_000_000_u64 + u64::from(of)).to_string()),
        phone_number: PhoneNumber::new(&(15_550_200_000_u64 + u64::from(index)).to_string())
            .expect("they are digits"),
        phone_number_id: Text::lossy(&(400_000_000_000_u64 + u64::from(index)).to_string()),
        calling: market.map_or("62", |market| market.calling),
    }
}

fn template(index: u32, channels: u32) -> CastTemplate {
    let mut dice = Dice::new(seed_of(0x6361_7374, u64::from(index)));
    let category = match dice.below(10) {
        0..=6 => Category::Marketing,
        7 | 8 => Category::Utility,
        _ => Category::Authentication,
    };
    let button = |kind, text: &str| Button { kind, text: Text::lossy(text) };
    let buttons = match (category, dice.below(3)) {
        (Category::Marketing, 0) => {
            vec![button(ButtonKind::QuickReply, "Yes"), button(ButtonKind::QuickReply, "No")]
        }
        (Category::Marketing, 1) => {
            vec![button(ButtonKind::QuickReply, "Later"), button(ButtonKind::Url, "Shop")]
        }
        (Category::Marketing, _) => vec![button(ButtonKind::Url, "Shop")],
        (Category::Utility, 0) => vec![button(ButtonKind::QuickReply, "Confirm")],
        _ => Vec::new(),
    };
    let code = format!("stream_{index:05}");
    let language = dice.one_of(&LANGUAGES).copied().unwrap_or("en");
    let sign = Sign { code: code.clone(), language: language.to_owned(), campaign: None };
    let template = Template { code: Text::lossy(&code), language: Text::lossy(language) };
    let claim = |source| Claim { source, template: Some(template.clone()), campaign: None }.into();
    let pricing = Pricing {
        category: Text::lossy(category.as_str()),
        kind: Text::lossy("regular"),
        model: Text::lossy("PMP"),
        cost: None,
    };
    CastTemplate {
        channel: channel(index % channels),
        sent: claim(Source::Send),
        signed: claim(Source::Sign),
        pricing: pricing.into(),
        template,
        category,
        kinds: buttons.iter().map(|button| button.kind).collect(),
        buttons,
        sign: sign.encode().expect("a short code and a language make a sign"),
        appeal: dice.between(600, 1_400),
        of_channel: index % channels,
    }
}

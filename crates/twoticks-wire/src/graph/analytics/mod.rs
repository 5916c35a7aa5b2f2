//! The figures that the Graph API keeps by itself: asked for and read.
//!
//! [`templates`], [`messages`] and [`pricing`] put the three questions, [`read_templates`],
//! [`read_messages`] and [`read_pricing`] read the answers. To add a figure: a field of a point,
//! read in `answer.rs`. What always holds: a cost that is not told is unknown and never nothing.
//! WhatsApp sets reads and clicks back to zero after seven days: whoever keeps them keeps the
//! greatest.

mod answer;
mod ask;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use answer::{
    ANSWER_BYTES_MAX, POINTS_MAX, Page, Unread, read_messages, read_pricing, read_templates,
};
pub use ask::{
    Ask, Dimension, Granularity, ID_MAX, TEMPLATES_MAX, Unasked, is_id, messages, pricing,
    templates,
};

/// How many seconds a day of UTC has.
pub const DAY_SECONDS: i64 = 86_400;

/// How many days before today are asked for again: reads and clicks are told up to seven days
/// after the send, and one more for a request that comes late.
pub const WINDOW_DAYS: i64 = 8;

/// How far back `template_analytics` tells, in days. Counted from the moment that it is asked, so
/// that the first whole day is one later.
pub const LOOKBACK_DAYS: i64 = 90;

/// A day of UTC, counted from 1 January 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day that a moment, in seconds of Unix time, falls into.
    #[must_use]
    pub fn of(seconds: i64) -> Self {
        Self(seconds.div_euclid(DAY_SECONDS))
    }

    /// Its first second, in seconds of Unix time.
    #[must_use]
    pub fn start_seconds(self) -> i64 {
        self.0.saturating_mul(DAY_SECONDS)
    }
}

/// Days of UTC; both are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: Day,
    /// The last.
    pub last: Day,
}

/// The days to ask for at a moment, in seconds of Unix time: today and [`WINDOW_DAYS`] before it.
#[must_use]
pub fn window(now_seconds: i64) -> Days {
    back(now_seconds, WINDOW_DAYS)
}

/// All whole days that are told, for a first request: those of the last [`LOOKBACK_DAYS`].
#[must_use]
pub fn first_window(now_seconds: i64) -> Days {
    back(now_seconds, LOOKBACK_DAYS - 1)
}

fn back(now_seconds: i64, days: i64) -> Days {
    let last = Day::of(now_seconds);
    Days { first: Day(last.0.saturating_sub(days)), last }
}

/// The ways in which messages were sent, each with figures of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// The Cloud API.
    CloudApi,
    /// The Marketing Messages API, by the name on the page about analytics.
    MarketingMessages,
    /// The same by its older name, which some versions of the Graph API still want.
    MarketingMessagesLite,
}

impl Product {
    /// Meta's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::CloudApi => "CLOUD_API",
            Self::MarketingMessages => "MARKETING_MESSAGES_API_FOR_WHATSAPP",
            Self::MarketingMessagesLite => "MARKETING_MESSAGES_LITE_API",
        }
    }

    /// What to ask for instead when the word is refused (error 100); `None` if there is nothing.
    #[must_use]
    pub fn fallback(self) -> Option<Self> {
        match self {
            Self::MarketingMessages => Some(Self::MarketingMessagesLite),
            Self::CloudApi | Self::MarketingMessagesLite => None,
        }
    }
}

/// One name for a product, where it has two: the Marketing Messages API may be told by either of its
/// own, and its figures must not add up with themselves. Names are in lower case, as they are told.
#[must_use]
pub fn same_product(name: &str) -> &str {
    match name {
        "marketing_messages_lite_api" => "marketing_messages_api_for_whatsapp",
        other => other,
    }
}

/// What became of a template's messages on one day, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateDay {
    /// Meta's id of the template, as digits. Never empty.
    pub template_id: String,
    /// The beginning of the day, in seconds of Unix time.
    pub start_seconds: i64,
    /// `product_type` in lower case, such as `cloud_api`; figures of different ones add up.
    pub product: Option<String>,
    /// Messages sent.
    pub sent: Option<u64>,
    /// Messages delivered.
    pub delivered: Option<u64>,
    /// Messages read.
    pub read: Option<u64>,
    /// Clicks; `None` if they were not told.
    pub clicks: Option<Clicks>,
    /// What they cost; `None` if it was not told: unknown, never nothing.
    pub cost: Option<Cost>,
    /// Optional fields that were there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

/// Clicks on a template's buttons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clicks {
    /// By button. `url_button` and `unique_url_button` count the same clicks: do not add them.
    pub buttons: BTreeMap<ButtonClicked, u64>,
    /// All of them, where an old form tells a bare number instead of buttons.
    pub total: Option<u64>,
}

/// Which button, and how its clicks are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ButtonClicked {
    /// As told, such as `quick_reply_button`, `url_button`, `unique_url_button`.
    pub kind: String,
    /// The button's text; empty if it was not told.
    pub content: String,
}

/// What a template's messages cost on a day, in millionths of the account's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// `amount_spent`.
    pub spent_micros: Option<i64>,
    /// `cost_per_delivered`.
    pub per_delivered_micros: Option<i64>,
    /// `cost_per_url_button_click`.
    pub per_url_click_micros: Option<i64>,
}

/// What one phone number sent in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagesPoint {
    /// Where the span begins, in seconds of Unix time.
    pub start_seconds: i64,
    /// Where it ends, in seconds of Unix time.
    pub end_seconds: i64,
    /// Messages sent.
    pub sent: Option<u64>,
    /// Messages delivered.
    pub delivered: Option<u64>,
    /// Optional fields that were there but could not be read.
    pub unread: Vec<&'static str>,
}

/// How many messages of one kind were delivered in a span and what they cost. Words are as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricingPoint {
    /// Where the span begins, in seconds of Unix time.
    pub start_seconds: i64,
    /// Where it ends, in seconds of Unix time.
    pub end_seconds: i64,
    /// The recipients' country: two letters.
    pub country: Option<String>,
    /// The business's phone number.
    pub phone_number: Option<String>,
    /// The volume tier, such as `0:750000` or `0:MAX`.
    pub tier: Option<String>,
    /// `REGULAR`, `FREE_CUSTOMER_SERVICE` and so on.
    pub pricing_type: Option<String>,
    /// `MARKETING`, `UTILITY` and so on.
    pub pricing_category: Option<String>,
    /// Messages delivered.
    pub volume: Option<u64>,
    /// What they cost, in millionths of the account's currency; `None` is unknown, never nothing.
    pub cost_micros: Option<i64>,
    /// Optional fields that were there but could not be read.
    pub unread: Vec<&'static str>,
}

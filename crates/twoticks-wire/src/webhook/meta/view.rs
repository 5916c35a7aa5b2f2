//! Updates whose texts are borrowed: from the body, or from an [`Update`].

use std::borrow::Cow;

use super::{Place, Pricing, Status, StatusWord, Update};
use crate::webhook::sign::SignView;

/// One thing that a webhook tells; most are statuses, and those need no copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A status that is written as usual.
    Status {
        /// Where in the body it stood.
        place: Place,
        /// Meta's id of the business number: `metadata.phone_number_id`.
        phone_number_id: Option<&'a str>,
        /// What it says.
        status: StatusView<'a>,
    },
    /// Anything else.
    Update(Update),
}

/// What decides about the count of a [`Status`], borrowed. The fields are those of the same name
/// there, where they say more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView<'a> {
    /// The message. Never empty.
    pub wamid: Cow<'a, str>,
    /// What happened.
    pub status: StatusWord,
    /// The word for it as told. Never empty.
    pub word: &'a str,
    /// When it happened, in milliseconds of Unix time.
    pub time_ms: i64,
    /// Whether the participants mean anything.
    pub group: bool,
    /// `recipient_participant_id`.
    pub participant_id: Option<&'a str>,
    /// `recipient_participant_user_id`.
    pub participant_user_id: Option<&'a str>,
    /// What the sender of the message attached to it; see [`StatusView::sign`].
    pub biz_opaque_callback_data: Option<Cow<'a, str>>,
    /// What the message is charged as.
    pub pricing: Option<PricingView<'a>>,
    /// The code of the first of its errors.
    pub error_code: Option<i64>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: &'a [&'static str],
}

/// A [`Pricing`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricingView<'a> {
    /// `pricing_model`.
    pub model: Option<&'a str>,
    /// `type`.
    pub kind: Option<&'a str>,
    /// `category`.
    pub category: Option<&'a str>,
    /// `cost`: millionths of a currency, and its code.
    pub cost: Option<(i64, &'a str)>,
}

impl StatusView<'_> {
    /// Our sign, where `biz_opaque_callback_data` is one.
    #[must_use]
    pub fn sign(&self) -> Option<SignView<'_>> {
        SignView::parse(self.biz_opaque_callback_data.as_deref()?)
    }
}

impl Status {
    /// The same, borrowed.
    #[must_use]
    pub fn view(&self) -> StatusView<'_> {
        StatusView {
            wamid: Cow::Borrowed(&self.wamid),
            status: self.status,
            word: &self.word,
            time_ms: self.time_ms,
            group: self.group,
            participant_id: self.recipient_participant_id.as_deref(),
            participant_user_id: self.recipient_participant_user_id.as_deref(),
            biz_opaque_callback_data: self.biz_opaque_callback_data.as_deref().map(Cow::Borrowed),
            pricing: self.pricing.as_ref().map(Pricing::view),
            error_code: self.error.as_ref().and_then(|error| error.code),
            unread: &self.unread,
        }
    }
}

impl Pricing {
    fn view(&self) -> PricingView<'_> {
        PricingView {
            model: self.model.as_deref(),
            kind: self.kind.as_deref(),
            category: self.category.as_deref(),
            cost: self.cost.as_ref().map(|cost| (cost.micros, cost.currency.as_str())),
        }
    }
}

//! Phone numbers.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use twoticks_store::directory::model::Number;

use super::account::wanted;
use super::fields::Kind;
use super::paging::page;
use super::refusal::Refusal;
use super::{Asked, Here};
use crate::habits::MARKETS;
use crate::whatsapp::Quality;

pub(super) const KIND: Kind = Kind {
    name: "WhatsAppBusinessPhoneNumber",
    known: &[
        "certificate",
        "conversational_automation",
        "country_code",
        "country_dial_code",
        "eligibility_for_api_business_global_search",
        "health_status",
        "is_official_business_account",
        "is_on_biz_app",
        "is_pin_enabled",
        "is_preverified_number",
        "last_onboarded_time",
        "new_certificate",
        "new_name_status",
        "official_business_account",
        "search_visibility",
        "username",
        "webhook_configuration",
        "whatsapp_business_manager_messaging_limit",
    ],
    usual: &[
        "id",
        "display_phone_number",
        "verified_name",
        "quality_rating",
        "code_verification_status",
        "platform_type",
    ],
};

pub(super) fn list(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let wanted = wanted(asked)?;
    let numbers = here.snapshot.numbers_of(&here.channel.id).iter();
    let rows = numbers.map(|number| KIND.pick(&all(here, number), &wanted).map(Value::Object));
    page(asked, rows.collect::<Result<_, Refusal>>()?).map(Value::Object)
}

pub(super) fn node(here: &Here, asked: &Asked, of: &Arc<Number>) -> Result<Value, Refusal> {
    KIND.pick(&all(here, of), &wanted(asked)?).map(Value::Object)
}

fn all(here: &Here, number: &Number) -> Map<String, Value> {
    let quality = here.whatsapp.quality(&here.channel.id, &number.phone_number);
    let (rating, limit, status) = match quality {
        Quality::Green => ("GREEN", "TIER_100K", "CONNECTED"),
        Quality::Yellow => ("YELLOW", "TIER_10K", "CONNECTED"),
        Quality::Red => ("RED", "TIER_1K", "FLAGGED"),
    };
    Map::from_iter(
        [
            ("id", json!(number.phone_number_id)),
            ("display_phone_number", display(number.phone_number.as_str()).into()),
            ("verified_name", json!(here.channel.name)),
            ("quality_rating", rating.into()),
            ("messaging_limit_tier", limit.into()),
            ("status", status.into()),
            ("code_verification_status", "VERIFIED".into()),
            ("platform_type", "CLOUD_API".into()),
            ("quality_score", json!({"score": rating})),
            ("throughput", json!({"level": "STANDARD"})),
            ("name_status", "APPROVED".into()),
            ("account_mode", "LIVE".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// A number as people read it: `+1 555-078-3881`.
fn display(digits: &str) -> String {
    let codes = MARKETS.iter().filter_map(|market| {
        digits.strip_prefix(market.calling).map(|rest| (market.calling, rest))
    });
    let Some((code, rest)) = codes.max_by_key(|(code, _)| code.len()) else {
        return format!("+{digits}");
    };
    match (rest.get(..3), rest.get(3..6), rest.get(6..)) {
        (Some(area), Some(exchange), Some(line)) if !line.is_empty() => {
            format!("+{code} {area}-{exchange}-{line}")
        }
        _ => format!("+{code} {rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_shown_as_people_read_it() {
        for (digits, shown) in [
            ("15550783881", "+1 555-078-3881"),
            ("628110000001", "+62 811-000-0001"),
            ("4930", "+49 30"),
            ("99912345", "+99912345"),
        ] {
            assert_eq!(display(digits), shown);
        }
    }
}

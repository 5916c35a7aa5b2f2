//! The node of a business account.

use serde_json::{Map, Value, json};

use super::fields::{self, Field, Kind};
use super::refusal::Refusal;
use super::{Asked, Here, analytics};

pub(super) const KIND: Kind = Kind {
    name: "WhatsAppBusinessAccount",
    known: &[
        "account_review_status",
        "auth_international_rate_eligibility",
        "business_verification_status",
        "country",
        "creation_time",
        "disable_marketing_messages_on_cloud_api",
        "health_status",
        "is_shared_with_partners",
        "linked_commerce_account",
        "marketing_messages_ad_account",
        "marketing_messages_lite_api_status",
        "marketing_messages_onboarding_status",
        "message_template_namespace",
        "message_templates",
        "on_behalf_of_business_info",
        "owner_business",
        "owner_business_info",
        "ownership_type",
        "phone_numbers",
        "primary_business_location",
        "primary_funding_id",
        "purchase_order_number",
        "service_pricing_policy",
        "status",
        "subscribed_apps",
        "template_auto_archival_enabled",
        "whatsapp_business_manager_messaging_limit",
        "whatsapp_manager_marketing_messages_max_price_enroll_status",
    ],
    usual: &["id", "name", "currency", "timezone_id"],
};

pub(super) async fn node(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let wanted = wanted(asked)?;
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("id", json!(here.channel.waba_id));
    put("name", json!(here.channel.name));
    put("currency", "USD".into());
    // Meta's number for no zone that it knows: days here are UTC's.
    put("timezone_id", "0".into());
    put("is_enabled_for_insights", here.whatsapp.has_insights(&here.channel.id).into());
    for field in &wanted {
        let told = match field.name.as_str() {
            "analytics" => analytics::messaging(here, &field.arguments).await?,
            "template_analytics" => analytics::templates(here, &field.arguments).await?,
            "pricing_analytics" => analytics::pricing(here, &field.arguments).await?,
            _ => continue,
        };
        put(&field.name, told);
    }
    KIND.pick(&all, &wanted).map(Value::Object)
}

/// The fields that a call wants; none if it does not say.
///
/// # Errors
/// If they cannot be read.
pub(super) fn wanted(asked: &Asked) -> Result<Vec<Field>, Refusal> {
    match asked.given.value("fields") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => fields::read(text),
        Some(_) => fields::read(&asked.given.list("fields").unwrap_or_default().join(",")),
    }
}

/// `POST /{waba}?is_enabled_for_insights=true`: there is no way back.
pub(super) fn change(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    match asked.given.whether("is_enabled_for_insights")? {
        Some(true) => {
            here.whatsapp.enable_insights(&here.channel.id);
            // A number here, where ids are texts elsewhere.
            let id = asked.place.id.parse::<u64>();
            Ok(json!({"id": id.map_or_else(|_| json!(asked.place.id), |id| json!(id))}))
        }
        Some(false) => Err(Refusal::of(200_006, "Template Insights cannot be disabled")
            .with("Template insights cannot be disabled once they have been enabled.")),
        None => Err(Refusal::missing("is_enabled_for_insights")),
    }
}

//! The fields of a change besides `messages`: templates, numbers, accounts.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Defect;
use super::super::json::{self, Fields, needed};
use super::{CategoryChange, CategoryUpdate, TemplateRef, TemplateStatus, What};

/// Fields that are documented, and in which there is nothing to count.
const FIELDS: &[&str] = &[
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "automatic_events",
    "business_capability_update",
    "business_status_update",
    "business_username_update",
    "business_username_updates",
    "calls",
    "flows",
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
    "history",
    "message_echoes",
    "message_template_components_update",
    "message_template_quality_update",
    "messaging_handovers",
    "partner_solutions",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "smb_app_state_sync",
    "smb_message_echoes",
    "standby",
    "template_correct_category_detection",
    "template_performance_metrics",
    "tracking_events",
    "user_id_update",
    "user_preferences",
];

/// The field `name` if it is one in which there is nothing to count.
pub(super) fn nothing(name: &str) -> Option<&'static str> {
    FIELDS.iter().find(|known| **known == name).copied()
}

#[derive(Deserialize)]
struct RawTemplate<'a> {
    #[serde(borrow)]
    message_template_id: Option<&'a RawValue>,
    message_template_name: Option<&'a RawValue>,
    message_template_language: Option<&'a RawValue>,
    message_template_category: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    new_quality_score: Option<&'a RawValue>,
    previous_category: Option<&'a RawValue>,
    new_category: Option<&'a RawValue>,
    correct_category: Option<&'a RawValue>,
    category_update_timestamp: Option<&'a RawValue>,
}

fn template(told: &RawTemplate<'_>) -> Result<TemplateRef, Defect> {
    let template = TemplateRef {
        id: told.message_template_id.and_then(json::word),
        name: told.message_template_name.and_then(json::word),
        language: told.message_template_language.and_then(json::word),
    };
    // A name without its language is several templates.
    if template.id.is_none() && (template.name.is_none() || template.language.is_none()) {
        return Err(Defect::Missing("message_template_id"));
    }
    Ok(template)
}

/// Reads the value of `template_category_update`.
pub(super) fn category(raw: &RawValue) -> Result<What, Defect> {
    let told: RawTemplate<'_> = json::object(raw)?;
    let mut fields = Fields::default();
    let previous = fields.word("previous_category", told.previous_category);
    let future = fields.word("correct_category", told.correct_category);
    let change = match (previous, future) {
        (None, Some(future)) => {
            let name = "category_update_timestamp";
            CategoryChange::Impending {
                current: fields.word("new_category", told.new_category),
                future,
                effective_ms: fields.seconds(name, told.category_update_timestamp),
            }
        }
        (previous, _) => CategoryChange::Done {
            previous,
            category: needed("new_category", told.new_category, json::word)?,
        },
    };
    // What it says decides about prices and about what is marketing: all of it or nothing.
    match fields.unread.first() {
        Some(name) => Err(Defect::Unreadable(name)),
        None => Ok(What::CategoryUpdate(Box::new(CategoryUpdate {
            template: template(&told)?,
            change,
        }))),
    }
}

/// Reads the value of `message_template_status_update`.
pub(super) fn template_status(raw: &RawValue) -> Result<What, Defect> {
    let told: RawTemplate<'_> = json::object(raw)?;
    if told.event.is_none() && told.new_quality_score.is_some() {
        return Ok(What::Nothing { kind: "message_template_quality_update" });
    }
    Ok(What::TemplateStatus(Box::new(TemplateStatus {
        template: template(&told)?,
        event: needed("event", told.event, json::word)?,
        category: told.message_template_category.and_then(json::word),
        reason: told.reason.and_then(json::text),
    })))
}

//! What WhatsApp tells of templates and numbers.

use super::json::{comma, number, raw, text};

/// A template, as WhatsApp names it.
#[derive(Clone, Copy, Debug)]
pub struct OfTemplate<'a> {
    /// Meta's id, digits.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its language.
    pub language: &'a str,
}

/// Something that happened to a template or to a number.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A template was approved, rejected, paused and the like.
    Status {
        /// The template.
        template: OfTemplate<'a>,
        /// Such as `APPROVED`.
        event: &'a str,
        /// Its category, in capitals.
        category: &'a str,
        /// Why, such as `NONE` or `INCORRECT_CATEGORY`.
        reason: &'a str,
        /// A title and a description, where Meta adds them.
        info: Option<(&'a str, &'a str)>,
        /// When it was disabled, in seconds of Unix time.
        disabled: Option<i64>,
    },
    /// A template will have another category.
    CategoryWillChange {
        /// The template.
        template: OfTemplate<'a>,
        /// What it is.
        current: &'a str,
        /// What it will be.
        future: &'a str,
        /// From when on, in seconds of Unix time.
        second: i64,
    },
    /// A template has another category now.
    CategoryChanged {
        /// The template.
        template: OfTemplate<'a>,
        /// What it was.
        previous: &'a str,
        /// What it is.
        category: &'a str,
    },
    /// A number is liked more or less, or may send more.
    NumberQuality {
        /// The number, digits only.
        phone_number: &'a str,
        /// `FLAGGED`, `UNFLAGGED`, `UPGRADE`, `DOWNGRADE`.
        event: &'a str,
        /// Such as `TIER_10K`.
        limit: &'a str,
    },
}

/// Writes a body with one notice of the business account `waba_id`, of the given second.
pub fn body(out: &mut Vec<u8>, waba_id: &str, second: i64, notice: &Notice<'_>) {
    raw(out, r#"{"object":"whatsapp_business_account","entry":[{"id":"#);
    text(out, waba_id);
    raw(out, r#","time":"#);
    number(out, second);
    raw(out, r#","changes":[{"value":{"#);
    let mut fields = Fields { out, is_first: true };
    let field = match notice {
        Notice::Status { template, event, category, reason, info, disabled } => {
            fields.text("event", event);
            fields.template(template);
            fields.text("message_template_category", category);
            fields.text("reason", reason);
            if let Some((title, description)) = info {
                fields.name("other_info");
                raw(fields.out, r#"{"title":"#);
                text(fields.out, title);
                raw(fields.out, r#","description":"#);
                text(fields.out, description);
                raw(fields.out, "}");
            }
            if let Some(second) = disabled {
                fields.name("disable_info");
                raw(fields.out, r#"{"disable_date":"#);
                number(fields.out, *second);
                raw(fields.out, "}");
            }
            "message_template_status_update"
        }
        Notice::CategoryWillChange { template, current, future, second } => {
            fields.template(template);
            // Meta's names: what is new is what it still is, what is correct is what it will be.
            fields.text("new_category", current);
            fields.text("correct_category", future);
            fields.number("category_update_timestamp", *second);
            "template_category_update"
        }
        Notice::CategoryChanged { template, previous, category } => {
            fields.template(template);
            fields.text("previous_category", previous);
            fields.text("new_category", category);
            "template_category_update"
        }
        Notice::NumberQuality { phone_number, event, limit } => {
            fields.text("display_phone_number", phone_number);
            fields.text("event", event);
            fields.text("current_limit", limit);
            "phone_number_quality_update"
        }
    };
    raw(out, r#"},"field":"#);
    text(out, field);
    raw(out, "}]}]}");
}

struct Fields<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        comma(self.out, &mut self.is_first);
        text(self.out, name);
        raw(self.out, ":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        text(self.out, value);
    }

    fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        number(self.out, value);
    }

    /// The id is a number in these webhooks, where it is one.
    fn template(&mut self, template: &OfTemplate<'_>) {
        match template.id.parse() {
            Ok(id) => self.number("message_template_id", id),
            Err(_) => self.text("message_template_id", template.id),
        }
        self.text("message_template_name", template.name);
        self.text("message_template_language", template.language);
    }
}

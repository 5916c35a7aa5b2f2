//! `GetChatappTemplateDetail`: what a template says, and how it stands.

use std::sync::Arc;

use serde_json::{Value, json};
use twoticks_core::ids::Text;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::Code;
use twoticks_wire::graph::template::{Cams, to_cams};

use super::arguments::required;
use super::list_chatapp_template::{audit_status, check_template_type};
use super::required as needed;
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, template};
use crate::api_error::ApiError;
use crate::links::wrap;

pub(super) struct Get(Arc<TemplateRecord>);

impl Operation for Get {
    const NAME: &'static str = "GetChatappTemplateDetail";
    const SUMMARY: &'static str = "Says what a template says and how it stands.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("Language", "string", "The language of the template."),
        template::CODE,
        template::NAME,
        template::TEMPLATE_TYPE,
        template::CUST_WABA_ID,
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("Data.TemplateCode", "string", "The code."),
        field("Data.Name", "string", "The name."),
        field("Data.Language", "string", "The language."),
        field("Data.Category", "string", "The category that holds now."),
        field("Data.TemplateType", "string", "`WHATSAPP`."),
        field("Data.AuditStatus", "string", "How WhatsApp's review stands."),
        field("Data.Reason", "string", "Why it was rejected, if it was."),
        field("Data.QualityScore", "string", "`GREEN`, `YELLOW`, `RED` or `UNKNOWN`."),
        field("Data.AllowSend", "boolean", "Whether it can be sent."),
        field("Data.Components", "array", "What it says, as it would be created."),
        field("Data.Example", "object", "The examples of its variables, by their names."),
    ];
    const QPS: u32 = 5;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        required(context.params, "Language")?;
        check_template_type(context)?;
        let meant = template::meant(context)?.into_iter().next();
        Ok(Self(meant.ok_or(Code::DetailErrorTemplateNotExist)?))
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let record = self.0;
        let history = context.app.ledger.channel(context.channel()).await?;
        let category = history.category(&record.identity(), context.now);
        let graph = record.graph.as_ref();
        let components = graph.and_then(|graph| serde_json::from_str(&graph.components).ok());
        let components: Vec<Value> = components.unwrap_or_default();
        let components = wrap::unwrapped(components, &record.links);
        let Cams { components, example } = to_cams(&components);
        let status = audit_status(&record);
        let text = |text: Option<&Text>| text.map_or("", Text::as_str).to_owned();
        let quality = graph.and_then(|graph| graph.quality.as_ref());
        let data = json!({
            "TemplateCode": record.code, "Name": record.name, "Language": record.language,
            "Category": category.unwrap_or(record.category).as_str().to_ascii_uppercase(),
            "TemplateType": "WHATSAPP", "AuditStatus": status,
            "Reason": text(graph.and_then(|graph| graph.reason.as_ref())),
            "QualityScore": quality.map_or("UNKNOWN", Text::as_str),
            "AllowSend": status == "pass", "Components": components, "Example": example,
        });
        Ok(Answer::from_iter([("Success".to_owned(), true.into()), ("Data".to_owned(), data)]))
    }
}

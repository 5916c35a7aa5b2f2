//! `ListChatappTemplate`: the templates of a channel, a page of them.

use std::sync::Arc;

use serde_json::{Value, json};
use twoticks_core::event::Category;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::{Code, Refusal};

use super::arguments::{object, text};
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, message, optional};
use crate::api_error::ApiError;

/// How many templates a page may have.
const PAGE_SIZE_MAX: i64 = 1_000;

/// How a template stands, by the words of the original.
///
/// It documents four; those of its own notices (`disabled`, `paused`) are told where none fits.
pub(super) fn audit_status(record: &TemplateRecord) -> &'static str {
    // A template that nobody asked WhatsApp about is one that is used.
    match record.graph.as_ref().map_or("APPROVED", |graph| graph.status.as_str()) {
        "APPROVED" => "pass",
        "REJECTED" => "fail",
        "PENDING" | "IN_APPEAL" => "auditing",
        "PAUSED" => "paused",
        "DISABLED" => "disabled",
        _ => "unaudit",
    }
}

/// Whether WhatsApp does not have it any more; what it counted stays.
pub(super) fn is_deleted(record: &TemplateRecord) -> bool {
    record.graph.as_ref().is_some_and(|graph| graph.status.as_str() == "DELETED")
}

pub(super) struct List {
    index: usize,
    size: usize,
    audit_status: Option<String>,
    category: Option<Category>,
    name: Option<String>,
    code: Option<String>,
    language: Option<String>,
}

impl Operation for List {
    const NAME: &'static str = "ListChatappTemplate";
    const SUMMARY: &'static str = "Lists the templates of a channel.";
    const PARAMETERS: &'static [Parameter] = &[
        optional("Page", "object", "`Index`, from 1, and `Size`, 1 to 1,000 (1 and 10)."),
        optional("AuditStatus", "string", "`pass`, `fail`, `auditing` or `unaudit`."),
        optional("Category", "string", "`MARKETING`, `UTILITY` or `AUTHENTICATION`."),
        optional("Name", "string", "A part of the template's name."),
        optional("Code", "string", "The template's code."),
        optional("Language", "string", "The template's language."),
        optional("TemplateType", "string", "`WHATSAPP`."),
        message::CUST_WABA_ID,
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("ListTemplate[].TemplateCode", "string", "The code."),
        field("ListTemplate[].TemplateName", "string", "The name."),
        field("ListTemplate[].Language", "string", "The language."),
        field("ListTemplate[].Category", "string", "The category that holds now."),
        field("ListTemplate[].AuditStatus", "string", "How WhatsApp's review stands."),
        field("ListTemplate[].Reason", "string", "Why it was rejected, if it was."),
        field("ListTemplate[].TemplateType", "string", "`WHATSAPP`."),
        field(
            "ListTemplate[].LastUpdateTime",
            "integer",
            "When that was learned, in ms; 0 if never.",
        ),
        field("Total", "integer", "How many there are on all pages."),
    ];
    const QPS: u32 = 5;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let params = context.params;
        check_template_type(context)?;
        let page = object(params, "Page").map_err(|_| Refusal::from(Code::PageInvalid))?;
        let page = page.unwrap_or_default();
        let number = |name: &str, usual: i64, most: i64| match page.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => value
                .as_i64()
                .or_else(|| value.as_str()?.parse().ok())
                .filter(|number| (1..=most).contains(number))
                .ok_or(Code::PageInvalid),
        };
        let audit_status = text(params, "AuditStatus").map(str::to_owned);
        let known = ["pass", "fail", "auditing", "unaudit", "paused", "disabled"];
        if audit_status.as_deref().is_some_and(|status| !known.contains(&status)) {
            return Err(Code::AuditStatusNotSupport.into());
        }
        let category = text(params, "Category")
            .map(|text| Category::parse(text).ok_or_else(|| Refusal::invalid("Category")));
        let given = |name: &str| text(params, name).map(str::to_owned);
        let index = number("Index", 1, i64::from(u32::MAX))?;
        Ok(Self {
            index: usize::try_from(index - 1).unwrap_or(usize::MAX),
            size: usize::try_from(number("Size", 10, PAGE_SIZE_MAX)?).unwrap_or_default(),
            audit_status,
            category: category.transpose()?,
            name: given("Name"),
            code: given("Code"),
            language: given("Language"),
        })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let history = context.app.ledger.channel(context.channel()).await?;
        let directory = context.app.directory.snapshot();
        let category = |record: &TemplateRecord| {
            history.category(&record.identity(), context.now).unwrap_or(record.category)
        };
        let mut found: Vec<&Arc<TemplateRecord>> = directory
            .templates_of(context.channel())
            .filter(|record| self.wants(record, category(record)))
            .collect();
        found.sort_by(|one, other| (&one.code, &one.language).cmp(&(&other.code, &other.language)));
        let shown = |record: &Arc<TemplateRecord>| {
            let graph = record.graph.as_ref();
            json!({
                "TemplateCode": record.code, "TemplateName": record.name,
                "Language": record.language,
                "Category": category(record).as_str().to_ascii_uppercase(),
                "AuditStatus": audit_status(record),
                "Reason": graph.and_then(|graph| graph.reason.as_ref()).map_or("", |it| it.as_str()),
                "TemplateType": "WHATSAPP",
                "LastUpdateTime": graph.map_or(0, |graph| graph.updated.0),
            })
        };
        let page = found.iter().skip(self.index.saturating_mul(self.size)).take(self.size);
        let page: Vec<Value> = page.map(|record| shown(record)).collect();
        Ok(Answer::from_iter([
            ("Success".to_owned(), true.into()),
            ("Total".to_owned(), found.len().into()),
            ("ListTemplate".to_owned(), page.into()),
        ]))
    }
}

impl List {
    fn wants(&self, record: &TemplateRecord, category: Category) -> bool {
        let Self { index: _, size: _, audit_status: status, category: only, name, code, language } =
            self;
        !is_deleted(record)
            && status.as_deref().is_none_or(|status| status == audit_status(record))
            && only.is_none_or(|only| only == category)
            && name.as_deref().is_none_or(|name| record.name.as_str().contains(name))
            && code.as_deref().is_none_or(|code| record.code.as_str() == code)
            && language.as_deref().is_none_or(|language| record.language.as_str() == language)
    }
}

/// Only templates of WhatsApp are there.
pub(super) fn check_template_type(context: &Context<'_>) -> Result<(), Refusal> {
    match text(context.params, "TemplateType") {
        None => Ok(()),
        Some(kind) if kind.eq_ignore_ascii_case("whatsapp") => Ok(()),
        Some(_) => Err(Code::TemplateTypeNotSupport.into()),
    }
}

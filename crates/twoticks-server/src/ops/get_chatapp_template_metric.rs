//! `GetChatappTemplateMetric`: what a marketing template did: sent, delivered, read, clicked.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twoticks_core::channel::{Channel, Side};
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::{Template, Text};
use twoticks_core::query::{Query, Select, Subject};
use twoticks_core::totals::Totals;
use twoticks_core::window::Window;
use twoticks_wire::code::Refusal;

use super::arguments::{required as required_text, text};
use super::range::{self, Range, filled};
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, optional, required};
use crate::api_error::ApiError;

/// How the documentation of the original spells `quick_reply_button` (`cams.quick_reply_typo`).
const QUICK_REPLY_TYPO: &str = "quick_relpy_button";

pub(super) struct Get {
    range: Range,
    code: Text,
    language: Option<Text>,
}

impl Operation for Get {
    const NAME: &'static str = "GetChatappTemplateMetric";
    const SUMMARY: &'static str = "Says how many messages with a marketing template were sent, \
         delivered and read, and how often each of its buttons was clicked.";
    const PARAMETERS: &'static [Parameter] = &[
        required(
            "TemplateCode",
            "string",
            "The template. One that is unknown or not of marketing has no rows.",
        ),
        range::START,
        range::END,
        range::GRANULARITY,
        optional("Language", "string", "The language, such as `en`. Without it, a row for each."),
        optional("TemplateType", "string", "`WHATSAPP`, which is the default and all there is."),
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("Data[].TemplateCode", "string", "The template."),
        field("Data[].Language", "string", "Its language."),
        range::ROW_START,
        range::ROW_END,
        field("Data[].SentCount", "integer", "Messages sent, told or implied."),
        field("Data[].DeliveredCount", "integer", "Messages delivered, told or implied."),
        field("Data[].ReadCount", "integer", "Messages read."),
        field(
            "Data[].Cliented[].Type",
            "string",
            "The kind of button: `quick_reply_button`, `url_button` or `phone_number_button`.",
        ),
        field("Data[].Cliented[].ButtonContent", "string", "The text on the button."),
        field("Data[].Cliented[].Count", "integer", "How often it was clicked, all clicks."),
    ];
    const QPS: u32 = 50;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let code = required_text(context.params, "TemplateCode")?;
        let range = Range::decode(context)?;
        let code = Text::new(code).map_err(|_| Refusal::invalid("TemplateCode"))?;
        let language = text(context.params, "Language")
            .map(Text::new)
            .transpose()
            .map_err(|_| Refusal::invalid("Language"))?;
        match text(context.params, "TemplateType") {
            None | Some("WHATSAPP") => Ok(Self { range, code, language }),
            Some(_) => Err(Refusal::invalid("TemplateType").into()),
        }
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let rows = self.rows(context).await?;
        let typo = context.app.settings.cams.quick_reply_typo;
        let row = |((window, template), totals): (&(Window, Template), &Totals)| {
            json!({
                "TemplateCode": template.code.as_str(),
                "Language": template.language.as_str(),
                "Start": window.start().0,
                "End": window.end().0,
                "SentCount": totals.sent,
                "DeliveredCount": totals.delivered,
                "ReadCount": totals.read,
                "Cliented": cliented(totals, typo),
            })
        };
        let data: Vec<Value> = rows.iter().map(row).collect();
        Ok(Answer::from_iter([("Data".to_owned(), Value::Array(data))]))
    }
}

impl Get {
    /// The rows in their order: by start, then language.
    async fn rows(
        &self,
        context: &Context<'_>,
    ) -> Result<BTreeMap<(Window, Template), Totals>, ApiError> {
        let (app, channel) = (context.app, context.channel());
        let mut rows = BTreeMap::new();
        let history = app.ledger.channel(channel).await?;
        let Some(opt_in) = history.opted_in() else { return Ok(rows) };
        let cams = &app.settings.cams;
        let windows = self.range.visible(cams, opt_in, context.now);
        if cams.fill_empty {
            let templates = self.templates(context, &history);
            for window in filled(&windows, opt_in, context.now) {
                let empty = |template: &Template| ((window, template.clone()), Totals::default());
                rows.extend(templates.iter().map(empty));
            }
        }
        let query = Query {
            channel: channel.clone(),
            select: Select::Templates {
                code: Some(self.code.clone()),
                language: self.language.clone(),
                category: Some(Category::Marketing),
            },
            side: Some(Side::After),
            windows,
        };
        for point in app.ledger.series(query).await? {
            if let Subject::Template(template) = point.subject {
                rows.insert((point.window, template), point.totals);
            }
        }
        rows.retain(|_, totals| cams.fill_empty || has_figures(totals));
        Ok(rows)
    }

    /// The marketing templates of the channel that are asked for, as they are now.
    fn templates(&self, context: &Context<'_>, history: &Channel) -> Vec<Template> {
        let asked = |template: &Template| {
            self.language.as_ref().is_none_or(|language| *language == template.language)
        };
        let directory = context.app.directory.snapshot();
        let marketing =
            directory.template_languages(context.channel(), &self.code).iter().filter(|template| {
                let category = history.category(&template.identity(), context.now);
                category.unwrap_or(template.category) == Category::Marketing
            });
        marketing.map(|template| template.identity()).filter(asked).collect()
    }
}

/// Whether a row would show anything: accepted, failed and late are not in it.
fn has_figures(totals: &Totals) -> bool {
    let is_clicked = totals.clicks.keys().any(|button| button.kind.is_clicked());
    totals.sent != 0 || totals.delivered != 0 || totals.read != 0 || is_clicked
}

/// All clicks by button, a button being its kind and its text.
fn cliented(totals: &Totals, typo: bool) -> Vec<Value> {
    let clicked = totals.clicks.iter().filter(|(button, clicks)| {
        // Replies to interactive messages are no template buttons (counting rule 5), and a machine
        // is nobody who clicks.
        button.kind.is_clicked() && clicks.all != 0
    });
    clicked
        .map(|(button, clicks)| {
            let kind = match button.kind {
                ButtonKind::QuickReply if typo => QUICK_REPLY_TYPO,
                kind => kind.as_str(),
            };
            json!({"Type": kind, "ButtonContent": button.text.as_str(), "Count": clicks.all})
        })
        .collect()
}

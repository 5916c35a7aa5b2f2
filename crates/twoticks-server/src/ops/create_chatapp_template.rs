//! `CreateChatappTemplate`: a template is handed in for review.

use twoticks_core::event::Category;
use twoticks_core::ids::Text;
use twoticks_store::directory::Change;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::graph::template::check_name;

use super::arguments::required;
use super::list_chatapp_template::check_template_type;
use super::required as needed;
use super::template::{self, Wanted};
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, optional};
use crate::api_error::ApiError;
use crate::graph::sync;

pub(super) struct Create {
    name: Text,
    language: Text,
    category: Category,
    wanted: Wanted,
    allows_other_category: bool,
}

impl Operation for Create {
    const NAME: &'static str = "CreateChatappTemplate";
    const SUMMARY: &'static str = "Hands a template in for WhatsApp's review.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("Name", "string", "Lower-case letters, digits and underscores."),
        needed("Language", "string", "The language, as WhatsApp spells it."),
        needed("Category", "string", template::CATEGORY),
        needed("TemplateType", "string", "`WHATSAPP`."),
        needed("Components", "array", template::COMPONENTS),
        template::EXAMPLE,
        optional("AllowCategoryChange", "string", "Whether WhatsApp may choose another category."),
        optional("CategoryChangePaused", "string", "Ignored: the Graph API has no word for it."),
        template::TTL,
        optional("ProductSetId", "string", "Ignored: the Graph API has no word for it."),
        template::CUST_WABA_ID,
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("Data.TemplateCode", "string", "The code of the template."),
        field("Data.TemplateName", "string", "Its name."),
    ];
    const QPS: u32 = 50;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let params = context.params;
        let name = required(params, "Name")?;
        check_name(name).map_err(|unfit| Refusal::invalid("Name").saying(unfit.to_string()))?;
        let language = required(params, "Language")?;
        let category = required(params, "Category")?;
        let category = Category::parse(category).ok_or_else(|| Refusal::invalid("Category"))?;
        required(params, "TemplateType")?;
        check_template_type(context)?;
        let snapshot = context.app.directory.snapshot();
        let (name, language) = (text(name, "Name")?, text(language, "Language")?);
        let known = snapshot.template_by_name(context.channel(), &name, &language);
        if known.is_some_and(|known| !super::list_chatapp_template::is_deleted(known)) {
            return Err(Code::TemplateNameExist.into());
        }
        let allows = params.get("AllowCategoryChange").is_some_and(|it| it == "true");
        Ok(Self {
            wanted: Wanted::decode(context.app, params, category)?,
            name,
            language,
            category,
            allows_other_category: allows,
        })
    }

    async fn call(mut self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let app = context.app;
        let connected = template::connected(context)?;
        // Where nothing is meant in earnest, no phone opens a link.
        let links = match &connected {
            Some(_) => self.wanted.wrap(context, None)?,
            None => Vec::new(),
        };
        let (id, status, category) = match connected {
            Some(connected) => {
                let mut body = self.wanted.body(app, &connected).await?;
                body.insert("name".to_owned(), self.name.as_str().into());
                body.insert("language".to_owned(), self.language.as_str().into());
                let category = self.category.as_str().to_ascii_uppercase();
                body.insert("category".to_owned(), category.into());
                let format = if self.wanted.named { "NAMED" } else { "POSITIONAL" };
                body.insert("parameter_format".to_owned(), format.into());
                if self.allows_other_category {
                    body.insert("allow_category_change".to_owned(), true.into());
                }
                let path = format!("{}/message_templates", connected.waba_id);
                let body = body.into();
                let made = connected.graph.post(&connected.token, &path, &[], Some(&body));
                let made = made.await.map_err(|why| template::refused(Code::CreateError, why))?;
                let word = |name: &str| made.get(name).and_then(serde_json::Value::as_str);
                let id = made.get("id").and_then(crate::graph::check::text_or_number);
                let id = id.ok_or_else(|| {
                    ApiError::caused(Code::InternalError, "the Graph API gave no id")
                })?;
                let category = word("category").and_then(Category::parse);
                let status = word("status").unwrap_or("PENDING").to_owned();
                (Text::lossy(&id), status, category.unwrap_or(self.category))
            }
            None => {
                let id = uuid::Uuid::new_v4().as_u128() % 10_u128.pow(15);
                (Text::lossy(&id.to_string()), "APPROVED".to_owned(), self.category)
            }
        };
        let snapshot = app.directory.snapshot();
        let sibling = snapshot.templates_of(context.channel()).find(|it| it.name == self.name);
        let record = TemplateRecord {
            channel: context.channel().clone(),
            code: sibling.map_or_else(|| id.clone(), |it| it.code.clone()),
            language: self.language.clone(),
            name: self.name.clone(),
            meta_id: Some(id),
            category,
            buttons: self.wanted.buttons(),
            graph: Some(self.wanted.stands(&status, context.now)),
            links,
        };
        let read = sync::Read {
            categories: vec![(record.identity(), category)],
            changes: vec![Change::PutTemplate(record.clone())],
            ..sync::Read::default()
        };
        template::take_over(context, read).await?;
        Ok(template::answer(&record))
    }
}

fn text(text: &str, name: &str) -> Result<Text, Refusal> {
    Text::new(text).map_err(|_| Refusal::invalid(name))
}

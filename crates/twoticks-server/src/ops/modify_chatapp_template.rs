//! `ModifyChatappTemplate`: a template says something else from now on, and is reviewed again.

use std::sync::Arc;

use twoticks_store::directory::Change;
use twoticks_store::directory::model::{GraphTemplate, TemplateRecord};
use twoticks_wire::code::Code;

use super::arguments::required;
use super::list_chatapp_template::check_template_type;
use super::required as needed;
use super::template::{self, Wanted};
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, optional};
use crate::api_error::ApiError;
use crate::graph::sync;

pub(super) struct Modify {
    known: Arc<TemplateRecord>,
    wanted: Wanted,
}

impl Operation for Modify {
    const NAME: &'static str = "ModifyChatappTemplate";
    const SUMMARY: &'static str = "Changes what a template says, which is reviewed again.";
    const PARAMETERS: &'static [Parameter] = &[
        template::CODE,
        template::NAME,
        needed("Language", "string", "The language of the template."),
        needed("Components", "array", template::COMPONENTS),
        template::EXAMPLE,
        optional("Category", "string", "Cannot be changed; ignored."),
        optional("CategoryChangePaused", "string", "Ignored: the Graph API has no word for it."),
        template::TTL,
        optional("ProductSetId", "string", "Ignored: the Graph API has no word for it."),
        template::TEMPLATE_TYPE,
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
        required(context.params, "Language")?;
        check_template_type(context)?;
        let known = template::meant(context)?.into_iter().next();
        let known = known.ok_or(Code::DetailErrorTemplateNotExist)?;
        let wanted = Wanted::decode(context.app, context.params, known.category)?;
        Ok(Self { known, wanted })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let Self { known, mut wanted } = self;
        let connected = template::connected(context)?;
        let links = match &connected {
            Some(_) => wanted.wrap(context, Some(&known))?,
            None => known.links.clone(),
        };
        let status = match (connected, &known.meta_id) {
            (Some(connected), Some(id)) => {
                let body = wanted.body(context.app, &connected).await?.into();
                let asked = connected.graph.post(&connected.token, id.as_str(), &[], Some(&body));
                asked.await.map_err(|why| template::refused(Code::CreateError, why))?;
                "PENDING"
            }
            (Some(_), None) => return Err(Code::DetailErrorTemplateNotExist.into()),
            (None, _) => "APPROVED",
        };
        let record = TemplateRecord {
            buttons: wanted.buttons(),
            links,
            graph: Some(GraphTemplate {
                // WhatsApp says nothing else of it.
                quality: known.graph.as_ref().and_then(|graph| graph.quality.clone()),
                ..wanted.stands(status, context.now)
            }),
            ..TemplateRecord::clone(&known)
        };
        let read = sync::Read {
            changes: vec![Change::PutTemplate(record.clone())],
            ..sync::Read::default()
        };
        template::take_over(context, read).await?;
        Ok(template::answer(&record))
    }
}

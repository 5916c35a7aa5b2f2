//! `DeleteChatappTemplate`: a template is taken away, in one language or in all.

use std::sync::Arc;

use twoticks_store::directory::Change;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::Code;

use super::arguments::text;
use super::list_chatapp_template::check_template_type;
use super::template;
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter, optional};
use crate::api_error::ApiError;
use crate::graph::sync;

pub(super) struct Delete {
    meant: Vec<Arc<TemplateRecord>>,
    is_one_language: bool,
}

impl Operation for Delete {
    const NAME: &'static str = "DeleteChatappTemplate";
    const SUMMARY: &'static str = "Takes a template away; what it counted stays.";
    const PARAMETERS: &'static [Parameter] = &[
        template::CODE,
        template::NAME,
        optional("Language", "string", "Only in this language; else in all."),
        template::TEMPLATE_TYPE,
        template::CUST_WABA_ID,
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[];
    const QPS: u32 = 5;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        check_template_type(context)?;
        let meant = template::meant(context)?;
        if meant.is_empty() {
            return Err(Code::DelErrorTemplateNotExist.into());
        }
        Ok(Self { meant, is_one_language: text(context.params, "Language").is_some() })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let mut read = sync::Read::default();
        if let Some(connected) = template::connected(context)? {
            if self.is_one_language && self.meant.iter().any(|record| record.meta_id.is_none()) {
                // WhatsApp is not known to have it, and would take the name for all languages.
                return Err(Code::DelErrorTemplateNotExist.into());
            }
            let path = format!("{}/message_templates", connected.waba_id);
            // By its name alone it goes in all languages.
            let mut names: Vec<_> = self.meant.iter().map(|record| &record.name).collect();
            names.dedup();
            for name in names {
                let of_name = self.meant.iter().filter(|record| record.name == *name);
                let ids = of_name.filter_map(|record| record.meta_id.as_ref());
                let queries: Vec<Vec<(&str, &str)>> = if self.is_one_language {
                    let one = |id| vec![("name", name.as_str()), ("hsm_id", id)];
                    ids.map(|id| one(id.as_str())).collect()
                } else {
                    vec![vec![("name", name.as_str())]]
                };
                for query in queries {
                    let gone = connected.graph.delete(&connected.token, &path, &query).await;
                    gone.map_err(|why| template::refused(Code::DelErrorTemplateNotExist, why))?;
                }
            }
        }
        for record in &self.meant {
            read.changes.push(match sync::deleted(record, context.now) {
                Some(gone) => Change::PutTemplate(gone),
                None => Change::RemoveTemplate(
                    record.channel.clone(),
                    record.code.clone(),
                    record.language.clone(),
                ),
            });
        }
        template::take_over(context, read).await?;
        Ok(Answer::from_iter([("Success".to_owned(), true.into())]))
    }
}

//! A message as the Graph API is asked to send it, from what the CAMS door was given.
//!
//! The body of `POST /{phone-number-id}/messages` (and `/marketing_messages`); whatsapp.md section
//! 4 and cams-wire.md 6.4. What always holds: what the caller gave is handed on or refused by its
//! name, never dropped in silence; our sign is in `biz_opaque_callback_data`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::template::{Button, ButtonKind, Definition, Header, button_variable};

/// Why a message cannot be made; names the parameter and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{parameter}` {why}")]
pub struct Unfit {
    /// The parameter, by its name at the CAMS door.
    pub parameter: String,
    /// What is wrong with it.
    pub why: String,
}

fn unfit(parameter: &str, why: impl Into<String>) -> Unfit {
    Unfit { parameter: parameter.to_owned(), why: why.into() }
}

/// The template of a message.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Its name at Meta.
    pub name: &'a str,
    /// Its language, as Meta spells it.
    pub language: &'a str,
    /// What it says; without it every parameter is taken for one of its body.
    pub definition: Option<&'a Definition>,
    /// Whether the variables of its header and body have names instead of numbers.
    pub named: bool,
    /// What callers call the variables of links and codes, by our names for them.
    pub button_names: &'a BTreeMap<&'a str, &'a str>,
    /// The places of its quick replies among its buttons, for a template whose definition is not
    /// known.
    pub quick_replies: &'a [usize],
    /// Those of its links that lead over us; none on the cards of a carousel.
    pub links: &'a [Link<'a>],
}

/// A link of a template that leads over us: its variable takes what we make of it.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    /// The place of its button.
    pub button: usize,
    /// Whether a message brings what follows the target.
    pub takes_suffix: bool,
    /// What the variable takes, for what follows the target; empty if nothing does.
    pub value: &'a dyn Fn(&str) -> Result<String, String>,
}

impl std::fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("button", &self.button).finish_non_exhaustive()
    }
}

/// A message to be made, in the words of the CAMS door.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// A phone number, a BSUID or a group.
    pub to: &'a str,
    /// The template; none for a free-form message.
    pub template: Option<Template<'a>>,
    /// What goes into `biz_opaque_callback_data`.
    pub sign: Option<&'a str>,
    /// `RecipientType`, `TemplateParams`, `Payload`, `ProductAction`, `FlowAction`.
    pub parameters: &'a Map<String, Value>,
    /// `MessageType`, `Content`, `ContextMessageId`.
    pub call: &'a Map<String, Value>,
}

impl Message<'_> {
    /// The body of the request.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn body(&self) -> Result<Value, Unfit> {
        let text = |name: &str| self.call.get(name).and_then(Value::as_str);
        let context = text("ContextMessageId").filter(|id| !id.is_empty());
        let mut body = Map::new();
        body.insert("messaging_product".to_owned(), "whatsapp".into());
        if self.template.is_none() && text("MessageType") == Some("typing_indicator") {
            let id = context.ok_or_else(|| unfit("ContextMessageId", "names what is answered"))?;
            body.insert("status".to_owned(), "read".into());
            body.insert("message_id".to_owned(), id.into());
            body.insert("typing_indicator".to_owned(), json!({"type": "text"}));
            return Ok(body.into());
        }
        let kind = self.parameters.get("RecipientType").and_then(Value::as_str).unwrap_or_default();
        // A BSUID in `to` is taken with a 200 and dropped (whatsapp.md 2.6).
        let is_bsuid = kind == "userId" || (kind.is_empty() && self.to.contains('.'));
        let recipient_type = if kind == "group" { "group" } else { "individual" };
        body.insert("recipient_type".to_owned(), recipient_type.into());
        body.insert(if is_bsuid { "recipient" } else { "to" }.to_owned(), self.to.into());
        if let Some(id) = context {
            body.insert("context".to_owned(), json!({"message_id": id}));
        }
        if let Some(sign) = self.sign {
            body.insert("biz_opaque_callback_data".to_owned(), sign.into());
        }
        let (kind, content) = match &self.template {
            Some(template) => ("template", self.template(template)?),
            None => self.free_form(text("MessageType").unwrap_or_default())?,
        };
        body.insert("type".to_owned(), kind.into());
        body.insert(kind.to_owned(), content);
        Ok(body.into())
    }

    fn template(&self, template: &Template<'_>) -> Result<Value, Unfit> {
        let mut components = match template.definition {
            Some(definition) => Filling { message: self, definition, template }.components()?,
            None => self.body_of_all()?,
        };
        if template.definition.is_none() {
            let payloads = self.payloads();
            let places = template.quick_replies.iter().zip(payloads);
            components.extend(places.map(|(index, payload)| quick_reply(*index, payload)));
        }
        let mut made = json!({
            "name": template.name,
            "language": {"code": template.language, "policy": "deterministic"},
        });
        if !components.is_empty()
            && let Some(fields) = made.as_object_mut()
        {
            fields.insert("components".to_owned(), components.into());
        }
        Ok(made)
    }

    fn params(&self) -> Vec<(&str, String)> {
        let given = self.parameters.get("TemplateParams").and_then(Value::as_object);
        let given = given.into_iter().flatten();
        given.map(|(name, value)| (name.as_str(), plain(value))).collect()
    }

    fn payloads(&self) -> impl Iterator<Item = &str> {
        let given = self.parameters.get("Payload").and_then(Value::as_array);
        given.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Everything is of the body: numbers in their order, or names.
    fn body_of_all(&self) -> Result<Vec<Value>, Unfit> {
        let mut params = self.params();
        let number = |name: &str| name.parse::<u32>().ok();
        let numbers = params.iter().filter(|(name, _)| number(name).is_some()).count();
        if numbers != 0 && numbers != params.len() {
            let why = "has numbers and names; a template has either";
            return Err(unfit("TemplateParams", why));
        }
        params.sort_by_key(|(name, _)| number(name));
        let values = params.into_iter().map(|(name, text)| match number(name) {
            Some(_) => json!({"type": "text", "text": text}),
            None => json!({"type": "text", "parameter_name": name, "text": text}),
        });
        let values: Vec<Value> = values.collect();
        let body = || json!({"type": "body", "parameters": values});
        Ok(if values.is_empty() { Vec::new() } else { vec![body()] })
    }

    fn free_form(&self, kind: &str) -> Result<(&'static str, Value), Unfit> {
        let empty = Map::new();
        let content = self.call.get("Content").and_then(Value::as_object).unwrap_or(&empty);
        let kind = FREE_FORM.iter().find(|known| **known == kind);
        let kind = *kind.ok_or_else(|| unfit("MessageType", "is not one that Meta takes"))?;
        let made = match kind {
            "text" => {
                let preview = content.get("previewUrl").or_else(|| content.get("preview_url"));
                let preview = preview.is_some_and(|it| it == true || it == "true");
                json!({"body": content.get("text"), "preview_url": preview})
            }
            "reaction" => {
                let id = renamed(content, "messageId", "message_id");
                json!({"message_id": id, "emoji": content.get("emoji")})
            }
            "contacts" => content.get("contacts").cloned().unwrap_or_else(|| json!([content])),
            "document" => {
                let mut made = content.clone();
                if let Some(name) = made.remove("fileName") {
                    made.insert("filename".to_owned(), name);
                }
                made.into()
            }
            _ => Value::from(content.clone()),
        };
        // WhatsApp has carousels among what is interactive.
        let (kind, made) = match (kind, made) {
            ("carousel", Value::Object(mut fields)) => {
                fields.entry("type").or_insert_with(|| "carousel".into());
                ("interactive", fields.into())
            }
            other => other,
        };
        Ok((kind, made))
    }
}

/// The free-form types that have a body of their own.
const FREE_FORM: &[&str] = &[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "interactive",
    "location",
    "contacts",
    "reaction",
    "pin",
    "carousel",
];

fn renamed<'a>(content: &'a Map<String, Value>, one: &str, other: &str) -> Option<&'a Value> {
    content.get(one).or_else(|| content.get(other))
}

/// A value as the text that it stands for.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn quick_reply(index: usize, payload: &str) -> Value {
    json!({
        "type": "button", "sub_type": "quick_reply", "index": index.to_string(),
        "parameters": [{"type": "payload", "payload": payload}],
    })
}

/// Where a caller says what goes into the header's media, by the names that are looked at.
const MEDIA: [&str; 4] = ["HeaderUrl", "headerUrl", "Url", "url"];
/// Where a caller says the code of a copy-code or one-time-password button.
const CODE: [&str; 4] = ["CouponCode", "couponCode", "code", "1"];

/// A template's definition, filled in with what the caller gave.
struct Filling<'a> {
    message: &'a Message<'a>,
    definition: &'a Definition,
    template: &'a Template<'a>,
}

/// Which part of a template is filled in: itself, or a card of its carousel.
#[derive(Clone, Copy)]
struct Part<'a> {
    card: Option<usize>,
    header: Option<&'a Header>,
    body: &'a [String],
    buttons: &'a [Button],
}

impl Filling<'_> {
    fn components(&self) -> Result<Vec<Value>, Unfit> {
        let Definition { header, body, buttons, cards, .. } = self.definition;
        let mut payloads = self.message.payloads();
        let whole = Part { card: None, header: header.as_ref(), body, buttons };
        let mut components = self.part(whole, &mut payloads)?;
        let mut filled = Vec::new();
        for (index, card) in cards.iter().enumerate() {
            let part = Part {
                card: Some(index),
                header: card.header.as_ref(),
                body: &card.body,
                buttons: &card.buttons,
            };
            let components = self.part(part, &mut payloads)?;
            filled.push(json!({"card_index": index, "components": components}));
        }
        if !filled.is_empty() {
            components.push(json!({"type": "carousel", "cards": filled}));
        }
        Ok(components)
    }

    fn part<'b>(
        &self,
        part: Part<'_>,
        payloads: &mut impl Iterator<Item = &'b str>,
    ) -> Result<Vec<Value>, Unfit> {
        let mut components = Vec::new();
        if let Some(header) = part.header {
            components.extend(self.header(header, part.card)?);
        }
        let mut names: Vec<&str> = part.body.iter().map(String::as_str).collect();
        // Values of numbers are told in the order of the numbers, wherever those stand.
        if !self.template.named {
            names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
        }
        let values: Result<Vec<Value>, Unfit> = names
            .into_iter()
            .map(|name| Ok(self.text(name, &self.param(name, part.card)?)))
            .collect();
        let mut values = values?;
        // The text of an authentication template is WhatsApp's, and takes the code.
        let has_code = part.buttons.iter().any(|button| button.kind == ButtonKind::Otp);
        if has_code && values.is_empty() {
            let lacks = || unfit("TemplateParams", "lacks `code`, which the template has");
            values.push(json!({"type": "text", "text": self.given_as(&CODE).ok_or_else(lacks)?}));
        }
        if !values.is_empty() {
            components.push(json!({"type": "body", "parameters": values}));
        }
        for button in part.buttons {
            components.extend(self.button(button, part, payloads)?);
        }
        Ok(components)
    }

    fn given(&self, name: &str) -> Option<String> {
        let params = self.message.parameters.get("TemplateParams")?;
        params.get(name).map(plain)
    }

    fn given_as(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.given(name))
    }

    /// The value of a variable; on a card its name has that in front.
    fn param(&self, name: &str, card: Option<usize>) -> Result<String, Unfit> {
        let name = card.map_or_else(|| name.to_owned(), |card| format!("card_{card}_{name}"));
        let lacks = || format!("lacks `{name}`, which the template has");
        self.given(&name).ok_or_else(|| unfit("TemplateParams", lacks()))
    }

    /// A text for a variable, which is named where the template's variables have names.
    fn text(&self, name: &str, text: &str) -> Value {
        match self.template.named {
            true => json!({"type": "text", "parameter_name": name, "text": text}),
            false => json!({"type": "text", "text": text}),
        }
    }

    fn header(&self, header: &Header, card: Option<usize>) -> Result<Option<Value>, Unfit> {
        let media = |kind: &str| {
            let own = card.map(|card| format!("card_{card}_HeaderUrl"));
            let link = match &own {
                Some(own) => self.given(own),
                None => self.given_as(&MEDIA),
            };
            let name = own.as_deref().unwrap_or("HeaderUrl");
            let lacks = format!("lacks `{name}`, the address of the header's media");
            let link = link.ok_or_else(|| unfit("TemplateParams", lacks))?;
            let mut parameter = Map::new();
            parameter.insert("type".to_owned(), kind.into());
            parameter.insert(kind.to_owned(), json!({ "link": link }));
            Ok(json!([parameter]))
        };
        let parameters = match header {
            Header::Text(names) => match names.first() {
                None => return Ok(None),
                // Numbers begin anew in each component: `header_1` is the header's, else `1` is
                // both.
                Some(name) => {
                    let own = self.given(&format!("header_{name}"));
                    json!([self.text(name, &own.map_or_else(|| self.param(name, card), Ok)?)])
                }
            },
            Header::Image => media("image")?,
            Header::Video => media("video")?,
            Header::Document => media("document")?,
            Header::Location => {
                let value = |name: &str| self.param(name, card);
                json!([{"type": "location", "location": {
                    "latitude": value("latitude")?, "longitude": value("longitude")?,
                    "name": self.given("name"), "address": self.given("address"),
                }}])
            }
            // What it takes is not known: it may take nothing.
            Header::Other(_) => return Ok(None),
        };
        Ok(Some(json!({"type": "header", "parameters": parameters})))
    }

    fn button<'b>(
        &self,
        button: &Button,
        part: Part<'_>,
        payloads: &mut impl Iterator<Item = &'b str>,
    ) -> Result<Option<Value>, Unfit> {
        let index = button.index;
        let ours = button_variable(part.card, index);
        let theirs = self.template.button_names.get(ours.as_str());
        let own = || self.given(&ours).or_else(|| self.given(theirs?));
        let component = |sub_type: &str, parameter: Value| {
            json!({
                "type": "button", "sub_type": sub_type, "index": index.to_string(),
                "parameters": [parameter],
            })
        };
        let lacks = |name: &str| {
            unfit("TemplateParams", format!("lacks `{name}`, which button {index} of it takes"))
        };
        let code = || own().or_else(|| self.given_as(&CODE)).ok_or_else(|| lacks("code"));
        Ok(match &button.kind {
            ButtonKind::QuickReply => payloads.next().map(|payload| quick_reply(index, payload)),
            ButtonKind::Url if button.variable.is_none() => None,
            ButtonKind::Url => {
                let name = theirs.unwrap_or(&ours.as_str()).to_owned();
                let link = self.template.links.iter().find(|it| it.button == index);
                let link = link.filter(|_| part.card.is_none());
                let value = match link.filter(|link| !link.takes_suffix) {
                    Some(_) => String::new(),
                    None => own().ok_or_else(|| lacks(name))?,
                };
                let value = match link {
                    Some(link) => {
                        let of = format!("{ours} of TemplateParams");
                        (link.value)(&value).map_err(|why| unfit(&of, why))?
                    }
                    None => value,
                };
                Some(component("url", json!({"type": "text", "text": value})))
            }
            ButtonKind::CopyCode => {
                let parameter = json!({"type": "coupon_code", "coupon_code": code()?});
                Some(component("copy_code", parameter))
            }
            ButtonKind::Otp => Some(component("url", json!({"type": "text", "text": code()?}))),
            ButtonKind::Flow => Some(component("flow", self.flow())),
            ButtonKind::Other(kind) if kind == "CATALOG" => self.thumbnail().map(|thumbnail| {
                let action = json!({"thumbnail_product_retailer_id": thumbnail});
                component("catalog", json!({"type": "action", "action": action}))
            }),
            ButtonKind::Other(kind) if kind == "MPM" => Some(component("mpm", self.products()?)),
            ButtonKind::PhoneNumber | ButtonKind::Other(_) => None,
        })
    }

    fn flow(&self) -> Value {
        let given = self.message.parameters.get("FlowAction");
        let token = given.and_then(|it| it.get("FlowToken")).cloned();
        let mut action = json!({"flow_token": token.unwrap_or_else(|| "unused".into())});
        if let Some(data) = given.and_then(|it| it.get("FlowActionData"))
            && let Some(fields) = action.as_object_mut()
        {
            fields.insert("flow_action_data".to_owned(), data.clone());
        }
        json!({"type": "action", "action": action})
    }

    fn thumbnail(&self) -> Option<&Value> {
        self.message.parameters.get("ProductAction")?.get("ThumbnailProductRetailerId")
    }

    fn products(&self) -> Result<Value, Unfit> {
        let action = self.message.parameters.get("ProductAction");
        let sections = action.and_then(|it| it.get("Sections")).and_then(Value::as_array);
        let sections = sections.ok_or_else(|| unfit("ProductAction", "lacks `Sections`"))?;
        let of = |section: &Value| {
            let items = section.get("ProductItems").and_then(Value::as_array);
            let ids = items.into_iter().flatten().filter_map(|it| it.get("ProductRetailerId"));
            let items: Vec<Value> = ids.map(|id| json!({"product_retailer_id": id})).collect();
            json!({"title": section.get("Title"), "product_items": items})
        };
        let sections: Vec<Value> = sections.iter().map(of).collect();
        Ok(json!({"type": "action", "action": {
            "thumbnail_product_retailer_id": self.thumbnail(), "sections": sections,
        }}))
    }
}

/// The id of the message that an answer says was taken.
#[must_use]
pub fn wamid(answer: &Value) -> Option<&str> {
    let id = answer.pointer("/messages/0/id").and_then(Value::as_str);
    id.filter(|id| !id.is_empty())
}

/// Whether an answer says that something was done that is no message, such as showing that
/// somebody is typing.
#[must_use]
pub fn is_done(answer: &Value) -> bool {
    answer.get("success").is_some_and(|success| *success == true)
}

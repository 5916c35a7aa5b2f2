//! Messages as the Graph API is asked to send them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::message::{Message, Template};
use super::template::Definition;

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// The body of a message to a number, or what is wrong with it.
fn made(definition: Option<&Value>, named: bool, parameters: &Value, call: &Value) -> String {
    let definition =
        definition.map(|components| Definition::parse(&components.to_string()).unwrap());
    let is_template = call.get("MessageType").is_none();
    let template = Template {
        name: "promo",
        language: "en",
        definition: definition.as_ref(),
        named,
        button_names: &BTreeMap::from([("button_9", "path")]),
        quick_replies: &[0],
        links: &[],
    };
    let to = parameters.get("To").and_then(Value::as_str).unwrap_or("15550001");
    let message = Message {
        to,
        template: is_template.then_some(template),
        sign: None,
        parameters: &map(parameters),
        call: &map(call),
    };
    match message.body() {
        Ok(body) => {
            let kind = body["type"].as_str().unwrap_or_default().to_owned();
            match is_template {
                true => body["template"]["components"].to_string(),
                false => format!("{kind} {}", body.get(&kind).unwrap_or(&body)),
            }
        }
        Err(unfit) => unfit.to_string(),
    }
}

fn same(found: &str, expected: &Value) {
    assert_eq!(serde_json::from_str::<Value>(found).unwrap_or_else(|_| found.into()), *expected);
}

#[test]
fn a_template_is_filled_in_by_its_definition() {
    let components = json!([
        {"type": "HEADER", "format": "IMAGE"},
        {"type": "BODY", "text": "{{2}} {{1}}"},
        {"type": "BUTTONS", "buttons": [
            {"type": "URL", "text": "Shop", "url": "https://shop.example/{{1}}"},
            {"type": "QUICK_REPLY", "text": "Yes"},
            {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+1"},
            {"type": "COPY_CODE", "text": "Copy"},
            {"type": "FLOW", "text": "Book"},
        ]},
    ]);
    let given = json!({
        "TemplateParams": {"1": "Ada", "2": 5, "HeaderUrl": "https://x.example/a.png",
            "button_0": "a?b", "code": "SUMMER"},
        "Payload": ["p0"], "FlowAction": {"FlowToken": "t", "FlowActionData": {"a": 1}},
    });
    let button = |sub_type: &str, index: &str, parameter: Value| json!({"type": "button", "sub_type": sub_type, "index": index, "parameters": [parameter]});
    let flow = json!({"flow_token": "t", "flow_action_data": {"a": 1}});
    let expected = json!([
        {"type": "header", "parameters": [
            {"type": "image", "image": {"link": "https://x.example/a.png"}}]},
        {"type": "body", "parameters": [
            {"type": "text", "text": "Ada"}, {"type": "text", "text": "5"}]},
        button("url", "0", json!({"type": "text", "text": "a?b"})),
        button("quick_reply", "1", json!({"type": "payload", "payload": "p0"})),
        button("copy_code", "3", json!({"type": "coupon_code", "coupon_code": "SUMMER"})),
        button("flow", "4", json!({"type": "action", "action": flow})),
    ]);
    same(&made(Some(&components), false, &given, &json!({})), &expected);
}

#[test]
fn names_are_names_and_what_is_lacking_is_named() {
    let components = json!([
        {"type": "HEADER", "format": "TEXT", "text": "Hi {{first_name}}"},
        {"type": "BODY", "text": "{{first_name}}, {{day}}"},
        {"type": "BUTTONS", "buttons": [
            {"type": "URL", "text": "Shop", "url": "https://shop.example/{{1}}"}]},
    ]);
    let given = json!({"TemplateParams": {"first_name": "Ada", "day": "Friday", "button_0": "x"}});
    let text =
        |name: &str, text: &str| json!({"type": "text", "parameter_name": name, "text": text});
    let expected = json!([
        {"type": "header", "parameters": [text("first_name", "Ada")]},
        {"type": "body", "parameters": [text("first_name", "Ada"), text("day", "Friday")]},
        {"type": "button", "sub_type": "url", "index": "0",
         "parameters": [{"type": "text", "text": "x"}]},
    ]);
    same(&made(Some(&components), true, &given, &json!({})), &expected);
    for (params, lacks) in [
        (json!({"first_name": "Ada", "button_0": "x"}), "`TemplateParams` lacks `day`"),
        (json!({"first_name": "Ada", "day": "x"}), "`TemplateParams` lacks `button_0`"),
        (json!({}), "`TemplateParams` lacks `first_name`"),
    ] {
        let given = json!({ "TemplateParams": params });
        let found = made(Some(&components), true, &given, &json!({}));
        assert!(found.starts_with(lacks), "{found}");
    }
    // A number that the body has too is not the button's.
    let components = json!([
        {"type": "BODY", "text": "{{1}}"},
        {"type": "BUTTONS", "buttons": [
            {"type": "URL", "text": "Shop", "url": "https://shop.example/{{1}}"}]},
    ]);
    let given = json!({"TemplateParams": {"1": "Ada"}});
    let found = made(Some(&components), false, &given, &json!({}));
    assert!(found.starts_with("`TemplateParams` lacks `button_0`"), "{found}");
}

#[test]
fn cards_and_codes_are_filled_in() {
    let card = json!({"components": [
        {"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "{{1}}"},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Yes"}]},
    ]});
    let components = json!([{"type": "BODY", "text": "x"}, {"type": "CAROUSEL", "cards": [card]}]);
    let given = json!({
        "TemplateParams": {"card_0_HeaderUrl": "https://x.example/a.png", "card_0_1": "one"},
        "Payload": ["p"],
    });
    let filled = json!([{"card_index": 0, "components": [
        {"type": "header", "parameters": [
            {"type": "image", "image": {"link": "https://x.example/a.png"}}]},
        {"type": "body", "parameters": [{"type": "text", "text": "one"}]},
        {"type": "button", "sub_type": "quick_reply", "index": "0",
         "parameters": [{"type": "payload", "payload": "p"}]},
    ]}]);
    let expected = json!([{"type": "carousel", "cards": filled}]);
    same(&made(Some(&components), false, &given, &json!({})), &expected);

    let components = json!([
        {"type": "BODY", "add_security_recommendation": true},
        {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy"}]},
    ]);
    let text = json!([{"type": "text", "text": "123456"}]);
    let expected = json!([
        {"type": "body", "parameters": text},
        {"type": "button", "sub_type": "url", "index": "0", "parameters": text},
    ]);
    let given = json!({"TemplateParams": {"code": "123456"}});
    same(&made(Some(&components), false, &given, &json!({})), &expected);
    let lacking = made(Some(&components), false, &json!({}), &json!({}));
    assert!(lacking.starts_with("`TemplateParams` lacks `code`"), "{lacking}");
}

#[test]
fn without_a_definition_everything_is_of_the_body() {
    let given = json!({"TemplateParams": {"10": "j", "9": "i"}, "Payload": ["p"]});
    let expected = json!([
        {"type": "body", "parameters": [
            {"type": "text", "text": "i"}, {"type": "text", "text": "j"}]},
        {"type": "button", "sub_type": "quick_reply", "index": "0",
         "parameters": [{"type": "payload", "payload": "p"}]},
    ]);
    same(&made(None, false, &given, &json!({})), &expected);
    let given = json!({"TemplateParams": {"a": "x", "1": "y"}});
    assert!(made(None, false, &given, &json!({})).contains("numbers and names"));
    same(&made(None, false, &json!({}), &json!({})), &Value::Null);
}

#[test]
fn free_form_messages_are_what_whatsapp_takes() {
    for (call, expected) in [
        (
            json!({"MessageType": "text", "Content": {"text": "hi"}}),
            r#"text {"body":"hi","preview_url":false}"#,
        ),
        (
            json!({"MessageType": "document", "Content": {"link": "https://x.example/a.pdf",
                "fileName": "a.pdf", "caption": "c"}}),
            r#"document {"caption":"c","filename":"a.pdf","link":"https://x.example/a.pdf"}"#,
        ),
        (
            json!({"MessageType": "reaction", "Content": {"messageId": "wamid.1", "emoji": "x"}}),
            r#"reaction {"emoji":"x","message_id":"wamid.1"}"#,
        ),
        (
            json!({"MessageType": "carousel", "Content": {"body": {"text": "b"}}}),
            r#"interactive {"body":{"text":"b"},"type":"carousel"}"#,
        ),
        (json!({"MessageType": "smell"}), "`MessageType` is not one that Meta takes"),
        (json!({"MessageType": "typing_indicator"}), "`ContextMessageId` names what is answered"),
    ] {
        assert_eq!(made(None, false, &json!({}), &call), expected, "{call}");
    }
    let typing = json!({"MessageType": "typing_indicator", "ContextMessageId": "wamid.1"});
    let found = made(None, false, &json!({}), &typing);
    assert!(found.contains(r#""message_id":"wamid.1""#) && found.contains("typing"), "{found}");
}

#[test]
fn a_bsuid_is_a_recipient_and_a_group_says_so() {
    let message = |to: &str, kind: &str| {
        let parameters = json!({ "RecipientType": kind });
        let call = json!({"MessageType": "text", "Content": {"text": "hi"}});
        let (parameters, call) = (map(&parameters), map(&call));
        let message = Message {
            to,
            template: None,
            sign: Some("tt1:a:en"),
            parameters: &parameters,
            call: &call,
        };
        message.body().unwrap()
    };
    let body = message("US.13491208655302741918", "");
    assert_eq!(body["recipient"], "US.13491208655302741918");
    assert!(body.get("to").is_none());
    let body = message("group-1", "group");
    assert_eq!((&body["to"], &body["recipient_type"]), (&json!("group-1"), &json!("group")));
    assert_eq!(body["biz_opaque_callback_data"], "tt1:a:en");
}

//! What the Graph doors take, tell and refuse, and what comes of it.

mod access;
mod analytics;
mod faults;
mod messages;
mod templates;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twoticks_core::clock::{Clock as _, DAY, SECOND};
use twoticks_emulator::emulator::AnyKey;
use twoticks_emulator::post::{Answered, Asked, Lane, NoAnswer};
use twoticks_emulator::whatsapp::{Config, Standing};
use twoticks_server::settings::Settings;

use crate::harness::{CHANNELS, Emulated, PROMO, SHIPPED, channel, template};

const SHOP: &str = "300000000000";
const BANK: &str = "300000000001";

/// An emulated server, and somebody who calls its Graph doors.
struct Calling {
    emulated: Emulated,
    /// Access token by channel.
    tokens: BTreeMap<String, String>,
}

impl Calling {
    async fn start() -> Self {
        Self::of(Emulated::start(Config::default()).await).await
    }

    async fn of(mut emulated: Emulated) -> Self {
        let graph = emulated.get("graph").await;
        let tokens = graph["access_tokens"].as_array().unwrap().iter().map(|it| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            (text("channel"), text("access_token"))
        });
        let tokens = tokens.collect();
        Self { emulated, tokens }
    }

    fn token(&self, id: &str) -> String {
        self.tokens[id].clone()
    }

    /// Over a connection of its own, so that nothing is asked twice.
    async fn raw(&self, method: &str, target: &str, body: &Value) -> Result<Answered, NoAnswer> {
        let bearer = format!("Bearer {}", self.token("cams-shop"));
        self.with(method, target, body, &[("authorization", &bearer)]).await
    }

    async fn with(
        &self,
        method: &str,
        target: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Answered, NoAnswer> {
        let asked = Asked {
            method: method.parse().unwrap(),
            target: target.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: match body {
                Value::Null => Vec::new().into(),
                Value::String(form) => form.clone().into(),
                body => body.to_string().into(),
            },
        };
        Lane::new(self.emulated.lane.address()).ask(&asked).await
    }

    /// As the shop: the status and the answer.
    async fn ask(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let answered = self.raw(method, target, body).await.unwrap();
        assert!(answered.body.is_ascii(), "{target}");
        (answered.status.as_u16(), serde_json::from_slice(&answered.body).unwrap())
    }

    async fn get(&self, target: &str) -> Value {
        let (status, answer) = self.ask("GET", target, &Value::Null).await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    async fn post(&self, target: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", target, body).await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    /// What is refused: status, code, subcode, and what is said of it.
    async fn refused(&self, method: &str, target: &str, body: &Value) -> (u16, u64, u64, String) {
        let (status, answer) = self.ask(method, target, body).await;
        let error = &answer["error"];
        assert!(error.is_object(), "{method} {target}: {status} {answer}");
        assert_eq!(error["type"], "OAuthException");
        assert!(error["fbtrace_id"].as_str().unwrap().len() > 10);
        let number = |name: &str| error[name].as_u64().unwrap_or(0);
        let details = error["error_data"]["details"].as_str().unwrap_or_default();
        let told = format!("{} {details}", error["message"].as_str().unwrap());
        (status, number("code"), number("error_subcode"), told)
    }

    /// Hands a template in and has it approved; its id.
    async fn approved(&self, name: &str, category: &str, components: &Value) -> String {
        let new = json!({
            "name": name, "language": "en", "category": category, "components": components,
        });
        let made = self.post(&format!("/v24.0/{SHOP}/message_templates"), &new).await;
        let of = template((name, "en"));
        self.emulated.whatsapp.stand(&channel("cams-shop"), &of, Standing::Approved);
        made["id"].as_str().unwrap().to_owned()
    }

    async fn stop(self) {
        self.emulated.stop().await;
    }
}

fn message(to: &str, of: (&str, &str)) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": to, "type": "template",
        "template": {"name": of.0, "language": {"code": of.1}},
    })
}

fn signed(to: &str, of: (&str, &str)) -> Value {
    let mut message = message(to, of);
    message["biz_opaque_callback_data"] = format!("tt1:{}:{}", of.0, of.1).into();
    message
}

//! Which app hears a business account's webhooks, and where.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::tokens::app_id;
use super::{Asked, Here};
use crate::dice::{seed_of, seed_of_name};
use crate::whatsapp::Callback;

pub(super) fn list(here: &Here) -> Value {
    let Some(callback) = here.whatsapp.subscription(&here.channel.id) else {
        return json!({"data": []});
    };
    let id = app_id(&here.channel);
    let link = format!("https://www.facebook.com/games/?app_id={id}");
    let mut app = Map::new();
    let known = json!({"id": id, "name": "Emulated app", "link": link});
    app.insert("whatsapp_business_api_data".to_owned(), known);
    if let Some(callback) = callback {
        app.insert("override_callback_uri".to_owned(), callback.url().into());
    }
    json!({"data": [app]})
}

/// Without a callback the webhooks go where those of the app go: to the emulator's own server.
pub(super) async fn subscribe(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let url = asked.given.text("override_callback_uri");
    let token = asked.given.text("verify_token");
    let callback = match (url, token) {
        (None, None) => None,
        (Some(_), None) => return Err(Refusal::missing("verify_token")),
        (None, Some(_)) => return Err(Refusal::missing("override_callback_uri")),
        (Some(url), Some(token)) => {
            let callback = Callback::find(&url).await.map_err(|why| {
                Refusal::parameter(format!("Param override_callback_uri will not do: {why}"))
            })?;
            // Whoever knows the URL cannot guess it.
            let secret = seed_of_name(1, here.channel.verify_token.expose());
            let challenge = seed_of(secret, here.now.0.unsigned_abs()) % 10_000_000_000;
            let verified = callback.verify(&token, &challenge.to_string()).await;
            verified.map_err(|why| {
                let text = "Callback verification failed with the following errors";
                Refusal::of(2_200, format!("{text}: {why}")).with(why)
            })?;
            Some(callback)
        }
    };
    here.whatsapp.subscribe(&here.channel.id, callback);
    Ok(json!({"success": true}))
}

pub(super) fn unsubscribe(here: &Here) -> Value {
    here.whatsapp.unsubscribe(&here.channel.id);
    json!({"success": true})
}

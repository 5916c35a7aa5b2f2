//! Telling the story to the server through its doors: sends as a caller, everything else as
//! WhatsApp. The clock goes on from slot to slot, and what is due on the way is told.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_emulator::caller::Caller;
use twoticks_emulator::post::Lane;
use twoticks_emulator::tenants::Tenants;
use twoticks_emulator::whatsapp::{Standing, WhatsApp};

use super::cast::{self, BUSINESSES, Business};
use super::story::{SLOT, Story, Turn};
use crate::world::World;

/// Nobody listens there: where webhooks go while the receiver is out of order.
const NOBODY: &str = "127.0.0.1:1";

/// A business that calls: its channel, and a connection of its own.
pub(super) struct Actor<'a> {
    pub(super) business: &'a Business,
    pub(super) channel: ChannelId,
    lane: Lane,
    caller: Caller,
}

/// The businesses, ready to call the server on `address`.
pub(super) fn actors(tenants: &Tenants, address: SocketAddr, nonces: &str) -> Vec<Actor<'static>> {
    let admin = &tenants.admin;
    let actor = |(index, (business, channel)): (usize, (&'static Business, _))| Actor {
        business,
        channel: ChannelId::clone(channel),
        lane: Lane::new(address),
        caller: Caller::new(admin.id.as_str(), admin.secret.expose(), &format!("{nonces}-{index}")),
    };
    let channels = tenants.channels.iter().map(|channel| &channel.id);
    BUSINESSES.iter().zip(channels).enumerate().map(actor).collect()
}

impl Actor<'_> {
    /// Makes a call; signed at `now`.
    async fn call(&mut self, action: &str, form: &[(&str, &str)], now: Time) -> Result<Value> {
        Ok(self.caller.call(&mut self.lane, action, form, now).await?)
    }

    /// Sends a template.
    pub(super) async fn send(
        &mut self,
        template: usize,
        recipients: &[String],
        now: Time,
    ) -> Result<()> {
        let template = self.template(template)?;
        let numbers = self.business.channel.numbers;
        let (from, _) = numbers.get(template.number).context("a template has a number")?;
        let list: Vec<Value> = recipients.iter().map(|to| json!({"To": to})).collect();
        let list = Value::from(list).to_string();
        let channel = self.channel.to_string();
        let form = [
            ("ChannelType", "whatsapp"),
            ("CustSpaceId", channel.as_str()),
            ("From", from),
            ("TemplateCode", template.code),
            ("Language", self.business.language),
            ("SenderList", list.as_str()),
        ];
        match self.call("SendChatappMassMessage", &form, now).await {
            Ok(_) => Ok(()),
            // A template that is paused is refused, as it should be.
            Err(error) if format!("{error:#}").contains("MessageInvalid") => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn template(&self, index: usize) -> Result<&'static cast::Template> {
        self.business.templates.get(index).context("a turn has a template")
    }

    fn identity(&self, index: usize) -> Result<Template> {
        let code = Text::new(self.template(index)?.code)?;
        Ok(Template { code, language: Text::new(self.business.language)? })
    }
}

/// Tells the story; it begins at `start`. Says how many messages were sent.
///
/// # Errors
/// If the server refuses a part of it.
pub(super) async fn tell(
    world: &World,
    address: SocketAddr,
    tenants: &Tenants,
    (start, end): (Time, Time),
    story: Story,
) -> Result<usize> {
    let mut actors = actors(tenants, address, &format!("story-{}", start.0));
    let whatsapp = &world.emulator.whatsapp;
    let mut sent = 0;
    for (at, turns) in story {
        let now = start.plus(at);
        whatsapp.advance_by_steps(now, SLOT).await?;
        let mut by_actor: Vec<Vec<Turn>> = actors.iter().map(|_| Vec::new()).collect();
        for (business, turn) in turns {
            if let Turn::Outage { is_over } = turn {
                let to = if is_over { address } else { NOBODY.parse()? };
                whatsapp.listen_at(to).await;
            } else if let Some(turns) = by_actor.get_mut(business) {
                turns.push(turn);
            }
        }
        let longest = by_actor.iter().map(Vec::len).max().unwrap_or(0);
        for round in 0..longest {
            // The businesses act side by side; a user may make ten mass sends within a second.
            let now = now.plus(i64::try_from(round).unwrap_or(0) * SECOND);
            world.clock.set(now)?;
            let acting = actors.iter_mut().zip(&by_actor).filter_map(|(actor, turns)| {
                turns.get(round).map(|turn| act(whatsapp, actor, turn, now))
            });
            sent += try_join_all(acting).await?.into_iter().sum::<usize>();
        }
    }
    whatsapp.advance_by_steps(end, SLOT).await?;
    Ok(sent)
}

async fn act(whatsapp: &WhatsApp, actor: &mut Actor<'_>, turn: &Turn, now: Time) -> Result<usize> {
    let channel = actor.channel.clone();
    match turn {
        Turn::OptIn => {
            let form = [("CustSpaceId", channel.as_str())];
            actor.call("EnableWhatsappROIMetric", &form, now).await?;
        }
        Turn::Send { template, recipients } => {
            actor.send(*template, recipients, now).await?;
            return Ok(recipients.len());
        }
        Turn::Like { template, liking } => {
            whatsapp.like(&channel, &actor.identity(*template)?, *liking);
        }
        Turn::Recategorise { template, category, after } => {
            let template = actor.identity(*template)?;
            whatsapp.recategorise(&channel, &template, *category, now.plus(*after));
        }
        Turn::Stand { template, standing } => {
            let category = actor.template(*template)?.category;
            whatsapp.put_template(&channel, &actor.identity(*template)?, category, *standing);
        }
        Turn::Quality { number, quality } => {
            let (digits, _) =
                actor.business.channel.numbers.get(*number).context("a turn has a number")?;
            whatsapp.set_quality(&channel, &PhoneNumber::new(digits)?, *quality);
        }
        Turn::Outage { .. } => {}
    }
    Ok(0)
}

/// Makes the templates known to the server, where they are not yet, and to WhatsApp.
///
/// # Errors
/// If the server refuses one.
pub(super) async fn templates(world: &World, tenants: &Tenants) -> Result<()> {
    use twoticks_core::event::Button;
    use twoticks_server::control::channels::{Command as Channels, NewTemplate};
    use twoticks_server::control::{Command, execute};
    for (business, channel) in BUSINESSES.iter().zip(&tenants.channels) {
        world.emulator.whatsapp.tell_links(&channel.id, business.tells_links);
        for it in business.templates {
            let identity =
                Template { code: Text::new(it.code)?, language: Text::new(business.language)? };
            let known = world.app.directory.snapshot();
            if known.template(&channel.id, &identity.code, &identity.language).is_none() {
                let button =
                    |(kind, text): &(_, &str)| Ok(Button { kind: *kind, text: Text::new(text)? });
                let new = NewTemplate {
                    channel: channel.id.clone(),
                    code: identity.code.clone(),
                    language: identity.language.clone(),
                    name: None,
                    meta_id: None,
                    category: it.category,
                    buttons: it.buttons.iter().map(button).collect::<Result<_>>()?,
                };
                let put = Command::Channels(Channels::PutTemplate(new));
                Box::pin(execute(&world.app, put)).await?;
            }
            // What WhatsApp has made of it since is in the journal.
            let history = world.app.ledger.channel(&channel.id).await?;
            let now = world.app.clock.now();
            let category = history.category(&identity, now).unwrap_or(it.category);
            let standing = Standing::Approved;
            world.emulator.whatsapp.put_template(&channel.id, &identity, category, standing);
        }
    }
    Ok(())
}

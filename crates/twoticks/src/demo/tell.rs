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

/// What a call is answered when WhatsApp takes none of its messages.
const REFUSED_BY_CARRIER: &str = "InvalidParameter.MessageInvalid";
/// Nobody listens there: where webhooks go while the receiver is out of order.
const NOBODY: &str = "127.0.0.1:1";

/// How many sends a business makes side by side. All three together stay below the ten mass sends
/// that a user may make within a second.
const HANDS: usize = 3;

/// A business that calls, over connections of its own.
pub(super) struct Actor<'a> {
    pub(super) business: &'a Business,
    pub(super) channel: ChannelId,
    hands: Vec<(Lane, Caller)>,
}

/// The businesses, ready to call the server on `address`.
pub(super) fn actors(tenants: &Tenants, address: SocketAddr, nonces: &str) -> Vec<Actor<'static>> {
    let (id, secret) = (tenants.admin.id.as_str(), tenants.admin.secret.expose());
    let channels = tenants.channels.iter().map(|channel| &channel.id);
    let actor = |(index, (business, channel)): (usize, (&'static Business, &ChannelId))| {
        let hand = |hand| {
            (Lane::new(address), Caller::new(id, secret, &format!("{nonces}-{index}-{hand}")))
        };
        Actor { business, channel: channel.clone(), hands: (0..HANDS).map(hand).collect() }
    };
    BUSINESSES.iter().zip(channels).enumerate().map(actor).collect()
}

impl Actor<'_> {
    /// Enables ROI statistics; signed at `now`.
    async fn opt_in(&mut self, now: Time) -> Result<()> {
        let form = [("CustSpaceId", self.channel.as_str())];
        let (lane, caller) = self.hands.first_mut().context("a business has a hand")?;
        caller.call(lane, "EnableWhatsappROIMetric", &form, now).await?;
        Ok(())
    }

    /// Sends templates, at most [`HANDS`] of them, side by side; signed at `now`.
    pub(super) async fn send(&mut self, sends: &[(usize, &[String])], now: Time) -> Result<()> {
        let (business, channel) = (self.business, self.channel.as_str());
        let sending = self.hands.iter_mut().zip(sends).map(|(hand, (template, recipients))| {
            send(business, channel, hand, *template, recipients, now)
        });
        try_join_all(sending).await.map(drop)
    }

    fn template(&self, index: usize) -> Result<&'static cast::Template> {
        self.business.templates.get(index).context("a turn has a template")
    }

    fn identity(&self, index: usize) -> Result<Template> {
        let code = Text::new(self.template(index)?.code)?;
        Ok(Template { code, language: Text::new(self.business.language)? })
    }
}

async fn send(
    business: &Business,
    channel: &str,
    (lane, caller): &mut (Lane, Caller),
    template: usize,
    recipients: &[String],
    now: Time,
) -> Result<()> {
    let template = business.templates.get(template).context("a turn has a template")?;
    let numbers = business.channel.numbers;
    let (from, _) = numbers.get(template.number).context("a template has a number")?;
    let list: Vec<Value> = recipients.iter().map(|to| json!({"To": to})).collect();
    let list = Value::from(list).to_string();
    let form = [
        ("ChannelType", "whatsapp"),
        ("CustSpaceId", channel),
        ("From", from),
        ("TemplateCode", template.code),
        ("Language", business.language),
        ("SenderList", list.as_str()),
    ];
    match caller.call(lane, "SendChatappMassMessage", &form, now).await {
        // A template that is paused is refused, as it should be.
        Err(error) if error.code().as_deref() == Some(REFUSED_BY_CARRIER) => Ok(()),
        done => Ok(done.map(drop)?),
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
        let mut sends: Vec<Vec<(usize, &[String])>> = vec![Vec::new(); actors.len()];
        for (business, turn) in &turns {
            let actor = actors.get_mut(*business).context("a turn has a business")?;
            if let Turn::Send { template, recipients } = turn {
                sent += recipients.len();
                sends
                    .get_mut(*business)
                    .context("a turn has a business")?
                    .push((*template, recipients));
            } else if let Turn::Outage { is_over } = turn {
                whatsapp.listen_at(if *is_over { address } else { NOBODY.parse()? }).await;
            } else {
                act(whatsapp, actor, turn, now).await?;
            }
        }
        let rounds = sends.iter().map(|it| it.len().div_ceil(HANDS)).max().unwrap_or(0);
        for round in 0..rounds {
            let now = now.plus(i64::try_from(round).unwrap_or(0) * SECOND);
            world.clock.set(now)?;
            let sending = actors.iter_mut().zip(&sends).filter_map(|(actor, sends)| {
                sends.chunks(HANDS).nth(round).map(|sends| actor.send(sends, now))
            });
            try_join_all(sending).await?;
        }
    }
    whatsapp.advance_by_steps(end, SLOT).await?;
    Ok(sent)
}

async fn act(whatsapp: &WhatsApp, actor: &mut Actor<'_>, turn: &Turn, now: Time) -> Result<()> {
    let channel = actor.channel.clone();
    match turn {
        Turn::OptIn => actor.opt_in(now).await?,
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
        // Done where it concerns everybody.
        Turn::Send { .. } | Turn::Outage { .. } => {}
    }
    Ok(())
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

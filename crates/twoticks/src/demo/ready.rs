//! What a demo says when it is ready: one line for a script, or what a newcomer needs.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use twoticks_core::clock::DAY;
use twoticks_emulator::tenants::Tenants;
use twoticks_store::directory::names::Secret;

use super::Told;
use super::cast::BUSINESSES;
use crate::output;
use crate::world::{self, World};

/// Prints it, and keeps the line for `twoticks tour`.
///
/// # Errors
/// If standard output or the folder cannot be written to.
pub(super) fn print(
    world: &World,
    address: SocketAddr,
    tenants: &Tenants,
    told: &Told,
    folder: &Path,
    as_json: bool,
) -> Result<()> {
    let codes = BUSINESSES.iter().flat_map(|business| business.templates);
    let codes: Vec<&str> = codes.map(|template| template.code).collect();
    let line = world::ready_line(world, address, tenants, &codes, (told.start, told.end));
    world::keep_ready_line(folder, &line)?;
    if as_json {
        return output::value(true, &line);
    }
    output::data(&for_people(world, address, tenants, told, folder)?)
}

fn for_people(
    world: &World,
    address: SocketAddr,
    tenants: &Tenants,
    told: &Told,
    folder: &Path,
) -> Result<String> {
    let Tenants { admin, channels, .. } = tenants;
    let [business, ..] = &BUSINESSES;
    let channel = channels.first().context("the demo has a channel")?;
    let template = business.templates.first().context("a business has templates")?;
    let (id, secret) = (&admin.id, admin.secret.expose());
    let version = env!("CARGO_PKG_VERSION");
    let Told { start, end, messages, seconds, turned, .. } = told;
    let seeded = match messages {
        Some(messages) => format!("{messages} messages, told in {seconds:.1} s"),
        None => "found as it was left".to_owned(),
    };
    let turned = turned.as_ref().map_or_else(String::new, |(zone, day)| {
        format!("  a turned clock   {day} has 23 or 25 hours in {zone}: add &zone={zone}\n")
    });
    Ok(format!(
        r#"twoticks {version}: a demo; every figure in it is invented

  seeded           {days} days, 3 businesses, {seeded}; it lives on from here
  dashboard        {dashboard}
  CAMS endpoint    http://{address}
  access key       {id}
  secret           {secret}
  channel          {channel_id}
  webhook          http://{address}/webhooks/whatsapp
  app secret       {app_secret}
  verify token     {verify_token}
  clock and chaos  http://{address}/_twoticks/
{turned}
What to look for: demo_promo is liked, demo_flash_sale tires people, demo_cartao is held back by
Meta (131049), demo_extrato was moved to marketing, demo_newsletter was paused, and for six hours
of one day nobody took webhooks: they were repeated, and nothing is missing.

With the official SDK for Python (pip install alibabacloud-cams20200606), paste:

from alibabacloud_cams20200606.client import Client
from alibabacloud_cams20200606.models import GetChatappTemplateMetricRequest
from alibabacloud_tea_openapi.models import Config

client = Client(Config(access_key_id="{id}", access_key_secret="{secret}",
                       endpoint="{address}", protocol="http"))
rows = client.get_chatapp_template_metric(GetChatappTemplateMetricRequest(
    cust_space_id="{channel_id}", template_code="{template}", language="{language}",
    start={start}, end={end}, granularity="DAILY")).body.data
for row in rows:
    print(row.start, row.sent_count, row.delivered_count, row.read_count)

In another terminal: twoticks tour{tour}
Ctrl-C stops it. For real: twoticks init
"#,
        days = (end - start) / DAY,
        dashboard = world::dashboard(&world.app, address, tenants),
        channel_id = channel.id,
        app_secret = channel.app_secrets.last().map(Secret::expose).unwrap_or_default(),
        verify_token = channel.verify_token.expose(),
        template = template.code,
        language = business.language,
        tour = if folder == Path::new(crate::DEMO_FOLDER) {
            String::new()
        } else {
            format!(" --data-dir {}", folder.display())
        },
    ))
}

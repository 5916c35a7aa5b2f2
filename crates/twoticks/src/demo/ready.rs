//! What a demo says when it is ready: one line for a script, or what a newcomer needs.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};
use twoticks_server::app::App;
use twoticks_server::ui;
use twoticks_store::directory::names::Secret;

use super::story::TEMPLATES;
use super::tenants::Tenants;
use crate::output;

/// Prints it.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn print(
    app: &App,
    address: SocketAddr,
    tenants: &Tenants,
    (start, end): (i64, i64),
    as_json: bool,
) -> Result<()> {
    let query = ui::link(&app.keys, app.clock.now(), &tenants.account.uid);
    let dashboard = format!("http://{address}/ui/?{query}");
    if as_json {
        return output::value(true, &line(app, address, &dashboard, tenants, (start, end)));
    }
    let Tenants { account: _, admin, denied: _, session: _, channel } = tenants;
    let [template, ..] = &TEMPLATES;
    let (id, secret) = (&admin.id, admin.secret.expose());
    let version = env!("CARGO_PKG_VERSION");
    output::data(&format!(
        r#"twoticks {version}: a demo, with invented data of two weeks

  dashboard        {dashboard}
  CAMS endpoint    http://{address}
  access key       {id}
  secret           {secret}
  channel          {channel}
  webhook          http://{address}/webhooks/whatsapp
  app secret       {app_secret}
  verify token     {verify_token}

With the official SDK for Python (pip install alibabacloud-cams20200606), paste:

from alibabacloud_cams20200606.client import Client
from alibabacloud_cams20200606.models import GetChatappTemplateMetricRequest
from alibabacloud_tea_openapi.models import Config

client = Client(Config(access_key_id="{id}", access_key_secret="{secret}",
                       endpoint="{address}", protocol="http"))
rows = client.get_chatapp_template_metric(GetChatappTemplateMetricRequest(
    cust_space_id="{channel}", template_code="{template}", language="{language}",
    start={start}, end={end}, granularity="DAILY")).body.data
for row in rows:
    print(row.start, row.sent_count, row.delivered_count, row.read_count)

Ctrl-C stops it. For real: twoticks init
"#,
        channel = channel.id,
        app_secret = channel.app_secrets.last().map(Secret::expose).unwrap_or_default(),
        verify_token = channel.verify_token.expose(),
        template = template.code,
        language = template.language,
    ))
}

fn line(
    app: &App,
    address: SocketAddr,
    dashboard: &str,
    tenants: &Tenants,
    (start, end): (i64, i64),
) -> Value {
    let Tenants { account: _, admin, denied, session, channel } = tenants;
    let snapshot = app.directory.snapshot();
    let numbers = snapshot.numbers_of(&channel.id).iter().map(|number| {
        json!({
            "phone_number": number.phone_number, "phone_number_id": number.phone_number_id,
        })
    });
    let templates = TEMPLATES.iter().map(|template| {
        json!({
            "code": template.code, "language": template.language,
            "category": template.category.as_str(),
        })
    });
    json!({
        "endpoint": format!("http://{address}"),
        "dashboard": dashboard,
        "admin": {
            "access_key_id": admin.id, "access_key_secret": admin.secret.expose(),
        },
        "denied": {
            "access_key_id": denied.id, "access_key_secret": denied.secret.expose(),
        },
        "session": {
            "access_key_id": session.id, "access_key_secret": session.secret.expose(),
            "security_token": session.token.expose(),
        },
        "app_secret": channel.app_secrets.last().map(Secret::expose),
        "verify_token": channel.verify_token.expose(),
        "receipts_secret": channel.receipts_secret.expose(),
        "channel": channel.id,
        "numbers": numbers.collect::<Value>(),
        "templates": templates.collect::<Value>(),
        "data": {"start": start, "end": end},
    })
}

//! `tour`: six calls to a running demo, with what each of them proves.
//!
//! The calls are made by `curl` where it is installed, so that nothing of ours is between them and
//! the server but the signature, and by the official SDK for Python where that is installed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use twoticks_core::clock::{Clock as _, DAY, Time};
use twoticks_emulator::caller::Caller;
use twoticks_emulator::meta::{self, OfNumber, Recipient, Status, Update, Version, Word};
use twoticks_emulator::post::{Asked, Lane};
use twoticks_wire::webhook::sign::Sign;

use crate::clock::SystemClock;
use crate::output;
use crate::world::READY;

/// How much of an answer is shown, in characters.
const SHOWN: usize = 300;
/// Somebody whom nobody can call.
const SOMEBODY: &str = "620123456789";
/// What the Python SDK is asked: the same metric, its rows as the SDK read them.
const PYTHON: &str = r#"
import json, sys
from alibabacloud_cams20200606.client import Client
from alibabacloud_cams20200606.models import GetChatappTemplateMetricRequest
from alibabacloud_tea_openapi.models import Config
a = json.loads(sys.argv[1])
client = Client(Config(access_key_id=a["id"], access_key_secret=a["secret"],
                       endpoint=a["host"], protocol="http"))
rows = client.get_chatapp_template_metric(GetChatappTemplateMetricRequest(
    cust_space_id=a["channel"], template_code=a["code"], language=a["language"],
    start=a["start"], end=a["end"], granularity="DAILY")).body.data
print(json.dumps({"rows": len(rows), "sent": sum(row.sent_count for row in rows)}))
"#;

/// A running demo, from its ready line.
struct Demo {
    host: String,
    key: (String, String),
    channel: String,
    app_secret: String,
    number: (String, String),
    template: (String, String),
    waba_id: String,
    start: i64,
}

/// How requests are made.
enum By {
    Curl,
    /// There is no curl: by ourselves.
    Ourselves(Lane),
    /// The official SDK for Python; it makes its own.
    Sdk,
}

struct Tour {
    demo: Demo,
    by: By,
    caller: Caller,
    as_json: bool,
    is_good: bool,
}

/// Makes the calls to the demo on `folder`; whether each proved what it should.
///
/// # Errors
/// If there is no demo, or it does not answer.
pub(crate) async fn run(folder: &Path, as_json: bool) -> Result<bool> {
    let demo = Demo::read(folder)?;
    let by = match Command::new("curl").arg("--version").stdout(Stdio::null()).status().await {
        Ok(status) if status.success() => By::Curl,
        _ => By::Ourselves(Lane::new(demo.host.parse().context("the endpoint is an address")?)),
    };
    let nonces = format!("tour-{}", SystemClock.now().0);
    let caller = Caller::new(&demo.key.0, &demo.key.1, &nonces);
    let mut tour = Tour { demo, by, caller, as_json, is_good: true };
    tour.six_calls(&nonces).await?;
    tour.sdk().await?;
    Ok(tour.is_good)
}

impl Demo {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(READY);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no demo in `{}`; start `twoticks demo`, or name its folder with \
                 --data-dir",
                folder.display()
            )
        })?;
        let line: Value = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is not a demo's ready line", path.display()))?;
        let text = |pointer: &str| {
            let found = line.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            found.with_context(|| format!("`{}` has no {pointer}", path.display()))
        };
        let endpoint = text("/endpoint")?;
        Ok(Self {
            host: endpoint.trim_start_matches("http://").to_owned(),
            key: (text("/admin/access_key_id")?, text("/admin/access_key_secret")?),
            channel: text("/channel")?,
            app_secret: text("/app_secret")?,
            number: (text("/numbers/0/phone_number")?, text("/numbers/0/phone_number_id")?),
            template: (text("/templates/0/code")?, text("/templates/0/language")?),
            waba_id: text("/channels/0/waba_id")?,
            start: line.pointer("/data/start").and_then(Value::as_i64).unwrap_or(0),
        })
    }
}

impl Tour {
    async fn six_calls(&mut self, nonces: &str) -> Result<()> {
        let (channel, from) = (self.demo.channel.clone(), self.demo.number.0.clone());
        let (code, language) = self.demo.template.clone();
        let space = ("CustSpaceId", channel.as_str());

        let (status, answer) = self.call("EnableWhatsappROIMetric", &[space]).await?;
        let is_good = status == 200;
        let proves = "the signature (ACS3-HMAC-SHA256) is the gateway's, and enabling twice \
                      changes nothing";
        self.tell("EnableWhatsappROIMetric", &answer, proves, is_good)?;

        let (before, answer) = self.sent().await?;
        let proves = format!(
            "the metric answers in the original's fields: {before} messages of {code} were sent \
             since the opt-in"
        );
        self.tell("GetChatappTemplateMetric", &answer, &proves, before > 0)?;

        let (start, end) = self.last_day();
        let form = [
            space,
            ("Start", start.as_str()),
            ("End", end.as_str()),
            ("Granularity", "HALF_HOUR"),
            ("PhoneNumber", from.as_str()),
        ];
        let (status, answer) = self.call("GetChatappPhoneNumberMetric", &form).await?;
        let rows = answer.get("Data").and_then(Value::as_array).map_or(0, Vec::len);
        let proves = format!("a number's last day, by the half hour: {rows} of them had something");
        let is_good = status == 200 && rows > 0;
        self.tell("GetChatappPhoneNumberMetric", &answer, &proves, is_good)?;

        let form = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            space,
            ("From", from.as_str()),
            ("To", SOMEBODY),
            ("TemplateCode", code.as_str()),
            ("Language", language.as_str()),
        ];
        let (status, answer) = self.call("SendChatappMessage", &form).await?;
        let is_good = status == 200 && answer.get("MessageId").is_some_and(Value::is_string);
        let proves = "a message goes out and lives: its webhooks come by themselves, signed";
        self.tell("SendChatappMessage", &answer, proves, is_good)?;

        // Told by hand, of a message that only its sign says the template of.
        let (before, _) = self.sent().await?;
        let webhook = self.webhook(nonces)?;
        let told = [self.make(&webhook).await?, self.make(&webhook).await?];
        let is_good = told.iter().all(|(status, _)| *status == 200);
        let proves = "a signed webhook is on disk before it is answered; here it is told twice";
        self.tell("POST /webhooks/whatsapp", &json!("ok"), proves, is_good)?;

        let (after, answer) = self.sent().await?;
        let proves = format!("told twice and counted once: {before} before, {after} now");
        // What the call before sent may have gone out in the meantime.
        let is_good = after == before + 1 || after == before + 2;
        self.tell("GetChatappTemplateMetric", &answer, &proves, is_good)
    }

    /// The Python SDK reads the same, where it is installed.
    async fn sdk(&mut self) -> Result<()> {
        let has = ["-c", "import alibabacloud_cams20200606"];
        let probe = Command::new("python3").args(has).stderr(Stdio::null()).status().await;
        if !probe.is_ok_and(|status| status.success()) {
            output::note(
                "The official SDK for Python is not installed here; `pip install \
                 alibabacloud-cams20200606` and come again to see it read the same.",
            );
            return Ok(());
        }
        let (code, language) = self.demo.template.clone();
        let asked = json!({
            "id": self.demo.key.0, "secret": self.demo.key.1, "host": self.demo.host,
            "channel": self.demo.channel, "code": code, "language": language,
            "start": self.demo.start, "end": self.end(),
        });
        let output = Command::new("python3").args(["-c", PYTHON, &asked.to_string()]).output();
        let output = output.await.context("python3 cannot be run")?;
        let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let sent = read.get("sent").and_then(Value::as_i64);
        let (expected, _) = self.sent().await?;
        let proves = "the unmodified official SDK, with only its endpoint changed, reads the same";
        let is_good = sent == Some(expected);
        if !is_good {
            output::note(&String::from_utf8_lossy(&output.stderr));
        }
        self.by = By::Sdk;
        self.tell("GetChatappTemplateMetric", &read, proves, is_good)
    }

    fn end(&self) -> i64 {
        SystemClock.now().0 + DAY
    }

    fn last_day(&self) -> (String, String) {
        let now = SystemClock.now().0;
        ((now - DAY).to_string(), now.to_string())
    }

    /// What of the first template was sent, by the metric, and its answer.
    async fn sent(&mut self) -> Result<(i64, Value)> {
        let (code, language) = self.demo.template.clone();
        let (start, end) = (self.demo.start.to_string(), self.end().to_string());
        let channel = self.demo.channel.clone();
        let form = [
            ("CustSpaceId", channel.as_str()),
            ("TemplateCode", code.as_str()),
            ("Language", language.as_str()),
            ("Start", start.as_str()),
            ("End", end.as_str()),
            ("Granularity", "DAILY"),
        ];
        let (status, answer) = self.call("GetChatappTemplateMetric", &form).await?;
        if status != 200 {
            bail!("GetChatappTemplateMetric was answered {status}: {answer}");
        }
        let rows = answer.get("Data").and_then(Value::as_array).into_iter().flatten();
        let count = |row: &Value| row.get("SentCount").and_then(Value::as_i64).unwrap_or(0);
        Ok((rows.map(count).sum(), answer))
    }

    /// Makes a signed call.
    async fn call(&mut self, action: &str, form: &[(&str, &str)]) -> Result<(u16, Value)> {
        let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = SystemClock.now();
        let asked = self.caller.sign(&self.demo.host, action, form.collect(), now)?;
        self.make(&asked).await
    }

    /// A webhook of a message that nobody has heard of: delivered, with our sign.
    fn webhook(&self, of: &str) -> Result<Asked> {
        let Demo { number, template: (code, language), waba_id, app_secret, .. } = &self.demo;
        let sign = Sign { code: code.clone(), language: language.clone(), campaign: None };
        let sign = sign.encode().context("the template's names make a sign")?;
        let Time(now) = SystemClock.now();
        let wamid = format!("wamid.{of}");
        let status = Update::Status(Status {
            wamid: &wamid,
            word: Word::Delivered,
            second: now / 1_000,
            recipient: Recipient::Number(SOMEBODY),
            member: None,
            callback_data: Some(&sign),
            price: None,
            failure: None,
        });
        let told = OfNumber {
            waba_id,
            phone_number: &number.0,
            phone_number_id: &number.1,
            updates: &[status],
        };
        let mut body = Vec::new();
        meta::body(&mut body, Version::NEWEST, &[told]);
        let signature = meta::signature(app_secret.as_bytes(), &body);
        Ok(Asked {
            method: http::Method::POST,
            target: "/webhooks/whatsapp".to_owned(),
            headers: vec![
                ("content-type".to_owned(), b"application/json".to_vec()),
                ("x-hub-signature-256".to_owned(), signature.into_bytes()),
            ],
            body: body.into(),
        })
    }

    /// Makes a request: the status, and the body as far as it is JSON.
    async fn make(&mut self, asked: &Asked) -> Result<(u16, Value)> {
        let (status, body) = match &mut self.by {
            By::Ourselves(lane) => {
                let answered = lane.ask(asked).await?;
                (answered.status.as_u16(), answered.body.to_vec())
            }
            By::Curl | By::Sdk => curl(&self.demo.host, asked).await?,
        };
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn tell(&mut self, call: &str, answer: &Value, proves: &str, is_good: bool) -> Result<()> {
        self.is_good &= is_good;
        if self.as_json {
            let line = json!({"call": call, "answer": answer, "proves": proves, "good": is_good});
            return output::value(true, &line);
        }
        let by = match self.by {
            By::Curl => "curl",
            By::Ourselves(_) => "no curl here; asked by ourselves",
            By::Sdk => "the official SDK for Python",
        };
        let text = answer.to_string();
        let mut short: String = text.chars().take(SHOWN).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        let verdict = if is_good { "proves" } else { "DOES NOT PROVE" };
        output::data(&format!("{call}   ({by})\n  {short}\n  {verdict}: {proves}\n\n"))
    }
}

/// Has curl make the request; the body goes through its standard input.
async fn curl(host: &str, asked: &Asked) -> Result<(u16, Vec<u8>)> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-X", asked.method.as_str()]);
    command.args(["-w", "\n%{http_code}", "--data-binary", "@-"]);
    for (name, value) in &asked.headers {
        command.arg("-H").arg(format!("{name}: {}", String::from_utf8_lossy(value)));
    }
    command.arg(format!("http://{host}{}", asked.target));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("curl cannot be started")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&asked.body).await.context("curl does not take the body")?;
    }
    let done = child.wait_with_output().await.context("curl cannot be waited for")?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr);
        bail!("{}; is `twoticks demo` running?", why.trim());
    }
    let end = done.stdout.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let (body, status) = done.stdout.split_at(end);
    let status = String::from_utf8_lossy(status).trim().parse();
    Ok((status.context("curl says no status")?, body.to_vec()))
}

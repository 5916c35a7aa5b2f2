//! Servers to send webhooks to, each a process of its own: ours, the limit of the door, and a
//! typical receiver.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command as Process};
use twoticks_core::clock::Clock as _;
use twoticks_core::ids::Text;
use twoticks_emulator::stream::{Cast, Plan};
use twoticks_server::control::channels::{Command as Channels, NewChannel, NewTemplate};
use twoticks_server::control::people::Command as People;
use twoticks_server::control::{Command, SecretText};
use twoticks_server::links::wrap::Wrap;
use twoticks_store::directory::file::FileDirectory;
use twoticks_store::directory::model::{GraphTemplate, StatusSource, TemplateRecord};
use twoticks_store::directory::names::Uid;
use twoticks_store::directory::{Change, Directory as _};
use twoticks_store::keys::Keys;

use super::meter::{Memory, Whose};
use super::part::{self, Part};
use crate::clock::SystemClock;
use crate::config::{self, Overrides};
use crate::init;
use crate::reach::Data;

/// The app secret of all channels: one app, many accounts.
pub(super) const SECRET: &str = "the app secret of a benchmark";
/// Under which address links lead over it; nobody looks it up.
const LINKS: &str = "https://l.example.com";
/// How long a server may take until it says that it is ready.
const READY_MAX: Duration = Duration::from_secs(120);
/// A server that has used no processor time for so long has nothing left to do: longer than
/// anything of ours waits for more.
const IDLE: Duration = Duration::from_millis(1_500);
/// What counts as no processor time, in seconds: waking up to look around.
const IDLE_CPU_SECONDS: f64 = 0.03;
/// The receiver that is compared with, as it is in `bench/`.
const RECEIVER: &str = include_str!("../../../../bench/receiver.py");

/// A server that is ready.
pub(super) struct Server {
    child: Child,
    /// `HOST:PORT`.
    pub(super) at: String,
    process: u32,
}

/// The configuration of a folder, which is not that of the current folder.
fn file(folder: &Path) -> Result<PathBuf> {
    let path = folder.with_extension("toml");
    std::fs::write(&path, format!("[links]\nurl = \"{LINKS}\"\n"))
        .context("cannot write a configuration")?;
    Ok(path)
}

/// Makes a data folder with a key.
pub(super) fn make(folder: &Path) -> Result<()> {
    init::make_folder(folder)?;
    Keys::create(&folder.join("key"))?;
    Ok(())
}

/// Puts the channels and numbers of `plan` into a data folder, and its templates if they are
/// wanted, as `init` and `channel` do.
pub(super) async fn set_up(folder: &Path, plan: &Plan, with_templates: bool) -> Result<()> {
    let overrides =
        Overrides { file: Some(file(folder)?), data_folder: Some(folder.to_owned()), listen: None };
    let config = config::read(&overrides)?;
    let mut data = Data::reach(&config, Arc::new(SystemClock)).await?;
    let name = Text::lossy("bench");
    let account = data.ask(Command::People(People::AddAccount { name })).await?;
    let uid = account.get("account").and_then(Value::as_str).unwrap_or_default();
    let account = Some(Uid::new(uid).context("the account has no uid")?);
    let cast = Cast::of(plan);
    let mut commands = Vec::new();
    let mut known = Vec::new();
    for number in &cast.numbers {
        if !known.contains(&&number.channel) {
            known.push(&number.channel);
            commands.push(Channels::Add(NewChannel {
                account: account.clone(),
                id: Some(number.channel.clone()),
                name: None,
                waba_id: Some(number.waba_id.clone()),
                app_secret: Some(SecretText(SECRET.to_owned())),
                verify_token: None,
                status_source: StatusSource::CloudApi,
            }));
        }
        commands.push(Channels::PutNumber {
            channel: number.channel.clone(),
            phone_number: number.phone_number.clone(),
            phone_number_id: number.phone_number_id.clone(),
        });
    }
    commands.extend(cast.templates.iter().filter(|_| with_templates).map(|it| {
        Channels::PutTemplate(NewTemplate {
            channel: it.channel.clone(),
            code: it.template.code.clone(),
            language: it.template.language.clone(),
            name: None,
            meta_id: None,
            category: it.category,
            buttons: it.buttons.clone(),
        })
    }));
    for command in commands {
        data.ask(Command::Channels(command)).await?;
    }
    data.close().await
}

/// Has a link of a template lead over the server, as if WhatsApp had said that it does; the token
/// behind its address, of the template as a whole.
pub(super) async fn link(folder: &Path, plan: &Plan) -> Result<String> {
    let cast = Cast::of(plan);
    let it = cast.templates.first().context("there is no template")?;
    let (code, language) = (it.template.code.clone(), it.template.language.clone());
    let keys = Keys::open(&folder.join("key"))?;
    let directory = FileDirectory::open(folder, Arc::new(keys))?;
    let snapshot = directory.snapshot();
    let known = snapshot.template(&it.channel, &code, &language).context("it is not there")?;
    let url = format!("{LINKS}/r/{{{{1}}}}");
    let button = json!({"type": "URL", "text": "Shop", "url": url});
    let components = json!([{"type": "BUTTONS", "buttons": [button]}]);
    let graph = GraphTemplate {
        components: components.to_string().into(),
        named: false,
        button_names: std::collections::BTreeMap::new(),
        status: Text::lossy("APPROVED"),
        reason: None,
        quality: None,
        updated: SystemClock.now(),
        history: Vec::new(),
    };
    let record = TemplateRecord { graph: Some(graph), ..TemplateRecord::clone(known) };
    directory.change(vec![Change::PutTemplate(record)]).await?;
    drop(directory);
    let overrides =
        Overrides { file: Some(file(folder)?), data_folder: Some(folder.to_owned()), listen: None };
    let mut data = Data::reach(&config::read(&overrides)?, Arc::new(SystemClock)).await?;
    let wrap = Wrap {
        channel: Some(it.channel.clone()),
        code,
        language,
        button: None,
        target: Some("https://shop.example/spring".to_owned()),
    };
    let said = data.ask(Command::Channels(Channels::WrapTemplate(wrap))).await?;
    data.close().await?;
    let token = said.pointer("/links/0/template_tokens/0/token").and_then(Value::as_str);
    Ok(token.context("the link has no token")?.to_owned())
}

impl Server {
    /// `twoticks serve` on `folder`, with its defaults.
    pub(super) async fn ours(folder: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("the program does not know where it is")?;
        let mut command = Process::new(program);
        command.arg("serve").arg("--json").args(["--listen", "127.0.0.1:0"]);
        command.arg("--config").arg(file(folder)?).arg("--data-dir").arg(folder);
        Self::start(command, &folder.with_extension("log")).await
    }

    /// The limit of the door.
    pub(super) async fn handler(folder: &Path) -> Result<Self> {
        let part = serde_json::to_string(&Part::Handler)?;
        Self::start(part::command(&part)?, &folder.join("handler.log")).await
    }

    /// A typical receiver, that `python` runs and that writes to `dsn`.
    pub(super) async fn receiver(python: &Path, dsn: &str, folder: &Path) -> Result<Self> {
        let script = folder.join("receiver.py");
        std::fs::write(&script, RECEIVER).context("cannot write the receiver")?;
        let mut command = Process::new(python);
        command.arg(&script).args(["--dsn", dsn, "--secret", SECRET, "--workers", "2"]);
        Self::start(command, &folder.join("receiver.log")).await
    }

    /// Starts what prints a line with its endpoint when it is ready; what else it says goes to
    /// `log`.
    async fn start(mut command: Process, log: &Path) -> Result<Self> {
        let says = std::fs::File::create(log).context("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(says).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start a server")?;
        let out = child.stdout.take().context("it has no standard output")?;
        let mut line = String::new();
        let mut out = BufReader::new(out);
        tokio::time::timeout(READY_MAX, out.read_line(&mut line))
            .await
            .context("a server did not become ready")??;
        let failed = || {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            format!("a server did not start: {line}{said}")
        };
        let said: Value = serde_json::from_str(&line).with_context(failed)?;
        let endpoint = said.get("endpoint").and_then(Value::as_str).with_context(failed)?;
        let at = super::http::authority(endpoint)?.to_owned();
        let process = child.id().context("it has ended")?;
        Ok(Self { child, at, process })
    }

    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        Whose::Of(self.process).cpu_seconds()
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        Whose::Of(self.process).memory()
    }

    /// Waits until it has done what it put off; the processor time that it has used.
    pub(super) async fn rest(&self) -> Result<f64> {
        let mut before = self.cpu_seconds()?;
        loop {
            tokio::time::sleep(IDLE).await;
            let now = self.cpu_seconds()?;
            if now - before < IDLE_CPU_SECONDS {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Ends it at once, as a power cut would.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("a server cannot be ended")
    }
}

/// Copies a folder that nobody has open.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).context("there is nothing to copy")? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

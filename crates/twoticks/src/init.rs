//! `init`: everything a real server needs, made once: folder, key file, configuration, account,
//! its root key, a channel.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use twoticks_core::clock::Clock;
use twoticks_server::control::{Command, people};
use twoticks_store::directory::file::FILE_NAME as DIRECTORY;
use twoticks_store::directory::names::Uid;
use twoticks_store::keys::Keys;

use crate::config::{Config, DEFAULT, FILE_NAME};
use crate::reach::Data;
use crate::{args, commands, marker, output};

/// Makes it all and prints what has to be noted, once.
///
/// # Errors
/// If something of it is there already, or cannot be made.
pub(crate) async fn run(
    config: &Config,
    clock: Arc<dyn Clock>,
    args: &args::Init,
    as_json: bool,
) -> Result<()> {
    let folder = &config.data.folder;
    marker::refuse(folder)?;
    if folder.join(DIRECTORY).exists() {
        bail!(
            "`{}` is set up already; `twoticks key` and `twoticks channel` add to it",
            folder.display()
        );
    }
    make_folder(folder)?;
    if config.key()?.is_none() && !config.key_file().exists() {
        Keys::create(&config.key_file())?;
    }
    let file = config.file.clone().unwrap_or_else(|| PathBuf::from(FILE_NAME));
    let wrote = !file.exists();
    if wrote {
        std::fs::write(&file, commented(folder)?)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    let mut data = Data::reach(config, clock).await?;
    let made = accounts(&mut data, args).await;
    data.close().await?;
    let mut shown = Map::new();
    shown.insert("data".to_owned(), folder.display().to_string().into());
    shown.insert("config".to_owned(), file.display().to_string().into());
    shown.append(&mut made?);
    let channel = shown.get("channel").and_then(Value::as_str).unwrap_or_default().to_owned();
    output::value(as_json, &Value::Object(shown))?;
    output::note("The secrets are not shown again. Keep a copy of the key file somewhere else.");
    let place = if wrote { String::new() } else { format!(" --data-dir {}", folder.display()) };
    let place = match &config.file {
        Some(file) if file != Path::new(FILE_NAME) => {
            format!(" --config {}{place}", file.display())
        }
        _ => place,
    };
    output::note(&format!(
        "next: twoticks serve{place}\n\
         then: twoticks key dashboard --setup{place}\n\
         \x20     (a link to the page that connects WhatsApp; `twoticks channel connect {channel}{place}` \
         does it here)\n\
         or, to count webhooks only:\n\
         \x20     twoticks channel number add NUMBER --phone-number-id ID --channel {channel}{place}"
    ));
    if !wrote {
        output::note(&format!("The configuration `{}` was left as it was.", file.display()));
    }
    Ok(())
}

/// Makes a folder that only its owner may look into, with those above it.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))
}

async fn accounts(data: &mut Data, args: &args::Init) -> Result<Map<String, Value>> {
    let people = |command| Command::People(command);
    let name = args.account.clone();
    let account = data.ask(people(people::Command::AddAccount { name })).await?;
    let uid = account.get("account").and_then(Value::as_str).unwrap_or_default();
    let uid = Uid::new(uid).context("the account has no uid")?;
    let key = people::Command::AddKey {
        account: Some(uid.clone()),
        user: None,
        rsa_public_key: None,
        v1_allowed: true,
    };
    let key = data.ask(people(key)).await?;
    let channel = data.ask(commands::first_channel(args, uid)?).await?;
    let mut shown = Map::new();
    for part in [key, channel] {
        if let Value::Object(part) = part {
            shown.extend(part.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
    Ok(shown)
}

/// The defaults with their comments, each commented out, so that what is not set follows them;
/// only the folder is set.
fn commented(folder: &Path) -> Result<String> {
    let folder = folder.to_str().context("the path of the data folder is not UTF-8")?;
    let mut text = String::new();
    for line in DEFAULT.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        if line.starts_with("folder = ") {
            text.push_str(&format!("folder = {}", toml::Value::from(folder)));
        } else {
            text.push_str(if is_key { "# " } else { "" });
            text.push_str(line);
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_sets_the_folder_and_nothing_else() {
        let text = commented(Path::new("/srv/two \"ticks\"")).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        let set: Vec<String> = table
            .iter()
            .flat_map(|(section, values)| {
                values.as_table().unwrap().keys().map(move |key| format!("{section}.{key}"))
            })
            .collect();
        assert_eq!(set, ["data.folder"]);
        assert_eq!(table["data"]["folder"].as_str(), Some("/srv/two \"ticks\""));
    }
}

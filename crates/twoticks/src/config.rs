//! Configuration: read once, whole, and then a value.
//!
//! Defaults (`default.toml`, embedded) → file → environment → options of the command line. To add
//! a key, add it to `default.toml` with a comment, and to the struct it ends in ([`Config`] or the
//! server's `Settings`). What always holds: a key that `default.toml` does not have is refused by
//! name, a value of another type is refused, the environment is read here and nowhere else, and
//! what is printed ([`Config::shown`]) has no secret in it.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use toml::{Table, Value};
use twoticks_server::settings::Settings;
use twoticks_store::keys::{KEY_BYTES, Keys};

/// The commented defaults, and with them all keys that there are.
pub(crate) const DEFAULT: &str = include_str!("default.toml");
/// The file that is read from the current folder if it is there.
pub(crate) const FILE_NAME: &str = "twoticks.toml";
/// What the names of our variables in the environment begin with.
const PREFIX: &str = "TWOTICKS__";
/// Keys whose values are secrets: not shown, and `…_FILE` in the environment names a file.
const SECRETS: &[(&str, &str)] = &[("keys", "key")];
/// The longest secret that is read from a file, in bytes.
const SECRET_FILE_MAX: u64 = 64 * 1024;
/// The name of the key file in the data folder.
const KEY_NAME: &str = "key";

/// Everything that can be set.
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) data: Data,
    pub(crate) keys: KeysAt,
    pub(crate) log: Log,
    /// Everything else.
    pub(crate) server: Settings,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// As it was merged, for [`Config::shown`].
    table: Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) public: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysAt {
    file: PathBuf,
    key: SecretText,
}

/// A text that `Debug` does not show.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct SecretText(SecretString);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What the command line says about configuration; it comes last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data_folder: Option<PathBuf>,
    pub(crate) listen: Option<String>,
}

/// Reads the configuration of this process.
///
/// # Errors
/// One line that names the key or file and says what would do.
pub(crate) fn read(overrides: &Overrides) -> Result<Config> {
    merge(overrides, Path::new(FILE_NAME), std::env::vars_os())
}

fn merge(
    overrides: &Overrides,
    usual_file: &Path,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config> {
    let mut table: Table = toml::from_str(DEFAULT).context("the embedded defaults do not parse")?;
    let file = match &overrides.file {
        Some(path) => Some(path.clone()),
        None => usual_file.exists().then(|| usual_file.to_owned()),
    };
    if let Some(path) = &file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration `{}`", path.display()))?;
        let given: Table = toml::from_str(&text)
            .with_context(|| format!("the configuration `{}` is not TOML", path.display()))?;
        overlay_file(&mut table, given, &format!("`{}`", path.display()))?;
    }
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let value = value.to_str().ok_or_else(|| anyhow!("the variable {name} is not UTF-8"))?;
        overlay_variable(&mut table, name, value)?;
    }
    if let Some(folder) = &overrides.data_folder {
        let folder = folder.to_str().context("the path given with --data-dir is not UTF-8")?;
        set(&mut table, "data", "folder", Value::String(folder.to_owned()), "--data-dir")?;
    }
    if let Some(listen) = &overrides.listen {
        set(&mut table, "listen", "address", Value::String(listen.clone()), "--listen")?;
    }
    parse(table, file)
}

fn overlay_file(table: &mut Table, given: Table, place: &str) -> Result<()> {
    for (section, values) in given {
        let Value::Table(values) = values else {
            bail!("`{section}` in {place} is not in a section; {}", sections(table));
        };
        for (key, value) in values {
            set(table, &section, &key, value, place)?;
        }
    }
    Ok(())
}

fn overlay_variable(table: &mut Table, name: &str, text: &str) -> Result<()> {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    let Some((section, key)) = rest.split_once("__") else {
        bail!("the variable {name} names no key; write {PREFIX}SECTION__KEY");
    };
    let is_secret = |key: &str| SECRETS.contains(&(section, key));
    if let Some(key) = key.strip_suffix("_file").filter(|key| is_secret(key)) {
        let secret = read_secret(Path::new(text))
            .with_context(|| format!("cannot read the secret that {name} names"))?;
        return set(table, section, key, Value::String(secret), name);
    }
    let known = table.get(section).and_then(|values| values.get(key));
    let value = match known {
        Some(Value::Integer(_)) => Value::Integer(
            text.parse().map_err(|_| anyhow!("{name} is `{text}`; write a whole number"))?,
        ),
        Some(Value::Boolean(_)) => Value::Boolean(
            text.parse().map_err(|_| anyhow!("{name} is `{text}`; write `true` or `false`"))?,
        ),
        _ => Value::String(text.to_owned()),
    };
    set(table, section, key, value, name)
}

/// Reads a file with one secret; the line end after it does not belong to it.
///
/// # Errors
/// If it cannot be read, is too long, or is not UTF-8.
pub(crate) fn read_secret(path: &Path) -> Result<String> {
    let bytes =
        std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    if bytes > SECRET_FILE_MAX {
        bail!("`{}` has {bytes} bytes; a secret has at most {SECRET_FILE_MAX}", path.display());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn set(table: &mut Table, section: &str, key: &str, value: Value, place: &str) -> Result<()> {
    let known = sections(table);
    let Some(Value::Table(values)) = table.get_mut(section) else {
        bail!("unknown section `{section}` in {place}; {known}");
    };
    let keys = values.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
    let Some(present) = values.get_mut(key) else {
        bail!("unknown key `{section}.{key}` in {place}; `{section}` has `{keys}`");
    };
    if present.type_str() != value.type_str() {
        let (found, wanted) = (value.type_str(), present.type_str());
        bail!("`{section}.{key}` in {place} is of type {found}; it has to be of type {wanted}");
    }
    *present = value;
    Ok(())
}

fn sections(table: &Table) -> String {
    let names = table.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
    format!("the sections are `{names}`")
}

fn parse(table: Table, file: Option<PathBuf>) -> Result<Config> {
    let mut rest = table.clone();
    let config = Config {
        listen: section(&mut rest, "listen")?,
        data: section(&mut rest, "data")?,
        keys: section(&mut rest, "keys")?,
        log: section(&mut rest, "log")?,
        server: settings(rest)?,
        file,
        table,
    };
    config.server.check().context("the configuration has a value that will not do")?;
    Ok(config)
}

/// The server's own sections; a value that will not do is named.
fn settings(given: Table) -> Result<Settings> {
    let read = |table: Table| {
        Settings::deserialize(Value::Table(table)).map_err(|error| anyhow!("{}", error.message()))
    };
    let refused = match read(given.clone()) {
        Ok(settings) => return Ok(settings),
        Err(refused) => refused,
    };
    let mut defaults: Table =
        toml::from_str(DEFAULT).context("the embedded defaults do not parse")?;
    defaults.retain(|section, _| given.contains_key(section));
    for (section, values) in &given {
        for (key, value) in values.as_table().into_iter().flatten() {
            let mut alone = defaults.clone();
            set(&mut alone, section, key, value.clone(), "the configuration")?;
            read(alone).with_context(|| format!("`{section}.{key}` will not do"))?;
        }
    }
    Err(refused.context("the configuration has a value that will not do"))
}

fn section<T: for<'de> Deserialize<'de>>(table: &mut Table, name: &str) -> Result<T> {
    let values = table.remove(name).with_context(|| format!("the section `{name}` is missing"))?;
    T::deserialize(values)
        .map_err(|error| anyhow!("{}", error.message()))
        .with_context(|| format!("the section `{name}` has a value that will not do"))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({:?})", self.shown())
    }
}

impl Config {
    /// The address to listen on, if it may be listened on.
    ///
    /// # Errors
    /// If others than this machine could reach it and `listen.public` does not say so.
    pub(crate) fn listen_address(&self) -> Result<SocketAddr> {
        let address = self.listen.address;
        if address.ip().is_loopback() || self.listen.public {
            return Ok(address);
        }
        bail!(
            "`{address}` can be reached from other machines, and twoticks has no TLS of its own; \
             listen on 127.0.0.1 behind a proxy, or set `listen.public = true`"
        )
    }

    /// Where the key file is.
    pub(crate) fn key_file(&self) -> PathBuf {
        if self.keys.file.as_os_str().is_empty() {
            self.data.folder.join(KEY_NAME)
        } else {
            self.keys.file.clone()
        }
    }

    /// The key, if it is configured itself.
    ///
    /// # Errors
    /// If it is not 64 hexadecimal digits.
    pub(crate) fn key(&self) -> Result<Option<Keys>> {
        let text = self.keys.key.0.expose_secret();
        if text.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; KEY_BYTES];
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = digits
            .filter(|digits| digits.len() == 2 * KEY_BYTES)
            .context("`keys.key` has to be 64 hexadecimal digits")?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Ok(Some(Keys::from_bytes(bytes)))
    }

    /// What holds, as TOML, without secrets.
    pub(crate) fn shown(&self) -> Table {
        let mut table = self.table.clone();
        for (section, key) in SECRETS {
            if let Some(value) = table.get_mut(*section).and_then(|values| values.get_mut(*key))
                && value.as_str().is_some_and(|text| !text.is_empty())
            {
                *value = Value::String("(set, not shown)".to_owned());
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        merge(&Overrides::default(), &path, variables)
    }

    fn refusal(file: Option<&str>, variables: &[(&str, &str)]) -> String {
        format!("{:#}", with(file, variables).unwrap_err())
    }

    #[test]
    fn the_commented_defaults_are_the_servers_own() {
        let config = with(None, &[]).unwrap();
        let written = serde_json::to_value(&config.server).unwrap();
        assert_eq!(written, serde_json::to_value(Settings::default()).unwrap());
        assert_eq!(config.listen_address().unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(config.key_file(), Path::new("./twoticks-data/key"));
    }

    #[test]
    fn every_key_has_a_comment_above_it() {
        let mut above = "";
        for line in DEFAULT.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(above.starts_with('#'), "`{line}` needs a comment");
            }
            above = line;
        }
    }

    #[test]
    fn the_environment_comes_after_the_file_and_the_file_after_the_defaults() {
        let file = "[cams]\nday_zone = \"Asia/Jakarta\"\nfill_empty = true\n";
        let config = with(
            Some(file),
            &[
                ("TWOTICKS__CAMS__DAY_ZONE", "Asia/Kolkata"),
                ("TWOTICKS__LIMITS__IN_FLIGHT_MAX", "7"),
            ],
        )
        .unwrap();
        assert_eq!(String::from(config.server.cams.day_zone.clone()), "Asia/Kolkata");
        assert!(config.server.cams.fill_empty);
        assert_eq!(config.server.limits.in_flight_max, 7);
        assert_eq!(config.server.limits.connections_max, 1_024);
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_there_is() {
        for (file, variables, part) in [
            (Some("[cams]\ndayzone = \"UTC\"\n"), [].as_slice(), "unknown key `cams.dayzone`"),
            (Some("[cams]\ndayzone = \"UTC\"\n"), &[], "`day_zone`"),
            (Some("[came]\nday_zone = \"UTC\"\n"), &[], "unknown section `came`"),
            (Some("listen = \"127.0.0.1:1\"\n"), &[], "`listen` in"),
            (None, &[("TWOTICKS__CAMS__X", "1")], "unknown key `cams.x` in TWOTICKS__CAMS__X"),
            (None, &[("TWOTICKS__CAMS", "1")], "write TWOTICKS__SECTION__KEY"),
            (None, &[("TWOTICKS__LISTEN__PUBLIC", "yes")], "write `true` or `false`"),
            (None, &[("TWOTICKS__LIMITS__CONNECTIONS_MAX", "-x")], "write a whole number"),
            (Some("[limits]\nconnections_max = \"many\"\n"), &[], "of type integer"),
            (Some("[cams]\nfreshness = \"soon\"\n"), &[], "`cams.freshness` will not do"),
            (Some("[cams]\nfreshness = \"soon\"\n"), &[], "expected `live` or `next-day`"),
            (Some("[cams]\nday_zone = \"Mars/Base\"\n"), &[], "`Mars/Base` is no time zone"),
            (Some("[cams\n"), &[], "is not TOML"),
        ] {
            let said = refusal(file, variables);
            assert!(said.contains(part), "{said} (looked for: {part})");
        }
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = "5f".repeat(KEY_BYTES);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        let config = with(None, &[("TWOTICKS__KEYS__KEY_FILE", path.to_str().unwrap())]).unwrap();
        assert!(config.key().unwrap().is_some());
        assert!(!format!("{config:?}").contains(&secret));
        assert!(!config.shown().to_string().contains(&secret));
        assert!(config.shown().to_string().contains("(set, not shown)"));
        let short = with(None, &[("TWOTICKS__KEYS__KEY", "5f5f")]).unwrap();
        assert!(short.key().is_err());
    }

    #[test]
    fn only_loopback_is_listened_on_unless_the_configuration_says_so() {
        for (address, public, fine) in [
            ("127.0.0.1:0", false, true),
            ("[::1]:8080", false, true),
            ("0.0.0.0:8080", false, false),
            ("192.0.2.1:8080", false, false),
            ("0.0.0.0:8080", true, true),
        ] {
            let file = format!("[listen]\naddress = \"{address}\"\npublic = {public}\n");
            let config = with(Some(&file), &[]).unwrap();
            assert_eq!(config.listen_address().is_ok(), fine, "{address} {public}");
        }
    }
}

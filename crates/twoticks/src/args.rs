//! The command line as types; its help and `docs/reference/cli.md` come from here.
//!
//! To add a command, add a variant with a sentence above it, and its arm in `main.rs`. What always
//! holds: every command has help that is a sentence, data goes to standard output, all else to
//! standard error, and the exit status is 0, 1 (it did not work) or 2 (wrong usage).

pub(crate) mod backup;
mod channel;
pub(crate) mod export;
mod pass_on;
mod policy;
pub(crate) mod reconcile;

pub(crate) use channel::{Channel, Connect, Number, Secret, Statuses, Template, Which};
pub(crate) use pass_on::{PassOn, Receipts};
pub(crate) use policy::{Policy, Simulate};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::names::{AccessKeyId, Name, Uid};

use crate::values::{access_key_id, channel_id, name, seconds, text, uid};
use crate::{bench, emulate, import};

/// WhatsApp ROI metrics: speaks CAMS to the official SDKs and counts every webhook exactly once.
#[derive(Debug, Parser)]
#[command(name = "twoticks", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The configuration; else `twoticks.toml`, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder with everything that is kept; else `data.folder` of the configuration.
    #[arg(long, visible_alias = "data", global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Answer with JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the server. With `--json` it prints one line with its endpoint when it is ready.
    ///
    /// If the disk does not confirm a write, nothing more is acknowledged and the server begins anew
    /// by itself, as the same process with the same arguments, from what is on disk; it is ready
    /// when it says so again. If it cannot, it ends with exit status 3 or 1: let a supervisor start
    /// it again (`Restart=on-failure` of systemd, `restart: on-failure` of Compose).
    Serve(Serve),
    /// Runs a server that is full of invented data, to look at and to write code against.
    ///
    /// Its folder is `./twoticks-demo`, or what `--data-dir` names; a folder that is there already
    /// is gone on with.
    Demo(Demo),
    /// Runs an empty server with a whole WhatsApp behind it, for tests and for writing code.
    ///
    /// Whatever is sent through it lives: it is delivered, read, answered, or fails, and the
    /// webhooks say so. `/_twoticks/` turns its clock, orders faults and shows what happened. Its
    /// folder is `./twoticks-emulator`, or what `--data-dir` names. With `--json` it prints one
    /// line when it is ready.
    Emulate(emulate::Args),
    /// Makes six calls to the running demo, and prints what each proves.
    ///
    /// The calls are made with `curl`, and with the official SDK for Python where that is
    /// installed. `--data-dir` names the demo's folder. Exit status 1 if a call does not prove
    /// what it should.
    Tour,
    /// Makes a data folder, a key file, a configuration, an account, its root key and a channel.
    Init(Init),
    /// Access keys, and whose they are: accounts, users, sessions.
    #[command(subcommand)]
    Key(Key),
    /// Who may do what.
    #[command(subcommand)]
    Policy(Policy),
    /// Channels with their phone numbers, templates and secrets.
    #[command(subcommand)]
    Channel(Channel),
    /// What was sent.
    #[command(subcommand)]
    Message(Message),
    /// Takes in sends, statuses, clicks, webhooks and receipts from a file.
    ///
    /// A line of NDJSON is `{"send": {"phone_number_id", "wamid", "to", "time", "template_code",
    /// "language", "campaign"}}`, `{"status": {"phone_number_id", "wamid", "status", "time", …}}`,
    /// `{"webhook": {…}, "accepted": ms}` or `{"receipts": […], "accepted": ms}`. CSV has a header
    /// of these names and holds statuses if it has a column `status`, else sends. Either may be
    /// compressed with gzip or zstd. See `docs/guide/import.md`.
    ///
    /// A line that will not do is told on standard error and the others are taken in; importing a
    /// file twice counts it once. An import of a file that was interrupted is gone on with by the
    /// same command. Exit status 0 if no line or part of one was dead, 1 otherwise.
    Import(import::Args),
    /// Takes dead letters in again, after what was missing has been added.
    ///
    /// With a file, takes in an exported journal instead: the lines of `import`. Exit status 0 if
    /// nothing is dead any more, 1 otherwise.
    Replay(Replay),
    /// Writes totals, messages or events into a file: CSV, NDJSON or Parquet, with a manifest.
    ///
    /// Works while the server runs, which then writes the file. The manifest is beside the file,
    /// as `FILE.manifest.json`, and says what the file is: query, zone, journal position, rules,
    /// columns, SHA-256.
    #[command(subcommand)]
    Export(export::Export),
    /// Rebuilds the ledger from the journal and compares. Exit status 1 if there is a difference.
    ///
    /// `from` is the position of the sealed snapshot that it begins with, else 0.
    Verify,
    /// Puts what WhatsApp says that it counted beside what was counted here, day by day.
    ///
    /// Each row is a figure of a number, a template, a button or a price on a day of UTC: ours,
    /// Meta's, the difference, and its likely reason. Nothing is changed by it. Meta is asked a few
    /// times a day while the server runs (`graph.figures_hours`), and by `--sync`. Exit status 0
    /// whether there is a difference or not. See `docs/guide/reconcile.md`.
    Reconcile(reconcile::Reconcile),
    /// Copies everything that is needed to go on elsewhere into a folder, while the server runs.
    ///
    /// A second backup into the same folder copies only what is new. The key file is not in it,
    /// and without it a backup opens nothing: keep a copy. See `docs/guide/backup.md`.
    Backup(backup::Backup),
    /// Makes a data folder of a backup: the one that `--data` names, or else is configured.
    ///
    /// Every checksum is compared, and a folder that is not empty is left alone. The key comes from
    /// `--key`, else from the backup, else from the configuration.
    Restore(backup::Restore),
    /// Says what the server would say to a recorded request, and where a signature goes wrong.
    ///
    /// FILE has the form of `crates/twoticks-wire/tests/data/signing` (its README describes it).
    /// The verdict goes to standard output. Exit status 0 if it is the one that the file expects,
    /// or `OK` if the file expects none; 1 otherwise.
    Check(Check),
    /// Looks for what may be wrong: clock, disk, key file, port. Exit status 1 if something is.
    Doctor,
    /// Prints the configuration that holds, without secrets.
    Config,
    /// Measures the ledger and the doors against what this machine can do at all.
    ///
    /// Rows, yardsticks and goals are in `bench/README.md`. Everything is written into a folder of
    /// its own below `--dir`, which is removed again. Exit status 1 if a row failed; a goal that
    /// is not met is no failure, a peer that is not given is said.
    Bench(bench::Args),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen, such as 127.0.0.1:8080; else `listen.address` of the configuration.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// The same number gives the same ids, keys and sends. Without it, keys are random.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// How many days there have been until now: the last ones of the story.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=30))]
    pub(crate) days: i64,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What the account is called.
    #[arg(long, default_value = "main", value_parser = text)]
    pub(crate) account: Text,
    /// The channel's id, `CustSpaceId` at the CAMS door; else one is made up.
    #[arg(long, value_name = "ID", value_parser = channel_id)]
    pub(crate) channel: Option<ChannelId>,
    #[command(flatten)]
    pub(crate) secrets: ChannelSecrets,
}

/// Where the secrets of a channel come from.
#[derive(Debug, Args)]
pub(crate) struct ChannelSecrets {
    /// A file with the secret of the WhatsApp app; else one is made up.
    #[arg(long, value_name = "FILE")]
    pub(crate) app_secret_file: Option<PathBuf>,
    /// A file with the token of the webhook handshake; else one is made up.
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_token_file: Option<PathBuf>,
}

/// Which account is meant.
#[derive(Debug, Args)]
pub(crate) struct OfAccount {
    /// The account, where there are several.
    #[arg(long, value_name = "UID", value_parser = uid)]
    pub(crate) account: Option<Uid>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Makes an access key and prints its secret, once.
    Add {
        #[command(flatten)]
        of: OfAccount,
        /// Whose it is; else the account's own (root).
        #[arg(long, value_parser = name)]
        user: Option<Name>,
        /// For callers that sign with RSA: a file with their public key, PEM.
        #[arg(long, value_name = "FILE")]
        rsa_public_key: Option<PathBuf>,
        /// Refuse signatures of version 1 (HMAC-SHA1).
        #[arg(long)]
        no_v1: bool,
    },
    /// Lists access keys and sessions, without secrets.
    List(OfAccount),
    /// Lets an access key be used again.
    Enable {
        /// The access key.
        #[arg(value_parser = access_key_id)]
        id: AccessKeyId,
        /// Only lets it sign with version 1 (HMAC-SHA1) again.
        #[arg(long)]
        v1: bool,
    },
    /// Refuses an access key from now on.
    Disable {
        /// The access key.
        #[arg(value_parser = access_key_id)]
        id: AccessKeyId,
        /// Only refuse its signatures of version 1 (HMAC-SHA1).
        #[arg(long)]
        v1: bool,
    },
    /// Takes an access key away, or ends a session.
    Remove {
        /// The access key.
        #[arg(value_parser = access_key_id)]
        id: AccessKeyId,
    },
    /// Mints temporary credentials (STS) and prints them, once.
    Session {
        #[command(flatten)]
        of: OfAccount,
        /// The role.
        #[arg(long, value_parser = name)]
        role: Name,
        /// What the session is called.
        #[arg(long, default_value = "session", value_parser = name)]
        name: Name,
        /// After how long it ends, such as `30m` or `2h`: a quarter of an hour to twelve hours.
        #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = seconds)]
        expires: i64,
        /// A policy of the role; may be given several times.
        #[arg(long = "attach", value_name = "POLICY", value_parser = name)]
        policies: Vec<Name>,
        /// A file with a policy document that narrows the session further.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Prints a link to the dashboard, good for a quarter of an hour.
    Dashboard {
        #[command(flatten)]
        of: OfAccount,
        /// A link to the page that connects channels with WhatsApp: whoever opens it may change
        /// them, for an hour.
        #[arg(long)]
        setup: bool,
    },
    /// RAM users.
    #[command(subcommand)]
    User(User),
    /// Accounts.
    #[command(subcommand)]
    Account(Account),
    /// Gives a user a code for a channel (`IsvCode`) and prints it, once.
    IsvCode {
        #[command(flatten)]
        of: OfAccount,
        /// The user.
        #[arg(long, value_parser = name)]
        user: Name,
        /// The channel.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: ChannelId,
        /// Take the code away instead.
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Makes a RAM user.
    Add {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
        /// It needs an `IsvCode` for each channel.
        #[arg(long)]
        isv_scoped: bool,
        /// A policy to attach; may be given several times.
        #[arg(long = "attach", value_name = "POLICY", value_parser = name)]
        policies: Vec<Name>,
    },
    /// Lists RAM users.
    List(OfAccount),
    /// Takes a RAM user away, with its keys.
    Remove {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Makes an account.
    Add {
        /// What it is called.
        #[arg(value_parser = text)]
        name: Text,
    },
    /// Lists accounts.
    List,
    /// Takes an account away; it must be empty.
    Remove {
        /// The account.
        #[arg(value_name = "UID", value_parser = uid)]
        account: Uid,
    },
    /// Subscribes an account to the product; a new one is.
    Subscribe(OfAccount),
    /// Ends an account's subscription: its calls get `Product.Unsubscript`.
    Unsubscribe(OfAccount),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Message {
    /// Lists the recipients of a mass send with their message ids.
    List {
        /// `GroupMessageId` of the mass send.
        #[arg(long, value_name = "ID")]
        group: String,
        /// The channel, if only one is meant.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: Option<ChannelId>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// An exported journal; `-` is standard input. Without it, the dead letters.
    pub(crate) file: Option<PathBuf>,
    /// Only say what would be counted.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The recorded request; `-` is standard input.
    pub(crate) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_and_every_option_has_help() {
        let mut commands = vec![Cli::command()];
        while let Some(mut command) = commands.pop() {
            command.build();
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name}: {}", arg.get_id());
            }
            commands
                .extend(command.get_subcommands().filter(|it| it.get_name() != "help").cloned());
        }
    }
}

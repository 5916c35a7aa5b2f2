//! What the command line says, as what is to be done to the data.
//!
//! Files that a command names are read here, so that a running server gets their contents and
//! needs no access to them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use twoticks_server::control::channels::{NewChannel, NewTemplate, WhichSecret};
use twoticks_server::control::pass_on::SigningKey;
use twoticks_server::control::people::NewSession;
use twoticks_server::control::policies::{Caller, Simulation};
use twoticks_server::control::{
    Command, SecretText, channels, feed, pass_on as passing, people, policies,
};
use twoticks_server::graph::connect::Connect;
use twoticks_server::links::wrap::Wrap;
use twoticks_store::directory::model::StatusSource;
use twoticks_store::directory::names::Uid;

use crate::args;
use crate::config::read_secret;

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn secret(path: Option<&PathBuf>) -> Result<Option<SecretText>> {
    path.map(|path| read_secret(path).map(SecretText)).transpose()
}

pub(crate) fn key(command: args::Key) -> Result<Command> {
    use people::Command as People;
    Ok(Command::People(match command {
        args::Key::Add { of, user, rsa_public_key, no_v1 } => People::AddKey {
            account: of.account,
            user,
            rsa_public_key: rsa_public_key.as_deref().map(text).transpose()?,
            v1_allowed: !no_v1,
        },
        args::Key::List(of) => People::ListKeys { account: of.account },
        args::Key::Enable { id, v1: true } => People::SetKeyV1Allowed { id, allowed: true },
        args::Key::Enable { id, v1: false } => People::SetKeyActive { id, active: true },
        args::Key::Disable { id, v1: true } => People::SetKeyV1Allowed { id, allowed: false },
        args::Key::Disable { id, v1: false } => People::SetKeyActive { id, active: false },
        args::Key::Remove { id } => People::RemoveKey { id },
        args::Key::Session { of, role, name, expires, policies, policy } => People::AddSession {
            account: of.account,
            session: NewSession {
                role,
                name,
                policies,
                policy: policy.as_deref().map(text).transpose()?,
                seconds: expires,
            },
        },
        args::Key::Dashboard { of, setup } => People::DashboardLink { account: of.account, setup },
        args::Key::IsvCode { of, user, channel, remove: false } => {
            People::PutIsvCode { account: of.account, user, channel }
        }
        args::Key::IsvCode { of, user, channel, remove: true } => {
            People::RemoveIsvCode { account: of.account, user, channel }
        }
        args::Key::User(command) => user(command),
        args::Key::Account(command) => account(command),
    }))
}

fn user(command: args::User) -> people::Command {
    match command {
        args::User::Add { of, name, isv_scoped, policies } => {
            people::Command::AddUser { account: of.account, name, isv_scoped, policies }
        }
        args::User::List(of) => people::Command::ListUsers { account: of.account },
        args::User::Remove { of, name } => {
            people::Command::RemoveUser { account: of.account, name }
        }
    }
}

fn account(command: args::Account) -> people::Command {
    let subscribed =
        |account: Option<Uid>, subscribed| people::Command::SetSubscribed { account, subscribed };
    match command {
        args::Account::Add { name } => people::Command::AddAccount { name },
        args::Account::List => people::Command::ListAccounts,
        args::Account::Remove { account } => people::Command::RemoveAccount { account },
        args::Account::Subscribe(of) => subscribed(of.account, true),
        args::Account::Unsubscribe(of) => subscribed(of.account, false),
    }
}

pub(crate) fn policy(command: args::Policy) -> Result<Command> {
    use policies::Command as Policies;
    Ok(Command::Policies(match command {
        args::Policy::Add { of, name, file } => {
            Policies::Put { account: of.account, name, document: text(&file)? }
        }
        args::Policy::List(of) => Policies::List { account: of.account },
        args::Policy::Remove { of, name } => Policies::Remove { account: of.account, name },
        args::Policy::Attach { of, name, user } => {
            Policies::Attach { account: of.account, user, policy: name }
        }
        args::Policy::Detach { of, name, user } => {
            Policies::Detach { account: of.account, user, policy: name }
        }
        args::Policy::Simulate(args) => {
            let args::Simulate { of, user, key, action, resource, source_ip, secure_transport } =
                args;
            let caller = match (user, key) {
                (Some(user), _) => Caller::User(user),
                (None, Some(key)) => Caller::Key(key),
                (None, None) => Caller::Root,
            };
            Policies::Simulate(Simulation {
                account: of.account,
                caller,
                action,
                resource,
                source_ip,
                secure_transport,
            })
        }
        args::Policy::Decode { message } => Policies::Decode { message },
    }))
}

pub(crate) fn channel(command: args::Channel) -> Result<Command> {
    use channels::Command as Channels;
    Ok(Command::Channels(match command {
        args::Channel::PassOn(command) => return pass_on(command),
        args::Channel::Add { of, id, name, waba_id, secrets, statuses } => {
            Channels::Add(NewChannel {
                account: of.account,
                id,
                name,
                waba_id,
                app_secret: secret(secrets.app_secret_file.as_ref())?,
                verify_token: secret(secrets.verify_token_file.as_ref())?,
                status_source: match statuses {
                    args::Statuses::CloudApi => StatusSource::CloudApi,
                    args::Statuses::Receipts => StatusSource::Receipts,
                },
            })
        }
        args::Channel::List(of) => Channels::List { account: of.account },
        args::Channel::Remove { id } => Channels::Remove { channel: id },
        args::Channel::Connect(wanted) => connect(wanted)?,
        args::Channel::Disconnect { id } => Channels::Disconnect { channel: id },
        args::Channel::Sync { id } => Channels::Sync { channel: id },
        args::Channel::Number(command) => number(command),
        args::Channel::Template(command) => template(command),
        args::Channel::Secret(args::Secret::Rotate { channel, which, file }) => {
            let which = match which {
                args::Which::App => WhichSecret::App,
                args::Which::Verify => WhichSecret::Verify,
                args::Which::Receipts => WhichSecret::Receipts,
            };
            Channels::RotateSecret { channel, which, value: secret(file.as_ref())? }
        }
        args::Channel::Secret(args::Secret::DropOld { channel }) => {
            Channels::DropOldAppSecrets { channel }
        }
    }))
}

fn connect(wanted: args::Connect) -> Result<channels::Command> {
    let args::Connect { id, waba_id, access_token_file, secrets, callback_url, marketing_messages } =
        wanted;
    Ok(channels::Command::Connect(Connect {
        channel: id,
        waba_id,
        access_token: secret(access_token_file.as_ref())?,
        app_secret: secret(secrets.app_secret_file.as_ref())?,
        verify_token: secret(secrets.verify_token_file.as_ref())?,
        callback_url,
        marketing_messages,
    }))
}

fn pass_on(command: args::PassOn) -> Result<Command> {
    use passing::Command as PassOn;
    let key = |made: bool, file: Option<&PathBuf>| {
        Ok::<_, anyhow::Error>(match (secret(file)?, made) {
            (Some(key), _) => SigningKey::This(key),
            (None, true) => SigningKey::New,
            (None, false) => SigningKey::None,
        })
    };
    Ok(Command::PassOn(match command {
        args::PassOn::Receipts(args::Receipts {
            channel,
            number,
            status_url,
            inbound_url,
            enabled,
        }) => PassOn::Receipts(passing::Receipts {
            channel,
            number,
            status_url: status_url.map(SecretText),
            inbound_url: inbound_url.map(SecretText),
            enabled,
        }),
        args::PassOn::ForgetReceipts { channel, number } => {
            PassOn::ForgetReceipts { channel, number }
        }
        args::PassOn::Sign { channel, key_file, off } => {
            PassOn::Sign { channel, key: key(!off, key_file.as_ref())? }
        }
        args::PassOn::Webhooks { channel, url, sign, key_file } => {
            let key = key(sign, key_file.as_ref())?;
            PassOn::AddWebhooks { channel, url: SecretText(url), key }
        }
        args::PassOn::Remove { channel, to } => {
            PassOn::RemoveWebhooks { channel, to: SecretText(to) }
        }
        args::PassOn::List { channel } => PassOn::List { channel },
    }))
}

fn number(command: args::Number) -> channels::Command {
    match command {
        args::Number::Add { number, phone_number_id, channel } => {
            channels::Command::PutNumber { channel, phone_number: number, phone_number_id }
        }
        args::Number::List { channel, history } => {
            channels::Command::ListNumbers { channel, history }
        }
        args::Number::Remove { number } => channels::Command::RemoveNumber { phone_number: number },
    }
}

fn template(command: args::Template) -> channels::Command {
    match command {
        args::Template::Add { code, channel, language, category, name, meta_id, buttons } => {
            channels::Command::PutTemplate(NewTemplate {
                channel,
                code,
                language,
                name,
                meta_id,
                category,
                buttons,
            })
        }
        args::Template::Wrap { code, language, channel, button, target } => {
            channels::Command::WrapTemplate(Wrap { channel, code, language, button, target })
        }
        args::Template::List { channel, history } => {
            channels::Command::ListTemplates { channel, history }
        }
        args::Template::Remove { code, channel, language } => {
            channels::Command::RemoveTemplate { channel, code, language }
        }
    }
}

/// The channel that `init` makes.
pub(crate) fn first_channel(args: &args::Init, account: Uid) -> Result<Command> {
    Ok(Command::Channels(channels::Command::Add(NewChannel {
        account: Some(account),
        id: args.channel.clone(),
        name: None,
        waba_id: None,
        app_secret: secret(args.secrets.app_secret_file.as_ref())?,
        verify_token: secret(args.secrets.verify_token_file.as_ref())?,
        status_source: StatusSource::CloudApi,
    })))
}

pub(crate) fn message(command: args::Message) -> Command {
    let args::Message::List { group, channel } = command;
    Command::Data(feed::Command::ListMessages { group, channel })
}

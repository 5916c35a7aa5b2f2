//! Health, beginning anew, chaos, and what can be set.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use twoticks_core::ids::ChannelId;
use twoticks_server::settings::Freshness;

use super::{Answer, Around, NotDone, Question, clock};
use crate::chaos::{Chaos, Profile};
use crate::emulator::NotReset;
use crate::habits::{FAILURES, failure_of};
use crate::life::Outcome;
use crate::meta::Version;
use crate::parameters::{by_word, number};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn health(around: Around, question: Question) -> Answer {
    let Nothing {} = question.read()?;
    let counters = around.app.ledger.counters();
    Ok(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "emulates": around.emulator.label,
        "clock": clock::shown(&around, None),
        "counted": {"entries": counters.entries, "events": counters.events, "dead": counters.dead},
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    #[serde(default, deserialize_with = "number")]
    seed: Option<u64>,
    key: Option<String>,
}

pub(super) async fn reset(around: Around, question: Question) -> Answer {
    let asked: Reset = question.read()?;
    let emulator = &around.emulator;
    let done = match &asked.key {
        None => emulator.reset(&around.app, asked.seed).await,
        Some(_) if asked.seed.is_some() => {
            let why = "`seed` is for all accounts; leave `key` out, or `seed`";
            return Err(NotDone::Asked(why.to_owned()));
        }
        Some(key) => emulator.reset_account(&around.app, key).await,
    };
    done.map_err(|why| match why {
        NotReset::Demo | NotReset::First(_) => NotDone::Conflict(why.to_string()),
        NotReset::NoAccount(_) => NotDone::Asked(why.to_string()),
        NotReset::Store(_) | NotReset::Directory(_) | NotReset::Fixtures(_) => {
            NotDone::Failed(why.to_string())
        }
    })?;
    Ok(json!({"reset": true, "seed": emulator.whatsapp.config().seed, "key": asked.key}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    profiles: Option<String>,
    channel: Option<String>,
}

pub(super) async fn chaos(around: Around, question: Question) -> Answer {
    let Order { profiles, channel } = question.read()?;
    let whatsapp = &around.emulator.whatsapp;
    let channel = around.named(channel.as_deref())?;
    if !question.is_post && profiles.is_some() {
        return Err(NotDone::Asked("ordering chaos is a POST".to_owned()));
    }
    if question.is_post {
        let Some(profiles) = profiles else {
            let all = Chaos::all();
            return Err(NotDone::Asked(format!("`profiles` is missing; there are {all}, `none`")));
        };
        let chaos = Chaos::parse(&profiles).map_err(|why| NotDone::Asked(why.to_string()))?;
        whatsapp.set_chaos(channel.as_ref(), Some(chaos));
    }
    let holds = match &channel {
        Some(channel) => whatsapp.chaos_of(channel),
        None => whatsapp.config().chaos,
    };
    Ok(json!({
        "profiles": holds.to_string(),
        "channel": channel,
        "all": Profile::ALL.map(Profile::as_str),
        "help": Profile::ALL.iter().map(|it| (it.as_str(), it.help())).collect::<BTreeMap<_, _>>(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    outcome: Option<String>,
    api_version: Option<String>,
    channel: Option<String>,
}

/// How lives can end, by words; `failed:CODE` besides.
const OUTCOMES: [(&str, Outcome); 6] = [
    ("life", Outcome::Life),
    ("accepted", Outcome::Accepted),
    ("sent", Outcome::Sent),
    ("delivered", Outcome::Delivered),
    ("read", Outcome::Read),
    ("tapped", Outcome::Tapped),
];

/// Reads how lives have to end.
///
/// # Errors
/// What would do.
pub(crate) fn outcome(word: &str) -> Result<Outcome, String> {
    let Some(code) = word.strip_prefix("failed:") else {
        return by_word("outcome", &OUTCOMES, word)
            .map_err(|why| format!("{why}, or `failed:` with a code of Meta's"));
    };
    code.parse().ok().and_then(failure_of).map(Outcome::Failed).ok_or_else(|| {
        let codes: Vec<String> = FAILURES.iter().map(|it| it.code.to_string()).collect();
        format!("`{code}` is no code that is played; there are {}", codes.join(", "))
    })
}

pub(super) async fn config(around: Around, question: Question) -> Answer {
    let Set { outcome: word, api_version, channel } = question.read()?;
    let whatsapp = &around.emulator.whatsapp;
    let channel = around.named(channel.as_deref())?;
    if !question.is_post && (word.is_some() || api_version.is_some()) {
        return Err(NotDone::Asked("setting something is a POST".to_owned()));
    }
    if question.is_post {
        if channel.is_some() && api_version.is_some() {
            let why = "`api_version` is for all channels; leave `channel` out, or `api_version`";
            return Err(NotDone::Asked(why.to_owned()));
        }
        let version = api_version.as_deref().map(Version::parse).transpose();
        let version = version.map_err(NotDone::Asked)?;
        let ends = word.as_deref().map(outcome).transpose().map_err(NotDone::Asked)?;
        match (&channel, ends) {
            (Some(channel), Some(ends)) => whatsapp.set_outcome(channel, ends),
            (_, ends) => whatsapp.change_config(|config| {
                config.outcome = ends.unwrap_or(config.outcome);
                config.version = version.unwrap_or(config.version);
            }),
        }
    }
    Ok(shown(&around, channel.as_ref()))
}

/// What is set, for one channel if it is given.
fn shown(around: &Around, channel: Option<&ChannelId>) -> Value {
    let whatsapp = &around.emulator.whatsapp;
    let config = whatsapp.config();
    let ends = match channel.map_or(config.outcome, |channel| whatsapp.outcome_of(channel)) {
        Outcome::Failed(failure) => format!("failed:{}", failure.code),
        other => OUTCOMES
            .iter()
            .find(|(_, known)| *known == other)
            .map_or_else(String::new, |(word, _)| (*word).to_owned()),
    };
    let chaos = channel.map_or(config.chaos, |channel| whatsapp.chaos_of(channel));
    let any_key = around.emulator.any_key.as_ref();
    json!({
        "seed": config.seed,
        "channel": channel,
        "outcome": ends,
        "api_version": config.version.to_string(),
        "chaos": chaos.to_string(),
        "any_key": any_key.is_some(),
        "checks_signatures": any_key.is_none_or(|any_key| any_key.secret.is_some()),
        "freshness": match around.app.settings.cams.freshness {
            Freshness::Live => "live",
            Freshness::NextDay => "next-day",
        },
    })
}

//! The Graph API beside the server: where it is, its access tokens, and its bad days.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Around, NotDone, Question};
use crate::graph::faults::{Fault, ORDERS_MAX, Order};
use crate::graph::shown;
use crate::parameters::{by_word, number};

/// How many times a fault can be ordered at once.
const TIMES_MAX: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    fault: Option<String>,
    #[serde(default, deserialize_with = "number")]
    times: Option<u64>,
    edge: Option<String>,
    channel: Option<String>,
    key: Option<String>,
    faults: Option<Value>,
}

pub(super) async fn graph(around: Around, question: Question) -> Answer {
    let Ordered { fault, times, edge, channel, key, faults } = question.read()?;
    let desk = &around.emulator.desk;
    let orders = fault.is_some() || faults.is_some();
    if !question.is_post && (orders || times.is_some() || edge.is_some()) {
        return Err(NotDone::Asked("ordering a fault is a POST".to_owned()));
    }
    if question.is_post {
        match (fault, faults) {
            (Some(_), Some(_)) => {
                let why = "`fault` orders one and `faults` clears all; leave one out";
                return Err(NotDone::Asked(why.to_owned()));
            }
            (None, None) => {
                let why = "`fault` is missing; `faults` with an empty list clears";
                return Err(NotDone::Asked(why.to_owned()));
            }
            (None, Some(list)) => {
                let is_none = list.as_array().is_some_and(Vec::is_empty)
                    || list.as_str().is_some_and(|text| matches!(text, "" | "[]" | "none"));
                if !is_none {
                    let why = "`faults` has to be an empty list, which clears; `fault` orders one";
                    return Err(NotDone::Asked(why.to_owned()));
                }
                desk.faults.clear();
            }
            (Some(word), None) => {
                let words = Fault::ALL.map(|fault| (fault.as_str(), fault));
                let fault = by_word("fault", &words, &word).map_err(NotDone::Asked)?;
                let times = times.unwrap_or(1);
                if !(1..=TIMES_MAX).contains(&times) {
                    let why = format!("`times` is `{times}`; 1 to {TIMES_MAX} would do");
                    return Err(NotDone::Asked(why));
                }
                let channel = around.named(channel.as_deref())?;
                if !desk.faults.order(Order { fault, times, edge, channel }) {
                    let why = format!("{ORDERS_MAX} faults are wanted already; clear them first");
                    return Err(NotDone::Conflict(why));
                }
            }
        }
    }
    let chosen = around.chosen(channel.as_deref(), key.as_deref())?;
    let snapshot = around.app.directory.snapshot();
    let url = format!("http://{}", question.host);
    let version = around.emulator.whatsapp.config().version;
    let channels = snapshot.channels().filter(|channel| chosen(&channel.id));
    let tokens: Vec<Value> = channels.map(|channel| shown(channel, &url, version)).collect();
    let help: BTreeMap<_, _> = Fault::ALL.iter().map(|it| (it.as_str(), it.help())).collect();
    Ok(json!({
        "url": url, "version": version.to_string(), "access_tokens": tokens,
        "faults": desk.faults.shown(), "help": help,
    }))
}

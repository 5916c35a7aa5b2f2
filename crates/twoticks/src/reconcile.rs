//! `reconcile`: ours beside Meta's.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Map, Value, json};
use twoticks_server::control::{Command, reconcile};

use crate::args::reconcile::Reconcile;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::output;
use crate::reach::Data;

/// What people are shown of a row.
const SHOWN: [&str; 8] = ["day", "name", "figure", "button", "ours", "meta", "difference", "why"];
/// What people are shown before the rows.
const ABOUT: [&str; 8] =
    ["channel", "start", "end", "connected", "meta_read", "insights", "currency", "problems"];

/// Compares, after asking Meta if that is wanted, and prints the rows.
///
/// # Errors
/// If there is nothing to compare, or Meta was to be asked and did not answer everything.
pub(crate) async fn run(config: &Config, args: Reconcile, as_json: bool) -> Result<bool> {
    let Reconcile { channel, start, end, sync, differences } = args;
    let request = reconcile::Request { channel, start, end, sync };
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let asking = data.ask(Command::Reconcile(request));
    let answer = crate::with_patience("comparing", asking).await;
    data.close().await?;
    let mut answer = answer?;
    if differences {
        for rows in ["rows", "sums"] {
            if let Some(Value::Array(rows)) = answer.get_mut(rows) {
                rows.retain(|row| row.get("difference") != Some(&json!(0)));
            }
        }
    }
    output::value(as_json, &if as_json { answer } else { for_people(&answer) })?;
    Ok(true)
}

/// What a terminal has room for.
fn for_people(answer: &Value) -> Value {
    let mut shown: Map<String, Value> = ABOUT
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), answer.get(name)?.clone())))
        .collect();
    let rows = answer.get("rows").and_then(Value::as_array);
    let rows: Vec<Value> = rows.into_iter().flatten().map(row_for_people).collect();
    shown.insert("rows".to_owned(), rows.into());
    shown.into()
}

fn row_for_people(row: &Value) -> Value {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let button = text("button_type")
        .map(|kind| format!("{kind} {}", text("button_text").unwrap_or_default()));
    let cells = SHOWN.into_iter().filter_map(|name| {
        let cell = match name {
            "button" => json!(button.as_ref()?),
            name => row.get(name)?.clone(),
        };
        Some((name.to_owned(), cell))
    });
    Value::Object(cells.collect())
}

//! `reconcile`: ours beside Meta's.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use twoticks_server::control::{Command, reconcile};

use crate::args::reconcile::Reconcile;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::output;
use crate::reach::Data;

/// What people are shown of a row, in this order.
const SHOWN: [&str; 7] = ["day", "what", "figure", "ours", "meta", "difference", "why"];
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
    if as_json {
        output::value(true, &answer)?;
        return Ok(true);
    }
    let about =
        ABOUT.into_iter().filter_map(|name| Some((name.to_owned(), answer.get(name)?.clone())));
    output::value(false, &Value::Object(about.collect()))?;
    let rows = answer.get("rows").and_then(Value::as_array);
    let rows: Vec<Value> = rows.into_iter().flatten().map(for_people).collect();
    output::data(&format!("\n{}", output::table_of(&SHOWN, &rows)))?;
    Ok(true)
}

/// A row with what it is about in one column.
fn for_people(row: &Value) -> Value {
    let mut row = row.as_object().cloned().unwrap_or_default();
    let mut text = |name: &str| {
        let text = row.remove(name);
        text.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let words = [text("name"), text("button_type"), text("button_text")];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    row.insert("what".to_owned(), words.join(" ").into());
    row.into()
}

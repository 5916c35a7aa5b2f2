//! How what WhatsApp says of numbers and templates has changed, as rows: the oldest first for each.

use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::history::Changed;

use super::ControlError;
use super::channels::chosen;
use crate::app::App;

pub(super) fn of_numbers(
    snapshot: &Snapshot,
    given: Option<&ChannelId>,
) -> Result<Value, ControlError> {
    let channels = chosen(snapshot, given)?;
    let numbers = channels.iter().flat_map(|channel| snapshot.numbers_of(&channel.id));
    let rows = numbers.flat_map(|number| {
        let history = number.graph.iter().flat_map(|graph| &graph.history);
        history.map(|Changed { field, from, to, reason: _, learned }| {
            json!({
                "time": learned, "phone_number": number.phone_number, "field": field,
                "from": from, "to": to, "channel": number.channel,
            })
        })
    });
    Ok(rows.collect())
}

/// What the directory keeps and, of the categories, what the journal says.
pub(super) async fn of_templates(
    app: &App,
    given: Option<&ChannelId>,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let mut rows = Vec::new();
    for channel in chosen(&snapshot, given)? {
        let known = app.ledger.channel(&channel.id).await?;
        for template in snapshot.templates_of(&channel.id) {
            let row = |time: Time, field: Value, [from, to, reason]: [Value; 3]| {
                json!({
                    "time": time, "code": template.code, "language": template.language,
                    "name": template.name, "field": field, "from": from, "to": to,
                    "reason": reason, "channel": template.channel,
                })
            };
            let told = template.graph.iter().flat_map(|graph| &graph.history);
            let mut of_one: Vec<(Time, Value)> = told
                .map(|Changed { field, from, to, reason, learned }| {
                    let said = [json!(from), json!(to), json!(reason)];
                    (*learned, row(*learned, json!(field), said))
                })
                .collect();
            let identity = template.identity();
            let categories = known.categories().find(|(of, _)| **of == identity);
            for (time, to) in categories.into_iter().flat_map(|(_, changes)| changes) {
                // The first says what it was before, if anybody said so.
                let before = known.category(&identity, Time(time.0.saturating_sub(1)));
                if let Some(from) = before.filter(|before| *before != to) {
                    let said = [from.as_str().into(), to.as_str().into(), Value::Null];
                    of_one.push((time, row(time, "category".into(), said)));
                }
            }
            of_one.sort_by_key(|(time, _)| *time);
            rows.extend(of_one.into_iter().map(|(_, row)| row));
        }
    }
    Ok(rows.into())
}

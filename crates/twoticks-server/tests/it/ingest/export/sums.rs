//! What an export of totals has to add up to, from the series, and what one does.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use twoticks_core::channel::Side;
use twoticks_core::clock::Time;
use twoticks_core::metric::METRICS;
use twoticks_core::query::{Query, Select, Subject};
use twoticks_core::totals::{Atom, Attribution, Totals};
use twoticks_core::window::{Granularity, Window, windows};
use twoticks_server::control::export::span::By;
use twoticks_store::ledger::Ledger as _;

use crate::ingest::harness::{Server, channel};

/// Everything that is counted, by whose, side and window: counts, then maps.
pub(super) type Sums = BTreeMap<(String, String, String, i64, i64), (Vec<i64>, Value)>;

fn counts(totals: &Totals) -> Vec<i64> {
    METRICS.iter().filter_map(|metric| metric.count(totals)).collect()
}

/// What the maps of totals are in an export.
fn maps(totals: &Totals) -> Value {
    let failures = totals.failures.iter().map(|(code, n)| (code.to_string(), json!(n)));
    let clicks = totals.clicks.iter().map(|(button, clicks)| {
        json!({"type": button.kind.as_str(), "text": button.text, "all": clicks.all, "unique": clicks.unique})
    });
    let charged = totals.charged.iter().map(|(charge, count)| {
        json!({"category": charge.category, "type": charge.kind, "model": charge.model, "count": count})
    });
    let cost = totals.cost.iter().map(|(currency, micros)| (currency.to_string(), json!(micros)));
    json!([
        failures.collect::<Value>(),
        clicks.collect::<Value>(),
        charged.collect::<Value>(),
        cost.collect::<Value>()
    ])
}

pub(super) async fn expected(server: &Server, span: (Time, Time), by: By, zone: &str) -> Sums {
    let zone = TimeZone::get(zone).unwrap();
    let windows = match by {
        By::Day => windows(span.0, span.1, Granularity::Daily, &zone).unwrap(),
        By::HalfHour => windows(span.0, span.1, Granularity::HalfHour, &zone).unwrap(),
        By::Atom => {
            let atoms = windows(span.0, span.1, Granularity::Daily, &TimeZone::UTC).unwrap();
            let all = atoms[0].from.0..atoms.last().unwrap().to.0;
            let atom = |n| Window { from: Atom(n), to: Atom(n + 1) };
            all.map(atom).filter(|it| it.start() < span.1 && span.0 < it.end()).collect()
        }
    };
    let mut sums = Sums::new();
    for id in ["a", "b", "z"] {
        for (side, side_word) in [(Side::Before, "before_opt_in"), (Side::After, "after_opt_in")] {
            let mut add = async |select: Select, kind: &str| {
                let (windows, side) = (windows.clone(), Some(side));
                let query = Query { channel: channel(id), select, side, windows };
                for point in server.ledger.series(query).await.unwrap() {
                    let whose = match &point.subject {
                        Subject::Number(number) => format!("{number} {kind}"),
                        Subject::Template(template) => {
                            format!("{} {}", template.code, template.language)
                        }
                    };
                    let (start, end) = (point.window.start().0, point.window.end().0);
                    let key = (id.to_owned(), whose, side_word.to_owned(), start, end);
                    sums.insert(key, (counts(&point.totals), maps(&point.totals)));
                }
            };
            for (attribution, word) in [
                (Attribution::Template, "template"),
                (Attribution::FreeForm, "free_form"),
                (Attribution::Unattributed, "unattributed"),
            ] {
                add(Select::Numbers { number: None, attribution: Some(attribution) }, word).await;
            }
            add(Select::Templates { code: None, language: None, category: None }, "").await;
        }
    }
    sums
}

/// The sums of an export; campaigns and categories of a template added up.
pub(super) fn exported(rows: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for row in rows {
        let word = |name: &str| row[name].as_str().unwrap().to_owned();
        let whose = match word("scope").as_str() {
            "number" => format!("{} {}", word("phone_number"), word("attribution")),
            _ => format!("{} {}", word("template_code"), word("language")),
        };
        let of = |name: &str| row[name].as_i64().unwrap();
        let counts: Vec<i64> = METRICS
            .iter()
            .filter(|metric| metric.count(&Totals::default()).is_some())
            .map(|metric| of(metric.name))
            .collect();
        assert!(counts.iter().any(|count| *count != 0), "{row}");
        let maps = json!([row["failures"], row["button_clicks"], row["charged"], row["cost"]]);
        let key = (word("channel"), whose, word("side"), of("start_ms"), of("end_ms"));
        match sums.remove(&key) {
            None => sums.insert(key, (counts, maps)),
            Some((known, of_known)) => {
                assert_eq!(row["scope"], "template", "one row for each number and window: {row}");
                let added = known.iter().zip(&counts).map(|(a, b)| a + b).collect();
                sums.insert(key, (added, merged(&of_known, &maps)))
            }
        };
    }
    sums
}

/// Maps of two rows as one: objects by name, lists by all but their numbers.
fn merged(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            json!(a.as_i64().unwrap() + b.as_i64().unwrap())
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut sum = a.clone();
            for (name, value) in b {
                let value = sum.get(name).map_or_else(|| value.clone(), |old| merged(old, value));
                sum.insert(name.clone(), value);
            }
            Value::Object(sum)
        }
        (Value::Array(a), Value::Array(b))
            if a.iter().all(|it| it.get("type").is_none())
                && b.iter().all(|it| it.get("type").is_none())
                && a.len() == b.len() =>
        {
            a.iter().zip(b).map(|(a, b)| merged(a, b)).collect()
        }
        (Value::Array(a), Value::Array(b)) => {
            let name = |it: &Value| {
                let mut it = it.clone();
                let fields = it.as_object_mut().unwrap();
                fields.retain(|_, value| value.is_string());
                // In the order of buttons and charges.
                let at = |name: &str| fields.get(name).map(|it| it.as_str().unwrap().to_owned());
                (at("category"), at("type"), at("model"), at("text"))
            };
            let mut sum: BTreeMap<_, Value> = a.iter().map(|it| (name(it), it.clone())).collect();
            for item in b {
                let old = sum.remove(&name(item));
                let new = old.map_or_else(
                    || item.clone(),
                    |old| {
                        let mut new = old.clone();
                        for (field, value) in new.as_object_mut().unwrap() {
                            if let Some(number) = value.as_i64() {
                                *value = json!(number + item[field].as_i64().unwrap());
                            }
                        }
                        new
                    },
                );
                sum.insert(name(item), new);
            }
            sum.into_values().collect()
        }
        (same, _) => same.clone(),
    }
}

//! Recorded calls: `tests/data/calls/<Action>/*.json`, each a small story with its answers.
//!
//! A story has `what` (a sentence about the product), perhaps `settings` that differ, and `steps`:
//! `at` (the clock), `facts` (see `facts.rs`) or a `call` with its `answer`. In an answer `"…"`
//! stands for any text; `RequestId`, `HostId` and `Recommend` are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use twoticks_core::clock::Time;
use twoticks_server::ops::OPERATIONS;
use twoticks_server::settings::Settings;

use crate::facts::{Fact, record};
use crate::harness::{How, Made, Server, Who};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    what: String,
    #[serde(default)]
    settings: Value,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    At { at: i64 },
    Facts { facts: Vec<Fact> },
    Call { call: Called, answer: Expected },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    #[serde(rename = "as")]
    who: String,
    action: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
    #[serde(default)]
    v1: bool,
    #[serde(default)]
    form: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    body: Value,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/calls")
}

fn stories() -> Vec<(String, String, Story)> {
    let mut stories = Vec::new();
    for folder in std::fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        let action = folder.file_name().into_string().unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let name = format!("{action}/{}", file.file_name().into_string().unwrap());
            let text = std::fs::read_to_string(file.path()).unwrap();
            let story =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            stories.push((action.clone(), name, story));
        }
    }
    stories.sort_by(|one, other| one.1.cmp(&other.1));
    stories
}

/// Lays `over` over `under`, member by member.
fn overlay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over.clone(),
    }
}

/// A parameter as the wire has it: a text as it is, anything else as JSON.
fn on_the_wire(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Puts `"…"` wherever it is expected.
fn forget(expected: &Value, answered: &mut Value) {
    match (expected, answered) {
        (Value::String(any), Value::String(text)) if any == "…" => *text = "…".to_owned(),
        (Value::Object(expected), Value::Object(answered)) => {
            for (name, expected) in expected {
                if let Some(answered) = answered.get_mut(name) {
                    forget(expected, answered);
                }
            }
        }
        (Value::Array(expected), Value::Array(answered)) => {
            expected.iter().zip(answered).for_each(|(e, a)| forget(e, a));
        }
        _ => {}
    }
}

async fn play(action: &str, name: &str, story: &Story) {
    let mut settings = serde_json::to_value(Settings::default()).unwrap();
    overlay(&mut settings, &story.settings);
    let settings = serde_json::from_value(settings).unwrap();
    let server = Server::start_with(Made { settings, ..Made::default() }).await;
    for (index, step) in story.steps.iter().enumerate() {
        match step {
            Step::At { at } => server.clock.set(Time(*at)),
            Step::Facts { facts } => record(&server, facts).await,
            Step::Call { call, answer } => {
                let params: Vec<(String, String)> =
                    call.params.iter().map(|(n, v)| (n.clone(), on_the_wire(v))).collect();
                let params: Vec<(&str, &str)> =
                    params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let how = How { v1: call.v1, form: call.form, ..How::default() };
                let called = call.action.as_deref().unwrap_or(action);
                let reply = server.call_how(Who::named(&call.who), called, &params, &how).await;
                let mut body = reply.json();
                let members = body.as_object_mut().unwrap();
                for name in ["RequestId", "HostId", "Recommend"] {
                    members.remove(name);
                }
                forget(&answer.body, &mut body);
                let place = format!("{name}, step {index}: {}", story.what);
                assert_eq!(body, answer.body, "{place}");
                assert_eq!(reply.status, answer.status, "{place}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn recorded_calls_are_answered_as_recorded() {
    for (action, name, story) in stories() {
        play(&action, &name, &story).await;
    }
}

#[test]
fn every_operation_has_a_recorded_call_and_every_recording_an_operation() {
    let stories = stories();
    for operation in OPERATIONS {
        let recorded = stories.iter().any(|(action, ..)| action == operation.name);
        assert!(recorded, "record a call in tests/data/calls/{}", operation.name);
    }
    for (action, name, story) in &stories {
        assert!(OPERATIONS.iter().any(|operation| operation.name == action), "{name}");
        assert!(story.what.ends_with('.'), "{name}: `what` is a sentence");
    }
}

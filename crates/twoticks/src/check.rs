//! `check`: the signature debugger.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use twoticks_wire::transcript::{self, Expected, TRANSCRIPT_MAX, Verdict};

use crate::output;

/// Says what the server would say to the request in `path`; whether it is what was expected.
///
/// # Errors
/// If the file cannot be read or judged.
pub(crate) fn run(path: &Path, as_json: bool) -> Result<bool> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(TRANSCRIPT_MAX).unwrap_or(u64::MAX) + 1;
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes).context("cannot read on")?;
    } else {
        let reading = || format!("cannot read `{}`", path.display());
        let file = std::fs::File::open(path).with_context(reading)?;
        file.take(limit).read_to_end(&mut bytes).with_context(reading)?;
    }
    // The error says its cause itself.
    let transcript = transcript::parse(&bytes).map_err(|error| anyhow!("{error}"))?;
    let verdict = transcript::verdict(&transcript)?;
    let expected = transcript.expected.as_ref().map(|it| it.verdict.as_str());
    let expected = expected.filter(|verdict| !verdict.is_empty());
    let as_expected = verdict.name == expected.unwrap_or("OK");
    if as_json {
        output::value(true, &shown(&verdict, expected))?;
    } else {
        output::data(&format!("{}\n", verdict.name))?;
    }
    if verdict.name != "OK" {
        output::note(explained(&verdict, transcript.expected.as_ref()).trim_end());
    }
    if !as_expected && let Some(expected) = expected {
        output::note(&format!("the file expects `{expected}`"));
    }
    Ok(as_expected)
}

fn shown(verdict: &Verdict, expected: Option<&str>) -> serde_json::Value {
    let difference = verdict.difference.as_ref().map(|it| {
        json!({
            "of": it.of, "line": it.line, "column": it.column, "expected": it.expected,
            "calculated": it.calculated,
        })
    });
    json!({
        "verdict": verdict.name, "expected": expected, "scheme": verdict.scheme.name(),
        "action": verdict.action, "version": verdict.version, "params": verdict.params,
        "message": verdict.refusal.as_ref().map(|refusal| refusal.message().into_owned()),
        "canonical_request": verdict.calculation.as_ref().and_then(|it| it.canonical_request.clone()),
        "string_to_sign": verdict.calculation.as_ref().map(|it| it.string_to_sign.clone()),
        "difference": difference,
    })
}

/// Why, for a person: the refusal, where the texts part, and what the server signs.
fn explained(verdict: &Verdict, expected: Option<&Expected>) -> String {
    let mut text = String::new();
    let mut add = |line: &str| writeln!(text, "{line}").expect("writing to a `String` never fails");
    if let Some(refusal) = &verdict.refusal {
        // The message of a mismatch repeats both texts; they come below, once.
        let sentence = refusal.calculation().map(|_| refusal.code.message());
        add(&sentence.map_or_else(|| refusal.message(), Into::into));
    }
    if let Some(it) = &verdict.difference {
        let of = it.of.replace('_', " ");
        add(&format!("first difference in the {of}, line {}, column {}:", it.line, it.column));
        // Quoted, so that line ends and spaces are seen.
        add(&format!("  expected   {:?}", it.expected));
        add(&format!("  calculated {:?}", it.calculated));
        return text;
    }
    if let Some(calculation) = &verdict.calculation {
        if expected
            .is_some_and(|it| it.string_to_sign.as_ref() == Some(&calculation.string_to_sign))
        {
            add("both sign the same text: the secret is another one, or the signature was changed");
        }
        if let Some(canonical) = &calculation.canonical_request {
            add(&format!("the server's canonical request:\n{canonical}"));
        }
        add(&format!("the server's string to sign:\n{}", calculation.string_to_sign));
    }
    text
}

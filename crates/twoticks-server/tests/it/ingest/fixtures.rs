//! Every body that the wire knows: nothing in it is lost without a word, and nobody is named.

use std::path::{Path, PathBuf};

use twoticks_core::clock::Time;
use twoticks_core::ids::PhoneNumber;
use twoticks_server::ingest::translate::{self, Context, Speaks, Translated};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::Number;
use twoticks_wire::webhook::{cams, meta};

use crate::ingest::harness::{Server, channel, text};

/// The files below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The bodies of the wire's fixtures: of the Cloud API, then of CAMS.
fn bodies() -> [Vec<(String, Vec<u8>)>; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../twoticks-wire/tests/data/webhook");
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(path).unwrap());
    let json = files(&folder).into_iter().filter(|path| path.extension() == Some("json".as_ref()));
    let (cams, meta) = json.map(read).partition(|(name, _)| name.contains("/cams/"));
    [meta, cams]
}

/// Makes every number that the bodies name one of the channel `a`, or of `r` for receipts.
async fn known_numbers(server: &Server, [meta, cams]: &[Vec<(String, Vec<u8>)>; 2]) {
    let mut next = 0;
    let mut known = |id: Option<&str>, digits: Option<PhoneNumber>, of: &str| {
        next += 1;
        let digits = digits.unwrap_or_else(|| PhoneNumber::new(&format!("4930{next:06}")).unwrap());
        let id = id.map_or_else(|| format!("receipts-{next}"), str::to_owned);
        Number {
            phone_number: digits,
            phone_number_id: text(&id),
            channel: channel(of),
            graph: None,
        }
    };
    let mut numbers = Vec::new();
    for update in meta.iter().flat_map(|(_, body)| meta::parse(body).unwrap_or_default()) {
        numbers.extend(update.phone_number_id.map(|id| known(Some(&id), None, "a")));
    }
    for receipt in cams.iter().flat_map(|(_, body)| cams::parse(body).unwrap_or_default()) {
        let digits = match receipt.what {
            cams::What::Status(status) => status.from,
            cams::What::Inbound(inbound) => inbound.to,
            _ => None,
        };
        let digits = digits.and_then(|digits| PhoneNumber::new(&digits).ok());
        numbers.extend(digits.map(|digits| known(None, Some(digits), "r")));
    }
    let mut seen = std::collections::BTreeSet::new();
    for number in numbers {
        let names = [number.phone_number.to_string(), number.phone_number_id.to_string()];
        if names.into_iter().all(|name| seen.insert(name)) {
            server.change(Change::PutNumber(number)).await;
        }
    }
}

#[tokio::test]
async fn every_part_of_every_body_counts_or_is_named_and_no_person_is() {
    let server = Server::new().await;
    let bodies = bodies();
    known_numbers(&server, &bodies).await;
    let snapshot = server.app.directory.snapshot();
    let context = Context {
        snapshot: &snapshot,
        keys: &server.app.keys,
        speaks: Speaks::All,
        // Some fixtures are of the future.
        accepted: Time(4_000_000_000_000),
        only: None,
    };
    let [meta, cams] = bodies;
    let (mut events, mut people) = (0, 0);
    let mut check = |name: &str, parts: usize, secrets: &[&str], translated: &Translated| {
        let Translated { events: counted, dead, nothing, unknown, partly: _, notices: _ } =
            translated;
        let named = dead.len() + nothing.len() + unknown.len();
        assert_eq!(counted.len() + named, parts, "{name}: {translated:?}");
        let shown = format!("{translated:?}");
        for secret in secrets.iter().filter(|secret| secret.len() > 6) {
            assert!(!shown.contains(secret), "{name} shows {secret}");
            people += 1;
        }
        events += counted.len();
    };
    for (name, body) in &meta {
        let updates = meta::parse(body).unwrap_or_default();
        let translated = translate::meta(&context, body);
        let secrets: Vec<&str> = updates
            .iter()
            .flat_map(|update| match &update.what {
                meta::What::Status(it) => vec![Some(&it.wamid), it.recipient_id.as_ref()],
                meta::What::Tap(it) => vec![Some(&it.id), it.from.as_ref(), it.context_id.as_ref()],
                meta::What::Reply(it) => vec![Some(&it.id), it.from.as_ref()],
                _ => Vec::new(),
            })
            .flatten()
            .map(String::as_str)
            .collect();
        check(name, updates.len().max(1), &secrets, &translated);
    }
    for (name, body) in &cams {
        let receipts = cams::parse(body);
        let translated = translate::receipts(&context, body);
        let parts = receipts.as_ref().map_or(1, Vec::len);
        let secrets: Vec<&str> = receipts
            .iter()
            .flatten()
            .flat_map(|receipt| match &receipt.what {
                cams::What::Status(it) => vec![Some(&it.message_id), it.to.as_ref()],
                cams::What::Inbound(it) => vec![Some(&it.message_id), it.from.as_ref()],
                _ => Vec::new(),
            })
            .flatten()
            .map(String::as_str)
            .collect();
        check(name, parts, &secrets, &translated);
    }
    assert!(meta.len() > 100 && cams.len() > 20 && events > 80 && people > 100);
}

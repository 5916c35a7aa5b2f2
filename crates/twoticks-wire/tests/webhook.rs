//! Webhooks: what each body tells, that a bad part leaves the good ones alone, and who sent it.
//!
//! Every file in `tests/data/webhook/<folder>/` has a snapshot; `cams` is read as CAMS receipts,
//! the other folders as webhooks of the Cloud API. To add a case, add a file.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use twoticks_wire::webhook::meta::{
    HandshakeRefusal, OTHERS_MAX, SignatureRefusal, UPDATES_MAX, Update, What,
};
use twoticks_wire::webhook::sign::{SIGN_MAX, Sign, SignError};
use twoticks_wire::webhook::{BODY_MAX, Unreadable, cams, meta};

/// The fixtures, as `folder/name`, and their bytes.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhook");
    let mut fixtures = Vec::new();
    for folder in json_files(&root) {
        for file in json_files(&folder) {
            let name = file.strip_prefix(&root).unwrap().with_extension("");
            fixtures.push((name.to_str().unwrap().to_owned(), std::fs::read(file).unwrap()));
        }
    }
    fixtures
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A value for people, without what is absent.
fn shown(value: &dyn Debug) -> String {
    let lines = format!("{value:#?}");
    let kept = lines.lines().filter(|line| {
        let line = line.trim_end();
        !line.ends_with(": None,") && !line.ends_with("unread: [],")
    });
    kept.collect::<Vec<_>>().join("\n")
}

fn shown_updates(updates: &[Update]) -> String {
    let one = |update: &Update| {
        let Update { place, waba_id, phone_number_id, display_phone_number, entry_time_ms, what } =
            update;
        let text = |id: &Option<std::sync::Arc<str>>| id.as_deref().unwrap_or("-").to_owned();
        let time = entry_time_ms.map_or("-".to_owned(), |time| time.to_string());
        let (waba, id) = (text(waba_id), text(phone_number_id));
        let number = text(display_phone_number);
        format!(
            "{place}: account {waba}, number {id} {number}, entry time {time}\n{}\n",
            shown(what)
        )
    };
    updates.iter().map(one).collect()
}

#[test]
fn every_fixture_tells_what_its_snapshot_says() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 200, "the fixtures are not where they were");
    for (name, raw) in fixtures {
        let (folder, file) = name.split_once('/').unwrap();
        let told = if folder == "cams" {
            shown(&cams::parse(&raw).unwrap())
        } else {
            let updates = meta::parse(&raw).unwrap();
            assert!(!updates.is_empty(), "{name} told nothing");
            shown_updates(&updates)
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(format!("snapshots/webhook/{folder}"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(file, told));
    }
}

/// Fixtures with a bad part, besides those whose name begins with `bad`.
const PARTLY_BAD: &[&str] = &[
    "batches/good_and_bad",
    "batches/several_accounts_and_broken_envelopes",
    "messages/not_objects",
    "unknown/entry_is_text",
    "unknown/number",
    "unknown/text",
];

#[test]
fn only_what_is_broken_becomes_a_dead_letter() {
    for (name, raw) in fixtures() {
        if name.starts_with("cams/") {
            continue;
        }
        let updates = meta::parse(&raw).unwrap();
        let is_bad = updates.iter().any(|update| matches!(update.what, What::Bad { .. }));
        let says_so = name.contains("/bad_") || name.contains("_bad");
        assert_eq!(is_bad, says_so || PARTLY_BAD.contains(&name.as_str()), "{name}");
    }
}

/// Payloads of other people's, which are not ours to copy: looked at where they are.
const CORPUS: &str = "../../../shared/data/payloads";

/// Those of the corpus that are broken, and how: hand-checked.
const CORPUS_BAD: &[(&str, &str)] =
    &[("messages_status_read_conversation__2.json", "`timestamp` is missing")];

#[test]
fn nothing_of_the_corpus_is_lost() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    if !corpus.is_dir() {
        eprintln!("SKIPPED: there is no corpus of webhooks at {}", corpus.display());
        return;
    }
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for file in json_files(&corpus).iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let raw = std::fs::read(file).unwrap();
        let updates = meta::parse(&raw).unwrap();
        assert!(!updates.is_empty(), "{name} told nothing");
        let elements = updates.iter().filter(|update| update.place.element.is_some()).count();
        assert_eq!(elements, elements_of(&serde_json::from_slice(&raw).unwrap()), "{name}");
        for update in &updates {
            if let What::Bad { why } = update.what {
                assert!(CORPUS_BAD.contains(&(name, &why.to_string())), "{name}: {why}");
            }
            *kinds.entry(kind_of(&update.what)).or_default() += 1;
        }
    }
    insta::assert_debug_snapshot!("corpus_kinds", kinds);
}

/// How many elements the lists under any `changes` have, counted in another way.
fn elements_of(body: &Value) -> usize {
    let many = |value: &Value| match value {
        Value::Array(list) => list.clone(),
        Value::Object(map) => map.values().cloned().collect(),
        _ => Vec::new(),
    };
    let mut count = 0;
    for entry in many(&body["entry"]) {
        for change in many(&entry["changes"]) {
            for list in ["statuses", "messages", "user_actions"] {
                count += many(&change["value"][list]).len();
            }
        }
    }
    count
}

fn kind_of(what: &What) -> String {
    match what {
        What::Status(status) => format!("status: {:?}", status.status),
        What::Tap(tap) => format!("tap, context: {}", tap.context_id.is_some()),
        What::Reply(reply) => format!("reply: {:?}", reply.kind),
        What::UrlClick(_) => "url click".to_owned(),
        What::CategoryUpdate(_) => "category update".to_owned(),
        What::TemplateStatus(_) => "template status".to_owned(),
        What::Nothing { kind } => format!("nothing: {kind}"),
        What::Unknown { .. } => "unknown".to_owned(),
        What::Bad { .. } => "bad".to_owned(),
    }
}

/// Secret, raw bodies and the signatures that Meta's rules give them.
const SECRET: &[u8] = b"test_app_secret";
const SIGNED: [(&str, &str); 3] = [
    (
        r#"{"object":"whatsapp_business_account","entry":[]}"#,
        "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756",
    ),
    (
        r#"{"t":"\u00e4\u00f6\u00e5 \ud83d\ude00 https:\/\/example.com\/a"}"#,
        "sha256=33b4d0c1f6523eb42ed295aa1c3e9ee731890a56fe2ebea7e46f9c81a0fbeacb",
    ),
    (
        r#"{"t":"äöå 😀 https://example.com/a"}"#,
        "sha256=925363109b076e2cd11a4ec84a35d9a88ca2215efcea7e74a5617cc2f7a7b54d",
    ),
];

#[test]
fn a_signature_is_that_of_the_very_bytes() {
    for (i, (body, _)) in SIGNED.iter().enumerate() {
        for (j, (_, header)) in SIGNED.iter().enumerate() {
            let told = meta::verify(&[SECRET], body.as_bytes(), Some(header.as_bytes()));
            let expected = if i == j { Ok(0) } else { Err(SignatureRefusal::NoneFits) };
            assert_eq!(told, expected, "body {i}, signature {j}");
        }
    }
}

#[test]
fn a_signature_tells_which_secret_it_is_by() {
    let (body, header) = SIGNED[0];
    let check = |secrets: &[&[u8]], header: Option<&str>| {
        meta::verify(secrets, body.as_bytes(), header.map(str::as_bytes))
    };
    assert_eq!(check(&[b"other", b"", SECRET, SECRET], Some(header)), Ok(2));
    assert_eq!(check(&[], Some(header)), Err(SignatureRefusal::NoneFits));
    assert_eq!(check(&[SECRET], None), Err(SignatureRefusal::Missing));
    let upper = format!(" sha256={} ", header["sha256=".len()..].to_uppercase());
    assert_eq!(check(&[SECRET], Some(&upper)), Ok(0));
    for malformed in ["", "sha256=", &header[..70], &format!("{header}0"), &header[7..], "sha1=00"]
    {
        assert_eq!(check(&[SECRET], Some(malformed)), Err(SignatureRefusal::Malformed));
    }
    let mut many: Vec<&[u8]> = vec![b"other"; meta::SECRETS_MAX - 1];
    many.push(SECRET);
    assert_eq!(check(&many, Some(header)), Ok(meta::SECRETS_MAX - 1));
    many.insert(0, b"other");
    assert_eq!(check(&many, Some(header)), Err(SignatureRefusal::NoneFits));
}

#[test]
fn an_empty_secret_opens_no_door() {
    // The HMAC of the empty body under the empty key.
    let header = b"sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
    assert_eq!(meta::verify(&[b""], b"", Some(header)), Err(SignatureRefusal::NoneFits));
}

#[test]
fn a_handshake_echoes_the_challenge_to_who_knows_the_token() {
    let tokens: &[&[u8]] = &[b"first", b"sec ond+"];
    let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let shake = |query: &str| meta::handshake(query, tokens);
    for token in ["first", "sec+ond%2B", "sec%20ond%2b"] {
        assert_eq!(shake(&format!("{query}{token}")).as_deref(), Ok("1158201444"));
    }
    for token in ["", "firs", "first1", "First", "%", "%zz"] {
        assert_eq!(shake(&format!("{query}{token}")), Err(HandshakeRefusal::Token), "{token}");
    }
    assert_eq!(meta::handshake(query, &[b""]), Err(HandshakeRefusal::Token));
    assert_eq!(shake("hub.challenge=1&hub.verify_token=first"), Err(HandshakeRefusal::Mode));
    let asked = |challenge: &str| {
        shake(&format!("hub.mode=subscribe&hub.verify_token=first&hub.challenge={challenge}"))
    };
    let long = "1".repeat(meta::CHALLENGE_MAX);
    assert_eq!(asked(&long), Ok(long.clone()));
    for challenge in ["", "%3Cscript%3E", "%ff", "a%20b", &format!("{long}1")] {
        assert_eq!(asked(challenge), Err(HandshakeRefusal::Challenge), "{challenge}");
    }
}

fn status(id: usize) -> Value {
    json!({"id": format!("wamid.{id}"), "status": "sent", "timestamp": "1790900000"})
}

fn body_of(statuses: Vec<Value>) -> Vec<u8> {
    let value = json!({"metadata": {"phone_number_id": "1"}, "statuses": statuses});
    json!({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).to_string().into()
}

#[test]
fn a_body_carries_a_thousand_updates_and_no_more() {
    let body = body_of((0..UPDATES_MAX).map(status).collect());
    assert_eq!(meta::parse(&body).unwrap().len(), UPDATES_MAX);
    let body = body_of((0..=UPDATES_MAX).map(status).collect());
    assert_eq!(meta::parse(&body), Err(Unreadable::TooMany { max: UPDATES_MAX }));
    for other in ["{}", "1", r#"{"changes":[1]}"#] {
        let body = |count| format!(r#"{{"entry":[{}]}}"#, vec![other; count].join(","));
        assert_eq!(meta::parse(body(OTHERS_MAX).as_bytes()).unwrap().len(), OTHERS_MAX);
        let over = meta::parse(body(OTHERS_MAX + 1).as_bytes());
        assert_eq!(over, Err(Unreadable::TooMany { max: OTHERS_MAX }), "{other}");
    }
}

#[test]
fn receipts_have_a_limit_of_their_own() {
    let body = |count| format!("[{}]", vec!["1"; count].join(",")).into_bytes();
    assert_eq!(cams::parse(&body(cams::RECEIPTS_MAX)).unwrap().len(), cams::RECEIPTS_MAX);
    let over = cams::parse(&body(cams::RECEIPTS_MAX + 1));
    assert_eq!(over, Err(Unreadable::TooMany { max: cams::RECEIPTS_MAX }));
}

#[test]
fn a_body_of_three_mebibytes_is_read_and_one_byte_more_is_not() {
    let mut body = body_of(vec![status(1)]);
    body.resize(BODY_MAX, b' ');
    assert_eq!(meta::parse(&body).unwrap().len(), 1);
    assert!(cams::parse(&body).is_ok());
    body.push(b' ');
    assert_eq!(meta::parse(&body), Err(Unreadable::TooLong { bytes: BODY_MAX + 1 }));
    assert_eq!(cams::parse(&body), Err(Unreadable::TooLong { bytes: BODY_MAX + 1 }));
}

#[test]
fn what_is_no_json_says_where() {
    for broken in ["", " ", "{", "[1,]", "{\"entry\":[}", "{} x", "\u{feff}{}", "nul", "{\"a\":01}"]
    {
        assert!(matches!(meta::parse(broken.as_bytes()), Err(Unreadable::NotJson { .. })));
        assert!(matches!(cams::parse(broken.as_bytes()), Err(Unreadable::NotJson { .. })));
    }
    assert_eq!(meta::parse(b"{\n x"), Err(Unreadable::NotJson { line: 2, column: 2 }));
}

#[test]
fn depth_is_no_danger() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"entry\":", "}"), ("{\"0\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        drop((meta::parse(deep.as_bytes()), cams::parse(deep.as_bytes())));
        let inner: Value = json!("@");
        let body = String::from_utf8(body_of(vec![status(1), inner.clone(), status(2)])).unwrap();
        let updates = meta::parse(body.replace("\"@\"", &deep).as_bytes()).unwrap();
        assert_eq!(updates.len(), 3);
        let good = updates.iter().filter(|update| matches!(update.what, What::Status(_)));
        assert_eq!(good.count(), 2);
    }
}

#[test]
fn whatever_stands_in_a_list_its_neighbours_count() {
    let good = r#"{"value":{"statuses":[{"id":"1","status":"sent","timestamp":1}]}}"#;
    let deep = format!("{}{}", "[".repeat(90), "]".repeat(90));
    for odd in [
        "1",
        "-1",
        "1.5",
        "1e999",
        "true",
        "null",
        "\"x\"",
        r#""\ud83d""#,
        "[]",
        "{}",
        &deep,
        r#"{"\ud83d":1}"#,
        r#"{"value":{"\ud83d":1}}"#,
        r#"{"field":"\ud83d","value":{}}"#,
        r#"{"0":{"\ud83d":1},"\udc00":1}"#,
        r#"{"changes":{"\ud83d":1}}"#,
        r#"{"value":[[1]]}"#,
    ] {
        for (open, close) in [("", ""), ("{\"changes\":", "}")] {
            let element = |json: &str| format!("{open}{json}{close}");
            let list = [element(good), element(odd), element(good)].join(",");
            let body = match open {
                "" => format!(r#"{{"entry":[{{"changes":[{list}]}}]}}"#),
                _ => format!(r#"{{"entry":[{list}]}}"#),
            };
            let updates = meta::parse(body.as_bytes()).unwrap();
            let good = updates.iter().filter(|update| matches!(update.what, What::Status(_)));
            assert_eq!(good.count(), 2, "{body}");
        }
    }
}

#[test]
fn bytes_that_are_not_utf_8_spoil_their_own_element_only() {
    let mut body = body_of(vec![status(1), status(2), status(3)]);
    let at = body.windows(7).position(|window| window == b"wamid.2").unwrap();
    body[at] = 0xff;
    let bad: Vec<bool> = meta::parse(&body)
        .unwrap()
        .iter()
        .map(|update| matches!(update.what, What::Bad { .. }))
        .collect();
    assert_eq!(bad, [false, true, false]);
}

fn sign(code: &str, language: &str, campaign: Option<&str>) -> Sign {
    let campaign = campaign.map(str::to_owned);
    Sign { code: code.to_owned(), language: language.to_owned(), campaign }
}

#[test]
fn a_sign_is_spelt_as_documented() {
    for (sign, text) in [
        (sign("82100001", "en_US", None), "tt1:82100001:en_US"),
        (sign("a:b", "zh_CN", Some("spring sale|1%")), "tt1:a%3Ab:zh_CN:spring%20sale%7C1%25"),
        (sign("ä", "😀", Some("~")), "tt1:%C3%A4:%F0%9F%98%80:~"),
    ] {
        assert_eq!(sign.encode().as_deref(), Ok(text));
        assert_eq!(Sign::parse(text), Some(sign));
    }
}

#[test]
fn what_is_no_sign_is_refused() {
    for text in [
        "",
        "tt1",
        "tt1:",
        "tt1:a",
        "tt1:a:",
        "tt1::en",
        "tt1:a:en:",
        "tt1:a:en:c:d",
        "tt2:a:en",
        "TT1:a:en",
        " tt1:a:en",
        "tt1:a b:en",
        "tt1:a:en ",
        "tt1:a%:en",
        "tt1:a%4:en",
        "tt1:a%zz:en",
        "tt1:%ff:en",
        "tt1:ä:en",
        "tt1:a|b:en",
        "tt1:a:en|own",
    ] {
        assert_eq!(Sign::parse(text), None, "{text}");
    }
}

#[test]
fn a_sign_fits_what_whatsapp_carries() {
    let fits = sign(&"c".repeat(SIGN_MAX - 7), "en", None);
    let text = fits.encode().unwrap();
    assert_eq!(text.len(), SIGN_MAX);
    assert_eq!(Sign::parse(&text), Some(fits));
    let long = sign(&"c".repeat(SIGN_MAX - 6), "en", None);
    assert_eq!(long.encode(), Err(SignError::TooLong { length: SIGN_MAX + 1 }));
    assert_eq!(Sign::parse(&format!("{text}c")), None);
    assert_eq!(sign("", "en", None).encode(), Err(SignError::Empty("code")));
    assert_eq!(sign("a", "", None).encode(), Err(SignError::Empty("language")));
    assert_eq!(sign("a", "en", Some("")).encode(), Err(SignError::Empty("campaign")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sign_comes_back_as_it_went(
        code in ".{1,20}", language in ".{1,8}", campaign in proptest::option::of(".{1,10}"),
        own in proptest::option::of(".*"),
    ) {
        let sign = sign(&code, &language, campaign.as_deref());
        let text = sign.encode().unwrap();
        prop_assert_eq!(Sign::parse(&text), Some(sign.clone()));
        let payload = sign.encode_payload(own.as_deref()).unwrap();
        prop_assert_eq!(Sign::parse_payload(&payload), Some((sign, own.as_deref())));
    }

    #[test]
    fn a_text_that_reads_as_a_sign_is_one(text in "tt1:[a-z%0-9:|~]{0,12}") {
        if let Some(sign) = Sign::parse(&text) {
            prop_assert_eq!(Sign::parse(&sign.encode().unwrap()), Some(sign));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop((meta::parse(&raw), cams::parse(&raw)));
    }

    #[test]
    fn no_damage_to_a_webhook_makes_it_panic(
        which in any::<prop::sample::Index>(),
        hits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6),
    ) {
        static FIXTURES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(fixtures);
        let mut raw = which.get(&FIXTURES).1.clone();
        let spice = b"{}[]\",:\\0e.";
        for (at, how, byte) in hits {
            let at = at.index(raw.len());
            let byte = if how < 2 { spice[usize::from(byte) % spice.len()] } else { byte };
            match how {
                0 | 2 => raw[at] = byte,
                1 => raw.insert(at, byte),
                _ => { raw.drain(..at); raw.push(byte); }
            }
        }
        drop((meta::parse(&raw), cams::parse(&raw)));
    }

    #[test]
    fn a_batch_cut_in_any_way_tells_the_same(
        cuts in proptest::collection::vec(0..3_u8, 200..=200),
    ) {
        static ELEMENTS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(all_elements);
        let whole = cut(&ELEMENTS, &vec![0; ELEMENTS.len()]);
        let parts = cut(&ELEMENTS, &cuts);
        let told = |body: &Value| {
            let mut told: Vec<String> = meta::parse(body.to_string().as_bytes())
                .unwrap()
                .iter()
                .filter(|update| update.place.element.is_some())
                .map(|update| format!("{:?} {:?}", update.phone_number_id, update.what))
                .collect();
            told.sort();
            told
        };
        let expected = told(&whole);
        prop_assert_eq!(expected.len(), ELEMENTS.len());
        prop_assert_eq!(told(&parts), expected);
    }
}

/// Every element of every fixture whose envelope is sound, with the name of its list.
fn all_elements() -> Vec<(&'static str, Value)> {
    let mut elements = Vec::new();
    for (name, raw) in fixtures() {
        let folders = ["statuses/", "messages/", "taps/", "replies/", "user_actions/", "batches/"];
        if !folders.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&raw) else { continue };
        for list in ["statuses", "messages", "user_actions"] {
            let found = body["entry"][0]["changes"][0]["value"][list].as_array();
            elements.extend(found.into_iter().flatten().map(|element| (list, element.clone())));
        }
    }
    elements
}

/// A body with these elements: 1 begins a new change after an element, 2 a new entry.
fn cut(elements: &[(&str, Value)], cuts: &[u8]) -> Value {
    let fresh = || json!({"field": "messages", "value": {"metadata": {"phone_number_id": "7"}}});
    let (mut entries, mut changes, mut change) = (Vec::new(), Vec::new(), fresh());
    for ((list, element), cut) in elements.iter().zip(cuts.iter().cycle()) {
        let lists = change["value"].as_object_mut().unwrap();
        let elements = lists.entry(*list).or_insert_with(|| json!([]));
        elements.as_array_mut().unwrap().push(element.clone());
        if *cut > 0 {
            changes.push(std::mem::replace(&mut change, fresh()));
        }
        if *cut > 1 {
            entries.push(json!({"id": "8", "changes": std::mem::take(&mut changes)}));
        }
    }
    changes.push(change);
    entries.push(json!({"id": "8", "changes": changes}));
    json!({"object": "whatsapp_business_account", "entry": entries})
}

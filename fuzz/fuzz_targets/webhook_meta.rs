//! A webhook of the Cloud API: whatever the body, it is read or refused, never lost: a body that
//! is read tells something, within the limits, and the same again when read again or in one pass;
//! and whatever stands between two good statuses leaves them good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::webhook::meta::{self, OTHERS_MAX, Told, UPDATES_MAX, What};

const GOOD: &str = r#"{"id":"1","status":"sent","timestamp":"1790900000"}"#;

fuzz_target!(|raw: &[u8]| {
    let told = meta::parse(raw);
    assert_eq!(told, meta::parse(raw));
    let quick = meta::read(raw);
    assert_eq!(quick.as_ref().map(Vec::len), told.as_ref().map(Vec::len));
    for (quick, careful) in quick.iter().flatten().zip(told.iter().flatten()) {
        match (quick, &careful.what) {
            (Told::Update(update), _) => assert_eq!(update, careful),
            (Told::Status { place, phone_number_id, status }, What::Status(told)) => {
                assert_eq!((*place, status), (careful.place, &told.view()));
                assert_eq!(*phone_number_id, careful.phone_number_id.as_deref());
            }
            (Told::Status { .. }, _) => panic!("{quick:?}, not {careful:?}"),
        }
    }
    if let Ok(updates) = told {
        assert!(!updates.is_empty());
        assert!(updates.len() <= UPDATES_MAX + OTHERS_MAX);
        for update in &updates {
            assert!(!update.place.to_string().is_empty());
            match &update.what {
                What::Status(status) => {
                    assert!(!status.wamid.is_empty() && !status.word.is_empty());
                    assert!(status.time_ms % 1_000 == 0);
                    drop(status.sign());
                }
                What::Tap(tap) => {
                    assert!(!tap.id.is_empty());
                    assert!(tap.text.is_some() || tap.payload.is_some());
                    drop(tap.sign());
                }
                What::Unknown { kind } => assert!(kind.len() <= meta::KIND_MAX),
                _ => {}
            }
        }
    }
    let Ok(text) = std::str::from_utf8(raw) else { return };
    if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
        let body = format!(
            r#"{{"entry":[{{"changes":{{"value":{{"statuses":[{GOOD},{text},{GOOD}]}}}}}}]}}"#
        );
        let updates = meta::parse(body.as_bytes()).unwrap();
        assert_eq!(updates.len(), 3);
        assert!(matches!(updates[0].what, What::Status(_)));
        assert_eq!(updates[0].what, updates[2].what);
    }
    drop(meta::handshake(text, &[b"token"]));
    assert!(meta::verify(&[b"secret"], b"", Some(raw)).is_err());
});

//! A body of CAMS receipts: whatever it is, it is read or refused, and a report put between two
//! good ones leaves them good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::webhook::cams::{self, What};

const GOOD: &str = r#"{"MessageId":"1","Timestamp":1790900000000,"Status":"Sent"}"#;

fuzz_target!(|raw: &[u8]| {
    let told = cams::parse(raw);
    assert_eq!(told, cams::parse(raw));
    let Ok(text) = std::str::from_utf8(raw) else { return };
    if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
        let receipts = cams::parse(format!("[{GOOD},{text},{GOOD}]").as_bytes()).unwrap();
        assert_eq!(receipts.len(), 3);
        assert!(matches!(receipts[0].what, What::Status(_)));
        assert_eq!(receipts[0].what, receipts[2].what);
    }
});

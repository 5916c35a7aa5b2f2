//! Our sign: what reads as one says the same when written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::webhook::sign::Sign;

fuzz_target!(|text: &str| {
    if let Some(sign) = Sign::parse(text) {
        // Others may have encoded more than we do, never less: it cannot have got longer.
        let again = sign.encode().unwrap();
        assert_eq!(Sign::parse(&again), Some(sign));
    }
    if let Some((sign, own)) = Sign::parse_payload(text) {
        let again = sign.encode_payload(own).unwrap();
        assert_eq!(Sign::parse_payload(&again), Some((sign, own)));
    }
    let mut parts = text.splitn(3, '\n').map(str::to_owned);
    let (Some(code), Some(language)) = (parts.next(), parts.next()) else { return };
    let sign = Sign { code, language, campaign: parts.next() };
    if let Ok(written) = sign.encode() {
        assert_eq!(Sign::parse(&written), Some(sign));
    }
});

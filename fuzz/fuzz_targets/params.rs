//! Parameters: what was decoded comes back when encoded and decoded again; a structured value is
//! read or refused. Up to the first line end it is the query, then the form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::params::{Params, encode_pairs};

fuzz_target!(|raw: &[u8]| {
    let mut halves = raw.splitn(2, |byte| *byte == b'\n');
    let query = halves.next().unwrap_or_default();
    let Ok(params) = Params::parse(query, halves.next()) else { return };
    let pairs = params.all().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let encoded = encode_pairs(pairs);
    let again = Params::parse(encoded.as_bytes(), None).unwrap();
    assert_eq!(params.all(), again.all());
    for (name, value) in params.all() {
        assert_eq!(params.get(name), Some(value.as_str()));
        let stem = name.split('.').next().unwrap_or_default();
        drop((params.json(name), params.json(stem)));
    }
});

//! Signatures: no request makes the check panic, and none is let in but by the secret. The input
//! is a transcript; what is none becomes the target, the headers and the body of a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::transcript;

fuzz_target!(|raw: &[u8]| {
    let read = transcript::parse(raw).or_else(|_| transcript::parse(wrapped(raw).as_bytes()));
    let Ok(mut transcript) = read else { return };
    let Ok(verdict) = transcript::verdict(&transcript) else { return };
    // Whoever was let in by a secret is not by another one.
    if verdict.name == "OK" && transcript.credential.public_key.is_none() {
        transcript.credential.access_key_secret.push('x');
        let other = transcript::verdict(&transcript).unwrap();
        assert_ne!(other.name, "OK");
    }
});

/// A transcript of a request made of the lines of `raw`: target, headers, an empty line, body.
fn wrapped(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.split('\n');
    let (method, target) =
        lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    serde_json::json!({
        "name": "fuzz", "kind": "", "description": "",
        "credential": {"access_key_id": "id", "access_key_secret": "secret"},
        "now": 1_790_900_000, "nonces_already_used": [],
        "request": {"method": method, "target": target, "headers": headers, "body": body},
    })
    .to_string()
}

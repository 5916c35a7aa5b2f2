//! JSON as Meta signs it: ASCII only, everything else and `/` escaped, lower-case digits.
//!
//! Written by hand, because no library escapes like that: what is signed is exactly these bytes,
//! and a receiver that writes them anew and signs that gets another signature (whatsapp.md 1).

use std::io::Write as _;

use itoa::Buffer;
use serde_json::Value;

/// Appends raw JSON.
pub(super) fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(Buffer::new().format(number).as_bytes());
}

/// Appends a text in quotes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\' | b'/');
    // Without an early end, so that many bytes are looked at at once.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escaped(out, text);
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' | '/' => {
                out.push(b'\\');
                out.push(u8::try_from(c).unwrap_or(b'?'));
            }
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            ' '..='\u{7e}' => out.push(u8::try_from(c).unwrap_or(b'?')),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing into memory does not fail");
                }
            }
        }
    }
}

/// Appends any value.
pub(crate) fn value(out: &mut Vec<u8>, value: &Value) {
    let mut is_first = true;
    match value {
        Value::String(it) => text(out, it),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                comma(out, &mut is_first);
                self::value(out, item);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            out.push(b'{');
            for (name, field) in fields {
                comma(out, &mut is_first);
                text(out, name);
                out.push(b':');
                self::value(out, field);
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => raw(out, &value.to_string()),
    }
}

/// Appends `,` unless this is the first of its list.
pub(super) fn comma(out: &mut Vec<u8>, is_first: &mut bool) {
    if !std::mem::replace(is_first, false) {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_as_meta_does_and_reads_back() {
        for (plain, expected) in [
            ("plain 123", r#""plain 123""#),
            (
                "äöå 😀 https://example.com/a",
                r#""\u00e4\u00f6\u00e5 \ud83d\ude00 https:\/\/example.com\/a""#,
            ),
            ("a\"b\\c\n\r\t\u{1}\u{7f}", r#""a\"b\\c\n\r\t\u0001\u007f""#),
            ("", r#""""#),
        ] {
            let mut out = Vec::new();
            text(&mut out, plain);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), plain);
        }
    }

    #[test]
    fn any_value_reads_back() {
        let told = serde_json::json!({"ä/": [1, -2.5, null, true, {}, []], "b": {"c": "😀"}});
        let mut out = Vec::new();
        value(&mut out, &told);
        assert!(out.is_ascii());
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), told);
    }
}

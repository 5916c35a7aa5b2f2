//! Parameters of a call: percent-decoding, the canonical encoding, and structured values in both
//! notations.
//!
//! What always holds: a name is there once, so that what was signed and what is read cannot be two
//! things; values are the decoded text, kept in the order received.

use std::collections::HashSet;
use std::collections::btree_map::{BTreeMap, Entry};

use serde_json::{Map, Value};

use crate::code::{Code, Refusal};

/// Pairs of query and form body together. A mass message to 1,000 recipients, flattened, with a
/// dozen values each fits.
pub const PAIRS_MAX: usize = 20_000;

/// How deep a flattened name may nest, e.g. `SenderList.1.TemplateParams.name` is 4.
pub const FLATTENED_DEPTH_MAX: usize = 32;

/// How many parts a structured parameter may have; each costs some hundred bytes while it is read.
///
/// Parts are the objects and lists of a JSON text (a bracket inside a text counts, too) and the
/// parts of flattened names. 1,000 recipients with 30 products each are half of it.
pub const PARTS_MAX: usize = 100_000;

/// Parameters of the protocol rather than of the operation.
pub const PROTOCOL_NAMES: &[&str] = &[
    "AccessKeyId",
    "Action",
    "Format",
    "RegionId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "Version",
];

/// Decoded parameters, in the order received: first the query's, then the form's.
///
/// **Invariant:** no name is there twice; at most [`PAIRS_MAX`] pairs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
    in_query: usize,
}

impl std::fmt::Debug for Params {
    /// Names only: values hold recipients and tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl Params {
    /// Decodes a raw query and, if there is one, a form body.
    ///
    /// `+` is a blank; a `%` that begins no escape stays as it is; a pair without `=` has an empty
    /// value; empty pairs (`&&`) are skipped.
    ///
    /// # Errors
    /// `InvalidParameter` naming the parameter: a name given twice (in the query, the body or
    /// both), a name or value that is not UTF-8, or more than [`PAIRS_MAX`] pairs.
    pub fn parse(query: &[u8], form_body: Option<&[u8]>) -> Result<Self, Refusal> {
        let mut params = Self::default();
        params.append(query)?;
        params.in_query = params.pairs.len();
        params.append(form_body.unwrap_or_default())?;
        let mut seen = HashSet::with_capacity(params.pairs.len());
        for (name, _) in &params.pairs {
            if !seen.insert(name.as_str()) {
                return Err(Refusal::naming(Code::InvalidParameter, name));
            }
        }
        Ok(params)
    }

    fn append(&mut self, encoded: &[u8]) -> Result<(), Refusal> {
        for pair in encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if self.pairs.len() == PAIRS_MAX {
                return Err(Refusal::naming(Code::InvalidParameter, "count"));
            }
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = decode(halves.next().unwrap_or_default());
            let value = decode(halves.next().unwrap_or_default());
            let name = String::from_utf8(name).map_err(|error| {
                let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Refusal::naming(Code::InvalidParameter, &shown)
            })?;
            let value = String::from_utf8(value)
                .map_err(|_| Refusal::naming(Code::InvalidParameter, &name))?;
            self.pairs.push((name, value));
        }
        Ok(())
    }

    /// The value of a parameter, `None` if it is absent; names are case-sensitive.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// All pairs, in the order received.
    pub fn all(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The pairs of the query alone, which is what V3 signs beside the body.
    pub fn query(&self) -> &[(String, String)] {
        self.pairs.get(..self.in_query).unwrap_or_default()
    }

    /// The operation's own parameters: all but [`PROTOCOL_NAMES`].
    pub fn business(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .filter(|(name, _)| !PROTOCOL_NAMES.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A structured parameter, from JSON text or from the flattened notation
    /// (`SenderList.1.To=…`, `TemplateParams.name=…`); the JSON text wins if both are there.
    ///
    /// `None` if the parameter is absent or its text is empty. Flattened leaves are strings;
    /// members that are exactly the numbers 1 to n are an array, all others an object.
    ///
    /// # Errors
    /// `Invalid` + name: text that is not JSON, flattened names that contradict one another
    /// (`A.1=…` beside `A.1.B=…`) or nest deeper than [`FLATTENED_DEPTH_MAX`], or more than
    /// [`PARTS_MAX`] parts.
    pub fn json(&self, name: &str) -> Result<Option<Value>, Refusal> {
        let invalid = || Refusal::invalid(name);
        match self.get(name) {
            Some("") => return Ok(None),
            Some(text) if text.bytes().filter(|b| matches!(b, b'{' | b'[')).count() > PARTS_MAX => {
                return Err(invalid());
            }
            Some(text) => return serde_json::from_str(text).map(Some).map_err(|_| invalid()),
            None => {}
        }
        let mut root = Node::default();
        let mut room = PARTS_MAX;
        for (given, value) in &self.pairs {
            let Some(path) = given.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            root.put(path, value, &mut room).ok_or_else(invalid)?;
        }
        Ok(root.into_value())
    }
}

/// A flattened value while it is put together.
#[derive(Default)]
struct Node<'a> {
    text: Option<&'a str>,
    members: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    /// `None` if the name nests too deep, has an empty part, or contradicts another, or if there
    /// is no room for its parts.
    fn put(&mut self, path: &'a str, value: &'a str, room: &mut usize) -> Option<()> {
        let mut node = self;
        for (depth, part) in path.split('.').enumerate() {
            if part.is_empty() || depth >= FLATTENED_DEPTH_MAX || node.text.is_some() {
                return None;
            }
            node = match node.members.entry(part) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => {
                    *room = room.checked_sub(1)?;
                    free.insert(Node::default())
                }
            };
        }
        if node.text.is_some() || !node.members.is_empty() {
            return None;
        }
        node.text = Some(value);
        Some(())
    }

    /// Recursion is bounded by [`FLATTENED_DEPTH_MAX`].
    fn into_value(self) -> Option<Value> {
        if let Some(text) = self.text {
            return Some(Value::String(text.to_owned()));
        }
        if self.members.is_empty() {
            return None;
        }
        let count = self.members.len();
        let mut numbered: Vec<Option<Node<'_>>> = Vec::new();
        let is_array = self.members.keys().all(|key| index(key).is_some_and(|n| n <= count));
        if is_array {
            numbered.resize_with(count, || None);
            for (key, node) in self.members {
                // Two spellings of one number do not exist: `index` takes no leading zeros.
                if let Some(slot) = index(key).and_then(|n| numbered.get_mut(n - 1)) {
                    *slot = Some(node);
                }
            }
            let items = numbered.into_iter().flatten().filter_map(Node::into_value).collect();
            return Some(Value::Array(items));
        }
        let mut object = Map::new();
        for (key, node) in self.members {
            if let Some(value) = node.into_value() {
                object.insert(key.to_owned(), value);
            }
        }
        Some(Value::Object(object))
    }
}

/// A position in an array, which starts at 1: decimal digits, no leading zero.
fn index(key: &str) -> Option<usize> {
    let plain = key.bytes().all(|byte| byte.is_ascii_digit()) && !key.starts_with('0');
    if plain { key.parse().ok() } else { None }
}

/// Percent-decoding as forms have it: `+` is a blank, a malformed escape stays as it is.
pub fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => match after {
                [high, low, tail @ ..]
                    if hex_digit(*high).is_some() && hex_digit(*low).is_some() =>
                {
                    let high = hex_digit(*high).unwrap_or_default();
                    let low = hex_digit(*low).unwrap_or_default();
                    decoded.push(high << 4 | low);
                    rest = tail;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(byte),
        }
    }
    decoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The canonical percent-encoding of a text, appended to `out`: unreserved bytes
/// (`A–Z a–z 0–9 - _ . ~`) stay, all else is `%XX` in upper case.
pub fn encode_into(text: &str, out: &mut String) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).copied().unwrap_or('0'));
            }
        }
    }
}

/// The canonical percent-encoding of a text.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    encode_into(text, &mut out);
    out
}

/// `name=value` pairs joined with `&`, canonically encoded, in the order given.
pub fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode_into(name, &mut out);
        out.push('=');
        encode_into(value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(query: &str) -> Params {
        Params::parse(query.as_bytes(), None).unwrap()
    }

    #[test]
    fn values_are_decoded_and_malformed_escapes_stay() {
        for (encoded, decoded) in [
            ("a+b%20c%2B", "a b c+"),
            ("%E7%A9%BA%e9%97%b4", "空间"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%%41", "%A"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(parse(&format!("P={encoded}")).get("P").unwrap(), decoded, "{encoded}");
        }
        assert_eq!(parse("A&B=&&C=1").all().len(), 3);
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused_by_name() {
        for (query, body) in
            [("A=1&B=2&A=1", None), ("A=1", Some("A=1")), ("", Some("A=1&%41=2")), ("A&A", None)]
        {
            let refusal = Params::parse(query.as_bytes(), body.map(str::as_bytes)).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidParameter, "{query}");
            assert_eq!(refusal.message(), "Specified parameter A is not valid.", "{query}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused_by_name() {
        let refusal = Params::parse(b"Name=%FF", None).unwrap_err();
        assert_eq!(refusal.message(), "Specified parameter Name is not valid.");
        assert!(Params::parse(b"%FF=1", None).is_err());
    }

    #[test]
    fn as_many_pairs_as_the_limit_are_taken_and_one_more_is_not() {
        let query =
            |pairs: usize| (0..pairs).map(|n| format!("{n}=")).collect::<Vec<_>>().join("&");
        assert_eq!(parse(&query(PAIRS_MAX)).all().len(), PAIRS_MAX);
        assert!(Params::parse(query(PAIRS_MAX + 1).as_bytes(), None).is_err());
        assert!(Params::parse(query(PAIRS_MAX).as_bytes(), Some(b"x=1")).is_err());
    }

    #[test]
    fn query_and_form_are_kept_apart_for_v3() {
        let params = Params::parse(b"A=1", Some(b"B=2&Action=X")).unwrap();
        assert_eq!(params.query().len(), 1);
        assert_eq!(params.all().len(), 3);
        assert_eq!(params.business().count(), 2);
    }

    #[test]
    fn a_structured_parameter_is_read_in_both_notations() {
        let flattened = parse(
            "SenderList.1.To=861&SenderList.1.Payload.1=a&SenderList.1.Payload.2=b\
             &SenderList.2.To=862&SenderList.2.TemplateParams.name=Al&SenderListe=x",
        );
        let expected = json!([
            {"To": "861", "Payload": ["a", "b"]},
            {"To": "862", "TemplateParams": {"name": "Al"}},
        ]);
        assert_eq!(flattened.json("SenderList").unwrap().unwrap(), expected);
        let text = format!("SenderList={}", encode(&expected.to_string()));
        assert_eq!(parse(&text).json("SenderList").unwrap().unwrap(), expected);
        let both = parse("A=[1]&A.1=2");
        assert_eq!(both.json("A").unwrap().unwrap(), json!([1]));
    }

    #[test]
    fn flattened_corner_cases() {
        for (query, expected) in [
            ("A.1=x&A.3=y", Some(json!({"1": "x", "3": "y"}))),
            ("A.0=x", Some(json!({"0": "x"}))),
            ("A.01=x", Some(json!({"01": "x"}))),
            ("A.2=y&A.1=x", Some(json!(["x", "y"]))),
            ("A=", None),
            ("B=1", None),
            ("AB.1=1", None),
        ] {
            assert_eq!(parse(query).json("A").unwrap(), expected, "{query}");
        }
        for query in ["A=nonsense", "A.1=x&A.1.B=y", "A.1.B=y&A.1=x", "A.=x", "A..1=x"] {
            assert_eq!(parse(query).json("A").unwrap_err().name(), "InvalidA", "{query}");
        }
    }

    #[test]
    fn nesting_is_taken_up_to_its_limit() {
        let name = |depth: usize| format!("A{}=x", ".k".repeat(depth));
        assert!(parse(&name(FLATTENED_DEPTH_MAX)).json("A").unwrap().is_some());
        assert!(parse(&name(FLATTENED_DEPTH_MAX + 1)).json("A").is_err());
    }

    #[test]
    fn a_structured_parameter_has_so_many_parts_and_no_more() {
        let objects = |count: usize| format!("A=[{}]", vec!["{}"; count].join(","));
        assert!(parse(&objects(PARTS_MAX - 1)).json("A").unwrap().is_some());
        assert!(parse(&objects(PARTS_MAX)).json("A").is_err());
        // Each has a stem of its own, so that each part is one more.
        let flattened = |count: usize| {
            let depth = 10;
            let pairs = (0..count / depth).map(|n| format!("A.{n}{}=", ".k".repeat(depth - 1)));
            pairs.collect::<Vec<_>>().join("&")
        };
        assert!(parse(&flattened(PARTS_MAX)).json("A").unwrap().is_some());
        assert!(parse(&flattened(PARTS_MAX + 10)).json("A").is_err());
    }

    #[test]
    fn eleven_recipients_keep_their_order() {
        let query = (1..=11).map(|n| format!("L.{n}.To={n}")).collect::<Vec<_>>().join("&");
        let list = parse(&query).json("L").unwrap().unwrap();
        let order: Vec<&str> =
            list.as_array().unwrap().iter().map(|item| item["To"].as_str().unwrap()).collect();
        assert_eq!(order.join(","), "1,2,3,4,5,6,7,8,9,10,11");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", parse("To=8613900000001")), r#"["To"]"#);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in any::<String>()) {
            prop_assert_eq!(decode(encode(&text).as_bytes()), text.into_bytes());
        }

        #[test]
        fn pairs_survive_the_wire(values in proptest::collection::vec(any::<String>(), 0..8)) {
            let pairs: Vec<(String, String)> =
                values.into_iter().enumerate().map(|(n, v)| (format!("{v}{n}"), v)).collect();
            let encoded =
                encode_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let params = Params::parse(encoded.as_bytes(), None).unwrap();
            prop_assert_eq!(params.all(), pairs.as_slice());
        }

        #[test]
        fn no_bytes_make_it_panic(
            query in proptest::collection::vec(any::<u8>(), 0..200),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(params) = Params::parse(&query, Some(&body)) {
                let names: Vec<String> = params.all().iter().map(|(n, _)| n.clone()).collect();
                for name in &names {
                    for part in name.split('.') {
                        drop(params.json(part));
                    }
                }
            }
        }

        #[test]
        fn flattened_names_never_panic(query in "(A(\\.[0-9a-b]{0,2}){0,5}=[a-c]?&){0,6}") {
            if let Ok(params) = Params::parse(query.as_bytes(), None) {
                drop(params.json("A"));
            }
        }
    }
}

//! Conditions of a policy statement: operator, key, values.
//!
//! Several values of one key are alternatives (with a negated operator none may fit); several keys
//! and several operators must all hold. What a condition asks about may be unknown, such as the
//! address of a caller behind a local socket; then it neither holds nor fails, and the statement
//! takes the side of refusing: an Allow does not apply, a Deny does. To add an operator or a key,
//! add a row to [`OPERATORS`] or [`KEYS`]; one that is not there is refused when a document is
//! parsed, because a Deny that never applies would look like protection.

use std::net::IpAddr;

use twoticks_core::clock::Time;

use super::json::Node;
use super::pattern::Pattern;

/// What conditions can ask about a call.
#[derive(Clone, Debug)]
pub struct Context {
    /// `acs:SourceIp`: where the call comes from, where that is known.
    pub source_ip: Option<IpAddr>,
    /// `acs:SecureTransport`: whether it came over TLS.
    pub secure_transport: bool,
    /// `acs:CurrentTime`: when it is decided. Dates are compared in whole seconds.
    pub now: Time,
    /// `acs:PrincipalARN`: who calls, as [`super::principal::arn`] writes it.
    pub principal_arn: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    SourceIp,
    SecureTransport,
    CurrentTime,
    PrincipalArn,
}

const KEYS: &[(&str, Key)] = &[
    ("acs:SourceIp", Key::SourceIp),
    ("acs:SecureTransport", Key::SecureTransport),
    ("acs:CurrentTime", Key::CurrentTime),
    ("acs:PrincipalARN", Key::PrincipalArn),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Text,
    TextIgnoringCase,
    TextLike,
    Number,
    Date,
    Bool,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    Less,
    LessOrEquals,
    Greater,
    GreaterOrEquals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operator {
    name: &'static str,
    family: Family,
    test: Test,
    negated: bool,
}

const fn is(name: &'static str, family: Family, test: Test) -> Operator {
    Operator { name, family, test, negated: false }
}

const fn is_not(name: &'static str, family: Family) -> Operator {
    Operator { name, family, test: Test::Equals, negated: true }
}

const OPERATORS: &[Operator] = &[
    is("StringEquals", Family::Text, Test::Equals),
    is_not("StringNotEquals", Family::Text),
    is("StringEqualsIgnoreCase", Family::TextIgnoringCase, Test::Equals),
    is_not("StringNotEqualsIgnoreCase", Family::TextIgnoringCase),
    is("StringLike", Family::TextLike, Test::Equals),
    is_not("StringNotLike", Family::TextLike),
    is("NumericEquals", Family::Number, Test::Equals),
    is_not("NumericNotEquals", Family::Number),
    is("NumericLessThan", Family::Number, Test::Less),
    is("NumericLessThanEquals", Family::Number, Test::LessOrEquals),
    is("NumericGreaterThan", Family::Number, Test::Greater),
    is("NumericGreaterThanEquals", Family::Number, Test::GreaterOrEquals),
    is("DateEquals", Family::Date, Test::Equals),
    is_not("DateNotEquals", Family::Date),
    is("DateLessThan", Family::Date, Test::Less),
    is("DateLessThanEquals", Family::Date, Test::LessOrEquals),
    is("DateGreaterThan", Family::Date, Test::Greater),
    is("DateGreaterThanEquals", Family::Date, Test::GreaterOrEquals),
    is("Bool", Family::Bool, Test::Equals),
    is("IpAddress", Family::Address, Test::Equals),
    is_not("NotIpAddress", Family::Address),
];

/// What a condition compares with.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Pattern(Pattern),
    /// A number, or a date in seconds.
    Number(i64),
    Bool(bool),
    Network(Network),
}

/// One operator on one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    operator: Operator,
    key: Key,
    values: Vec<Value>,
}

/// Reads `Condition`. An error is (where below it, what is wrong).
pub(super) fn parse(node: &Node) -> Result<Vec<Condition>, (String, String)> {
    let Node::Object(operators) = node else {
        return Err((String::new(), format!("it is {}; write an object", node.kind())));
    };
    let mut conditions = Vec::new();
    for (name, keys) in operators {
        let wrong = |what: String| (format!(".{name}"), what);
        let Some(operator) = OPERATORS.iter().find(|operator| operator.name == name) else {
            let known: Vec<_> = OPERATORS.iter().map(|operator| operator.name).collect();
            return Err(wrong(format!("no such operator; there are {}", known.join(", "))));
        };
        let Node::Object(keys) = keys else {
            return Err(wrong(format!("it is {}; write an object of keys", keys.kind())));
        };
        if keys.is_empty() {
            // It would hold always, and look like protection.
            return Err(wrong("it is empty; write at least one key".to_owned()));
        }
        for (key_name, values) in keys {
            let place = format!(".{name}.{key_name}");
            let wrong = |what: String| (place.clone(), what);
            let Some((_, key)) = KEYS.iter().find(|(it, _)| it.eq_ignore_ascii_case(key_name))
            else {
                let known: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
                let what = format!("no such condition key here; there are {}", known.join(", "));
                return Err(wrong(what));
            };
            if !fits(operator.family, *key) {
                return Err(wrong(format!("`{name}` cannot be asked of `{key_name}`")));
            }
            let values = values.several();
            if values.is_empty() || (operator.family == Family::Bool && values.len() > 1) {
                let count = if values.is_empty() { "at least one value" } else { "one boolean" };
                return Err(wrong(format!("write {count}")));
            }
            let values = values.iter().map(|value| read(operator.family, value));
            let values = values.collect::<Result<_, _>>().map_err(wrong)?;
            conditions.push(Condition { operator: *operator, key: *key, values });
        }
    }
    Ok(conditions)
}

/// Whether operators of a family can be asked of a key. Texts can be asked of all: of an address
/// as it is written, of a boolean, and of the time as `2026-11-23T00:00:00Z`. Numbers can be asked
/// of the time in seconds since 1970.
fn fits(family: Family, key: Key) -> bool {
    match family {
        Family::Text | Family::TextIgnoringCase | Family::TextLike => true,
        Family::Number | Family::Date => key == Key::CurrentTime,
        Family::Bool => key == Key::SecureTransport,
        Family::Address => key == Key::SourceIp,
    }
}

fn read(family: Family, node: &Node) -> Result<Value, String> {
    let text = match node {
        Node::Text(text) | Node::Number(text) => text.clone(),
        Node::Bool(value) => value.to_string(),
        Node::Null | Node::List(_) | Node::Object(_) => {
            return Err(format!("a value is {}; write a text", node.kind()));
        }
    };
    match family {
        Family::Text => Ok(Value::Text(text)),
        Family::TextIgnoringCase => Ok(Value::Text(text.to_ascii_lowercase())),
        Family::TextLike => Ok(Value::Pattern(Pattern::exact(&text))),
        Family::Number => match text.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => Err(format!("`{text}` is no whole number")),
        },
        Family::Date => match text.parse::<jiff::Timestamp>() {
            Ok(date) => Ok(Value::Number(date.as_second())),
            Err(_) => Err(format!("`{text}` is no date; write `2026-11-23T00:00:00Z`")),
        },
        Family::Bool => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        },
        Family::Address => match Network::parse(&text) {
            Some(network) => Ok(Value::Network(network)),
            None => Err(format!("`{text}` is no address; write `203.0.113.7` or `2001:db8::/32`")),
        },
    }
}

impl Condition {
    /// Whether it holds; `None` if what it asks about is not known.
    pub(super) fn holds(&self, context: &Context) -> Option<bool> {
        if self.key == Key::SourceIp && context.source_ip.is_none() {
            return None;
        }
        let any = self.values.iter().any(|value| self.fits(value, context));
        Some(any != self.operator.negated)
    }

    fn fits(&self, value: &Value, context: &Context) -> bool {
        match value {
            Value::Text(expected) => {
                let text = self.text(context);
                match self.operator.family {
                    Family::TextIgnoringCase => text.to_ascii_lowercase() == *expected,
                    _ => text == *expected,
                }
            }
            Value::Pattern(pattern) => pattern.matches(&self.text(context)),
            Value::Number(bound) => {
                let now = context.now.second();
                match self.operator.test {
                    Test::Equals => now == *bound,
                    Test::Less => now < *bound,
                    Test::LessOrEquals => now <= *bound,
                    Test::Greater => now > *bound,
                    Test::GreaterOrEquals => now >= *bound,
                }
            }
            Value::Bool(expected) => context.secure_transport == *expected,
            Value::Network(network) => context.source_ip.is_some_and(|ip| network.contains(ip)),
        }
    }

    fn text(&self, context: &Context) -> String {
        match self.key {
            Key::SourceIp => {
                context.source_ip.map(|ip| ip.to_canonical().to_string()).unwrap_or_default()
            }
            Key::SecureTransport => context.secure_transport.to_string(),
            Key::CurrentTime => jiff::Timestamp::from_second(context.now.second())
                .map(|time| time.to_string())
                .unwrap_or_default(),
            Key::PrincipalArn => context.principal_arn.clone(),
        }
    }
}

/// Addresses that begin with the same bits. An IPv4 address inside IPv6 is that IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = width(address);
        let bits = match bits {
            // `u32` would take `+8`.
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => width,
        };
        (bits <= width).then_some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let apart = network.to_bits() ^ address.to_bits();
                apart.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let apart = network.to_bits() ^ address.to_bits();
                apart.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V4(address)) => {
                let apart = network.to_bits() ^ address.to_ipv6_mapped().to_bits();
                apart.leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_addresses() {
        for (network, address, inside) in [
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.99/24", "203.0.113.1", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("203.0.113.0/24", "::ffff:203.0.113.5", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.5", true),
            ("::ffff:203.0.113.0/120", "203.0.113.5", true),
            ("2001:db8::/32", "203.0.113.5", false),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        for bad in ["", "/8", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "10.0.0.0/", "x"]
        {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn operator_and_key_names_are_distinct() {
        for (place, operator) in OPERATORS.iter().enumerate() {
            let before = OPERATORS.get(..place).unwrap();
            assert!(before.iter().all(|it| it.name != operator.name), "{}", operator.name);
        }
        assert_eq!(KEYS.len(), 4);
    }
}

//! `fields=…`: what a caller wants of a node, some of it with arguments
//! (`analytics.start(1).granularity(DAY)`).

use serde_json::{Map, Value};

use super::given::Given;
use super::refusal::Refusal;

/// How many fields a call may name.
const FIELDS_MAX: usize = 100;

/// A field that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// What stands in brackets behind `.name`.
    pub(super) arguments: Given,
}

/// Reads a list of fields. What stands in braces behind a field is read over.
///
/// # Errors
/// If brackets do not match, or there are too many fields.
pub(super) fn read(text: &str) -> Result<Vec<Field>, Refusal> {
    let mut fields = Vec::new();
    for part in split(text, ',')? {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        if fields.len() >= FIELDS_MAX {
            return Err(Refusal::parameter(format!("at most {FIELDS_MAX} fields")));
        }
        fields.push(field(part)?);
    }
    Ok(fields)
}

fn field(text: &str) -> Result<Field, Refusal> {
    let (mut name, mut arguments) = (String::new(), Given::default());
    for (index, part) in split(text, '.')?.into_iter().enumerate() {
        if index == 0 {
            let bare = part.split(['{', '(']).next().unwrap_or_default();
            bare.trim().clone_into(&mut name);
            continue;
        }
        let (of, argument) =
            part.split_once('(').ok_or_else(|| Refusal::parameter(syntax(text)))?;
        let argument = argument.split_once('{').map_or(argument, |(before, _)| before).trim_end();
        let argument =
            argument.strip_suffix(')').ok_or_else(|| Refusal::parameter(syntax(text)))?;
        arguments.0.insert(of.trim().to_owned(), argument.trim().into());
    }
    Ok(Field { name, arguments })
}

fn syntax(text: &str) -> String {
    let text: String = text.chars().take(64).collect();
    format!("Syntax error in the fields at `{text}`")
}

/// The parts of `text` between `separator`s that stand in no brackets and no quotes.
fn split(text: &str, separator: char) -> Result<Vec<&str>, Refusal> {
    let (mut parts, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    let mut open = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() == Some(c) => {}
            ')' | ']' | '}' => return Err(Refusal::parameter(syntax(text))),
            c if c == separator && open.is_empty() => {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if is_quoted || !open.is_empty() {
        return Err(Refusal::parameter(syntax(text)));
    }
    parts.push(text.get(begin..).unwrap_or_default());
    Ok(parts)
}

/// A kind of node: its name, the fields that it has with Meta, and those that are told if nobody
/// says.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) known: &'static [&'static str],
    pub(super) usual: &'static [&'static str],
}

impl Kind {
    /// Of what a node has (`all`) what is wanted; its id always. What Meta has and is not played is
    /// left out.
    ///
    /// # Errors
    /// A field that Meta does not have either.
    pub(super) fn pick(
        &self,
        all: &Map<String, Value>,
        wanted: &[Field],
    ) -> Result<Map<String, Value>, Refusal> {
        let usual = |name: &&str| (*name).to_owned();
        let names: Vec<String> = if wanted.is_empty() {
            self.usual.iter().map(usual).collect()
        } else {
            wanted.iter().map(|field| field.name.clone()).collect()
        };
        let mut picked = Map::new();
        for name in names.iter().map(String::as_str).chain(["id"]) {
            if let Some(value) = all.get(name) {
                picked.insert(name.to_owned(), value.clone());
            } else if !self.known.contains(&name) {
                return Err(Refusal::no_field(name, self.name));
            }
        }
        Ok(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_their_arguments_are_read_as_they_are_written() {
        let text = "id, name,analytics.start(1).end(2).phone_numbers([\"1.5\",\"2\"]){data},a{b,c}";
        let fields = read(text).unwrap();
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["id", "name", "analytics", "a"]);
        let analytics = &fields[2].arguments;
        assert_eq!(analytics.text("start").unwrap(), "1");
        assert_eq!(analytics.list("phone_numbers").unwrap(), ["1.5", "2"]);
        assert_eq!(read("").unwrap(), []);
        for bad in ["a(", "a)", "a.b", "a.b(]", "a.b(\")", "a{b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&vec!["a"; FIELDS_MAX].join(",")).is_ok());
        assert!(read(&vec!["a"; FIELDS_MAX + 1].join(",")).is_err());
    }
}

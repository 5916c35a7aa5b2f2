//! What a call is given: texts of the query or of a form, values of a JSON body, and what stands in
//! brackets behind a field, all by name.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given(pub(super) Map<String, Value>);

impl Given {
    /// The value, if it is there and not null.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The value as a text; none if it is empty, a list or an object.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = match self.value(name)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Array(_) | Value::Object(_) => return None,
            other => other.to_string(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The value, read as JSON where it is a text.
    ///
    /// # Errors
    /// If it is a text and no JSON.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, Refusal> {
        match self.value(name) {
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| Refusal::parameter(format!("Param {name} is no JSON"))),
            other => Ok(other.cloned()),
        }
    }

    /// A list of texts: JSON, or words between commas, with or without brackets.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let plain = |value: &Value| match value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        match self.value(name)? {
            Value::Array(items) => Some(items.iter().map(plain).collect()),
            Value::String(text) => {
                if let Ok(Value::Array(items)) = serde_json::from_str(text) {
                    return Some(items.iter().map(plain).collect());
                }
                let inside = text.trim().trim_start_matches('[').trim_end_matches(']');
                let words = inside.split(',').map(|word| word.trim().trim_matches(['"', '\'']));
                Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            other => Some(vec![plain(other)]),
        }
    }

    /// Whether, also written as a text.
    ///
    /// # Errors
    /// If it is neither.
    pub(super) fn whether(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Refusal::parameter(format!("Param {name} must be a boolean"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_read_however_it_is_written() {
        for (written, expected) in [
            (json!("[1,2]"), vec!["1", "2"]),
            (json!(r#"["1","2"]"#), vec!["1", "2"]),
            (json!("[SENT, READ]"), vec!["SENT", "READ"]),
            (json!("['SENT']"), vec!["SENT"]),
            (json!("1,2"), vec!["1", "2"]),
            (json!([1, "2"]), vec!["1", "2"]),
            (json!(7), vec!["7"]),
            (json!("[]"), vec![]),
        ] {
            let given = Given(Map::from_iter([("a".to_owned(), written.clone())]));
            assert_eq!(given.list("a").unwrap(), expected, "{written}");
        }
        assert_eq!(Given::default().list("a"), None);
    }
}

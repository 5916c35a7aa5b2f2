//! A request as it was received: method, raw target, headers, body.
//!
//! The server builds one from hyper's parts, a transcript from a file. Nothing is normalised here:
//! what was signed is what was sent.

use crate::code::{Code, Refusal};
use crate::params::Params;

/// A request, borrowed from whoever received it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Method as on the request line.
    pub method: &'a str,
    /// Request target as on the request line, path and query, not decoded.
    pub target: &'a str,
    /// Headers in the order received; names in any case, values as bytes.
    pub headers: &'a [(String, Vec<u8>)],
    /// Body after de-chunking, otherwise as received.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The target before its first `?`.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The target after its first `?`, not decoded; empty if there is none.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Values of a header, in the order received, blanks around them trimmed.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_ascii())
    }

    /// A header's value as signatures see it: trimmed; of a repeated header all values, sorted and
    /// joined with `,`, so that nobody can show one value to the signature and another to us.
    /// `None` if the header is absent; bytes that are not UTF-8 are replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        self.header_bytes(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Request::header`], with the bytes as they are.
    pub fn header_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let mut values: Vec<&[u8]> = self.header_values(name).collect();
        values.sort_unstable();
        (!values.is_empty()).then(|| values.join(&b','))
    }

    /// Whether the body is a form: only then do its pairs count as parameters.
    pub fn is_form(&self) -> bool {
        self.header("content-type").is_some_and(|value| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
    }

    /// The first check of all: `GET` or `POST`.
    ///
    /// # Errors
    /// `UnsupportedHTTPMethod`.
    pub fn check_method(&self) -> Result<(), Refusal> {
        match self.method {
            "GET" | "POST" => Ok(()),
            _ => Err(Code::UnsupportedHttpMethod.into()),
        }
    }

    /// The parameters of query and form body.
    ///
    /// # Errors
    /// As [`Params::parse`].
    pub fn params(&self) -> Result<Params, Refusal> {
        Params::parse(self.query().as_bytes(), self.is_form().then_some(self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_target_is_split_at_its_first_question_mark() {
        let request = Request { method: "GET", target: "/a?b=?c", headers: &[], body: b"" };
        assert_eq!((request.path(), request.query()), ("/a", "b=?c"));
        let request = Request { target: "/a", ..request };
        assert_eq!((request.path(), request.query()), ("/a", ""));
    }

    #[test]
    fn a_repeated_header_is_sorted_and_joined() {
        let headers = with(&[("X-A", " b "), ("x-a", "a"), ("other", "c")]);
        let request = Request { method: "GET", target: "/", headers: &headers, body: b"" };
        assert_eq!(request.header("x-A").unwrap(), "a,b");
        assert_eq!(request.header("absent"), None);
    }

    #[test]
    fn only_a_body_that_says_form_is_one() {
        for (value, form) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", true),
            ("application/json; charset=utf-8", false),
            ("application/octet-stream", false),
        ] {
            let headers = with(&[("content-type", value)]);
            let request = Request { method: "POST", target: "/", headers: &headers, body: b"a=1" };
            assert_eq!(request.is_form(), form, "{value}");
            assert_eq!(request.params().unwrap().get("a").is_some(), form, "{value}");
        }
    }
}

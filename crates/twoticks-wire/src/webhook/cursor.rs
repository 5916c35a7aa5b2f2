//! One pass over JSON that is as senders usually write it.
//!
//! A [`Cursor`] goes over a text once and lends what it finds. It takes JSON and nothing else,
//! but not all of JSON: `None` says that something is unusual or wrong, not which; whoever asked
//! then reads the same bytes with [`super::json`], which decides. To add a form, add a method that
//! takes no text which `json` would read as something else.

use std::borrow::Cow;

/// How deep what is skipped may be nested; deeper is unusual.
const DEPTH_MAX: u32 = 32;

/// A place in a text.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no blank, which stays.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Whether `byte` is next; then it is behind.
    fn eats(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eats(byte).then_some(())
    }

    /// Nothing but blanks may follow.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// An object: `member` is given each key, which has no escapes, and has to go over its value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if self.eats(b'}') {
            return Some(());
        }
        loop {
            let key = self.plain()?;
            self.expect(b':')?;
            member(self, key)?;
            if !self.eats(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// A list: `element` has to go over each of its elements.
    pub(super) fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.eats(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.eats(b',') {
                return self.expect(b']');
            }
        }
    }

    /// A text, also an empty one: what is between its quotes, and whether that has escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut is_escaped = false;
        loop {
            self.at += unremarkable(self.rest());
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', a, b, c, d, ..]
                    if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
                {
                    self.at += 6;
                }
                _ => return None,
            }
            is_escaped = true;
        }
        let inner = self.text.get(begin..self.at)?;
        self.at += 1;
        Some((inner, is_escaped))
    }

    /// A text without escapes, also an empty one.
    fn plain(&mut self) -> Option<&'a str> {
        self.string().and_then(|(text, is_escaped)| (!is_escaped).then_some(text))
    }

    /// A text without escapes that is not empty.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        self.plain().filter(|text| !text.is_empty())
    }

    /// A text that is not empty, without its escapes.
    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let begin = self.at;
        let text = match self.string()? {
            (text, false) => Cow::Borrowed(text),
            // The one escape in ids, which are base64.
            (text, true) if text.matches('\\').count() == text.matches("\\/").count() => {
                Cow::Owned(text.replace("\\/", "/"))
            }
            (_, true) => Cow::Owned(serde_json::from_str(self.text.get(begin..self.at)?).ok()?),
        };
        (!text.is_empty()).then_some(text)
    }

    /// Goes over a text, whatever it says.
    pub(super) fn any_text(&mut self) -> Option<()> {
        self.string().map(|_| ())
    }

    /// A number in a text: at most 15 digits, so that seconds as milliseconds fit.
    pub(super) fn digits(&mut self) -> Option<i64> {
        let digits = self.word()?;
        let is_short = digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_short { digits.parse().ok() } else { None }
    }

    /// A whole number of at most 15 digits.
    pub(super) fn integer(&mut self) -> Option<i64> {
        self.peek()?;
        let begin = self.at;
        self.number()?;
        let number = self.text.get(begin..self.at)?;
        let is_short =
            number.len() <= 16 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if is_short { number.parse().ok() } else { None }
    }

    /// True or false.
    pub(super) fn flag(&mut self) -> Option<bool> {
        let is_true = self.peek()? == b't';
        self.literal(if is_true { "true" } else { "false" })?;
        Some(is_true)
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        self.rest().starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// Goes over any value, and gives its bytes.
    pub(super) fn raw(&mut self) -> Option<&'a str> {
        self.peek()?;
        let begin = self.at;
        self.skip()?;
        self.text.get(begin..self.at)
    }

    /// Goes over any value.
    pub(super) fn skip(&mut self) -> Option<()> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.any_text(),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.expect(b'{')?;
                if self.eats(b'}') {
                    return Some(());
                }
                loop {
                    self.any_text()?;
                    self.expect(b':')?;
                    self.skip_within(depth)?;
                    if !self.eats(b',') {
                        return self.expect(b'}');
                    }
                }
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.list(|it| it.skip_within(depth))
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.rest().first() == Some(&b'-'));
        match self.rest().first()? {
            b'0' => self.at += 1,
            _ => self.some_digits()?,
        }
        if self.rest().first() == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.rest().first() {
            self.at += 1;
            self.at += usize::from(matches!(self.rest().first(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Some(())
    }

    fn some_digits(&mut self) -> Option<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }
}

/// How many bytes of a text there are before a quote, an escape, a control character or the end.
fn unremarkable(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let mut rest = bytes;
    // Eight at once: each byte below an eighth of its own word gets its highest bit set. A carry
    // may set one of a later byte as well, so the first is right.
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let zero_in = |of: u64| of.wrapping_sub(ONES) & !of;
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let escape = zero_in(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | escape | control) & HIGH;
        if found != 0 {
            let before = usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
            return bytes.len() - rest.len() + before;
        }
        rest = after;
    }
    let is_plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0..0x20);
    bytes.len() - rest.len() + rest.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// What is skipped is JSON, and text is read as the library reads it.
    #[test]
    fn it_takes_nothing_that_is_no_json() {
        for text in [
            "1",
            "-0",
            "-1.5e+7",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "1e5",
            "tru",
            "true",
            "null",
            "nul",
            "{}",
            "{,}",
            "{\"a\":1,}",
            "{\"a\" : [ 1 , 2 ] }",
            "[1,]",
            "[,]",
            "[1 2]",
            "{\"a\"}",
            "\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\ud83d\"",
            "\"\u{1}\"",
            "\"\u{7f}\u{e9}\"",
            " [ ] ",
            "[]]",
            "",
            "\"0123456789\\\"0123456789\"",
            "{\"\\ud83d\":1}",
            "{1:1}",
            "'a'",
            "[[[[{\"a\":[]}]]]]",
            "[\"\t\"]",
            "[\"12345678\n\"]",
            "[\"1234567\n\"]",
            "\u{feff}1",
        ] {
            let known = serde_json::from_str::<&RawValue>(text).map(RawValue::get);
            let mut cursor = Cursor::new(text);
            let found = cursor.raw().filter(|_| cursor.end().is_some());
            assert_eq!(found, known.ok(), "{text}");
        }
    }

    #[test]
    fn a_text_loses_its_escapes_as_in_the_library() {
        for text in [
            r#""a""#,
            r#""a\/b\/c""#,
            r#""\\/""#,
            r#""\\\/""#,
            r#""a\/\n""#,
            r#""\u00e4""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""/""#,
            r#""\/""#,
        ] {
            let known = serde_json::from_str::<String>(text).ok();
            let found = Cursor::new(text).text();
            // It may leave one to others; what it reads is right.
            assert!(found.is_none() || found.as_deref() == known.as_deref(), "{text}: {found:?}");
        }
        assert_eq!(Cursor::new(r#""a\/b\/c""#).text().as_deref(), Some("a/b/c"));
    }

    #[test]
    fn depth_is_left_to_others() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Cursor::new(&deep(32)).skip().is_some());
        assert!(Cursor::new(&deep(33)).skip().is_none());
        assert!(Cursor::new(&deep(1_000_000)).skip().is_none());
    }
}

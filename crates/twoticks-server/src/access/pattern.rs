//! Texts with wildcards: `*` stands for any number of characters, `?` for exactly one.

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Vec<char>,
    /// Whether small and capital ASCII letters are the same.
    folds: bool,
}

impl Pattern {
    /// A pattern in which letters are as they are written.
    pub(super) fn exact(text: &str) -> Self {
        Self { text: text.chars().collect(), folds: false }
    }

    /// A pattern in which small and capital ASCII letters are the same.
    pub(super) fn folding(text: &str) -> Self {
        Self { text: text.chars().map(|c| c.to_ascii_lowercase()).collect(), folds: true }
    }

    /// Whether all of `text` fits. Takes at most the product of both lengths.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = if self.folds {
            text.chars().map(|c| c.to_ascii_lowercase()).collect()
        } else {
            text.chars().collect()
        };
        let (mut at, mut in_text) = (0, 0);
        // Where the last `*` stands, and up to where of the text it reaches so far.
        let mut star: Option<(usize, usize)> = None;
        while let Some(character) = text.get(in_text) {
            match self.text.get(at) {
                Some('*') => {
                    star = Some((at, in_text));
                    at += 1;
                }
                Some(expected) if *expected == '?' || expected == character => {
                    at += 1;
                    in_text += 1;
                }
                _ => {
                    let Some((place, reach)) = star else { return false };
                    star = Some((place, reach + 1));
                    at = place + 1;
                    in_text = reach + 1;
                }
            }
        }
        self.text.iter().skip(at).all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_characters() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything at all", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("Get*", "GetChatappTemplateMetric", true),
            ("get*", "GetChatappTemplateMetric", false),
            ("**", "", true),
        ] {
            assert_eq!(Pattern::exact(pattern).matches(text), fits, "{pattern} ~ {text}");
        }
        assert!(Pattern::folding("GET*").matches("getIt"));
        assert!(!Pattern::folding("GET*").matches("g?t"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::exact(&"a*".repeat(2_000));
        assert!(!pattern.matches(&"b".repeat(128)));
        assert!(!Pattern::exact(&format!("{}b", "*a".repeat(60))).matches(&"a".repeat(4_000)));
    }
}

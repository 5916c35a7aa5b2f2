//! Values of the command line: from text to what they are, refused with what would do.

use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::{ChannelId, InvalidId, PhoneNumber, Text};
use twoticks_store::directory::names::{AccessKeyId, Name, Uid};

pub(crate) fn name(text: &str) -> Result<Name, InvalidId> {
    Name::new(text)
}

pub(crate) fn uid(text: &str) -> Result<Uid, InvalidId> {
    Uid::new(text)
}

pub(crate) fn access_key_id(text: &str) -> Result<AccessKeyId, InvalidId> {
    AccessKeyId::new(text)
}

pub(crate) fn channel_id(text: &str) -> Result<ChannelId, InvalidId> {
    ChannelId::new(text)
}

pub(crate) fn phone_number(text: &str) -> Result<PhoneNumber, InvalidId> {
    PhoneNumber::new(text)
}

pub(crate) fn text(text: &str) -> Result<Text, InvalidId> {
    Text::new(text)
}

pub(crate) fn category(text: &str) -> Result<Category, String> {
    Category::parse(text).ok_or_else(|| "write `marketing`, `utility` or `authentication`".into())
}

pub(crate) fn button(given: &str) -> Result<Button, String> {
    let rule = "write `quick_reply:TEXT`, `url:TEXT` or `phone_number:TEXT`";
    let (kind, text) = given.split_once(':').ok_or(rule)?;
    let kind = match kind {
        "quick_reply" => ButtonKind::QuickReply,
        "url" => ButtonKind::Url,
        "phone_number" => ButtonKind::PhoneNumber,
        _ => return Err(rule.into()),
    };
    Ok(Button { kind, text: Text::new(text).map_err(|error| error.to_string())? })
}

pub(crate) fn seconds(given: &str) -> Result<i64, String> {
    let duration: jiff::SignedDuration =
        given.parse().map_err(|_| "write a duration such as `30m` or `2h`".to_owned())?;
    Ok(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_are_a_kind_and_a_text() {
        let made = button("url:Shop: now").unwrap();
        assert_eq!((made.kind, made.text.as_str()), (ButtonKind::Url, "Shop: now"));
        for bad in ["Shop", "link:Shop", "url:\n"] {
            assert!(button(bad).is_err(), "{bad}");
        }
    }
}

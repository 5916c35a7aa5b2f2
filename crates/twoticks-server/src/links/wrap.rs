//! Putting our address into a template, and remembering where its button led to.
//!
//! WhatsApp has `{links.url}/r/{{1}}` then, and callers of the CAMS door go on seeing the target.
//! Buttons of a carousel's cards are left as they are. What always holds: a target is an address of
//! http or https, and what a message may put behind it stands behind a fixed path.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::model::{GraphTemplate, Link, LinkId, TemplateRecord};
use twoticks_store::directory::{
    BUTTONS_MAX, Change, LINKS_PER_TEMPLATE_MAX, Snapshot, TARGET_BYTES_MAX,
};
use twoticks_wire::graph::template::{Button, ButtonKind, Definition};

use super::VARIABLE;
use super::token::Token;
use crate::app::App;
use crate::control::ControlError;
use crate::graph::sync;

/// What stands for a token where WhatsApp wants an example.
const EXAMPLE: &str = "example";

/// Which template's links are to lead over us.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// The channel; may be left out if there is only one that has the template.
    pub channel: Option<ChannelId>,
    /// The template's code.
    pub code: Text,
    /// Its language.
    pub language: Text,
    /// Which button, from 0; else all that open a link.
    pub button: Option<u8>,
    /// Where the button is to lead; else where it leads.
    pub target: Option<String>,
}

/// The links as a template has them now: a button may have moved or have another text.
pub(crate) fn named(known: &[Link], definition: &Definition) -> Vec<Link> {
    let is_over_us = |button: &&Button, link: &Link| {
        let shown = button.link.as_ref().filter(|it| it.ends_in_variable).map(|it| &*it.fixed);
        shown == Some(&*link.shown)
    };
    let now = |link: &Link| {
        let mut over_us = definition.buttons.iter().filter(|button| is_over_us(button, link));
        let same_text = over_us.clone().find(|button| button.text == link.text.as_str());
        let at = same_text.or_else(|| over_us.find(|button| button.index == place(link)));
        let Some(button) = at else { return link.clone() };
        let index = u8::try_from(button.index).unwrap_or(link.button);
        Link { button: index, text: Text::lossy(&button.text), ..link.clone() }
    };
    known.iter().map(now).collect()
}

fn place(link: &Link) -> usize {
    usize::from(link.button)
}

/// The link of a button, if the button leads over us: the newest that there is for it.
pub(crate) fn link_of<'a>(links: &'a [Link], button: &Button) -> Option<&'a Link> {
    let leads = button.link.as_ref().filter(|link| link.ends_in_variable)?;
    let is_its = |link: &&Link| place(link) == button.index && *link.shown == *leads.fixed;
    links.iter().rev().find(is_its)
}

/// Whether what follows the target is a message's own.
pub(crate) fn takes_suffix(link: &Link) -> bool {
    link.target.ends_with(VARIABLE)
}

/// Has the links of components that are told to WhatsApp lead over us, and gives the template's
/// links from then on. `which` says which buttons.
pub(crate) fn wrap(
    prefix: &str,
    components: &mut [Value],
    known: &[Link],
    which: impl Fn(&Button) -> bool,
) -> Result<Vec<Link>, String> {
    let (mut earlier, mut links) = (known.to_vec(), Vec::new());
    for button in Definition::of(components).buttons {
        let is_known = known.iter().any(|link| Some(&*link.shown) == fixed(&button));
        let is_over_us = is_known || fixed(&button) == Some(prefix);
        if button.kind != ButtonKind::Url || is_over_us || !which(&button) {
            continue;
        }
        let Some(told) = button_at(components, button.index) else { continue };
        let Some(target) = button.link.as_ref() else { continue };
        let variable = if target.ends_in_variable { VARIABLE } else { "" };
        let target = format!("{}{variable}", target.fixed);
        check(prefix, &target)?;
        let example = told.get("example").and_then(|it| it.get(0)).and_then(Value::as_str);
        let example = example.filter(|_| !variable.is_empty()).map(Text::lossy);
        let index = index(&button)?;
        // A target that is known keeps its link: what was sent with it goes on.
        let is_its = |it: &Link| *it.target == *target && *it.shown == *prefix;
        let own = earlier.iter().position(|it| is_its(it) && it.button == index);
        let at = own.or_else(|| earlier.iter().position(is_its));
        links.push(Link {
            id: at.map_or_else(new_id, |at| earlier.remove(at).id),
            button: index,
            text: Text::lossy(&button.text),
            shown: prefix.into(),
            target: target.into(),
            example,
        });
        told.insert("url".to_owned(), format!("{prefix}{VARIABLE}").into());
        told.insert("example".to_owned(), json!([format!("{prefix}{EXAMPLE}")]));
    }
    earlier.append(&mut links);
    // Before WhatsApp is told, not after.
    match earlier.len() {
        0..=LINKS_PER_TEMPLATE_MAX => Ok(earlier),
        count => Err(format!(
            "with its earlier ones it would have {count} links, at most {LINKS_PER_TEMPLATE_MAX} are \
             kept; make a new template"
        )),
    }
}

fn fixed(button: &Button) -> Option<&str> {
    button.link.as_ref().map(|link| link.fixed.as_str())
}

fn index(button: &Button) -> Result<u8, String> {
    u8::try_from(button.index).map_err(|_| format!("it has more than {BUTTONS_MAX} buttons"))
}

fn new_id() -> LinkId {
    let mut id = [0; 6];
    getrandom::fill(&mut id).expect("the operating system has random bytes");
    LinkId(id)
}

/// The button at a place of a template's own buttons.
fn button_at(components: &mut [Value], index: usize) -> Option<&mut Map<String, Value>> {
    let is_buttons = |component: &&mut Value| {
        let kind = component.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case("BUTTONS"))
    };
    // Of several the last one counts, as it does when they are read.
    let buttons = components.iter_mut().rfind(is_buttons)?.get_mut("buttons")?;
    buttons.as_array_mut()?.iter_mut().filter_map(Value::as_object_mut).nth(index)
}

/// A template's components as whoever made it knows them: its buttons lead to their targets.
pub(crate) fn unwrapped(mut components: Vec<Value>, links: &[Link]) -> Vec<Value> {
    for button in Definition::of(&components).buttons {
        let Some(link) = link_of(links, &button) else { continue };
        let Some(told) = button_at(&mut components, button.index) else { continue };
        told.insert("url".to_owned(), (*link.target).into());
        match &link.example {
            Some(example) => told.insert("example".to_owned(), json!([example])),
            None => told.remove("example"),
        };
    }
    components
}

/// Whether people may be led there.
///
/// # Errors
/// What is wrong with it.
fn check(prefix: &str, target: &str) -> Result<(), String> {
    let why = |why: &str| Err(format!("the target `{target}` {why}"));
    let scheme = ["https://", "http://"].into_iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| target.get(scheme.len()..)).flatten()
    });
    let Some(rest) = scheme else { return why("is no address of http or https") };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host.is_empty() || host.chars().any(|it| it.is_whitespace() || "{}<>\\\"@".contains(it)) {
        return why("names no server");
    }
    if target.starts_with(prefix) {
        return why("leads over this server again");
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(format!("the target is longer than {TARGET_BYTES_MAX} bytes"));
    }
    let fixed = path.strip_suffix(VARIABLE).unwrap_or(path);
    if fixed.contains("{{") {
        return why("may have one variable, `{{1}}`, at its end");
    }
    // Else what a message puts there could be a part of the server's name.
    if fixed.len() < path.len() && fixed.is_empty() {
        return why("needs a `/` in front of its variable");
    }
    Ok(())
}

/// Has links of a template lead over us: tells WhatsApp, which reviews the template again, and
/// registers where they lead.
///
/// # Errors
/// [`ControlError`]; WhatsApp has been told only if the directory refuses afterwards.
pub(crate) async fn execute(app: &App, wanted: Wrap) -> Result<Value, ControlError> {
    let unfit = |what, why: String| ControlError::Unfit { what, why };
    let snapshot = app.directory.snapshot();
    let Some(prefix) = app.settings.links.url.prefix() else {
        let why = "is empty; set it to the address under which phones reach this server";
        return Err(unfit("links.url", why.to_owned()));
    };
    let record = find(&snapshot, &wanted)?;
    let no_content =
        || "WhatsApp has not said what it says; `twoticks channel sync` asks".to_owned();
    let graph = record.graph.as_ref().ok_or_else(|| unfit("the template", no_content()))?;
    let before: Vec<Value> = serde_json::from_str(&graph.components).unwrap_or_default();
    let mut components = before.clone();
    let is_meant =
        |button: &Button| wanted.button.is_none_or(|index| usize::from(index) == button.index);
    let buttons = Definition::of(&before).buttons.into_iter();
    let meant: Vec<Button> =
        buttons.filter(|it| it.kind == ButtonKind::Url && is_meant(it)).collect();
    if meant.is_empty() {
        return Err(unfit("the template", "has no such button that opens a link".to_owned()));
    }
    let mut links = record.links.clone();
    if let Some(target) = &wanted.target {
        let [button] = meant.as_slice() else {
            let why = "is for one button; say which with --button";
            return Err(unfit("--target", why.to_owned()));
        };
        check(&prefix, target).map_err(|why| unfit("--target", why))?;
        retarget(&prefix, &mut components, &mut links, button, target)
            .map_err(|why| unfit("--target", why))?;
    }
    let links = wrap(&prefix, &mut components, &links, is_meant)
        .map_err(|why| unfit("the template", why))?;
    let leads_nowhere = |it: &Button| fixed(it) == Some(&prefix) && link_of(&links, it).is_none();
    if Definition::of(&components).buttons.iter().any(|it| is_meant(it) && leads_nowhere(it)) {
        let why = "leads over this server already, and where to is not known; say it with --target";
        return Err(unfit("the template", why.to_owned()));
    }
    let is_told = components != before;
    if is_told {
        tell(app, &snapshot, record, &components).await?;
    }
    let now = app.clock.now();
    let record = TemplateRecord {
        links: named(&links, &Definition::of(&components)),
        graph: Some(GraphTemplate {
            components: Value::from(components).to_string().into(),
            status: if is_told { Text::lossy("PENDING") } else { graph.status.clone() },
            updated: now,
            ..graph.clone()
        }),
        ..TemplateRecord::clone(record)
    };
    let said = told(app, &snapshot, &record, is_told);
    let changes = vec![Change::PutTemplate(record.clone())];
    let read = sync::Read { changes, ..sync::Read::default() };
    sync::take_over(app, &record.channel, read).await?;
    Ok(said)
}

fn find<'a>(
    snapshot: &'a Snapshot,
    wanted: &Wrap,
) -> Result<&'a Arc<TemplateRecord>, ControlError> {
    let missing = |name: String| ControlError::Missing {
        what: "template",
        name,
        remedy: "`twoticks channel template list` shows those there are",
    };
    let Wrap { channel, code, language, .. } = wanted;
    let channels = snapshot.channels().filter(|it| channel.as_ref().is_none_or(|id| it.id == *id));
    let found: Vec<_> =
        channels.filter_map(|channel| snapshot.template(&channel.id, code, language)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(missing(format!("{code} {language}"))),
        _ => Err(ControlError::Unfit {
            what: "--channel",
            why: "several channels have such a template; name one".to_owned(),
        }),
    }
}

/// Registers another target for a button: what was sent leads there from now on as well, where the
/// button leads over us already.
fn retarget(
    prefix: &str,
    components: &mut [Value],
    links: &mut Vec<Link>,
    button: &Button,
    target: &str,
) -> Result<(), String> {
    if let Some(id) = link_of(links, button).map(|link| link.id) {
        for link in links.iter_mut().filter(|link| link.id == id) {
            link.target = target.into();
            link.example = target.ends_with(VARIABLE).then(|| Text::lossy(EXAMPLE));
        }
    } else if fixed(button) == Some(prefix) {
        links.push(Link {
            id: new_id(),
            button: index(button)?,
            text: Text::lossy(&button.text),
            shown: prefix.into(),
            target: target.into(),
            example: target.ends_with(VARIABLE).then(|| Text::lossy(EXAMPLE)),
        });
    } else if let Some(told) = button_at(components, button.index) {
        told.insert("url".to_owned(), target.into());
        told.insert("example".to_owned(), json!([EXAMPLE]));
    }
    Ok(())
}

/// Tells WhatsApp what a template says from now on.
async fn tell(
    app: &App,
    snapshot: &Snapshot,
    record: &TemplateRecord,
    components: &[Value],
) -> Result<(), ControlError> {
    let unfit = |what, why: String| ControlError::Unfit { what, why };
    let channel = snapshot.channel(&record.channel);
    let connection = channel.and_then(|channel| channel.connection.as_ref());
    let (Some(connection), Some(id)) = (connection, &record.meta_id) else {
        let why = "is not connected with WhatsApp; `twoticks channel connect` does that";
        return Err(unfit("the channel", why.to_owned()));
    };
    let refused = |why: String| unfit("the template", format!("was not taken by WhatsApp: {why}"));
    let graph = app.dispatcher.graph(app).map_err(|why| refused(why.to_string()))?;
    let body = json!({"components": components});
    let posted = graph.post(&connection.access_token, id.as_str(), &[], Some(&body)).await;
    posted.map_err(|why| refused(why.to_string()))?;
    Ok(())
}

/// What there is to say of a template whose links lead over us, with an address for each number
/// that counts for the template as a whole: for messages that we do not send.
fn told(app: &App, snapshot: &Snapshot, record: &TemplateRecord, is_told: bool) -> Value {
    let graph = record.graph.as_ref();
    let definition = graph.and_then(|graph| Definition::parse(&graph.components).ok());
    let buttons = definition.map(|definition| definition.buttons).unwrap_or_default();
    let links = buttons.iter().filter_map(|button| link_of(&record.links, button));
    let links: Value = links
        .map(|link| {
            let numbers = snapshot.numbers_of(&record.channel).iter();
            let tokens = numbers.filter(|_| !takes_suffix(link)).map(|number| {
                let of = (&record.channel, &number.phone_number);
                let token = Token::of(&app.keys, of, link.id, None);
                let token = token.write(&app.keys, &record.channel, "");
                json!({"phone_number": number.phone_number, "token": token})
            });
            json!({
                "button": link.button, "text": link.text, "target": *link.target,
                "url": format!("{}{VARIABLE}", link.shown), "template_tokens": tokens.collect::<Value>(),
            })
        })
        .collect();
    json!({
        "code": record.code, "language": record.language, "channel": record.channel,
        "links": links, "reviewed_again": is_told,
    })
}

/// How many templates of a channel have links that could lead over us.
pub(crate) fn could_be_wrapped(snapshot: &Snapshot, channel: &ChannelId) -> usize {
    let could = |record: &&Arc<TemplateRecord>| {
        let graph = record.graph.as_ref().filter(|graph| graph.status.as_str() != sync::DELETED);
        let definition = graph.and_then(|graph| Definition::parse(&graph.components).ok());
        definition.is_some_and(|definition| {
            let links = definition.buttons.iter().filter(|it| it.kind == ButtonKind::Url);
            links.clone().any(|button| link_of(&record.links, button).is_none())
        })
    };
    snapshot.templates_of(channel).filter(could).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "https://l.example/r/";

    fn components(urls: &[&str]) -> Vec<Value> {
        let buttons = urls.iter().enumerate().map(|(index, url)| {
            json!({"type": "URL", "text": format!("Button {index}"), "url": url, "example": ["x"]})
        });
        let body = json!({"type": "BODY", "text": "Hi"});
        vec![body, json!({"type": "BUTTONS", "buttons": buttons.collect::<Value>()})]
    }

    fn urls(components: &[Value]) -> Vec<&str> {
        let buttons = components[1]["buttons"].as_array().unwrap().iter();
        buttons.map(|button| button["url"].as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_wrapped_leads_to_its_target_and_is_not_wrapped_twice() {
        let before = components(&["https://x.example/a", "https://x.example/b/{{1}}"]);
        let mut told = before.clone();
        let links = wrap(PREFIX, &mut told, &[], |_| true).unwrap();
        assert_eq!(urls(&told), ["https://l.example/r/{{1}}"; 2]);
        let mut again = told.clone();
        assert_eq!(wrap(PREFIX, &mut again, &links, |_| true).unwrap(), links);
        assert_eq!(again, told);
        let back = unwrapped(told, &links);
        assert_eq!(urls(&back), urls(&before));
        assert_eq!(back[1]["buttons"][0].get("example"), None);
        assert_eq!(back[1]["buttons"][1]["example"], json!(["x"]));
        // As whoever changes it sees it, in another order: each target keeps its link.
        let mut swapped = components(&["https://x.example/b/{{1}}", "https://x.example/a"]);
        let moved = wrap(PREFIX, &mut swapped, &links, |_| true).unwrap();
        let id = |links: &[Link], at| links.iter().find(|link| link.button == at).unwrap().id;
        assert_eq!((id(&moved, 0), id(&moved, 1)), (id(&links, 1), id(&links, 0)));
    }

    #[test]
    fn buttons_with_one_target_have_a_link_each() {
        for url in ["https://x.example/a", "https://x.example/{{1}}"] {
            let mut told = components(&[url, url]);
            let links = wrap(PREFIX, &mut told, &[], |_| true).unwrap();
            let definition = Definition::of(&told);
            let ids = definition.buttons.iter().map(|it| link_of(&links, it).unwrap().id);
            let ids: Vec<LinkId> = ids.collect();
            assert_ne!(ids[0], ids[1]);
            // As whoever changes it sees it: each keeps its own, and another one gets one of its own.
            let mut again = components(&[url, url, url]);
            let more = wrap(PREFIX, &mut again, &links, |_| true).unwrap();
            let definition = Definition::of(&again);
            let all = definition.buttons.iter().map(|it| link_of(&more, it).unwrap().id);
            let all: Vec<LinkId> = all.collect();
            assert_eq!((&all[..2], more.len()), (&*ids, 3));
        }
    }

    #[test]
    fn a_link_follows_its_button() {
        let mut told = components(&["https://x.example/a", "https://x.example/b"]);
        let links = wrap(PREFIX, &mut told, &[], |_| true).unwrap();
        let buttons = told[1]["buttons"].as_array_mut().unwrap();
        buttons.swap(0, 1);
        let moved = named(&links, &Definition::of(&told));
        assert_eq!(moved.iter().map(|link| link.button).collect::<Vec<_>>(), [1, 0]);
        let mut renamed = components(&[]);
        renamed[1]["buttons"] =
            json!([{"type": "URL", "text": "New", "url": "https://l.example/r/{{1}}"}]);
        let renamed = named(&links[..1], &Definition::of(&renamed));
        assert_eq!((renamed[0].button, renamed[0].text.as_str()), (0, "New"));
        // It leads elsewhere now: the link stays as it was, for what was sent.
        let elsewhere = Definition::of(&components(&["https://y.example"]));
        assert_eq!(named(&links, &elsewhere), links);
        assert!(link_of(&links, &elsewhere.buttons[0]).is_none());
    }

    #[test]
    fn so_many_links_are_kept_and_no_more() {
        let mut links = Vec::new();
        for count in 1..=LINKS_PER_TEMPLATE_MAX + 1 {
            let mut told = components(&[&format!("https://x.example/{count}")]);
            match wrap(PREFIX, &mut told, &links, |_| true) {
                Ok(kept) => links = kept,
                Err(why) => assert!(count > LINKS_PER_TEMPLATE_MAX, "{count}: {why}"),
            }
        }
        assert_eq!(links.len(), LINKS_PER_TEMPLATE_MAX);
    }

    #[test]
    fn a_target_is_an_address_of_the_web() {
        let longest = format!("https://x.example/{}", "a".repeat(TARGET_BYTES_MAX - 18));
        let longer = format!("{longest}a");
        for (target, is_fine) in [
            ("https://x.example", true),
            ("HTTP://x.example/a?b", true),
            ("https://x.example/{{1}}", true),
            ("https://x.example?id={{1}}", true),
            ("https://x.example{{1}}", false),
            ("https://x.example/{{1}}/a", false),
            ("https://{{1}}", false),
            ("https://", false),
            ("https://user@x.example/", false),
            ("https://l.example/r/x", false),
            ("javascript:alert(1)", false),
            ("//x.example/", false),
            ("tel:+1", false),
            (&longest, true),
            (&longer, false),
        ] {
            assert_eq!(check(PREFIX, target).is_ok(), is_fine, "{target}");
        }
    }
}

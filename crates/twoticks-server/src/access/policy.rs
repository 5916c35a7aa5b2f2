//! RAM policy documents, version "1": parsed strictly, once, into statements.
//!
//! A document is at most [`POLICY_BYTES_MAX`] bytes of JSON: `Version` and `Statement`, a list or a
//! single object of `Effect`, `Action` or `NotAction`, `Resource` or `NotResource`, and perhaps
//! `Condition`. Everything that is not known is an error that says where and what would do.
//! Actions are compared without regard to case, resources with. Wildcards in a resource stay
//! within its part of the name (`acs:cams:REGION:ACCOUNT:ID`). The region says nothing here, so any
//! fits: there is one twoticks, whatever region it stands for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use twoticks_store::directory::POLICY_BYTES_MAX;

use super::condition::{self, Condition, Context};
use super::json::Node;
use super::pattern::Pattern;

/// How many parsed documents are kept; beyond it they are parsed anew.
const PARSED_MAX: usize = 4_096;

/// Why a document is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is too long.
    #[error("the policy has {bytes} bytes; at most {POLICY_BYTES_MAX} are taken")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not JSON, or has a name twice.
    #[error("the policy is not JSON: {why}")]
    Json {
        /// What is wrong, and where.
        why: String,
    },
    /// A part of it is not as it has to be.
    #[error("{place} of the policy: {what}")]
    Part {
        /// Which part, such as `Statement[2].Condition.IpAddress`; statements count from 1.
        place: String,
        /// What is wrong, and what would do.
        what: String,
    },
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A parsed document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    effect: Effect,
    actions: Set<Pattern>,
    resources: Set<Resource>,
    conditions: Vec<Condition>,
}

/// All that is named, or all but that.
#[derive(Clone, Debug, PartialEq)]
enum Set<T> {
    Of(Vec<T>),
    AllBut(Vec<T>),
}

impl<T> Set<T> {
    fn contains(&self, fits: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Of(named) => named.iter().any(fits),
            Self::AllBut(named) => !named.iter().any(fits),
        }
    }
}

/// Resources by name.
#[derive(Clone, Debug, PartialEq)]
enum Resource {
    All,
    Named { service: Pattern, account: Pattern, id: Pattern },
}

/// What a call asks for: an action on a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Such as `cams:EnableWhatsappROIMetric`.
    pub(super) action: &'a str,
    /// The uid of the account whose resource it is.
    pub(super) account: &'a str,
    /// The last part of the resource's name; `*` where an operation is not about one resource.
    pub(super) resource: &'a str,
}

/// What the statements of a document say: the numbers, from 1, of the first that does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) allow: Option<usize>,
    pub(super) deny: Option<usize>,
}

/// Parses a document.
///
/// # Errors
/// [`PolicyError`], with the place and what would do.
pub fn parse(text: &str) -> Result<Document, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLong { bytes: text.len() });
    }
    let node: Node =
        serde_json::from_str(text).map_err(|error| PolicyError::Json { why: error.to_string() })?;
    let Node::Object(parts) = node else {
        let why = format!("it is {}; write an object", node.kind());
        return Err(PolicyError::Json { why });
    };
    let (mut version, mut statements) = (None, None);
    for (name, node) in &parts {
        match name.as_str() {
            "Version" => version = Some(node),
            "Statement" => statements = Some(node),
            _ => return Err(part(name, "there are only `Version` and `Statement`")),
        }
    }
    match version {
        Some(Node::Text(version)) if version == "1" => {}
        Some(_) => return Err(part("Version", "the only version is the text `\"1\"`")),
        None => return Err(part("Version", "it is missing; write `\"Version\": \"1\"`")),
    }
    let Some(statements) = statements else {
        return Err(part("Statement", "it is missing; write a list of statements"));
    };
    if let Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) = statements {
        let what = format!("it is {}; write a list of statements", statements.kind());
        return Err(part("Statement", &what));
    }
    let statements = statements.several().iter().enumerate();
    let statements =
        statements.map(|(place, node)| statement(node, &format!("Statement[{}]", place + 1)));
    Ok(Document { statements: statements.collect::<Result<_, _>>()? })
}

fn part(place: &str, what: &str) -> PolicyError {
    PolicyError::Part { place: place.to_owned(), what: what.to_owned() }
}

fn statement(node: &Node, place: &str) -> Result<Statement, PolicyError> {
    let Node::Object(parts) = node else {
        return Err(part(place, &format!("it is {}; write an object", node.kind())));
    };
    let (mut effect, mut actions, mut resources) = (None, None, None);
    let mut conditions = Vec::new();
    for (name, node) in parts {
        let here = format!("{place}.{name}");
        match name.as_str() {
            "Effect" => effect = Some(read_effect(node, &here)?),
            "Action" | "NotAction" => {
                let read = set(node, &here, name == "NotAction", read_action)?;
                once(&mut actions, read, &here, "`Action` or `NotAction`")?;
            }
            "Resource" | "NotResource" => {
                let read = set(node, &here, name == "NotResource", read_resource)?;
                once(&mut resources, read, &here, "`Resource` or `NotResource`")?;
            }
            "Condition" => {
                conditions = condition::parse(node).map_err(|(below, what)| PolicyError::Part {
                    place: format!("{here}{below}"),
                    what,
                })?;
            }
            "Principal" | "NotPrincipal" => {
                return Err(part(&here, "the policy is attached to its principal; leave it out"));
            }
            _ => {
                let known = "`Effect`, `Action`, `NotAction`, `Resource`, `NotResource`";
                return Err(part(&here, &format!("there are only {known} and `Condition`")));
            }
        }
    }
    let missing = |what: &str| part(place, &format!("{what} is missing"));
    Ok(Statement {
        effect: effect.ok_or_else(|| missing("`Effect`"))?,
        actions: actions.ok_or_else(|| missing("`Action` or `NotAction`"))?,
        resources: resources.ok_or_else(|| missing("`Resource`"))?,
        conditions,
    })
}

fn once<T>(slot: &mut Option<T>, read: T, place: &str, which: &str) -> Result<(), PolicyError> {
    if slot.replace(read).is_some() {
        return Err(part(place, &format!("write either {which}, not both")));
    }
    Ok(())
}

fn read_effect(node: &Node, place: &str) -> Result<Effect, PolicyError> {
    match node {
        Node::Text(text) if text == "Allow" => Ok(Effect::Allow),
        Node::Text(text) if text == "Deny" => Ok(Effect::Deny),
        _ => Err(part(place, "write `Allow` or `Deny`")),
    }
}

fn set<T>(
    node: &Node,
    place: &str,
    all_but: bool,
    read: fn(&str) -> Result<T, String>,
) -> Result<Set<T>, PolicyError> {
    let mut named = Vec::new();
    for node in node.several() {
        let Node::Text(text) = node else {
            return Err(part(place, &format!("one is {}; write texts", node.kind())));
        };
        named.push(read(text).map_err(|what| part(place, &what))?);
    }
    if named.is_empty() {
        return Err(part(place, "it is empty; write at least one, or `*`"));
    }
    Ok(if all_but { Set::AllBut(named) } else { Set::Of(named) })
}

fn read_action(text: &str) -> Result<Pattern, String> {
    let mut parts = text.split(':');
    let fits = match (parts.next(), parts.next(), parts.next()) {
        (Some("*"), None, None) => true,
        (Some(service), Some(action), None) => !service.is_empty() && !action.is_empty(),
        _ => false,
    };
    if fits {
        Ok(Pattern::folding(text))
    } else {
        Err(format!(
            "`{text}` is no action; write `cams:GetChatappTemplateMetric`, `cams:Get*` or `*`"
        ))
    }
}

fn read_resource(text: &str) -> Result<Resource, String> {
    if text == "*" {
        return Ok(Resource::All);
    }
    let parts: Vec<_> = text.splitn(5, ':').collect();
    match parts.as_slice() {
        ["acs", service, _region, account, id] if !id.is_empty() => Ok(Resource::Named {
            service: Pattern::folding(service),
            // Both are written where a resource has no account of its own.
            account: Pattern::exact(if account.is_empty() { "*" } else { account }),
            id: Pattern::exact(id),
        }),
        _ => Err(format!("`{text}` is no resource; write `*` or `acs:cams:*:ACCOUNT:ID`")),
    }
}

impl Document {
    /// What its statements say to a call.
    pub(super) fn say(&self, asked: Asked<'_>, context: &Context) -> Said {
        let mut said = Said::default();
        for (place, statement) in self.statements.iter().enumerate() {
            let slot = match statement.effect {
                Effect::Allow => &mut said.allow,
                Effect::Deny => &mut said.deny,
            };
            if slot.is_none() && statement.applies(asked, context) {
                *slot = Some(place + 1);
            }
        }
        said
    }
}

impl Statement {
    fn applies(&self, asked: Asked<'_>, context: &Context) -> bool {
        // What is not known takes the side of refusing.
        let unknown = self.effect == Effect::Deny;
        self.actions.contains(|pattern| pattern.matches(asked.action))
            && self.resources.contains(|resource| resource.contains(asked))
            && self.conditions.iter().all(|it| it.holds(context).unwrap_or(unknown))
    }
}

impl Resource {
    fn contains(&self, asked: Asked<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Named { service, account, id } => {
                let asked_service = asked.action.split(':').next().unwrap_or_default();
                service.matches(asked_service)
                    && account.matches(asked.account)
                    && id.matches(asked.resource)
            }
        }
    }
}

/// A document parsed, or why it is none.
type Parsed = Arc<Result<Document, PolicyError>>;

/// Documents that were parsed once, so that a call does not parse them again.
#[derive(Default)]
pub struct Documents {
    /// By where the text is in memory; the text is held, so nothing else can be there.
    parsed: Mutex<HashMap<usize, (Arc<str>, Parsed)>>,
}

impl Documents {
    /// The parsed document.
    pub(super) fn parsed(&self, text: &Arc<str>) -> Parsed {
        let place = text.as_ptr().addr();
        // Whatever panicked in between, each entry is whole.
        let lock = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = lock().get(&place) {
            return Arc::clone(known);
        }
        let parsed: Parsed = Arc::new(parse(text));
        let mut all = lock();
        if all.len() >= PARSED_MAX {
            all.clear();
        }
        all.insert(place, (Arc::clone(text), Arc::clone(&parsed)));
        parsed
    }
}

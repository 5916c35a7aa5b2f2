//! Who may do what: the policies of a principal against a call, and why.
//!
//! Root may do everything. Everybody else needs an Allow and must meet no Deny. A session with a
//! policy of its own needs an Allow from both its role and that policy. A document that cannot be
//! read allows nothing and lets nothing else allow. A [`Decision`] carries what decided, for the
//! policy simulator and for the `AccessDeniedDetail` of a refusal.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_store::directory::snapshot::{Principal, Snapshot};
use twoticks_store::keys::Keys;
use twoticks_wire::envelope::AccessDeniedDetail;

use super::condition::Context;
use super::policy::{Asked, Documents};
use super::principal;

/// What diagnostic messages are sealed for.
const PURPOSE: &str = "diagnostic";

/// Whether a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is.
    Allowed,
    /// Nothing allows it.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
}

/// Where a policy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Attached to the user, or to the role of the session.
    Identity,
    /// The session's own.
    Session,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Root may do everything.
    Root,
    /// A statement allows or denies it.
    Statement {
        /// Where its policy comes from.
        layer: Layer,
        /// The policy's name; a session's own has none.
        policy: String,
        /// Which statement, from 1.
        statement: usize,
    },
    /// No statement of this layer allows it.
    NothingAllows {
        /// Which layer.
        layer: Layer,
    },
    /// A policy cannot be read.
    Unreadable {
        /// Where it comes from.
        layer: Layer,
        /// Its name; a session's own has none.
        policy: String,
        /// What is wrong with it.
        why: String,
    },
    /// The user is ISV-scoped and has no `IsvCode` for the channel, gave none, or a wrong one.
    IsvCode {
        /// The channel.
        channel: String,
    },
}

/// Whether a call is allowed, and what decided: for an allowed session with a policy of its own
/// both statements, else one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it is.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What is asked, as far as policies see it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The operation, such as `EnableWhatsappROIMetric`.
    pub operation: &'a str,
    /// The last part of the name of the resource; `*` for operations that are about none in
    /// particular, as all metric operations are.
    pub resource: &'a str,
    /// Where the call comes from, where that is known.
    pub source_ip: Option<std::net::IpAddr>,
    /// Whether it came over TLS.
    pub secure_transport: bool,
    /// When it is decided.
    pub now: Time,
}

/// What the policies of one layer say together.
#[derive(Default)]
struct Outcome {
    allow: Option<Reason>,
    deny: Option<Reason>,
    unreadable: Option<Reason>,
}

/// Decides a call.
#[must_use]
pub fn decide(
    snapshot: &Snapshot,
    documents: &Documents,
    principal: &Principal,
    call: &Call<'_>,
) -> Decision {
    if matches!(principal, Principal::Root(_)) {
        return Decision { verdict: Verdict::Allowed, reasons: vec![Reason::Root] };
    }
    let action = format!("cams:{}", call.operation);
    let account = principal.account().uid.as_str();
    let asked = Asked { action: &action, account, resource: call.resource };
    let context = Context {
        source_ip: call.source_ip,
        secure_transport: call.secure_transport,
        now: call.now,
        principal_arn: principal::arn(principal),
    };
    let mut identity = Outcome::default();
    for policy in snapshot.policies(principal) {
        let name = policy.name.as_str();
        hear(&mut identity, documents, (Layer::Identity, name), &policy.document, asked, &context);
    }
    let own = match principal {
        Principal::Session(_, session) => session.policy.as_ref(),
        Principal::Root(_) | Principal::User(..) => None,
    };
    let session = own.map(|document| {
        let mut outcome = Outcome::default();
        hear(&mut outcome, documents, (Layer::Session, ""), document, asked, &context);
        outcome
    });
    conclude(identity, session)
}

fn hear(
    outcome: &mut Outcome,
    documents: &Documents,
    (layer, policy): (Layer, &str),
    document: &std::sync::Arc<str>,
    asked: Asked<'_>,
    context: &Context,
) {
    let policy = policy.to_owned();
    match &*documents.parsed(document) {
        Ok(document) => {
            let said = document.say(asked, context);
            let reason = |statement| Reason::Statement { layer, policy: policy.clone(), statement };
            if outcome.allow.is_none() {
                outcome.allow = said.allow.map(reason);
            }
            if outcome.deny.is_none() {
                outcome.deny = said.deny.map(reason);
            }
        }
        Err(error) => {
            outcome.unreadable = Some(Reason::Unreadable { layer, policy, why: error.to_string() });
        }
    }
}

fn conclude(identity: Outcome, session: Option<Outcome>) -> Decision {
    let nothing = |layer| Reason::NothingAllows { layer };
    let (allowed, denied, unreadable) = match session {
        None => {
            let allowed = identity.allow.map(|reason| vec![reason]);
            (allowed.ok_or(nothing(Layer::Identity)), identity.deny, identity.unreadable)
        }
        Some(session) => (
            match (identity.allow, session.allow) {
                (Some(role), Some(own)) => Ok(vec![role, own]),
                (None, _) => Err(nothing(Layer::Identity)),
                (Some(_), None) => Err(nothing(Layer::Session)),
            },
            identity.deny.or(session.deny),
            identity.unreadable.or(session.unreadable),
        ),
    };
    let (verdict, reasons) = match (denied, unreadable, allowed) {
        (Some(reason), _, _) => (Verdict::ExplicitDeny, vec![reason]),
        (None, Some(reason), _) | (None, None, Err(reason)) => {
            (Verdict::ImplicitDeny, vec![reason])
        }
        (None, None, Ok(reasons)) => (Verdict::Allowed, reasons),
    };
    Decision { verdict, reasons }
}

impl Decision {
    /// Whether the call is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allowed
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "attached policies",
            Self::Session => "session policy",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root may do everything"),
            Self::Statement { layer: Layer::Session, policy: _, statement } => {
                write!(f, "statement {statement} of the session policy")
            }
            Self::Statement { layer: Layer::Identity, policy, statement } => {
                write!(f, "statement {statement} of the policy `{policy}`")
            }
            Self::NothingAllows { layer } => write!(f, "nothing in the {layer} allows it"),
            Self::Unreadable { layer, policy, why } => {
                write!(f, "in the {layer}, the policy `{policy}` cannot be read: {why}")
            }
            Self::IsvCode { channel } => {
                write!(f, "no valid `IsvCode` for the channel `{channel}`")
            }
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Allowed => "allowed: ",
            Verdict::ImplicitDeny => "denied (implicitly): ",
            Verdict::ExplicitDeny => "denied (explicitly): ",
        })?;
        for (place, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if place == 0 { "" } else { ", and " })?;
        }
        Ok(())
    }
}

/// What a diagnostic message says once it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Who called, as an ARN.
    pub principal: String,
    /// What for.
    pub operation: String,
    /// When, in milliseconds since 1970.
    pub time: Time,
    /// From where.
    pub source_ip: Option<std::net::IpAddr>,
    /// What was decided, and why.
    pub decision: Decision,
}

/// A diagnostic message that is none of ours, or was sealed under another key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no diagnostic message of this installation; give `EncodedDiagnosticMessage` whole"
)]
pub struct NotOurs;

/// What to tell a caller who was refused with `decision`; only we can read its diagnostic message,
/// see [`diagnose`].
#[must_use]
pub fn detail(
    keys: &Keys,
    principal: &Principal,
    call: &Call<'_>,
    decision: &Decision,
) -> AccessDeniedDetail {
    let diagnostic = Diagnostic {
        principal: principal::arn(principal),
        operation: call.operation.to_owned(),
        time: call.now,
        source_ip: call.source_ip,
        decision: decision.clone(),
    };
    let plain = serde_json::to_vec(&diagnostic).expect("texts and numbers make JSON");
    let from_session = decision.reasons.iter().any(|reason| {
        matches!(
            reason,
            Reason::Statement { layer: Layer::Session, .. }
                | Reason::NothingAllows { layer: Layer::Session }
                | Reason::Unreadable { layer: Layer::Session, .. }
        )
    });
    let (kind, name) = match principal {
        // Nothing denies root; were it to happen, it is the account that is named.
        Principal::Root(account) => ("SubUser", account.uid.to_string()),
        Principal::User(_, user) => ("SubUser", user.id.to_string()),
        Principal::Session(_, session) => {
            ("AssumedRoleUser", format!("{}:{}", session.role, session.name))
        }
    };
    let layer = if from_session { "SessionPolicy" } else { "AccountLevelIdentityBasedPolicy" };
    let how = match decision.verdict {
        Verdict::ExplicitDeny => "ExplicitDeny",
        Verdict::Allowed | Verdict::ImplicitDeny => "ImplicitDeny",
    };
    AccessDeniedDetail {
        policy_type: layer.to_owned(),
        auth_principal_owner_id: principal.account().uid.to_string(),
        encoded_diagnostic_message: Some(STANDARD.encode(keys.seal(PURPOSE, &[], &plain))),
        auth_principal_type: kind.to_owned(),
        auth_principal_display_name: name,
        no_permission_type: how.to_owned(),
        auth_action: format!("cams:{}", call.operation),
    }
}

/// Opens an `EncodedDiagnosticMessage`.
///
/// # Errors
/// [`NotOurs`] if it was not made by [`detail`] with these keys.
pub fn diagnose(keys: &Keys, message: &str) -> Result<Diagnostic, NotOurs> {
    let sealed = STANDARD.decode(message.trim()).map_err(|_| NotOurs)?;
    let plain = keys.open_sealed(PURPOSE, &[], &sealed).map_err(|_| NotOurs)?;
    serde_json::from_slice(&plain).map_err(|_| NotOurs)
}

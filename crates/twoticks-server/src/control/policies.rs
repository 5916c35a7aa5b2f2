//! Policies: their documents, whom they are attached to, what they decide, and denials opened.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{Policy, SYSTEM_POLICIES, User};
use twoticks_store::directory::names::{AccessKeyId, Name, Uid};
use twoticks_store::directory::snapshot::{Principal, Snapshot};

use super::{ControlError, people};
use crate::access::decision::{self, Call, decide};
use crate::access::policy::{self, Documents};
use crate::app::App;

/// What can be done to policies. `account` may be left out where there is only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Adds a policy, or gives it another document.
    Put { account: Option<Uid>, name: Name, document: String },
    /// Lists policies, built-in ones included.
    List { account: Option<Uid> },
    /// Takes a policy away.
    Remove { account: Option<Uid>, name: Name },
    /// Attaches a policy to a user.
    Attach { account: Option<Uid>, user: Name, policy: Name },
    /// Detaches a policy from a user.
    Detach { account: Option<Uid>, user: Name, policy: Name },
    /// Says what the policies decide, and which statement does.
    Simulate(Simulation),
    /// Opens the `EncodedDiagnosticMessage` of a denial.
    Decode { message: String },
}

/// A call that is not made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    /// Whose account.
    pub account: Option<Uid>,
    /// Who would call.
    pub caller: Caller,
    /// What, with or without `cams:` before it.
    pub action: String,
    /// The last part of the resource's name; `*` for operations that are about none.
    pub resource: String,
    /// Where from.
    pub source_ip: Option<IpAddr>,
    /// Whether over TLS.
    pub secure_transport: bool,
}

/// Who would make a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// The account itself.
    Root,
    /// A user of it.
    User(Name),
    /// Whoever has this key or session.
    Key(AccessKeyId),
}

pub(super) async fn execute(app: &App, command: Command) -> Result<Value, ControlError> {
    match command {
        Command::Put { account, name, document } => {
            put(app, account.as_ref(), name, document).await
        }
        Command::List { account } => list(app, account.as_ref()),
        Command::Remove { account, name } => {
            if SYSTEM_POLICIES.iter().any(|policy| policy.name == name) {
                let why = format!(
                    "`{name}` is a system policy and stays; `twoticks policy detach` takes it from a user"
                );
                return Err(ControlError::Unfit { what: "the policy", why });
            }
            let account = people::account(&app.directory.snapshot(), account.as_ref())?;
            let change = Change::RemovePolicy(account.uid.clone(), name.clone());
            app.directory.change(vec![change]).await?;
            Ok(json!({"removed": name}))
        }
        Command::Attach { account, user, policy } => {
            change_user(app, account.as_ref(), &user, |user| {
                if !user.policies.contains(&policy) {
                    user.policies.push(policy);
                }
                Ok(())
            })
            .await
        }
        Command::Detach { account, user, policy } => {
            change_user(app, account.as_ref(), &user, |user| detach(user, &policy)).await
        }
        Command::Simulate(simulation) => simulate(app, &simulation),
        Command::Decode { message } => {
            let diagnostic = decision::diagnose(&app.keys, &message).map_err(|error| {
                ControlError::Unfit { what: "the message", why: error.to_string() }
            })?;
            let why = diagnostic.decision.to_string();
            let mut shown = json!(diagnostic);
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("decision".to_owned(), why.into());
            }
            Ok(shown)
        }
    }
}

/// Refuses a document that does not parse.
fn check(document: &str) -> Result<(), ControlError> {
    policy::parse(document)
        .map(drop)
        .map_err(|error| ControlError::Unfit { what: "the policy", why: error.to_string() })
}

async fn put(
    app: &App,
    given: Option<&Uid>,
    name: Name,
    document: String,
) -> Result<Value, ControlError> {
    check(&document)?;
    let snapshot = app.directory.snapshot();
    let account = people::account(&snapshot, given)?;
    let known = snapshot.policies_of(&account.uid).any(|policy| policy.name == name);
    let shown = json!({"policy": name, "account": account.uid, "replaced": known});
    let policy = Policy { account: Some(account.uid.clone()), name, document: document.into() };
    let change = if known { Change::UpdatePolicy(policy) } else { Change::AddPolicy(policy) };
    app.directory.change(vec![change]).await?;
    Ok(shown)
}

fn list(app: &App, given: Option<&Uid>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let accounts = people::chosen_accounts(&snapshot, given)?;
    let attached = |policy: &Policy| -> Vec<String> {
        let of = |account: &Uid| policy.account.as_ref().is_none_or(|of| of == account);
        let accounts = accounts.iter().filter(|account| of(&account.uid));
        let users = accounts.flat_map(|account| snapshot.users_of(&account.uid));
        users
            .filter(|user| user.policies.contains(&policy.name))
            .map(|user| user.name.to_string())
            .collect()
    };
    let own = accounts.iter().flat_map(|account| snapshot.policies_of(&account.uid));
    Ok(SYSTEM_POLICIES
        .iter()
        .chain(own)
        .map(|policy| {
            let document = serde_json::from_str::<Value>(&policy.document).unwrap_or_default();
            json!({
                "policy": policy.name, "account": policy.account,
                "attached_to": attached(policy), "document": document,
            })
        })
        .collect())
}

fn detach(user: &mut User, policy: &Name) -> Result<(), ControlError> {
    let before = user.policies.len();
    user.policies.retain(|name| name != policy);
    if user.policies.len() == before {
        return Err(ControlError::Missing {
            what: "policy of that user",
            name: policy.to_string(),
            remedy: "`twoticks key user list` shows what is attached",
        });
    }
    Ok(())
}

async fn change_user(
    app: &App,
    given: Option<&Uid>,
    name: &Name,
    change: impl FnOnce(&mut User) -> Result<(), ControlError>,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let account = people::account(&snapshot, given)?;
    let mut user = User::clone(&*people::user(&snapshot, &account, name)?);
    change(&mut user)?;
    let shown = people::shown_user(&user);
    app.directory.change(vec![Change::UpdateUser(user)]).await?;
    Ok(shown)
}

fn principal(snapshot: &Snapshot, simulation: &Simulation) -> Result<Principal, ControlError> {
    if let Caller::Key(id) = &simulation.caller {
        return snapshot.principal(id.as_str()).ok_or_else(|| ControlError::Missing {
            what: "access key",
            name: id.to_string(),
            remedy: "`twoticks key list` shows those there are",
        });
    }
    let account = people::account(snapshot, simulation.account.as_ref())?;
    match &simulation.caller {
        Caller::User(name) => {
            let user = people::user(snapshot, &account, name)?;
            Ok(Principal::User(account, user))
        }
        Caller::Root | Caller::Key(_) => Ok(Principal::Root(account)),
    }
}

fn simulate(app: &App, simulation: &Simulation) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let principal = principal(&snapshot, simulation)?;
    let operation = simulation.action.strip_prefix("cams:").unwrap_or(&simulation.action);
    let call = Call {
        operation,
        resource: &simulation.resource,
        source_ip: simulation.source_ip,
        secure_transport: simulation.secure_transport,
        now: app.callers_clock.now(),
    };
    let decision = decide(&snapshot, &Documents::default(), &principal, &call);
    Ok(json!({
        "allowed": decision.is_allowed(), "action": format!("cams:{operation}"),
        "decision": decision.to_string(), "reasons": decision.reasons,
    }))
}

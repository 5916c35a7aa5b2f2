//! What a channel's connection with WhatsApp lacks, in plain words, each with what would do.

use serde_json::Value;
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::ids::ChannelId;
use twoticks_core::query::{Point, Query, Select};
use twoticks_core::totals::Atom;
use twoticks_core::window::Window;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Secret;

use super::{CallError, Graph};
use crate::app::App;

/// What a token has to be allowed to do.
const SCOPES: [(&str, &str); 2] = [
    ("whatsapp_business_management", "numbers, templates and analytics cannot be read"),
    ("whatsapp_business_messaging", "nothing can be sent, and no messages are told of"),
];
/// A clock that is off by more than this is told of, in seconds.
const CLOCK_SECONDS: i64 = 300;
/// A token that ends sooner than this is told of.
const TOKEN_DAYS: i64 = 14;

/// Of what was sent within a day and longer ago than this, in milliseconds, WhatsApp should have
/// told something.
const SILENCE: i64 = 30 * 60 * SECOND;

/// What was found out about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The app that the token is of.
    pub app_id: Option<String>,
    /// When the token ends; `None` if it does not, or is not known to.
    pub token_ends: Option<Time>,
    /// Where webhooks go, if it is not where the app says.
    pub callback: Option<String>,
    /// What is wrong, each with what would do.
    pub problems: Vec<String>,
}

/// What a check is made with.
pub(super) struct Subject<'a> {
    pub(super) graph: &'a Graph,
    pub(super) waba_id: &'a str,
    pub(super) token: &'a Secret,
    pub(super) app_secret: Option<&'a Secret>,
    pub(super) now: Time,
}

/// Looks at the connection of a channel, and changes nothing.
///
/// # Errors
/// [`CallError`] if the Graph API cannot be asked at all; what it refuses is among the problems.
pub async fn check(app: &App, channel: &Channel) -> Result<Found, CallError> {
    let Some(connection) = &channel.connection else { return Ok(Found::default()) };
    let Some(waba_id) = &channel.waba_id else {
        let problem = "no WhatsApp Business account is named; connect it with its id (--waba-id)";
        return Ok(Found { problems: vec![problem.to_owned()], ..Found::default() });
    };
    let subject = Subject {
        graph: app.dispatcher.graph(app)?,
        waba_id: waba_id.as_str(),
        token: &connection.access_token,
        app_secret: channel.app_secrets.last(),
        now: app.clock.now(),
    };
    let mut found = subject.look().await?;
    if found.problems.is_empty() {
        found.problems.extend(silence(app, &channel.id).await);
    }
    Ok(found)
}

/// That messages were sent and WhatsApp tells nothing of any, as it is where webhooks do not reach
/// the server, and for an app in development mode: no call tells the mode itself.
async fn silence(app: &App, channel: &ChannelId) -> Option<String> {
    let now = app.clock.now().0;
    let [from, old, end] = [now.saturating_sub(DAY), now.saturating_sub(SILENCE), now + DAY]
        .map(|time| Atom::of(Time(time)));
    let settled = Window { from, to: old };
    let query = Query {
        channel: channel.clone(),
        select: Select::Numbers { number: None, attribution: None },
        side: None,
        windows: vec![settled, Window { from: old, to: end }],
    };
    let points = match app.ledger.series(query).await {
        Ok(points) => points,
        Err(error) => return Some(format!("whether webhooks come is not known: {error}")),
    };
    let taken = points.iter().filter(|point| point.window == settled);
    let taken: i64 = taken.map(|point| point.totals.accepted).sum();
    let is_told = points.iter().any(|Point { totals, .. }| {
        totals.sent != 0 || totals.delivered != 0 || !totals.failures.is_empty()
    });
    (taken > 0 && !is_told).then(|| {
        format!(
            "{taken} messages were taken by WhatsApp within a day and more than half an hour ago, and \
             it has told nothing of any: is the app live (in development mode webhooks are \
             not sent), is `messages` among the fields it is subscribed to, and does the address \
             of the callback reach this server from outside?"
        )
    })
}

impl Subject<'_> {
    pub(super) async fn look(&self) -> Result<Found, CallError> {
        let mut found = Found::default();
        self.look_at_token(&mut found).await?;
        self.look_at_clock(&mut found);
        if found.problems.is_empty() {
            self.look_at_app_secret(&mut found).await?;
            self.look_at_subscription(&mut found).await?;
        }
        Ok(found)
    }

    /// Why the app secret is none of the token's app; `None` also if that cannot be known.
    pub(super) async fn wrong_app_secret(&self) -> Result<Option<String>, CallError> {
        let mut found = Found::default();
        self.look_at_token(&mut found).await?;
        found.problems.clear();
        self.look_at_app_secret(&mut found).await?;
        Ok(found.problems.pop())
    }

    fn look_at_clock(&self, found: &mut Found) {
        let Some(theirs) = self.graph.answered_at() else { return };
        let ahead = self.now.0.saturating_sub(theirs.0).div_euclid(SECOND);
        if ahead.abs() > CLOCK_SECONDS {
            let (by, way) = (ahead.abs(), if ahead > 0 { "ahead" } else { "behind" });
            found.problems.push(format!(
                "the clock here is {by} s {way} of WhatsApp's: set it, for instance with NTP; \
                 statuses more than a day ahead are not counted"
            ));
        }
    }

    async fn look_at_token(&self, found: &mut Found) -> Result<(), CallError> {
        let query = [("input_token", self.token.expose())];
        let said = match self.graph.get(self.token, "debug_token", &query).await {
            Ok(said) => said,
            Err(CallError::Refused { error, .. }) => {
                found.problems.push(format!("the access token is refused: {error}"));
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let data = said.get("data").unwrap_or(&Value::Null);
        found.app_id = data.get("app_id").and_then(text_or_number);
        if data.get("is_valid").is_some_and(|valid| *valid == false) {
            let problem = "the access token is not valid any more; make one of a system user";
            found.problems.push(problem.to_owned());
            return Ok(());
        }
        // 0: it does not end.
        let ends = data.get("expires_at").and_then(Value::as_i64).filter(|ends| *ends > 0);
        found.token_ends = ends.map(|seconds| Time(seconds.saturating_mul(1_000)));
        if let Some(ends) = found.token_ends {
            let days = ends.0.saturating_sub(self.now.0).div_euclid(DAY);
            if days < TOKEN_DAYS {
                found.problems.push(format!(
                    "the access token ends in {days} days; one of a system user does not end"
                ));
            }
        }
        let scopes = data.get("scopes").and_then(Value::as_array);
        for (scope, without) in SCOPES {
            let has = |scopes: &Vec<Value>| scopes.iter().any(|known| known == scope);
            if scopes.is_some_and(|scopes| !has(scopes)) {
                let problem = format!("the access token lacks `{scope}`: {without}");
                found.problems.push(problem);
            }
        }
        Ok(())
    }

    /// The app's own token is its id and secret: it is taken if the secret is the right one.
    async fn look_at_app_secret(&self, found: &mut Found) -> Result<(), CallError> {
        let (Some(app_id), Some(secret)) = (&found.app_id, self.app_secret) else { return Ok(()) };
        let Ok(own) = Secret::new(&format!("{app_id}|{}", secret.expose())) else { return Ok(()) };
        let query = [("input_token", self.token.expose())];
        match self.graph.get(&own, "debug_token", &query).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused { error, .. }) => {
                found.problems.push(format!(
                    "the app secret is not that of the app {app_id} ({error}): its webhooks are \
                     refused; take the secret from the app's settings"
                ));
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    async fn look_at_subscription(&self, found: &mut Found) -> Result<(), CallError> {
        let path = format!("{}/subscribed_apps", self.waba_id);
        let said = match self.graph.get(self.token, &path, &[]).await {
            Ok(said) => said,
            Err(CallError::Refused { error, .. }) => {
                found.problems.push(format!("the subscriptions cannot be read: {error}"));
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let apps =
            said.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let id = |app: &Value| {
            let data = app.get("whatsapp_business_api_data").unwrap_or(app);
            data.get("id").and_then(text_or_number)
        };
        // Without the app's id any subscription may be its own.
        let own = apps.iter().find(|app| found.app_id.is_none() || id(app) == found.app_id);
        let Some(own) = own else {
            found.problems.push(
                "the app is not subscribed to the WhatsApp Business account: no webhook comes; \
                 connect with the address of this server (--callback-url)"
                    .to_owned(),
            );
            return Ok(());
        };
        let callback = own.get("override_callback_uri").and_then(Value::as_str);
        found.callback = callback.map(str::to_owned);
        Ok(())
    }
}

/// An id, which may be a number where the documentation has a text.
pub(crate) fn text_or_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

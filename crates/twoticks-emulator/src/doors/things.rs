//! Fixtures.

use serde::Deserialize;

use super::{Answer, Around, NotDone, Question};
use crate::fixtures::{FixtureError, Fixtures, shown};
use crate::parameters;
use crate::tenants::home;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    key: Option<String>,
}

pub(super) async fn fixtures(around: Around, question: Question) -> Answer {
    let whose: Whose = parameters::read(question.query.as_deref(), b"").map_err(NotDone::Asked)?;
    let (app, emulator) = (&around.app, &around.emulator);
    if let Some(key) = &whose.key {
        // Any key that is taken at all may be made ready before its first call.
        twoticks_server::rehearsal::Rehearsal::introduce(&**emulator, app, key).await;
    }
    let uid = match &whose.key {
        Some(key) => {
            emulator.account_of(app, key).ok_or_else(|| NotDone::Asked(emulator.no_account(key)))?
        }
        None => {
            let snapshot = app.directory.snapshot();
            let own = home(&snapshot).or_else(|| snapshot.accounts().next());
            let own = own.ok_or_else(|| NotDone::Asked("there is no account".to_owned()))?;
            own.uid.clone()
        }
    };
    if question.is_post {
        let refused = |why: FixtureError| match why {
            FixtureError::Ledger(_) => NotDone::Failed(why.to_string()),
            FixtureError::Taken(_) => NotDone::Conflict(why.to_string()),
            _ => NotDone::Asked(why.to_string()),
        };
        let fixtures = Fixtures::read(&question.body).map_err(refused)?;
        fixtures.load(app, &emulator.whatsapp, &uid).await.map_err(refused)?;
    }
    Ok(shown(&app.directory.snapshot(), &uid))
}

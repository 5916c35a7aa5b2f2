//! What WhatsApp counts by itself, read a few times a day and kept beside what we count.
//!
//! [`read`] reads the figures of one channel ([`run`] asks, [`told`] turns answers into what is
//! kept), [`keep_reading`] does so for every channel that is connected, when it is due. Reads and
//! clicks are set back to zero seven days after the send: each run asks for the days from
//! [`analytics::WINDOW_DAYS`] before today on, and what is kept never shrinks. What always holds: what was
//! read is kept even if the rest could not be; what failed is in the channel's problems and in the
//! log, stops no other channel, and is tried again later and later; our own counts hang on none of
//! it.

mod run;
mod told;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::model::{Channel, Connection};
use twoticks_store::directory::{Change, PROBLEMS_MAX};
use twoticks_store::error::Error;
use twoticks_store::figures::{Account, Day, Figures, Standing};
use twoticks_wire::graph::analytics;

use self::run::Run;
pub(crate) use self::told::of_all as told_of_all;
use super::{CallError, connect};
use crate::app::App;
use crate::control::ControlError;

/// How a problem with it begins: a later one takes its place.
const PROBLEM: &str = "Meta's figures were not read";
/// How often it is looked which channels are due.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// After what time a run that failed is tried again, in milliseconds; each time twice as long, up
/// to the time between runs.
const AGAIN_AFTER: i64 = 30 * 60 * SECOND;
/// An hour, in milliseconds.
const HOUR: i64 = 3_600 * SECOND;
/// How many channels are read at the same time.
const AT_ONCE: usize = 4;

/// Meta's figures, and who is reading them just now.
pub struct Reader {
    figures: Figures,
    /// By channel, so that two runs of one do not ask for the same at the same time.
    runs: Mutex<HashMap<ChannelId, Arc<tokio::sync::Mutex<()>>>>,
    /// How accounts stand of which that could not be kept: it says when they are due all the same.
    unkept: Mutex<BTreeMap<Account, Standing>>,
    /// Held while figures are kept or a channel is taken away, so that none come back.
    keeping: tokio::sync::Mutex<()>,
}

impl Reader {
    pub(crate) fn new(figures: Figures) -> Self {
        Self {
            figures,
            runs: Mutex::default(),
            unkept: Mutex::default(),
            keeping: tokio::sync::Mutex::default(),
        }
    }

    /// What is kept.
    pub fn kept(&self) -> &Figures {
        &self.figures
    }

    /// How reading the account's figures stands, kept or not.
    async fn standing(&self, account: &Account) -> Result<Option<Standing>, Error> {
        let unkept = lock(&self.unkept).get(account).cloned();
        match unkept {
            Some(standing) => Ok(Some(standing)),
            None => self.figures.standing(account).await,
        }
    }

    async fn keep(&self, account: &Account, standing: Standing) -> Result<(), Error> {
        let kept = self.figures.set_standing(account, standing.clone()).await;
        let mut unkept = lock(&self.unkept);
        match kept {
            Ok(()) => drop(unkept.remove(account)),
            Err(_) => drop(unkept.insert(account.clone(), standing)),
        }
        kept
    }

    fn run_of(&self, channel: &ChannelId) -> Arc<tokio::sync::Mutex<()>> {
        let mut runs = lock(&self.runs);
        // Nobody waits at those that only this map has.
        runs.retain(|_, run| Arc::strong_count(run) > 1);
        Arc::clone(runs.entry(channel.clone()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in it by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The account whose figures are those of `channel`; `None` while it is not connected.
pub(crate) fn account_of(channel: &Channel) -> Option<Account> {
    let waba_id = channel.waba_id.clone().filter(|_| channel.connection.is_some())?;
    Some(Account { channel: channel.id.clone(), waba_id })
}

/// Reads the figures of a channel, from `first` on where that is given. What was read is kept in
/// any case.
///
/// # Errors
/// [`ControlError::Missing`] if it is not connected, [`ControlError::Unfit`] for a day that is not
/// told any more, [`ControlError::Figures`] if not everything could be read; it is among the
/// channel's problems then.
pub(crate) async fn read(
    app: &App,
    channel: &ChannelId,
    first: Option<Day>,
) -> Result<Standing, ControlError> {
    let run = app.figures.run_of(channel);
    let _run = run.lock().await;
    let snapshot = app.directory.snapshot();
    let known = snapshot.channel(channel);
    let account = known.and_then(|known| account_of(known));
    let (Some(known), Some(account)) = (known, account) else { return Err(missing(channel)) };
    let now = app.clock.now();
    let mut before = app.figures.standing(&account).await?.unwrap_or_default();
    let days = window(now, &before, first)?;
    // What was put already was not asked for these days.
    before.round = before.round.filter(|round| first.is_none_or(|first| first >= round.first));
    let mut run = Run::new(app, known, account.clone(), before.clone(), (days, now));
    let read = run.all().await;
    let (told, mut standing) = run.finish();
    let _keeping = app.figures.keeping.lock().await;
    let snapshot = app.directory.snapshot();
    let is_there = |channel: &Arc<Channel>| channel.waba_id.as_ref() == Some(&account.waba_id);
    if !snapshot.channel(channel).is_some_and(is_there) {
        return Err(missing(channel));
    }
    let kept = app.figures.kept().merge(&account, told, Day::of(now)).await;
    let problem = match (read, kept) {
        (read, Ok(())) => read.err(),
        (read, Err(why)) => {
            // It has to be asked for again.
            standing = Standing { problems: Vec::new(), ..before };
            Some(read.err().unwrap_or_else(|| why.to_string()))
        }
    };
    standing.tried = now;
    match &problem {
        None => standing.failures = 0,
        Some(why) => {
            standing.failures = standing.failures.saturating_add(1);
            standing.problems.push(Text::lossy(why));
        }
    }
    // First: on a full disk it is all that anybody sees.
    tell(app, known, problem.as_deref()).await;
    app.figures.keep(&account, standing.clone()).await?;
    match problem {
        None => Ok(standing),
        Some(why) => Err(ControlError::Figures(why)),
    }
}

/// Takes a channel away, and what was read for it: whoever has a channel of that name next has
/// nothing to do with it. A run that is under way keeps nothing afterwards.
///
/// # Errors
/// Those of the directory and of the figures.
pub(crate) async fn remove(app: &App, channel: &ChannelId) -> Result<(), ControlError> {
    let _keeping = app.figures.keeping.lock().await;
    app.directory.change(vec![Change::RemoveChannel(channel.clone())]).await?;
    lock(&app.figures.unkept).retain(|account, _| account.channel != *channel);
    app.figures.kept().forget(channel).await?;
    Ok(())
}

fn missing(channel: &ChannelId) -> ControlError {
    ControlError::Missing {
        what: "connected channel",
        name: channel.to_string(),
        remedy: "`twoticks channel connect` connects one with WhatsApp",
    }
}

/// Says in the channel's problems and in the log how it went.
async fn tell(app: &App, channel: &Channel, problem: Option<&str>) {
    match problem {
        None => info!(channel.id = %channel.id, "Meta's figures were read"),
        Some(why) => warn!(channel.id = %channel.id, "Meta's figures were not read: {why}"),
    }
    let Some(known) = &channel.connection else { return };
    let note = |connection: &mut Connection| {
        connection.told.retain(|known| !known.as_str().starts_with(PROBLEM));
        connection.told.extend(problem.map(|why| Text::lossy(&format!("{PROBLEM}: {why}"))));
        connection.told.truncate(PROBLEMS_MAX);
    };
    connect::change(app, &channel.id, &known.access_token, note).await;
}

/// The days to ask for: all that are told the first time, then those that may still change, those
/// since the last round that came to its end, and those of the one that is under way.
fn window(
    now: Time,
    Standing { read, round, .. }: &Standing,
    first: Option<Day>,
) -> Result<analytics::Days, ControlError> {
    let oldest = analytics::first_window(now.second()).first;
    let mut days = analytics::window(now.second());
    let since = read.map_or(oldest, |read| analytics::Day::of(read.second()));
    let begun = round.as_ref().map_or(since, |round| analytics::Day(round.first.0));
    days.first = days.first.min(since).min(begun).max(oldest);
    if let Some(first) = first {
        if first.0 < oldest.0 {
            let tells = analytics::LOOKBACK_DAYS;
            let why = format!(
                "{} is too long ago: Meta tells of the last {tells} days, so from {} on; without \
                 --sync what was read is shown",
                day_text(first),
                day_text(Day(oldest.0)),
            );
            return Err(ControlError::Unfit { what: "the first day", why });
        }
        days.first = days.first.min(analytics::Day(first.0));
    }
    Ok(days)
}

/// A day as people write it.
pub(crate) fn day_text(day: Day) -> String {
    let start = jiff::Timestamp::from_millisecond(day.start().0);
    start.map_or_else(|_| day.0.to_string(), |start| start.strftime("%F").to_string())
}

/// When the next run is due, in milliseconds since 1970; `every` is the time between two.
fn due(standing: Option<&Standing>, every: i64) -> Time {
    let Some(standing) = standing else { return Time(i64::MIN) };
    let after = match standing.failures {
        0 => every,
        failures => {
            let doubled = AGAIN_AFTER.checked_shl(failures.saturating_sub(1)).unwrap_or(every);
            // A shift may push everything out at the top.
            if doubled < AGAIN_AFTER { every } else { doubled.min(every) }
        }
    };
    standing.tried.plus(after)
}

/// Reads the figures of every connected channel when they are due, until the server stops.
pub(crate) async fn keep_reading(app: Arc<App>, stop: CancellationToken) {
    let every = i64::from(app.settings.graph.figures_hours) * HOUR;
    if every == 0 {
        return;
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds(&app, every) => {}
    }
}

/// Looks again and again; each look is when what was due at the last one is through, so that none is
/// read twice.
async fn rounds(app: &Arc<App>, every: i64) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        for account in due_now(app, every).await {
            // It is never closed.
            let Ok(place) = Arc::clone(&at_once).acquire_owned().await else { return };
            let of = Arc::clone(app);
            app.tasks.spawn(move |stop| async move {
                let _place = place;
                tokio::select! {
                    // What came of it is where people look.
                    read = read(&of, &account.channel, None) => drop(read),
                    () = stop.cancelled() => {}
                }
            });
        }
        let Ok(_all) = at_once.acquire_many(u32::try_from(AT_ONCE).unwrap_or(1)).await else {
            return;
        };
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn due_now(app: &App, every: i64) -> Vec<Account> {
    let now = app.clock.now();
    let snapshot = app.directory.snapshot();
    let mut found = Vec::new();
    for account in snapshot.channels().filter_map(|channel| account_of(channel)) {
        match app.figures.standing(&account).await {
            Ok(standing) if due(standing.as_ref(), every) <= now => found.push(account),
            Ok(_) => {}
            Err(why) => {
                let error = &why as &dyn std::error::Error;
                warn!(error, channel.id = %account.channel, "Meta's figures cannot be kept");
            }
        }
    }
    found
}

/// Why a run goes no further.
fn refused(why: &CallError) -> String {
    why.graph().map_or_else(|| why.to_string(), twoticks_wire::graph::error::GraphError::said)
}

#[cfg(test)]
mod tests {
    use twoticks_store::figures::Round;

    use super::*;

    const NOON: Time = Time(1_795_435_200_000);

    #[test]
    fn a_run_that_fails_is_tried_later_and_later_up_to_the_time_between_runs() {
        let every = 6 * HOUR;
        let after = |failures| {
            let standing = Standing { tried: NOON, failures, ..Standing::default() };
            due(Some(&standing), every).0 - NOON.0
        };
        assert_eq!(due(None, every), Time(i64::MIN));
        let half = HOUR / 2;
        assert_eq!([0, 1, 2, 3, 4, 5].map(after), [every, half, HOUR, 2 * HOUR, 4 * HOUR, every]);
        for failures in [41, 63, 64, u32::MAX] {
            assert_eq!(after(failures), every, "{failures}");
        }
    }

    #[tokio::test]
    async fn how_an_account_stands_is_known_even_if_it_cannot_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let reader = Reader::new(Figures::in_folder(folder.path()));
        let account = Account {
            channel: ChannelId::new("cams-1").unwrap(),
            waba_id: Text::new("41").unwrap(),
        };
        let standing = |failures| Standing { failures, ..Standing::default() };
        reader.keep(&account, standing(0)).await.unwrap();
        let file = folder.path().join(&reader.kept().files().await.unwrap()[0]);
        // A file cannot be written where a folder is.
        let in_the_way = file.with_file_name("new");
        std::fs::create_dir(&in_the_way).unwrap();
        reader.keep(&account, standing(1)).await.unwrap_err();
        assert_eq!(reader.kept().standing(&account).await.unwrap(), Some(standing(0)));
        assert_eq!(reader.standing(&account).await.unwrap(), Some(standing(1)));
        std::fs::remove_dir(&in_the_way).unwrap();
        reader.keep(&account, standing(2)).await.unwrap();
        assert_eq!(reader.kept().standing(&account).await.unwrap(), Some(standing(2)));
        assert_eq!(reader.standing(&account).await.unwrap(), Some(standing(2)));
    }

    #[test]
    fn the_first_run_asks_for_everything_and_the_next_for_what_may_have_changed() {
        let today = Day::of(NOON).0;
        let first = |read, first| {
            let standing = Standing { read, ..Standing::default() };
            window(NOON, &standing, first).map(|days| today - days.first.0)
        };
        let ago = |days: i64| Some(NOON.plus(-days * 24 * HOUR));
        assert_eq!(first(None, None).unwrap(), 89);
        assert_eq!(first(ago(0), None).unwrap(), 8);
        assert_eq!(first(ago(20), None).unwrap(), 20);
        assert_eq!(first(ago(300), None).unwrap(), 89);
        assert_eq!(first(ago(0), Some(Day(today - 89))).unwrap(), 89);
        assert_eq!(first(ago(0), Some(Day(today))).unwrap(), 8);
        let refused = first(ago(0), Some(Day(today - 90))).unwrap_err().to_string();
        assert!(refused.contains("2026-08-25 is too long ago"), "{refused}");
        assert!(refused.contains("from 2026-08-26 on"), "{refused}");
        // A round goes on with the days that it began with, as far as they are told.
        for (begun_with, asked) in [(30, 30), (5, 8), (95, 89)] {
            let round = Some(Round {
                begun: NOON,
                first: Day(today - begun_with),
                last: Day(today),
                after: None,
                is_cut: false,
                lacks_templates: false,
            });
            let standing = Standing { read: ago(0), round, ..Standing::default() };
            let days = window(NOON, &standing, None).unwrap();
            assert_eq!(today - days.first.0, asked, "{begun_with}");
        }
    }
}

//! What WhatsApp counted by itself, kept beside what we counted and never mixed with it.
//!
//! For each account that a channel is connected with, the figures of days ([`OfDay`]) and how
//! reading them stands ([`Standing`]). In a data folder they are files of [`PERIOD_DAYS`] days each
//! that are replaced and never edited: a new one is written beside it, synced, and renamed over it.
//! What always holds: a count that was told lower later stays as it was ([`OfDay::merge`]), so that
//! reading twice, in any order, and a crash between two files change nothing; what is older than
//! [`KEPT_DAYS`] goes away; no channel's folder is another's. To add a figure: a field here, and a
//! version in `stored`.

mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};

use crate::error::Error;
use crate::threads::blocking;

/// The folder in a data folder.
pub const FOLDER: &str = "meta";
/// For how many days figures are kept: a year, as far back as WhatsApp tells most of them, and a
/// month to look at it.
pub const KEPT_DAYS: i64 = 400;
/// How many days are in a file.
pub const PERIOD_DAYS: i64 = 32;
/// The most rows (of templates, buttons, numbers, prices) that a file takes.
pub const ROWS_MAX: usize = if cfg!(test) { 40 } else { 200_000 };
/// The most templates that [`Standing::unknown`] names.
pub const UNKNOWN_MAX: usize = 1_000;

/// An account of WhatsApp as a channel is connected with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The channel.
    pub channel: ChannelId,
    /// The WhatsApp Business account.
    pub waba_id: Text,
}

/// A day of UTC, counted from 1 January 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day(pub i64);

/// The figures of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDay {
    /// Of templates.
    pub templates: BTreeMap<TemplateKey, TemplateFigures>,
    /// When all templates were asked for: a template without figures had none then.
    pub templates_read: Option<Read>,
    /// Of numbers; one that was asked for is here even if nothing was told.
    pub numbers: BTreeMap<PhoneNumber, NumberFigures>,
    /// Of prices.
    pub prices: BTreeMap<PriceKey, PriceFigures>,
    /// When prices were asked for.
    pub prices_read: Option<Read>,
}

/// When something was asked for, of all times that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The first time.
    pub first: Time,
    /// The last time.
    pub last: Time,
}

/// Which template, and by which way its messages went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateKey {
    /// Meta's id of the template.
    pub id: Text,
    /// Such as `cloud_api`; figures of different ones add up.
    pub product: Text,
}

/// The figures of a template; what was never told is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFigures {
    /// Messages sent.
    pub sent: Option<u64>,
    /// Messages delivered.
    pub delivered: Option<u64>,
    /// Messages read.
    pub read: Option<u64>,
    /// Clicks by button. `url_button` and `unique_url_button` count the same ones.
    pub clicks: Option<BTreeMap<ButtonKey, u64>>,
    /// What they cost.
    pub cost: Option<Cost>,
}

/// Which button, and how its clicks are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ButtonKey {
    /// As told, such as `quick_reply_button`, `unique_url_button`.
    pub kind: Text,
    /// The button's text.
    pub text: Text,
}

/// An amount in millionths of the account's currency, and when it was told. It is corrected both
/// ways, so the last word counts: the order is that of being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cost {
    /// When it was told.
    pub read: Time,
    /// How much.
    pub micros: i64,
}

/// The figures of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberFigures {
    /// Messages sent.
    pub sent: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// When it was asked for.
    pub read: Read,
}

/// What messages were charged as, in Meta's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceKey {
    /// `MARKETING`, `UTILITY` and so on.
    pub category: Text,
    /// `REGULAR`, `FREE_CUSTOMER_SERVICE` and so on.
    pub kind: Text,
}

/// The figures of a price; what was never told is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceFigures {
    /// Messages delivered.
    pub volume: Option<u64>,
    /// What they cost.
    pub cost: Option<Cost>,
}

/// How reading an account's figures stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// When it was tried last.
    pub tried: Time,
    /// When the last round began that came to its end: all that is asked for was asked for since.
    pub read: Option<Time>,
    /// How many times in a row it has failed since.
    pub failures: u32,
    /// Whether Meta's insights are enabled, as Meta said last.
    pub insights: Option<bool>,
    /// Meta says that it has no figures of templates for this account.
    pub is_unsupported: bool,
    /// The account's currency, in which costs are.
    pub currency: Option<Text>,
    /// The round that is under way, as one run does not have to reach everything.
    pub round: Option<Round>,
    /// Templates that Meta says it does not know; at most [`UNKNOWN_MAX`]. The first ones are asked
    /// for again first.
    pub unknown: Vec<Text>,
    /// What was wrong, in plain words.
    pub problems: Vec<Text>,
}

/// Once through all that is asked for, in as many runs as it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// When it began.
    pub begun: Time,
    /// The first day that all of its runs ask for.
    pub first: Day,
    /// The last day that all of its runs ask for.
    pub last: Day,
    /// The last question that was put.
    pub after: Option<Question>,
    /// A question has to be put again for the same days.
    pub is_cut: bool,
    /// Of a template that is asked for, figures may have been told that are not kept.
    pub lacks_templates: bool,
}

/// What is asked for, in the order in which it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    /// The figures of a number.
    Number(PhoneNumber),
    /// Those of prices.
    Prices,
    /// Those of a template, by Meta's id.
    Template(Text),
}

impl Day {
    /// The day that `time` lies in.
    #[must_use]
    pub fn of(time: Time) -> Self {
        Self(time.0.div_euclid(twoticks_core::clock::DAY))
    }

    /// When it begins.
    #[must_use]
    pub fn start(self) -> Time {
        Time(self.0.saturating_mul(twoticks_core::clock::DAY))
    }

    fn period(self) -> i64 {
        self.0.div_euclid(PERIOD_DAYS)
    }
}

impl Read {
    /// Asked for once.
    #[must_use]
    pub fn at(time: Time) -> Self {
        Self { first: time, last: time }
    }

    fn merge(&mut self, Self { first, last }: Self) {
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }
}

impl OfDay {
    /// Takes in what was told of the same day at another time. Counts only ever grow, of costs the
    /// one that was told last is kept; order and repetition change nothing.
    pub fn merge(&mut self, told: Self) {
        let Self { templates, templates_read, numbers, prices, prices_read } = told;
        for (key, figures) in templates {
            self.templates.entry(key).or_default().merge(figures);
        }
        for (number, figures) in numbers {
            match self.numbers.get_mut(&number) {
                Some(known) => known.merge(&figures),
                None => drop(self.numbers.insert(number, figures)),
            }
        }
        for (key, PriceFigures { volume, cost }) in prices {
            let known = self.prices.entry(key).or_default();
            (known.volume, known.cost) = (known.volume.max(volume), known.cost.max(cost));
        }
        for (known, read) in
            [(&mut self.templates_read, templates_read), (&mut self.prices_read, prices_read)]
        {
            match (known.as_mut(), read) {
                (Some(known), Some(read)) => known.merge(read),
                (None, read) => *known = read,
                (Some(_), None) => {}
            }
        }
    }

    fn rows(&self) -> usize {
        let buttons =
            self.templates.values().filter_map(|it| it.clicks.as_ref()).map(BTreeMap::len);
        self.templates.len() + self.numbers.len() + self.prices.len() + buttons.sum::<usize>()
    }
}

impl TemplateFigures {
    /// See [`OfDay::merge`].
    pub fn merge(&mut self, told: Self) {
        let Self { sent, delivered, read, clicks, cost } = told;
        self.sent = self.sent.max(sent);
        self.delivered = self.delivered.max(delivered);
        self.read = self.read.max(read);
        self.cost = self.cost.max(cost);
        if let Some(clicks) = clicks {
            let known = self.clicks.get_or_insert_default();
            for (button, count) in clicks {
                let known = known.entry(button).or_default();
                *known = (*known).max(count);
            }
        }
    }
}

impl NumberFigures {
    fn merge(&mut self, Self { sent, delivered, read }: &Self) {
        self.sent = self.sent.max(*sent);
        self.delivered = self.delivered.max(*delivered);
        self.read.merge(*read);
    }
}

/// The figures of all accounts.
#[derive(Clone)]
pub struct Figures {
    place: Place,
    /// Held while something is changed, so that two changes made at once both count.
    changing: Arc<Mutex<()>>,
}

#[derive(Clone)]
enum Place {
    Memory(Arc<Mutex<BTreeMap<Account, InMemory>>>),
    /// The data folder.
    Folder(PathBuf),
}

#[derive(Default)]
struct InMemory {
    days: BTreeMap<i64, Days>,
    standing: Option<Standing>,
}

/// The days of a period.
type Days = BTreeMap<Day, OfDay>;

impl Figures {
    /// Kept as long as the process, for tests and demonstrations.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { place: Place::Memory(Arc::default()), changing: Arc::default() }
    }

    /// Kept in the data folder `folder`, which is this process's alone.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { place: Place::Folder(folder.to_owned()), changing: Arc::default() }
    }

    /// What is kept of the days from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerVersion`], [`Error::Unavailable`]; so for all that follow.
    pub async fn days(&self, account: &Account, first: Day, last: Day) -> Result<Days, Error> {
        let (place, account) = (self.place.clone(), account.clone());
        blocking(move || {
            let mut all = Days::new();
            for period in place.periods(&account)? {
                if (first.period()..=last.period()).contains(&period) {
                    all.append(&mut place.read(&account, period)?);
                }
            }
            all.retain(|day, _| (first..=last).contains(day));
            Ok(all)
        })
        .await
    }

    /// Takes in what was told, and lets go of what is older than [`KEPT_DAYS`] on `today`, of whatever
    /// account the channel was connected with. On disk when it returns.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond [`ROWS_MAX`]; what was kept before still is, and the files that
    /// have no part in it are merged.
    pub async fn merge(&self, account: &Account, told: Days, today: Day) -> Result<(), Error> {
        let (figures, account) = (self.clone(), account.clone());
        blocking(move || {
            let _changing = figures.lock();
            let oldest = Day(today.0.saturating_sub(KEPT_DAYS));
            let mut periods: BTreeMap<i64, Days> = BTreeMap::new();
            for (day, figures) in told.into_iter().filter(|(day, _)| *day >= oldest) {
                periods.entry(day.period()).or_default().insert(day, figures);
            }
            let mut merged = Ok(());
            for (period, told) in periods {
                // One that cannot be kept keeps nothing from the others; it says so when they are.
                merged = merged.and(figures.place.merge(&account, period, told));
            }
            figures.place.prune(&account.channel, oldest.period())?;
            merged
        })
        .await
    }

    /// How reading the account's figures stands; `None` if it was never tried.
    ///
    /// # Errors
    /// See [`Figures::days`].
    pub async fn standing(&self, account: &Account) -> Result<Option<Standing>, Error> {
        let (place, account) = (self.place.clone(), account.clone());
        blocking(move || match &place {
            Place::Memory(all) => {
                Ok(lock(all).get(&account).and_then(|known| known.standing.clone()))
            }
            Place::Folder(folder) => stored::read(&of_account(folder, &account).join(STANDING)),
        })
        .await
    }

    /// Keeps how it stands. On disk when it returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unavailable`].
    pub async fn set_standing(&self, account: &Account, standing: Standing) -> Result<(), Error> {
        let (figures, account) = (self.clone(), account.clone());
        blocking(move || {
            let _changing = figures.lock();
            match &figures.place {
                Place::Memory(all) => {
                    lock(all).entry(account).or_default().standing = Some(standing);
                    Ok(())
                }
                Place::Folder(folder) => {
                    stored::replace(&of_account(folder, &account), STANDING, &standing)
                }
            }
        })
        .await
    }

    /// Forgets a channel, whatever it was connected with.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn forget(&self, channel: &ChannelId) -> Result<(), Error> {
        let (figures, channel) = (self.clone(), channel.clone());
        blocking(move || {
            let _changing = figures.lock();
            match &figures.place {
                Place::Memory(all) => lock(all).retain(|known, _| known.channel != channel),
                Place::Folder(folder) => {
                    match std::fs::remove_dir_all(of_channel(folder, &channel)) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(Error::io("removing Meta's figures", error));
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// The files that there are, by their paths in the data folder with `/`: what a backup takes.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn files(&self) -> Result<Vec<String>, Error> {
        let Place::Folder(folder) = self.place.clone() else { return Ok(Vec::new()) };
        blocking(move || stored::files(&folder, FOLDER)).await
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.changing)
    }
}

/// The name of the file with a [`Standing`].
const STANDING: &str = "standing";
/// What the names of files with days end in.
const DAYS: &str = ".days";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in it by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name for a folder. Not the text itself: it may have `/` in it, be longer than names may be,
/// or differ from another by capitals only, which some file systems do not tell apart.
fn named(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn of_channel(folder: &Path, channel: &ChannelId) -> PathBuf {
    folder.join(FOLDER).join(named(channel.as_str()))
}

fn of_account(folder: &Path, Account { channel, waba_id }: &Account) -> PathBuf {
    of_channel(folder, channel).join(named(waba_id.as_str()))
}

/// Whose days are in a file of this name.
fn period_of(name: &str) -> Option<i64> {
    name.strip_suffix(DAYS)?.parse().ok()
}

impl Place {
    /// The periods of which there is something.
    fn periods(&self, account: &Account) -> Result<Vec<i64>, Error> {
        let folder = match self {
            Self::Memory(all) => {
                let all = lock(all);
                let known = all.get(account).map(|known| known.days.keys().copied().collect());
                return Ok(known.unwrap_or_default());
            }
            Self::Folder(folder) => of_account(folder, account),
        };
        let names = stored::names(&folder)?;
        Ok(names.iter().filter_map(|name| period_of(name)).collect())
    }

    fn merge(&self, account: &Account, period: i64, told: Days) -> Result<(), Error> {
        let mut kept = self.read(account, period)?;
        for (day, told) in told {
            kept.entry(day).or_default().merge(told);
        }
        let rows: usize = kept.values().map(OfDay::rows).sum();
        if rows > ROWS_MAX {
            let what = "rows of Meta's figures in 32 days";
            return Err(Error::TooLarge { what, found: rows, limit: ROWS_MAX });
        }
        self.write(account, period, kept)
    }

    fn read(&self, account: &Account, period: i64) -> Result<Days, Error> {
        match self {
            Self::Memory(all) => {
                let all = lock(all);
                let known = all.get(account).and_then(|known| known.days.get(&period));
                Ok(known.cloned().unwrap_or_default())
            }
            Self::Folder(folder) => {
                let path = of_account(folder, account).join(format!("{period}{DAYS}"));
                Ok(stored::read(&path)?.unwrap_or_default())
            }
        }
    }

    fn write(&self, account: &Account, period: i64, days: Days) -> Result<(), Error> {
        match self {
            Self::Memory(all) => {
                lock(all).entry(account.clone()).or_default().days.insert(period, days);
                Ok(())
            }
            Self::Folder(folder) => {
                stored::replace(&of_account(folder, account), &format!("{period}{DAYS}"), &days)
            }
        }
    }

    /// Lets go of the periods of a channel before `oldest`.
    fn prune(&self, channel: &ChannelId, oldest: i64) -> Result<(), Error> {
        let folder = match self {
            Self::Memory(all) => {
                for (_, known) in lock(all).iter_mut().filter(|(it, _)| it.channel == *channel) {
                    known.days.retain(|period, _| *period >= oldest);
                }
                return Ok(());
            }
            Self::Folder(folder) => of_channel(folder, channel),
        };
        for path in stored::files(&folder, ".")? {
            let period = path.rsplit('/').next().and_then(period_of);
            if period.is_some_and(|period| period < oldest) {
                std::fs::remove_file(folder.join(path))
                    .map_err(|error| Error::io("removing old figures of Meta's", error))?;
            }
        }
        Ok(())
    }
}

//! Sends that wait: which recipients of which groups are still to be handed to the carrier.
//!
//! What is to be said to whom is in the ledger's journal, under the group; here is only how far
//! each group is, in a journal of its own (`steps`), so that it is small and read whole
//! at a start. A recipient waits, is begun, and ends. What always holds: a recipient is begun on
//! disk before the carrier hears of it, so that after a crash it is known whose outcome is not;
//! one that has ended never begins again; what has ended for all is trimmed. To add a step, add a
//! variant to [`Record`], at the end: records are stored.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::MutexGuard;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;

use crate::error::Error;
use crate::journal::Position;
use crate::steps::{Folded, Steps};

/// The folder in a data folder.
pub const FOLDER: &str = "outbox";
/// The most recipients of one group.
pub const GROUP_RECIPIENTS_MAX: usize = 1_000;
/// The most recipients that wait at the same time, over all groups; beyond them [`Error::Busy`].
pub const WAITING_MAX: usize = if cfg!(test) { 40 } else { 100_000 };
/// The most that wait of one channel, so that one whose connection is broken leaves room for others.
pub const CHANNEL_WAITING_MAX: usize = if cfg!(test) { 30 } else { 20_000 };

/// The recipients of a group, by their places in it.
pub type Places = Vec<u32>;

/// A step, as it is stored.
#[derive(Serialize, Deserialize)]
enum Record {
    /// A group waits; so many recipients.
    Queued { channel: ChannelId, group: String, recipients: u32, at: Time },
    /// These are being handed to the carrier.
    Begun { channel: ChannelId, group: String, places: Places },
    /// The carrier did not take these, and they wait again.
    PutBack { channel: ChannelId, group: String, places: Places },
    /// What became of these is in the ledger.
    Ended { channel: ChannelId, group: String, places: Places },
}

/// How far a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Begun,
    Ended,
}

/// Which group: names are unique in a channel.
type Key = (ChannelId, String);

struct Group {
    at: Time,
    /// Where it was queued, in the outbox's own journal.
    queued: Position,
    stages: Vec<Stage>,
}

impl Group {
    fn is_over(&self) -> bool {
        self.stages.iter().all(|stage| *stage == Stage::Ended)
    }

    /// How many have not ended.
    fn open(&self) -> usize {
        self.stages.iter().filter(|stage| **stage != Stage::Ended).count()
    }

    fn at(&self, stage: Stage) -> Places {
        let places = (0..).zip(&self.stages).filter(|(_, known)| **known == stage);
        places.map(|(place, _)| place).collect()
    }
}

/// A group of which not all have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub channel: ChannelId,
    /// Its name.
    pub group: String,
    /// When it was queued.
    pub at: Time,
    /// The recipients that wait, sorted.
    pub waiting: Places,
    /// The recipients that are begun, sorted. At a start: it is not known what became of them,
    /// unless the ledger knows.
    pub begun: Places,
}

#[derive(Default)]
struct Groups(BTreeMap<Key, Group>);

impl Folded for Groups {
    type Step = Record;
    const VERSION: u8 = 1;
    const SEGMENT_BYTES: u64 = if cfg!(test) { 512 } else { 1 << 20 };
    const REMEDY: &'static str =
        "sends that wait are lost with it; move the folder away to go on without them";

    /// A step of a group that is over, and so not there any more, concerns nobody.
    fn take(&mut self, record: Position, step: Record) {
        let (key, places, stage) = match step {
            Record::Queued { channel, group, recipients, at } => {
                let stages = vec![Stage::Waiting; usize::try_from(recipients).unwrap_or_default()];
                let group = self.0.entry((channel, group));
                group.or_insert(Group { at, queued: record, stages });
                return;
            }
            Record::Begun { channel, group, places } => ((channel, group), places, Stage::Begun),
            Record::PutBack { channel, group, places } => {
                ((channel, group), places, Stage::Waiting)
            }
            Record::Ended { channel, group, places } => ((channel, group), places, Stage::Ended),
        };
        let Some(group) = self.0.get_mut(&key) else { return };
        for place in places {
            let known = usize::try_from(place).ok().and_then(|place| group.stages.get_mut(place));
            if let Some(known) = known.filter(|known| **known != Stage::Ended) {
                *known = stage;
            }
        }
        if group.is_over() {
            self.0.remove(&key);
        }
    }

    fn oldest(&self) -> Option<Position> {
        self.0.values().map(|group| group.queued).min()
    }
}

/// Sends that wait.
pub struct Outbox(Steps<Groups>);

impl Outbox {
    /// One that keeps nothing beyond the process, for tests and demonstrations.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Steps::in_memory())
    }

    /// Opens the outbox in `folder`, which is made if it is not there, and reads all of it. The
    /// caller holds the lock of the data folder. Blocks.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerVersion`], and what the disk says.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let outbox = Self(Steps::open(folder)?);
        outbox.0.trim()?;
        Ok(outbox)
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.0.state()
    }

    /// Whether a group waits, or a part of it.
    #[must_use]
    pub fn has(&self, channel: &ChannelId, group: &str) -> bool {
        self.groups().0.contains_key(&(channel.clone(), group.to_owned()))
    }

    /// What has not ended, in the order it was queued in.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        let groups = self.groups();
        let mut all: Vec<(&Key, &Group)> = groups.0.iter().collect();
        all.sort_by_key(|(_, group)| (group.queued, group.at));
        all.into_iter()
            .map(|((channel, name), group)| Waiting {
                channel: channel.clone(),
                group: name.clone(),
                at: group.at,
                waiting: group.at(Stage::Waiting),
                begun: group.at(Stage::Begun),
            })
            .collect()
    }

    /// How many recipients wait or are begun.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups().0.values().map(Group::open).sum()
    }

    /// How many of a channel do.
    #[must_use]
    pub fn len_of(&self, channel: &ChannelId) -> usize {
        let groups = self.groups();
        let of = groups.0.iter().filter(|((known, _), _)| known == channel);
        of.map(|(_, group)| group.open()).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups().0.is_empty()
    }

    /// Has `recipients` of a group wait; durable when it returns. What is to be sent to them is in
    /// the ledger before.
    ///
    /// # Errors
    /// [`Error::Busy`] beyond [`WAITING_MAX`] or [`CHANNEL_WAITING_MAX`], [`Error::TooLarge`] beyond
    /// [`GROUP_RECIPIENTS_MAX`], and what the disk says; nobody waits then.
    pub async fn queue(
        &self,
        channel: &ChannelId,
        group: &str,
        recipients: usize,
        at: Time,
    ) -> Result<(), Error> {
        if recipients > GROUP_RECIPIENTS_MAX {
            let what = "recipients of one send";
            return Err(Error::TooLarge { what, found: recipients, limit: GROUP_RECIPIENTS_MAX });
        }
        // Sends that are queued at the same moment may go over it together, by a group each.
        if self.len() + recipients > WAITING_MAX {
            return Err(Error::Busy { what: "the outbox is", limit: WAITING_MAX });
        }
        if self.len_of(channel) + recipients > CHANNEL_WAITING_MAX {
            let what = "the outbox of the channel is";
            return Err(Error::Busy { what, limit: CHANNEL_WAITING_MAX });
        }
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let (channel, group) = (channel.clone(), group.to_owned());
        self.step(Record::Queued { channel, group, recipients, at }).await
    }

    /// These are handed to the carrier now; durable when it returns.
    ///
    /// # Errors
    /// What the disk says; they must not be handed over then.
    pub async fn begin(
        &self,
        channel: &ChannelId,
        group: &str,
        places: Places,
    ) -> Result<(), Error> {
        let (channel, group) = (channel.clone(), group.to_owned());
        self.step(Record::Begun { channel, group, places }).await
    }

    /// The carrier has not taken these: they wait again.
    ///
    /// # Errors
    /// What the disk says; after a crash it is then not known what became of them.
    pub async fn put_back(
        &self,
        channel: &ChannelId,
        group: &str,
        places: Places,
    ) -> Result<(), Error> {
        let (channel, group) = (channel.clone(), group.to_owned());
        self.step(Record::PutBack { channel, group, places }).await
    }

    /// What became of these is in the ledger: they are never handed over again.
    ///
    /// # Errors
    /// What the disk says; whoever opens the outbox again asks the ledger.
    pub async fn end(&self, channel: &ChannelId, group: &str, places: Places) -> Result<(), Error> {
        let (channel, group) = (channel.clone(), group.to_owned());
        self.step(Record::Ended { channel, group, places }).await
    }

    async fn step(&self, step: Record) -> Result<(), Error> {
        let is_end = matches!(step, Record::Ended { .. });
        self.0.take(step).await?;
        if is_end {
            self.0.trim()?;
        }
        Ok(())
    }

    /// Returns when the disk has failed for good: no step is taken any more, and the process has
    /// to restart.
    pub async fn failed(&self) -> Error {
        self.0.failed().await
    }

    /// Takes no step any more. Blocks until those that were taken are on disk.
    pub fn close(&self) {
        self.0.close();
    }
}

//! What the emulated WhatsApp knows: channels, what is due, its book, its logs.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{Button, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::names::Uid;

use crate::book::{self, Book};
use crate::chaos::Chaos;
use crate::dice::{Dice, seed_of_name};
use crate::habits::{RECATEGORISED, REJECTED, REVIEWING};
use crate::life::{Outcome, Step, limited_usually};
use crate::meta::{Price, Version};
use crate::whatsapp::receivers::Callback;

/// How many sends and how many bodies are remembered; older ones are forgotten.
pub(super) const REMEMBERED_MAX: usize = 1_000;
/// The longest body that is remembered with its text, in bytes.
pub(super) const BODY_REMEMBERED_MAX: usize = 64 << 10;
/// How many things may wait to be told; what is sent beyond it is refused until some are.
pub(super) const PENDING_MAX: usize = 2_000_000;
/// How many conversations are remembered as open.
const WINDOWS_MAX: usize = 100_000;
/// How long a business may answer freely, in milliseconds (Meta: 24 hours).
pub(super) const WINDOW: i64 = DAY;

/// What an emulated WhatsApp is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What everything comes from.
    pub seed: u64,
    /// How much had been recorded before it began, in a folder that is used again: ids that were
    /// given out then are not given out once more.
    pub after: u64,
    /// Which version of the Graph API webhooks follow.
    pub version: Version,
    /// How lives have to end, for channels that have nothing of their own.
    pub outcome: Outcome,
    /// What goes wrong for channels that have nothing of their own.
    pub chaos: Chaos,
}

/// Whether a template can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    #[default]
    Approved,
    /// It is being reviewed.
    Pending,
    /// It was rejected.
    Rejected,
    /// It was paused, since too many did not like it.
    Paused,
    /// It was disabled for good.
    Disabled,
}

impl Standing {
    /// Every standing with its word.
    pub const ALL: [(&'static str, Self); 5] = [
        ("approved", Self::Approved),
        ("pending", Self::Pending),
        ("rejected", Self::Rejected),
        ("paused", Self::Paused),
        ("disabled", Self::Disabled),
    ];

    /// The event that tells of it.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::Pending => "PENDING",
            Self::Rejected => "REJECTED",
            Self::Paused => "PAUSED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// What WhatsApp thinks of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// Good.
    #[default]
    Green,
    /// Doubtful.
    Yellow,
    /// Bad: the number is flagged.
    Red,
}

impl Quality {
    /// Every quality with its word.
    pub const ALL: [(&'static str, Self); 3] =
        [("green", Self::Green), ("yellow", Self::Yellow), ("red", Self::Red)];
}

/// How much a template is liked, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liking {
    /// Reads and taps are this many thousandths of what is usual.
    pub appeal: i64,
    /// How many of a thousand marketing messages are held back (131049).
    pub limited: i64,
}

impl Default for Liking {
    fn default() -> Self {
        Self { appeal: 1_000, limited: limited_usually() }
    }
}

/// A send, as it is remembered.
#[derive(Clone, Debug)]
pub struct SendRecord {
    /// When.
    pub at: Time,
    /// By which channel.
    pub channel: ChannelId,
    /// From which number.
    pub from: PhoneNumber,
    /// To whom, as the caller wrote it.
    pub to: String,
    /// The template; none for a free-form message.
    pub template: Option<Template>,
    /// What the call says of this recipient.
    pub parameters: Map<String, Value>,
    /// What the call says of all recipients.
    pub call: Arc<Map<String, Value>>,
    /// Its wamid, or why it was refused.
    pub answer: Result<String, String>,
    /// What becomes of it, if nothing holds it up.
    pub life: Vec<Step>,
}

/// A body that was posted, as it is remembered.
#[derive(Clone, Debug)]
pub struct WebhookRecord {
    /// When.
    pub at: Time,
    /// Of which channels it tells.
    pub channels: Vec<ChannelId>,
    /// How many updates it has.
    pub updates: usize,
    /// For the how many-th time this was tried, from 0.
    pub attempt: u32,
    /// What went wrong with it on purpose.
    pub fault: Option<&'static str>,
    /// Where it went, unless to the emulator's own server.
    pub callback: Option<String>,
    /// What the receiver answered, or why there was no answer.
    pub answer: Result<u16, String>,
    /// How many bytes it has.
    pub bytes: usize,
    /// Its text, unless it is long.
    pub body: Option<String>,
}

/// A channel, as WhatsApp knows it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// How many messages it has sent.
    pub(super) sent: u64,
    pub(super) chaos: Option<Chaos>,
    pub(super) outcome: Option<Outcome>,
    pub(super) tells_links: bool,
    pub(super) templates: HashMap<Template, (Category, Standing)>,
    pub(super) likings: HashMap<Template, Liking>,
    pub(super) qualities: HashMap<PhoneNumber, Quality>,
    /// Whether Meta collects analytics of its templates.
    pub(super) has_insights: bool,
    /// Where its webhooks go; else to the own server.
    pub(super) callback: Option<Arc<Callback>>,
    /// Whether the app has ended its subscription.
    pub(super) is_unsubscribed: bool,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the server, which hears its wamid and knows its template.
    Server,
    /// Through the Graph doors, perhaps of the Marketing Messages API.
    Graph { is_lite: bool },
}

/// A message, as far as what is told of it goes.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) page: Option<book::Number>,
    pub(super) seed: u64,
    pub(super) channel: ChannelId,
    pub(super) account: Option<Uid>,
    pub(super) waba_id: Text,
    pub(super) phone_number: PhoneNumber,
    pub(super) phone_number_id: Text,
    pub(super) wamid: String,
    /// As webhooks write it: digits without a `+`, a BSUID, or a group.
    pub(super) to: String,
    pub(super) is_group: bool,
    /// The members of the group; the recipient itself outside of groups.
    pub(super) members: Vec<String>,
    pub(super) template: Option<Template>,
    pub(super) buttons: Vec<Button>,
    /// Of the quick replies, in their order.
    pub(super) payloads: Vec<String>,
    pub(super) sign: Option<String>,
    pub(super) price: Price,
}

/// Something that is to be told.
#[derive(Debug)]
pub(super) enum Thing {
    /// Something of a message.
    Step {
        message: Arc<Message>,
        step: Step,
        /// Which of the members it is about.
        member: u16,
        /// Whether it says what the message is charged as.
        is_priced: bool,
    },
    /// Something of a template or a number, written already.
    Notice { channel: ChannelId, body: Vec<u8> },
}

impl Thing {
    pub(super) fn channel(&self) -> &ChannelId {
        match self {
            Self::Step { message, .. } => &message.channel,
            Self::Notice { channel, .. } => channel,
        }
    }
}

/// Something that is to be told, and how often that was tried.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) thing: Arc<Thing>,
    pub(super) attempt: u32,
    /// When it was due at first.
    pub(super) since: Time,
}

/// Something that is going to happen to a template, and what is told of it then.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) channel: ChannelId,
    pub(super) template: Template,
    pub(super) becomes: Becomes,
    /// The notice, written already.
    pub(super) body: Option<Vec<u8>>,
}

/// What becomes of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Its category is another one.
    Categorised(Category),
    /// Its standing is another one: somebody says so.
    Standing(Standing),
    /// It has been reviewed; whoever says otherwise before that stops the review.
    Reviewed(Standing),
}

/// Everything it knows.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) book: Book,
    pub(super) sends: VecDeque<SendRecord>,
    pub(super) webhooks: VecDeque<WebhookRecord>,
    lines: HashMap<ChannelId, Line>,
    due: BTreeMap<(Time, u64), Due>,
    changes: BTreeMap<(Time, u64), Change>,
    /// When somebody last wrote to a number.
    windows: HashMap<(PhoneNumber, String), Time>,
    sequence: u64,
    /// [`PENDING_MAX`], but for tests.
    pub(super) pending_max: usize,
    /// How many times parcels were made: chance on the way is another each time.
    pub(super) rounds: u64,
}

impl State {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            book: Book::default(),
            sends: VecDeque::new(),
            webhooks: VecDeque::new(),
            lines: HashMap::new(),
            due: BTreeMap::new(),
            changes: BTreeMap::new(),
            windows: HashMap::new(),
            sequence: 0,
            pending_max: PENDING_MAX,
            rounds: 0,
        }
    }

    pub(super) fn line(&mut self, channel: &ChannelId) -> &mut Line {
        self.lines.entry(channel.clone()).or_default()
    }

    pub(super) fn chaos_of(&self, channel: &ChannelId) -> Chaos {
        self.lines.get(channel).and_then(|line| line.chaos).unwrap_or(self.config.chaos)
    }

    pub(super) fn outcome_of(&self, channel: &ChannelId) -> Outcome {
        self.lines.get(channel).and_then(|line| line.outcome).unwrap_or(self.config.outcome)
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        let told = self.due.first_key_value().map(|((due, _), _)| *due);
        let changed = self.changes.first_key_value().map(|((at, _), _)| *at);
        told.into_iter().chain(changed).min()
    }

    pub(super) fn last_due(&self) -> Option<Time> {
        let told = self.due.last_key_value().map(|((due, _), _)| *due);
        let changed = self.changes.last_key_value().map(|((at, _), _)| *at);
        told.into_iter().chain(changed).max()
    }

    pub(super) fn pending(&self) -> usize {
        self.due.len() + self.changes.len()
    }

    /// Puts something to be told at `at`.
    pub(super) fn put(&mut self, at: Time, due: Due) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), due);
    }

    /// Puts a thing to be told as chaos wants it, if it would arrive at `at`.
    pub(super) fn tell(&mut self, chaos: Chaos, dice: &mut Dice, at: Time, thing: Thing) {
        let thing = Arc::new(thing);
        for arrives in chaos.arrivals(dice, at) {
            self.put(arrives, Due { thing: Arc::clone(&thing), attempt: 0, since: arrives });
        }
    }

    /// Takes out what is due at `now`, at most `most`, in order.
    pub(super) fn take_due(&mut self, now: Time, most: usize) -> Vec<Due> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            taken.push(first.remove());
        }
        taken
    }

    /// Looks at everything that is to be told.
    pub(super) fn each_due(&self, mut visit: impl FnMut(&Thing)) {
        self.due.values().for_each(|due| visit(&due.thing));
    }

    /// Takes back everything that is to be told of these members of messages.
    pub(super) fn drop_steps(&mut self, of: &[(Arc<Message>, u16)]) {
        let place = |message: &Arc<Message>, member: u16| (Arc::as_ptr(message) as usize, member);
        let dropped: HashSet<(usize, u16)> =
            of.iter().map(|(message, member)| place(message, *member)).collect();
        self.due.retain(|_, due| match &*due.thing {
            Thing::Step { message, member, .. } => !dropped.contains(&place(message, *member)),
            Thing::Notice { .. } => true,
        });
    }

    pub(super) fn callback_of(&self, channel: &ChannelId) -> Option<Arc<Callback>> {
        self.lines.get(channel).and_then(|line| line.callback.clone())
    }

    pub(super) fn drop_template(&mut self, channel: &ChannelId, template: &Template) {
        self.line(channel).templates.remove(template);
        self.changes.retain(|_, it| it.channel != *channel || it.template != *template);
    }

    pub(super) fn forget(&mut self, channel: &ChannelId) {
        self.lines.remove(channel);
        self.due.retain(|_, due| due.thing.channel() != channel);
        self.changes.retain(|_, change| change.channel != *channel);
    }

    pub(super) fn remember<T>(log: &mut VecDeque<T>, record: T) {
        if log.len() >= REMEMBERED_MAX {
            log.pop_front();
        }
        log.push_back(record);
    }

    /// Whether `to` has written to `number` within the window before `at`.
    pub(super) fn has_window(&self, number: &PhoneNumber, to: &str, at: Time) -> bool {
        let last = self.windows.get(&(number.clone(), to.to_owned()));
        last.is_some_and(|last| *last <= at && at.0 - last.0 < WINDOW)
    }

    /// `to` has written to `number` at `at`.
    pub(super) fn open_window(&mut self, number: &PhoneNumber, to: &str, at: Time, now: Time) {
        if self.windows.len() >= WINDOWS_MAX {
            self.windows.retain(|_, last| now.0 - last.0 < WINDOW);
        }
        if self.windows.len() < WINDOWS_MAX {
            let last = self.windows.entry((number.clone(), to.to_owned())).or_insert(at);
            *last = (*last).max(at);
        }
    }

    /// Makes what was going to happen to templates by `now` happen.
    pub(super) fn catch_up(&mut self, now: Time) {
        while let Some(first) = self.changes.first_entry()
            && first.key().0 <= now
        {
            let at = first.key().0;
            let Change { channel, template, becomes, body } = first.remove();
            if let Some((category, standing)) = self.line(&channel).templates.get_mut(&template) {
                match becomes {
                    Becomes::Categorised(becomes) => *category = becomes,
                    Becomes::Standing(becomes) | Becomes::Reviewed(becomes) => *standing = becomes,
                }
            }
            if becomes == Becomes::Standing(Standing::Paused) {
                self.drop_what_waits(&channel, &template, at);
            }
            if let Some(body) = body {
                self.tell_notice(&channel, at, body);
            }
        }
    }

    fn change_at(&mut self, at: Time, change: Change) {
        self.sequence += 1;
        self.changes.insert((at, self.sequence), change);
    }

    /// What WhatsApp knows of a template: what was said here, else what the directory says.
    pub(super) fn known_template(
        &mut self,
        snapshot: &Snapshot,
        (channel, template): (&ChannelId, &Template),
        now: Time,
    ) -> (Category, Standing) {
        if let Some(known) = self.line(channel).templates.get(template) {
            return *known;
        }
        // Somebody has added it without saying so here.
        let record = snapshot.template(channel, &template.code, &template.language);
        let category = record.map_or(Category::Utility, |record| record.category);
        self.book.categorise(channel, template, now, category);
        let known = (category, Standing::Approved);
        self.line(channel).templates.insert(template.clone(), known);
        known
    }

    pub(super) fn put_template(
        &mut self,
        snapshot: &Snapshot,
        of: (&ChannelId, &Template),
        category: Category,
        standing: Standing,
        now: Time,
    ) {
        self.catch_up(now);
        let (channel, template) = of;
        let is_known = self.line(channel).templates.contains_key(template);
        if is_known {
            self.recategorise(snapshot, of, category, now, now);
            self.stand(snapshot, of, standing, now);
        } else {
            self.book.categorise(channel, template, now, category);
            self.line(channel).templates.insert(template.clone(), (category, standing));
            if standing == Standing::Pending {
                self.review(snapshot, of, category, now);
            }
        }
    }

    pub(super) fn stand(
        &mut self,
        snapshot: &Snapshot,
        of: (&ChannelId, &Template),
        standing: Standing,
        now: Time,
    ) {
        self.catch_up(now);
        let (category, before) = self.known_template(snapshot, of, now);
        if before == standing {
            return;
        }
        let (channel, template) = of;
        self.changes.retain(|_, change| {
            let is_review = matches!(change.becomes, Becomes::Reviewed(_));
            !(is_review && change.channel == *channel && change.template == *template)
        });
        let body = self.standing_notice(snapshot, of, (category, standing), now);
        self.change(of, now, Becomes::Standing(standing), body);
        self.catch_up(now);
        if standing == Standing::Pending {
            self.review(snapshot, of, category, now);
        }
    }

    /// Some time later it is approved or rejected, and perhaps moved to marketing.
    fn review(
        &mut self,
        snapshot: &Snapshot,
        of: (&ChannelId, &Template),
        category: Category,
        now: Time,
    ) {
        let (channel, template) = of;
        let name = format!("{channel} {} {}", template.code, template.language);
        let mut dice = Dice::new(seed_of_name(self.config.seed, &name));
        let reviewed = now.plus(REVIEWING.draw(&mut dice));
        let is_rejected = dice.chance(REJECTED);
        let standing = if is_rejected { Standing::Rejected } else { Standing::Approved };
        let moves = category == Category::Utility && dice.chance(RECATEGORISED);
        let becomes = if moves && !is_rejected { Category::Marketing } else { category };
        let body = self.standing_notice(snapshot, of, (becomes, standing), reviewed);
        self.change(of, reviewed, Becomes::Reviewed(standing), body);
        if becomes != category {
            self.recategorise(snapshot, of, becomes, reviewed, reviewed);
        }
    }

    fn change(
        &mut self,
        (channel, template): (&ChannelId, &Template),
        at: Time,
        becomes: Becomes,
        body: Option<Vec<u8>>,
    ) {
        let (channel, template) = (channel.clone(), template.clone());
        self.change_at(at, Change { channel, template, becomes, body });
    }

    /// Announces it, if it is announced at all: `effective` is later than `now`.
    pub(super) fn recategorise(
        &mut self,
        snapshot: &Snapshot,
        of: (&ChannelId, &Template),
        category: Category,
        effective: Time,
        now: Time,
    ) {
        let (before, _) = self.known_template(snapshot, of, now);
        if before == category {
            return;
        }
        let (channel, template) = of;
        // Webhooks tell whole seconds.
        let effective = Time(effective.second() * SECOND);
        let change = (before, category);
        if effective > now
            && let Some(body) = self.announcement(snapshot, of, change, effective, now)
        {
            self.tell_notice(channel, now, body);
        }
        let body = self.category_notice(snapshot, of, change, effective);
        if body.is_some() {
            self.book.categorise(channel, template, effective, category);
        }
        self.change(of, effective, Becomes::Categorised(category), body);
        self.catch_up(now);
    }
}

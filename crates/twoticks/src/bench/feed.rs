//! The events that every side is fed, from one seed, made on a thread of their own.
//!
//! They come in pulses of batches, so that whoever takes them works at full speed for a while
//! although making them takes longer than counting them at the limit. What always holds: the same
//! [`Spec`] gives the same batches to every side, and what making them cost is known, to be taken
//! off the bill.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_core::totals::Atom;
use twoticks_emulator::stream::{self, Cast, Plan, batches};

use super::meter;

/// How many batches a pulse has, where memory is not what is measured.
const PULSE: usize = 64;
/// How many updates webhooks tell of a thousand messages of a stream.
const UPDATES_PER_THOUSAND: u64 = 3_000;

/// Which events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) seed: u64,
    pub(super) messages: u64,
    /// In any order instead of that of arrival.
    pub(super) hostile: bool,
    /// The fewest and the most events of a batch.
    pub(super) sizes: (usize, usize),
    /// Made before anything begins, where time is what counts.
    pub(super) in_memory: bool,
    /// How many batches a pulse has.
    pub(super) pulse: usize,
    /// When the first message is sent; else when streams usually begin.
    pub(super) start: Option<Time>,
    /// Over how many days they are sent; else as streams usually are.
    pub(super) days: Option<u32>,
}

impl Spec {
    /// About `events` events in batches of 1 to 1,000.
    pub(super) fn mixed(events: u64) -> Self {
        let messages = (events * 1_000).div_ceil(UPDATES_PER_THOUSAND).max(1);
        Self {
            seed: 42,
            messages,
            hostile: false,
            sizes: (1, 1_000),
            in_memory: false,
            pulse: PULSE,
            start: None,
            days: None,
        }
    }

    /// About how many events are told of so many messages.
    pub(super) fn events_of(messages: u64) -> u64 {
        messages * UPDATES_PER_THOUSAND / 1_000
    }

    pub(super) fn plan(&self) -> Plan {
        let plan = match self.hostile {
            true => Plan::hostile(self.messages),
            false => Plan::life_like(self.messages),
        };
        let (start, days) = (self.start.unwrap_or(plan.start), self.days.unwrap_or(plan.days));
        Plan { start, days, ..plan }
    }
}

/// Some batches at once.
pub(super) struct Pulse<T> {
    pub(super) batches: Vec<T>,
    /// Copies, made by the feeder, for whoever has to say a batch again; empty if not asked for.
    /// Give them back with [`Feed::done`], so that freeing them is on nobody's bill either.
    pub(super) spares: Vec<T>,
}

/// What is being fed.
pub(super) struct Feed<T> {
    pulses: Receiver<Pulse<T>>,
    back: Sender<Vec<T>>,
    spent: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64>>,
}

impl<T: Send + 'static> Feed<T> {
    /// Starts to make batches of `spec` into what `make` makes of them, and `copy`, if given,
    /// copies.
    pub(super) fn start(
        spec: &Spec,
        make: impl FnMut(stream::Batch) -> T + Send + 'static,
        copy: Option<fn(&T) -> T>,
    ) -> Result<Self> {
        let mut all = batches(spec.seed, &spec.plan(), spec.sizes).map(make);
        let (sender, pulses): (Box<dyn Fn(Pulse<T>) -> bool + Send>, _) = if spec.in_memory {
            let (sender, pulses) = channel();
            (Box::new(move |pulse| sender.send(pulse).is_ok()), pulses)
        } else {
            let (sender, pulses) = sync_channel(1);
            (Box::new(move |pulse| sender.send(pulse).is_ok()), pulses)
        };
        let (back, freed) = channel::<Vec<T>>();
        let (is_ahead, size) = (spec.in_memory, spec.pulse);
        let spent = Arc::new(AtomicU64::new(0));
        let spends = Arc::clone(&spent);
        let (ready, made) = channel::<()>();
        let thread = std::thread::Builder::new().name("feeder".to_owned()).spawn(move || {
            loop {
                let batches: Vec<T> = all.by_ref().take(size).collect();
                let spares = copy.map(|copy| batches.iter().map(copy).collect());
                let is_last = batches.len() < size;
                let pulse = Pulse { batches, spares: spares.unwrap_or_default() };
                if !sender(pulse) || is_last {
                    break;
                }
                freed.try_iter().for_each(drop);
                spends.store(meter::thread_nanoseconds()?, Ordering::Relaxed);
            }
            drop(ready);
            drop(sender);
            freed.iter().for_each(drop);
            meter::thread_nanoseconds()
        });
        let thread = thread.context("cannot start the feeder")?;
        if is_ahead {
            // The feeder drops the other half when it has made them all.
            made.iter().for_each(drop);
        }
        Ok(Self { pulses, back, spent, thread })
    }

    /// The next pulse; none at the end. Blocks.
    pub(super) fn next(&self) -> Option<Pulse<T>> {
        self.pulses.recv().ok()
    }

    /// Gives copies back.
    pub(super) fn done(&self, spares: Vec<T>) {
        // A feeder that has ended frees nothing any more; then they are freed here.
        drop(self.back.send(spares));
    }

    /// The seconds of processor time that making batches has taken, a pulse or so ago.
    pub(super) fn spent_seconds(&self) -> f64 {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Ends it; the seconds of processor time that making the batches took.
    pub(super) fn end(self) -> Result<f64> {
        drop((self.pulses, self.back));
        let spent = self.thread.join().map_err(|_| anyhow!("the feeder panicked"))??;
        Ok(Duration::from_nanos(spent).as_secs_f64())
    }
}

/// A fact in its smallest form: what a count needs, names as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    /// The message, or the tap.
    pub(super) id: [u64; 2],
    pub(super) time: Time,
    /// An index into [`Names::numbers`].
    pub(super) number: u16,
    /// An index into [`Names::templates`]; [`NO_TEMPLATE`] if it names none.
    pub(super) template: u16,
    /// 0 to 5 is the status, 6 a tap.
    pub(super) what: u8,
}

pub(super) const NO_TEMPLATE: u16 = u16::MAX;
/// [`Fact::what`] of a tap.
const TAP: u8 = 6;

impl Fact {
    pub(super) fn atom(&self) -> i32 {
        Atom::of(self.time).0
    }
}

/// Facts and the body that tells them.
pub(super) struct Facts {
    pub(super) facts: Vec<Fact>,
    pub(super) body: Vec<u8>,
}

/// Who is in a stream, by number.
pub(super) struct Names {
    /// Channel and phone number.
    pub(super) numbers: Vec<(String, String)>,
    /// Channel, code, language.
    pub(super) templates: Vec<(String, String, String)>,
    number_of: HashMap<PhoneNumber, u16>,
    template_of: HashMap<Text, u16>,
}

impl Names {
    pub(super) fn of(spec: &Spec) -> Self {
        let cast = Cast::of(&spec.plan());
        let text = |text: &dyn ToString| text.to_string();
        Self {
            numbers: cast
                .numbers
                .iter()
                .map(|it| (text(&it.channel), text(&it.phone_number)))
                .collect(),
            templates: cast
                .templates
                .iter()
                .map(|it| (text(&it.channel), text(&it.template.code), text(&it.template.language)))
                .collect(),
            number_of: (0..)
                .zip(&cast.numbers)
                .map(|(n, it)| (it.phone_number.clone(), n))
                .collect(),
            template_of: (0..)
                .zip(&cast.templates)
                .map(|(n, it)| (it.template.code.clone(), n))
                .collect(),
        }
    }

    /// Channel and phone number of a fact.
    pub(super) fn number(&self, fact: &Fact) -> &(String, String) {
        self.numbers.get(usize::from(fact.number)).expect("facts have numbers of the cast")
    }

    /// Channel, code and language of its template.
    pub(super) fn template(&self, fact: &Fact) -> Option<&(String, String, String)> {
        self.templates.get(usize::from(fact.template))
    }

    /// A batch in its smallest form.
    pub(super) fn facts(&self, batch: stream::Batch) -> Facts {
        let facts = batch.events.iter().filter_map(|event| self.fact(event)).collect();
        Facts { facts, body: batch.body }
    }

    fn fact(&self, event: &Event) -> Option<Fact> {
        let number = |number| self.number_of.get(number).copied();
        let halves = |hash: [u8; 16]| {
            let (halves, _) = hash.as_chunks();
            let half = |index: usize| halves.get(index).map_or(0, |it| u64::from_le_bytes(*it));
            [half(0), half(1)]
        };
        match event {
            Event::Message(it) => {
                let claimed = it.claim.as_ref().and_then(|claim| claim.template.as_ref());
                let template = claimed.and_then(|it| self.template_of.get(&it.code).copied());
                Some(Fact {
                    id: halves(it.message.0),
                    time: it.time,
                    number: number(&it.number)?,
                    template: template.unwrap_or(NO_TEMPLATE),
                    what: it.status? as u8,
                })
            }
            Event::Tap(it) => Some(Fact {
                id: halves(it.id.0),
                time: it.time,
                number: number(&it.number)?,
                template: NO_TEMPLATE,
                what: TAP,
            }),
            Event::OptIn { .. } | Event::Category(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_is_fed_the_same_and_about_as_much_as_was_asked_for() {
        for (hostile, in_memory) in [(false, false), (true, true)] {
            let spec = Spec { hostile, in_memory, ..Spec::mixed(15_000) };
            let names = Names::of(&spec);
            let facts = Feed::start(&spec, move |batch| names.facts(batch), None).unwrap();
            let whole = Feed::start(&spec, |batch| batch, Some(stream::Batch::clone)).unwrap();
            let (mut events, mut bytes) = ([0; 2], [0; 2]);
            while let Some(pulse) = facts.next() {
                for it in pulse.batches {
                    events[0] += it.facts.len();
                    bytes[0] += it.body.len();
                }
            }
            while let Some(pulse) = whole.next() {
                assert_eq!(pulse.batches, pulse.spares);
                for it in &pulse.batches {
                    events[1] += it.events.len();
                    bytes[1] += it.body.len();
                }
                whole.done(pulse.spares);
            }
            assert_eq!((events[0], bytes[0]), (events[1], bytes[1]));
            assert!((13_000..17_000).contains(&events[0]), "{events:?}");
            assert!(facts.end().unwrap() > 0.0 && whole.end().unwrap() > 0.0);
        }
    }
}

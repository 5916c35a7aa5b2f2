//! Everything a request needs, in one value: made once at start, shared by all.

use std::sync::Arc;
use std::time::Duration;

use twoticks_core::clock::Clock;
use twoticks_store::cursors::Cursors;
use twoticks_store::directory::Directory;
use twoticks_store::error::Error;
use twoticks_store::figures::Figures;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::{Batch, Ledger, Receipt};
use twoticks_store::outbox::Outbox;

use crate::access::Gate;
use crate::carrier::Carrier;
use crate::graph::figures::Reader;
use crate::ingest::InFlight;
use crate::links::Clicks;
use crate::pass_on::PassOn;
use crate::rehearsal::Rehearsal;
use crate::sending::Dispatcher;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::ui::Desk;

/// After which time [`App::insist`] tries again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The server's surroundings and its own moving parts.
pub struct App {
    /// What can be set.
    pub settings: Settings,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The present of callers: requests are signed, sessions end and rates are counted by it. The
    /// same as `clock`, unless that one is being turned.
    pub callers_clock: Arc<dyn Clock>,
    /// The key file: seals, and hashes of recipients and messages.
    pub keys: Arc<Keys>,
    /// Messages and totals.
    pub ledger: Arc<dyn Ledger>,
    /// Accounts, keys, policies, channels, numbers, templates.
    pub directory: Arc<dyn Directory>,
    /// Where WhatsApp is for channels that are not connected with it.
    pub carrier: Arc<dyn Carrier>,
    /// What is on its way to WhatsApp for those that are.
    pub dispatcher: Dispatcher,
    /// What WhatsApp counts by itself.
    pub figures: Reader,
    /// What is passed on of what WhatsApp tells.
    pub pass_on: PassOn,
    /// Links that were opened and are not counted yet.
    pub clicks: Clicks,
    /// Nonces, throttles and calls in flight.
    pub gate: Gate,
    /// How many webhooks are being taken in.
    pub webhooks: InFlight,
    /// The operator's counters.
    pub telemetry: Telemetry,
    /// Connections and background work.
    pub tasks: Tasks,
    /// What is being done to channels from the page that sets them up.
    pub setup: Arc<Desk>,
    /// What stands around a demo or an emulator; around a real server nothing does.
    pub rehearsal: Option<Arc<dyn Rehearsal>>,
}

/// What an [`App`] is made from.
pub struct Surroundings {
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The key file.
    pub keys: Arc<Keys>,
    /// Messages and totals.
    pub ledger: Arc<dyn Ledger>,
    /// Accounts, keys, policies, channels, numbers, templates.
    pub directory: Arc<dyn Directory>,
    /// Where WhatsApp is.
    pub carrier: Arc<dyn Carrier>,
}

impl App {
    /// A server that has not begun to serve: see [`crate::run::serve`].
    #[must_use]
    pub fn new(settings: Settings, surroundings: Surroundings) -> Self {
        let Surroundings { clock, keys, ledger, directory, carrier } = surroundings;
        let in_flight_max = usize::try_from(settings.limits.in_flight_max).unwrap_or(usize::MAX);
        let pass_on = PassOn::new(&settings.outside, Cursors::in_memory());
        Self {
            settings,
            callers_clock: Arc::clone(&clock),
            clock,
            keys,
            ledger,
            directory,
            carrier,
            dispatcher: Dispatcher::new(Arc::new(Outbox::in_memory())),
            figures: Reader::new(Figures::in_memory()),
            pass_on,
            clicks: Clicks::default(),
            gate: Gate::new(in_flight_max),
            webhooks: InFlight::default(),
            telemetry: Telemetry::default(),
            tasks: Tasks::default(),
            setup: Arc::default(),
            rehearsal: None,
        }
    }

    /// The same, with what waits to be sent kept in `outbox`.
    #[must_use]
    pub fn keeping(self, outbox: Outbox) -> Self {
        Self { dispatcher: Dispatcher::new(Arc::new(outbox)), ..self }
    }

    /// The same, with what WhatsApp counts by itself kept in `figures`.
    #[must_use]
    pub fn comparing(self, figures: Figures) -> Self {
        Self { figures: Reader::new(figures), ..self }
    }

    /// The same, with how far what is passed on has come kept in `cursors`.
    #[must_use]
    pub fn passing_on(self, cursors: Cursors) -> Self {
        Self { pass_on: PassOn::new(&self.settings.outside, cursors), ..self }
    }

    /// Records a batch that nobody will bring a second time: while the ledger is busy it waits, at
    /// most for `patience`.
    ///
    /// # Errors
    /// As [`Ledger::record`]'s; nothing of the batch was kept.
    pub async fn insist(&self, batch: Batch, patience: Duration) -> Result<Receipt, Error> {
        let mut waited = Duration::ZERO;
        loop {
            match self.ledger.record(batch.clone()).await {
                Err(Error::Busy { .. }) if waited < patience => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    waited += BUSY_PAUSE;
                }
                done => return done,
            }
        }
    }
}

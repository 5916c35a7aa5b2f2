//! The operator's counters: `/metrics` in OpenMetrics, `/health/live`, `/health/ready`.
//!
//! To add a series, add a line to [`SERIES`] and a field that is registered under its name; the
//! reference page and the test over all series read the list. What always holds: labels come from
//! bounded sets (operations, codes, doors), never from what a caller wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use twoticks_core::ids::ChannelId;
use twoticks_store::ledger::Counters;

use crate::app::App;

/// A series, for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Its name, as `/metrics` shows it, without `_total` and the like.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts, as a sentence.
    pub help: &'static str,
}

const fn series(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Series {
    Series { name, kind, labels, help }
}

/// Every series, in the order of the reference page.
pub const SERIES: &[Series] = &[
    series(
        "twoticks_calls",
        "counter",
        &["operation", "code"],
        "Calls answered at the CAMS door, by operation (`none` if there is none of that name).",
    ),
    series(
        "twoticks_call_seconds",
        "histogram",
        &["operation"],
        "How long calls took, the body's arrival included.",
    ),
    series(
        "twoticks_webhooks",
        "counter",
        &["door", "outcome"],
        "Webhooks, by door and by `taken` or the reason of the refusal.",
    ),
    series(
        "twoticks_webhook_parts",
        "counter",
        &["door", "part"],
        "What taken webhooks had in them: events, dead parts, parts with nothing to count, \
         parts of unknown kinds, parts understood partly.",
    ),
    series(
        "twoticks_pass_on",
        "counter",
        &["form", "outcome"],
        "Posts to destinations, by form (`status`, `inbound`, `webhooks`) and by `taken`, `failed` (each \
         try), `given_up` and `skipped` (entries that the journal does not have any more, that are \
         damaged there, or that went with their destination).",
    ),
    series(
        "twoticks_pass_on_waiting",
        "gauge",
        &["channel"],
        "Entries that wait to be passed on, by channel; `*` is all beyond the first 100 channels.",
    ),
    series(
        "twoticks_links",
        "counter",
        &["outcome"],
        "Links of templates that were asked for: `person` and `machine` were led on, `unknown` were \
         not ours, `repeated` were led on too often in a minute to be counted, `lost` were led on \
         and could not be counted.",
    ),
    series("twoticks_panics", "counter", &[], "Requests that ended in a panic; each is a bug."),
    series("twoticks_timeouts", "counter", &[], "Requests that took longer than they may."),
    series("twoticks_connections", "gauge", &[], "Connections that are open."),
    series("twoticks_calls_in_flight", "gauge", &[], "Calls that are being answered."),
    series("twoticks_entries", "counter", &[], "Journal entries folded since the start."),
    series("twoticks_events", "counter", &[], "Events folded since the start."),
    series("twoticks_duplicates", "counter", &[], "Events that said nothing new."),
    series(
        "twoticks_out_of_order",
        "counter",
        &[],
        "Statuses that came after a later one, or with an earlier time than told before.",
    ),
    series("twoticks_late", "counter", &[], "Statuses of messages whose state had been dropped."),
    series(
        "twoticks_implied",
        "counter",
        &[],
        "Statuses that made another one count that nobody told.",
    ),
    series(
        "twoticks_unattributed",
        "counter",
        &[],
        "Statuses whose message's template was not known when they came.",
    ),
    series(
        "twoticks_dead_letters",
        "counter",
        &[],
        "Parts of webhooks that could not be counted and are kept for replay.",
    ),
    series(
        "twoticks_overflows",
        "counter",
        &[],
        "Changes left out because a sum would have left its range; somebody has to look.",
    ),
];

/// The buckets of durations, in seconds; a call has to be answered within 3.
const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

/// The operation of a call that names none that is known.
pub const NO_OPERATION: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    door: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Passed {
    form: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfChannel {
    channel: String,
}

/// How many channels have a label of their own.
const CHANNELS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    door: &'static str,
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    outcome: &'static str,
}

type Durations = Family<Operation, Histogram, fn() -> Histogram>;

/// The counters of one server.
pub struct Telemetry {
    registry: Registry,
    calls: Family<Call, Counter>,
    call_seconds: Durations,
    webhooks: Family<Webhook, Counter>,
    webhook_parts: Family<Part, Counter>,
    passed_on: Family<Passed, Counter>,
    waiting: Family<OfChannel, Gauge>,
    links: Family<Link, Counter>,
    panics: Counter,
    timeouts: Counter,
    connections: Gauge,
    calls_in_flight: Gauge,
}

/// What is counted as long as it is held.
pub struct Held(Gauge);

impl Held {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::default();
        let calls = Family::default();
        let durations: fn() -> Histogram = || Histogram::new(SECONDS);
        let call_seconds = Durations::new_with_constructor(durations);
        let webhooks = Family::default();
        let webhook_parts = Family::default();
        let (passed_on, waiting) = (Family::default(), Family::default());
        let links = Family::default();
        let (panics, timeouts) = (Counter::default(), Counter::default());
        let (connections, calls_in_flight) = (Gauge::default(), Gauge::default());
        registry.register("twoticks_calls", help("twoticks_calls"), calls.clone());
        registry.register(
            "twoticks_call_seconds",
            help("twoticks_call_seconds"),
            call_seconds.clone(),
        );
        registry.register("twoticks_webhooks", help("twoticks_webhooks"), webhooks.clone());
        registry.register(
            "twoticks_webhook_parts",
            help("twoticks_webhook_parts"),
            webhook_parts.clone(),
        );
        registry.register("twoticks_pass_on", help("twoticks_pass_on"), passed_on.clone());
        registry.register(
            "twoticks_pass_on_waiting",
            help("twoticks_pass_on_waiting"),
            waiting.clone(),
        );
        registry.register("twoticks_links", help("twoticks_links"), links.clone());
        registry.register("twoticks_panics", help("twoticks_panics"), panics.clone());
        registry.register("twoticks_timeouts", help("twoticks_timeouts"), timeouts.clone());
        registry.register(
            "twoticks_connections",
            help("twoticks_connections"),
            connections.clone(),
        );
        registry.register(
            "twoticks_calls_in_flight",
            help("twoticks_calls_in_flight"),
            calls_in_flight.clone(),
        );
        Self {
            registry,
            calls,
            call_seconds,
            webhooks,
            webhook_parts,
            passed_on,
            waiting,
            links,
            panics,
            timeouts,
            connections,
            calls_in_flight,
        }
    }
}

/// The help of a series; the encoder adds the full stop.
fn help(name: &str) -> &'static str {
    let known = SERIES.iter().find(|series| series.name == name);
    known.map_or("", |series| series.help.trim_end_matches('.'))
}

impl Telemetry {
    /// A call was answered.
    pub fn call(&self, operation: &'static str, code: &str, seconds: f64) {
        let labels = Call { operation, code: code.to_owned() };
        self.calls.get_or_create(&labels).inc();
        self.call_seconds.get_or_create(&Operation { operation }).observe(seconds);
    }

    /// A webhook was taken in.
    pub fn webhook_taken(&self, door: &'static str) {
        self.webhooks.get_or_create(&Webhook { door, outcome: "taken" }).inc();
    }

    /// A webhook was refused.
    pub fn webhook_refused(&self, door: &'static str, outcome: &'static str) {
        self.webhooks.get_or_create(&Webhook { door, outcome }).inc();
    }

    /// How many webhooks were refused since the start because their signature fits no secret.
    #[must_use]
    pub fn signatures_refused(&self) -> u64 {
        self.webhooks.get_or_create(&Webhook { door: "whatsapp", outcome: "signature" }).get()
    }

    /// A webhook was understood: so many events, dead parts, parts with nothing to count, parts
    /// of unknown kinds, parts understood partly.
    pub fn webhook_translated(&self, door: &'static str, parts: [usize; 5]) {
        let names = ["event", "dead", "nothing", "unknown", "partly"];
        for (part, count) in names.into_iter().zip(parts) {
            if count > 0 {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                self.webhook_parts.get_or_create(&Part { door, part }).inc_by(count);
            }
        }
    }

    /// Posts ended.
    pub fn passed_on(&self, form: &'static str, outcome: &'static str, count: u64) {
        self.passed_on.get_or_create(&Passed { form, outcome }).inc_by(count);
    }

    /// So many entries wait to be passed on, by channel.
    pub fn waiting_to_pass_on(&self, waiting: impl IntoIterator<Item = (ChannelId, u64)>) {
        let mut by_channel: BTreeMap<String, u64> = BTreeMap::new();
        for (channel, count) in waiting {
            let is_known = by_channel.contains_key(channel.as_str());
            let is_own = is_known || by_channel.len() < CHANNELS_MAX;
            let channel = if is_own { channel.as_str() } else { "*" };
            *by_channel.entry(channel.to_owned()).or_default() += count;
        }
        self.waiting.clear();
        for (channel, count) in by_channel {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.waiting.get_or_create(&OfChannel { channel }).set(count);
        }
    }

    /// Links were asked for.
    pub fn links(&self, outcome: &'static str, count: u64) {
        self.links.get_or_create(&Link { outcome }).inc_by(count);
    }

    /// How many links had this outcome.
    #[must_use]
    pub fn links_with(&self, outcome: &'static str) -> u64 {
        self.links.get_or_create(&Link { outcome }).get()
    }

    /// A request panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A request took longer than it may.
    pub fn timed_out(&self) {
        self.timeouts.inc();
    }

    /// A connection is open as long as this is held.
    pub fn connection(&self) -> Held {
        Held::of(&self.connections)
    }

    /// A call is being answered as long as this is held.
    pub fn call_in_flight(&self) -> Held {
        Held::of(&self.calls_in_flight)
    }

    /// How many calls are being answered.
    pub fn calls_in_flight(&self) -> i64 {
        self.calls_in_flight.get()
    }

    /// How many requests panicked.
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Everything in the text format of OpenMetrics.
    #[must_use]
    pub fn render(&self, ledger: Counters) -> String {
        let Counters {
            entries,
            events,
            duplicates,
            out_of_order,
            late,
            implied,
            unattributed,
            dead,
            overflows,
        } = ledger;
        let mut folded = Registry::default();
        for (name, value) in [
            ("twoticks_entries", entries),
            ("twoticks_events", events),
            ("twoticks_duplicates", duplicates),
            ("twoticks_out_of_order", out_of_order),
            ("twoticks_late", late),
            ("twoticks_implied", implied),
            ("twoticks_unattributed", unattributed),
            ("twoticks_dead_letters", dead),
            ("twoticks_overflows", overflows),
        ] {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            folded.register(name, help(name), counter);
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &folded))
            .and_then(|()| encode_eof(&mut text))
            .expect("writing to a `String` never fails");
        text
    }
}

/// The routes for the operator.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let stands = app.pass_on.stands(&app).into_iter();
    let waiting = stands.map(|stand| (stand.to.channel.clone(), stand.open + stand.behind));
    app.telemetry.waiting_to_pass_on(waiting);
    ([(header::CONTENT_TYPE, kind)], app.telemetry.render(app.ledger.counters())).into_response()
}

/// Ready means that the ledger answers.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let channel = ChannelId::new("health").expect("six letters make a channel id");
    match app.ledger.channel(&channel).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::error!(health.cause = %error, "not ready: the ledger does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer\n").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_shown_under_its_name_and_says_what_it_counts() {
        let telemetry = Telemetry::default();
        telemetry.call("SendChatappMessage", "OK", 0.002);
        telemetry.webhook_taken("whatsapp");
        telemetry.passed_on("status", "taken", 1);
        let channel = |index: usize| ChannelId::new(&format!("cams-{index}")).unwrap();
        telemetry.waiting_to_pass_on((0..=CHANNELS_MAX + 1).map(|index| (channel(index), 1)));
        telemetry.webhook_refused("cams", "path");
        telemetry.webhook_translated("whatsapp", [3, 0, 1, 0, 0]);
        telemetry.links("person", 1);
        let text = telemetry.render(Counters { events: 7, ..Counters::default() });
        for series in SERIES {
            let line = format!("# TYPE {} {}\n", series.name, series.kind);
            assert!(text.contains(&line), "{} is not shown", series.name);
            assert!(series.help.ends_with('.') && series.help.len() > 10, "{}", series.name);
        }
        assert_eq!(text.matches("# TYPE").count(), SERIES.len());
        assert!(text.contains("twoticks_events_total 7\n"), "{text}");
        assert!(
            text.contains(r#"twoticks_calls_total{operation="SendChatappMessage",code="OK"} 1"#)
        );
        assert!(text.contains(r#"twoticks_webhook_parts_total{door="whatsapp",part="event"} 3"#));
        assert_eq!(text.matches("twoticks_pass_on_waiting{").count(), CHANNELS_MAX + 1);
        assert!(text.contains("twoticks_pass_on_waiting{channel=\"*\"} 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_held_is_given_back() {
        let telemetry = Telemetry::default();
        let held = telemetry.call_in_flight();
        assert_eq!(telemetry.calls_in_flight(), 1);
        drop(held);
        assert_eq!(telemetry.calls_in_flight(), 0);
    }
}

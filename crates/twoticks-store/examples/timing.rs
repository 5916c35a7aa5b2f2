//! How fast the embedded ledger takes statuses, and what it keeps of them.
//!
//! `cargo run --release -p twoticks-store --example timing -- [EVENTS] [BODY_BYTES_PER_EVENT]`
//! records statuses of messages (sent, delivered, read, a tenth of them told twice) in batches of
//! 1 to 1,000 with 16 in flight, in a temporary folder, and prints what it took.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it measures and prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, Source, Status};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::Atom;
use twoticks_core::window::Window;
use twoticks_store::backup::take::{Request, take};
use twoticks_store::embedded::Embedded;
use twoticks_store::error::Error as StoreError;
use twoticks_store::keys::{HashOf, Keys};
use twoticks_store::ledger::{Batch, Kind, Ledger};
use twoticks_store::verify::verify;

const IN_FLIGHT: usize = 16;
const START: i64 = 1_790_000_000_000;
/// How many messages are sent while one is on its way to being read.
const SPREAD: u64 = 5_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let events: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let body: usize = args.next().map_or(Ok(0), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let keys = Arc::new(Keys::from_bytes([1; 32]));
    let ledger = Arc::new(Embedded::open(folder.path(), Arc::clone(&keys))?);
    let batches = batches(events, body, &keys)?;
    let (cpu, written, start) = (cpu_seconds()?, written_bytes()?, Instant::now());
    let next = Arc::new(std::sync::Mutex::new(batches.into_iter()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
        tasks.spawn(async move {
            let mut waits = Vec::new();
            let mut busy = 0_u64;
            loop {
                let batch = next.lock().ok().and_then(|mut next| next.next());
                let Some(batch) = batch else { return Ok((waits, busy)) };
                let began = Instant::now();
                loop {
                    match ledger.record(batch.clone()).await {
                        Ok(_) => break,
                        Err(StoreError::Busy { .. }) => busy += 1,
                        Err(error) => return Err(error),
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
                }
                waits.push(began.elapsed());
            }
        });
    }
    let (mut waits, mut busy) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (waited, was_busy) = ended??;
        waits.extend(waited);
        busy += was_busy;
    }
    ask(&ledger).await?;
    let wall = start.elapsed().as_secs_f64();
    ledger.digest().await?;
    let per_event = |value: f64| value / events as f64;
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    println!("events/s           {:>10.0}", events as f64 / wall);
    println!("µs CPU/event       {:>10.2}", per_event((cpu_seconds()? - cpu) * 1e6));
    println!("bytes written/event{:>10.0}", per_event((written_bytes()? - written) as f64));
    println!("acknowledged in    {:>10.2?} p50, {:.2?} p99, busy {busy}", at(50), at(99));
    let began = Instant::now();
    let points = ask(&ledger).await?;
    println!("one template       {:>10.2?} for {points} points", began.elapsed());
    let scratch = tempfile::tempdir()?;
    let began = Instant::now();
    let verdict = verify(&*ledger, scratch.path(), Arc::new(|_, _| {})).await?;
    let took = began.elapsed().as_secs_f64();
    println!("verified/s         {:>10.0}, equal {}", events as f64 / took, verdict.equal);
    let backup = tempfile::tempdir()?;
    for (what, fresh) in [("backed up anew in", true), ("and again in", false)] {
        let request = Request {
            to: backup.path().to_owned(),
            beside: vec![],
            key: None,
            fresh,
            program: "timing".to_owned(),
        };
        let kept = ledger.kept().ok_or("a ledger in a folder")?;
        let began = Instant::now();
        take(kept, request, Arc::default()).await?;
        println!("{what:18} {:>10.2?}", began.elapsed());
    }
    drop(ledger);
    for part in ["journal", "ledger", "snapshots"] {
        let kept = kept_bytes(&folder.path().join(part))?;
        println!("{part:9} keeps/event{:>8.1}", per_event(kept as f64));
    }
    let began = Instant::now();
    Embedded::open(folder.path(), keys)?;
    println!("opened again in    {:>10.2?}", began.elapsed());
    Ok(())
}

fn batches(events: u64, body: usize, keys: &Keys) -> Result<Vec<Batch>, Box<dyn Error>> {
    let channel = ChannelId::new("cams-8c8a1234")?;
    let numbers = ["15550001", "15550002", "15550003"].map(PhoneNumber::new);
    let [one, two, three] = numbers;
    let numbers = [one?, two?, three?];
    let language = Text::new("en_US")?;
    let codes: Vec<Text> =
        (0..20).map(|n| Text::new(&format!("10012345678{n}"))).collect::<Result<_, _>>()?;
    let event = |message: u64, status: Status| {
        let pick = usize::try_from(message % 60).unwrap_or(0);
        let template = codes.get(pick % 20).cloned();
        let template = template.map(|code| Template { code, language: language.clone() });
        let claim = Claim { source: Source::Sign, template, campaign: None };
        Event::Message(MessageEvent {
            channel: channel.clone(),
            number: numbers.get(pick % 3).unwrap_or(&numbers[0]).clone(),
            message: keys.hash(HashOf::Message, &channel, &message.to_le_bytes()),
            participant: vec![],
            time: Time(START + i64::try_from(message).unwrap_or(0) * 20 + status as i64 * 4_000),
            status: Some(status),
            error: None,
            pricing: None,
            claim: Some(claim.into()),
        })
    };
    let mut told = (0_u64..).flat_map(|n| {
        let mut now = vec![event(n, Status::Sent)];
        now.extend(n.checked_sub(SPREAD / 5).map(|n| event(n, Status::Delivered)));
        now.extend(n.checked_sub(SPREAD).map(|n| event(n, Status::Read)));
        if n % 4 == 0 {
            now.extend(now.first().cloned());
        }
        now
    });
    let (mut random, mut left, mut batches) = (88_172_645_463_325_252_u64, events, Vec::new());
    while left > 0 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let count = (1 + random % 1_000).min(left);
        left -= count;
        let events: Vec<Event> = told.by_ref().take(usize::try_from(count)?).collect();
        batches.push(Batch {
            kind: Kind::Webhook,
            accepted: Time(START + 86_400_000),
            origin: "/webhooks/whatsapp".to_owned(),
            channel: None,
            group: None,
            body: json(&events, body),
            events,
            dead: vec![],
            resolves: None,
        });
    }
    Ok(batches)
}

/// Something of the size and the kind of a webhook.
fn json(events: &[Event], bytes_per_event: usize) -> Vec<u8> {
    let mut body = String::new();
    for event in events.iter().filter(|_| bytes_per_event > 0) {
        let mut one = format!("{{\"status\":{event:?},\"x\":\"");
        while one.len() < bytes_per_event {
            one.push_str("conversation origin pricing_model ");
        }
        one.truncate(bytes_per_event);
        body.push_str(&one);
    }
    body.into_bytes()
}

async fn ask(ledger: &Embedded) -> Result<usize, Box<dyn Error>> {
    let from = Atom::of(Time(START));
    let windows = (0..90)
        .map(|day| Window { from: Atom(from.0 + day * 96), to: Atom(from.0 + (day + 1) * 96) });
    let code = Some(Text::new("100123456787")?);
    let select = Select::Templates { code, language: None, category: None };
    let channel = ChannelId::new("cams-8c8a1234")?;
    let query = Query { channel, select, side: None, windows: windows.collect() };
    Ok(ledger.series(query).await?.len())
}

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    // A tick is a hundredth of a second everywhere on Linux.
    Ok(fields.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum::<f64>() / 100.0)
}

fn written_bytes() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(written.unwrap_or("0").parse()?)
}

/// What the files in `folder` take on the disk.
fn kept_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    use std::os::unix::fs::MetadataExt;
    let mut kept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        kept +=
            if metadata.is_dir() { kept_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(kept)
}

//! How fast the stream is: events and bodies a second, on one core.
//!
//! `cargo run --release -p twoticks-emulator --example rate [MESSAGES]`

#![expect(clippy::print_stdout, reason = "it says how fast")]

use std::time::Instant;

use twoticks_emulator::stream::{Plan, bodies, events};

fn main() {
    let messages = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    for (name, plan) in
        [("life-like", Plan::life_like(messages)), ("hostile", Plan::hostile(messages))]
    {
        let begun = Instant::now();
        let count = events(42, &plan).count();
        say(name, "events", count, begun, "");
    }
    for size in [(1, 1), (100, 100), (1, 1_000)] {
        let begun = Instant::now();
        let (mut updates, mut bytes, mut all) = (0, 0, 0);
        for body in bodies(42, &Plan::life_like(messages), size) {
            updates += body.updates;
            bytes += body.bytes.len();
            all += 1;
        }
        let more = format!(", {all} bodies of {} to {}, {bytes} bytes", size.0, size.1);
        say("life-like", "updates in bodies", updates, begun, &more);
    }
}

fn say(name: &str, what: &str, count: usize, begun: Instant, more: &str) {
    let nanoseconds = begun.elapsed().as_nanos();
    let each = nanoseconds / count.max(1) as u128;
    let rate = count as u128 * 1_000_000_000 / nanoseconds.max(1);
    println!("{name}: {count} {what}, {rate} a second, {each} ns each{more}");
}

//! `docs/emulator.md` says what is assumed; `UPDATE=1` rewrites its tables from the code.

use std::fmt::Write as _;
use std::path::Path;

use twoticks_core::clock::SECOND;
use twoticks_emulator::chaos::Profile;
use twoticks_emulator::graph::Fault;
use twoticks_emulator::habits::{DELAYS, ELSEWHERE, FAILURES, MARKETS, Market};

fn markets() -> String {
    let mut rows = String::new();
    for market in MARKETS.iter().chain([&ELSEWHERE]) {
        let Market {
            country,
            calling,
            offset_minutes,
            unreachable,
            receipts_off,
            read: [marketing, utility, authentication, service],
            tapped: [by_marketing, by_other],
            marketing_micros,
        } = market;
        let hours = offset_minutes / 60;
        let half = if offset_minutes % 60 == 0 { "" } else { ":30" };
        writeln!(
            rows,
            "| {} | {} | {hours:+}{half} | {unreachable} | {receipts_off} | {marketing} | {utility} | \
             {authentication} | {service} | {by_marketing} | {by_other} | {}.{:04} USD |",
            if *country == "XX" { "elsewhere" } else { country },
            if calling.is_empty() { "any other" } else { calling },
            marketing_micros / 1_000_000,
            marketing_micros % 1_000_000 / 100,
        )
        .unwrap();
    }
    rows
}

fn while_of(milliseconds: i64) -> String {
    let seconds = milliseconds / SECOND;
    match seconds {
        0..=1 => format!("{milliseconds} ms"),
        2..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn delays() -> String {
    let row = |(name, delay): &(&str, twoticks_emulator::habits::Delay)| {
        let shares = [5_000, 9_000, 9_900, 10_000].map(|share| while_of(delay.quantile(share)));
        format!("| {name} | {} |\n", shares.join(" | "))
    };
    DELAYS.iter().map(row).collect()
}

fn failures() -> String {
    let row = |it: &twoticks_emulator::habits::Failure| {
        let [marketing, other] = it.share.map(|share| match share {
            0 if it.code == 131_026 => "by market".to_owned(),
            0 => "-".to_owned(),
            share => share.to_string(),
        });
        format!("| {} | {} | {marketing} | {other} |\n", it.code, it.title)
    };
    FAILURES.iter().map(row).collect()
}

fn profiles() -> String {
    Profile::ALL.iter().map(|it| format!("| `{}` | {} |\n", it.as_str(), it.help())).collect()
}

fn faults() -> String {
    Fault::ALL.iter().map(|it| format!("| `{}` | {} |\n", it.as_str(), it.help())).collect()
}

/// The page with the rows of its tables in their places, each between a marker and the end.
fn written(page: &str) -> String {
    let mut page = page.to_owned();
    for (marker, rows) in [
        ("<!-- habits:markets -->", markets()),
        ("<!-- habits:delays -->", delays()),
        ("<!-- habits:failures -->", failures()),
        ("<!-- chaos:profiles -->", profiles()),
        ("<!-- graph:faults -->", faults()),
    ] {
        let begin = page.find(marker).unwrap();
        let head = page[begin..].match_indices('\n').nth(2).unwrap().0 + begin + 1;
        let end = page[head..].find("<!-- ").unwrap() + head;
        page.replace_range(head..end, &rows);
    }
    page
}

#[test]
fn the_page_of_the_emulator_says_what_is_assumed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/emulator.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let written = written(&page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &written).unwrap();
    } else {
        assert!(page == written, "docs/emulator.md is not up to date; run with UPDATE=1");
    }
}

//! Data out: what is written adds up to what is counted, in every format, and names nobody.

mod sums;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use twoticks_core::clock::{DAY, Time};
use twoticks_core::event::Status;
use twoticks_core::message::STATE_KEPT;
use twoticks_server::control::export::format::Format;
use twoticks_server::control::export::span::By;
use twoticks_server::control::export::{Request, What, manifest_of};
use twoticks_server::control::{Command, ControlError, execute, socket};

use self::sums::{expected, exported};
use self::world::{START, filled};
use crate::ingest::harness::{NOW, Server, body, channel, status, uid};

/// A folder to export into.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn request(&self, what: What, name: &str) -> Request {
        let file = self.path(name);
        Request {
            what,
            channels: vec![],
            account: None,
            from: None,
            until: None,
            format: None,
            manifest: Some(manifest_of(&file)),
            file,
            overwrite: false,
            invented: None,
        }
    }
}

fn totals(by: By, zone: Option<&str>) -> What {
    What::Totals { by, zone: zone.map(str::to_owned) }
}

async fn export(server: &Server, request: Request) -> Result<Value, ControlError> {
    execute(&server.app, Command::Export(request)).await
}

fn ndjson(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn totals_add_up_to_what_the_series_answers_in_every_zone() {
    let ends = |from: i64, until: i64| (START.plus(from), START.plus(until));
    for seed in [1, 2] {
        let server = filled(seed).await;
        let desk = Desk::new();
        for (index, (zone, by)) in [
            ("UTC", By::Atom),
            ("UTC", By::HalfHour),
            ("UTC", By::Day),
            ("Asia/Kathmandu", By::HalfHour),
            ("Asia/Kathmandu", By::Day),
            ("Europe/Berlin", By::HalfHour),
            ("Europe/Berlin", By::Day),
            ("America/St_Johns", By::Day),
        ]
        .into_iter()
        .enumerate()
        {
            for (part, span) in
                [ends(-DAY, 6 * DAY), ends(DAY + 1, 3 * DAY - 7), ends(2 * DAY, 2 * DAY + 1)]
                    .into_iter()
                    .enumerate()
            {
                let name = format!("{index}-{part}.ndjson");
                let mut request = desk.request(totals(by, Some(zone)), &name);
                (request.from, request.until) =
                    (Some(span.0.0.to_string()), Some(span.1.0.to_string()));
                let answer = export(&server, request).await.unwrap();
                let rows = ndjson(&desk.path(&name));
                assert_eq!(answer["rows"], rows.len());
                let expected = expected(&server, span, by, zone).await;
                assert!(part == 2 || !expected.is_empty());
                assert_eq!(exported(&rows), expected, "{zone} {by:?} {span:?}");
            }
        }
        // Without a span it is all there is.
        export(&server, desk.request(totals(By::Day, None), "all.ndjson")).await.unwrap();
        let all = expected(&server, ends(-DAY, 6 * DAY), By::Day, "UTC").await;
        assert_eq!(exported(&ndjson(&desk.path("all.ndjson"))), all);
    }
}

#[tokio::test]
async fn a_day_of_25_hours_is_one_row_and_is_shown_in_its_zone() {
    let server = filled(3).await;
    let desk = Desk::new();
    let request = desk.request(totals(By::Day, Some("Europe/Berlin")), "x.ndjson");
    export(&server, request).await.unwrap();
    let rows = ndjson(&desk.path("x.ndjson"));
    let long = rows.iter().find(|row| row["start_local"] == "2026-10-25T00:00:00+02:00").unwrap();
    assert_eq!(long["end_local"], "2026-10-26T00:00:00+01:00");
    assert_eq!(long["start_utc"], "2026-10-24T22:00:00.000Z");
    let hours = (long["end_ms"].as_i64().unwrap() - long["start_ms"].as_i64().unwrap()) / 3_600_000;
    assert_eq!(hours, 25);
    export(&server, desk.request(totals(By::Day, None), "utc.ndjson")).await.unwrap();
    assert!(ndjson(&desk.path("utc.ndjson"))[0].get("start_local").is_none());
}

#[tokio::test]
async fn messages_add_up_to_the_totals_and_name_nobody() {
    let server = filled(4).await;
    let desk = Desk::new();
    export(&server, desk.request(What::Messages, "m.ndjson")).await.unwrap();
    let rows = ndjson(&desk.path("m.ndjson"));
    let mut found: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for row in &rows {
        let word = |name: &str| row[name].as_str().unwrap().to_owned();
        let counted = found.entry((word("channel"), word("side"))).or_insert_with(|| vec![0; 6]);
        for (count, status) in counted.iter_mut().zip(Status::ALL) {
            *count += i64::from(!row[format!("{}_counted", status.as_str())].is_null());
        }
        assert_eq!(word("message").len(), 32);
    }
    let all = (START.plus(-DAY), START.plus(6 * DAY));
    let mut wanted: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for ((channel, whose, side, ..), (counts, _)) in expected(&server, all, By::Day, "UTC").await {
        if whose.starts_with("1555") {
            let sums = wanted.entry((channel, side)).or_insert_with(|| vec![0; 6]);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    assert_eq!(found, wanted);
    let groups = rows.iter().filter(|row| row["participant"].is_i64()).count();
    assert!(groups > 10 && groups < rows.len());
    let taps: i64 = rows.iter().map(|row| row["taps"].as_i64().unwrap()).sum();
    assert!(taps > 10);

    // A webhook with a name, a number and a wamid: none of them comes out again.
    let body = body("a", "statuses", &[status("wamid.SECRET", "sent")]);
    server.clock.set(NOW);
    server.tell("shared-secret", &body).await;
    for (what, name) in
        [(What::Messages, "m.csv"), (What::Events, "e.csv"), (totals(By::Atom, None), "t.csv")]
    {
        export(&server, desk.request(what, name)).await.unwrap();
        let text = fs::read_to_string(desk.path(name)).unwrap();
        for secret in ["wamid.SECRET", "4915112345678", "a body that"] {
            assert!(!text.contains(secret), "{name}: {secret}");
        }
    }
}

#[tokio::test]
async fn a_state_older_than_the_horizon_is_no_message_any_more() {
    let server = filled(5).await;
    let desk = Desk::new();
    let last = server.entries().await.last().unwrap().batch.accepted;
    let rows = async |now: Time, name: &str| {
        server.clock.set(now);
        export(&server, desk.request(What::Messages, name)).await.unwrap()["rows"].clone()
    };
    assert_ne!(rows(last.plus(STATE_KEPT), "1.csv").await, 0);
    assert_eq!(rows(last.plus(STATE_KEPT + 1), "2.csv").await, 0);
}

#[tokio::test]
async fn events_are_those_of_the_journal() {
    let server = filled(6).await;
    let desk = Desk::new();
    let answer = export(&server, desk.request(What::Events, "e.ndjson")).await.unwrap();
    let entries = server.entries().await;
    assert_eq!(answer["as_of"]["position"], entries.len());
    let rows = ndjson(&desk.path("e.ndjson"));
    let places: Vec<_> = rows
        .iter()
        .map(|row| (row["position"].as_u64().unwrap(), row["index"].as_u64().unwrap()))
        .collect();
    let expected: Vec<_> = entries
        .iter()
        .flat_map(|entry| (0..entry.batch.events.len() as u64).map(|n| (entry.position, n)))
        .collect();
    assert_eq!(places, expected);
    let words: BTreeSet<_> = rows.iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(words.into_iter().collect::<Vec<_>>(), ["category", "message", "opt_in", "tap"]);
    // By acceptance, half-open, and by channel.
    let second = entries[1].batch.accepted.0;
    let mut request = desk.request(What::Events, "part.ndjson");
    (request.from, request.until) = (Some(second.to_string()), Some((second + 1).to_string()));
    request.channels = vec![channel("z")];
    export(&server, request).await.unwrap();
    let part = ndjson(&desk.path("part.ndjson"));
    assert!(!part.is_empty());
    let mut wanted = rows.clone();
    wanted.retain(|row| row["position"] == 2 && row["channel"] == "z");
    assert_eq!(part, wanted);
}

/// The rows of a Parquet file as NDJSON has them, JSON columns as text.
fn parquet_rows(path: &Path) -> Vec<Value> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        let row = row.unwrap();
        let fields = row.get_column_iter().map(|(name, field)| {
            let value = match field {
                Field::Null => Value::Null,
                Field::Long(number) => json!(number),
                Field::Str(text) => json!(text),
                Field::TimestampMillis(time) => {
                    let instant = jiff::Timestamp::from_millisecond(*time).unwrap();
                    json!(format!("{instant:.3}"))
                }
                other => unreachable!("{other:?}"),
            };
            (name.clone(), value)
        });
        fields.collect()
    })
    .collect()
}

#[tokio::test]
async fn every_format_says_the_same_and_the_manifest_says_what_it_is() {
    let server = filled(7).await;
    for what in [totals(By::HalfHour, Some("Asia/Kathmandu")), What::Messages, What::Events] {
        let desk = Desk::new();
        for name in ["x.ndjson", "x.csv", "x.parquet"] {
            let answer = export(&server, desk.request(what.clone(), name)).await.unwrap();
            let bytes = fs::read(desk.path(name)).unwrap();
            let manifest = fs::read_to_string(manifest_of(&desk.path(name))).unwrap();
            let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
            let sha256: String =
                Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(manifest["sha256"], sha256);
            assert_eq!(
                (&manifest["bytes"], &manifest["file"]),
                (&json!(bytes.len()), &json!(name))
            );
            assert_eq!(manifest["rules"], twoticks_core::RULES_VERSION);
            assert_eq!(manifest["as_of"]["position"], server.entries().await.len());
            let columns = manifest.as_object_mut().unwrap().remove("columns").unwrap();
            assert_eq!(manifest, answer);
            let columns = columns.as_array().unwrap();
            for column in columns {
                assert!(column["meaning"].as_str().unwrap().ends_with('.'), "{column}");
                let same = columns.iter().filter(|it| it["name"] == column["name"]).count();
                assert_eq!(same, 1, "{column}");
            }
        }
        let rows = ndjson(&desk.path("x.ndjson"));
        assert!(rows.len() > 100);
        let as_text: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut row = row.clone();
                for value in row.as_object_mut().unwrap().values_mut() {
                    if value.is_array() || value.is_object() {
                        *value = json!(value.to_string());
                    }
                }
                row
            })
            .collect();
        assert_eq!(parquet_rows(&desk.path("x.parquet")), as_text);
        let mut reader = csv::Reader::from_path(desk.path("x.csv")).unwrap();
        let names = reader.headers().unwrap().clone();
        assert_eq!(names.len(), rows[0].as_object().unwrap().len());
        let mut read = 0;
        for (record, row) in reader.records().zip(&as_text) {
            for (name, found) in names.iter().zip(&record.unwrap()) {
                let expected = match &row[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(found, expected, "{name}");
            }
            read += 1;
        }
        assert_eq!(read, rows.len());
    }
}

#[tokio::test]
async fn nothing_to_export_is_a_file_with_columns_and_no_rows() {
    let server = Server::new().await;
    let desk = Desk::new();
    for what in [totals(By::Day, None), What::Messages, What::Events] {
        for format in [Format::Csv, Format::Ndjson, Format::Parquet] {
            let mut request = desk.request(what.clone(), "empty");
            (request.format, request.overwrite) = (Some(format), true);
            assert_eq!(export(&server, request).await.unwrap()["rows"], 0);
            let path = desk.path("empty");
            match format {
                Format::Csv => {
                    let text = fs::read_to_string(&path).unwrap();
                    assert!(text.contains(',') && text.ends_with("\r\n"), "{text}");
                    assert_eq!(text.lines().count(), 1);
                }
                Format::Ndjson => assert_eq!(fs::read(&path).unwrap(), b""),
                Format::Parquet => {
                    let file = fs::File::open(&path).unwrap();
                    let reader = SerializedFileReader::new(file).unwrap();
                    let metadata = reader.metadata().file_metadata();
                    assert_eq!(metadata.num_rows(), 0);
                    assert!(metadata.schema_descr().num_columns() > 20);
                }
            }
        }
    }
}

#[tokio::test]
async fn channels_can_be_chosen_by_id_and_by_account() {
    let server = filled(8).await;
    let desk = Desk::new();
    let mut found = Vec::new();
    for (index, (ids, account)) in
        [(vec![], None), (vec!["a", "z"], None), (vec!["c"], None), (vec![], Some(2))]
            .into_iter()
            .enumerate()
    {
        let name = format!("{index}.ndjson");
        let mut request = desk.request(totals(By::Day, None), &name);
        request.channels = ids.into_iter().map(channel).collect();
        request.account = account.map(uid);
        export(&server, request).await.unwrap();
        let rows = ndjson(&desk.path(&name));
        let mut ids: Vec<String> =
            rows.iter().map(|row| row["channel"].as_str().unwrap().to_owned()).collect();
        ids.dedup();
        ids.sort();
        ids.dedup();
        found.push(ids.concat());
    }
    assert_eq!(found, ["abz", "az", "", "z"]);
}

/// What is changed of a request, the file's name, and what is told.
type Refused<'a> = (&'a dyn Fn(&mut Request), &'a str, &'a [&'a str]);

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_what_would_do_and_leaves_nothing() {
    let server = filled(9).await;
    let desk = Desk::new();
    fs::write(desk.path("there.csv"), "mine").unwrap();
    fs::write(desk.path("beside.csv.manifest.json"), "mine").unwrap();
    fs::create_dir(desk.path("folder.csv")).unwrap();
    let before = desk.names();
    let refused = async |change: &dyn Fn(&mut Request), name: &str| {
        let mut request = desk.request(totals(By::Day, None), name);
        change(&mut request);
        let told = export(&server, request).await.unwrap_err().to_string();
        assert_eq!(desk.names(), before, "{told}");
        told
    };
    let as_is = |_: &mut Request| ();
    let zone = |request: &mut Request| request.what = totals(By::Day, Some("Mars/Base"));
    let from = |request: &mut Request| request.from = Some("soon".to_owned());
    let until = |request: &mut Request| {
        request.from = Some("2026-10-02".to_owned());
        request.until = Some("2026-10-01".to_owned());
    };
    let strange = |request: &mut Request| request.channels = vec![channel("strange")];
    let account = |request: &mut Request| request.account = Some(uid(7));
    let changes: [Refused<'_>; 11] = [
        (&zone, "x.csv", &["`Mars/Base`", "such as `Asia/Jakarta`"]),
        (&from, "x.csv", &["`soon`", "`2026-11-01`"]),
        (&until, "x.csv", &["`2026-10-01` is not after `2026-10-02`"]),
        (&strange, "x.csv", &["no channel `strange`", "`twoticks channel list`"]),
        (&account, "x.csv", &["1000000000000007"]),
        (&as_is, "x.xlsx", &["x.xlsx`", ".parquet", "--format"]),
        (&as_is, "x", &["--format"]),
        (&as_is, "none/x.csv", &["no folder", "none`", "make it"]),
        (&as_is, "there.csv", &["there.csv`", "--overwrite"]),
        (&as_is, "beside.csv", &["beside.csv.manifest.json`", "--overwrite"]),
        (
            &|request| request.overwrite = true,
            "folder.csv",
            &["folder.csv` is there and is no file"],
        ),
    ];
    for (change, name, parts) in changes {
        let told = refused(change, name).await;
        assert!(parts.iter().all(|part| told.contains(part)), "{name}: {told}");
    }
    assert_eq!(fs::read(desk.path("there.csv")).unwrap(), b"mine");
    let mut request = desk.request(totals(By::Day, None), "there.csv");
    request.overwrite = true;
    export(&server, request).await.unwrap();
    assert_ne!(fs::read(desk.path("there.csv")).unwrap(), b"mine");
}

#[tokio::test]
async fn another_export_to_the_same_file_is_refused_and_what_a_killed_one_left_is_replaced() {
    let server = filled(10).await;
    let desk = Desk::new();
    fs::write(desk.path("x.csv.part"), "what was left").unwrap();
    let writing = fs::File::open(desk.path("x.csv.part")).unwrap();
    writing.lock().unwrap();
    let told = export(&server, desk.request(What::Events, "x.csv")).await.unwrap_err();
    assert!(told.to_string().contains("by another export"), "{told}");
    assert_eq!(fs::read(desk.path("x.csv.part")).unwrap(), b"what was left");
    drop(writing);
    export(&server, desk.request(What::Events, "x.csv")).await.unwrap();
    assert!(!fs::read_to_string(desk.path("x.csv")).unwrap().contains("what was left"));
    assert_eq!(desk.names(), ["x.csv", "x.csv.manifest.json"]);
}

#[tokio::test]
async fn an_export_of_a_server_that_stops_leaves_nothing() {
    let server = filled(11).await;
    let desk = Desk::new();
    assert_eq!(server.app.tasks.drain(std::time::Duration::ZERO).await, 0);
    let told = export(&server, desk.request(What::Messages, "x.csv")).await.unwrap_err();
    assert!(matches!(told, ControlError::Stopped), "{told}");
    assert_eq!(desk.names(), [""; 0]);
}

#[test]
fn an_export_that_nobody_waits_for_any_more_leaves_nothing() {
    let desk = Desk::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = filled(12).await;
        let held = server.ledger.hold();
        let mut work = Box::pin(export(&server, desk.request(What::Messages, "x.csv")));
        tokio::select! {
            biased;
            _ = &mut work => unreachable!("it is held"),
            // Its thread asks for the first page.
            _ = held.asked => {}
        }
        assert_eq!(desk.names(), ["x.csv.manifest.json.part", "x.csv.part"]);
        drop(work);
        held.go_on.send(()).unwrap();
    });
    // Waits for its thread.
    drop(runtime);
    assert_eq!(desk.names(), [""; 0]);
}

#[test]
fn an_export_whose_caller_hangs_up_leaves_nothing_and_the_next_one_is_done() {
    let (desk, folder) = (Desk::new(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = filled(13).await;
        socket::serve(socket::bind(folder.path()).unwrap(), &server.app);
        for hangs_up in [true, false] {
            let held = server.ledger.hold();
            let command = Command::Export(desk.request(What::Messages, "x.csv"));
            let mut remote = socket::Remote::connect(folder.path()).await.unwrap().unwrap();
            let rows = AtomicU64::new(0);
            let mut answer = Box::pin(remote.ask(&command, &rows));
            tokio::select! {
                biased;
                _ = &mut answer => unreachable!("it is held"),
                _ = held.asked => {}
            }
            if hangs_up {
                drop(answer);
                drop(remote);
                // Only who accepts connections is left.
                while server.app.tasks.running() > 1 {
                    tokio::task::yield_now().await;
                }
                held.go_on.send(()).unwrap();
                // Its thread is gone when its files are.
                while !desk.names().is_empty() {
                    tokio::task::yield_now().await;
                }
            } else {
                held.go_on.send(()).unwrap();
                assert_ne!(answer.await.unwrap()["rows"], 0);
            }
        }
    });
    drop(runtime);
    assert_eq!(desk.names(), ["x.csv", "x.csv.manifest.json"]);
}

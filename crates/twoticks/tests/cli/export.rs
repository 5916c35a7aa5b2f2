//! Data out, as a person asks for it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Place, Running, import_lines};

/// A place with a message, and one with so many sends that their export has some hundred kilobytes.
fn filled(sends: usize) -> Place {
    let place = Place::set_up();
    let mut lines = import_lines();
    for n in 0..sends {
        let send = json!({
            "phone_number_id": "1001", "wamid": format!("wamid.{n}"), "to": "15550109999",
            "template_code": "promo", "language": "en", "time": 1_790_000_000_000_i64,
        });
        lines.push_str(&format!("{}\n", json!({"send": send})));
    }
    let file = place.write("import.ndjson", &lines);
    place.ask(&["import", file.to_str().unwrap()]);
    fs::remove_file(file).unwrap();
    place
}

/// What is in the folder beside the data and the configuration.
fn files(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("twoticks"));
    names.sort();
    names
}

/// Exports that wait in the data folder.
fn waiting(place: &Place) -> usize {
    let entries = fs::read_dir(place.path().join("twoticks-data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("export.")).count()
}

fn serve(place: &Place) -> Running {
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    server.wait_for("listening on");
    server
}

#[test]
fn an_export_is_the_same_while_the_server_runs_and_when_it_does_not() {
    let place = filled(0);
    let export = |what: &str, name: &str| {
        let answer = place.ask(&["export", what, "--to", name]);
        let manifest = fs::read_to_string(place.path().join(format!("{name}.manifest.json")));
        let mut manifest: Value = serde_json::from_str(&manifest.unwrap()).unwrap();
        manifest.as_object_mut().unwrap().remove("columns");
        assert_eq!(manifest, answer);
        (answer["rows"].clone(), fs::read(place.path().join(name)).unwrap())
    };
    let closed: Vec<_> = ["totals", "messages", "events"]
        .iter()
        .flat_map(|what| ["csv", "ndjson", "parquet"].map(|end| (*what, end)))
        .map(|(what, end)| (what, end, export(what, &format!("closed-{what}.{end}"))))
        .collect();
    let rows: Vec<_> = closed.iter().map(|it| it.2.0.as_u64().unwrap()).collect();
    assert_eq!(rows[..6], [rows[0], rows[0], rows[0], 1, 1, 1], "one message");
    assert!(rows.iter().all(|rows| *rows > 0));
    let server = serve(&place);
    for (what, end, exported) in closed {
        assert_eq!(export(what, &format!("running-{what}.{end}")), exported, "{what} {end}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_export_to_standard_output_is_data_and_nothing_else() {
    let place = filled(0);
    for server in [None, Some(serve(&place))] {
        let csv = place.run(&["export", "messages", "--to", "-", "--format", "csv"]);
        assert_eq!(csv.code, 0, "{}", csv.err);
        assert!(csv.out.starts_with("channel,phone_number,message,"), "{}", csv.out);
        assert_eq!((csv.out.lines().count(), csv.err.as_str()), (2, "1 rows\n"));
        assert_eq!(files(&place), [""; 0]);
        let args = ["export", "totals", "--to", "-", "--format", "ndjson", "--manifest", "m.json"];
        let totals = place.run(&args);
        assert_eq!(totals.lines().len(), 2);
        assert_eq!(files(&place), ["m.json"]);
        let manifest = fs::read_to_string(place.path().join("m.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!((&manifest["file"], &manifest["rows"]), (&Value::Null, &json!(2)));
        fs::remove_file(place.path().join("m.json")).unwrap();
        assert_eq!(waiting(&place), 0);
        drop(server);
    }
    let unsaid = place.run(&["export", "totals", "--to", "-"]);
    assert!(unsaid.code == 1 && unsaid.err.contains("--format"), "{}", unsaid.err);
}

#[test]
fn an_export_that_will_not_do_is_refused_with_what_would_do() {
    let place = filled(0);
    place.write("there.csv", "mine");
    let totals = |rest: &[&'static str]| [&["export", "totals"][..], rest].concat();
    for (args, code, part) in [
        (vec!["export", "sums"], 2, "sums"),
        (totals(&[]), 2, "--to"),
        (totals(&["--to", "x.csv", "--by", "week"]), 2, "half-hour"),
        (vec!["export", "events", "--to", "x.csv", "--zone", "UTC"], 2, "--zone"),
        (
            totals(&["--to", "x.csv", "--account", "1000000000000001", "--channel", "c"]),
            2,
            "--channel",
        ),
        (totals(&["--to", "x.csv", "--zone", "Mars/Base"]), 1, "such as `Asia/Jakarta`"),
        (totals(&["--to", "x.csv", "--from", "soon"]), 1, "`soon`"),
        (totals(&["--to", "x.csv", "--from", "2026-10-02", "--until", "2026-10-01"]), 1, "--until"),
        (totals(&["--to", "x.csv", "--channel", "none"]), 1, "`none`"),
        (totals(&["--to", "x.txt"]), 1, "--format"),
        (totals(&["--to", "none/x.csv"]), 1, "no folder"),
        (totals(&["--to", "there.csv"]), 1, "--overwrite"),
        (totals(&["--to", "x.csv", "--manifest", "there.csv"]), 1, "--overwrite"),
        (totals(&["--to", "/proc/x.csv"]), 1, "cannot make `/proc/x.csv"),
    ] {
        let said = place.run(&args);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        assert!(said.err.contains(part), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
        assert_eq!(files(&place), ["there.csv"], "{args:?}");
    }
    let nothing = Place::new();
    let said = nothing.run(&["export", "totals", "--to", "x.csv"]);
    assert!(said.code == 1 && said.err.contains("`twoticks init` makes one"), "{}", said.err);
}

#[test]
fn an_export_without_room_leaves_nothing_and_works_once_there_is_some() {
    let place = filled(3_000);
    let server = serve(&place);
    let limit = |bytes: &str| {
        let soft = format!("--fsize={bytes}:unlimited");
        let id = server.0.id().to_string();
        Command::new("prlimit").args(["--pid", &id, &soft]).status().is_ok_and(|it| it.success())
    };
    // What is acknowledged is in the tables from now on: nothing but the export has to be written.
    place.ask(&["verify"]);
    let size = place.ask(&["export", "messages", "--to", "whole.csv"])["bytes"].as_u64().unwrap();
    if !limit(&(size - 1).to_string()) {
        eprintln!("SKIPPED: `prlimit` of util-linux is not there or may not be used");
        return;
    }
    let said = place.run(&["export", "messages", "--to", "x.csv"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(
        said.err.contains("cannot write") && said.err.contains("x.csv`: File too"),
        "{}",
        said.err
    );
    assert_eq!(files(&place), ["whole.csv", "whole.csv.manifest.json"]);
    assert!(limit(&size.to_string()));
    let again = place.ask(&["export", "messages", "--to", "x.csv"]);
    assert_eq!(again["bytes"], size);
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_export_that_is_interrupted_leaves_no_file() {
    let place = filled(1_000);
    let mut child = place.start(&["export", "events", "--to", "x.csv"]);
    child.signal("INT");
    let status = child.0.wait().unwrap();
    let whole = ["x.csv", "x.csv.manifest.json"].map(str::to_owned);
    // It may have been done before it heard of it.
    let left = files(&place);
    assert!(left == whole || left.is_empty(), "{status:?}: {left:?}");
}

//! A backup, as a person makes one and restores it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Place, Running, import_lines};

/// A place with something counted, and a folder for its backup beside the data.
fn filled() -> Place {
    let place = Place::set_up();
    let file = place.write("import.ndjson", import_lines());
    place.ask(&["import", file.to_str().unwrap()]);
    place
}

fn serve(place: &Place) -> Running {
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    server.wait_for("listening on");
    server
}

fn one_file(place: &Place, below: &str) -> PathBuf {
    let folder = place.path().join(below);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.min().unwrap()
}

#[test]
fn a_backup_is_restored_with_equal_digests_from_a_running_server_and_a_stopped_one() {
    let place = filled();
    let counted = place.ask(&["verify"]);
    assert_eq!((&counted["equal"], &counted["from"]), (&Value::from(true), &Value::from(0)));
    for (name, server) in [("stopped", None), ("running", Some(serve(&place)))] {
        let first = place.ask(&["backup", name]);
        assert_eq!(
            (&first["key"], &first["position"]),
            (&false.into(), &counted["ledger"]["position"])
        );
        let again = place.run(&["backup", name, "--json"]);
        assert!(again.err.contains("--with-key"), "{}", again.err);
        assert!(again.json()["copied_files"].as_u64() < first["copied_files"].as_u64());
        let restored = format!("{name}-again");
        let restore = ["restore", name, "--data", &restored, "--key", "twoticks-data/key"];
        let said = place.run(&restore);
        assert!(said.code == 0 && said.err.contains("next: twoticks verify"), "{}", said.err);
        let verdict = place.ask(&["verify", "--data-dir", &restored]);
        assert_eq!(verdict["ledger"], counted["ledger"], "{name}");
        assert_eq!(verdict["equal"], true);
        let channels = |folder: &str| place.ask(&["channel", "list", "--data-dir", folder]);
        assert_eq!(channels(&restored), channels("twoticks-data"));
        if let Some(server) = server {
            assert_eq!(server.stop(), 0);
        }
    }
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused_and_says_why() {
    let place = filled();
    let refused = |args: &[&str], part: &str| {
        let said = place.run(args);
        assert!(said.code == 1 && said.err.contains(part), "{args:?}: {}", said.err);
    };
    refused(&["backup", "twoticks-data/in-it"], "name one outside");
    fs::create_dir(place.path().join("full")).unwrap();
    place.write("full/file", "mine");
    refused(&["backup", "full"], "is not empty and has no backup in it");
    refused(&["restore", "full", "--data", "new"], "there is no backup in `full`");
    place.ask(&["backup", "it"]);
    refused(&["restore", "it", "--data", "new"], "give it with --key FILE");
    refused(&["restore", "it", "--data", "full", "--key", "twoticks-data/key"], "is not empty");
    let other = Place::set_up();
    let key = other.path().join("twoticks-data/key");
    let with_other = ["restore", "it", "--data", "new", "--key", key.to_str().unwrap()];
    refused(&with_other, "made under another key file");
    let segment = one_file(&place, "it/files/journal");
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let ours = ["restore", "it", "--data", "new", "--key", "twoticks-data/key"];
    refused(&ours, &name);
    assert!(!place.path().join("new").exists());
    // The next backup mends it, and one with the key needs no other.
    assert_eq!(place.ask(&["backup", "it", "--with-key", "--fresh"])["key"], true);
    place.ask(&["restore", "it", "--data", "new"]);
    assert_eq!(place.ask(&["verify", "--data", "new"])["equal"], true);
}

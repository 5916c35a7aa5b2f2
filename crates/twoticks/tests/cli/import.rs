//! `twoticks import` as a person uses it: kinds and forms of files, what is wrong with them, and
//! what happens when it is interrupted.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Place, Said};

impl Said {
    /// Lines, events and what is dead, of an import with `--json`.
    fn taken(&self) -> [u64; 3] {
        let taken: Value = serde_json::from_str(&self.out).unwrap();
        ["lines", "events", "dead"].map(|name| taken[name].as_u64().unwrap())
    }
}

impl Place {
    /// The channels `cams-1` and `cams-2` of two accounts, with a number each.
    fn of_two_accounts() -> Self {
        let place = Self::new();
        place.ask(&["init", "--channel", "cams-1"]);
        let other = place.ask(&["key", "account", "add", "other"])["account"].clone();
        let other = other.as_str().unwrap().to_owned();
        place.ask(&["channel", "add", "cams-2", "--account", &other]);
        for (number, id, channel) in
            [("15550100011", "1001", "cams-1"), ("15550100022", "2002", "cams-2")]
        {
            let add = ["channel", "number", "add", number, "--phone-number-id", id];
            place.ask(&[&add[..], &["--channel", channel]].concat());
        }
        place
    }

    /// Another place with all that is in this one, its key too: what was counted in one can be
    /// compared with the other.
    fn copy(&self) -> Self {
        let place = Self::new();
        let mut copy = std::process::Command::new("cp");
        let copied = copy.args(["-r", "."]).arg(place.path()).current_dir(self.path()).status();
        assert!(copied.unwrap().success());
        place
    }

    /// The hash over all that was counted.
    fn digest(&self) -> String {
        let verdict = self.ask(&["verify"]);
        assert_eq!(verdict["equal"], true, "{verdict}");
        verdict["ledger"]["sha256"].as_str().unwrap().to_owned()
    }

    /// What is kept of imports that did not reach their end.
    fn checkpoints(&self) -> usize {
        std::fs::read_dir(self.path().join("twoticks-data/imports")).map_or(0, Iterator::count)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}

const SENDS: &str = "phone_number_id,wamid,to,time,template_code,language,campaign,accepted\n\
    1001,A,15550109999,2026-09-01T12:00:00Z,promo,en,spring,2026-09-01T12:00:00Z\n\
    1001,B,,1788264000000,,,,1788264000000\n";
const STATUSES: &str = "phone_number_id,wamid,status,time,error,pricing_category,pricing_type,\
    pricing_model,pricing_cost,pricing_currency,accepted\n\
    1001,A,delivered,1788264001000,,marketing,regular,PMP,0.0525,EUR,1788264001000\n\
    1001,A,read,1788264002000,,,,,,,1788264002000\n\
    1001,B,failed,1788264003000,131026,,,,,,1788264003000\n";

/// What the two tables say, as NDJSON.
fn ndjson() -> String {
    let at = |seconds: i64| 1_788_264_000_000_i64 + seconds * 1_000;
    let status = |wamid: &str, status: &str, seconds: i64, extra: Value| {
        let mut told = json!({"phone_number_id": 1001, "wamid": wamid, "status": status,
            "time": at(seconds)});
        told.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"status": told, "accepted": at(seconds)})
    };
    let pricing = json!({"category": "marketing", "type": "regular", "model": "PMP",
        "cost": 0.0525, "currency": "EUR"});
    let lines = [
        json!({"send": {"phone_number_id": "1001", "wamid": "A", "time": at(0),
            "template_code": "promo", "language": "en", "campaign": "spring"}, "accepted": at(0)}),
        json!({"send": {"phone_number_id": "1001", "wamid": "B", "time": at(0)},
            "accepted": at(0)}),
        status("A", "delivered", 1, json!({"pricing": pricing})),
        status("A", "read", 2, json!({})),
        status("B", "failed", 3, json!({"error": 131_026})),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_same_facts_count_the_same_in_every_form_and_twice_is_once() {
    let text = ndjson();
    let (first, rest) = text.split_at(text.find('\n').unwrap() + 1);
    let crlf = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &zstd(text.as_bytes())[..]];
    let both = |end: &str, pack: fn(&[u8]) -> Vec<u8>| {
        [("sends", SENDS), ("statuses", STATUSES)]
            .map(|(name, text)| (format!("{name}.csv{end}"), pack(text.as_bytes())))
            .to_vec()
    };
    let one = |name: &str, bytes: Vec<u8>| vec![(name.to_owned(), bytes)];
    let base = Place::of_two_accounts();
    let reference = base.copy();
    let said = reference.with_input(&["import", "-", "--json"], &text);
    assert_eq!(said.taken(), [5, 5, 0], "{}", said.err);
    let digest = reference.digest();
    for files in [
        one("a.ndjson", text.clone().into_bytes()),
        one("bom.ndjson", crlf(&text).into_bytes()),
        one("a.ndjson.gz", gzip(text.as_bytes())),
        one("members", [gzip(first.as_bytes()), gzip(rest.as_bytes())].concat()),
        one("a.ndjson.zst", zstd(text.as_bytes())),
        one("frames", [zstd(first.as_bytes()), zstd(rest.as_bytes())].concat()),
        one("skippable", skippable.concat()),
        both("", <[u8]>::to_vec),
        both(".gz", gzip),
        both(".zst", zstd),
        vec![
            ("sends.csv".to_owned(), crlf(SENDS).into_bytes()),
            ("statuses.csv".to_owned(), crlf(STATUSES).into_bytes()),
        ],
    ] {
        let place = base.copy();
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        for (name, bytes) in &files {
            place.write(name, bytes);
        }
        for time in ["once", "twice"] {
            let taken = names.iter().map(|name| place.run(&["import", name, "--json"]).taken());
            let sum = taken.fold([0; 3], |sum, it| [0, 1, 2].map(|n| sum[n] + it[n]));
            assert_eq!(sum, [5, 5, 0], "{names:?} {time}");
        }
        assert_eq!(place.digest(), digest, "twice is once: {names:?}");
        assert_eq!(place.checkpoints(), 0, "{names:?}");
    }

    let place = base.copy();
    for bytes in [gzip(SENDS.as_bytes()), zstd(STATUSES.as_bytes())] {
        let said = place.with_input(&["import", "-", "--format", "csv"], bytes);
        assert_eq!(said.code, 0, "{}", said.err);
    }
    assert_eq!(place.digest(), digest, "from standard input");
    assert_eq!(place.checkpoints(), 0);
}

#[test]
fn a_file_that_is_nothing_to_import_is_refused_with_what_would_do() {
    let place = Place::of_two_accounts();
    std::fs::create_dir(place.path().join("folder")).unwrap();
    for (name, bytes, part) in [
        ("folder", &b""[..], "`folder` is a directory; name a file"),
        ("none", b"", "cannot read `none`"),
        ("empty.csv", b"", "it is empty; CSV begins with a header"),
        ("semicolons.csv", b"wamid;time\n", "only commas will do"),
        ("colour.csv", b"phone_number_id,wamid,time,colour\n", "`colour` is no column of sends"),
        ("lacks.csv", b"wamid,status,time\n", "does not name `phone_number_id`"),
        ("latin.csv", b"phone_number_id,wamid,time,\xe9\n", "not UTF-8"),
        ("sheet.xlsx", b"PK\x03\x04x", "a ZIP archive or a spreadsheet"),
        ("wide.csv", b"\xff\xfew\0a\0", "UTF-16; save it as UTF-8"),
        ("packed.xz", b"\xfd7zXZ\0", "compressed with xz"),
        ("cut.gz", b"\x1f\x8b", "cannot read `cut.gz`"),
        ("cut.zst", b"\x28\xb5\x2f\xfd", "cannot read `cut.zst`"),
    ] {
        if !bytes.is_empty() || name == "empty.csv" {
            place.write(name, bytes);
        }
        let said = place.run(&["import", name]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{name}: {}", said.err);
        assert!(said.err.contains(part), "{name}: {}", said.err);
    }
    for (name, text) in [("empty.ndjson", ""), ("header.csv", "phone_number_id,wamid,time\n")] {
        place.write(name, text);
        let nothing = json!({"lines": 0, "events": 0, "dead": 0});
        assert_eq!(place.ask(&["import", name]), nothing, "{name}");
    }
    assert_eq!(place.ask(&["verify"])["entries"], 0, "nothing was counted");
}

#[test]
fn what_is_wrong_with_a_line_is_told_with_its_place_and_the_others_count() {
    let place = Place::of_two_accounts();
    let table = "phone_number_id,wamid,time,status,campaign\n\
        1001,A,1788264000000,read,\n\
        1001,A,1788264000000\n\
        1001,A,1788264000000,read,,\n\
        1001,A,1788264000000,seen,\n\
        1001,A,1230767999999,read,\n\
        1001,A,4000000000000,read,\n\
        9009,A,1788264000000,read,\n\
        1001,\"B\n\",1788264000000,read,x\n\
        1001,\u{e9},1788264000000,read,\n\
        1001,C,1788264000000,read,\n";
    let table: Vec<u8> = table.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    place.write("table.csv", table);
    let said = place.run(&["import", "table.csv", "--json"]);
    assert_eq!(said.code, 1);
    assert_eq!(said.taken(), [10, 2, 8], "{}", said.err);
    let told: Vec<&str> = said.err.lines().collect();
    assert_eq!(told.len(), 8, "{}", said.err);
    for (told, part) in told.iter().zip([
        "line 3: the row has 3 fields, the header names 5",
        "line 4: the row has 6 fields, the header names 5",
        "line 5: body: `seen` is no status; write accepted, sent,",
        "line 6: status: its time is before 2009",
        "line 7: status: its time is before 2009 or more than a day after",
        "line 8: body: the phone_number_id `9009` is of no channel",
        "line 9: body: `campaign` needs",
        "line 11: the row is not UTF-8",
    ]) {
        assert!(told.starts_with(part), "{told}");
    }
    // A table under another name.
    let said = place.with_input(&["import", "-"], SENDS);
    assert!(said.code == 1 && said.err.contains("`--format csv` reads it"), "{}", said.err);
    // A sparse file: a long line of nothing in the middle.
    let path = place.write("long.ndjson", ndjson());
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_len(100_000_000).unwrap();
    file.write_all(b"\n").unwrap();
    file.write_all(ndjson().as_bytes()).unwrap();
    let said = place.run(&["import", "long.ndjson", "--json"]);
    assert_eq!(said.taken(), [11, 10, 1], "{}", said.err);
    assert!(said.err.starts_with("line 6: the line has more than"), "{}", said.err);
}

#[test]
fn an_import_speaks_for_the_channels_or_the_account_it_is_told_to() {
    let place = Place::of_two_accounts();
    let lines: String = ["1001", "2002"]
        .iter()
        .map(|id| format!("{}\n", ndjson().lines().next().unwrap().replace("1001", id)))
        .collect();
    place.write("both.ndjson", lines);
    let accounts = place.ask(&["key", "account", "list"]);
    let accounts = accounts.as_array().unwrap().iter();
    let other = accounts.clone().find(|it| it["name"] == "other").unwrap();
    let other = other["account"].as_str().unwrap();
    for (args, dead) in [
        (&["--channel", "cams-1"][..], Some("line 2: ")),
        (&["--account", other], Some("line 1: ")),
        (&["--channel", "cams-1", "--channel", "cams-2"], None),
        (&[], None),
    ] {
        let said = place.run(&[&["import", "both.ndjson"][..], args].concat());
        assert_eq!(said.code, i32::from(dead.is_some()), "{args:?}: {}", said.err);
        assert!(said.err.starts_with(dead.unwrap_or_default()), "{args:?}: {}", said.err);
        let why = "is of no channel that this body may speak for";
        assert_eq!(said.err.contains(why), dead.is_some(), "{args:?}: {}", said.err);
    }
    for (args, code, part) in [
        (["--channel", "nobody"], 1, "there is no channel `nobody`"),
        (["--account", "1234567890123456"], 1, "there is no account `1234567890123456`"),
        (["--account", "x y"], 2, "--account"),
    ] {
        let said = place.run(&[&["import", "both.ndjson"][..], &args].concat());
        assert!(said.code == code && said.err.contains(part), "{args:?}: {}", said.err);
    }
    let both = ["import", "x", "--channel", "cams-1", "--account", other];
    assert_eq!(place.run(&both).code, 2);
}

/// Lines for several chunks: 1,100 will not do, nor will the last 1,401, from 2,600 on. What is told
/// of those is more than a pipe holds, so whoever does not listen keeps the program from its end.
fn long() -> String {
    let line = |n: usize| {
        if n >= 2_600 {
            return "nonsense\n".to_owned();
        }
        let wamid = if n == 1_100 { String::new() } else { format!("M{n}") };
        // It is so long that few lines make a chunk.
        let send = json!({"phone_number_id": "1001", "wamid": wamid, "time": 1_788_264_000_000_i64,
            "pad": "x".repeat(1_000)});
        format!("{}\n", json!({"send": send, "accepted": 1_788_264_000_000_i64}))
    };
    (1..=4_000).map(line).collect()
}

#[test]
fn an_import_that_was_killed_is_gone_on_with_and_counts_once() {
    let base = Place::of_two_accounts();
    let whole = base.copy();
    whole.with_input(&["import", "-"], long());
    let digest = whole.digest();
    for with_server in [false, true] {
        let place = base.copy();
        place.write("long.ndjson", long());
        let mut server = None;
        if with_server {
            let mut started = place.start(&["serve", "--listen", "127.0.0.1:0"]);
            started.wait_for("listening");
            server = Some(started);
        }
        let mut import = place.start(&["import", "long.ndjson"]);
        // When the second one is told, what came before its chunk is behind a checkpoint, and its
        // own chunk is not.
        import.wait_for("line 1100: ");
        import.wait_for("line 2600: ");
        import.kill();
        assert_eq!(place.checkpoints(), 1, "with a server: {with_server}");
        // For another channel it begins at its beginning, and leaves this one's alone.
        let dry = place.run(&["import", "long.ndjson", "--dry-run"]);
        assert!(!dry.err.contains("interrupted") && dry.out.lines().count() == 4_000);
        let only = place.run(&["import", "long.ndjson", "--channel", "cams-2"]);
        assert!(!only.err.contains("interrupted"), "{}", only.err);
        assert_eq!(place.checkpoints(), 1);

        let said = place.run(&["import", "long.ndjson", "--json"]);
        assert!(said.err.starts_with("this import was interrupted: going on behind line "));
        assert!(!said.err.contains("line 1100: "), "it was told then: {}", said.err);
        assert!(said.err.contains("line 2600: "), "{}", said.err);
        // All of the file, what was taken in then included.
        assert_eq!(said.taken(), [4_000, 2_598, 1_402], "{}", said.err);
        assert_eq!(said.code, 1);
        assert_eq!((place.digest(), place.checkpoints()), (digest.clone(), 0));
        drop(server);
    }
}

#[test]
fn a_half_written_file_counts_as_far_as_it_goes_and_once_when_it_is_whole() {
    let base = Place::of_two_accounts();
    let whole = base.copy();
    whole.with_input(&["import", "-"], long());
    let digest = whole.digest();
    for (name, packed) in [("a.gz", gzip(long().as_bytes())), ("a.zst", zstd(long().as_bytes()))] {
        let place = base.copy();
        place.write(name, &packed[..packed.len() / 2]);
        let said = place.run(&["import", name, "--json"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{name}: {}", said.err);
        let behind = |err: &str| -> u64 {
            let (_, rest) = err.split_once("breaks off behind line ").unwrap();
            rest.split_once(';').unwrap().0.parse().unwrap()
        };
        let line = behind(&said.err);
        assert!((1_100..2_600).contains(&line), "{name}: {}", said.err);
        let counted = place.ask(&["verify"])["ledger"]["messages"].as_u64().unwrap();
        assert_eq!(counted, line - 1, "{name}: all but 1,100");
        // It knows where it was, and that it still breaks off there.
        let again = place.run(&["import", name]);
        assert!(again.err.contains(&format!("going on behind line {line} ")), "{}", again.err);
        assert_eq!((again.code, behind(&again.err)), (1, line), "{}", again.err);
        let anew = place.run(&["import", name, "--again"]);
        assert!(!anew.err.contains("interrupted"), "{}", anew.err);
        assert_eq!((anew.code, behind(&anew.err)), (1, line), "{}", anew.err);

        place.write(name, &packed);
        let said = place.run(&["import", name, "--json"]);
        assert_eq!(said.taken(), [4_000, 2_598, 1_402], "{}", said.err);
        assert_eq!(place.digest(), digest, "{name}");
    }
}

#[test]
fn an_import_goes_on_where_how_far_it_is_cannot_be_kept() {
    let place = Place::of_two_accounts();
    place.write("twoticks-data/imports", "no folder");
    place.write("a.ndjson", ndjson());
    let said = place.run(&["import", "a.ndjson", "--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("if this import is interrupted it begins anew"), "{}", said.err);
    assert_eq!(said.taken(), [5, 5, 0]);
    let left = std::fs::read(place.path().join("twoticks-data/imports"));
    assert_eq!(left.unwrap(), b"no folder");
}

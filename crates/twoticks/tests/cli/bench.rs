//! `twoticks bench` measures what it is asked for and says what it did not measure.

use super::*;

/// What others read from the report.
const KEYS: [&str; 12] = [
    "link_p99_ms",
    "store_cpu_ratio",
    "store_bytes_per_event",
    "door100_cpu_ratio",
    "door1_rps_ratio",
    "growth_cpu_ratio",
    "query_idle_p99_ms",
    "query_busy_p99_ms",
    "start_after_kill_s",
    "postgres_ratio",
    "clickhouse_ratio",
    "receiver_ratio",
];

#[test]
fn a_small_benchmark_of_the_store_has_every_key_and_says_what_is_missing() {
    let place = Place::new();
    let only = ["bench", "--only", "store,postgres", "--events", "20000", "--rounds", "1"];
    let report = place.ask(&only);
    for key in KEYS {
        let beside = if report[key].is_null() { "why" } else { "figures" };
        assert!(report.get(key).is_some(), "{key}: {report}");
        assert!(!report[format!("{key}_{beside}")].is_null(), "{key}: {report}");
    }
    for key in ["store_cpu_ratio", "store_bytes_per_event", "disk_bytes_per_message"] {
        assert!(report[key].is_number(), "{key}: {report}");
        assert!(report[format!("{key}_goal")].is_string(), "{key}");
    }
    let sides = &report["store_cpu_ratio_figures"];
    for side in ["ours", "limit", "limit_without_compression"] {
        for figure in ["events", "counted"] {
            assert_eq!(sides[side][figure], sides["ours"][figure], "{side}: {sides}");
        }
    }
    let events = sides["ours"]["events"].as_u64().unwrap();
    assert!((19_000..21_000).contains(&events), "{events}");
    for (key, why) in [("postgres_ratio", "no --postgres"), ("clickhouse_ratio", "--only")] {
        assert!(report[key].is_null(), "{key}: {report}");
        let said = report[format!("{key}_why")].as_str().unwrap();
        assert!(said.contains(why), "{key}: {said}");
    }
    // What it wrote is gone.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_row_that_there_is_not_is_refused() {
    let said = Place::new().run(&["bench", "--only", "nothing"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("store"), "{}", said.err);
}

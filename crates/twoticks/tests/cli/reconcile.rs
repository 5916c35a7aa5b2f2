//! Ours beside Meta's: the real program against the emulator's Graph API.

use std::fs;

use serde_json::{Value, json};

use super::connect::{Business, everything_below};

/// Ours and Meta's of a figure, added up over what they are of.
fn both(compared: &Value, of: &str, figure: &str) -> (i64, i64) {
    let rows = compared["sums"].as_array().unwrap_or_else(|| panic!("{compared}"));
    let rows = rows.iter().filter(|row| row["of"] == of && row["figure"] == figure);
    rows.fold((0, 0), |(ours, meta), row| {
        let count = |side: &str| row[side].as_i64().unwrap_or_else(|| panic!("{row}"));
        (ours + count("ours"), meta + count("meta"))
    })
}

/// Meta's side, figure by figure.
fn metas(compared: &Value) -> Vec<Value> {
    let sums = compared["sums"].as_array().unwrap().iter();
    let told = sums.filter(|row| !row["meta"].is_null());
    told.map(|row| json!([row["name"], row["figure"], row["meta"]])).collect()
}

#[test]
fn both_sides_are_shown_and_kept_over_a_restart_and_in_a_backup() {
    let mut business = Business::new();
    business.serve();
    assert_eq!(business.connect()["missing"], json!([]));
    // Nothing was read yet, and nothing is made up.
    let place = &business.place;
    let before = place.ask(&["reconcile"]);
    assert_eq!((&before["rows"], &before["meta_read"]), (&json!([]), &Value::Null), "{before}");
    business.call("EnableWhatsappROIMetric", &[]);
    business.emulated.post("config?outcome=read", "");
    let templates = business.call("ListChatappTemplate", &[]);
    let code = templates["ListTemplate"][0]["TemplateCode"].as_str().unwrap().to_owned();
    let number = business.number();
    for to in ["15550109991", "15550109992", "15550109993"] {
        let form = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            ("TemplateCode", code.as_str()),
            ("Language", "en"),
            ("From", number.as_str()),
            ("To", to),
        ];
        let sent = business.call("SendChatappMessage", &form);
        assert!(sent["MessageId"].as_str().unwrap().starts_with("wamid."), "{sent}");
    }
    // They are sent, as either side sees it, within seconds.
    let place = &business.place;
    let mut compared = place.ask(&["reconcile", "--sync"]);
    let mut asked = 0;
    let sent = |compared: &Value| ["template", "number"].map(|of| both(compared, of, "sent"));
    while sent(&compared) != [(3, 3); 2] {
        asked += 1;
        assert!(asked < 500, "{compared}");
        compared = place.ask(&["reconcile", "--sync"]);
    }
    assert_eq!((&compared["insights"], &compared["currency"]), (&json!(true), &json!("USD")));
    let shown = place.run(&["reconcile"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{}", shown.out);
    assert!(shown.out.contains("day         what"), "{}", shown.out);

    // Neither a restart nor a backup loses anything, and asking again changes nothing.
    let (server, _) = business.server.take().unwrap();
    server.kill();
    business.emulated.stop();
    let place = &business.place;
    let kept = place.ask(&["reconcile"]);
    // Ours may have been told more before the end.
    assert_eq!(metas(&kept), metas(&compared));
    let digest = place.ask(&["verify"]);
    let said = place.run(&["reconcile", "--sync"]);
    assert!(said.code == 1 && said.err.contains("cannot be reached"), "{}", said.err);
    place.ask(&["backup", "b", "--with-key"]);
    place.ask(&["restore", "b", "--data-dir", "again"]);
    let restored = place.ask(&["reconcile", "--data-dir", "again"]);
    assert_eq!(restored["sums"], kept["sums"]);
    assert_eq!(place.ask(&["verify"])["ledger"], digest["ledger"]);
    // A file that is damaged is named, and the rest goes on.
    let files = everything_below(&place.path().join("again/meta"));
    let days = files.iter().find(|file| file.extension().is_some_and(|it| it == "days")).unwrap();
    fs::write(days, b"odd").unwrap();
    let said = place.run(&["reconcile", "--data-dir", "again"]);
    let name = days.file_name().unwrap().to_str().unwrap();
    assert!(said.code == 1 && said.err.contains(name), "{}", said.err);
    assert_eq!(place.ask(&["verify", "--data-dir", "again"])["equal"], true);
}

#[test]
fn what_will_not_do_is_refused_and_says_what_would() {
    let place = super::Place::set_up();
    let refused = |args: &[&str], part: &str| {
        let said = place.run(args);
        assert!(said.code == 1 && said.err.contains(part), "{args:?}: {}", said.err);
    };
    refused(&["reconcile", "--sync"], "`twoticks channel connect`");
    refused(&["reconcile", "--channel", "nobodys"], "there is no channel `nobodys`");
    refused(&["reconcile", "--start", "2026-11-32"], "is no day");
    refused(&["reconcile", "--end", "9999-01-01"], "is to come");
    refused(&["reconcile", "--start", "2020-01-01"], "1 to 92 days");
    // It is compared with nothing, and says so.
    let compared = place.ask(&["reconcile"]);
    assert_eq!((&compared["connected"], &compared["rows"]), (&json!(false), &json!([])));
}

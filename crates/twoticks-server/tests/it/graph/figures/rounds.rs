//! Rounds: what one run does not reach, and what Meta does not answer, keep nothing from being read.

use twoticks_store::figures::{Account, Day, Standing};

use super::*;

fn account() -> Account {
    Account { channel: channel_id(CHANNEL), waba_id: Text::new(WABA).unwrap() }
}

async fn standing(server: &Server) -> Standing {
    server.app.figures.kept().standing(&account()).await.unwrap().unwrap()
}

/// The days of which a template without figures had none, counted from today.
async fn whole_days(server: &Server) -> Vec<i64> {
    let today = Day::of(NOON);
    let (first, last) = (Day(today.0 - 100), Day(today.0 + 100));
    let days = server.app.figures.kept().days(&account(), first, last).await.unwrap();
    let whole = days.iter().filter(|(_, it)| it.templates_read.is_some());
    whole.map(|(day, _)| day.0 - today.0).collect()
}

/// Adds templates that have these ids at Meta.
pub(super) async fn put_templates(server: &Server, ids: impl Iterator<Item = String>) {
    let record = {
        let snapshot = server.app.directory.snapshot();
        let (code, language) = (Text::new(TEMPLATE).unwrap(), Text::new("en").unwrap());
        TemplateRecord::clone(snapshot.template(&channel_id(CHANNEL), &code, &language).unwrap())
    };
    let put = |id: String| {
        let [code, id] = [format!("t{id}"), id].map(|it| Text::new(&it).unwrap());
        let name = code.clone();
        Change::PutTemplate(TemplateRecord { code, name, meta_id: Some(id), ..record.clone() })
    };
    server.app.directory.change(ids.map(put).collect()).await.unwrap();
}

async fn put_numbers(server: &Server, count: u64) {
    let put = |number: u64| {
        let digits = (49_150_000_000 + number).to_string();
        Channels::PutNumber {
            channel: channel_id(CHANNEL),
            phone_number: crate::tenants::number(&digits),
            phone_number_id: Text::new(&digits).unwrap(),
        }
    };
    for command in (0..count).map(put) {
        execute(&server.app, Command::Channels(command)).await.unwrap();
    }
}

/// The ids that a request for templates is about.
fn ids(line: &str) -> Vec<String> {
    let Some((_, ids)) = line.split_once("template_ids=%5B") else { return Vec::new() };
    ids.split("%5D").next().unwrap().split("%2C").map(ToOwned::to_owned).collect()
}

/// What the double was asked since it had been asked for so much.
fn since(double: &Double, before: usize) -> Vec<String> {
    double.got().split_off(before).into_iter().map(|got| got.line).collect()
}

/// From which day on a request asks, counted from today.
fn start(line: &str) -> Option<i64> {
    let start = line.split("start").nth(1)?;
    let seconds: String = start
        .trim_start_matches(['=', '('])
        .trim_start_matches("%28")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((seconds.parse::<i64>().unwrap() - TODAY) / DAY)
}

#[tokio::test]
async fn a_round_takes_as_many_runs_as_it_needs_and_asks_all_for_the_same_days() {
    // Numbers and templates besides those that there are; the runs of a round.
    for (numbers, templates, runs) in [(0, 0, 1), (0, 1_500, 2), (150, 30, 2), (98, 900, 2)] {
        let (server, double) = start_connected(|_| ()).await;
        put_numbers(&server, numbers).await;
        put_templates(&server, (0..templates).map(|it| format!("{}", 10_000 + it))).await;
        let mut asked = std::collections::BTreeSet::new();
        for run in 1..=runs {
            let before = double.got().len();
            compared(&server, request(true)).await;
            let lines = since(&double, before);
            assert!(lines.len() <= 100, "{}", lines.len());
            assert_eq!(runs > 1, lines.len() == 100, "{}", lines.len());
            // A day later the first one of the round is told no more; days of before are not left out.
            let first = -90 + run;
            assert!(lines.iter().filter_map(|it| start(it)).all(|it| it == first), "{lines:?}");
            asked.extend(lines.iter().flat_map(|line| ids(line)));
            asked.extend(lines.into_iter().filter(|line| line.contains("analytics.start")));
            let standing = standing(&server).await;
            assert_eq!((standing.failures, &standing.problems), (0, &vec![]));
            assert_eq!(standing.read, (run == runs).then_some(NOON), "{run} of {runs}");
            assert_eq!(whole_days(&server).await.is_empty(), run < runs);
            server.clock.set(NOON.plus(run * DAY * 1_000));
        }
        let templates = usize::try_from(templates).unwrap() + 3;
        assert!(asked.iter().filter(|it| it.len() < 6).count() == templates, "{}", asked.len());
        for number in [NUMBER, SECOND_NUMBER] {
            assert!(asked.iter().any(|it| it.contains(number)), "{number}");
        }
        let prices = asked.iter().filter(|it| it.contains("=pricing")).count();
        assert!(prices >= 1, "{asked:?}");
        // Those that all runs of the round had asked for.
        let days: Vec<i64> = (-90 + runs..=0).collect();
        assert_eq!(whole_days(&server).await, days);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_question_that_always_fails_keeps_no_other_from_being_read() {
    // Meta's code for a number, the days of the next round, whether a run ends with it.
    for (code, first, ends) in [(100, -8, false), (190, -89, true)] {
        let (server, double) = start_connected(|_| ()).await;
        let wrong = serde_json::from_str(&error(code, "no")).unwrap();
        double.fix(NUMBER, 400, &wrong);
        for run in 0..4_u32 {
            let before = double.got().len();
            let said = refused(&server, request(true)).await;
            assert!(said.contains(&code.to_string()), "{said}");
            let lines = since(&double, before);
            let starts: Vec<i64> = lines.iter().filter_map(|it| start(it)).collect();
            let days = if run == 0 { -89 } else { first };
            assert!(starts.iter().all(|it| *it == days), "{starts:?}");
            // A run that ends with it begins behind it the next time.
            let is_alone = ends && run == 0;
            assert_eq!(lines.len(), if is_alone { 2 } else { 5 }, "{lines:?}");
            assert_eq!(ends, lines.last().unwrap().contains(NUMBER), "{lines:?}");
            let standing = standing(&server).await;
            assert_eq!(standing.failures, run + 1);
            assert_eq!(standing.read, (!ends).then_some(NOON));
        }
        // All of them were in runs that went on.
        assert_eq!(whole_days(&server).await.len(), 90);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_passed_over() {
    let (server, double) = start_connected(|_| ()).await;
    // Each page leads to the other.
    let page = |after: &str| {
        let next =
            format!("https://graph.facebook.com/v24.0/3000/template_analytics?after={after}");
        json!({"data": [], "paging": {"next": next}})
    };
    double.fix("template_analytics", 200, &page("one"));
    double.fix("after=one", 200, &page("two"));
    double.fix("after=two", 200, &page("one"));
    let (mut said, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let before = double.got().len();
        let run = execute(&server.app, Command::Reconcile(request(true))).await;
        said.push(run.err().map(|why| why.to_string()).unwrap_or_default());
        let is_prices = |line: &String| line.contains("=pricing_analytics");
        asked.push(since(&double, before).iter().filter(|it| is_prices(it)).count());
    }
    assert_eq!(asked, [1, 0, 1]);
    assert!(said[1].contains("more than 100 requests"), "{said:?}");
    assert_eq!(standing(&server).await.read, None);
    assert_eq!(whole_days(&server).await, [0_i64; 0]);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_said_and_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let figures = Figures::in_folder(folder.path());
    let (server, double) = start_keeping(Some(figures), |_| ()).await;
    compared(&server, request(true)).await;
    let files = server.app.figures.kept().files().await.unwrap();
    // A file cannot be written where a folder is.
    let in_the_way = folder.path().join(&files[0]).with_file_name("new");
    std::fs::create_dir(&in_the_way).unwrap();
    put_templates(&server, (0..1_000).map(|it| format!("{}", 10_000 + it))).await;
    let mut asked = Vec::new();
    for is_kept in [false, false, true] {
        if is_kept {
            std::fs::remove_dir(&in_the_way).unwrap();
        }
        let before = double.got().len();
        let run = execute(&server.app, Command::Reconcile(request(true))).await;
        assert_eq!(run.is_ok(), is_kept, "{run:?}");
        assert_eq!(problems(&server, CHANNEL).is_empty(), is_kept);
        asked.push(since(&double, before).iter().map(|line| ids(line)).collect::<Vec<_>>());
    }
    // No run has begun behind what was not kept.
    assert!(asked.windows(2).all(|two| two[0] == two[1]), "{asked:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_template_that_meta_did_not_know_is_asked_for_alone_until_it_does() {
    let (server, double) = start_connected(|_| ()).await;
    put_templates(&server, ["8111".to_owned()].into_iter()).await;
    let wrong: Value = serde_json::from_str(&error(100, "no such template")).unwrap();
    double.fix("8111", 400, &wrong);
    compared(&server, request(true)).await;
    let unknown = vec![Text::new("8111").unwrap()];
    assert_eq!(standing(&server).await.unknown, unknown);
    record(&server, &[said("sent", "a", TODAY + 60, Some("t8111"))]).await;
    let row = |answer: &Value| {
        let sent = found(answer, "sent");
        let row = sent.into_iter().find(|(name, ..)| name.starts_with("t8111")).unwrap();
        (row.2, row.3)
    };
    // A run that gets nowhere does not make nothing of it.
    double.fix("/v24.0/3000?fields=id", 500, &wrong);
    refused(&server, request(true)).await;
    assert_eq!(standing(&server).await.unknown, unknown);
    let answer = compared(&server, request(false)).await;
    assert_eq!(row(&answer), (Value::Null, json!(["unknown_to_meta"])));
    double.script.lock().unwrap().fixed.remove(0);
    for is_known in [false, true] {
        if is_known {
            double.fix(
                "8111",
                200,
                &templates(&json!([point("8111", TODAY - 80 * DAY, [3, 2, 1], 1)])),
            );
        }
        let before = double.got().len();
        compared(&server, request(true)).await;
        let lines = since(&double, before);
        let asked: Vec<&String> = lines.iter().filter(|it| it.contains("8111")).collect();
        // Once, alone, and for all days that are told.
        assert_eq!(asked.len(), 1, "{lines:?}");
        assert_eq!((ids(asked[0]).len(), start(asked[0])), (1, Some(-89)));
        assert_eq!(standing(&server).await.unknown.is_empty(), is_known);
    }
    let (meta, _) = row(&compared(&server, request(false)).await);
    assert_eq!(meta, json!(0));
    let kept = Day(Day::of(NOON).0 - 80);
    let days = server.app.figures.kept().days(&account(), kept, kept).await.unwrap();
    assert_eq!(days[&kept].templates.values().map(|it| it.sent).collect::<Vec<_>>(), [Some(3)]);
    server.stop().await;
}

#[tokio::test]
async fn what_could_not_be_read_of_templates_is_unknown_and_not_nothing() {
    let (wrong, bad): (Value, Value) = (
        serde_json::from_str(&error(100, "no such time")).unwrap(),
        templates(&json!([{"template_id": "9001", "start": "soon"}])),
    );
    let yesterdays = templates(&json!([point("9001", TODAY - 200 * DAY, [1, 1, 1], 0)]));
    for (status, answer, part, is_read) in [
        // About nothing that is asked for; points that cannot be read, or are of another day.
        (400, &wrong, "knows none of 3 templates", false),
        (200, &bad, "1 figures could not be read", true),
        (200, &yesterdays, "1 figures are of no day", true),
        (500, &json!("<html>"), "did not answer", false),
    ] {
        let (server, double) = start_connected(|_| ()).await;
        record(&server, &[said("sent", "a", TODAY + 60, Some(UTILITY))]).await;
        double.fix("template_analytics", status, answer);
        let said = refused(&server, request(true)).await;
        assert!(said.contains(part), "{said}");
        let standing = standing(&server).await;
        assert_eq!((standing.unknown, standing.read.is_some()), (vec![], is_read), "{said}");
        let sent = found(&compared(&server, request(false)).await, "sent");
        let row = sent.iter().find(|(name, ..)| name.ends_with("3 · en")).unwrap();
        assert_eq!((&row.2, &row.3), (&Value::Null, &json!(["not_read"])), "{part}");
        server.stop().await;
    }
    // An id that is none keeps nothing from the others, and is nothing that was asked for.
    let (server, double) = start_connected(|_| ()).await;
    put_templates(&server, ["my-template".to_owned()].into_iter()).await;
    let facts = ["tmy-template", UTILITY].map(|it| said("sent", it, TODAY + 60, Some(it)));
    record(&server, &facts).await;
    let said = refused(&server, request(true)).await;
    assert!(said.contains("not of digits were not asked for: `my-template`"), "{said}");
    assert!(double.got().iter().all(|got| !got.line.contains("my-template")));
    let sent = found(&compared(&server, request(false)).await, "sent");
    let of = |part: &str| sent.iter().find(|(name, ..)| name.contains(part)).unwrap().clone();
    assert_eq!(of("my-template").3, json!(["unknown_to_meta"]));
    assert_eq!(of("3 · en").2, json!(0));
    server.stop().await;
}

#[tokio::test]
async fn a_channel_that_is_taken_away_during_a_run_leaves_nothing() {
    let (server, mut double) = start_connected(|_| ()).await;
    double.script.lock().unwrap().fixed.insert(0, ("template_analytics", Answer::Hold));
    let run = refused(&server, request(true));
    let removal = async {
        // The account, two numbers, prices, and templates.
        double.wait_for(5).await;
        take_away(&server).await;
        double.held.add_permits(1);
    };
    let (said, ()) = tokio::join!(run, removal);
    assert!(said.contains("no connected channel"), "{said}");
    assert_eq!(server.app.figures.kept().standing(&account()).await.unwrap(), None);
    let today = Day::of(NOON);
    assert!(server.app.figures.kept().days(&account(), today, today).await.unwrap().is_empty());
    server.stop().await;
}

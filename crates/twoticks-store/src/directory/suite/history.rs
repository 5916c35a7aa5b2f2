//! What is kept of how what WhatsApp says has changed.

use super::*;
use crate::directory::HISTORY_MAX;
use crate::directory::history::{Changed, Field};

fn said_of_number(quality: Option<&str>, at: i64) -> Number {
    let graph = GraphNumber {
        quality_rating: quality.map(text),
        status: Some(text("CONNECTED")),
        updated: Time(at),
        ..GraphNumber::default()
    };
    Number { graph: Some(graph), ..number("15550783881", "106540352242922", "cams-one") }
}

fn said_of_template(status: &str, reason: Option<&str>, at: i64) -> TemplateRecord {
    let known = connected().into_iter().find_map(|change| match change {
        Change::PutTemplate(TemplateRecord { graph, .. }) => graph,
        _ => None,
    });
    let (status, reason) = (text(status), reason.map(text));
    let graph = GraphTemplate { status, reason, updated: Time(at), ..known.unwrap() };
    TemplateRecord { graph: Some(graph), ..template("cams-one", "1001", "en", "9001") }
}

fn of_number(directory: &dyn Directory) -> Vec<Changed> {
    let snapshot = directory.snapshot();
    let number = snapshot.number_by_id("106540352242922").unwrap();
    number.graph.as_ref().unwrap().history.clone()
}

fn of_template(directory: &dyn Directory) -> Vec<Changed> {
    let snapshot = directory.snapshot();
    let known = snapshot.template(&channel_id("cams-one"), &text("1001"), &text("en")).unwrap();
    known.graph.as_ref().unwrap().history.clone()
}

fn changed(field: Field, from: Option<&str>, to: &str, at: i64) -> Changed {
    Changed { field, from: from.map(text), to: text(to), reason: None, learned: Time(at) }
}

async fn put(directory: &dyn Directory, change: Change) {
    directory.change(vec![change]).await.unwrap();
}

pub(super) async fn only_what_whatsapp_says_otherwise_is_kept(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    // What is said first has not changed; nor has what is said again, or is not said any more.
    for (quality, at) in [(Some("GREEN"), 1), (Some("GREEN"), 2), (Some("RED"), 3), (None, 4)] {
        put(directory, Change::PutNumber(said_of_number(quality, at))).await;
    }
    let red = changed(Field::QualityRating, Some("GREEN"), "RED", 3);
    assert_eq!(of_number(directory), std::slice::from_ref(&red));
    put(directory, Change::PutNumber(said_of_number(Some("GREEN"), 5))).await;
    let green = changed(Field::QualityRating, None, "GREEN", 5);
    assert_eq!(of_number(directory), [red, green]);
    // With another channel, or another id, it is another number.
    for (channel, id) in [("cams-far", "106540352242922"), ("cams-one", "7")] {
        let known = said_of_number(Some("GREEN"), 5);
        let of = Number { channel: channel_id(channel), phone_number_id: text(id), ..known };
        put(directory, Change::PutNumber(of)).await;
        let snapshot = directory.snapshot();
        assert_eq!(snapshot.number_by_id(id).unwrap().graph.as_ref().unwrap().history, []);
    }

    for (status, reason, at) in [
        ("APPROVED", None, 1),
        ("PAUSED", Some("QUALITY"), 2),
        ("PAUSED", Some("QUALITY"), 3),
        // Read again, it comes without the reason.
        ("PAUSED", None, 4),
    ] {
        put(directory, Change::PutTemplate(said_of_template(status, reason, at))).await;
    }
    let paused = changed(Field::Status, Some("APPROVED"), "PAUSED", 2);
    assert_eq!(of_template(directory), [Changed { reason: Some(text("QUALITY")), ..paused }]);
}

pub(super) async fn the_newest_changes_are_kept(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let most = i64::try_from(HISTORY_MAX).unwrap();
    let word = |at: i64| if at % 2 == 0 { "GREEN" } else { "RED" };
    let status = |at: i64| if at % 2 == 0 { "APPROVED" } else { "PAUSED" };
    for at in 0..=most + 1 {
        let number = Change::PutNumber(said_of_number(Some(word(at)), at));
        let template = Change::PutTemplate(said_of_template(status(at), None, at));
        directory.change(vec![number, template]).await.unwrap();
        if at == most {
            let (number, template) = (of_number(directory), of_template(directory));
            assert_eq!((number.len(), template.len()), (HISTORY_MAX, HISTORY_MAX));
            assert_eq!((number[0].learned, template[0].learned), (Time(1), Time(1)));
        }
    }
    for history in [of_number(directory), of_template(directory)] {
        let learned: Vec<i64> = history.iter().map(|it| it.learned.0).collect();
        assert_eq!(learned, (2..=most + 1).collect::<Vec<_>>());
    }
}

pub(super) async fn a_template_loses_no_link(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let put_links = async |ids: &[u8]| {
        let links = ids.iter().map(|id| link([*id; 6])).collect();
        let record = TemplateRecord { links, ..template("cams-one", "1007", "en", "1007") };
        put(directory, Change::PutTemplate(record)).await;
        let snapshot = directory.snapshot();
        let kept = snapshot.template(&channel_id("cams-one"), &text("1007"), &text("en"));
        kept.unwrap().links.iter().map(|link| link.id.0[0]).collect::<Vec<_>>()
    };
    for (told, kept) in [
        (&[1, 2][..], &[1, 2][..]),
        // By whoever read it before there was a 2, or any.
        (&[1], &[1, 2]),
        (&[], &[1, 2]),
        (&[3], &[1, 2, 3]),
        // A target that it had before.
        (&[1, 3, 2], &[1, 3, 2]),
        (&[2, 1], &[3, 2, 1]),
        (&[3, 1], &[3, 2, 1]),
    ] {
        assert_eq!(put_links(told).await, kept, "{told:?}");
    }
}

#[tokio::test]
async fn a_file_from_before_there_was_a_history_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    {
        let directory = open(folder.path());
        directory.change(everything()).await.unwrap();
        put(&directory, Change::PutNumber(said_of_number(Some("GREEN"), 1))).await;
    }
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let graph = file["numbers"][0]["graph"].as_object_mut().unwrap();
    assert_eq!(graph.remove("updated"), Some(1.into()));
    assert!(!graph.contains_key("history"), "{graph:?}");
    std::fs::write(&path, file.to_string()).unwrap();

    let red = [changed(Field::QualityRating, Some("GREEN"), "RED", 2)];
    {
        let directory = open(folder.path());
        assert_eq!(of_number(&directory), []);
        put(&directory, Change::PutNumber(said_of_number(Some("RED"), 2))).await;
        assert_eq!(of_number(&directory), red);
    }
    assert_eq!(of_number(&open(folder.path())), red, "it is read as it was written");
}

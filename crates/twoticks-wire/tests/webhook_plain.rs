//! What is read in one pass and what is read with care are the same, whatever is done to a body.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use twoticks_wire::webhook::meta::{self, Told, Update, What};

/// Bodies as Meta writes them, so that damage to them meets the pass and not only the walk.
const USUAL: &[&str] = &[
    r#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","time":1790000000,"changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},"contacts":[{"profile":{"name":"Gr\u00f6\u00dfe \/"},"wa_id":"16505551234","user_id":"US.13491208655302741918"}],"statuses":[{"id":"wamid.HBgL\/MTY1MDU1NTEyMzQVAgARGBI=","status":"delivered","timestamp":"1790000001","recipient_id":"16505551234","recipient_user_id":"US.13491208655302741918","biz_opaque_callback_data":"tt1:a%3Ab:en_US:x","conversation":{"id":"abc","expiration_timestamp":"1790000009","origin":{"type":"marketing"}},"pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"marketing","cost":{"amount":0.0625,"currency":"USD"}}},{"id":"wamid.2","status":"failed","timestamp":"1790000002","recipient_id":"120363","recipient_type":"group","recipient_participant_id":"16505551235","recipient_participant_user_id":"US.1","errors":[{"code":131026,"title":"a\/b","message":"m","error_data":{"details":"d"},"href":"https:\/\/x"},{"code":2}]}]},"field":"messages"}]}]}"#,
    r#"{"entry":[{"id":"1","changes":[{"value":{"metadata":{"display_phone_number":"1","phone_number_id":"2"},"messages":[{"context":{"from":"1","id":"w"},"from":"3","id":"i","timestamp":"1790000000","type":"button","button":{"payload":"p","text":"t"}}],"user_actions":[{"action_type":"marketing_messages_link_click","timestamp":"1","marketing_messages_link_click_data":{"click_id":"c"}}]},"field":"messages"}]},{"id":"2","changes":[{"field":"messages","value":{"statuses":[{"status":"read","id":"w","timestamp":"1"},{"status":1,"id":"w"}],"metadata":{"phone_number_id":"2"}}}]}]}"#,
];

/// What damage often is made of: values that mean something else, keys that are known.
const PIECES: &[&str] = &[
    "null",
    "\"\"",
    "[]",
    "{}",
    "0",
    "-1",
    "1.5",
    "1e9",
    "true",
    "\"x\"",
    "[1]",
    "{\"0\":1}",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0041",
    "\\ud83d",
    "{",
    "}",
    "[",
    "]",
    " ",
    "\n",
    "\u{e9}",
    "\u{fffd}",
    "\u{1}",
    "\"id\":\"y\",",
    "\"status\":\"sent\",",
    "\"timestamp\":\"5\",",
    "\"timestamp\":5,",
    "\"type\":\"call\",",
    "\"type\":\"\",",
    "\"recipient_id\":7,",
    "\"recipient_type\":\"GROUP\",",
    "\"pricing\":null,",
    "\"pricing\":{\"cost\":{}},",
    "\"conversation\":{\"id\":[]},",
    "\"errors\":{\"code\":\"1\"},",
    "\"errors\":[],",
    "\"errors\":[1],",
    "\"errors\":[{\"title\":\"\\ud83d\"}],",
    "\"value\":{},",
    "\"entry\":[],",
    "\"field\":\"messages\",",
    "\"field\":\"calls\",",
    "\"metadata\":{},",
    "\"statuses\":[{}],",
    "\"messages\":[{}],",
    "\"time\":\"1\",",
    "\"biz_opaque_callback_data\":\"\",",
    "\"cost\":{\"amount\":\"1\",\"currency\":\"EUR\"},",
    "\"\\u0069d\":1,",
    "\"changes\":[],",
    "\"1\":1,",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = USUAL.iter().map(|body| body.as_bytes().to_vec()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhook");
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    for folder in files(root) {
        bodies.extend(files(folder).map(|file| std::fs::read(file).unwrap()));
    }
    bodies
}

static BODIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(bodies);

/// How many statuses were read in one pass; fails unless both ways tell the same.
fn compare(raw: &[u8]) -> usize {
    let (quick, careful) = (meta::read(raw), meta::parse(raw));
    let (Ok(quick), Ok(careful)) = (&quick, &careful) else {
        assert_eq!(quick.err(), careful.err());
        return 0;
    };
    assert_eq!(quick.len(), careful.len());
    quick.iter().zip(careful).filter(|(quick, careful)| is_in_one_pass(quick, careful)).count()
}

fn is_in_one_pass(quick: &Told<'_>, careful: &Update) -> bool {
    match quick {
        Told::Update(update) => {
            assert_eq!(update, careful);
            false
        }
        Told::Status { place, phone_number_id, status } => {
            let What::Status(told) = &careful.what else { panic!("{quick:?}, not {careful:?}") };
            assert_eq!(status, &told.view());
            assert_eq!(*place, careful.place);
            assert_eq!(*phone_number_id, careful.phone_number_id.as_deref());
            assert!(told.unread.is_empty());
            true
        }
    }
}

#[test]
fn every_fixture_is_read_alike_and_usual_ones_in_one_pass() {
    let statuses: Vec<usize> = BODIES.iter().map(|raw| compare(raw)).collect();
    assert_eq!(statuses[..USUAL.len()], [2, 1]);
    assert!(statuses.iter().sum::<usize>() > 50, "{statuses:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 20_000, ..ProptestConfig::default()
    })]

    #[test]
    fn damage_changes_both_readings_alike(
        is_usual in any::<bool>(),
        which in any::<prop::sample::Index>(),
        hits in proptest::collection::vec((
            any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, any::<u8>(),
        ), 1..4),
    ) {
        let bodies = &BODIES[..if is_usual { USUAL.len() } else { BODIES.len() }];
        let mut raw = which.get(bodies).clone();
        for (at, piece, how, byte) in hits {
            if raw.is_empty() {
                break;
            }
            let piece = piece.get(PIECES).as_bytes().iter().copied();
            let to = at.index(raw.len());
            // Where a key or a value begins or ends, most changes leave it JSON.
            let joint = |byte: &u8| b"{[,:}]".contains(byte);
            let joint = raw[to..].iter().position(joint).map_or(to, |offset| to + offset + 1);
            let end = raw[joint..].iter().position(|byte| b",}]".contains(byte));
            match how {
                0 => raw[to] = byte,
                1 => { raw.splice(to..to, piece); }
                2 => { raw.remove(to); }
                3 => { raw.splice(joint..joint + end.unwrap_or(0), piece); }
                _ => { raw.splice(joint..joint, piece); }
            }
        }
        compare(&raw);
    }
}

//! What of a body goes to whom, where an app of Meta is that of several channels.

use serde_json::json;
use twoticks_core::ids::Text;
use twoticks_server::control::channels::Command as Channels;
use twoticks_server::control::{Command, execute};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::Channel;
use twoticks_wire::webhook::meta::verify;

use super::*;

/// The channel as it is, with an app secret that both tenants have.
fn sharing(channel: &str) -> Change {
    let app_secrets = vec![secret(&format!("app-secret-of-{CHANNEL}"))];
    let known = channel_of(channel);
    let waba_id = Some(Text::new(&format!("waba-of-{channel}")).unwrap());
    Change::UpdateChannel(Channel { app_secrets, waba_id, ..known })
}

#[tokio::test]
async fn a_body_that_speaks_of_two_tenants_is_cut() {
    let (mut one, mut other) = (Receiver::start([TAKEN]).await, Receiver::start([TAKEN]).await);
    let mut changes = vec![sharing(CHANNEL), sharing(OTHER_CHANNEL)];
    for (channel, receiver) in [(CHANNEL, &one), (OTHER_CHANNEL, &other)] {
        changes.extend([receipts(channel, receiver), webhooks(channel, receiver, None)]);
    }
    let server = start(changes).await;
    let quality = |channel: &str| {
        let value = json!({"message_template_name": format!("template-of-{channel}")});
        let change = json!({"field": "message_template_quality_update", "value": value});
        json!({"id": format!("waba-of-{channel}"), "time": 1, "changes": [change]})
    };
    let (mine, theirs) = (text(NUMBER, "for one"), text(OTHER_NUMBER, "for the other"));
    let entry = json!({"id": "3000", "changes": [
        mine, theirs, status(NUMBER, "wamid.one", "read"), status(OTHER_NUMBER, "wamid.other", "read"),
        text("15550009999", "for nobody")]});
    let entries = json!([entry, quality(CHANNEL), quality(OTHER_CHANNEL)]);
    let body = json!({"object": "whatsapp_business_account", "entry": entries}).to_string();
    post(&server, CHANNEL, &body).await;
    until(&server, "taken", 6).await;
    let app = format!("app-secret-of-{CHANNEL}");
    let not = [
        ("for the other", "wamid.other", "template-of-cams-other"),
        ("for one", "wamid.one", "template-of-cams-one"),
    ];
    for ((receiver, own), not) in [(&mut one, 2), (&mut other, 2)].into_iter().zip(not) {
        let posts = receiver.wait_for(3).await;
        for post in &posts {
            let text = String::from_utf8_lossy(&post.body);
            for foreign in [not.0, not.1, not.2, "for nobody"] {
                assert!(!text.contains(foreign), "{foreign} in {text}");
            }
            if post.path == "/raw" {
                let hub = post.header("x-hub-signature-256").map(str::as_bytes);
                assert_eq!(verify(&[app.as_bytes()], &post.body, hub), Ok(0), "signed anew");
                let told = post.json();
                assert_eq!(told["object"], "whatsapp_business_account");
                assert_eq!(told["entry"].as_array().unwrap().len(), own);
                assert_eq!(told["entry"][0]["changes"].as_array().unwrap().len(), 2);
                assert_eq!(told["entry"][1]["time"], 1);
            }
        }
    }
    // One that is all of one tenant's is not touched, and the other does not hear of it.
    let whole = body_of(&[text(NUMBER, "again")]);
    post(&server, CHANNEL, &whole).await;
    until(&server, "taken", 8).await;
    let posts = one.wait_for(5).await;
    assert!(posts[3..].iter().any(|post| post.body == whole.as_bytes()));
    assert_eq!(other.posts().len(), 3);
    server.stop().await;
}

/// Who has the app secret of a body, and what else is known, when it is accepted and when it is
/// posted.
enum Then {
    /// The secret is the channel's alone.
    Alone,
    /// The other tenant has the secret; then it is removed.
    Removed,
    /// The other tenant has the secret; then it has another one.
    Rotated,
    /// The secret is the channel's alone; then a number of it moves to the other tenant.
    Moved,
}

#[tokio::test]
async fn a_body_passes_whole_only_if_nobody_else_was_told_any_of_it() {
    let (mine, theirs) = (text(NUMBER, "for one"), text(OTHER_NUMBER, "for the other"));
    let counted = status(NUMBER, "wamid.one", "read");
    let nobodys = text("15550009999", "for nobody");
    let unusual = r#"{"entry": "of a form that nobody knows"}"#;
    let moved = text(SECOND_NUMBER, "moved");
    let of = |changes: &[&Value]| {
        body_of(&changes.iter().map(|change| (*change).clone()).collect::<Vec<_>>())
    };
    let own = ["for one"].as_slice();
    for (then, body, expected) in [
        // Nobody else can have been told it, so that what is of nobody known passes as well.
        (Then::Alone, of(&[&mine, &nobodys]), None),
        (Then::Alone, of(&[&mine]), None),
        (Then::Alone, unusual.to_owned(), None),
        // The app of one tells of the other's number, whose secret was replaced too early.
        (Then::Alone, of(&[&mine, &theirs]), Some(own)),
        (Then::Alone, of(&[&mine, &theirs, &nobodys]), Some(&["for one", "for nobody"])),
        (Then::Alone, of(&[&theirs]), Some(&[])),
        // The entry names a channel either way, because all its events are of that one.
        (Then::Alone, of(&[&counted, &nobodys]), Some(&["wamid.one"])),
        (Then::Alone, of(&[&counted]), None),
        (Then::Removed, of(&[&mine, &theirs]), Some(own)),
        (Then::Removed, of(&[&counted, &theirs]), Some(&["wamid.one"])),
        (Then::Rotated, of(&[&mine, &theirs]), Some(own)),
        (Then::Rotated, of(&[&counted, &theirs]), Some(&["wamid.one"])),
        (Then::Moved, of(&[&moved, &mine]), Some(own)),
    ] {
        whole_or_cut(then, &body, expected).await;
    }
}

/// Has `body` accepted while the receiver is away, then retried: all of it, or what is `expected`.
async fn whole_or_cut(then: Then, body: &str, expected: Option<&[&str]>) {
    let mut receiver = Receiver::start([Answer::Say(500, ""), TAKEN]).await;
    let mut changes = vec![webhooks(CHANNEL, &receiver, None)];
    if matches!(then, Then::Removed | Then::Rotated) {
        changes.extend([sharing(CHANNEL), sharing(OTHER_CHANNEL)]);
    }
    let server = start(changes).await;
    post(&server, CHANNEL, body).await;
    let what = if expected == Some(&[]) { ("open", 0) } else { ("failed", 1) };
    until(&server, what.0, what.1).await;
    let other = channel_id(OTHER_CHANNEL);
    let change = match then {
        Then::Alone => Vec::new(),
        Then::Removed => vec![Change::RemoveChannel(other)],
        Then::Rotated => vec![Change::UpdateChannel(channel_of(OTHER_CHANNEL))],
        Then::Moved => vec![tenants::phone_number(SECOND_NUMBER, OTHER_CHANNEL)],
    };
    server.app.directory.change(change).await.unwrap();
    server.app.pass_on.changed(&server.app).await;
    turn(&server, MINUTE);
    until(&server, "open", 0).await;
    let app = format!("app-secret-of-{CHANNEL}");
    let posts = receiver.wait_for(if expected == Some(&[]) { 0 } else { 2 }).await;
    for post in &posts {
        let hub = post.header("x-hub-signature-256").map(str::as_bytes);
        assert_eq!(verify(&[app.as_bytes()], &post.body, hub), Ok(0), "{body}");
    }
    let last = posts.last().map(|post| String::from_utf8_lossy(&post.body).into_owned());
    match expected {
        None => assert_eq!(last.as_deref(), Some(body)),
        Some([]) => assert_eq!(last, None, "{body}"),
        Some(expected) => {
            let told = posts[1].json();
            let changes = told["entry"][0]["changes"].as_array().unwrap();
            assert_eq!(changes.len(), expected.len(), "{told}");
            for (change, expected) in changes.iter().zip(expected) {
                assert!(change.to_string().contains(expected), "{expected} in {told}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_number_was_told_elsewhere_stays_there() {
    let refusing = || Receiver::start([Answer::Say(500, ""), TAKEN]);
    let (one, mut other) = (refusing().await, refusing().await);
    let changes = vec![
        sharing(CHANNEL),
        sharing(OTHER_CHANNEL),
        webhooks(CHANNEL, &one, None),
        webhooks(OTHER_CHANNEL, &other, None),
    ];
    let server = start(changes).await;
    tell(&server, &[text(NUMBER, "before it moved"), text(OTHER_NUMBER, "theirs")]).await;
    until(&server, "failed", 2).await;
    let moved = Channels::PutNumber {
        channel: channel_id(OTHER_CHANNEL),
        phone_number: tenants::number(NUMBER),
        phone_number_id: Text::new(&format!("id{NUMBER}")).unwrap(),
    };
    execute(&server.app, Command::Channels(moved)).await.unwrap();
    turn(&server, MINUTE);
    // What the first tenant had not taken is nobody's now; the other gets its own part.
    until(&server, "open", 0).await;
    tell(&server, &[text(NUMBER, "after it moved")]).await;
    let posts = other.wait_for(3).await;
    until(&server, "taken", 2).await;
    let text = |at: usize| String::from_utf8_lossy(&posts[at].body).into_owned();
    for at in [0, 1] {
        assert!(
            text(at).contains("theirs") && !text(at).contains("before it moved"),
            "{}",
            text(at)
        );
    }
    assert!(text(2).contains("after it moved"));
    assert_eq!(one.posts().len(), 1);
    server.stop().await;
}

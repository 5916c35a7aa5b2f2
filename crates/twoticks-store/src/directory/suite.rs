//! What every directory does, run on each backend, and what the file alone promises.
//!
//! To add a case, write a private function and name it in `CASES`; one that is not named is dead
//! code, and the build says so. To add a backend, add a `#[tokio::test]` that calls `all`.

mod history;
mod in_a_file;
mod pass_on;

use std::collections::BTreeMap;
use std::sync::Arc;

use twoticks_core::clock::Time;
use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};

use self::history::*;
use self::pass_on::a_number_has_callbacks_of_its_own_or_of_its_channel;
use super::file::{FILE_NAME, FileDirectory};
use super::memory::MemoryDirectory;
use super::model::*;
use super::names::{AccessKeyId, Name, Secret, Uid, UserId};
use super::pass_on::{Callbacks, Step, Webhooks};
use super::snapshot::{OnlyChannel, Principal};
use super::{
    APP_SECRETS_MAX, APP_SECRETS_PER_CHANNEL_MAX, COMPONENTS_BYTES_MAX, Change, Directory, Error,
    KEYS_PER_PRINCIPAL_MAX, POLICY_BYTES_MAX, Refusal, WEBHOOKS_PER_CHANNEL_MAX,
};
use crate::keys::Keys;

const UID: &str = "1234567890123456";
const OTHER: &str = "6543210987654321";

fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}
fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}
fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}
fn user_id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}
fn key_id(text: &str) -> AccessKeyId {
    AccessKeyId::new(text).unwrap()
}
fn channel_id(text: &str) -> ChannelId {
    ChannelId::new(text).unwrap()
}
fn account(id: &str) -> Account {
    Account { uid: uid(id), name: text("Example"), subscribed: true }
}
fn user(id: &str, called: &str, policies: &[&str]) -> User {
    User {
        id: user_id(id),
        account: uid(UID),
        name: name(called),
        isv_scoped: false,
        policies: policies.iter().map(|it| name(it)).collect(),
    }
}
fn key(id: &str, owner: Owner) -> AccessKey {
    AccessKey {
        id: key_id(id),
        secret: secret("a-secret-of-a-key"),
        owner,
        active: true,
        rsa_public_key: None,
        v1_allowed: true,
    }
}
fn session(id: &str, token: &str) -> Session {
    Session {
        id: key_id(id),
        secret: secret("a-secret-of-a-session"),
        token: secret(token),
        account: uid(UID),
        role: name("reporter"),
        name: name("nightly"),
        policies: vec![name(READ_ONLY_ACCESS)],
        policy: Some(r#"{"Version":"1","Statement":[]}"#.into()),
        expires: Time(1_800_000_000_000),
    }
}
fn policy(called: &str) -> Policy {
    let document = r#"{"Version":"1","Statement":[]}"#.into();
    Policy { account: Some(uid(UID)), name: name(called), document }
}
fn channel(id: &str, owner: &str, app_secrets: &[&str]) -> Channel {
    Channel {
        id: channel_id(id),
        account: uid(owner),
        name: text("Shop"),
        waba_id: Some(text("102290129340398")),
        app_secrets: app_secrets.iter().map(|it| secret(it)).collect(),
        verify_token: secret(&format!("verify-{id}")),
        receipts_secret: secret(&format!("receipts-secret-of-{id}")),
        status_source: StatusSource::CloudApi,
        connection: None,
    }
}
fn number(digits: &str, id: &str, of: &str) -> Number {
    Number {
        phone_number: PhoneNumber::new(digits).unwrap(),
        phone_number_id: text(id),
        channel: channel_id(of),
        graph: None,
    }
}
fn template(of: &str, code: &str, language: &str, meta_id: &str) -> TemplateRecord {
    TemplateRecord {
        channel: channel_id(of),
        code: text(code),
        language: text(language),
        name: text(&format!("name_of_{code}")),
        meta_id: Some(text(meta_id)),
        category: Category::Marketing,
        buttons: vec![Button { kind: ButtonKind::QuickReply, text: text("Stop") }],
        graph: None,
        links: Vec::new(),
    }
}

fn link(id: [u8; 6]) -> Link {
    Link {
        id: LinkId(id),
        button: 1,
        text: text("Shop"),
        shown: "https://l.example.com/r/".into(),
        target: "https://shop.example/{{1}}".into(),
        example: Some(text("spring")),
    }
}

/// A directory with one of everything.
fn everything() -> Vec<Change> {
    vec![
        Change::AddAccount(account(UID)),
        Change::AddAccount(account(OTHER)),
        Change::AddPolicy(policy("only-reports")),
        Change::AddUser(user("20001", "reporting", &[READ_ONLY_ACCESS, "only-reports"])),
        Change::AddKey(key("LTAI5troot", Owner::Root(uid(UID)))),
        Change::AddKey(key("LTAI5tuser", Owner::User(user_id("20001")))),
        Change::AddSession(session("STS.one", "token-one")),
        Change::AddChannel(channel("cams-one", UID, &["app-old", "app-new"])),
        Change::AddChannel(channel("cams-far", OTHER, &["app-new"])),
        Change::PutIsvCode(IsvCode {
            user: user_id("20001"),
            channel: channel_id("cams-one"),
            code: secret("isv-code"),
        }),
        Change::PutNumber(number("15550783881", "106540352242922", "cams-one")),
        Change::PutTemplate(template("cams-one", "1001", "en", "9001")),
        Change::PutTemplate(template("cams-one", "1001", "id", "9002")),
    ]
}

/// What WhatsApp says of [`everything`], once it is connected.
fn connected() -> Vec<Change> {
    let connection = Connection {
        access_token: secret("an-access-token"),
        app_id: Some(text("4711")),
        marketing_messages: true,
        checked: Some(Time(1_000)),
        problems: vec![text("nothing is subscribed")],
        told: vec![text("a send was refused")],
    };
    let channel = channel("cams-one", UID, &["app-old", "app-new"]);
    let number = number("15550783881", "106540352242922", "cams-one");
    let said = GraphNumber {
        verified_name: Some(text("Shop")),
        messaging_limit: Some(text("TIER_1K")),
        status: Some(text("CONNECTED")),
        ..GraphNumber::default()
    };
    let template = template("cams-one", "1001", "en", "9001");
    let stands = GraphTemplate {
        components: r#"[{"type":"BODY","text":"Hello {{1}}"}]"#.into(),
        named: false,
        button_names: BTreeMap::from([(text("button_0"), text("path"))]),
        status: text("APPROVED"),
        reason: None,
        quality: Some(text("GREEN")),
        updated: Time(1_000),
        history: Vec::new(),
    };
    vec![
        Change::UpdateChannel(Channel { connection: Some(connection), ..channel }),
        Change::PutNumber(Number { graph: Some(said), ..number }),
        Change::PutTemplate(TemplateRecord {
            graph: Some(stands),
            links: vec![link([1, 2, 3, 4, 5, 6])],
            ..template
        }),
    ]
}

fn callbacks(url: &str) -> Callbacks {
    Callbacks { enabled: true, status_url: Some(secret(url)), inbound_url: None }
}

fn webhooks(url: &str) -> Step {
    Step::PutWebhooks(Webhooks { url: secret(url), key: Some(secret("a-webhooks-key")) })
}

/// Where what WhatsApp tells of [`everything`] is passed on to.
fn passed_on() -> Vec<Change> {
    let number = PhoneNumber::new("15550783881").unwrap();
    let steps = [
        Step::Callbacks(None, Some(callbacks("https://one.example/s?token=a"))),
        Step::Callbacks(Some(number), Some(callbacks("https://own.example/s?token=b"))),
        Step::ReceiptsKey(Some(secret("a-receipts-key"))),
        webhooks("https://inbox.example/?token=c"),
    ];
    steps.map(|step| Change::PassOn(channel_id("cams-one"), step)).into()
}

/// Makes `changes` and expects them to be refused, and nothing to have changed.
async fn refused(directory: &dyn Directory, changes: Vec<Change>) -> Refusal {
    let before = directory.snapshot();
    let what = format!("{changes:?}");
    match directory.change(changes).await {
        Err(Error::Refused(refusal)) => {
            assert!(before.contents() == directory.snapshot().contents(), "{what}");
            refusal
        }
        other => panic!("{what} was not refused: {other:?}"),
    }
}

async fn what_is_added_is_found(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let now = directory.snapshot();
    assert_eq!(now.accounts().count(), 2);
    assert_eq!(now.user_by_name(&uid(UID), "reporting").unwrap().id.as_str(), "20001");
    assert_eq!(now.user_by_name(&uid(OTHER), "reporting"), None);
    assert_eq!(now.users_of(&uid(UID)).count(), 1);
    assert!(now.key("LTAI5troot").unwrap().secret.is("a-secret-of-a-key"));
    assert_eq!(now.key("ltai5troot"), None);
    assert_eq!(now.keys_of(&Owner::User(user_id("20001"))).len(), 1);
    assert_eq!(now.session_by_token("token-one").unwrap().id.as_str(), "STS.one");
    assert_eq!(now.session_by_token("token-two"), None);
    assert_eq!(now.sessions().count(), 1);
    assert_eq!(now.policies_of(&uid(UID)).count(), 1);
    assert_eq!(now.policies_of(&uid(OTHER)).count(), 0);
    let one = channel_id("cams-one");
    assert!(now.isv_code(&user_id("20001"), &one).unwrap().code.is("isv-code"));
    assert_eq!(now.isv_code(&user_id("20001"), &channel_id("cams-far")), None);
    assert_eq!(now.only_channel(&uid(UID)), OnlyChannel::One(now.channel(&one).unwrap().clone()));
    assert_eq!(now.channels_of_waba(&text("102290129340398")).len(), 2);
    assert_eq!(now.number_by_id("106540352242922").unwrap().channel, one);
    assert_eq!(now.number(&PhoneNumber::new("15550783881").unwrap()).unwrap().channel, one);
    assert_eq!(now.numbers_of(&one).len(), 1);
    let (code, english) = (text("1001"), text("en"));
    assert_eq!(now.template_languages(&one, &code).len(), 2);
    assert_eq!(now.template(&one, &code, &english).unwrap().meta_id, Some(text("9001")));
    assert_eq!(now.template(&channel_id("cams-far"), &code, &english), None);
    assert_eq!(now.template_by_meta_id(&one, &text("9002")).unwrap().language, text("id"));
    let called = text("name_of_1001");
    assert_eq!(now.template_by_name(&one, &called, &english).unwrap().code, code);
    assert_eq!(now.templates_of(&one).count(), 2);
}

async fn a_key_leads_to_its_principal_and_policies(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let now = directory.snapshot();
    let of = |id| now.principal(id).unwrap();
    assert!(matches!(of("LTAI5troot"), Principal::Root(_)));
    assert!(matches!(of("LTAI5tuser"), Principal::User(..)));
    assert!(matches!(of("STS.one"), Principal::Session(..)));
    assert_eq!(now.principal("LTAI5tnobody"), None);
    let names = |id| -> Vec<String> {
        now.policies(&of(id)).iter().map(|policy| policy.name.to_string()).collect()
    };
    assert_eq!(names("LTAI5troot"), Vec::<String>::new());
    assert_eq!(names("LTAI5tuser"), [READ_ONLY_ACCESS, "only-reports"]);
    assert_eq!(names("STS.one"), [READ_ONLY_ACCESS]);
}

async fn a_signature_speaks_only_for_channels_that_have_the_secret(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let now = directory.snapshot();
    let mut found: Vec<_> = now
        .app_secrets()
        .iter()
        .map(|it| (it.secret.expose().to_owned(), it.channels.clone()))
        .collect();
    found.sort();
    let (one, far) = (channel_id("cams-one"), channel_id("cams-far"));
    let expected =
        [("app-new".to_owned(), vec![far, one.clone()]), ("app-old".to_owned(), vec![one])];
    assert_eq!(found, expected);
}

async fn a_receipts_secret_leads_to_one_channel(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let now = directory.snapshot();
    let found = now.channel_by_receipts_secret("receipts-secret-of-cams-far").unwrap();
    assert_eq!(found.id, channel_id("cams-far"));
    assert_eq!(now.channel_by_receipts_secret("receipts-secret-of-cams-fa"), None);
    for bad in ["receipts-secret-of-cams-one", "fifteen-charact", "a slash / is no part of it"] {
        let mut two = channel("cams-two", UID, &[]);
        two.receipts_secret = secret(bad);
        let refusal = refused(directory, vec![Change::AddChannel(two)]).await;
        assert!(!refusal.to_string().contains(bad), "{refusal}");
    }
}

async fn an_account_with_several_channels_has_to_name_one(directory: &dyn Directory) {
    directory.change(vec![Change::AddAccount(account(UID))]).await.unwrap();
    assert_eq!(directory.snapshot().only_channel(&uid(UID)), OnlyChannel::None);
    for id in ["cams-one", "cams-two"] {
        directory.change(vec![Change::AddChannel(channel(id, UID, &[]))]).await.unwrap();
    }
    assert_eq!(directory.snapshot().only_channel(&uid(UID)), OnlyChannel::Several);
    assert_eq!(directory.snapshot().channels_of(&uid(UID)).len(), 2);
}

async fn what_it_refers_to_has_to_be_there(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let mut stranger = user("20009", "stranger", &[]);
    stranger.account = uid("1111111111111111");
    let far_code = IsvCode {
        user: user_id("20001"),
        channel: channel_id("cams-far"),
        code: secret("isv-code"),
    };
    for change in [
        Change::AddUser(stranger),
        Change::AddUser(user("20009", "stranger", &["not-there"])),
        Change::AddKey(key("LTAI5tnew", Owner::User(user_id("20009")))),
        Change::AddKey(key("LTAI5tnew", Owner::Root(uid("1111111111111111")))),
        Change::AddChannel(channel("cams-two", "1111111111111111", &[])),
        Change::PutIsvCode(far_code),
        Change::PutNumber(number("1555", "5", "cams-two")),
        Change::PutTemplate(template("cams-two", "1", "en", "1")),
        Change::UpdateAccount(account("1111111111111111")),
        Change::RemoveUser(user_id("20009")),
        Change::SetKeyActive(key_id("LTAI5tnew"), false),
        Change::RemoveTemplate(channel_id("cams-one"), text("1001"), text("fr")),
        Change::RemovePolicy(uid(OTHER), name("only-reports")),
        Change::UpdatePolicy(policy("not-there")),
        Change::RemoveIsvCode(user_id("20001"), channel_id("cams-far")),
    ] {
        let refusal = refused(directory, vec![change]).await;
        assert!(matches!(refusal, Refusal::Missing { .. }), "{refusal}");
    }
}

async fn names_are_unique(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let mut named_alike = template("cams-one", "1002", "en", "9009");
    named_alike.name = text("name_of_1001");
    let linked = |code, count| {
        let links = vec![link([7; 6]); count];
        Change::PutTemplate(TemplateRecord { links, ..template("cams-one", code, "en", code) })
    };
    directory.change(vec![linked("1003", 1)]).await.unwrap();
    let known = directory.snapshot().link(LinkId([7; 6])).map(|(_, it)| it.clone());
    assert_eq!(known, Some(link([7; 6])));
    for change in [
        Change::AddAccount(account(UID)),
        Change::AddUser(user("20001", "another", &[])),
        Change::AddUser(user("20002", "reporting", &[])),
        Change::AddKey(key("LTAI5troot", Owner::Root(uid(UID)))),
        Change::AddKey(key("STS.one", Owner::Root(uid(UID)))),
        Change::AddPolicy(policy("only-reports")),
        Change::AddPolicy(policy(FULL_ACCESS)),
        Change::AddChannel(channel("cams-one", UID, &[])),
        Change::PutNumber(number("15550001111", "106540352242922", "cams-one")),
        Change::PutTemplate(template("cams-one", "1002", "en", "9001")),
        Change::PutTemplate(named_alike),
        linked("1004", 1),
        linked("1005", 2),
    ] {
        let refusal = refused(directory, vec![change]).await;
        assert!(matches!(refusal, Refusal::Exists { .. }), "{refusal}");
    }
    let twice = session("STS.two", "token-one");
    let refusal = refused(directory, vec![Change::AddSession(twice)]).await;
    assert!(!refusal.to_string().contains("token-one"), "{refusal}");
    let mut moved = channel("cams-one", OTHER, &[]);
    moved.name = text("Moved");
    let refusal = refused(directory, vec![Change::UpdateChannel(moved)]).await;
    assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal}");
}

async fn what_is_in_use_stays(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    for change in [
        Change::RemovePolicy(uid(UID), name("only-reports")),
        Change::RemoveAccount(uid(UID)),
        Change::RemoveAccount(uid(OTHER)),
    ] {
        let refusal = refused(directory, vec![change]).await;
        assert!(matches!(refusal, Refusal::InUse { .. }), "{refusal}");
    }
    let emptied = vec![
        Change::RemoveUser(user_id("20001")),
        Change::RemoveKey(key_id("LTAI5troot")),
        Change::RemoveSession(key_id("STS.one")),
        Change::RemovePolicy(uid(UID), name("only-reports")),
        Change::RemoveChannel(channel_id("cams-one")),
        Change::RemoveAccount(uid(UID)),
    ];
    directory.change(emptied).await.unwrap();
    let now = directory.snapshot();
    assert_eq!(now.key("LTAI5tuser"), None, "a user's keys go with it");
    assert_eq!(now.number_by_id("106540352242922"), None, "a channel's numbers go with it");
    assert_eq!(now.templates_of(&channel_id("cams-one")).count(), 0);
}

async fn limits_hold_at_the_edge(directory: &dyn Directory) {
    directory.change(vec![Change::AddAccount(account(UID))]).await.unwrap();
    let keys = |count: usize| -> Vec<Change> {
        let owner = || Owner::Root(uid(UID));
        (0..count).map(|i| Change::AddKey(key(&format!("LTAI5t{i}"), owner()))).collect()
    };
    let mut wordy = policy("wordy");
    let channels = |count: usize| -> Vec<Change> {
        let app = |i| format!("app-{i}");
        let add = |i| Change::AddChannel(channel(&format!("cams-{i}"), UID, &[&app(i)]));
        (0..count).map(add).collect()
    };
    wordy.document = " ".repeat(POLICY_BYTES_MAX + 1).into();
    let long = |bytes: usize| -> Vec<Change> {
        let mut changes = everything();
        changes.extend(connected());
        for change in &mut changes {
            if let Change::PutTemplate(TemplateRecord { graph: Some(graph), .. }) = change {
                graph.components = " ".repeat(bytes).into();
            }
        }
        changes.split_off(1)
    };
    let apps: Vec<String> =
        (0..=APP_SECRETS_PER_CHANNEL_MAX).map(|i| format!("many-{i}")).collect();
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    for beyond in [
        keys(KEYS_PER_PRINCIPAL_MAX + 1),
        vec![Change::AddPolicy(wordy.clone())],
        channels(APP_SECRETS_MAX + 1),
        vec![Change::AddChannel(channel("cams-many", UID, &apps))],
        long(COMPONENTS_BYTES_MAX + 1),
    ] {
        let refusal = refused(directory, beyond).await;
        assert!(matches!(refusal, Refusal::Limit { .. }), "{refusal}");
    }
    directory.change(long(COMPONENTS_BYTES_MAX)).await.unwrap();
    let mut removed = vec![Change::RemoveKey(key_id("LTAI5troot"))];
    removed.extend(["cams-one", "cams-far"].map(|id| Change::RemoveChannel(channel_id(id))));
    directory.change(removed).await.unwrap();
    wordy.document = " ".repeat(POLICY_BYTES_MAX).into();
    directory.change(keys(KEYS_PER_PRINCIPAL_MAX)).await.unwrap();
    directory.change(vec![Change::AddPolicy(wordy)]).await.unwrap();
    directory.change(channels(APP_SECRETS_MAX)).await.unwrap();
    let shared = channel("cams-many", UID, &["app-0", "app-1", "app-1", "app-2"]);
    directory.change(vec![Change::AddChannel(shared)]).await.unwrap();
    assert_eq!(directory.snapshot().app_secrets().len(), APP_SECRETS_MAX);
}

async fn changes_made_together_happen_all_or_not_at_all(directory: &dyn Directory) {
    let together =
        vec![Change::AddAccount(account(UID)), Change::AddChannel(channel("c", OTHER, &[]))];
    refused(directory, together).await;
    assert_eq!(directory.snapshot().accounts().count(), 0);
}

async fn a_snapshot_never_changes(directory: &dyn Directory) {
    let before = directory.snapshot();
    directory.change(everything()).await.unwrap();
    assert_eq!(before.accounts().count(), 0);
    let switched = vec![
        Change::SetKeyActive(key_id("LTAI5tuser"), false),
        Change::SetKeyV1Allowed(key_id("LTAI5tuser"), false),
    ];
    let held = directory.snapshot();
    directory.change(switched).await.unwrap();
    assert!(held.key("LTAI5tuser").unwrap().active);
    let now = directory.snapshot();
    let key = now.key("LTAI5tuser").unwrap();
    assert!(!key.active && !key.v1_allowed);
}

async fn a_number_moves_to_another_channel(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let moved = number("15550783881", "106540352242922", "cams-far");
    directory.change(vec![Change::PutNumber(moved)]).await.unwrap();
    let now = directory.snapshot();
    assert_eq!(now.number_by_id("106540352242922").unwrap().channel, channel_id("cams-far"));
    assert_eq!(now.numbers_of(&channel_id("cams-one")).len(), 0);
}

async fn sessions_are_forgotten_once_expired(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    let end = Time(1_800_000_000_000);
    directory.change(vec![Change::RemoveSessionsExpiredBy(Time(end.0 - 1))]).await.unwrap();
    assert_eq!(directory.snapshot().sessions().count(), 1);
    directory.change(vec![Change::RemoveSessionsExpiredBy(end)]).await.unwrap();
    assert_eq!(directory.snapshot().sessions().count(), 0);
}

/// Runs every case, each on a directory of its own.
async fn all(make: impl Fn() -> (Box<dyn Directory>, Option<tempfile::TempDir>)) {
    macro_rules! cases {
        ($($case:ident),* $(,)?) => {$(
            let (directory, _folder) = make();
            $case(&*directory).await;
        )*};
    }
    cases![
        what_is_added_is_found,
        a_key_leads_to_its_principal_and_policies,
        a_signature_speaks_only_for_channels_that_have_the_secret,
        a_receipts_secret_leads_to_one_channel,
        an_account_with_several_channels_has_to_name_one,
        what_it_refers_to_has_to_be_there,
        names_are_unique,
        a_number_has_callbacks_of_its_own_or_of_its_channel,
        what_is_in_use_stays,
        limits_hold_at_the_edge,
        changes_made_together_happen_all_or_not_at_all,
        a_snapshot_never_changes,
        a_number_moves_to_another_channel,
        sessions_are_forgotten_once_expired,
        only_what_whatsapp_says_otherwise_is_kept,
        the_newest_changes_are_kept,
        a_template_loses_no_link,
    ];
}

#[tokio::test]
async fn a_directory_in_memory_does_all_of_it() {
    all(|| (Box::new(MemoryDirectory::new()), None)).await;
}

#[tokio::test]
async fn a_directory_in_a_file_does_all_of_it() {
    all(|| {
        let folder = tempfile::tempdir().unwrap();
        (Box::new(open(folder.path())), Some(folder))
    })
    .await;
}

fn keys() -> Arc<Keys> {
    Arc::new(Keys::from_bytes([7; 32]))
}

fn open(folder: &std::path::Path) -> FileDirectory {
    FileDirectory::open(folder, keys()).unwrap()
}

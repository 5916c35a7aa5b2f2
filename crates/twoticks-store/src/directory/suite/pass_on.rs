//! Where what WhatsApp tells is passed on to.

use super::*;

pub(super) async fn a_number_has_callbacks_of_its_own_or_of_its_channel(directory: &dyn Directory) {
    directory.change(everything()).await.unwrap();
    directory.change(passed_on()).await.unwrap();
    let (one, far) = (channel_id("cams-one"), channel_id("cams-far"));
    let (own, other) =
        (PhoneNumber::new("15550783881").unwrap(), PhoneNumber::new("1555").unwrap());
    let of = |directory: &dyn Directory, number| {
        let snapshot = directory.snapshot();
        let url = snapshot.pass_on(&one).unwrap().callbacks_of(number).status_url.unwrap();
        url.expose().to_owned()
    };
    assert_eq!(of(directory, &own), "https://own.example/s?token=b");
    assert_eq!(of(directory, &other), "https://one.example/s?token=a");
    assert_eq!(directory.snapshot().all_pass_on().count(), 1);
    // Each address once: the second time it is another key.
    directory
        .change(vec![Change::PassOn(one.clone(), webhooks("https://inbox.example/?token=c"))])
        .await
        .unwrap();
    assert_eq!(directory.snapshot().pass_on(&one).unwrap().webhooks.len(), 1);
    // A number that leaves the channel leaves them behind, also when it comes back.
    for channel in ["cams-far", "cams-one"] {
        let moved = Change::PutNumber(number("15550783881", "106540352242922", channel));
        directory.change(vec![moved]).await.unwrap();
    }
    assert_eq!(of(directory, &own), "https://one.example/s?token=a");
    let gone = || Step::Callbacks(Some(own.clone()), None);
    for step in [gone(), Step::RemoveWebhooks(secret("https://nobody.example/?token=c"))] {
        let refusal = refused(directory, vec![Change::PassOn(one.clone(), step)]).await;
        assert!(matches!(refusal, Refusal::Missing { .. }), "{refusal}");
        assert!(!refusal.to_string().contains("token"), "{refusal}");
    }
    let step = Step::ReceiptsKey(None);
    let refusal = refused(directory, vec![Change::PassOn(channel_id("cams-no"), step)]).await;
    assert!(matches!(refusal, Refusal::Missing { .. }), "{refusal}");
    let many = |count: usize| -> Vec<Change> {
        let url = |index| webhooks(&format!("https://{index}.example/"));
        (0..count).map(|index| Change::PassOn(far.clone(), url(index))).collect()
    };
    directory.change(many(WEBHOOKS_PER_CHANNEL_MAX)).await.unwrap();
    let refusal = refused(directory, many(WEBHOOKS_PER_CHANNEL_MAX + 1)).await;
    assert!(matches!(refusal, Refusal::Limit { .. }), "{refusal}");
    directory.change(vec![Change::RemoveChannel(one.clone())]).await.unwrap();
    assert_eq!(directory.snapshot().pass_on(&one), None);
}

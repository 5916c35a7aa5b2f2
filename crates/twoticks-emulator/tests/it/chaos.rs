//! Whatever goes wrong on the way, the metrics are what the emulator's book says.

use std::collections::{BTreeMap, BTreeSet};

use twoticks_core::clock::{Clock as _, DAY, SECOND};
use twoticks_core::event::Category;
use twoticks_emulator::book::{Cell, Sums};
use twoticks_emulator::chaos::{Chaos, Profile};
use twoticks_emulator::whatsapp::{Config, Standing};

use crate::harness::{CHANNELS, CODE, Emulated, MOVED, PROMO, SHIPPED, channel, template};

const HOUR: i64 = 3_600 * SECOND;

/// Two weeks of three channels: opt-ins, a template that becomes marketing, one that is paused,
/// groups, people without a number, free-form messages, tells of opened links.
async fn live(emulated: &mut Emulated) {
    let whatsapp = emulated.whatsapp.clone();
    whatsapp.tell_links(&channel("cams-shop"), true);
    for day in 0..4 {
        for (index, id) in ["cams-shop", "cams-bank", "cams-outlet"].into_iter().enumerate() {
            let first = day * 1_000;
            emulated.send(id, 0, PROMO, first, 40 + 10 * index).await;
            emulated.send(id, 1, SHIPPED, first + 300, 15).await;
            emulated.send(id, 1, MOVED, first + 400, 15).await;
            emulated.send(id, 0, CODE, first + 500, 5).await;
        }
        let group = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            ("CustSpaceId", "cams-shop"),
            ("From", "628110000001"),
            ("To", "Y2FwaV9ncm91cDo"),
            ("RecipientType", "group"),
            ("TemplateCode", PROMO.0),
            ("Language", PROMO.1),
        ];
        emulated.call("SendChatappMessage", &group).await;
        let mut user = group;
        (user[4], user[5]) = (("To", "ID.13491208655302741918"), ("RecipientType", "userId"));
        emulated.call("SendChatappMessage", &user).await;
        let text = [
            ("ChannelType", "whatsapp"),
            ("Type", "message"),
            ("MessageType", "text"),
            ("Content", r#"{"text":"hello"}"#),
            ("CustSpaceId", "cams-bank"),
            ("From", "5511900000001"),
            ("To", "5511900000099"),
        ];
        emulated.call("SendChatappMessage", &text).await;
        emulated.advance(6 * HOUR).await;
        match day {
            0 => emulated.opt_in("cams-shop").await,
            1 => {
                emulated.opt_in("cams-bank").await;
                let effective = whatsapp.clock().now().plus(10 * HOUR);
                let of = (channel("cams-bank"), template(MOVED));
                whatsapp.recategorise(&of.0, &of.1, Category::Marketing, effective);
            }
            2 => {
                let of = (channel("cams-outlet"), template(PROMO));
                whatsapp.put_template(&of.0, &of.1, Category::Marketing, Standing::Paused);
                emulated.advance(3 * HOUR).await;
                whatsapp.put_template(&of.0, &of.1, Category::Marketing, Standing::Approved);
                emulated.opt_in("cams-outlet").await;
            }
            _ => {}
        }
        emulated.advance(DAY - 6 * HOUR).await;
    }
    emulated.whatsapp.flush().await.unwrap();
    assert_eq!(emulated.whatsapp.pending().0, 0, "everything was told");
}

/// What has to be counted of all channels.
type Counted = Vec<BTreeMap<Cell, Sums>>;

/// What was seen going wrong with bodies, where a profile is about those.
fn faults_of(profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Duplicate => &["repeated"],
        Profile::Drop => &["lost", "answer lost"],
        Profile::Truncate => &["cut short", "broken off"],
        Profile::Forge => &["forged"],
        Profile::Reorder | Profile::Delay | Profile::Batch | Profile::Burst | Profile::Silence => {
            &[]
        }
    }
}

async fn equal_under(chaos: Chaos, seed: u64) -> Counted {
    let config = Config { seed, chaos, ..Config::default() };
    let mut emulated = Emulated::start(config).await;
    live(&mut emulated).await;
    let sent = emulated.compare(&format!("{chaos}, seed {seed}")).await;
    assert!((800..1_150).contains(&sent), "{chaos}: {sent}");
    let (forgeries, lost, missed) =
        emulated.whatsapp.read_book(|book| (book.forgeries(), book.lost(), book.missed()));
    assert_eq!((forgeries, lost, missed), (0, 0, 0), "{chaos}");
    let counters = emulated.app.ledger.counters();
    assert_eq!((counters.late, counters.dead, counters.overflows), (0, 0, 0), "{chaos}");
    let is_repeated = chaos.has(Profile::Duplicate) || chaos.has(Profile::Drop);
    assert_eq!(counters.duplicates > 100, is_repeated, "{chaos}: {}", counters.duplicates);
    assert!(counters.out_of_order > 100 || !chaos.has(Profile::Reorder), "{chaos}");
    let bodies = emulated.whatsapp.webhooks(&|_| true, 1_000);
    let seen: BTreeSet<&str> = bodies.iter().filter_map(|body| body.fault).collect();
    let meant: BTreeSet<&str> = chaos.profiles().flat_map(faults_of).copied().collect();
    assert_eq!(seen, meant, "{chaos}");
    let mut counted = Vec::new();
    for (id, ..) in CHANNELS {
        counted.push(emulated.booked(id));
    }
    emulated.stop().await;
    counted
}

macro_rules! under {
    ($($name:ident: $profiles:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            drop(equal_under(Chaos::of(&$profiles), 1).await);
        }
    )*};
}

under! {
    when_all_is_calm: [];
    when_everything_is_repeated: [Profile::Duplicate];
    when_nothing_is_in_order: [Profile::Reorder];
    when_news_is_days_late: [Profile::Delay];
    when_bodies_and_answers_are_lost: [Profile::Drop];
    when_bodies_are_of_any_size: [Profile::Batch];
    when_bodies_are_cut_short: [Profile::Truncate];
    when_somebody_else_signs: [Profile::Forge];
    when_it_comes_all_at_once: [Profile::Burst];
    when_there_is_silence: [Profile::Silence];
    when_everything_goes_wrong: Profile::ALL;
}

#[tokio::test]
async fn what_is_counted_does_not_depend_on_what_goes_wrong() {
    let calm = equal_under(Chaos::NONE, 2).await;
    assert!(equal_under(Chaos::of(&Profile::ALL), 2).await == calm, "the books differ");
}

use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn account(channel: &str, waba_id: &str) -> Account {
    Account { channel: ChannelId::new(channel).unwrap(), waba_id: text(waba_id) }
}

fn template(id: &str) -> TemplateKey {
    TemplateKey { id: text(id), product: text("cloud_api") }
}

fn button(kind: &str) -> ButtonKey {
    ButtonKey { kind: text(kind), text: text("Shop") }
}

fn told(day: i64, figures: TemplateFigures) -> Days {
    let templates = BTreeMap::from([(template("1"), figures)]);
    Days::from([(Day(day), OfDay { templates, ..OfDay::default() })])
}

fn sent(count: u64) -> TemplateFigures {
    TemplateFigures { sent: Some(count), ..TemplateFigures::default() }
}

/// Memory, and a folder.
fn everywhere() -> (tempfile::TempDir, [Figures; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let figures = [Figures::in_memory(), Figures::in_folder(folder.path())];
    (folder, figures)
}

const TODAY: Day = Day(20_780);

#[tokio::test]
async fn what_is_set_back_to_zero_is_kept_and_a_restart_changes_nothing() {
    let (folder, all) = everywhere();
    let one = account("cams-1", "41");
    let clicks = |count| Some(BTreeMap::from([(button("url_button"), count)]));
    let cost = |at, micros| Some(Cost { read: Time(at), micros });
    let [sent, delivered, read] = [Some(9), Some(8), Some(7)];
    let before = TemplateFigures { sent, delivered, read, clicks: clicks(3), cost: cost(1, 15) };
    let after = TemplateFigures {
        delivered: Some(9),
        read: Some(0),
        clicks: clicks(0),
        cost: cost(2, 14),
        ..before.clone()
    };
    for figures in &all {
        for told_now in [&before, &after, &before] {
            figures.merge(&one, told(TODAY.0, told_now.clone()), TODAY).await.unwrap();
        }
    }
    for figures in [&all[0], &Figures::in_folder(folder.path())] {
        let kept = figures.days(&one, TODAY, TODAY).await.unwrap();
        let kept = &kept[&TODAY].templates[&template("1")];
        assert_eq!((kept.sent, kept.delivered, kept.read), (Some(9), Some(9), Some(7)));
        assert_eq!(kept.clicks, clicks(3));
        // A cost is corrected both ways.
        assert_eq!(kept.cost, cost(2, 14));
    }
}

#[tokio::test]
async fn accounts_and_channels_are_kept_apart_and_a_channel_can_be_forgotten() {
    let (_folder, all) = everywhere();
    for figures in all {
        let accounts = [
            account("cams-a", "41"),
            account("cams-A", "41"),
            account("cams-a", "42"),
            account("../cams-a/\"", "41"),
            account(&"c".repeat(128), "41"),
        ];
        for (failures, account) in (1_u32..).zip(&accounts) {
            figures.merge(account, told(1, sent(failures.into())), Day(1)).await.unwrap();
            let standing = Standing { failures, ..Standing::default() };
            figures.set_standing(account, standing).await.unwrap();
        }
        for (count, account) in (1..).zip(&accounts) {
            let kept = figures.days(account, Day(0), Day(2)).await.unwrap();
            assert_eq!(kept, told(1, sent(count)));
            let standing = figures.standing(account).await.unwrap().unwrap();
            assert_eq!(u64::from(standing.failures), count);
        }
        assert_eq!(figures.standing(&account("cams-b", "41")).await.unwrap(), None);
        figures.forget(&accounts[0].channel).await.unwrap();
        figures.forget(&accounts[0].channel).await.unwrap();
        let mut left = Vec::new();
        for account in &accounts {
            left.push(figures.days(account, Day(1), Day(1)).await.unwrap().len());
        }
        assert_eq!(left, [0, 1, 0, 1, 1]);
    }
}

#[tokio::test]
async fn days_are_kept_for_four_hundred_days() {
    let (_folder, all) = everywhere();
    for figures in all {
        let one = account("cams-1", "41");
        let oldest = TODAY.0 - KEPT_DAYS;
        let mut days = told(oldest, sent(1));
        days.append(&mut told(oldest - 1, sent(2)));
        days.append(&mut told(TODAY.0, sent(3)));
        figures.merge(&one, days, TODAY).await.unwrap();
        let kept = figures.days(&one, Day(0), TODAY).await.unwrap();
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [Day(oldest), TODAY]);
        // A file goes when all of its days are too old.
        let later = Day((Day(oldest).period() + 1) * PERIOD_DAYS + KEPT_DAYS);
        figures.merge(&one, told(later.0, sent(4)), Day(later.0 - 1)).await.unwrap();
        assert_eq!(figures.days(&one, Day(0), later).await.unwrap().len(), 3);
        // Those of an account that it was connected with before go as well, and nobody else's.
        let others = [account("cams-1", "42"), account("cams-2", "41")];
        for other in &others {
            figures.merge(other, told(oldest, sent(5)), TODAY).await.unwrap();
        }
        figures.merge(&one, told(later.0, sent(4)), later).await.unwrap();
        assert_eq!(figures.days(&one, Day(0), later).await.unwrap().len(), 2);
        for (other, left) in others.iter().zip([0, 1]) {
            assert_eq!(figures.days(other, Day(0), later).await.unwrap().len(), left);
        }
    }
}

#[tokio::test]
async fn a_file_takes_so_many_rows_and_what_is_too_much_changes_nothing() {
    let (_folder, all) = everywhere();
    for figures in all {
        let one = account("cams-1", "41");
        let rows = |count: usize| {
            let template = |id: usize| (template(&id.to_string()), sent(1));
            let templates = (0..count).map(template).collect();
            Days::from([(TODAY, OfDay { templates, ..OfDay::default() })])
        };
        figures.merge(&one, rows(ROWS_MAX), TODAY).await.unwrap();
        let refused = figures.merge(&one, rows(ROWS_MAX + 1), TODAY).await;
        let limit = ROWS_MAX;
        assert!(
            matches!(refused, Err(Error::TooLarge { found, limit: most, .. })
                if (found, most) == (limit + 1, limit)),
            "{refused:?}"
        );
        let kept = figures.days(&one, TODAY, TODAY).await.unwrap();
        assert_eq!(kept[&TODAY].templates.len(), ROWS_MAX);
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_and_a_newer_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let figures = Figures::in_folder(folder.path());
    let one = account("cams-1", "41");
    figures.merge(&one, told(TODAY.0, sent(1)), TODAY).await.unwrap();
    figures.set_standing(&one, Standing::default()).await.unwrap();
    let files = figures.files().await.unwrap();
    assert_eq!(files.len(), 2, "{files:?}");
    let path = folder.path().join(files.iter().find(|file| file.ends_with(".days")).unwrap());
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let found = figures.days(&one, TODAY, TODAY).await;
        assert!(matches!(&found, Err(Error::Corrupt { place, .. }) if *place == path), "{found:?}");
    }
    for place in 1..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let found = figures.days(&one, TODAY, TODAY).await;
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{place}: {found:?}");
    }
    let mut bytes = whole.clone();
    bytes[0] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let merged = figures.merge(&one, told(TODAY.0, sent(2)), TODAY).await;
    assert!(matches!(merged, Err(Error::NewerVersion { found: 2, .. })), "{merged:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_damaged_file_keeps_nothing_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let figures = Figures::in_folder(folder.path());
    let one = account("cams-1", "41");
    let periods = [TODAY.0 - 2 * PERIOD_DAYS, TODAY.0 - PERIOD_DAYS, TODAY.0];
    let days = |count| periods.iter().flat_map(|day| told(*day, sent(count))).collect::<Days>();
    let too_old = told(TODAY.0 - KEPT_DAYS - PERIOD_DAYS, sent(1));
    figures.merge(&one, too_old, Day(0)).await.unwrap();
    figures.merge(&one, days(1), Day(0)).await.unwrap();
    let middle = format!("/{}{DAYS}", Day(periods[1]).period());
    let files = figures.files().await.unwrap();
    let path = folder.path().join(files.iter().find(|file| file.ends_with(&middle)).unwrap());
    std::fs::write(&path, [1]).unwrap();
    let merged = figures.merge(&one, days(2), TODAY).await;
    assert!(matches!(&merged, Err(Error::Corrupt { place, .. }) if *place == path), "{merged:?}");
    assert_eq!(std::fs::read(&path).unwrap(), [1]);
    for day in [periods[0], periods[2]] {
        let kept = figures.days(&one, Day(day), Day(day)).await.unwrap();
        assert_eq!(kept, told(day, sent(2)));
    }
    // What is too old has gone all the same.
    assert_eq!(figures.files().await.unwrap().len(), periods.len());
}

#[tokio::test]
async fn files_of_every_version_are_read_for_ever() {
    let days = Days::from([(
        Day(3),
        OfDay {
            templates: BTreeMap::from([(
                template("1"),
                TemplateFigures {
                    sent: Some(4),
                    clicks: Some(BTreeMap::from([(button("url_button"), 5)])),
                    cost: Some(Cost { read: Time(6), micros: -7 }),
                    ..TemplateFigures::default()
                },
            )]),
            templates_read: Some(Read { first: Time(8), last: Time(9) }),
            numbers: BTreeMap::from([(
                PhoneNumber::new("49151").unwrap(),
                NumberFigures { sent: 10, delivered: 11, read: Read::at(Time(12)) },
            )]),
            prices: BTreeMap::from([(
                PriceKey { category: text("MARKETING"), kind: text("REGULAR") },
                PriceFigures { volume: Some(13), cost: None },
            )]),
            prices_read: None,
        },
    )]);
    let standing = Standing {
        tried: Time(14),
        read: Some(Time(15)),
        failures: 16,
        insights: Some(true),
        is_unsupported: false,
        currency: Some(text("USD")),
        round: Some(Round {
            begun: Time(17),
            first: Day(18),
            last: Day(19),
            after: Some(Question::Template(text("1"))),
            is_cut: true,
            lacks_templates: false,
        }),
        unknown: vec![text("2")],
        problems: vec![text("x")],
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&stored::encode(&days)), DAYS_V1);
    assert_eq!(hex(&stored::encode(&standing)), STANDING_V2);
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let path = Path::new("a file");
    assert_eq!(stored::decode::<Days>(path, &bytes(DAYS_V1)).unwrap(), days);
    assert_eq!(stored::decode::<Standing>(path, &bytes(STANDING_V2)).unwrap(), standing);
    // What was begun then begins anew.
    let before = Standing { round: None, ..standing };
    assert_eq!(stored::decode::<Standing>(path, &bytes(STANDING_V1)).unwrap(), before);
}

const DAYS_V1: &str = "01aa42eb93954f131d010601013109636c6f75645f6170690104000001010a75726c5f627574746f\
    6e0453686f7005010c0d011012010534393135310a0b181801094d41524b4554494e470752454755\
    4c4152010d0000";
const STANDING_V2: &str =
    "02e99d4a541a848c1d1c011e10010100010355534401222426010201310100010132010178";
const STANDING_V1: &str = "01191692dd2f781b971c011e100101000103555344010131010132010178";

fn any_day() -> impl Strategy<Value = OfDay> {
    let count = || proptest::option::of(0_u64..4);
    let cost = || {
        let cost = (0_i64..3, -2_i64..3).prop_map(|(at, micros)| Cost { read: Time(at), micros });
        proptest::option::of(cost)
    };
    let read = || {
        (0_i64..4, 0_i64..4).prop_map(|(a, b)| Read { first: Time(a.min(b)), last: Time(a.max(b)) })
    };
    let clicks =
        proptest::collection::btree_map("[ab]".prop_map(|kind| button(&kind)), 0_u64..4, 0..3);
    let figures = (count(), count(), count(), proptest::option::of(clicks), cost()).prop_map(
        |(sent, delivered, read, clicks, cost)| TemplateFigures {
            sent,
            delivered,
            read,
            clicks,
            cost,
        },
    );
    let templates =
        proptest::collection::btree_map("[12]".prop_map(|id| template(&id)), figures, 0..3);
    let number = (0_u64..4, 0_u64..4, read()).prop_map(|(sent, delivered, read)| NumberFigures {
        sent,
        delivered,
        read,
    });
    let numbers = proptest::collection::btree_map(
        "[12]".prop_map(|digits| PhoneNumber::new(&digits).unwrap()),
        number,
        0..3,
    );
    let price = (count(), cost()).prop_map(|(volume, cost)| PriceFigures { volume, cost });
    let key = ("[ab]", "[ab]").prop_map(|(a, b)| PriceKey { category: text(&a), kind: text(&b) });
    let prices = proptest::collection::btree_map(key, price, 0..3);
    let reads = (proptest::option::of(read()), proptest::option::of(read()));
    (templates, numbers, prices, reads).prop_map(
        |(templates, numbers, prices, (templates_read, prices_read))| OfDay {
            templates,
            templates_read,
            numbers,
            prices,
            prices_read,
        },
    )
}

fn merged<'a>(days: impl Iterator<Item = &'a OfDay>) -> OfDay {
    let mut all = OfDay::default();
    days.for_each(|day| all.merge(day.clone()));
    all
}

proptest! {
    #[test]
    fn the_order_of_readings_changes_nothing_nor_does_reading_twice(
        days in proptest::collection::vec(any_day(), 0..8),
        cut in 0_usize..8,
    ) {
        let all = merged(days.iter());
        prop_assert_eq!(&merged(days.iter().rev()), &all);
        prop_assert_eq!(&merged(days.iter().chain(&days)), &all);
        prop_assert_eq!(&merged([&all, &all].into_iter()), &all);
        let (one, other) = days.split_at(cut.min(days.len()));
        prop_assert_eq!(&merged([&merged(other.iter()), &merged(one.iter())].into_iter()), &all);
        // Nothing is lost and nothing is told lower than it was.
        for (key, told) in days.iter().flat_map(|day| &day.templates) {
            let kept = &all.templates[key];
            prop_assert!(kept.sent >= told.sent && kept.delivered >= told.delivered);
            prop_assert!(kept.read >= told.read && kept.cost >= told.cost);
        }
        for (number, told) in days.iter().flat_map(|day| &day.numbers) {
            let kept = &all.numbers[number];
            prop_assert!(kept.sent >= told.sent && kept.delivered >= told.delivered);
        }
    }
}

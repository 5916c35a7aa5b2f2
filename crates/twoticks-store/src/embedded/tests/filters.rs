//! No row that is in the tables is ever said not to be there, whatever is made of filters meanwhile.

use proptest::prelude::*;

use super::expiry::{commit, expire, told_on};
use super::generations::Still;
use super::*;
use crate::digest::Table;
use crate::embedded::filling::Filling;
use crate::embedded::filter::tests::hashes;
use crate::embedded::tombstones::Fingerprint;

/// What can happen to pieces and their filters.
#[derive(Clone, Debug)]
enum Step {
    /// So many days later something is told of that day, and of days before.
    Tell(i64),
    Commit,
    Cut,
    Fill(usize),
    Expire,
    /// As after a start.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_i64..9).prop_map(Step::Tell),
        4 => Just(Step::Commit),
        1 => Just(Step::Cut),
        4 => (1_usize..20).prop_map(Step::Fill),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn all_is_known(still: &Still) {
    let looked = still.shared.slot.with(|tables| {
        for piece in tables.pieces().iter() {
            let of = |table, key: &[u8]| piece.filter.may_have(Fingerprint::of(table, key).hash());
            for guard in piece.messages.iter() {
                let key = guard.key().map_err(tables::engine_error)?;
                assert!(of(Table::Messages, &key), "{:?} excludes a message", piece.id());
                assert!(tables.filters().may_have(&key) && tables.message(&key)?.is_some());
            }
            for guard in piece.taps.iter() {
                let key = guard.key().map_err(tables::engine_error)?;
                assert!(of(Table::Taps, &key), "{:?} excludes a tap", piece.id());
                assert!(tables.tap(&key)?.is_some());
            }
        }
        for of in tables.tombstones().iter() {
            let (hashes, _) = of.hashes(&tables.db, None, usize::MAX)?;
            assert!(hashes.iter().all(|hash| of.filter.may_have(*hash)), "a tombstone is excluded");
        }
        Ok(())
    });
    looked.unwrap();
}

fn fill(still: &Still, filling: &mut Filling) -> bool {
    still.shared.slot.with(|tables| tables.fill_filters(filling)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn no_row_is_ever_excluded(
        steps in steps(),
        // Room for one that grows and almost nothing, for two, and for all.
        share in prop::sample::select(vec![0, 393_300, 396_000, 788_000, 1 << 30]),
    ) {
        let mut still = Still::within(Memory { filters: share, ..Memory::of(0) });
        let (mut filling, mut today) = (Filling::default(), 0);
        for step in steps {
            match step {
                Step::Tell(later) => {
                    today += later;
                    still.fold(&told_on(today)).unwrap();
                }
                Step::Commit => commit(&mut still),
                Step::Cut => drop(still.shared.slot.with(Tables::cut).unwrap()),
                Step::Fill(times) => {
                    for _ in 0..times {
                        fill(&still, &mut filling);
                    }
                }
                Step::Expire => {
                    still.shared.commit_all(&mut still.young).unwrap();
                    expire(&still);
                }
                Step::Reopen => {
                    still.shared.commit_all(&mut still.young).unwrap();
                    still.forget();
                }
            }
            all_is_known(&still);
        }
        while fill(&still, &mut filling) {}
        all_is_known(&still);
        let made = still.shared.slot.with(|tables| {
            let pieces = tables.pieces();
            let bytes: usize = pieces.iter().skip(1).map(|piece| piece.filter.bytes()).sum();
            assert!(pieces.iter().skip(1).all(|piece| piece.filter.is_closed()));
            assert!(!pieces.iter().any(|piece| piece.filter.is_wanted()));
            Ok(bytes)
        });
        // The one that is written to grows beside them, and is looked at again when there is another.
        prop_assert!(made.unwrap() <= share);
    }
}

#[test]
fn what_does_not_change_any_more_is_known_at_once_after_a_start() {
    let mut still = Still::new();
    for today in 0..60 {
        still.fold(&told_on(today)).unwrap();
        still.shared.commit_all(&mut still.young).unwrap();
    }
    let mut filling = Filling::default();
    while fill(&still, &mut filling) {}
    let unknown: Vec<u64> = hashes(0, 1_000).collect();
    let known = |still: &Still, at_least: usize| {
        all_is_known(still);
        let closed = still.shared.slot.with(|tables| {
            let pieces = tables.pieces();
            let complete = pieces.iter().skip(1).filter(|piece| piece.filter.is_complete());
            let complete: Vec<_> = complete.collect();
            for piece in &complete {
                let seem = unknown.iter().filter(|hash| piece.filter.may_have(**hash)).count();
                assert!(seem < 50, "{seem} of {} seem to be in {:?}", unknown.len(), piece.id());
            }
            Ok(complete.len())
        });
        let closed = closed.unwrap();
        assert!(closed >= at_least, "{closed} of {at_least}");
        closed
    };
    let all = known(&still, 2);
    still.forget();
    known(&still, all);
    // One that is damaged is made again, and so is what several have seen.
    let folder = still.shared.slot.folder().join("filters");
    let kept = || fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    fs::write(kept().next().unwrap(), b"rubbish").unwrap();
    still.forget();
    known(&still, all - 1);
    let mut filling = Filling::default();
    while fill(&still, &mut filling) {}
    known(&still, all);
    let has_seen = still.shared.slot.with(|tables| {
        let seen = |hash: &&u64| tables.pieces().iter().any(|piece| piece.seen.may_have(**hash));
        Ok(unknown.iter().filter(seen).count())
    });
    assert!(has_seen.unwrap() < unknown.len() / 2);
    assert_eq!(kept().count(), all);
}

#[test]
fn what_is_half_made_when_the_engine_is_opened_again_is_made_anew() {
    let mut still = Still::new();
    for today in 0..20 {
        still.fold(&told_on(today)).unwrap();
        still.shared.commit_all(&mut still.young).unwrap();
    }
    still.forget();
    for begun in 1..12 {
        let mut filling = Filling::default();
        for _ in 0..begun {
            fill(&still, &mut filling);
        }
        still.forget();
        while fill(&still, &mut filling) {}
        all_is_known(&still);
    }
}

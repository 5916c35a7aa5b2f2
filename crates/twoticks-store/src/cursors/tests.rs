//! What cursors promise: what was kept is known again, and files go when nobody needs them.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::steps::decode;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn hash(of: u8) -> Hash {
    Hash([of; 16])
}

fn cursor(next: u64, open: usize) -> Cursor {
    let open = (1..=open as u64).map(|position| Open { position, tries: 1, at: Time(60_000) });
    Cursor { next, open: open.collect() }
}

#[derive(Clone, Debug)]
enum Step {
    Keep(Vec<(u8, u64, usize)>),
    Forget(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (0..6_u8, 1..u64::MAX, 0..OPEN_MAX);
    let step = prop_oneof![
        4 => prop::collection::vec(one, 0..5).prop_map(Step::Keep),
        1 => (0..6_u8).prop_map(Step::Forget),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    // Each step is a sync.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_kept_is_known_again(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, mut model) = (runtime(), BTreeMap::new());
        let mut cursors = Cursors::open(folder.path()).unwrap();
        for step in steps {
            match step {
                Step::Keep(some) => {
                    let some = some.into_iter().map(|(of, next, open)| (hash(of), cursor(next, open)));
                    let some: Vec<_> = some.collect();
                    model.extend(some.iter().cloned());
                    runtime.block_on(cursors.keep(some)).unwrap();
                }
                Step::Forget(of) => {
                    model.remove(&hash(of));
                    runtime.block_on(cursors.forget(vec![hash(of)])).unwrap();
                }
                Step::Reopen => {
                    drop(cursors);
                    cursors = Cursors::open(folder.path()).unwrap();
                }
            }
            prop_assert_eq!(cursors.all(), model.clone());
        }
        drop(cursors);
        prop_assert_eq!(Cursors::open(folder.path()).unwrap().all(), model);
    }
}

#[test]
fn one_that_stands_still_does_not_keep_the_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, cursors) = (runtime(), Cursors::open(folder.path()).unwrap());
    let still = cursor(1, OPEN_MAX);
    runtime.block_on(cursors.keep(vec![(hash(9), still.clone())])).unwrap();
    for next in 1..500 {
        runtime.block_on(cursors.keep(vec![(hash(1), cursor(next, 3))])).unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(files <= SEGMENTS_MAX + 2, "{files} files");
    }
    drop(cursors);
    let again = Cursors::open(folder.path()).unwrap().all();
    assert_eq!(again.get(&hash(9)), Some(&still));
    assert_eq!(again.get(&hash(1)), Some(&cursor(499, 3)));
}

#[test]
fn what_another_version_wrote_is_told() {
    let decoded = decode::<All>(Path::new("x"), 7, &[2, 0]);
    assert!(matches!(decoded, Err(Error::NewerVersion { found: 2, .. })));
    assert!(matches!(decode::<All>(Path::new("x"), 7, &[]), Err(Error::Corrupt { .. })));
    assert!(matches!(
        decode::<All>(Path::new("x"), 7, &[All::VERSION, 9]),
        Err(Error::Corrupt { .. })
    ));
}

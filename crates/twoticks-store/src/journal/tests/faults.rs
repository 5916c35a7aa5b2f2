//! What is refused, for now and for good.

use super::*;

#[test]
fn what_cannot_be_written_is_cut_off_at_once_and_the_next_is_a_new_attempt() {
    for (op, kind) in [(Op::Write, NO_ROOM), (Op::Write, BROKEN), (Op::Create, NO_ROOM)] {
        for before in [0, 1, 3] {
            let row = format!("{op:?} {kind:?} after {before}");
            let folder = tempfile::tempdir().unwrap();
            let disk = Simulated::new(before + 1);
            // Each segment is begun with the record that is refused.
            let limits = Limits { segment_bytes: 1, ..Limits::default() };
            let (journal, _) = open_on(folder.path(), limits, &disk).unwrap();
            let mut expected = Vec::new();
            for _ in 0..before {
                block_on(journal.append(vec![1; 20], 0)).unwrap();
                expected.push(vec![1; 20]);
            }
            disk.break_down(&[(op, kind)]);
            for _ in 0..2 {
                let refused = block_on(journal.append(vec![99; 30], 0)).unwrap_err();
                let full = kind == NO_ROOM;
                assert_eq!(matches!(refused, Error::Full { .. }), full, "{row}: {refused}");
                assert_eq!(matches!(refused, Error::Unavailable { .. }), !full, "{row}");
                assert_eq!(contents(&journal), expected, "{row}");
            }
            let files = segments(folder.path());
            let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
            assert!(bytes <= 32 * files.len() as u64 + before * 44, "{row}: {bytes}");
            disk.break_down(&[]);
            for n in 0..2 {
                let position = block_on(journal.append(vec![100 + n], 0)).unwrap();
                expected.push(vec![100 + n]);
                assert_eq!(position, expected.len() as u64, "{row}");
            }
            drop(journal);
            disk.restart(true);
            assert_eq!(contents(&open(folder.path()).unwrap()), expected, "{row}, reopened");
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_taken_any_more_and_everybody_is_told() {
    for broken in [
        vec![(Op::Sync, BROKEN)],
        // Also one that would have room later: nobody knows what it left.
        vec![(Op::Sync, NO_ROOM)],
        vec![(Op::Sync, BROKEN), (Op::Cut, BROKEN)],
        vec![(Op::Write, NO_ROOM), (Op::Cut, BROKEN)],
        vec![(Op::Write, NO_ROOM), (Op::Sync, BROKEN)],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Simulated::new(3);
        let (journal, _) = open_on(folder.path(), Limits::default(), &disk).unwrap();
        block_on(journal.append(vec![1], 0)).unwrap();
        block_on(async {
            let mut failed = Box::pin(journal.failed());
            assert!(poll_once(&mut failed).await.is_none());
            disk.break_down(&broken);
            let refused = journal.append(vec![2], 0).await;
            assert!(matches!(refused, Err(Error::Failed { .. })), "{broken:?}: {refused:?}");
            // The disk is as good as ever, it seems.
            disk.break_down(&[]);
            let refused = journal.append(vec![3], 0).await;
            assert!(matches!(refused, Err(Error::Failed { .. })), "{broken:?}: {refused:?}");
            assert!(matches!(failed.await, Error::Failed { .. }));
        });
        // What was acknowledged is read as ever.
        assert_eq!(contents(&journal), [vec![1]]);
        drop(journal);
        let (journal, _) = open_on(folder.path(), Limits::default(), &disk).unwrap();
        let found = contents(&journal);
        assert!(found == [vec![1]] || found == [vec![1], vec![2]], "{broken:?}: {found:?}");
        block_on(journal.append(vec![4], 0)).unwrap();
    }
}

//! What is removed from the beginning.

use super::*;

#[test]
fn what_is_trimmed_is_whole_segments_and_never_the_last() {
    let folder = tempfile::tempdir().unwrap();
    // Three records a segment.
    let limits = Limits { segment_bytes: 32 + 3 * 34, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    for n in 1..=11 {
        block_on(journal.append(vec![n; 10], 0)).unwrap();
    }
    let firsts = || journal.segments().iter().map(|segment| segment.first).collect::<Vec<_>>();
    assert_eq!(firsts(), [1, 4, 7, 10]);
    let mut reader = journal.read(1);
    assert_eq!(reader.next().unwrap().unwrap(), (1, vec![1; 10]));
    for (before, bytes, kept) in [
        (0, 0, 1),
        (3, 0, 1),
        (4, 134, 4),
        (9, 134, 7),
        (9, 0, 7),
        (Position::MAX, 134, 10),
        (Position::MAX, 0, 10),
    ] {
        assert_eq!(journal.trim(before).unwrap(), bytes, "before {before}");
        assert_eq!((firsts()[0], journal.first()), (kept, kept), "before {before}");
        let read: Vec<_> = journal.read(1).map(|record| record.unwrap().0).collect();
        assert_eq!(read, (kept..=11).collect::<Vec<_>>(), "before {before}");
    }
    // What was open is read to its end; the gap behind it is an error, not silence.
    assert_eq!(reader.next().unwrap().unwrap().0, 2);
    assert_eq!(reader.next().unwrap().unwrap().0, 3);
    assert!(matches!(reader.next(), Some(Err(Error::Unavailable { .. }))));
    assert!(reader.next().is_none());
    let mut reader = journal.read(1);
    assert_eq!(reader.at(9).unwrap(), None);
    assert_eq!(reader.at(11).unwrap(), Some(vec![11; 10]));
    drop(journal);
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.first(), 10);
    assert_eq!(block_on(journal.append(vec![12], 0)).unwrap(), 12);
}

#[test]
fn a_position_is_not_given_again_when_the_only_segment_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Simulated::new(1);
    let limits = Limits { segment_bytes: 1, ..Limits::default() };
    let (journal, _) = open_on(folder.path(), limits, &disk).unwrap();
    block_on(journal.append(vec![1], 0)).unwrap();
    // Behind the five operations that begin the segment.
    disk.plan(5, Fault::Fails(NO_ROOM));
    assert!(matches!(block_on(journal.append(vec![2], 0)), Err(Error::Full { .. })));
    assert_eq!(journal.segments().len(), 2);
    journal.trim(2).unwrap();
    drop(journal);
    for _ in 0..2 {
        let (journal, _) = open_on(folder.path(), limits, &disk).unwrap();
        assert_eq!((journal.first(), journal.acknowledged()), (2, 1));
        assert_eq!(journal.read(0).count(), 0);
    }
    let (journal, _) = open_on(folder.path(), limits, &disk).unwrap();
    assert_eq!(block_on(journal.append(vec![2], 0)).unwrap(), 2);
}

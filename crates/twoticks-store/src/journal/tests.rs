//! The journal against the simplest model, a list, with every way a disk has to fail.

mod faults;
mod power;
mod trimming;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::segment::{HEADER_BYTES, RECORD_BYTES, put_record};
use super::simulated::{Fault, Op, Simulated};
use super::*;

/// What a full disk says, and a broken one.
const NO_ROOM: io::ErrorKind = io::ErrorKind::StorageFull;
const BROKEN: io::ErrorKind = io::ErrorKind::Other;

type Delivered = Arc<Mutex<Vec<(Position, u32)>>>;

fn open_files(
    folder: &Path,
    limits: Limits,
    files: Arc<dyn Files>,
) -> Result<(Journal<u32>, Delivered), Error> {
    let delivered = Delivered::default();
    let sink = Arc::clone(&delivered);
    let deliver = Box::new(move |position, note| sink.lock().unwrap().push((position, note)));
    Ok((Journal::open_on(folder, limits, deliver, files)?, delivered))
}

fn open_with(folder: &Path, limits: Limits) -> Result<(Journal<u32>, Delivered), Error> {
    open_files(folder, limits, Arc::new(Disk))
}

fn open_on(
    folder: &Path,
    limits: Limits,
    disk: &Simulated,
) -> Result<(Journal<u32>, Delivered), Error> {
    open_files(folder, limits, Arc::new(disk.clone()))
}

fn open(folder: &Path) -> Result<Journal<u32>, Error> {
    Ok(open_with(folder, Limits::default())?.0)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn contents(journal: &Journal<u32>) -> Vec<Vec<u8>> {
    let records: Vec<_> = journal.read(1).collect::<Result<_, _>>().unwrap();
    assert!(records.iter().map(|(position, _)| *position).eq(1..=records.len() as u64));
    records.into_iter().map(|(_, payload)| payload).collect()
}

/// Appends records that are all queued at once, so that some are written together.
fn append_at_once(
    journal: &Journal<u32>,
    records: Vec<(u32, Vec<u8>)>,
) -> Vec<Result<Position, Error>> {
    block_on(async {
        let mut waiting = Vec::new();
        for (note, payload) in records {
            let mut append = Box::pin(journal.append(payload, note));
            let answer = poll_once(&mut append).await;
            waiting.push((append, answer));
        }
        let mut answers = Vec::new();
        for (append, answer) in waiting {
            answers.push(match answer {
                Some(answer) => answer,
                None => append.await,
            });
        }
        answers
    })
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A segment's bytes as one write per group of payloads would leave them.
fn segment_of(writes: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = segment::header(1);
    let mut position = 0;
    for write in writes {
        for (back, payload) in (0..).zip(write) {
            position += 1;
            put_record(&mut bytes, position, back, payload);
        }
    }
    bytes
}

fn write_segment(folder: &Path, bytes: &[u8]) {
    fs::write(segment::path(folder, 1), bytes).unwrap();
}

#[test]
fn what_was_appended_is_read_in_order_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, delivered) = open_with(folder.path(), Limits::default()).unwrap();
    assert_eq!((journal.acknowledged(), journal.first()), (0, 1));
    assert!(contents(&journal).is_empty());
    for (note, payload) in (0_u32..).zip([b"one".as_slice(), b"", b"three"]) {
        let position = block_on(journal.append(payload.to_vec(), note)).unwrap();
        assert_eq!(position, u64::from(note) + 1);
    }
    assert_eq!(*delivered.lock().unwrap(), [(1, 0), (2, 1), (3, 2)]);
    let expected = [b"one".to_vec(), vec![], b"three".to_vec()];
    assert_eq!(contents(&journal), expected);
    journal.close();
    assert!(matches!(block_on(journal.append(vec![], 0)), Err(Error::Closed)));
    let journal = open(folder.path()).unwrap();
    assert_eq!(contents(&journal), expected);
    assert_eq!(block_on(journal.append(b"four".to_vec(), 3)).unwrap(), 4);
    assert_eq!(journal.read(3).map(|record| record.unwrap().0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(journal.read(5).count(), 0);
}

#[test]
fn a_reader_ends_at_what_was_acknowledged_when_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    block_on(journal.append(b"one".to_vec(), 0)).unwrap();
    let reader = journal.read(1);
    block_on(journal.append(b"two".to_vec(), 0)).unwrap();
    assert_eq!(reader.count(), 1);
    assert_eq!(journal.read(0).count(), 2);
}

#[test]
fn segments_follow_each_other_and_a_missing_one_is_told_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 200, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    let payloads: Vec<Vec<u8>> = (0..50).map(|n| vec![n; usize::from(n) * 3]).collect();
    for payload in &payloads {
        block_on(journal.append(payload.clone(), 0)).unwrap();
    }
    assert_eq!(contents(&journal), payloads);
    drop(journal);
    let files = segments(folder.path());
    assert!(files.len() > 10, "{}", files.len());
    let journal = open(folder.path()).unwrap();
    assert_eq!(contents(&journal), payloads);
    for from in 1..=50 {
        assert_eq!(journal.read(from).count() as u64, 51 - from, "{from}");
    }
    drop(journal);
    let begins = |file: &Path| {
        let name = file.file_stem().unwrap().to_str().unwrap();
        name.parse::<u64>().unwrap()
    };
    fs::remove_file(&files[3]).unwrap();
    let journal = open(folder.path()).unwrap();
    for from in [1, begins(&files[2]), begins(&files[3])] {
        let last = journal.read(from).last().unwrap();
        let missing = format!("the record {} is missing", begins(&files[3]));
        assert!(matches!(last, Err(Error::Corrupt { what, .. }) if what == missing), "{from}");
    }
    assert_eq!(journal.read(begins(&files[4])).count() as u64, 51 - begins(&files[4]));
}

#[test]
fn a_reader_finds_any_later_record() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 2_000, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    for n in 1..=200 {
        block_on(journal.append(vec![n; 20], 0)).unwrap();
    }
    for steps in [vec![1, 2, 3], vec![5, 60, 61, 190, 200], vec![199, 3], vec![70, 135, 201]] {
        let mut reader = journal.read(1);
        let mut next = 1;
        for to in steps {
            let expected = u8::try_from(to).ok().filter(|n| to >= next && *n <= 200);
            assert_eq!(reader.at(to).unwrap(), expected.map(|n| vec![n; 20]), "{to}");
            next = next.max(to + 1);
        }
    }
}

#[test]
fn a_journal_whose_old_segments_are_gone_begins_later() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    for n in 0..5 {
        block_on(journal.append(vec![n], 0)).unwrap();
    }
    drop(journal);
    let files = segments(folder.path());
    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.first(), 3);
    assert_eq!(journal.read(0).map(|record| record.unwrap()).next(), Some((3, vec![2])));
    assert_eq!(block_on(journal.append(vec![5], 0)).unwrap(), 6);
}

#[test]
fn a_tail_cut_at_any_byte_leaves_the_records_before_it() {
    let payloads: Vec<Vec<u8>> = (1..=4).map(|n| vec![n; usize::from(n) * 5]).collect();
    let bytes =
        segment_of(&payloads.iter().map(|payload| vec![payload.clone()]).collect::<Vec<_>>());
    let mut ends = vec![HEADER_BYTES];
    for payload in &payloads {
        ends.push(ends.last().unwrap() + RECORD_BYTES + payload.len());
    }
    for cut in 0..=bytes.len() {
        let folder = tempfile::tempdir().unwrap();
        write_segment(folder.path(), &bytes[..cut]);
        let whole = ends.iter().skip(1).filter(|end| **end <= cut).count();
        let journal = open(folder.path()).unwrap();
        assert_eq!(contents(&journal), payloads[..whole], "cut at {cut}");
        let position = block_on(journal.append(b"next".to_vec(), 0)).unwrap();
        assert_eq!(position, whole as u64 + 1, "cut at {cut}");
        drop(journal);
        let mut expected = payloads[..whole].to_vec();
        expected.push(b"next".to_vec());
        assert_eq!(contents(&open(folder.path()).unwrap()), expected, "cut at {cut}");
    }
}

#[test]
fn any_changed_byte_is_found_and_only_the_last_write_may_be_cut() {
    let writes: Vec<Vec<Vec<u8>>> =
        vec![vec![vec![1; 9]], vec![vec![2; 3], vec![3; 5]], vec![vec![4; 7], vec![], vec![5; 8]]];
    let bytes = segment_of(&writes);
    let last_write = segment_of(&writes[..2]).len();
    for at in 0..bytes.len() {
        for flip in [1, 0x80] {
            let folder = tempfile::tempdir().unwrap();
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            write_segment(folder.path(), &damaged);
            match open(folder.path()) {
                Ok(journal) => {
                    assert!(at >= last_write, "byte {at} was cut off silently");
                    assert_eq!(contents(&journal)[..3], [vec![1; 9], vec![2; 3], vec![3; 5]]);
                }
                Err(Error::Corrupt { place, .. }) => {
                    assert!(at < last_write, "byte {at} is of a write that may be torn");
                    assert_eq!(place, segment::path(folder.path(), 1));
                }
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn what_stands_behind_a_torn_record_does_not_come_back_behind_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = segment_of(&[vec![vec![1; 9]], vec![vec![2; 9], vec![3; 9], vec![4; 9]]]);
    // The first record of the last write is torn, those behind it are whole.
    bytes[HEADER_BYTES + 2 * RECORD_BYTES + 9] ^= 1;
    write_segment(folder.path(), &bytes);
    let journal = open(folder.path()).unwrap();
    assert_eq!(block_on(journal.append(vec![5; 9], 0)).unwrap(), 2);
    drop(journal);
    assert_eq!(contents(&open(folder.path()).unwrap()), [vec![1; 9], vec![5; 9]]);
}

#[test]
fn any_changed_byte_in_an_earlier_segment_is_found_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    for n in 0..2 {
        block_on(journal.append(vec![n; 6], 0)).unwrap();
    }
    drop(journal);
    let first = segments(folder.path())[0].clone();
    let bytes = fs::read(&first).unwrap();
    let is_corrupt = || {
        let journal = open(folder.path()).unwrap();
        assert_eq!(journal.acknowledged(), 2);
        assert_eq!(journal.read(2).map(|record| record.unwrap().1).next(), Some(vec![1; 6]));
        matches!(journal.read(1).next(), Some(Err(Error::Corrupt { .. })))
    };
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&first, &damaged).unwrap();
        assert!(is_corrupt(), "byte {at}");
    }
    fs::write(&first, &bytes[..bytes.len() - 1]).unwrap();
    assert!(is_corrupt(), "cut");
}

#[test]
fn a_damaged_record_is_named_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    for n in 0..3 {
        block_on(journal.append(vec![n; 10], 0)).unwrap();
    }
    let path = segment::path(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let second = HEADER_BYTES + RECORD_BYTES + 10;
    bytes[second + RECORD_BYTES] ^= 1;
    fs::write(&path, bytes).unwrap();
    let read: Vec<_> = journal.read(1).collect();
    assert_eq!(read.len(), 2);
    let error = read[1].as_ref().unwrap_err().to_string();
    assert!(error.contains(&format!("the record 2 at byte {second}")), "{error}");
}

#[test]
fn a_newer_format_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = segment_of(&[vec![vec![1]]]);
    bytes[8] = 2;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..24]);
    bytes[24..32].copy_from_slice(&sum.to_le_bytes());
    write_segment(folder.path(), &bytes);
    assert!(matches!(open(folder.path()), Err(Error::NewerVersion { found: 2, known: 1, .. })));
    assert_eq!(fs::read(segment::path(folder.path(), 1)).unwrap(), bytes);
}

#[test]
fn the_format_of_version_1_is_read_for_ever() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal-v1");
    let limits = Limits { segment_bytes: 100, ..Limits::default() };
    let payloads = [b"first".to_vec(), vec![], vec![0xff; 40], "zażółć".into(), b"last".to_vec()];
    if !data.exists() {
        let (journal, _) = open_with(&data, limits).unwrap();
        for payload in payloads {
            block_on(journal.append(payload, 0)).unwrap();
        }
        panic!("`{}` was not there and is made now: check it in", data.display());
    }
    let folder = tempfile::tempdir().unwrap();
    for file in segments(&data) {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(contents(&open(folder.path()).unwrap()), payloads);
}

#[test]
fn an_append_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { record_bytes_max: 10, queue_bytes_max: 5, ..Limits::default() };
    let (journal, _) = open_with(folder.path(), limits).unwrap();
    let large = block_on(journal.append(vec![0; 11], 0));
    assert!(matches!(large, Err(Error::TooLarge { found: 11, limit: 10, .. })));
    // Alone in the queue, so taken although the queue's limit is lower.
    assert_eq!(block_on(journal.append(vec![0; 10], 0)).unwrap(), 1);
    assert_eq!(contents(&journal), [vec![0; 10]]);
}

#[test]
fn a_full_queue_is_busy_and_all_that_were_taken_are_written_together() {
    for (limits, busy_limit) in [
        (Limits { queue_records_max: 4, ..Limits::default() }, 4),
        (Limits { queue_bytes_max: 40, ..Limits::default() }, 40),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Simulated::new(1);
        let (journal, _) = open_on(folder.path(), limits, &disk).unwrap();
        block_on(journal.append(vec![0; 10], 0)).unwrap();
        let (opener, arrivals) = disk.close_gate();
        block_on(async {
            let mut waiting: Vec<_> = Vec::new();
            let refused = loop {
                let mut append = Box::pin(journal.append(vec![1; 10], 0));
                match poll_once(&mut append).await {
                    Some(Err(error)) => break error,
                    Some(Ok(position)) => panic!("{position} acknowledged behind a closed gate"),
                    None => waiting.push(append),
                }
                // The writer takes the first and waits behind the gate, so the others fill the queue.
                if waiting.len() == 1 {
                    arrivals.recv().unwrap();
                }
            };
            assert!(matches!(refused, Error::Busy { limit, .. } if limit == busy_limit));
            assert_eq!(waiting.len(), 5);
            drop(opener);
            for (index, append) in waiting.into_iter().enumerate() {
                assert_eq!(append.await.unwrap(), index as u64 + 2);
            }
        });
        assert_eq!(block_on(journal.append(vec![2], 0)).unwrap(), journal.acknowledged());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn equals_a_list_whatever_is_appended_and_wherever_it_is_reopened(
        runs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20), 0..5),
        segment_bytes in 1_u64..2_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Vec::new();
        for run in runs {
            let limits = Limits { segment_bytes, ..Limits::default() };
            let (journal, _) = open_with(folder.path(), limits).unwrap();
            prop_assert_eq!(contents(&journal), model.clone());
            let records = run.iter().map(|payload| (0, payload.clone())).collect();
            assert!(append_at_once(&journal, records).iter().all(Result::is_ok));
            model.extend(run);
            journal.close();
            prop_assert_eq!(contents(&journal), model.clone());
        }
        prop_assert_eq!(contents(&open(folder.path()).unwrap()), model);
    }

    #[test]
    fn a_torn_last_write_is_cut_whatever_part_of_it_is_missing(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
        from in any::<prop::sample::Index>(),
        length in 1_usize..80,
    ) {
        // A power cut: any part of the last write may never have reached the disk.
        let folder = tempfile::tempdir().unwrap();
        let kept = vec![vec![b"kept".to_vec()]];
        let start = segment_of(&kept).len();
        let mut bytes = segment_of(&[kept[0].clone(), payloads.clone()]);
        let from = start + from.index(bytes.len() - start);
        let to = (from + length).min(bytes.len());
        bytes[from..to].fill(0);
        write_segment(folder.path(), &bytes);
        let read = contents(&open(folder.path()).unwrap());
        prop_assert_eq!(&read[0], b"kept");
        prop_assert!(payloads.starts_with(&read[1..]));
    }
}

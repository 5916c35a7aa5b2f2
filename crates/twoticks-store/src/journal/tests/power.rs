//! Power cuts: what no sync has promised is gone, or there after all, whichever is worse.
//!
//! [`Volatile`] remembers what the syncs so far promise of each file and of the folder; an image is
//! a folder as a power cut would leave it at this moment.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A disk with a volatile cache, over one that can be told to fail.
#[derive(Clone, Default)]
struct Volatile {
    disk: Faulty,
    kept: Arc<Mutex<Kept>>,
}

/// What the disk has, apart from its cache.
#[derive(Default)]
struct Kept {
    /// By file: what is promised, and what may be there instead.
    files: BTreeMap<PathBuf, [Vec<u8>; 2]>,
    /// The files whose names are promised.
    named: BTreeSet<PathBuf>,
}

/// What became of bytes that were written and not synced.
#[derive(Clone, Copy, Debug)]
enum Unsynced {
    Lost,
    Kept,
}

impl Volatile {
    /// What a power cut would leave of `folder` now.
    fn image(&self, folder: &Path, unsynced: Unsynced) -> tempfile::TempDir {
        let kept = self.kept.lock().unwrap();
        let image = tempfile::tempdir().unwrap();
        let names = match unsynced {
            Unsynced::Lost => kept.named.clone(),
            Unsynced::Kept => segments(folder).into_iter().collect(),
        };
        for path in names {
            let bytes = kept.files.get(&path).map_or(&[][..], |file| &file[unsynced as usize]);
            fs::write(image.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        image
    }
}

impl Files for Volatile {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let below = self.disk.create(path)?;
        self.kept.lock().unwrap().files.insert(path.to_owned(), Default::default());
        Ok(Box::new(VolatileHandle(self.clone(), path.to_owned(), below)))
    }
    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>> {
        let below = self.disk.reopen(path, offset)?;
        Ok(Box::new(VolatileHandle(self.clone(), path.to_owned(), below)))
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)?;
        if !folder.ends_with("..") {
            self.kept.lock().unwrap().named = segments(folder).into_iter().collect();
        }
        Ok(())
    }
}

struct VolatileHandle(Volatile, PathBuf, Box<dyn Handle>);

impl VolatileHandle {
    /// Takes the file as it is now for what is there, or may be.
    fn note(&self, of: &[Unsynced]) {
        let bytes = fs::read(&self.1).unwrap();
        let mut kept = self.0.kept.lock().unwrap();
        let file = kept.files.entry(self.1.clone()).or_default();
        for which in of {
            file[*which as usize].clone_from(&bytes);
        }
    }
}

impl Handle for VolatileHandle {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.2.write_all(bytes);
        self.note(&[Unsynced::Kept]);
        written
    }
    fn sync(&mut self) -> io::Result<()> {
        self.2.sync()?;
        self.note(&[Unsynced::Lost, Unsynced::Kept]);
        Ok(())
    }
    fn cut(&mut self, offset: u64) -> io::Result<()> {
        // Until the next sync, what was cut off may come back.
        self.2.cut(offset)
    }
}

fn open_volatile(folder: &Path, limits: Limits, disk: &Volatile) -> Journal<u32> {
    Journal::open_on(folder, limits, Box::new(|_, _| {}), Box::new(disk.clone())).unwrap()
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_that_does_not_open() {
    let faults = [Fault::None, Fault::WriteFull, Fault::Sync, Fault::SyncAndCut, Fault::SyncFull];
    for (fault, before, segment_bytes) in faults.into_iter().flat_map(|fault| {
        [0, 2].into_iter().flat_map(move |n| [1, 10_000].map(|bytes| (fault, n, bytes)))
    }) {
        let row = format!("fault {} after {before}, segments of {segment_bytes}", fault as u8);
        let folder = tempfile::tempdir().unwrap();
        let disk = Volatile::default();
        let limits = Limits { segment_bytes, ..Limits::default() };
        let journal = open_volatile(folder.path(), limits, &disk);
        let mut expected = Vec::new();
        let plan = std::iter::repeat_n(Fault::None, before)
            .chain(std::iter::repeat_n(fault, 2))
            .chain(std::iter::repeat_n(Fault::None, 3));
        for (step, fault) in (0..).zip(plan) {
            disk.disk.set(fault);
            let payload = vec![step; 20];
            let appended = block_on(journal.append(payload.clone(), 0));
            assert_eq!(appended.is_ok(), matches!(fault, Fault::None), "{row}, step {step}");
            expected.extend(appended.is_ok().then_some(payload));
            for unsynced in [Unsynced::Lost, Unsynced::Kept] {
                let image = disk.image(folder.path(), unsynced);
                let left = contents(&open(image.path()).unwrap());
                let place = format!("{row}, step {step}, {unsynced:?}");
                assert!(left.starts_with(&expected), "{place}: {left:?}");
                // What was refused can be there while the disk takes no cut, or has not synced it.
                assert!(left.len() == expected.len() || appended.is_err(), "{place}: {left:?}");
            }
        }
    }
}

#[test]
fn what_was_read_at_the_start_survives_a_power_cut_whatever_the_last_process_synced() {
    let folder = tempfile::tempdir().unwrap();
    let payloads = [vec![1; 9], vec![2; 9]];
    write_segment(folder.path(), &segment_of(&[payloads.to_vec()]));
    // The last process was killed before it synced the file, or its name.
    let disk = Volatile::default();
    let journal = open_volatile(folder.path(), Limits::default(), &disk);
    assert_eq!(journal.acknowledged(), 2);
    let image = disk.image(folder.path(), Unsynced::Lost);
    assert_eq!(contents(&open(image.path()).unwrap()), payloads);
}

//! A disk for tests that fails, dies with its process, and forgets what no sync has promised.
//!
//! What is written is in real files at once, as if all of it were in the page cache, so that it is
//! read as ever. Beside them the disk remembers what has really reached it: for each file the bytes,
//! by pages, for each name the file. A sync that fails leaves any of the pages on disk and calls all
//! of them clean, as Linux does: the next sync succeeds and does not write them. A power cut leaves
//! of each page, cut and name what was there before or what came after, each by itself. The choices
//! come from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::files::{Files, Handle};

/// Bytes of a page: few, so that records have several.
const PAGE: usize = 64;

/// What can be asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Reopen,
    Rename,
    Remove,
    SyncFolder,
    Write,
    Sync,
    Cut,
}

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It fails: a write after any part of it, a sync with any part of it done, the others undone.
    Fails(io::ErrorKind),
    /// The process dies in it, with any part of it done.
    Dies,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub(crate) struct Simulated {
    state: Arc<Mutex<State>>,
    /// Where there is a gate, syncs say that they have come to it and wait until it is opened.
    gate: Arc<Mutex<Option<Gate>>>,
}

struct Gate {
    arrived: Sender<()>,
    opened: Receiver<()>,
}

struct State {
    random: u64,
    /// Which process is running; what one that died has open does nothing any more.
    process: u32,
    is_dead: bool,
    /// The operations that fail until the disk is mended.
    broken: Vec<(Op, io::ErrorKind)>,
    /// What goes wrong after so many more operations.
    plan: Vec<(u32, Fault)>,
    /// What went wrong since somebody asked.
    met: Vec<Op>,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, Name>,
}

/// A file.
#[derive(Default)]
struct Content {
    cached: Vec<u8>,
    kept: Vec<u8>,
    /// The pages that the next sync writes.
    dirty: BTreeSet<usize>,
    /// The shortest that the file has been since the last sync, if it was cut.
    cut: Option<usize>,
}

/// Which file a name has had since the folder was synced, last the one that it has now.
struct Name(Vec<Option<usize>>);

impl Simulated {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            // Zero would stay zero.
            random: seed | 1,
            process: 0,
            is_dead: false,
            broken: vec![],
            plan: vec![],
            met: vec![],
            files: vec![],
            names: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), gate: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on these operations fail; an empty list mends the disk.
    pub(crate) fn break_down(&self, broken: &[(Op, io::ErrorKind)]) {
        self.lock().broken = broken.to_vec();
    }

    /// After `operations` more, one goes wrong.
    pub(crate) fn plan(&self, operations: u32, fault: Fault) {
        self.lock().plan.push((operations, fault));
    }

    /// What went wrong since this was asked last.
    pub(crate) fn met(&self) -> Vec<Op> {
        std::mem::take(&mut self.lock().met)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// The process dies: what it does from now on has no effect.
    pub(crate) fn kill(&self) {
        self.lock().is_dead = true;
    }

    /// Another process begins, after a power cut or with the page cache as it was.
    pub(crate) fn restart(&self, power_cut: bool) {
        let mut state = self.lock();
        state.is_dead = false;
        state.process += 1;
        if power_cut {
            state.lose_power();
        }
    }

    /// A coin.
    pub(crate) fn chance(&self) -> bool {
        self.lock().one_in(2)
    }

    /// Closes the gate. The first half opens it for good when it is dropped, the second is told of
    /// every sync that comes to it.
    pub(crate) fn close_gate(&self) -> (Sender<()>, Receiver<()>) {
        let ((arrived, arrivals), (opener, opened)) = (channel(), channel());
        *self.gate.lock().unwrap() = Some(Gate { arrived, opened });
        (opener, arrivals)
    }

    fn opened(&self, file: usize, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>> {
        let mut real = File::options().write(true).open(path)?;
        real.seek(SeekFrom::Start(offset))?;
        let process = self.lock().process;
        Ok(Box::new(Open { disk: self.clone(), process, file, offset: at(offset), real }))
    }
}

impl State {
    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % below.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.draw(n) == 0
    }

    /// What becomes of an operation of `process`; `None` if it works.
    fn meet(&mut self, op: Op, process: Option<u32>) -> io::Result<Option<io::Error>> {
        if self.is_dead || process.is_some_and(|process| process != self.process) {
            return Err(io::Error::other("the process has died"));
        }
        let mut fault = None;
        self.plan.retain_mut(|(left, planned)| {
            if *left == 0 && fault.is_none() {
                fault = Some(*planned);
                return false;
            }
            *left = left.saturating_sub(1);
            true
        });
        let broken = self.broken.iter().find(|(broken, _)| *broken == op);
        let fault = fault.or(broken.map(|(_, kind)| Fault::Fails(*kind)));
        if fault.is_some() {
            self.met.push(op);
        }
        self.is_dead = matches!(fault, Some(Fault::Dies));
        Ok(fault.map(|fault| match fault {
            Fault::Fails(kind) => kind.into(),
            Fault::Dies => io::Error::other("the process dies"),
        }))
    }

    /// The file at `path` now. One that nobody knew was left by somebody who never synced it.
    fn find(&mut self, path: &Path) -> io::Result<usize> {
        if let Some(Name(files)) = self.names.get(path) {
            return files.last().copied().flatten().ok_or(io::ErrorKind::NotFound.into());
        }
        self.files.push(Content { cached: fs::read(path)?, ..Content::default() });
        let file = self.files.len() - 1;
        self.names.insert(path.to_owned(), Name(vec![None, Some(file)]));
        Ok(file)
    }

    fn name(&mut self, path: &Path, file: Option<usize>) {
        self.names.entry(path.to_owned()).or_insert_with(|| Name(vec![None])).0.push(file);
    }

    /// Whether an operation that is not done bit by bit is done although the process dies in it.
    fn happens(&mut self, fault: Option<&io::Error>) -> bool {
        fault.is_none() || (self.is_dead && self.one_in(2))
    }

    /// Any part of what is dirty reaches the disk.
    fn write_back(&mut self, file: usize) {
        if self.one_in(2) {
            self.files[file].keep_cut();
        }
        // What was written behind a cut does not come before it.
        let pages = self.files[file].cut.map_or(usize::MAX, |cut| cut / PAGE);
        for page in self.files[file].dirty.clone() {
            if page < pages && self.one_in(2) {
                self.files[file].keep(page);
            }
        }
    }

    fn lose_power(&mut self) {
        for file in 0..self.files.len() {
            self.write_back(file);
            let content = &mut self.files[file];
            content.cached.clone_from(&content.kept);
            content.dirty.clear();
            content.cut = None;
        }
        let mut taken = BTreeSet::new();
        for (path, mut name) in std::mem::take(&mut self.names) {
            let chosen = self.draw(name.0.len());
            let mut file = name.0.swap_remove(chosen);
            if let Some(shared) = file.filter(|file| !taken.insert(*file)) {
                // A name is never two names of one file.
                let kept = self.files[shared].kept.clone();
                self.files.push(Content { cached: kept.clone(), kept, ..Content::default() });
                file = Some(self.files.len() - 1);
            }
            // Nothing is wrong if it was not there.
            let _removed = fs::remove_file(&path);
            if let Some(file) = file {
                fs::write(&path, &self.files[file].kept).unwrap();
            }
            self.names.insert(path, Name(vec![file]));
        }
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.cached.resize(self.cached.len().max(end), 0);
        self.cached[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / PAGE..end.div_ceil(PAGE));
    }

    fn cut(&mut self, offset: usize) {
        self.cached.resize(offset, 0);
        self.cut = Some(self.cut.map_or(offset, |cut| cut.min(offset)));
        self.dirty.retain(|page| page * PAGE < offset);
        self.dirty.extend((!offset.is_multiple_of(PAGE)).then_some(offset / PAGE));
    }

    fn keep_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.kept.truncate(cut);
        }
    }

    fn keep(&mut self, page: usize) {
        let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(self.cached.len()));
        self.kept.resize(self.kept.len().max(to), 0);
        self.kept[from..to].copy_from_slice(&self.cached[from..to]);
        self.dirty.remove(&page);
    }

    fn sync(&mut self) {
        self.keep_cut();
        for page in self.dirty.clone() {
            self.keep(page);
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Files for Simulated {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut state = self.lock();
        let fault = state.meet(Op::Create, None)?;
        let mut file = None;
        if state.happens(fault.as_ref()) {
            file = Some(match state.find(path) {
                Ok(file) => file,
                Err(_) => {
                    state.files.push(Content::default());
                    let file = state.files.len() - 1;
                    state.name(path, Some(file));
                    file
                }
            });
            state.files[file.unwrap()].cut(0);
            fs::write(path, b"")?;
        }
        drop(state);
        match fault {
            Some(error) => Err(error),
            None => self.opened(file.unwrap(), path, 0),
        }
    }

    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>> {
        let mut state = self.lock();
        if let Some(error) = state.meet(Op::Reopen, None)? {
            return Err(error);
        }
        let file = state.find(path)?;
        drop(state);
        self.opened(file, path, offset)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let fault = state.meet(Op::Rename, None)?;
        if state.happens(fault.as_ref()) {
            let file = state.find(from)?;
            state.name(from, None);
            state.name(to, Some(file));
            fs::rename(from, to)?;
        }
        fault.map_or(Ok(()), Err)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let fault = state.meet(Op::Remove, None)?;
        if state.happens(fault.as_ref()) {
            state.find(path)?;
            state.name(path, None);
            fs::remove_file(path)?;
        }
        fault.map_or(Ok(()), Err)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let fault = state.meet(Op::SyncFolder, None)?;
        let mut names = std::mem::take(&mut state.names);
        for (_, name) in names.iter_mut().filter(|(path, _)| path.parent() == Some(folder)) {
            let reached = if fault.is_none() { name.0.len() - 1 } else { state.draw(name.0.len()) };
            name.0.drain(..reached);
        }
        state.names = names;
        fault.map_or(Ok(()), Err)
    }
}

/// An open file.
struct Open {
    disk: Simulated,
    process: u32,
    file: usize,
    offset: usize,
    real: File,
}

impl Handle for Open {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fault = state.meet(Op::Write, Some(self.process))?;
        let written = if fault.is_none() { bytes } else { &bytes[..state.draw(bytes.len() + 1)] };
        state.files[self.file].write(self.offset, written);
        Write::write_all(&mut self.real, written)?;
        self.offset += written.len();
        if state.one_in(8) {
            state.write_back(self.file);
        }
        fault.map_or(Ok(()), Err)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(Gate { arrived, opened }) = &*self.disk.gate.lock().unwrap() {
            // Nobody need be there to be told.
            let _told = arrived.send(());
            // An error means that the gate is open for good.
            assert!(opened.recv().is_err());
        }
        let mut state = self.disk.lock();
        let Some(error) = state.meet(Op::Sync, Some(self.process))? else {
            state.files[self.file].sync();
            return Ok(());
        };
        state.write_back(self.file);
        if !state.is_dead {
            let content = &mut state.files[self.file];
            content.dirty.clear();
            content.cut = None;
        }
        Err(error)
    }

    fn cut(&mut self, offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fault = state.meet(Op::Cut, Some(self.process))?;
        if state.happens(fault.as_ref()) {
            state.files[self.file].cut(at(offset));
            self.real.set_len(offset)?;
            self.real.seek(SeekFrom::Start(offset))?;
            self.offset = at(offset);
        }
        fault.map_or(Ok(()), Err)
    }
}

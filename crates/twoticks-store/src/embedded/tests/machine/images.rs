//! The engine's folder as a crash leaves it: copied while it is used, put back, damaged.
//!
//! The engine makes its journals 64 MiB long and writes at their beginnings, so a copy takes over
//! what a file has on disk and not its length.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

/// What happens to one of the engine's files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    Removed,
    /// Cut so many eighths behind its beginning.
    Cut(u64),
    /// A bit turned so many eighths behind its beginning.
    Turned(u64),
}

/// Which files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Files {
    /// The engine's own journals.
    Journals,
    /// Those of the tables, and what says which there are.
    Tables,
}

#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) files: Files,
    which: Index,
    harm: Harm,
}

pub(super) fn any_damage() -> impl Strategy<Value = Damage> {
    let files = prop_oneof![Just(Files::Journals), Just(Files::Tables)];
    let harm = prop_oneof![
        1 => Just(Harm::Removed),
        2 => (0..8_u64).prop_map(Harm::Cut),
        2 => (0..8_u64).prop_map(Harm::Turned),
    ];
    (files, any::<Index>(), harm).prop_map(|(files, which, harm)| Damage { files, which, harm })
}

/// Harms a file of the engine in `ledger`.
pub(super) fn damage(ledger: &Path, Damage { files, which, harm }: &Damage) -> io::Result<()> {
    let found = match files {
        Files::Journals => below(ledger, &|path| path.extension().is_some_and(|it| it == "jnl"))?,
        Files::Tables => below(ledger, &|path| path.extension().is_none_or(|it| it != "jnl"))?,
    };
    if found.is_empty() {
        return Ok(());
    }
    let path = which.get(&found);
    let used = used(path)?;
    match harm {
        Harm::Removed => fs::remove_file(path),
        Harm::Cut(part) => File::options().write(true).open(path)?.set_len(used * part / 8),
        Harm::Turned(part) if used > 0 => {
            let file = File::options().read(true).write(true).open(path)?;
            let (at, mut byte) = (used * part / 8, [0]);
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << part;
            file.write_all_at(&byte, at)
        }
        Harm::Turned(_) => Ok(()),
    }
}

/// The files below `folder` that are asked for, in order.
fn below(folder: &Path, is_asked_for: &dyn Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(below(&path, is_asked_for)?);
        } else if is_asked_for(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Up to where a file has anything else than zeros.
fn used(path: &Path) -> io::Result<u64> {
    let mut beginning = Vec::new();
    let metadata = fs::metadata(path)?;
    let on_disk = metadata.len().min(metadata.blocks() * 512);
    File::open(path)?.take(on_disk).read_to_end(&mut beginning)?;
    let last = beginning.iter().rposition(|byte| *byte != 0);
    Ok(last.map_or(0, |last| last as u64 + 1))
}

/// Copies what is in `from`, also while the engine works: first its journals, then the tables, so
/// that no table is missing that a journal names. What goes away meanwhile is left out.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut paths = fs::read_dir(from)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    // Journals are files and tables folders; what says which files a table has comes first.
    let is_later = |path: &PathBuf| (path.is_dir(), path.ends_with("tables"));
    paths.sort_by_key(|path| (is_later(path), path.clone()));
    for path in paths {
        let target = to.join(path.file_name().unwrap_or_default());
        let copied = if path.is_dir() { copy(&path, &target) } else { copy_file(&path, &target) };
        match copied {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let file = File::open(from)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(metadata.len().min(metadata.blocks() * 512)).read_to_end(&mut bytes)?;
    let mut copied = File::create(to)?;
    copied.write_all(&bytes)?;
    copied.set_len(metadata.len())
}

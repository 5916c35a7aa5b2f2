//! Every recorded request in `data/signing` gives the verdict that stands in its file.
#![expect(clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use twoticks_wire::transcript::{self, Transcript};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/signing")
}

fn vectors() -> Vec<(String, Transcript)> {
    let mut vectors: Vec<(String, Transcript)> = std::fs::read_dir(folder())
        .expect("the folder is part of the crate")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("it has an extension").to_string_lossy();
            let bytes = std::fs::read(&path).expect("the file can be read");
            let vector = transcript::parse(&bytes);
            (name.clone().into_owned(), vector.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    vectors.sort_by(|(a, _), (b, _)| a.cmp(b));
    vectors
}

#[test]
fn every_vector_gives_its_verdict() {
    let vectors = vectors();
    assert!(vectors.len() >= 100, "{} vectors", vectors.len());
    for (name, vector) in vectors {
        let expected = vector.expected.as_ref().expect("a vector says what should come out");
        let verdict = transcript::verdict(&vector).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(verdict.name, expected.verdict, "{name}");
        assert_eq!(Some(verdict.scheme.name()), expected.scheme.as_deref(), "{name}");
        assert_eq!(verdict.action, expected.action, "{name}");
        assert_eq!(verdict.version, expected.version, "{name}");
        if let Some(params) = &expected.params {
            assert_eq!(&verdict.params, params, "{name}");
        }
        let calculation = verdict.calculation.as_ref();
        if expected.verdict == "OK" {
            assert_eq!(verdict.difference, None, "{name}");
            assert_eq!(
                calculation.and_then(|c| c.canonical_request.as_ref()),
                expected.canonical_request.as_ref(),
                "{name}"
            );
            assert_eq!(
                calculation.map(|c| &c.string_to_sign),
                expected.string_to_sign.as_ref(),
                "{name}"
            );
        } else {
            let refusal = verdict.refusal.expect("it is refused");
            assert!(refusal.status() >= 400, "{name}");
            assert_eq!(
                verdict.difference.is_some(),
                expected.string_to_sign.is_some() || expected.canonical_request.is_some(),
                "{name}: {:?}",
                verdict.difference
            );
        }
    }
}

#[test]
fn every_vector_has_a_row_in_the_readme_and_every_own_row_a_file() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("it is there");
    let rows: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_lowercase)
        .collect();
    let files: BTreeSet<String> = vectors().into_iter().map(|(name, _)| name).collect();
    for name in &files {
        assert!(rows.contains(name), "{name} has no row");
    }
    for name in rows.iter().filter(|name| name.starts_with('2')) {
        assert!(files.contains(name), "{name} has no file");
    }
}

#[test]
fn a_secret_is_told_by_neither_message_nor_debug() {
    for (name, vector) in vectors() {
        let verdict = transcript::verdict(&vector).expect("it was judged above");
        let message = verdict.refusal.as_ref().map(|refusal| refusal.message());
        let shown = format!("{verdict:?} {message:?}");
        let secret = &vector.credential.access_key_secret;
        // One vector has a secret of one letter.
        assert!(secret.len() < 8 || !shown.contains(secret), "{name}");
    }
}

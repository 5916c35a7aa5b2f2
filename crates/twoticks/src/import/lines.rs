//! What an import reads, one line or row after the other: as text that can be imported, or with
//! what is wrong with it.
//!
//! What always holds: memory is bounded however long a line is, and what will not do is passed
//! over, so that the next one is read all the same.

use std::io::{BufRead, Read as _, Result};

use twoticks_server::ingest::import::LINE_BYTES_MAX;

use super::rows::Rows;

/// A line, or what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    Bad(String),
}

/// The lines of an import.
pub(super) struct Lines {
    from: Box<dyn BufRead>,
    kind: Kind,
}

enum Kind {
    /// How many lines have been read.
    Ndjson(u64),
    Csv(Box<Rows>),
}

impl Lines {
    /// Lines of JSON.
    pub(super) fn ndjson(from: Box<dyn BufRead>) -> Self {
        Self { from, kind: Kind::Ndjson(0) }
    }

    /// Rows behind a header, which is read now.
    ///
    /// # Errors
    /// If it cannot be read, or is no header of what can be imported.
    pub(super) fn csv(mut from: Box<dyn BufRead>) -> anyhow::Result<Self> {
        let rows = Rows::begin(from.as_mut())?;
        Ok(Self { from, kind: Kind::Csv(Box::new(rows)) })
    }

    /// The next one with the number of the line in which it begins, from 1; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Line)>> {
        match &mut self.kind {
            Kind::Csv(rows) => rows.next(self.from.as_mut()),
            Kind::Ndjson(number) => {
                let Some(line) = read_line(self.from.as_mut())? else { return Ok(None) };
                *number += 1;
                Ok(Some((*number, line)))
            }
        }
    }

    /// Passes over all that begins in line `last` or before it.
    pub(super) fn skip_to(&mut self, last: u64) -> Result<()> {
        match &mut self.kind {
            Kind::Csv(rows) => rows.skip_to(self.from.as_mut(), last),
            Kind::Ndjson(number) => {
                while *number < last && self.from.skip_until(b'\n')? > 0 {
                    *number += 1;
                }
                Ok(())
            }
        }
    }

    /// Whether its rows are of a table.
    pub(super) fn is_csv(&self) -> bool {
        matches!(self.kind, Kind::Csv(_))
    }
}

/// The next line without its end; what is too long is passed over, not kept.
fn read_line(from: &mut dyn BufRead) -> Result<Option<Line>> {
    let limit = u64::try_from(LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if (&mut *from).take(limit + 1).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let ended = bytes.last() == Some(&b'\n');
    if ended {
        bytes.pop();
    }
    if bytes.len() > LINE_BYTES_MAX {
        if !ended {
            from.skip_until(b'\n')?;
        }
        return Ok(Some(Line::Bad(format!("the line has more than {LINE_BYTES_MAX} bytes"))));
    }
    Ok(Some(
        String::from_utf8(bytes)
            .map_or_else(|_| Line::Bad("the line is not UTF-8".to_owned()), Line::Text),
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;

    use super::*;

    /// So many bytes of nothing but `x`, which are nowhere.
    pub(in super::super) struct Long {
        block: Vec<u8>,
        left: usize,
    }

    impl Long {
        pub(in super::super) fn new(left: usize) -> Self {
            Self { block: vec![b'x'; 1 << 20], left }
        }
    }

    impl Read for Long {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let read = self.fill_buf()?.read(buffer)?;
            self.consume(read);
            Ok(read)
        }
    }

    impl BufRead for Long {
        fn fill_buf(&mut self) -> Result<&[u8]> {
            Ok(&self.block[..self.left.min(self.block.len())])
        }

        fn consume(&mut self, bytes: usize) {
            self.left -= bytes;
        }
    }

    fn kinds(mut from: impl BufRead) -> Vec<String> {
        std::iter::from_fn(|| read_line(&mut from).unwrap())
            .map(|line| match line {
                Line::Text(text) if text.len() > 20 => format!("{} bytes", text.len()),
                Line::Text(text) => text,
                Line::Bad(why) => format!("bad: {why}"),
            })
            .collect()
    }

    #[test]
    fn lines_are_read_one_by_one_with_or_without_a_last_end() {
        assert_eq!(kinds(&b"a\nb\n\nc"[..]), ["a", "b", "", "c"]);
        assert_eq!(kinds(&b"a\xff\nb\n"[..]), ["bad: the line is not UTF-8", "b"]);
    }

    #[test]
    fn a_line_has_a_limit_and_the_next_one_is_read_all_the_same() {
        for (over, first) in [
            (0, format!("{LINE_BYTES_MAX} bytes")),
            (1, format!("bad: the line has more than {LINE_BYTES_MAX} bytes")),
            (100_000, format!("bad: the line has more than {LINE_BYTES_MAX} bytes")),
        ] {
            let mut bytes = vec![b'x'; LINE_BYTES_MAX + over];
            bytes.extend_from_slice(b"\nnext\n");
            assert_eq!(kinds(&bytes[..]), [first, "next".to_owned()], "{over}");
        }
    }

    #[test]
    fn a_line_of_five_gigabytes_is_passed_over_in_bounded_memory() {
        let from = Long::new(5_000_000_000).chain(&b"\nnext\n"[..]);
        let bad = format!("bad: the line has more than {LINE_BYTES_MAX} bytes");
        assert_eq!(kinds(from), [bad, "next".to_owned()]);
    }

    #[test]
    fn lines_are_passed_over_up_to_the_one_named() {
        for (last, next) in [(0, Some(1)), (2, Some(3)), (4, None), (9, None)] {
            let mut lines = Lines::ndjson(Box::new(&b"a\n\nc\nd"[..]));
            lines.skip_to(last).unwrap();
            assert_eq!(lines.next().unwrap().map(|(number, _)| number), next, "{last}");
        }
    }
}

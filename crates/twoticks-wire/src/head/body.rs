//! How long the body of a request is, and where in it we are.
//!
//! Everything that two readers could take for two lengths is refused; what passes is passed on
//! byte for byte.

use super::HeadRefusal;

/// A line that gives the size of a chunk, with its extensions, is at most this long.
pub(super) const CHUNK_LINE_MAX: usize = 1024;

/// The trailers of a chunked body are at most this long together.
pub(super) const TRAILERS_MAX: usize = 16 * 1024;

/// A body that is being passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are to come.
    Sized(u64),
    /// A chunked body.
    Chunked(Chunk),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line that gives the size.
    Size { size: Option<u64>, part: SizePart, length: usize },
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// The line end behind a chunk; whether its CR has come.
    DataEnd { cr: bool },
    /// In the lines behind the last chunk: length of the current line, of all, whether a CR came.
    Trailers { line: usize, total: usize, cr: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SizePart {
    Digits,
    Extension,
    Cr,
}

pub(super) enum Step {
    More,
    Done,
    Broken,
}

const FIRST_CHUNK: Chunk = Chunk::Size { size: None, part: SizePart::Digits, length: 0 };

impl Body {
    /// The body that the headers announce, `None` if there is none.
    pub(super) fn of(
        version: u8,
        headers: &[httparse::Header<'_>],
    ) -> Result<Option<Self>, HeadRefusal> {
        let ambiguous = HeadRefusal::AmbiguousLength;
        let values = |name: &'static str| {
            headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value.trim_ascii())
        };
        let mut encodings = values("transfer-encoding");
        let mut lengths = values("content-length");
        if let Some(encoding) = encodings.next() {
            let plain = encoding.eq_ignore_ascii_case(b"chunked")
                && encodings.next().is_none()
                && lengths.next().is_none()
                && version == 1;
            return if plain { Ok(Some(Self::Chunked(FIRST_CHUNK))) } else { Err(ambiguous) };
        }
        let Some(length) = lengths.next() else { return Ok(None) };
        if lengths.any(|other| other != length) || !length.iter().all(u8::is_ascii_digit) {
            return Err(ambiguous);
        }
        let length = std::str::from_utf8(length).map_err(|_| ambiguous)?;
        let length: u64 = length.parse().map_err(|_| ambiguous)?;
        Ok((length > 0).then_some(Self::Sized(length)))
    }

    /// How many of the next bytes pass as they are, whatever they say.
    pub(super) fn left(&self) -> u64 {
        match self {
            Self::Sized(left) | Self::Chunked(Chunk::Data(left)) => *left,
            Self::Chunked(_) => 0,
        }
    }

    /// Takes note that `count` of those have passed.
    pub(super) fn pass(&mut self, count: usize) -> Step {
        if let Self::Sized(left) | Self::Chunked(Chunk::Data(left)) = self {
            *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        match self {
            Self::Sized(0) => Step::Done,
            Self::Chunked(Chunk::Data(0)) => {
                *self = Self::Chunked(Chunk::DataEnd { cr: false });
                Step::More
            }
            Self::Sized(_) | Self::Chunked(_) => Step::More,
        }
    }

    /// Passes on as much of `rest` as belongs to the current part of the body.
    pub(super) fn step(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> Step {
        match self {
            Self::Sized(left) | Self::Chunked(Chunk::Data(left)) if *left > 0 => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let (now, later) = rest.split_at_checked(most).unwrap_or((rest, &[]));
                out.extend_from_slice(now);
                *rest = later;
                self.pass(now.len())
            }
            Self::Sized(_) => Step::Done,
            Self::Chunked(chunk) => {
                let Some((&byte, later)) = rest.split_first() else { return Step::More };
                let step = chunk.byte(byte);
                // The byte that breaks a body is kept back: nobody should make sense of it.
                if !matches!(step, Step::Broken) {
                    out.push(byte);
                    *rest = later;
                }
                step
            }
        }
    }
}

impl Chunk {
    /// One byte of framing. Line ends are CR LF: a bare LF is read differently by different
    /// readers, and no client sends one.
    fn byte(&mut self, byte: u8) -> Step {
        match self {
            Self::Size { size, part, length } => {
                *length += 1;
                if *length > CHUNK_LINE_MAX {
                    return Step::Broken;
                }
                match (*part, byte) {
                    (SizePart::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                        let digit = char::from(byte).to_digit(16).map(u64::from);
                        let grown = digit.and_then(|digit| {
                            size.unwrap_or(0).checked_mul(16)?.checked_add(digit)
                        });
                        if grown.is_none() {
                            return Step::Broken;
                        }
                        *size = grown;
                    }
                    (SizePart::Digits, b';' | b' ' | b'\t') if size.is_some() => {
                        *part = SizePart::Extension;
                    }
                    (SizePart::Digits | SizePart::Extension, b'\r') if size.is_some() => {
                        *part = SizePart::Cr;
                    }
                    (SizePart::Extension, b) if b != b'\n' => {}
                    (SizePart::Cr, b'\n') => {
                        *self = match size.unwrap_or(0) {
                            0 => Self::Trailers { line: 0, total: 0, cr: false },
                            size => Self::Data(size),
                        };
                    }
                    _ => return Step::Broken,
                }
                Step::More
            }
            // A chunk of data is passed on by `Body::step`; nothing of it is left here.
            Self::Data(_) => Step::Broken,
            Self::DataEnd { cr } => match (*cr, byte) {
                (false, b'\r') => {
                    *cr = true;
                    Step::More
                }
                (true, b'\n') => {
                    *self = FIRST_CHUNK;
                    Step::More
                }
                _ => Step::Broken,
            },
            Self::Trailers { line, total, cr } => {
                *total += 1;
                if *total > TRAILERS_MAX {
                    return Step::Broken;
                }
                match (*cr, byte) {
                    (true, b'\n') if *line == 0 => return Step::Done,
                    (true, b'\n') => {
                        *line = 0;
                        *cr = false;
                    }
                    (true, _) | (false, b'\n') => return Step::Broken,
                    (false, b'\r') => *cr = true,
                    (false, _) => *line += 1,
                }
                Step::More
            }
        }
    }
}

//! How an entry is written into the journal: a header in postcard, a body compressed and sealed.
//!
//! `version | length of the header (4 bytes, little-endian) | header | sealed body`. The header
//! knows people as keyed hashes only; the body is whatever came, under the key file, bound to its
//! header. In version 2 the header is postcard without the events, and behind it the events as
//! `facts` packs them; in version 1, which is still read, they are in it as postcard. In version 3
//! small bodies are compressed with [`WORDS`] before them. To change the format, raise the version, keep the old ones readable, and check in a fixture of the new one.
//! The events are core's: a change of theirs is a change of this format, and the fixtures say so.

use std::cell::RefCell;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::ids::ChannelId;
use zstd::bulk::{Compressor, Decompressor};

use crate::error::Error;
use crate::facts::Facts;
use crate::journal::Position;
use crate::keys::Keys;
use crate::ledger::{BODY_BYTES_MAX, Batch, Dead, Entry, Kind};

const VERSION: u8 = 3;
/// What bodies are sealed for.
const PURPOSE: &str = "journal-body";
/// Bodies are JSON: the fastest level finds most of it.
const ZSTD_LEVEL: i32 = 1;

/// What webhooks have in common. Most tell of one status and are made of little else: 659 bytes
/// become 213 with it and 448 without. Stored bodies hang on every byte of it: other words are
/// another file and another number.
const WORDS: &[u8] = include_bytes!("entry/words-1.txt");
/// A body up to this many bytes is compressed with them; in a longer one they are soon told.
const SMALL_BYTES_MAX: usize = 4 << 10;
/// The most memory that a thread keeps for compressing.
const BUFFER_BYTES_MAX: usize = 1 << 20;

const STORED: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_WITH_WORDS: u8 = 2;

thread_local! {
    // Making one costs more than compressing a small body, and so does fresh memory for the worst
    // case.
    static PLAIN: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::new(ZSTD_LEVEL).ok());
    static WITH_WORDS: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_dictionary(ZSTD_LEVEL, WORDS).ok());
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Serialize, Deserialize)]
struct Header {
    kind: u8,
    accepted: Time,
    origin: String,
    channel: Option<ChannelId>,
    group: Option<String>,
    /// Empty since version 2, where they follow the header.
    events: Vec<Event>,
    dead: Vec<Dead>,
    resolves: Option<Position>,
}

/// What the fold needs of an entry: everything but the body.
pub(crate) struct Work {
    pub(crate) accepted: Time,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) group: Option<String>,
    pub(crate) events: Facts,
    /// How many dead parts it has.
    pub(crate) dead: usize,
    pub(crate) resolves: Option<Position>,
}

/// The payload for the journal, and what is left for the fold.
pub(crate) fn encode(keys: &Keys, batch: Batch) -> (Vec<u8>, Work) {
    let Batch { kind, accepted, origin, channel, group, events, dead, resolves, body } = batch;
    let kind = kind as u8;
    let header =
        Header { kind, accepted, origin, channel, group, events: Vec::new(), dead, resolves };
    let mut bytes =
        postcard::to_stdvec(&header).expect("every field of a header has a length that is known");
    let events = Facts::of(events);
    events.put(&mut bytes);
    let length = u32::try_from(bytes.len()).expect("events and texts of a batch are bounded");
    let mut payload = Vec::with_capacity(bytes.len() + body.len() / 2 + 64);
    payload.push(VERSION);
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(&bytes);
    if !body.is_empty() {
        payload.extend_from_slice(&keys.seal(PURPOSE, &bytes, &pack(&body)));
    }
    (payload, Work::of(header, events))
}

impl Work {
    fn of(header: Header, events: Facts) -> Self {
        let Header { kind: _, accepted, origin: _, channel, group, events: _, dead, resolves } =
            header;
        Self { accepted, channel, group, events, dead: dead.len(), resolves }
    }
}

/// The entry that `payload` is, with its body opened.
pub(crate) fn decode(
    keys: &Keys,
    folder: &Path,
    position: Position,
    payload: &[u8],
) -> Result<Entry, Error> {
    let Parts { header, events, bytes, sealed } = split(folder, position, payload)?;
    let damaged = || corrupt(folder, position);
    let body = if sealed.is_empty() {
        Vec::new()
    } else {
        let packed = keys.open_sealed(PURPOSE, bytes, sealed).map_err(|_| damaged())?;
        unpack(&packed).ok_or_else(damaged)?
    };
    let Header { kind, accepted, origin, channel, group, events: _, dead, resolves } = header;
    let events = events.events().collect();
    let known = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
    let kind = known.ok_or_else(|| Error::NewerVersion {
        what: format!("the kind of the journal's entry {position}"),
        found: kind.into(),
        known: Kind::Opened as u64,
    })?;
    let batch = Batch { kind, accepted, origin, channel, group, events, dead, resolves, body };
    Ok(Entry { position, batch })
}

/// What the fold needs of `payload`; the body stays sealed.
pub(crate) fn decode_work(
    folder: &Path,
    position: Position,
    payload: &[u8],
) -> Result<Work, Error> {
    let Parts { header, events, .. } = split(folder, position, payload)?;
    Ok(Work::of(header, events))
}

/// As [`decode_work`], and whether it was imported.
pub(crate) fn decode_look(
    folder: &Path,
    position: Position,
    payload: &[u8],
) -> Result<(bool, Work), Error> {
    let Parts { header, events, .. } = split(folder, position, payload)?;
    Ok((header.kind == Kind::Import as u8, Work::of(header, events)))
}

/// Whether the body of `payload` was sealed under `keys`; `None` if it has none that can be tried.
pub(crate) fn opens(keys: &Keys, payload: &[u8]) -> Option<bool> {
    let Parts { bytes, sealed, .. } = split(Path::new(""), 0, payload).ok()?;
    (!sealed.is_empty()).then(|| keys.open_sealed(PURPOSE, bytes, sealed).is_ok())
}

/// What a payload has in it.
struct Parts<'a> {
    /// Without the events.
    header: Header,
    events: Facts,
    /// What the body was sealed with.
    bytes: &'a [u8],
    /// The body; empty if there is none.
    sealed: &'a [u8],
}

fn split<'a>(folder: &Path, position: Position, payload: &'a [u8]) -> Result<Parts<'a>, Error> {
    let damaged = || corrupt(folder, position);
    let (&version, rest) = payload.split_first().ok_or_else(damaged)?;
    if version > VERSION {
        return Err(Error::NewerVersion {
            what: format!("the journal's entry {position}"),
            found: version.into(),
            known: VERSION.into(),
        });
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| damaged())?;
    let (bytes, sealed) = rest.split_at_checked(length).ok_or_else(damaged)?;
    if version == 1 {
        let mut header: Header = postcard::from_bytes(bytes).map_err(|_| damaged())?;
        let events = Facts::of(std::mem::take(&mut header.events));
        return Ok(Parts { header, events, bytes, sealed });
    }
    let (header, mut rest) = postcard::take_from_bytes(bytes).map_err(|_| damaged())?;
    let events = Facts::take(&mut rest).filter(|_| rest.is_empty());
    Ok(Parts { header, events: events.ok_or_else(damaged)?, bytes, sealed })
}

fn corrupt(folder: &Path, position: Position) -> Error {
    Error::Corrupt {
        what: format!("the entry {position}"),
        place: folder.to_owned(),
        remedy: "its checksum is right, so it was written like this, or under another key file",
    }
}

fn pack(body: &[u8]) -> Vec<u8> {
    let (compressor, compressed) = match body.len() {
        ..=SMALL_BYTES_MAX => (&WITH_WORDS, ZSTD_WITH_WORDS),
        _ => (&PLAIN, ZSTD),
    };
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(body.len()));
        let length = compressor.with_borrow_mut(|compressor| {
            let compressor = compressor.as_mut()?;
            compressor.compress_to_buffer(body, buffer).ok()
        });
        let (how, bytes) = match length {
            Some(length) if length < body.len() => (compressed, buffer.as_slice()),
            _ => (STORED, body),
        };
        let mut packed = Vec::with_capacity(bytes.len() + 1);
        packed.push(how);
        packed.extend_from_slice(bytes);
        if buffer.capacity() > BUFFER_BYTES_MAX {
            *buffer = Vec::new();
        }
        packed
    })
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (&how, body) = packed.split_first()?;
    let length = || {
        let length = zstd::zstd_safe::get_frame_content_size(body).ok()??;
        usize::try_from(length).ok().filter(|length| *length <= BODY_BYTES_MAX)
    };
    match how {
        STORED => Some(body.to_vec()),
        ZSTD => Decompressor::new().ok()?.decompress(body, length()?).ok(),
        ZSTD_WITH_WORDS => {
            Decompressor::with_dictionary(WORDS).ok()?.decompress(body, length()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(body: Vec<u8>) -> Batch {
        Batch {
            kind: Kind::Webhook,
            accepted: Time(1_800_000_000_000),
            origin: "/webhooks/whatsapp".to_owned(),
            channel: None,
            group: None,
            events: vec![],
            dead: vec![],
            resolves: None,
            body,
        }
    }

    proptest! {
        #[test]
        fn any_body_comes_back(body: Vec<u8>, repeat in 1_usize..200) {
            let keys = Keys::from_bytes([1; 32]);
            let given = batch(body.repeat(repeat));
            let (payload, _) = encode(&keys, given.clone());
            let entry = decode(&keys, Path::new("x"), 9, &payload).unwrap();
            prop_assert_eq!(entry, Entry { position: 9, batch: given });
        }

        #[test]
        fn any_rubbish_is_refused_without_a_panic(mut payload: Vec<u8>) {
            let keys = Keys::from_bytes([1; 32]);
            prop_assert!(decode(&keys, Path::new("x"), 9, &payload).is_err());
            payload.splice(0..0, [3, 3, 0, 0, 0]);
            prop_assert!(decode(&keys, Path::new("x"), 9, &payload).is_err());
        }
    }

    #[test]
    fn a_small_webhook_is_stored_in_a_third_of_its_length() {
        let body = br#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},"statuses":[{"id":"wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI4QjFBNzQ3OTQ0MjM1NkY0MDkA","status":"delivered","timestamp":"1790900000","recipient_id":"16505551234","pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"marketing"}}]},"field":"messages"}]}]}"#;
        let packed = pack(body);
        assert_eq!(packed.first(), Some(&ZSTD_WITH_WORDS));
        assert!(packed.len() < body.len() / 3 + 20, "{} of {}", packed.len(), body.len());
        assert_eq!(unpack(&packed).unwrap(), body);
        // At the edge, and beyond it.
        for (length, how) in [(SMALL_BYTES_MAX, ZSTD_WITH_WORDS), (SMALL_BYTES_MAX + 1, ZSTD)] {
            let body = body.iter().copied().cycle().take(length).collect::<Vec<_>>();
            let packed = pack(&body);
            assert_eq!(packed.first(), Some(&how));
            assert_eq!(unpack(&packed).unwrap(), body);
        }
    }

    #[test]
    fn an_entry_of_a_newer_version_is_told() {
        let keys = Keys::from_bytes([1; 32]);
        let (mut payload, _) = encode(&keys, batch(vec![1]));
        payload[0] = 4;
        let decoded = decode(&keys, Path::new("x"), 9, &payload);
        assert!(matches!(decoded, Err(Error::NewerVersion { found: 4, .. })));
    }
}

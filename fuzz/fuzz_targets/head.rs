//! The framer: however the bytes of a connection are cut into reads, the HTTP library sees the
//! same. The first byte says how they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoticks_wire::head::Framer;

fuzz_target!(|raw: &[u8]| {
    let Some((&first, bytes)) = raw.split_first() else { return };
    let (mut whole, mut seen) = (Framer::new([7; 16]), Vec::new());
    whole.feed(bytes, &mut seen);
    let (mut cut, mut seen_cut) = (Framer::new([7; 16]), Vec::new());
    let mut rest = bytes;
    let mut step = usize::from(first) + 1;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(step.min(rest.len()));
        cut.feed(now, &mut seen_cut);
        rest = later;
        step = step % 13 + 1;
    }
    assert_eq!(whole.is_broken(), cut.is_broken());
    assert_eq!(seen, seen_cut);
});

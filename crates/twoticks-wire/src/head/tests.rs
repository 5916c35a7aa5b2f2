//! What the framer lets through, replaces and refuses, at the edges.

use proptest::prelude::*;

use super::body::{CHUNK_LINE_MAX, TRAILERS_MAX};
use super::*;

const TOKEN: [u8; 16] = [7; 16];

fn framed(input: &[u8]) -> (String, Framer) {
    let mut framer = Framer::new(TOKEN);
    let mut out = Vec::new();
    framer.feed(input, &mut out);
    (String::from_utf8_lossy(&out).into_owned(), framer)
}

fn marker(number: u32) -> String {
    format!("/~head.{}.{number}", "07".repeat(16))
}

fn refusal(input: &[u8]) -> Option<HeadRefusal> {
    let (_, framer) = framed(input);
    let mut waiting = framer.targets.waiting();
    match waiting.originals.pop_back() {
        Some((_, Original::Refused(why))) => Some(why),
        Some((_, Original::Target(_))) | None => None,
    }
}

fn long(length: usize) -> String {
    format!("/?{}", "a".repeat(length - 2))
}

#[test]
fn an_ordinary_request_passes_byte_for_byte() {
    let input = "POST /?a=%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                 GET / HTTP/1.1\r\nhost: y\r\n\r\n";
    assert_eq!(framed(input.as_bytes()).0, input);
}

#[test]
fn a_target_beyond_the_threshold_is_replaced_and_can_be_taken_once() {
    let head = |target: &str| format!("POST {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    let (out, _) = framed(head(&long(REPLACED_ABOVE)).as_bytes());
    assert_eq!(out, head(&long(REPLACED_ABOVE)));
    let (out, framer) = framed(head(&long(REPLACED_ABOVE + 1)).as_bytes());
    assert_eq!(out, head(&marker(0)));
    let targets = framer.targets();
    assert_eq!(targets.take(&marker(0)), Some(Original::Target(long(REPLACED_ABOVE + 1))));
    assert_eq!(targets.take(&marker(0)), None);
}

#[test]
fn a_mebibyte_passes_and_one_byte_more_is_refused() {
    let head = |length: usize| format!("POST {} HTTP/1.1\r\nhost: x\r\n\r\n", long(length));
    let (_, framer) = framed(head(TARGET_MAX).as_bytes());
    assert_eq!(framer.targets().take(&marker(0)), Some(Original::Target(long(TARGET_MAX))));
    let (out, framer) = framed(head(TARGET_MAX + 1).as_bytes());
    assert_eq!(out, format!("GET {} HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", marker(0)));
    let original = framer.targets().take(&marker(0));
    assert_eq!(original, Some(Original::Refused(HeadRefusal::TargetTooLong)));
    assert_eq!(HeadRefusal::TargetTooLong.refusal().status(), 414);
}

#[test]
fn an_endless_request_line_is_refused_before_it_ends() {
    let mut framer = Framer::new(TOKEN);
    let mut out = Vec::new();
    framer.feed(b"GET /", &mut out);
    for _ in 0..(TARGET_MAX / 1000) + 2 {
        framer.feed(&[b'a'; 1000], &mut out);
    }
    assert!(out.starts_with(b"GET /~head."));
    assert!(framer.head.bytes.capacity() < 16);
}

#[test]
fn headers_pass_up_to_their_limit_and_not_beyond() {
    let head = |length: usize| {
        let name = "x: ";
        let filler = "b".repeat(length - name.len() - 4);
        format!("GET / HTTP/1.1\r\n{name}{filler}\r\n\r\n")
    };
    assert_eq!(refusal(head(HEADERS_MAX).as_bytes()), None);
    assert_eq!(framed(head(HEADERS_MAX).as_bytes()).0.len(), head(HEADERS_MAX).len());
    let refused = refusal(head(HEADERS_MAX + 1).as_bytes());
    assert_eq!(refused, Some(HeadRefusal::HeadersTooLarge));
    let count = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(refusal(count(HEADERS_COUNT_MAX).as_bytes()), None);
    let refused = refusal(count(HEADERS_COUNT_MAX + 1).as_bytes());
    assert_eq!(refused, Some(HeadRefusal::HeadersTooLarge));
}

#[test]
fn targets_that_the_library_would_refuse_reach_the_service() {
    for target in ["/?a=<b>", "/?a=\"", "/#top", "foo", "http://x/?a=1", "/?a={1}", "/é", "*"] {
        let (out, framer) = framed(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
        assert!(out.starts_with(&format!("GET {} HTTP/1.1", marker(0))), "{target}");
        let original = framer.targets().take(&marker(0));
        assert_eq!(original, Some(Original::Target(target.to_owned())));
    }
}

#[test]
fn a_forged_marker_is_only_a_path() {
    let forged = format!("/~head.{}.0", "00".repeat(16));
    let long = long(REPLACED_ABOVE + 1);
    let input =
        format!("GET {long} HTTP/1.1\r\nhost: x\r\n\r\nGET {forged} HTTP/1.1\r\nhost: x\r\n\r\n");
    let (out, framer) = framed(input.as_bytes());
    assert!(out.contains(&forged), "passed on as it is");
    let targets = framer.targets();
    for target in [forged.as_str(), "/", "", "/~head.", &marker(1), &format!("{}x", marker(0))] {
        assert_eq!(targets.take(target), None, "{target}");
    }
    assert!(targets.take(&marker(0)).is_some());
}

#[test]
fn pipelined_requests_keep_their_own_targets() {
    let one = |n: usize| format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", long(REPLACED_ABOVE + n));
    let input: String = (1..=PIPELINED_MAX).map(one).collect();
    let (_, framer) = framed(input.as_bytes());
    let targets = framer.targets();
    let second = Original::Target(long(REPLACED_ABOVE + 2));
    assert_eq!(targets.take(&marker(1)), Some(second));
    assert_eq!(targets.take(&marker(0)), None, "given up with the later one");
    assert!(targets.take(&marker(2)).is_some());
    let input: String = (1..=PIPELINED_MAX + 1).map(one).collect();
    assert_eq!(refusal(input.as_bytes()), Some(HeadRefusal::TooManyPipelined));
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let inner = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", long(REPLACED_ABOVE + 1));
    let sized =
        format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{inner}", inner.len());
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
         3;ext=\"1\"\r\nabc\r\n{:X}\r\n{inner}\r\n0\r\ntrailer: x\r\n\r\n",
        inner.len()
    );
    for input in [sized, chunked] {
        let twice = format!("{input}{input}");
        assert_eq!(framed(twice.as_bytes()).0, twice);
        let (out, framer) = framed(format!("{input}{inner}").as_bytes());
        assert!(out.ends_with(&format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", marker(0))));
        assert!(!framer.is_broken());
    }
}

#[test]
fn a_length_that_can_be_read_in_two_ways_is_refused() {
    for headers in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "content-length: +1\r\n",
        "content-length: 1, 1\r\n",
        "content-length: 0x1\r\n",
        "content-length:\r\n",
        "content-length: 18446744073709551616\r\n",
    ] {
        let input = format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        assert_eq!(refusal(input.as_bytes()), Some(HeadRefusal::AmbiguousLength), "{headers}");
    }
    let input = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(refusal(input.as_bytes()), Some(HeadRefusal::AmbiguousLength));
    let input = "POST / HTTP/1.1\r\ncontent-length: 1\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(refusal(input.as_bytes()), None);
}

#[test]
fn what_is_no_head_is_refused_and_everything_behind_it_dropped() {
    for input in [
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n",
        "\u{16}\u{3}\u{1}nonsense\n\n",
        "{\"json\": 1}\r\n\r\n",
    ] {
        let input = format!("{input}GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(refusal(input.as_bytes()), Some(HeadRefusal::Malformed), "{input}");
        let (out, _) = framed(input.as_bytes());
        assert_eq!(out.matches("HTTP/1.1").count(), 1, "{out}");
    }
}

#[test]
fn chunk_framing_that_cannot_be_followed_ends_the_connection() {
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = "e".repeat(CHUNK_LINE_MAX);
    let trailers = "t: u\r\n".repeat(TRAILERS_MAX / 6 + 1);
    for body in [
        "x\r\n",
        "\r\n",
        ";\r\n",
        "1\nx",
        "1\r\nxy",
        "1\r\nx\n",
        "10000000000000000\r\n",
        "1;a\n",
        "0\r\n\n",
        &format!("1;{extension}\r\n"),
        &format!("0\r\n{trailers}\r\n"),
    ] {
        let (_, framer) = framed(format!("{head}{body}GET / HTTP/1.1\r\n\r\n").as_bytes());
        assert!(framer.is_broken(), "{body}");
    }
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let (out, _) = framed(b"\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n");
    assert_eq!(out, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
}

/// The output of the same input, cut at the places given.
fn cut(input: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let mut framer = Framer::new(TOKEN);
    let mut out = Vec::new();
    let mut rest = input;
    for &cut in cuts {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        framer.feed(now, &mut out);
        rest = later;
    }
    framer.feed(rest, &mut out);
    (out, framer.is_broken())
}

/// As [`cut`], but bodies pass beside the framer.
fn cut_beside(input: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let mut framer = Framer::new(TOKEN);
    let mut out = Vec::new();
    let mut rest = input;
    for &cut in cuts.iter().chain([&input.len()]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        let (body, other) = now.split_at(framer.body_left().min(now.len()));
        out.extend_from_slice(body);
        framer.passed(body.len());
        framer.feed(other, &mut out);
        rest = later;
    }
    (out, framer.is_broken())
}

/// Requests of every kind, one behind the other, some of them bad.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let long = long(REPLACED_ABOVE + 1);
    let part = prop_oneof![
        Just("GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        Just(format!("POST {long} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nGET /")),
        Just("POST /?<> HTTP/1.1\r\ncontent-length: 0\r\n\r\n".to_owned()),
        Just(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4;x\r\nab\r\n\r\n0\r\nt: u\r\n\r\n"
                .to_owned()
        ),
        Just("\r\n".to_owned()),
        Just("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned()),
        "[ -~\r\n]{0,30}",
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_cut_of_the_input_gives_the_same_output(
        input in stream(),
        cuts in proptest::collection::vec(0_usize..40, 0..30),
    ) {
        prop_assert_eq!(cut(&input, &cuts), cut(&input, &[]));
        prop_assert_eq!(cut_beside(&input, &cuts), cut(&input, &[]));
    }

    #[test]
    fn byte_by_byte_is_the_same_as_at_once(input in stream()) {
        prop_assert_eq!(cut(&input, &vec![1; input.len()]), cut(&input, &[]));
    }

    #[test]
    fn no_bytes_make_it_panic(input in any::<Vec<u8>>()) {
        cut(&input, &[1, 2, 3]);
    }
}

#[test]
fn the_limits_hold_for_any_cut() {
    for length in [TARGET_MAX + LINE_SLACK - 20, TARGET_MAX + LINE_SLACK, TARGET_MAX + 200] {
        let input = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", long(length));
        let whole = cut(input.as_bytes(), &[]);
        for size in [1, 7, 4096, 65_536, TARGET_MAX + LINE_SLACK, TARGET_MAX + LINE_SLACK - 1] {
            let cuts = vec![size; input.len() / size + 1];
            assert_eq!(cut(input.as_bytes(), &cuts), whole, "{length} by {size}");
        }
    }
}

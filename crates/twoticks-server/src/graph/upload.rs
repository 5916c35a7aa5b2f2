//! Handing a medium to WhatsApp, for the header of a template: the Graph API's resumable upload.
//!
//! `POST /{app}/uploads` begins it and gives the path of a session, `POST /{session}` with the bytes
//! gives the handle. Here in one piece, from offset 0.

use serde_json::Value;
use twoticks_store::directory::names::Secret;
use twoticks_wire::graph::template::MediumKind;

use super::{CallError, Graph};

/// The largest picture, film and document, in bytes (Meta's limits of Cloud API media).
const IMAGE_BYTES_MAX: usize = 5 << 20;
const VIDEO_BYTES_MAX: usize = 16 << 20;
const DOCUMENT_BYTES_MAX: usize = 100 << 20;

/// What the path of a session begins with.
const SESSION: &str = "upload:";

/// The largest medium of a kind, in bytes.
pub(crate) fn bytes_max(kind: MediumKind) -> usize {
    match kind {
        MediumKind::Image => IMAGE_BYTES_MAX,
        MediumKind::Video => VIDEO_BYTES_MAX,
        MediumKind::Document => DOCUMENT_BYTES_MAX,
    }
}

/// The formats of a kind that the upload takes, for people.
pub(crate) fn formats(kind: MediumKind) -> &'static str {
    match kind {
        MediumKind::Image => "a JPEG or PNG",
        MediumKind::Video => "an MP4",
        MediumKind::Document => "a PDF",
    }
}

/// What bytes are, if the upload takes them for a medium of that kind: a MIME type and an ending of
/// a name. Servers name types as they like; the bytes decide.
pub(crate) fn format(kind: MediumKind, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    match kind {
        MediumKind::Image if bytes.starts_with(b"\xff\xd8\xff") => Some(("image/jpeg", "jpg")),
        MediumKind::Image if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Some(("image/png", "png")),
        MediumKind::Video if bytes.get(4..8) == Some(b"ftyp") => Some(("video/mp4", "mp4")),
        MediumKind::Document if bytes.starts_with(b"%PDF-") => Some(("application/pdf", "pdf")),
        _ => None,
    }
}

/// Uploads `bytes` for the app `app_id`: the handle that `header_handle` takes.
///
/// # Errors
/// [`CallError`].
pub(crate) async fn upload(
    graph: &Graph,
    (app_id, token): (&str, &Secret),
    (mime, ending): (&str, &str),
    bytes: Vec<u8>,
) -> Result<String, CallError> {
    let (length, name) = (bytes.len().to_string(), format!("header.{ending}"));
    let described =
        [("file_name", name.as_str()), ("file_length", length.as_str()), ("file_type", mime)];
    let begun = graph.post(token, &format!("{app_id}/uploads"), &described, None).await?;
    let session = text(&begun, "id").filter(|id| id.starts_with(SESSION));
    let session = session.ok_or_else(|| unsaid("no session for the upload"))?;
    let done = graph.put(token, session, mime, bytes).await?;
    text(&done, "h").map(str::to_owned).ok_or_else(|| unsaid("no handle for what was uploaded"))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn unsaid(what: &str) -> CallError {
    CallError::NoAnswer(format!("it gave {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_is_known_by_its_bytes() {
        use MediumKind::{Document, Image, Video};
        for (kind, bytes, mime) in [
            (Image, &b"\xff\xd8\xff\xe0"[..], Some("image/jpeg")),
            (Image, b"\x89PNG\r\n\x1a\n....", Some("image/png")),
            (Image, b"GIF89a", None),
            (Image, b"%PDF-1.7", None),
            (Video, b"\0\0\0\x18ftypmp42", Some("video/mp4")),
            (Video, b"\0\0\0\x18fty", None),
            (Document, b"%PDF-1.7", Some("application/pdf")),
            (Document, b"<html>", None),
            (Document, b"", None),
        ] {
            assert_eq!(format(kind, bytes).map(|(mime, _)| mime), mime, "{kind:?} {bytes:?}");
        }
    }
}

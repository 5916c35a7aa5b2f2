//! The seam behind which WhatsApp is.
//!
//! A carrier takes messages and gives each its wamid. What becomes of them is told by webhooks,
//! through the webhook doors, never by the carrier. [`LocalCarrier`] takes everything and sends
//! nothing. What always holds: an answer has exactly one entry per message, in their order.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_wire::graph::error::GraphError;

/// A message to be sent to one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The channel that sends.
    pub channel: ChannelId,
    /// The business number that sends.
    pub from: PhoneNumber,
    /// The recipient: a phone number, a BSUID or a group, as the caller wrote it.
    pub to: String,
    /// The template; `None` for a free-form message.
    pub template: Option<Template>,
    /// The sign to put into `biz_opaque_callback_data`; quick-reply payloads carry it already.
    pub sign: Option<String>,
    /// What the call says of this recipient alone, by the names of the CAMS door.
    pub parameters: Map<String, Value>,
    /// What the call says of all its recipients, by the names of the CAMS door.
    pub call: Arc<Map<String, Value>>,
}

/// Why a carrier did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Later it may.
    #[error("the carrier cannot be reached: {0}")]
    Unavailable(String),
    /// It never will.
    #[error("the carrier refused the message: {0}")]
    Rejected(String),
    /// Its channel is not connected with WhatsApp.
    #[error("the channel is not connected with WhatsApp; `twoticks channel connect` connects it")]
    NotConnected,
    /// WhatsApp's Graph API said no.
    #[error("{0}")]
    Graph(GraphError),
}

/// Takes messages to where WhatsApp is.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Hands over messages, in order, and gives for each its wamid or why it was not taken.
    /// The answer has exactly one entry per message.
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>>;
}

/// Takes every message, gives it a wamid of its own, and tells nothing back.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalCarrier;

#[async_trait]
impl Carrier for LocalCarrier {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>> {
        messages.iter().map(|message| Ok(wamid(&message.to))).collect()
    }
}

/// Takes nothing: where no channel has a carrier but by being connected with WhatsApp.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCarrier;

#[async_trait]
impl Carrier for NoCarrier {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>> {
        messages.iter().map(|_| Err(Refused::NotConnected)).collect()
    }
}

/// Random bytes of a wamid: among 10^12 messages the odds that any two share one are below 1 in
/// 10^14.
const WAMID_RANDOM_BYTES: u8 = 16;

/// A wamid in the shape of the real ones: `wamid.` and, in base64, the recipient and a random
/// number in hexadecimal, each behind its length.
fn wamid(to: &str) -> String {
    let mut random = [0; WAMID_RANDOM_BYTES as usize];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let recipient: Vec<u8> = to.bytes().filter(u8::is_ascii_alphanumeric).take(128).collect();
    let mut bytes = vec![0x1d, 0x18, u8::try_from(recipient.len()).unwrap_or_default()];
    bytes.extend_from_slice(&recipient);
    bytes.extend_from_slice(&[0x15, 0x02, 0x00, 0x11, 0x18, 2 * WAMID_RANDOM_BYTES]);
    for byte in random {
        bytes.extend_from_slice(format!("{byte:02X}").as_bytes());
    }
    bytes.push(0);
    format!("wamid.{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_a_wamid_of_its_own_with_the_recipient_inside() {
        let (one, other) = (wamid("+8613900000001"), wamid("+8613900000001"));
        assert_ne!(one, other);
        let inside = STANDARD.decode(one.strip_prefix("wamid.").unwrap()).unwrap();
        assert!(inside.windows(13).any(|bytes| bytes == b"8613900000001"));
    }
}

//! Ids of messages in the shape of WhatsApp's, made from numbers that a seed foretells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dice::Dice;

/// How many hexadecimal digits of chance an id has: among 10^12 messages the odds that any two
/// share one are below 1 in 10^14.
const DIGITS: u8 = 32;

/// The id of a message to `to`: `wamid.` and, in base64, the recipient and a number that `dice`
/// rolls, each behind its length.
#[must_use]
pub(crate) fn wamid(dice: &mut Dice, to: &str) -> String {
    let recipient: Vec<u8> = to.bytes().filter(u8::is_ascii_alphanumeric).take(128).collect();
    let mut bytes = Vec::with_capacity(recipient.len() + 44);
    bytes.extend_from_slice(&[0x1d, 0x18, u8::try_from(recipient.len()).unwrap_or_default()]);
    bytes.extend_from_slice(&recipient);
    bytes.extend_from_slice(&[0x15, 0x02, 0x00, 0x11, 0x18, DIGITS]);
    for roll in [dice.roll(), dice.roll()] {
        for shift in (0..16).rev() {
            let half = u8::try_from(roll >> (4 * shift) & 15).unwrap_or_default();
            bytes.push(if half < 10 { b'0' + half } else { b'A' + half - 10 });
        }
    }
    bytes.push(0);
    let mut id = String::with_capacity(6 + bytes.len().div_ceil(3) * 4);
    id.push_str("wamid.");
    STANDARD.encode_string(&bytes, &mut id);
    id
}

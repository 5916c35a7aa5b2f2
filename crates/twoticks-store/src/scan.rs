//! Reading a ledger from one end to the other, as of one moment, in pages.
//!
//! A page has at most [`ROWS_MAX`] rows and about [`BYTES_MAX`] stored bytes, and nobody reads
//! ahead of whoever asks, so that going through a hundred million rows takes no more memory than
//! going through a thousand. To add a kind of rows, add a variant to [`What`] and to [`Row`].

use std::sync::Arc;

use twoticks_core::channel::Channel;
use twoticks_core::fold::Touched;
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::totals::{Cell, Totals};
use twoticks_core::window::Window;

use crate::error::Error;
use crate::journal::Position;

/// The most rows of one page.
pub const ROWS_MAX: usize = 1_000;
/// A page ends when its rows have this many bytes together as they are stored, even if there are
/// more rows.
pub const BYTES_MAX: usize = 1 << 20;

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Which rows.
    pub what: What,
    /// Of which channels; of all that have any if `None`.
    pub channels: Option<Vec<ChannelId>>,
}

/// Which rows are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// None: only the position is wanted.
    Nothing,
    /// The states of messages.
    Messages,
    /// The cells whose atoms lie in the window: those of numbers, then those of templates.
    Cells(Window),
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A message, with its channel as it was at the same moment.
    Message(MessageKey, Box<Touched<Message>>, Arc<Channel>),
    /// The sums of a cell.
    Cell(Cell, Totals),
}

/// The rows of one moment.
pub struct Scanned {
    /// The position that they stand for: everything up to it is in them, nothing behind it.
    pub position: Position,
    /// The rows in the order of their keys (`layout`): by channel, then number or template, then
    /// hash or time. Asking for the next page blocks.
    pub pages: Box<dyn Iterator<Item = Result<Vec<Row>, Error>> + Send>,
}

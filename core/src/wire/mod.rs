//! The link between sidecar and server: frames and messages. Source: docs/sync.md, "The link".
//!
//! - [`frame`]: length prefix, version byte, postcard body; encoding and bounded, incremental decoding
//! - [`message`]: what is said on which stream; enums are only ever appended to
//! - [`answer`]: the answer to a usage batch, cut into frames and put together again
//! - [`hash`]: how the accounts that a sidecar follows are named
//!
//! Golden bytes in `core/tests/golden/` hold the format still.

pub mod answer;
mod blob;
mod check;
pub mod frame;
pub mod hash;
pub mod message;

pub use answer::{AnswerParts, BatchAnswer, BatchReply};
pub use blob::Blob;
pub use frame::{FrameReader, Message, VERSION, WireError, decode, encode};
pub use hash::follow_hash;
pub use message::{
    Cursor, Delta, EventResult, Hello, Mode, Report, Request, Response, Secret, ServerControl, SidecarControl,
    UsageEvent, Welcome,
};

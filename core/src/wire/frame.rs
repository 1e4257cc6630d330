//! Frames: `u32` length (big endian) of what follows, one version byte, a postcard body.
//!
//! A frame is at most [`FRAME_BYTES_MAX`] long after its length, holds exactly one message, and the message keeps
//! the limits of its type ([`Message::check`]); anything else ends the link. Both ends use these functions.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::FRAME_BYTES_MAX;

/// The version of the protocol: the version byte of every frame.
pub const VERSION: u8 = 1;

const PREFIX_BYTES: usize = 4;

/// Why bytes are no message; the link must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than a frame may be.
    #[error("a frame of {bytes} bytes, more than the {max} that are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit of this reader.
        max: usize,
    },
    /// Another version of the protocol.
    #[error("the peer speaks version {0} of the protocol, this is version {VERSION}; use matching releases")]
    Version(u8),
    /// Not a message of the type that is expected here.
    #[error("a frame is not a valid message")]
    Malformed,
    /// A list or text in the message is longer than it may be.
    #[error("a message has too many {0}")]
    TooMany(&'static str),
    /// The messages of one stream do not belong together.
    #[error("an unexpected message: {0}")]
    Unexpected(&'static str),
}

/// What can stand in a frame.
pub trait Message: Serialize + DeserializeOwned {
    /// Refuses lists and texts that are longer than they may be.
    fn check(&self) -> Result<(), WireError>;
}

/// The frame of `message`. Fails only if the message is too long, or breaks its own limits.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, WireError> {
    message.check()?;
    let frame = postcard::to_extend(message, begin()).map_err(|_| WireError::Malformed)?;
    finish(frame)
}

/// The message of one whole frame.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, WireError> {
    let mut reader = FrameReader::new();
    reader.feed(frame);
    let message = reader.next_message()?.ok_or(WireError::Malformed)?;
    if reader.is_empty() { Ok(message) } else { Err(WireError::Malformed) }
}

/// The start of a frame, to which a body can be appended.
pub(crate) fn begin() -> Vec<u8> {
    vec![0, 0, 0, 0, VERSION]
}

/// Writes the length of a frame made with [`begin`].
pub(crate) fn finish(mut frame: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let bytes = frame.len() - PREFIX_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let length = length.ok_or(WireError::TooLong { bytes, max: FRAME_BYTES_MAX })?;
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Takes bytes as they come and gives messages. After an error it must not be used again.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// What of `buffer` has been given out already.
    taken: usize,
    bytes_max: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader of frames of any allowed length.
    pub const fn new() -> Self {
        Self::with_limit(FRAME_BYTES_MAX)
    }

    /// A reader that refuses longer frames than `bytes_max`: before the peer is known.
    pub const fn with_limit(bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, bytes_max }
    }

    /// Allows frames of any allowed length from now on.
    pub const fn lift_limit(&mut self) {
        self.bytes_max = FRAME_BYTES_MAX;
    }

    /// Appends bytes from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether no part of a frame is left: where a stream may end.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.taken
    }

    /// The next message, or `None` until more bytes are fed.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<M>, WireError> {
        let rest = &self.buffer[self.taken..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if bytes > self.bytes_max {
            return Err(WireError::TooLong { bytes, max: self.bytes_max });
        }
        // The version is judged as soon as it is there, so that a peer of another one is told so.
        if let Some(version) = rest.first().filter(|version| **version != VERSION) {
            return Err(WireError::Version(*version));
        }
        if rest.len() < bytes {
            return Ok(None);
        }
        let body = rest[..bytes].get(1..).ok_or(WireError::Malformed)?;
        let (message, left): (M, &[u8]) = postcard::take_from_bytes(body).map_err(|_| WireError::Malformed)?;
        if !left.is_empty() {
            return Err(WireError::Malformed);
        }
        message.check()?;
        self.taken += PREFIX_BYTES + bytes;
        Ok(Some(message))
    }
}

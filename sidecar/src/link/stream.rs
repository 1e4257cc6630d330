//! Messages on QUIC streams.

use quinn::{RecvStream, SendStream};
use quotastack_core::wire::{FrameReader, Message, encode};

use crate::link::LinkError;

/// Bytes taken from a stream at a time.
const READ_BYTES: usize = 64 << 10;

/// A stream's incoming messages.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    frames: FrameReader,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, frames: FrameReader::new() }
    }

    /// The next message; `None` at the stream's end. May be dropped at any await without losing bytes.
    pub(crate) async fn next<M: Message>(&mut self) -> Result<Option<M>, LinkError> {
        loop {
            if let Some(message) = self.frames.next_message()? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.frames.feed(&chunk.bytes),
                None if self.frames.is_empty() => return Ok(None),
                None => return Err(LinkError::Truncated),
            }
        }
    }
}

/// Writes one message.
pub(crate) async fn send<M: Message>(stream: &mut SendStream, message: &M) -> Result<(), LinkError> {
    stream.write_all(&encode(message)?).await?;
    Ok(())
}

//! Messages on QUIC streams.

use quinn::{RecvStream, SendStream};
use quotastack_core::wire::{FrameReader, Message, WireError, encode};

/// Bytes taken from a stream at a time.
const READ_BYTES: usize = 64 << 10;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The sidecar is gone.
    #[error("the connection is gone: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// It gave up a stream, in the middle of what it was writing.
    #[error("a stream broke: {0}")]
    Read(#[from] quinn::ReadError),
    /// It gave up a stream that we were writing.
    #[error("a stream broke: {0}")]
    Write(#[from] quinn::WriteError),
    /// It broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It broke the protocol.
    #[error("the sidecar sent {0}")]
    Unexpected(&'static str),
    /// It did not say who it is in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// It was told why it is not taken in, or no longer.
    #[error("refused: {0}")]
    Refused(String),
    /// The database does not answer, or the environment cannot be served.
    #[error("the session cannot be served: {0}")]
    Server(String),
}

/// A stream's incoming messages.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    frames: FrameReader,
}

impl Incoming {
    /// The messages of `stream`, in frames of any allowed length.
    pub const fn new(stream: RecvStream) -> Self {
        Self { stream, frames: FrameReader::new() }
    }

    /// The same with short frames only, until [`Self::lift_limit`].
    pub const fn with_limit(stream: RecvStream, bytes_max: usize) -> Self {
        Self { stream, frames: FrameReader::with_limit(bytes_max) }
    }

    /// Allows frames of any allowed length from now on.
    pub const fn lift_limit(&mut self) {
        self.frames.lift_limit();
    }

    /// The next message; `None` at the stream's end. May be dropped at any await without losing bytes.
    pub async fn next<M: Message>(&mut self) -> Result<Option<M>, LinkError> {
        loop {
            if let Some(message) = self.frames.next_message()? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.frames.feed(&chunk.bytes),
                None if self.frames.is_empty() => return Ok(None),
                None => return Err(LinkError::Unexpected("half a message")),
            }
        }
    }
}

/// Writes one message.
pub async fn send<M: Message>(stream: &mut SendStream, message: &M) -> Result<(), LinkError> {
    Ok(stream.write_all(&encode(message)?).await?)
}

//! The answer to a usage batch: results and states belong together, but may be too long for one frame.

use crate::state::AccountState;
use crate::wire::frame::{WireError, encode};
use crate::wire::message::{EventResult, Response};

/// Bytes of states after which a new frame begins; one state may be longer.
const STATES_FRAME_BYTES: usize = 256 << 10;

/// What the server says to a batch: one result per event, and the states of its accounts as of its commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchAnswer {
    /// In the order of the events.
    pub results: Vec<EventResult>,
    /// Of every account that the batch names.
    pub states: Vec<AccountState>,
}

impl BatchAnswer {
    /// The frames of the answer, in order.
    pub fn into_frames(self) -> Result<Vec<Vec<u8>>, WireError> {
        let mut frames = Vec::new();
        let (mut part, mut bytes) = (Vec::new(), 0);
        for state in self.states {
            bytes += postcard::experimental::serialized_size(&state).map_err(|_| WireError::Malformed)?;
            part.push(state);
            if bytes >= STATES_FRAME_BYTES {
                frames.push(encode(&Response::States(std::mem::take(&mut part)))?);
                bytes = 0;
            }
        }
        if !part.is_empty() {
            frames.push(encode(&Response::States(part))?);
        }
        frames.push(encode(&Response::Recorded(self.results))?);
        Ok(frames)
    }
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchReply {
    /// It was recorded.
    Answer(BatchAnswer),
    /// Nothing was done.
    Busy {
        /// How long to wait before sending it again.
        delay_ms: u32,
    },
}

/// Puts the answer to a batch together.
#[derive(Debug, Default)]
pub struct AnswerParts {
    states: Vec<AccountState>,
}

impl AnswerParts {
    /// Takes the next response of the stream; the reply when it is complete.
    pub fn push(&mut self, response: Response) -> Result<Option<BatchReply>, WireError> {
        match response {
            Response::States(states) => {
                self.states.extend(states);
                Ok(None)
            }
            Response::Recorded(results) => {
                let states = std::mem::take(&mut self.states);
                Ok(Some(BatchReply::Answer(BatchAnswer { results, states })))
            }
            Response::Busy { delay_ms } => Ok(Some(BatchReply::Busy { delay_ms })),
            Response::State(_) | Response::Leased { .. } | Response::Returned | Response::Refused { .. } => {
                Err(WireError::Unexpected("an answer to something else as the answer to a usage batch"))
            }
        }
    }
}

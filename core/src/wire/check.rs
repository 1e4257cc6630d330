//! The limits that a message must keep, beyond those of the types inside it.

use crate::ledger::command::Usage;
use crate::limits::{
    BATCH_EVENTS_MAX, CATALOGUE_BYTES_MAX, CATALOGUE_CHUNK_BYTES, FOLLOW_HASHES_MAX, LANES_MAX, PAIR_KEY_BYTES_MAX,
    PAIR_VALUE_BYTES_MAX, PAIRS_MAX,
};
use crate::wire::frame::{Message, WireError};
use crate::wire::message::{Delta, Request, Response, ServerControl, SidecarControl};

/// Bytes of a text for people, and of a key.
const TEXT_BYTES_MAX: usize = 1_024;
const CHUNKS_MAX: usize = CATALOGUE_BYTES_MAX / CATALOGUE_CHUNK_BYTES;

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), WireError> {
    if count <= max { Ok(()) } else { Err(WireError::TooMany(what)) }
}

impl Message for SidecarControl {
    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Hello(hello) => {
                at_most(hello.key.0.len(), TEXT_BYTES_MAX, "bytes of key")?;
                at_most(hello.software.len(), TEXT_BYTES_MAX, "bytes of text")?;
                at_most(hello.cursor.as_ref().map_or(0, |cursor| cursor.lanes.len()), LANES_MAX, "lanes")
            }
            Self::Follow { hashes, .. } => at_most(hashes.len(), FOLLOW_HASHES_MAX, "hashes"),
            Self::Heartbeat { .. } => Ok(()),
        }
    }
}

impl Message for ServerControl {
    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Welcome(welcome) => at_most(welcome.environment.len(), TEXT_BYTES_MAX, "bytes of text"),
            Self::Refused { code, reason } => at_most(code.len().max(reason.len()), TEXT_BYTES_MAX, "bytes of text"),
            Self::Heartbeat { .. } => Ok(()),
        }
    }
}

impl Message for Delta {
    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::States(_) => Ok(()),
            Self::Progress { lanes, .. } => at_most(lanes.len(), LANES_MAX, "lanes"),
            Self::Catalogue { index, count, bytes, .. } => {
                at_most(bytes.0.len(), CATALOGUE_CHUNK_BYTES, "bytes of catalogue")?;
                at_most(usize::try_from(*count).unwrap_or(usize::MAX), CHUNKS_MAX, "parts of a catalogue")?;
                if index < count { Ok(()) } else { Err(WireError::Malformed) }
            }
        }
    }
}

impl Message for Request {
    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Usage { events, .. } => {
                at_most(events.len(), BATCH_EVENTS_MAX, "events")?;
                events.iter().try_for_each(|event| check_usage(&event.usage))
            }
            Self::Fetch { .. } | Self::Lease { .. } | Self::Return { .. } => Ok(()),
        }
    }
}

impl Message for Response {
    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Recorded(results) => at_most(results.len(), BATCH_EVENTS_MAX, "results"),
            Self::Refused { code, detail } => at_most(code.len().max(detail.len()), TEXT_BYTES_MAX, "bytes of text"),
            Self::States(_) | Self::Busy { .. } | Self::State(_) | Self::Leased { .. } | Self::Returned => Ok(()),
        }
    }
}

fn check_usage(usage: &Usage) -> Result<(), WireError> {
    at_most(usage.properties.len(), PAIRS_MAX, "properties")?;
    usage.properties.iter().try_for_each(|(name, value)| {
        at_most(name.len(), PAIR_KEY_BYTES_MAX, "bytes of a property")?;
        at_most(value.len(), PAIR_VALUE_BYTES_MAX, "bytes of a property")
    })
}

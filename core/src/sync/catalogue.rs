//! The catalogue on its way: one document, encoded once, sent in parts, applied whole.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::limits::{CATALOGUE_BYTES_MAX, CATALOGUE_CHUNK_BYTES};
use crate::wire::{Blob, Delta, WireError};

/// A catalogue as it is sent, shared by all sessions.
#[derive(Debug, Clone)]
pub struct EncodedCatalogue {
    version: u64,
    bytes: Arc<[u8]>,
}

/// A catalogue longer than [`CATALOGUE_BYTES_MAX`]; it cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an encoded catalogue of {bytes} bytes, more than the {CATALOGUE_BYTES_MAX} that are allowed")]
pub struct CatalogueTooLong {
    /// Its length.
    pub bytes: usize,
}

impl EncodedCatalogue {
    /// Encodes `catalogue`.
    pub fn new(catalogue: &Catalogue) -> Result<Self, CatalogueTooLong> {
        let bytes = encode(catalogue);
        if bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(CatalogueTooLong { bytes: bytes.len() });
        }
        Ok(Self { version: catalogue.version, bytes: bytes.into() })
    }

    /// The catalogue's version.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many parts it is sent in.
    pub(crate) fn parts(&self) -> u32 {
        u32::try_from(self.bytes.len().div_ceil(CATALOGUE_CHUNK_BYTES)).expect("a catalogue is at most 16 MiB")
    }

    /// Part `index`, from 0 to below [`Self::parts`].
    pub(crate) fn part(&self, index: u32) -> Delta {
        let start = index as usize * CATALOGUE_CHUNK_BYTES;
        let end = self.bytes.len().min(start + CATALOGUE_CHUNK_BYTES);
        let bytes = Blob(self.bytes[start..end].to_vec());
        Delta::Catalogue { version: self.version, index, count: self.parts(), bytes }
    }
}

/// The bytes of a catalogue, in which a replica also keeps it.
pub fn encode(catalogue: &Catalogue) -> Vec<u8> {
    postcard::to_stdvec(catalogue).expect("a catalogue has no form that postcard refuses")
}

/// The catalogue of these bytes.
pub fn decode(bytes: &[u8]) -> Result<Catalogue, WireError> {
    let (catalogue, rest) = postcard::take_from_bytes(bytes).map_err(|_| WireError::Malformed)?;
    if rest.is_empty() { Ok(catalogue) } else { Err(WireError::Malformed) }
}

/// Puts the parts of a catalogue together.
#[derive(Debug, Default)]
pub(crate) struct CatalogueParts {
    version: u64,
    next: u32,
    bytes: Vec<u8>,
}

impl CatalogueParts {
    /// Takes a part; the catalogue with the last one. A part 0 begins anew.
    pub(crate) fn push(
        &mut self,
        (version, index, count): (u64, u32, u32),
        bytes: &[u8],
    ) -> Result<Option<Catalogue>, WireError> {
        if index == 0 {
            *self = Self { version, ..Self::default() };
        }
        if (version, index) != (self.version, self.next) {
            return Err(WireError::Unexpected("a part of a catalogue that does not follow the one before"));
        }
        if self.bytes.len() + bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(WireError::TooMany("bytes of catalogue"));
        }
        self.bytes.extend_from_slice(bytes);
        self.next += 1;
        if self.next < count {
            return Ok(None);
        }
        let catalogue = decode(&std::mem::take(self).bytes)?;
        if catalogue.version == version {
            Ok(Some(catalogue))
        } else {
            Err(WireError::Unexpected("a catalogue with another version inside"))
        }
    }
}

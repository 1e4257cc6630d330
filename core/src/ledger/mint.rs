//! An [`IdMint`]: the ids of one command from its seed, the same ones at every run.

use crate::ids::{Bucket, EventId, uuid_v7};
use crate::time::Timestamp;

/// Mints the ids of one command from its seed. Events have a series of their own: what time did before the command
/// announces some of them, and that may differ between two runs.
#[derive(Debug)]
pub(crate) struct IdMint {
    now: Timestamp,
    seed: [u8; 16],
    bucket: Bucket,
    things: u32,
    events: u32,
}

impl IdMint {
    /// A mint for a command of an account in `bucket`.
    pub(super) const fn new(now: Timestamp, seed: [u8; 16], bucket: Bucket) -> Self {
        Self { now, seed, bucket, things: 0, events: 0 }
    }

    /// The next id of a block or a subscription.
    pub(crate) fn next_uuid(&mut self) -> uuid::Uuid {
        self.things += 1;
        self.mint(b't', self.things)
    }

    /// The next id of an event.
    pub(crate) fn next_event_id(&mut self) -> EventId {
        self.events += 1;
        EventId::from_uuid(self.mint(b'e', self.events))
    }

    fn mint(&self, series: u8, count: u32) -> uuid::Uuid {
        let mut input = [0; 21];
        input[..16].copy_from_slice(&self.seed);
        input[16] = series;
        input[17..].copy_from_slice(&count.to_be_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&blake3::hash(&input).as_bytes()[..10]);
        uuid_v7(self.now, random, Some(self.bucket))
    }
}

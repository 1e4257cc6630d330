//! What the server keeps in memory of an environment: its lanes, the rings of recent states, the catalogue.
//!
//! All of it can be dropped and read again; the database is the truth.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{Bucket, LaneCount};
use quotastack_core::sync::catalogue::{CatalogueTooLong, EncodedCatalogue};

use crate::app::feed::Feed;
use crate::store::tx::{Store, Tx};
use crate::store::types::{EnvironmentId, LaneId};

/// An environment in memory.
#[derive(Debug)]
pub struct EnvironmentHandle {
    /// Its surrogate.
    pub id: EnvironmentId,
    /// Its lanes by number.
    pub lanes: Vec<LaneId>,
    /// Recent states, for sessions.
    pub feed: Feed,
    catalogue: RwLock<KnownCatalogue>,
}

/// The catalogue as last seen, and its encoded form once a session has asked for it.
#[derive(Debug)]
struct KnownCatalogue {
    catalogue: Arc<Catalogue>,
    encoded: OnceLock<Result<EncodedCatalogue, CatalogueTooLong>>,
}

impl KnownCatalogue {
    fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, encoded: OnceLock::new() }
    }
}

impl EnvironmentHandle {
    /// An environment with its lanes in order, each with its place in the feed, and its catalogue.
    pub fn new(id: EnvironmentId, lanes: &[(LaneId, u64)], catalogue: Catalogue) -> Self {
        let positions: Vec<u64> = lanes.iter().map(|(_, feed_seq)| *feed_seq).collect();
        Self {
            id,
            lanes: lanes.iter().map(|(lane_id, _)| *lane_id).collect(),
            feed: Feed::new(&positions),
            catalogue: RwLock::new(KnownCatalogue::new(Arc::new(catalogue))),
        }
    }

    /// How many lanes there are.
    pub fn lane_count(&self) -> LaneCount {
        let count = u16::try_from(self.lanes.len()).ok().and_then(LaneCount::new);
        count.expect("an environment has a power of two of lanes")
    }

    /// The lane of a bucket.
    pub fn lane_of(&self, bucket: Bucket) -> (u16, LaneId) {
        let number = self.lane_count().lane_of(bucket);
        (number, self.lanes[usize::from(number)])
    }

    /// The catalogue as last seen.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().catalogue)
    }

    /// The same, as sidecars are sent it.
    pub fn encoded_catalogue(&self) -> Result<EncodedCatalogue, CatalogueTooLong> {
        let known = self.catalogue.read();
        known.encoded.get_or_init(|| EncodedCatalogue::new(&known.catalogue)).clone()
    }

    /// The catalogue of this version, which the transaction has just read; loads it if it is not the one at hand.
    pub async fn catalogue_at(&self, tx: &mut Tx, version: u64) -> sqlx::Result<Arc<Catalogue>> {
        let known = self.catalogue();
        if known.version == version {
            return Ok(known);
        }
        let loaded = Arc::new(tx.load_catalogue(self.id).await?);
        let mut kept = self.catalogue.write();
        if loaded.version > kept.catalogue.version {
            *kept = KnownCatalogue::new(Arc::clone(&loaded));
            self.feed.catalogue_changed();
        }
        Ok(loaded)
    }

    /// The catalogue as the database has it now.
    pub async fn current_catalogue(&self, tx: &mut Tx) -> sqlx::Result<Arc<Catalogue>> {
        let (version, _) = tx.catalogue_head(self.id).await?;
        self.catalogue_at(tx, version).await
    }

    /// Reads the catalogue if the database has another one than the one at hand.
    pub async fn follow_catalogue(&self, store: &Store) -> sqlx::Result<()> {
        let mut tx = store.begin_snapshot(self.id).await?;
        self.current_catalogue(&mut tx).await?;
        tx.commit().await
    }
}

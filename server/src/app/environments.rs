//! The environments that this server has met: each is read, and its writers started, at the first request.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::app::environment::EnvironmentHandle;
use crate::app::writer::LaneWriter;
use crate::store::tx::Store;
use crate::store::types::EnvironmentId;

/// The environments that this server has met since it started.
#[derive(Debug, Default)]
pub struct Environments {
    open: Mutex<HashMap<EnvironmentId, Arc<OnceCell<Arc<OpenEnvironment>>>>>,
}

/// An environment with its writers.
#[derive(Debug)]
pub struct OpenEnvironment {
    /// What is kept of it.
    pub handle: Arc<EnvironmentHandle>,
    /// A writer per lane.
    pub writers: Vec<LaneWriter>,
}

impl Environments {
    /// The environment, read and its writers started at the first call. Others do not wait for it.
    pub async fn open(&self, store: &Store, id: EnvironmentId) -> sqlx::Result<Arc<OpenEnvironment>> {
        let cell = Arc::clone(self.open.lock().entry(id).or_default());
        cell.get_or_try_init(|| read(store, id)).await.cloned()
    }

    /// Those that were opened so far.
    pub fn all(&self) -> Vec<Arc<OpenEnvironment>> {
        self.open.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }
}

async fn read(store: &Store, id: EnvironmentId) -> sqlx::Result<Arc<OpenEnvironment>> {
    let mut tx = store.begin_snapshot(id).await?;
    let lanes = tx.list_lanes(id).await?;
    let catalogue = tx.load_catalogue(id).await?;
    tx.commit().await?;
    let handle = Arc::new(EnvironmentHandle::new(id, &lanes, catalogue));
    let writers = (0..).take(lanes.len()).map(|lane| LaneWriter::start(store.clone(), Arc::clone(&handle), lane));
    Ok(Arc::new(OpenEnvironment { writers: writers.collect(), handle }))
}

//! Forgetting requests whose idempotency keys are older than 30 days. Called by the worker; any number of servers may.

use crate::app::clock;
use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::requests::dead_slots;

impl App {
    /// Removes what is old enough, page by page; how many slots of account requests were emptied.
    pub async fn forget_old_requests(&self) -> Result<usize, AppError> {
        let mut emptied = 0;
        for slot in dead_slots(clock::now()) {
            let mut tx = self.store.begin_without_environment().await?;
            emptied += usize::from(tx.empty_request_slot(slot).await?);
            tx.commit().await?;
        }
        loop {
            let mut tx = self.store.begin_without_environment().await?;
            let is_done = tx.forget_catalogue_requests().await?;
            tx.commit().await?;
            if is_done {
                return Ok(emptied);
            }
        }
    }
}

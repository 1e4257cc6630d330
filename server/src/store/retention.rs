//! How old requests go: the server's role may not delete, so each is a narrow function that looks at the database's own
//! clock before it removes anything.

use crate::store::tx::Tx;

/// Answers to catalogue requests that are removed at once.
const PAGE_REQUESTS: i32 = 1_000;

impl Tx {
    /// Empties a slot of account requests; false if there was nothing in it, or it is not time yet.
    pub async fn empty_request_slot(&mut self, slot: i16) -> sqlx::Result<bool> {
        sqlx::query_scalar("select empty_request_slot($1)").bind(slot).fetch_one(self.connection()).await
    }

    /// Removes a page of old answers to catalogue requests; false if there may be more.
    pub async fn forget_catalogue_requests(&mut self) -> sqlx::Result<bool> {
        let removed: i64 = sqlx::query_scalar("select forget_catalogue_requests($1)")
            .bind(PAGE_REQUESTS)
            .fetch_one(self.connection())
            .await?;
        Ok(removed < i64::from(PAGE_REQUESTS))
    }
}

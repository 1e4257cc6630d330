//! What requests with an idempotency key did, per lane: a repeat is answered from here.

use std::collections::HashMap;

use quotastack_core::ledger::outcome::Outcome;
use sqlx::Row;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, bytes, from_json};

/// A request that was carried out.
#[derive(Debug, Clone)]
pub struct StoredRequest {
    /// Of its body.
    pub request_hash: [u8; 16],
    /// Of the run that carried it out.
    pub seed: [u8; 16],
    /// What came of it.
    pub outcome: Outcome,
}

impl Tx {
    /// Which of these requests were carried out before.
    pub async fn load_requests(
        &mut self,
        lane_id: LaneId,
        keys: &[[u8; 16]],
    ) -> sqlx::Result<HashMap<[u8; 16], StoredRequest>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let rows = sqlx::query(
            "select key_hash, request_hash, seed, outcome from account_requests where lane_id = $1 and key_hash = any ($2)",
        )
        .bind(lane_id.0)
        .bind(keys)
        .fetch_all(self.connection())
        .await?;
        let requests = rows.iter().map(|row| {
            Ok((
                bytes("key_hash", row.try_get("key_hash")?)?,
                StoredRequest {
                    request_hash: bytes("request_hash", row.try_get("request_hash")?)?,
                    seed: bytes("seed", row.try_get("seed")?)?,
                    outcome: from_json("outcome", row.try_get("outcome")?)?,
                },
            ))
        });
        requests.collect()
    }
}

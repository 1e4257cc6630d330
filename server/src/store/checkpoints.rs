//! Checkpoints of accounts: written by whoever looks back, and found again by the next one.

use quotastack_core::ids::{AccountId, BlockId};
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::refold::checkpoint::{CHECKPOINT_FORMAT, Checkpoint};
use quotastack_core::time::Timestamp;
use sqlx::Row;
use uuid::Uuid;

use crate::store::batch::column;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, from_json, signed, to_json, unsigned};

impl Tx {
    /// `seq` and state of an account's last checkpoint up to an entry, or written up to an instant; `None` leaves nothing out.
    pub async fn find_checkpoint(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        seq: Option<u64>,
        recorded_at: Option<Timestamp>,
    ) -> sqlx::Result<Option<(u64, Vec<u8>)>> {
        let row = sqlx::query(
            "select seq, state from checkpoints
             where lane_id = $1 and account_id = $2 and format = $3
               and ($4::bigint is null or seq <= $4) and ($5::timestamptz is null or recorded_at <= $5)
             order by seq desc limit 1",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(seq.map(signed))
        .bind(recorded_at.map(Ts))
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| Ok((unsigned("seq", row.try_get("seq")?)?, row.try_get("state")?))).transpose()
    }

    /// Of these blocks those that were used up by the checkpoint `seq`, each as it was left then.
    pub async fn load_used_up_at(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        seq: u64,
        ids: impl IntoIterator<Item = BlockId>,
    ) -> sqlx::Result<Vec<Block>> {
        let ids: Vec<Uuid> = ids.into_iter().map(BlockId::uuid).collect();
        if ids.is_empty() || seq == 0 {
            return Ok(Vec::new());
        }
        let blocks: Vec<serde_json::Value> = sqlx::query_scalar(
            "select distinct on (block_id) block from checkpoint_blocks
             where lane_id = $1 and account_id = $2 and format = $3 and block_id = any ($4) and seq <= $5
             order by block_id, seq desc",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(ids)
        .bind(signed(seq))
        .fetch_all(self.connection())
        .await?;
        blocks.into_iter().map(|block| from_json("block", block)).collect()
    }

    /// Up to `limit` blocks that were used up by the checkpoint `seq`, the newest first.
    pub async fn list_used_up_at(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        seq: u64,
        limit: i64,
    ) -> sqlx::Result<Vec<Block>> {
        let blocks: Vec<serde_json::Value> = sqlx::query_scalar(
            "select block from (
               select distinct on (block_id) block_id, granted_seq, block from checkpoint_blocks
               where lane_id = $1 and account_id = $2 and format = $3 and seq <= $4
               order by block_id, seq desc) as last
             order by granted_seq desc, block_id limit $5",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(signed(seq))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        blocks.into_iter().map(|block| from_json("block", block)).collect()
    }

    /// Keeps a checkpoint. One that is there already is the same one.
    pub async fn write_checkpoint(
        &mut self,
        environment_id: EnvironmentId,
        lane_id: LaneId,
        account_id: AccountId,
        checkpoint: &Checkpoint,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into checkpoints (lane_id, account_id, format, seq, environment_id, recorded_at, state)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(signed(checkpoint.seq))
        .bind(environment_id.0)
        .bind(Ts(checkpoint.recorded_at))
        .bind(&checkpoint.state)
        .execute(self.connection())
        .await?;
        let blocks = &checkpoint.used_up;
        if blocks.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into checkpoint_blocks (lane_id, account_id, format, seq, environment_id, block_id, granted_seq, block)
             select $1, $2, $3, $4, $5, block_id, granted_seq, block::jsonb
             from unnest($6::uuid[], $7::bigint[], $8::text[]) as t (block_id, granted_seq, block)
             on conflict do nothing",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(signed(checkpoint.seq))
        .bind(environment_id.0)
        .bind(column(blocks, |block| block.id.uuid()))
        .bind(column(blocks, |block| signed(block.granted.0)))
        .bind(column(blocks, |block| to_json(block).to_string()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The checkpoint of an account at this entry, if there is anything of one.
    pub async fn checkpoint_at(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        seq: u64,
    ) -> sqlx::Result<Option<Checkpoint>> {
        let row = sqlx::query(
            "select recorded_at, state from checkpoints
             where lane_id = $1 and account_id = $2 and format = $3 and seq = $4",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(signed(seq))
        .fetch_optional(self.connection())
        .await?;
        let blocks: Vec<serde_json::Value> = sqlx::query_scalar(
            "select block from checkpoint_blocks
             where lane_id = $1 and account_id = $2 and format = $3 and seq = $4 order by block_id",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(i16::from(CHECKPOINT_FORMAT))
        .bind(signed(seq))
        .fetch_all(self.connection())
        .await?;
        if row.is_none() && blocks.is_empty() {
            return Ok(None);
        }
        let used_up = blocks.into_iter().map(|block| from_json("block", block)).collect::<sqlx::Result<_>>()?;
        let (recorded_at, state) = match &row {
            Some(row) => (row.try_get::<Ts, _>("recorded_at")?.0, row.try_get("state")?),
            None => Default::default(),
        };
        Ok(Some(Checkpoint { seq, recorded_at, state, used_up }))
    }
}

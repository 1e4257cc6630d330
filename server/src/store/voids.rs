//! Usage that was undone: what a repeated void is answered from.

use quotastack_core::ids::{AccountId, UsageId};
use quotastack_core::ledger::outcome::{Standing, VoidRecord};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::batch::column;
use crate::store::statement::Statement;
use crate::store::tx::Tx;
use crate::store::types::{LaneId, Ts, credits, signed, unsigned};
use crate::store::usage::totals_from_row;

impl Tx {
    /// Which of these events were undone before.
    pub async fn load_voids(&mut self, lane_id: LaneId, ids: &[UsageId]) -> sqlx::Result<Vec<VoidRecord>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query(
            "select usage_id, reason, returned, debt_undone, seq, version, balance_after, reserved_after, debt_after,
               voided_at
             from usage_voids where lane_id = $1 and usage_id = any ($2)",
        )
        .bind(lane_id.0)
        .bind(ids)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(void_from_row).collect()
    }
}

pub(super) fn insert_voids(statement: &mut Statement, rows: &[(AccountId, u64, &VoidRecord)]) {
    if rows.is_empty() {
        return;
    }
    let sql =
        "insert into usage_voids (lane_id, environment_id, account_id, usage_id, reason, returned, debt_undone, seq,
          version, balance_after, reserved_after, debt_after, voided_at, feed_seq)
        select $1, $2, account_id, usage_id, reason, returned, debt_undone, seq, version, balance_after, reserved_after,
          debt_after, voided_at, feed_seq
        from unnest($3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
          $10::bigint[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::bigint[])
          as t (account_id, usage_id, reason, returned, debt_undone, seq, version, balance_after, reserved_after,
            debt_after, voided_at, feed_seq)";
    statement
        .part(sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(.., void)| void.usage_id.uuid()))
        .bind(column(rows, |(.., void)| void.reason.clone()))
        .bind(column(rows, |(.., void)| void.returned.get()))
        .bind(column(rows, |(.., void)| void.debt_undone.get()))
        .bind(column(rows, |(.., void)| signed(void.seq)))
        .bind(column(rows, |(.., void)| signed(void.standing.version)))
        .bind(column(rows, |(.., void)| void.standing.totals.balance.get()))
        .bind(column(rows, |(.., void)| void.standing.totals.reserved.get()))
        .bind(column(rows, |(.., void)| void.standing.totals.debt.get()))
        .bind(column(rows, |(.., void)| Ts(void.standing.now)))
        .bind(column(rows, |(_, stamp, _)| signed(*stamp)));
}

fn void_from_row(row: &PgRow) -> sqlx::Result<VoidRecord> {
    Ok(VoidRecord {
        usage_id: UsageId::from_uuid(row.try_get("usage_id")?),
        reason: row.try_get("reason")?,
        returned: credits("returned", row.try_get("returned")?)?,
        debt_undone: credits("debt_undone", row.try_get("debt_undone")?)?,
        seq: unsigned("seq", row.try_get("seq")?)?,
        standing: Standing {
            totals: totals_from_row(row)?,
            version: unsigned("version", row.try_get("version")?)?,
            now: row.try_get::<Ts, _>("voided_at")?.0,
        },
    })
}

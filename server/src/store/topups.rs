//! Top-ups: credit that was bought, found by its id and by its payment.

use quotastack_core::ids::{AccountId, EndUserId, PaymentReference, TopupId};
use quotastack_core::ledger::topup::Topup;
use sqlx::Row;
use uuid::Uuid;

use crate::store::batch::column;
use crate::store::statement::Statement;
use crate::store::tx::Tx;
use crate::store::types::{LaneId, end_user_id, from_json, to_json};

/// The first 16 bytes of BLAKE3 over a payment's reference: what top-ups are unique by, within an account.
pub fn reference_hash(reference: &PaymentReference) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(reference.as_str().as_bytes()).as_bytes()[..16]);
    hash
}

impl Tx {
    /// These top-ups, each with its account.
    pub async fn load_topups(&mut self, lane_id: LaneId, ids: &[TopupId]) -> sqlx::Result<Vec<(AccountId, Topup)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query("select account_id, state from topups where lane_id = $1 and topup_id = any ($2)")
            .bind(lane_id.0)
            .bind(ids)
            .fetch_all(self.connection())
            .await?;
        let found = rows.iter().map(|row| {
            Ok((AccountId::from_uuid(row.try_get("account_id")?), from_json("state", row.try_get("state")?)?))
        });
        found.collect()
    }

    /// The top-ups with these payments, each with its account.
    pub async fn load_topups_by_reference(
        &mut self,
        lane_id: LaneId,
        references: &[(AccountId, [u8; 16])],
    ) -> sqlx::Result<Vec<(AccountId, Topup)>> {
        if references.is_empty() {
            return Ok(Vec::new());
        }
        let accounts: Vec<Uuid> = references.iter().map(|(account, _)| account.uuid()).collect();
        let hashes: Vec<&[u8]> = references.iter().map(|(_, hash)| hash.as_slice()).collect();
        let rows = sqlx::query(
            "select t.account_id, t.state from unnest($2::uuid[], $3::bytea[]) as wanted (account_id, reference_hash)
             join topups t on t.lane_id = $1 and t.account_id = wanted.account_id
               and t.reference_hash = wanted.reference_hash",
        )
        .bind(lane_id.0)
        .bind(accounts)
        .bind(hashes)
        .fetch_all(self.connection())
        .await?;
        let found = rows.iter().map(|row| {
            Ok((AccountId::from_uuid(row.try_get("account_id")?), from_json("state", row.try_get("state")?)?))
        });
        found.collect()
    }

    /// A top-up by its id, and whose it is.
    pub async fn find_topup(&mut self, lane_id: LaneId, id: TopupId) -> sqlx::Result<Option<(EndUserId, Topup)>> {
        let row = sqlx::query(
            "select a.end_user_id, t.state from topups t join accounts a using (lane_id, account_id)
             where t.lane_id = $1 and t.topup_id = $2",
        )
        .bind(lane_id.0)
        .bind(id.uuid())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((end_user_id(row.try_get("end_user_id")?)?, from_json("state", row.try_get("state")?)?)))
    }

    /// Up to `limit` top-ups of an account before `before`, newest first.
    pub async fn list_topups(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        before: Option<TopupId>,
        limit: i64,
    ) -> sqlx::Result<Vec<Topup>> {
        let rows = sqlx::query(
            "select state from topups where lane_id = $1 and account_id = $2 and topup_id < $3
             order by topup_id desc limit $4",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(before.map_or(Uuid::max(), TopupId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| from_json("state", row.try_get("state")?)).collect()
    }
}

pub(super) fn write_topups(statement: &mut Statement, rows: &[(AccountId, &Topup)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into topups (lane_id, environment_id, account_id, reference_hash, topup_id, state)
        select $1, $2, account_id, reference_hash, topup_id, state::jsonb
        from unnest($3::uuid[], $4::bytea[], $5::uuid[], $6::text[]) as t (account_id, reference_hash, topup_id, state)
        on conflict (lane_id, account_id, reference_hash) do update set state = excluded.state";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.uuid()))
        .bind(column(rows, |(_, topup)| reference_hash(&topup.payment_reference).to_vec()))
        .bind(column(rows, |(_, topup)| topup.id.uuid()))
        .bind(column(rows, |(_, topup)| to_json(topup).to_string()));
}

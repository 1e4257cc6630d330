//! When time alone will next change an account, or have something announced of it, and the leases of the workers that see to it.
//!
//! Invariant: an account's `next_due` is that of the account as it is stored. The lane writer keeps it so.

use quotastack_core::ids::{AccountId, EndUserId};
use quotastack_core::time::Timestamp;
use sqlx::Row;
use uuid::Uuid;

use crate::store::batch::column;
use crate::store::statement::Statement;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, end_user_id};

/// A lane with something due.
#[derive(Debug, Clone, Copy)]
pub struct DueLane {
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Its number there.
    pub number: u16,
    /// The lane.
    pub lane_id: LaneId,
    /// The environment's present, by its own clock.
    pub present: Timestamp,
    /// What has been due for longest.
    pub next_due: Timestamp,
}

/// An account with something due.
#[derive(Debug, Clone)]
pub struct DueAccount {
    /// The instant.
    pub next_due: Timestamp,
    /// The account.
    pub account_id: AccountId,
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// Its live blocks and open reservations: no more than so many of its instants are due.
    pub size: usize,
}

impl Tx {
    /// Up to `limit` lanes after `after` with something due, of all tenants, in order of their ids.
    pub async fn due_lanes(
        &mut self,
        real_now: Timestamp,
        after: Option<LaneId>,
        limit: i32,
    ) -> sqlx::Result<Vec<DueLane>> {
        let rows = sqlx::query("select lane_id, environment_id, number, present, next_due from due_lanes($1, $2, $3)")
            .bind(Ts(real_now))
            .bind(after.map_or(i64::MIN, |lane| lane.0))
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        let lanes = rows.iter().map(|row| {
            let number: i16 = row.try_get("number")?;
            Ok(DueLane {
                environment_id: EnvironmentId(row.try_get("environment_id")?),
                number: u16::try_from(number).expect("lanes count from 0"),
                lane_id: LaneId(row.try_get("lane_id")?),
                present: row.try_get::<Ts, _>("present")?.0,
                next_due: row.try_get::<Ts, _>("next_due")?.0,
            })
        });
        lanes.collect()
    }

    /// Up to `limit` accounts of a lane that are due at `up_to`, after `after` in order of their instants.
    pub async fn list_due(
        &mut self,
        lane_id: LaneId,
        up_to: Timestamp,
        after: Option<(Timestamp, AccountId)>,
        limit: i64,
    ) -> sqlx::Result<Vec<DueAccount>> {
        let (from, account_id) = after.map_or((Timestamp::MIN, Uuid::nil()), |(at, id)| (at, id.uuid()));
        let rows = sqlx::query(
            "select next_due, account_id, end_user_id,
               (select count(*) from blocks b where b.lane_id = $1 and b.account_id = due.account_id and b.live) +
               (select count(*) from reservations r
                where r.lane_id = $1 and r.account_id = due.account_id and r.status = 'active') as size
             from due join accounts using (lane_id, account_id)
             where lane_id = $1 and next_due <= $2 and (next_due, account_id) > ($3, $4)
             order by next_due, account_id limit $5",
        )
        .bind(lane_id.0)
        .bind(Ts(up_to))
        .bind(Ts(from))
        .bind(account_id)
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        let accounts = rows.iter().map(|row| {
            Ok(DueAccount {
                next_due: row.try_get::<Ts, _>("next_due")?.0,
                account_id: AccountId::from_uuid(row.try_get("account_id")?),
                end_user_id: end_user_id(row.try_get("end_user_id")?)?,
                size: usize::try_from(row.try_get::<i64, _>("size")?).expect("counts are not negative"),
            })
        });
        accounts.collect()
    }

    /// Takes or renews the lease on a kind of work in a lane; false while another holder has it.
    pub async fn take_lease(
        &mut self,
        environment_id: EnvironmentId,
        lane_id: LaneId,
        work: &str,
        holder: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "insert into worker_leases (lane_id, environment_id, work, holder, until) values ($1, $2, $3, $4, $6)
             on conflict (lane_id, work) do update set holder = excluded.holder, until = excluded.until
               where worker_leases.holder = excluded.holder or worker_leases.until <= $5",
        )
        .bind(lane_id.0)
        .bind(environment_id.0)
        .bind(work)
        .bind(holder)
        .bind(Ts(now))
        .bind(Ts(until))
        .execute(self.connection())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends a lease of this holder.
    pub async fn release_lease(
        &mut self,
        lane_id: LaneId,
        work: &str,
        holder: Uuid,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        sqlx::query("update worker_leases set until = $4 where lane_id = $1 and work = $2 and holder = $3")
            .bind(lane_id.0)
            .bind(work)
            .bind(holder)
            .bind(Ts(now))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

/// Notes when these accounts are next due.
pub(super) fn write_due(statement: &mut Statement, rows: &[(AccountId, Option<Timestamp>)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into due (lane_id, environment_id, account_id, next_due)
        select $1, $2, account_id, next_due from unnest($3::uuid[], $4::timestamptz[]) as t (account_id, next_due)
        on conflict (lane_id, account_id) do update set next_due = excluded.next_due
          where due.next_due is distinct from excluded.next_due";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.uuid()))
        .bind(column(rows, |(_, next_due)| next_due.map(Ts)));
}

//! Reservations: the open ones are part of their account, the others are kept to be named and listed.

use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{AccountId, BlockId, EndUserId, ReservationId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::hold::{HeldPart, Hold};
use quotastack_core::ledger::reservation::{Reservation, ReservationStatus};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::batch::column;
use crate::store::statement::Statement;
use crate::store::tx::Tx;
use crate::store::types::{LaneId, end_user_id, from_json, name_of, to_json};

impl Tx {
    /// Adds the open reservations of these accounts to them, each with its hold.
    pub(super) async fn add_open_reservations(
        &mut self,
        lane_id: LaneId,
        accounts: &[Uuid],
        place_of: impl Fn(AccountId) -> usize,
        into: &mut [Account],
    ) -> sqlx::Result<()> {
        let rows = sqlx::query(
            "select account_id, state, parts, counted from reservations
             where lane_id = $1 and account_id = any ($2) and status = 'active' order by account_id, reservation_id",
        )
        .bind(lane_id.0)
        .bind(accounts)
        .fetch_all(self.connection())
        .await?;
        for row in &rows {
            let account = &mut into[place_of(AccountId::from_uuid(row.try_get("account_id")?))];
            let reservation: Reservation = from_json("state", row.try_get("state")?)?;
            let hold = hold_from_row(row, &reservation, account)?;
            account.wallet.holds.push(hold);
            account.reservations.push(reservation);
        }
        Ok(())
    }

    /// These reservations, whatever their status, each with its account.
    pub async fn load_reservations(
        &mut self,
        lane_id: LaneId,
        ids: &[ReservationId],
    ) -> sqlx::Result<Vec<(AccountId, Reservation)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows =
            sqlx::query("select account_id, state from reservations where lane_id = $1 and reservation_id = any ($2)")
                .bind(lane_id.0)
                .bind(ids)
                .fetch_all(self.connection())
                .await?;
        let found = rows.iter().map(|row| {
            Ok((AccountId::from_uuid(row.try_get("account_id")?), from_json("state", row.try_get("state")?)?))
        });
        found.collect()
    }

    /// A reservation by its id, and whose it is. Leases are none.
    pub async fn find_reservation(
        &mut self,
        lane_id: LaneId,
        id: ReservationId,
    ) -> sqlx::Result<Option<(EndUserId, Reservation)>> {
        let row = sqlx::query(
            "select a.end_user_id, r.state from reservations r join accounts a using (lane_id, account_id)
             where r.lane_id = $1 and r.reservation_id = $2 and coalesce(r.state->'lease', 'null') = 'null'",
        )
        .bind(lane_id.0)
        .bind(id.uuid())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((end_user_id(row.try_get("end_user_id")?)?, from_json("state", row.try_get("state")?)?)))
    }

    /// Up to `limit` reservations of an account, without leases, before `before`, newest first.
    pub async fn list_reservations(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> sqlx::Result<Vec<Reservation>> {
        let rows = sqlx::query(
            "select state from reservations where lane_id = $1 and account_id = $2 and reservation_id < $3
               and coalesce(state->'lease', 'null') = 'null'
             order by reservation_id desc limit $4",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(before.map_or(Uuid::max(), ReservationId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| from_json("state", row.try_get("state")?)).collect()
    }
}

pub(super) fn write_reservations(statement: &mut Statement, rows: &[(&Account, &Reservation)]) {
    if rows.is_empty() {
        return;
    }
    let hold_of = |(account, reservation): &(&Account, &Reservation)| {
        account.wallet.holds.iter().find(|hold| hold.id == reservation.id).cloned()
    };
    let parts_of = |row: &(&Account, &Reservation)| {
        let parts = hold_of(row).map_or(Vec::new(), |hold| hold.parts);
        let parts = parts.iter().map(|part| (row.0.wallet.lots[part.lot].id, part.amount));
        to_json(&parts.collect::<Vec<_>>()).to_string()
    };
    let sql =
        "insert into reservations (lane_id, environment_id, account_id, reservation_id, status, state, parts, counted)
        select $1, $2, account_id, reservation_id, status, state::jsonb, parts::jsonb, counted
        from unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[])
          as t (account_id, reservation_id, status, state, parts, counted)
        on conflict (lane_id, reservation_id) do update set status = excluded.status, state = excluded.state,
          parts = excluded.parts, counted = excluded.counted";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.id.uuid()))
        .bind(column(rows, |(_, reservation)| reservation.id.uuid()))
        .bind(column(rows, |(_, reservation)| name_of(&reservation.status)))
        .bind(column(rows, |(_, reservation)| to_json(reservation).to_string()))
        .bind(column(rows, parts_of))
        .bind(column(rows, |row| hold_of(row).and_then(|hold| hold.counted).map(|(_, units)| units.get())));
}

fn hold_from_row(row: &PgRow, reservation: &Reservation, account: &Account) -> sqlx::Result<Hold> {
    debug_assert_eq!(reservation.status, ReservationStatus::Active);
    let parts: Vec<(BlockId, Credits)> = from_json("parts", row.try_get("parts")?)?;
    let counted: Option<i64> = row.try_get("counted")?;
    let parts = parts.into_iter().map(|(id, amount)| {
        let missing =
            || sqlx::Error::Decode(format!("reservation {} holds block {id}, which is gone", reservation.id).into());
        Ok(HeldPart { lot: account.block_index(id).ok_or_else(missing)?, amount })
    });
    let counted = counted.and_then(|units| Units::new(units).ok());
    Ok(Hold {
        id: reservation.id,
        feature_key: reservation.feature_key.clone(),
        expires_at: reservation.expires_at,
        parts: parts.collect::<sqlx::Result<_>>()?,
        uncovered: reservation.uncovered,
        counted: reservation.quote.counter.clone().zip(counted),
    })
}

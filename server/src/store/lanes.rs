//! Lanes: the unit of order. Whoever changes an account of a lane locks its row first.

use quotastack_core::time::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, signed, unsigned};

/// How far a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LanePlace {
    /// The last place given in the feed.
    pub feed_seq: u64,
    /// The instant of the last command.
    pub last_now: Timestamp,
}

/// A lane as its writer finds it, with the row locked until the transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct LockedLane {
    /// How far it is.
    pub place: LanePlace,
    /// The catalogue's version.
    pub catalogue_version: u64,
    /// The database's own clock.
    pub database_now: Timestamp,
}

impl Tx {
    /// What is known of a lane that this transaction has locked; asked after the lock, it is not older than the lock.
    pub async fn locked_lane(&mut self, lane_id: LaneId) -> sqlx::Result<LockedLane> {
        let row = sqlx::query(
            "select l.feed_seq, l.last_now, e.catalogue_version, clock_timestamp() as database_now
             from lanes l join environments e using (environment_id) where l.lane_id = $1",
        )
        .bind(lane_id.0)
        .fetch_one(self.connection())
        .await?;
        Ok(LockedLane {
            place: place_from_row(&row)?,
            catalogue_version: unsigned("catalogue_version", row.try_get("catalogue_version")?)?,
            database_now: row.try_get::<Ts, _>("database_now")?.0,
        })
    }

    /// How far a lane is, without locking it.
    pub async fn lane_place(&mut self, lane_id: LaneId) -> sqlx::Result<LanePlace> {
        let row = sqlx::query("select feed_seq, last_now from lanes where lane_id = $1")
            .bind(lane_id.0)
            .fetch_one(self.connection())
            .await?;
        place_from_row(&row)
    }

    /// Moves a locked lane on.
    pub async fn update_lane(&mut self, lane_id: LaneId, feed_seq: u64, last_now: Timestamp) -> sqlx::Result<()> {
        sqlx::query("update lanes set feed_seq = $2, last_now = $3 where lane_id = $1")
            .bind(lane_id.0)
            .bind(signed(feed_seq))
            .bind(Ts(last_now))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The lanes of an environment in order of their numbers, each with its place in the feed.
    pub async fn list_lanes(&mut self, environment_id: EnvironmentId) -> sqlx::Result<Vec<(LaneId, u64)>> {
        let rows = sqlx::query("select lane_id, feed_seq from lanes where environment_id = $1 order by number")
            .bind(environment_id.0)
            .fetch_all(self.connection())
            .await?;
        let lanes = rows
            .iter()
            .map(|row| Ok((LaneId(row.try_get("lane_id")?), unsigned("feed_seq", row.try_get("feed_seq")?)?)));
        lanes.collect()
    }
}

fn place_from_row(row: &PgRow) -> sqlx::Result<LanePlace> {
    Ok(LanePlace {
        feed_seq: unsigned("feed_seq", row.try_get("feed_seq")?)?,
        last_now: row.try_get::<Ts, _>("last_now")?.0,
    })
}

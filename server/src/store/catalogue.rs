//! The catalogue of an environment as one document, and its version and clock.

use quotastack_core::catalogue::{Catalogue, Clock, Variant};
use quotastack_core::ids::VariantId;
use quotastack_core::time::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::store::requests::known_since;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, Ts, from_json, unsigned};

/// How far a lane is, and the catalogue of its environment.
#[derive(Debug, Clone, Copy)]
pub struct LanePosition {
    /// The environment.
    pub environment_id: EnvironmentId,
    /// The lane's number in it.
    pub number: u16,
    /// The last place given in its feed.
    pub feed_seq: u64,
    /// The version of the environment's catalogue.
    pub catalogue_version: u64,
}

impl Tx {
    /// The whole catalogue.
    pub async fn load_catalogue(&mut self, environment_id: EnvironmentId) -> sqlx::Result<Catalogue> {
        let (version, clock) = self.catalogue_head(environment_id).await?;
        let features = self.list_features(environment_id, "", i64::MAX).await?;
        let variants = sqlx::query("select variant_id, definition from variants where environment_id = $1")
            .bind(environment_id.0)
            .fetch_all(self.connection())
            .await?;
        let variants = variants.iter().map(|row| {
            let variant: Variant = from_json("definition", row.try_get("definition")?)?;
            Ok(((VariantId::from_uuid(row.try_get("variant_id")?), variant.version), variant))
        });
        Ok(Catalogue {
            version,
            clock,
            features: features.into_iter().map(|row| (row.feature_key, row.feature)).collect(),
            variants: variants.collect::<sqlx::Result<_>>()?,
        })
    }

    /// The catalogue's version, and the environment's clock.
    pub async fn catalogue_head(&mut self, environment_id: EnvironmentId) -> sqlx::Result<(u64, Clock)> {
        let row = sqlx::query(
            "select catalogue_version, clock_standing_at, clock_ahead_micros from environments where environment_id = $1",
        )
        .bind(environment_id.0)
        .fetch_one(self.connection())
        .await?;
        Ok((unsigned("catalogue_version", row.try_get("catalogue_version")?)?, clock_from_row(&row)?))
    }

    /// Locks the catalogue without a change of it.
    pub async fn lock_catalogue(&mut self, environment_id: EnvironmentId) -> sqlx::Result<()> {
        sqlx::query("select from environments where environment_id = $1 for update")
            .bind(environment_id.0)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Locks the catalogue for a change and gives it its next version, which is returned.
    pub async fn bump_catalogue(&mut self, environment_id: EnvironmentId) -> sqlx::Result<u64> {
        let version: i64 = sqlx::query_scalar(
            "update environments set catalogue_version = catalogue_version + 1 where environment_id = $1
             returning catalogue_version",
        )
        .bind(environment_id.0)
        .fetch_one(self.connection())
        .await?;
        unsigned("catalogue_version", version)
    }

    /// Sets the environment's clock.
    pub async fn set_clock(&mut self, environment_id: EnvironmentId, clock: Clock) -> sqlx::Result<()> {
        let (standing, ahead) = match clock {
            Clock::Real => (None, 0),
            Clock::Standing(at) => (Some(Ts(at)), 0),
            Clock::Ahead(micros) => (None, micros),
        };
        sqlx::query(
            "update environments set clock_standing_at = $2, clock_ahead_micros = $3 where environment_id = $1",
        )
        .bind(environment_id.0)
        .bind(standing)
        .bind(ahead)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The stored answer to a catalogue request with this key in the last 30 days: (hash of the request, answer, when).
    pub async fn find_catalogue_request(
        &mut self,
        environment_id: EnvironmentId,
        key_hash: &[u8; 16],
        real_now: Timestamp,
    ) -> sqlx::Result<Option<(Vec<u8>, serde_json::Value, Timestamp)>> {
        let found: Option<(Vec<u8>, serde_json::Value, Ts)> = sqlx::query_as(
            "select request_hash, answer, created_at from catalogue_requests
             where environment_id = $1 and key_hash = $2 and created_at > $3",
        )
        .bind(environment_id.0)
        .bind(key_hash.as_slice())
        .bind(Ts(known_since(real_now)))
        .fetch_optional(self.connection())
        .await?;
        Ok(found.map(|(request_hash, answer, created_at)| (request_hash, answer, created_at.0)))
    }

    /// Stores the answer to a catalogue request.
    pub async fn insert_catalogue_request(
        &mut self,
        environment_id: EnvironmentId,
        key_hash: &[u8; 16],
        request_hash: &[u8; 16],
        answer: &serde_json::Value,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into catalogue_requests (environment_id, key_hash, request_hash, answer, created_at)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(environment_id.0)
        .bind(key_hash.as_slice())
        .bind(request_hash.as_slice())
        .bind(answer)
        .bind(Ts(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// How far the lanes of these environments are.
    pub async fn lane_positions(&mut self, environments: &[EnvironmentId]) -> sqlx::Result<Vec<LanePosition>> {
        let ids: Vec<i64> = environments.iter().map(|id| id.0).collect();
        let rows = sqlx::query("select environment_id, number, feed_seq, catalogue_version from lane_positions($1)")
            .bind(ids)
            .fetch_all(self.connection())
            .await?;
        let positions = rows.iter().map(|row| {
            let number: i16 = row.try_get("number")?;
            Ok(LanePosition {
                environment_id: EnvironmentId(row.try_get("environment_id")?),
                number: u16::try_from(number).expect("lanes count from 0"),
                feed_seq: unsigned("feed_seq", row.try_get("feed_seq")?)?,
                catalogue_version: unsigned("catalogue_version", row.try_get("catalogue_version")?)?,
            })
        });
        positions.collect()
    }
}

fn clock_from_row(row: &PgRow) -> sqlx::Result<Clock> {
    let standing: Option<Ts> = row.try_get("clock_standing_at")?;
    Ok(match (standing, row.try_get("clock_ahead_micros")?) {
        (Some(at), _) => Clock::Standing(at.0),
        (None, 0) => Clock::Real,
        (None, ahead) => Clock::Ahead(ahead),
    })
}

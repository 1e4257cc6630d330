//! Features and their prices.

use quotastack_core::catalogue::{Access, Feature};
use quotastack_core::ids::FeatureKey;
use quotastack_core::pricing::{Price, PriceVersion};
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, Ts, credits, feature_key, from_json, name_of, named, to_json};

macro_rules! select_features {
    () => {
        "select feature_key, name, kind, default_enabled, default_value, overage_policy, overdraft_limit, enforcement, offline, summary_properties,
           created_at
         from features where environment_id = $1"
    };
}

/// A feature with what only people read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeatureRow {
    /// Its key.
    pub feature_key: FeatureKey,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its rules.
    pub feature: Feature,
}

impl Tx {
    /// Stores a feature and its prices. A key that exists is a duplicate of `features_pkey`.
    pub async fn insert_feature(&mut self, environment_id: EnvironmentId, row: &FeatureRow) -> sqlx::Result<()> {
        let feature = &row.feature;
        sqlx::query(
            "insert into features (environment_id, feature_key, name, kind, default_enabled, default_value, overage_policy,
               overdraft_limit, enforcement, offline, created_at, summary_properties)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(environment_id.0)
        .bind(row.feature_key.as_str())
        .bind(&row.name)
        .bind(name_of(&feature.kind))
        .bind(feature.default.enabled)
        .bind(&feature.default.value)
        .bind(name_of(&feature.overage_policy))
        .bind(feature.overdraft_limit.map(|limit| limit.get()))
        .bind(name_of(&feature.enforcement))
        .bind(name_of(&feature.offline))
        .bind(Ts(row.created_at))
        .bind(&feature.summary_properties)
        .execute(self.connection())
        .await?;
        for version in &feature.prices {
            self.insert_price(environment_id, &row.feature_key, version).await?;
        }
        Ok(())
    }

    /// Stores other rules for a feature that is there; kind, prices and summary properties stay as they are.
    pub async fn replace_feature(
        &mut self,
        environment_id: EnvironmentId,
        feature_key: &FeatureKey,
        name: &str,
        rules: &Feature,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "update features set name = $3, default_enabled = $4, default_value = $5, overage_policy = $6,
               overdraft_limit = $7, enforcement = $8, offline = $9 where environment_id = $1 and feature_key = $2",
        )
        .bind(environment_id.0)
        .bind(feature_key.as_str())
        .bind(name)
        .bind(rules.default.enabled)
        .bind(&rules.default.value)
        .bind(name_of(&rules.overage_policy))
        .bind(rules.overdraft_limit.map(|limit| limit.get()))
        .bind(name_of(&rules.enforcement))
        .bind(name_of(&rules.offline))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores a version of a feature's price. One from the same instant is a duplicate of `feature_prices_pkey`.
    pub async fn insert_price(
        &mut self,
        environment_id: EnvironmentId,
        feature_key: &FeatureKey,
        version: &PriceVersion,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into feature_prices (environment_id, feature_key, effective_from, price) values ($1, $2, $3, $4)",
        )
        .bind(environment_id.0)
        .bind(feature_key.as_str())
        .bind(Ts(version.effective_from))
        .bind(to_json(&version.price))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Up to `limit` features after `after` in order of their keys (all from the first where `after` is empty).
    pub async fn list_features(
        &mut self,
        environment_id: EnvironmentId,
        after: &str,
        limit: i64,
    ) -> sqlx::Result<Vec<FeatureRow>> {
        let rows = sqlx::query(concat!(select_features!(), " and feature_key > $2 order by feature_key limit $3"))
            .bind(environment_id.0)
            .bind(after)
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        let mut features: Vec<FeatureRow> = rows.iter().map(from_row).collect::<sqlx::Result<_>>()?;
        self.add_prices(environment_id, &mut features).await?;
        Ok(features)
    }

    /// One feature.
    pub async fn find_feature(
        &mut self,
        environment_id: EnvironmentId,
        key: &FeatureKey,
    ) -> sqlx::Result<Option<FeatureRow>> {
        let row = sqlx::query(concat!(select_features!(), " and feature_key = $2"))
            .bind(environment_id.0)
            .bind(key.as_str())
            .fetch_optional(self.connection())
            .await?;
        let mut found: Vec<FeatureRow> = row.iter().map(from_row).collect::<sqlx::Result<_>>()?;
        self.add_prices(environment_id, &mut found).await?;
        Ok(found.pop())
    }

    async fn add_prices(&mut self, environment_id: EnvironmentId, features: &mut [FeatureRow]) -> sqlx::Result<()> {
        let keys: Vec<&str> = features.iter().map(|row| row.feature_key.as_str()).collect();
        let prices = sqlx::query(
            "select feature_key, effective_from, price from feature_prices
             where environment_id = $1 and feature_key = any ($2) order by feature_key, effective_from",
        )
        .bind(environment_id.0)
        .bind(keys)
        .fetch_all(self.connection())
        .await?;
        for row in &prices {
            let key: &str = row.try_get("feature_key")?;
            let price: Price = from_json("price", row.try_get("price")?)?;
            let effective_from = row.try_get::<Ts, _>("effective_from")?.0;
            let feature = features.iter_mut().find(|feature| feature.feature_key.as_str() == key);
            let feature = feature.expect("prices were asked for these features only");
            feature.feature.prices.push(PriceVersion { effective_from, price });
        }
        Ok(())
    }
}

fn from_row(row: &PgRow) -> sqlx::Result<FeatureRow> {
    let overdraft_limit: Option<i64> = row.try_get("overdraft_limit")?;
    Ok(FeatureRow {
        feature_key: feature_key(row.try_get("feature_key")?)?,
        name: row.try_get("name")?,
        created_at: row.try_get::<Ts, _>("created_at")?.0,
        feature: Feature {
            kind: named("kind", row.try_get("kind")?)?,
            default: Access { enabled: row.try_get("default_enabled")?, value: row.try_get("default_value")? },
            prices: Vec::new(),
            overage_policy: named("overage_policy", row.try_get("overage_policy")?)?,
            overdraft_limit: overdraft_limit.map(|limit| credits("overdraft_limit", limit)).transpose()?,
            enforcement: named("enforcement", row.try_get("enforcement")?)?,
            offline: named("offline", row.try_get("offline")?)?,
            summary_properties: row.try_get("summary_properties")?,
        },
    })
}

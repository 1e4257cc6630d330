//! Versions of variants: an edit makes the next one, and running subscriptions keep theirs.
//!
//! Source: docs/subscriptions.md, "Catalogue".

use quotastack_core::catalogue::Variant;
use quotastack_core::ids::{FeatureKey, PlanId, VariantId, uuid_v7};
use quotastack_core::time::Timestamp;

use crate::app::catalogue::{Changed, Failure, WRITTEN, no_plan};
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::plans::VariantRow;
use crate::store::tx::Tx;
use crate::store::types::EnvironmentId;

impl App {
    /// A version of a variant; the latest where none is named.
    pub async fn variant(
        &self,
        id: EnvironmentId,
        variant_id: VariantId,
        version: Option<u32>,
    ) -> Result<VariantRow, AppError> {
        let found = self.store.begin(id).await?.find_variant(id, variant_id, version).await?;
        found.ok_or_else(|| match version {
            None => no_variant(variant_id),
            Some(version) => {
                AppError::NotFound(format!("there is no version {version} of a plan variant {variant_id}"))
            }
        })
    }

    /// Up to `limit` variants of a plan after `after`, oldest first, each in its latest version.
    pub async fn variants(
        &self,
        id: EnvironmentId,
        plan_id: PlanId,
        after: Option<VariantId>,
        limit: i64,
    ) -> Result<Vec<VariantRow>, AppError> {
        self.plan(id, plan_id).await?;
        Ok(self.store.begin(id).await?.list_variants(id, plan_id, after, limit).await?)
    }
}

/// The first version of a new variant.
pub(super) async fn create_variant(
    tx: &mut Tx,
    id: EnvironmentId,
    name: &str,
    variant: &Variant,
    now: Timestamp,
) -> Result<Changed, Failure> {
    let found = tx.find_plan(id, variant.plan_id).await?;
    found.ok_or_else(|| Failure::Refused(no_plan(variant.plan_id)))?;
    let variant_id = VariantId::from_uuid(uuid_v7(now, clock::random(), None));
    add_version(tx, id, VariantRow { variant_id, name: name.to_owned(), created_at: now, variant: variant.clone() })
        .await
}

/// The next version of a variant. Where it would be as the one before there is none, so that a repeat changes nothing.
pub(super) async fn replace_variant(
    tx: &mut Tx,
    id: EnvironmentId,
    variant_id: VariantId,
    name: &str,
    variant: &Variant,
    now: Timestamp,
) -> Result<Changed, Failure> {
    let latest = tx.find_variant(id, variant_id, None).await?;
    let latest = latest.ok_or_else(|| Failure::Refused(no_variant(variant_id)))?;
    if latest.variant.archived {
        return Err(Failure::Refused(archived_variant(variant_id)));
    }
    let same = Variant { version: latest.variant.version, ..variant.clone() };
    if latest.name == name && latest.variant == same {
        return Ok(Changed::Variant(latest));
    }
    let variant = Variant { version: latest.variant.version + 1, ..same };
    add_version(tx, id, VariantRow { variant_id, name: name.to_owned(), created_at: now, variant }).await
}

/// The latest version takes no subscribers any more.
pub(super) async fn archive_variant(tx: &mut Tx, id: EnvironmentId, variant_id: VariantId) -> Result<Changed, Failure> {
    let latest = tx.find_variant(id, variant_id, None).await?;
    let latest = latest.ok_or_else(|| Failure::Refused(no_variant(variant_id)))?;
    let archived = Variant { archived: true, ..latest.variant };
    tx.rewrite_variant(id, variant_id, &archived).await?;
    Ok(Changed::Variant(tx.find_variant(id, variant_id, None).await?.expect(WRITTEN)))
}

async fn add_version(tx: &mut Tx, id: EnvironmentId, row: VariantRow) -> Result<Changed, Failure> {
    refuse_unknown_features(tx, id, &row.variant).await?;
    if row.variant.fallback
        && let Some(other) = tx.find_fallback(id, row.variant_id).await?
    {
        let detail = format!(
            "the plan variant {other} is the fallback already; make a version of it without fallback, or archive it, first"
        );
        return Err(Failure::Refused(AppError::AlreadyExists(detail)));
    }
    tx.insert_variant(id, &row).await?;
    Ok(Changed::Variant(tx.find_variant(id, row.variant_id, None).await?.expect(WRITTEN)))
}

async fn refuse_unknown_features(tx: &mut Tx, id: EnvironmentId, variant: &Variant) -> Result<(), Failure> {
    let mut named: Vec<(String, &FeatureKey)> =
        variant.entitlements.keys().map(|key| ("/entitlements".to_owned(), key)).collect();
    for (index, grant) in variant.grants.iter().enumerate() {
        named.extend(grant.feature_keys.iter().map(|key| (format!("/grants/{index}/feature_keys"), key)));
    }
    for (pointer, key) in named {
        if tx.find_feature(id, key).await?.is_none() {
            let detail = format!("there is no feature {key}; create it first");
            return Err(Failure::Refused(AppError::invalid(pointer, detail)));
        }
    }
    Ok(())
}

fn no_variant(variant_id: VariantId) -> AppError {
    AppError::NotFound(format!("there is no plan variant {variant_id}"))
}

/// A variant that is archived, named where it must not be.
pub(super) fn archived_variant(variant_id: VariantId) -> AppError {
    AppError::NotPossible(format!(
        "the plan variant {variant_id} is archived: it has no further versions, and its subscribers keep theirs; create another variant"
    ))
}

//! Changes of the catalogue: features, plans, variants, and the sandbox clock. One at a time per environment; each
//! gives the catalogue its next version, which readers and sidecars then follow.

use std::time::Instant;

use metrics::counter;
use quotastack_core::catalogue::{Feature, FeatureKind, PlanKind, TopupPackage, Variant};
use quotastack_core::ids::{FeatureKey, PackageId, PlanId, VariantId, uuid_v7};
use quotastack_core::pricing::{Price, PriceVersion};
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Principal;
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::idempotency::RequestIdentity;
use crate::app::retry::{Runs, in_time};
use crate::app::root::{App, WRITE_PATIENCE};
use crate::app::sandbox::{ClockSetting, set_clock};
use crate::app::variants::{archive_variant, create_variant, replace_variant};
use crate::fault::{self, Point};
use crate::store::features::FeatureRow;
use crate::store::packages::PackageRow;
use crate::store::plans::{PlanRow, VariantRow};
use crate::store::tx::{Tx, is_duplicate_of, is_retryable};
use crate::store::types::EnvironmentId;

/// Why a change finds what it made.
pub(super) const WRITTEN: &str = "this transaction has just written it";

/// A change that can be asked for.
#[derive(Debug, Clone)]
pub enum CatalogueChange {
    /// Create a feature.
    CreateFeature {
        /// Its key.
        feature_key: FeatureKey,
        /// Its name.
        name: String,
        /// Its rules.
        feature: Feature,
    },
    /// Replace a feature's rules.
    ReplaceFeature {
        /// The feature.
        feature_key: FeatureKey,
        /// Its name from now on.
        name: String,
        /// Its rules; kind, prices and summary properties stay as they are.
        rules: Feature,
    },
    /// Create a version of a feature's price.
    CreatePrice {
        /// The feature.
        feature_key: FeatureKey,
        /// The price.
        price: Price,
        /// From when on; `None` = now.
        effective_from: Option<Timestamp>,
    },
    /// Create a top-up package.
    CreatePackage(TopupPackage),
    /// Replace a top-up package.
    ReplacePackage(PackageId, TopupPackage),
    /// Archive a top-up package: nobody can buy it any more.
    ArchivePackage(PackageId),
    /// Create a plan.
    CreatePlan {
        /// Its name.
        name: String,
        /// Base or add-on.
        kind: PlanKind,
    },
    /// Give a plan another name.
    RenamePlan {
        /// The plan.
        plan_id: PlanId,
        /// Its name from now on.
        name: String,
    },
    /// Create a variant of a plan.
    CreateVariant {
        /// Its name.
        name: String,
        /// The rules of its first version.
        variant: Variant,
    },
    /// Make the next version of a variant, unless it is as the one before.
    ReplaceVariant {
        /// The variant.
        variant_id: VariantId,
        /// Its name from now on.
        name: String,
        /// Its rules; the version is set here.
        variant: Variant,
    },
    /// Archive a variant: it takes no new subscribers.
    ArchiveVariant(VariantId),
    /// Set the sandbox clock.
    SetClock(ClockSetting),
}

/// What a change came to: what it made, as it stood then. Stored as the answer to a repeated request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// A feature was created, or has other rules.
    Feature(FeatureRow),
    /// A version of a feature's price was created.
    Price(PriceVersion),
    /// A top-up package was created, replaced or archived.
    Package(PackageRow),
    /// A plan was created or renamed.
    Plan(PlanRow),
    /// A variant was created or archived, or has a new version.
    Variant(VariantRow),
    /// The clock was set.
    Clock {
        /// The environment's present with it.
        now: Timestamp,
        /// Whether it runs.
        running: bool,
    },
}

/// A change that is in force.
#[derive(Debug)]
pub struct CatalogueDone {
    /// What it came to.
    pub changed: Changed,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
    /// A version of the catalogue that holds it.
    pub version: u64,
}

impl App {
    /// Carries out a change, or finds that it was carried out before.
    pub async fn change_catalogue(
        &self,
        principal: &Principal,
        change: &CatalogueChange,
        identity: Option<RequestIdentity>,
    ) -> Result<CatalogueDone, AppError> {
        let identity = identity.unwrap_or_else(|| RequestIdentity::unique(clock::random()));
        let environment = self.environment(principal.environment_id).await?;
        let mut runs = Runs::until(Instant::now() + WRITE_PATIENCE);
        let mut unanswered = Vec::new();
        let done = loop {
            let run = self.change_once(principal, change, identity, &mut runs, &mut unanswered);
            match in_time(run).await {
                Ok(done) => break done,
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Database(error)) => {
                    if is_retryable(&error) && runs.again().await {
                        tracing::warn!(%error, "a change of the catalogue failed; running it again");
                        counter!("quotastack_catalogue_retries_total").increment(1);
                        continue;
                    }
                    return Err(if runs.in_doubt() { AppError::OutcomeUnknown } else { error.into() });
                }
            }
        };
        // The change is made. Who reads next sees it anyway; this only lets sidecars know sooner.
        if !done.replayed
            && let Err(error) = in_time(environment.handle.follow_catalogue(&self.store)).await
        {
            tracing::debug!(%error, "a changed catalogue was not read yet");
        }
        Ok(done)
    }

    /// `unanswered`: when runs were made whose COMMIT had no answer.
    async fn change_once(
        &self,
        principal: &Principal,
        change: &CatalogueChange,
        identity: RequestIdentity,
        runs: &mut Runs,
        unanswered: &mut Vec<Timestamp>,
    ) -> Result<CatalogueDone, Failure> {
        let id = principal.environment_id;
        let mut tx = self.store.begin(id).await?;
        // Locks the environment's row, so that changes come one after the other.
        let version = tx.bump_catalogue(id).await?;
        runs.locked();
        fault::reach(Point::CatalogueLocked);
        let now = clock::now();
        if let Some((request_hash, answer, made_at)) = tx.find_catalogue_request(id, &identity.key_hash, now).await? {
            if request_hash != identity.request_hash {
                return Err(Failure::Refused(AppError::KeyReused));
            }
            let changed = serde_json::from_value(answer).map_err(|error| AppError::Internal(Box::new(error)));
            let changed = changed.map_err(Failure::Refused)?;
            tx.rollback().await?;
            // The version before the one that was just given and is taken back.
            return Ok(CatalogueDone { changed, replayed: !unanswered.contains(&made_at), version: version - 1 });
        }
        let changed = apply_change(&mut tx, principal, change, now).await?;
        fault::reach(Point::CatalogueChanged);
        let answer = serde_json::to_value(&changed).expect("an answer has a JSON form");
        tx.insert_catalogue_request(id, &identity.key_hash, &identity.request_hash, &answer, now).await?;
        fault::reach(Point::CatalogueBeforeCommit);
        runs.committing();
        unanswered.push(now);
        fault::underway(Point::CatalogueCommitUnderway, tx.commit()).await?;
        fault::reach(Point::CatalogueAfterCommit);
        Ok(CatalogueDone { changed, replayed: false, version })
    }

    /// One feature.
    pub async fn feature(&self, id: EnvironmentId, key: &FeatureKey) -> Result<FeatureRow, AppError> {
        let mut tx = self.store.begin(id).await?;
        let found = tx.find_feature(id, key).await?;
        found.ok_or_else(|| no_feature(key))
    }

    /// Up to `limit` features after `after`, in order of their keys.
    pub async fn features(&self, id: EnvironmentId, after: &str, limit: i64) -> Result<Vec<FeatureRow>, AppError> {
        Ok(self.store.begin(id).await?.list_features(id, after, limit).await?)
    }

    /// One plan.
    pub async fn plan(&self, id: EnvironmentId, plan_id: PlanId) -> Result<PlanRow, AppError> {
        let mut tx = self.store.begin(id).await?;
        tx.find_plan(id, plan_id).await?.ok_or_else(|| no_plan(plan_id))
    }

    /// Up to `limit` plans after `after`, oldest first.
    pub async fn plans(&self, id: EnvironmentId, after: Option<PlanId>, limit: i64) -> Result<Vec<PlanRow>, AppError> {
        Ok(self.store.begin(id).await?.list_plans(id, after, limit).await?)
    }

    /// One top-up package, also an archived one.
    pub async fn package(&self, id: EnvironmentId, package_id: PackageId) -> Result<PackageRow, AppError> {
        let mut tx = self.store.begin(id).await?;
        tx.find_package(id, package_id).await?.ok_or_else(|| no_package(package_id))
    }

    /// Up to `limit` top-up packages after `after`, oldest first, without the archived ones.
    pub async fn packages(
        &self,
        id: EnvironmentId,
        after: Option<PackageId>,
        limit: i64,
    ) -> Result<Vec<PackageRow>, AppError> {
        Ok(self.store.begin(id).await?.list_packages(id, after, limit).await?)
    }
}

/// Why a change was not carried out.
pub(super) enum Failure {
    Database(sqlx::Error),
    Refused(AppError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn apply_change(
    tx: &mut Tx,
    principal: &Principal,
    change: &CatalogueChange,
    now: Timestamp,
) -> Result<Changed, Failure> {
    let id = principal.environment_id;
    match change {
        CatalogueChange::CreateFeature { feature_key, name, feature } => {
            let row = FeatureRow {
                feature_key: feature_key.clone(),
                name: name.clone(),
                created_at: now,
                feature: feature.clone(),
            };
            match tx.insert_feature(id, &row).await {
                Err(error) if is_duplicate_of(&error, "features_pkey") => {
                    Err(Failure::Refused(AppError::AlreadyExists(format!("there is a feature {feature_key} already"))))
                }
                Err(error) => Err(error.into()),
                Ok(()) => Ok(Changed::Feature(tx.find_feature(id, feature_key).await?.expect(WRITTEN))),
            }
        }
        CatalogueChange::ReplaceFeature { feature_key, name, rules } => {
            tx.replace_feature(id, feature_key, name, rules).await?;
            let found = tx.find_feature(id, feature_key).await?;
            found.map(Changed::Feature).ok_or_else(|| Failure::Refused(no_feature(feature_key)))
        }
        CatalogueChange::CreatePrice { feature_key, price, effective_from } => {
            create_price(tx, id, feature_key, price, *effective_from, now).await
        }
        CatalogueChange::CreatePackage(package) => {
            refuse_unknown_scope(tx, id, &package.feature_keys).await?;
            let package_id = PackageId::from_uuid(uuid_v7(now, clock::random(), None));
            tx.insert_package(id, package_id, package, now).await?;
            Ok(Changed::Package(tx.find_package(id, package_id).await?.expect(WRITTEN)))
        }
        CatalogueChange::ReplacePackage(package_id, package) => {
            refuse_unknown_scope(tx, id, &package.feature_keys).await?;
            refuse_archived(tx, id, *package_id).await?;
            tx.replace_package(id, *package_id, package).await?;
            Ok(Changed::Package(tx.find_package(id, *package_id).await?.expect(WRITTEN)))
        }
        CatalogueChange::ArchivePackage(package_id) => {
            let found = tx.find_package(id, *package_id).await?;
            found.ok_or_else(|| Failure::Refused(no_package(*package_id)))?;
            tx.archive_package(id, *package_id, now).await?;
            Ok(Changed::Package(tx.find_package(id, *package_id).await?.expect(WRITTEN)))
        }
        CatalogueChange::CreatePlan { name, kind } => {
            let plan_id = PlanId::from_uuid(uuid_v7(now, clock::random(), None));
            tx.insert_plan(id, &PlanRow { plan_id, name: name.clone(), kind: *kind, created_at: now }).await?;
            Ok(Changed::Plan(tx.find_plan(id, plan_id).await?.expect(WRITTEN)))
        }
        CatalogueChange::RenamePlan { plan_id, name } => {
            tx.rename_plan(id, *plan_id, name).await?;
            tx.find_plan(id, *plan_id).await?.map(Changed::Plan).ok_or_else(|| Failure::Refused(no_plan(*plan_id)))
        }
        CatalogueChange::CreateVariant { name, variant } => create_variant(tx, id, name, variant, now).await,
        CatalogueChange::ReplaceVariant { variant_id, name, variant } => {
            replace_variant(tx, id, *variant_id, name, variant, now).await
        }
        CatalogueChange::ArchiveVariant(variant_id) => archive_variant(tx, id, *variant_id).await,
        CatalogueChange::SetClock(setting) => set_clock(tx, id, *setting, now).await,
    }
}

async fn refuse_unknown_scope(tx: &mut Tx, id: EnvironmentId, keys: &[FeatureKey]) -> Result<(), Failure> {
    for (index, key) in keys.iter().enumerate() {
        if tx.find_feature(id, key).await?.is_none() {
            let detail = format!("there is no feature {key}; create it first");
            return Err(Failure::Refused(AppError::invalid(format!("/feature_keys/{index}"), detail)));
        }
    }
    Ok(())
}

async fn refuse_archived(tx: &mut Tx, id: EnvironmentId, package_id: PackageId) -> Result<(), Failure> {
    let found = tx.find_package(id, package_id).await?;
    let row = found.ok_or_else(|| Failure::Refused(no_package(package_id)))?;
    if row.archived_at.is_some() {
        return Err(Failure::Refused(archived(package_id)));
    }
    Ok(())
}

/// A price may not take effect in the past, but for a feature's first one, which holds for all time before it.
async fn create_price(
    tx: &mut Tx,
    id: EnvironmentId,
    feature_key: &FeatureKey,
    price: &Price,
    effective_from: Option<Timestamp>,
    real: Timestamp,
) -> Result<Changed, Failure> {
    let found = tx.find_feature(id, feature_key).await?;
    let feature = found.ok_or_else(|| Failure::Refused(no_feature(feature_key)))?.feature;
    if feature.kind != FeatureKind::Metered {
        let detail = "only a metered feature has a price";
        return Err(Failure::Refused(AppError::invalid("/price", detail)));
    }
    let (_, clock) = tx.catalogue_head(id).await?;
    let now = clock.at(real);
    let is_first = feature.prices.is_empty();
    let from = match effective_from {
        None if is_first => Timestamp::MIN,
        None => now,
        Some(from) if from < now && !is_first => {
            let detail = format!("must not be before now ({now}): what was recorded is never repriced");
            return Err(Failure::Refused(AppError::invalid("/effective_from", detail)));
        }
        Some(from) => from,
    };
    let version = PriceVersion { effective_from: from, price: price.clone() };
    match tx.insert_price(id, feature_key, &version).await {
        Err(error) if is_duplicate_of(&error, "feature_prices_pkey") => {
            let detail = format!("the feature {feature_key} has a price from {from} already");
            Err(Failure::Refused(AppError::AlreadyExists(detail)))
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Changed::Price(version)),
    }
}

fn no_package(package_id: PackageId) -> AppError {
    AppError::NotFound(format!("there is no top-up package {package_id}"))
}

/// A package that is archived, named where it must not be.
pub(super) fn archived(package_id: PackageId) -> AppError {
    AppError::NotFound(format!("the top-up package {package_id} is archived; use another one"))
}

fn no_feature(feature_key: &FeatureKey) -> AppError {
    AppError::NotFound(format!("there is no feature {feature_key}"))
}

pub(super) fn no_plan(plan_id: PlanId) -> AppError {
    AppError::NotFound(format!("there is no plan {plan_id}"))
}

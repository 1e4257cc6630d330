//! What an end user may do, read from the account itself: its blocks have names there, so that answers can say why.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::credits::Units;
use quotastack_core::entitlement::decision::Decision;
use quotastack_core::entitlement::evaluate::{CheckRequest, Grounds, decide};
use quotastack_core::ids::{EndUserId, FeatureKey};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::time::Timestamp;

use crate::app::clock;
use crate::app::error::AppError;
use crate::app::ledger::AccountRead;
use crate::app::root::App;
use crate::store::types::EnvironmentId;

/// The account of an end user with what is needed to answer checks.
#[derive(Debug)]
pub struct EntitledRead {
    /// With time applied up to `now`; empty where nothing was ever written.
    pub account: Account,
    /// The catalogue of the same snapshot.
    pub catalogue: Arc<Catalogue>,
    /// The environment's present.
    pub now: Timestamp,
    /// When the snapshot was taken, in real time.
    pub as_of: Timestamp,
}

/// An answer and what it rests on.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The answer.
    pub decision: Decision,
    /// What it rests on; `None` = there is no such feature.
    pub grounds: Option<Grounds<'a>>,
}

impl EntitledRead {
    /// Up to `limit` features after `after`, in order of their keys.
    pub fn features_after(&self, after: Option<&FeatureKey>, limit: i64) -> Vec<&FeatureKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = usize::try_from(limit).expect("limits are small");
        self.catalogue
            .features
            .range::<FeatureKey, _>((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take(limit)
            .collect()
    }

    /// Answers a check.
    pub fn check(&self, feature_key: &FeatureKey, units: Units) -> Explained<'_> {
        let request = CheckRequest { feature_key, units, properties: &BTreeMap::new() };
        let Account { wallet, version, .. } = &self.account;
        let (decision, grounds) = decide(wallet, *version, &self.catalogue, request, self.now);
        Explained { decision, grounds }
    }
}

impl App {
    /// What is needed to say what an end user may do, and why.
    pub async fn entitled(&self, id: EnvironmentId, end_user_id: &EndUserId) -> Result<EntitledRead, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let as_of = clock::now();
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let found = tx.load_accounts(lane_id, std::slice::from_ref(end_user_id)).await?.remove(end_user_id);
        tx.commit().await?;
        let nothing = || AccountRead::nothing(end_user_id.clone(), as_of).account;
        let mut account = found.map_or_else(nothing, |(account, _)| account);
        let now = catalogue.clock.at(as_of).max(account.wallet.time);
        read_at(&mut account.wallet, &catalogue, now);
        Ok(EntitledRead { account, catalogue, now, as_of })
    }
}

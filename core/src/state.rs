//! [`AccountState`]: what is published of an account. Source: docs/sync.md, "What is published".
//!
//! The whole new state, not an increment: a replica keeps it if its stamp is higher than what it has. It holds all
//! that time and checks need, so a sidecar or an edge function decides exactly as the server does.

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::ids::EndUserId;
use crate::ledger::account::Account;
use crate::ledger::tranche::{self, Tranche};
use crate::ledger::wallet::Wallet;
use crate::limits::{
    PUBLISHED_COUNTERS_MAX, PUBLISHED_DEBTS_MAX, PUBLISHED_HOLDS_MAX, PUBLISHED_OVERRIDES_MAX, PUBLISHED_ROLLOVERS_MAX,
    PUBLISHED_SUBSCRIPTIONS_MAX, TRANCHES_MAX,
};
use crate::subscription::Subscription;

/// What is published of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// The place in its lane's feed at which it was written; 0 = the end user is not known.
    pub stamp: u64,
    /// Counts written changes of the account.
    pub version: u64,
    /// The oldest catalogue that it can be read with.
    pub catalogue_version: u64,
    /// Too large to be published whole: only the server answers for it.
    pub partial: bool,
    /// Tranches, debts and subscriptions.
    pub wallet: Wallet<Tranche>,
}

impl AccountState {
    /// The state of an end user that nothing was ever written for.
    pub fn unknown(end_user_id: EndUserId) -> Self {
        Self { end_user_id, stamp: 0, version: 0, catalogue_version: 0, partial: false, wallet: Wallet::default() }
    }

    /// What is published of `account` as of `stamp`, under the catalogue that it was written with.
    pub fn publish(account: &Account, stamp: u64, catalogue: &Catalogue) -> Self {
        Self::whole(account, stamp, catalogue).into_published()
    }

    /// This state as it may be published: emptied and marked where it is too large.
    #[must_use]
    pub fn into_published(mut self) -> Self {
        let wallet = &self.wallet;
        self.partial = wallet.lots.len() > TRANCHES_MAX
            || wallet.holds.len() > PUBLISHED_HOLDS_MAX
            || wallet.debts.len() > PUBLISHED_DEBTS_MAX
            || wallet.counters.len() > PUBLISHED_COUNTERS_MAX
            || wallet.subscriptions.len() > PUBLISHED_SUBSCRIPTIONS_MAX
            || wallet.rollovers.len() > PUBLISHED_ROLLOVERS_MAX
            || wallet.overrides.len() > PUBLISHED_OVERRIDES_MAX;
        if self.partial {
            self.wallet = Wallet { time: wallet.time, ..Wallet::default() };
        }
        self
    }

    /// The state of `account` of whatever size: what the server itself answers from.
    pub fn whole(account: &Account, stamp: u64, catalogue: &Catalogue) -> Self {
        let wallet = &account.wallet;
        let (lots, holds) = tranche::publish(wallet);
        let mut counters = wallet.counters.clone();
        counters.keep_current(wallet.time, wallet.base().map(Subscription::tier_window));
        Self {
            end_user_id: account.end_user_id.clone(),
            stamp,
            version: account.version,
            catalogue_version: catalogue.version,
            partial: false,
            wallet: Wallet {
                time: wallet.time,
                lots,
                holds,
                debts: wallet.debts.clone(),
                counters,
                subscriptions: wallet.subscriptions.clone(),
                past: wallet.past.clone(),
                given: wallet.given.clone(),
                rollovers: wallet.rollovers.clone(),
                overrides: wallet.overrides.clone(),
            },
        }
    }
}

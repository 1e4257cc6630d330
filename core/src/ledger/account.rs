//! An [`Account`]: one end user's side of the ledger, as the commands of [`super::apply`] change it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{AccountId, EndUserId, VariantId};
use crate::ledger::block::Block;
use crate::ledger::entry::Hash;
use crate::ledger::wallet::{Totals, Wallet};

/// One per end user per environment; created by the first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Internal id; the hash chain names it.
    pub id: AccountId,
    /// The tenant's name for it.
    pub end_user_id: EndUserId,
    /// `seq` of the last entry, 0 before the first.
    pub seq: u64,
    /// Counts written changes.
    pub version: u64,
    /// Hash of the last entry, zeros before the first.
    pub last_hash: Hash,
    /// What the entries add up to.
    pub totals: Totals,
    /// Grants and positive adjustments so far.
    pub lifetime_granted: Credits,
    /// Cost of usage so far, debt included.
    pub lifetime_consumed: Credits,
    /// The `once` templates that were given: variant, and index in it.
    pub given_once: BTreeSet<(VariantId, u16)>,
    /// Blocks, debts and subscriptions.
    pub wallet: Wallet<Block>,
}

impl Account {
    /// An account without history.
    pub fn new(id: AccountId, end_user_id: EndUserId) -> Self {
        Self {
            id,
            end_user_id,
            seq: 0,
            version: 0,
            last_hash: Hash::ZERO,
            totals: Totals::default(),
            lifetime_granted: Credits::ZERO,
            lifetime_consumed: Credits::ZERO,
            given_once: BTreeSet::new(),
            wallet: Wallet::default(),
        }
    }
}

//! Accounts and blocks as answers name them.

use std::collections::BTreeMap;

use quotastack_core::credits::Credits;
use quotastack_core::ids::{BlockId, CapGroup, FeatureKey};
use quotastack_core::ledger::block::{Block, BlockKind, Ending};
use quotastack_core::ledger::outcome::Standing;
use quotastack_core::time::Timestamp;
use serde::Serialize;

use crate::store::accounts::BlockNotes;

/// An account as a write left it.
#[derive(Debug, Serialize)]
pub(super) struct AccountJson {
    balance: Credits,
    reserved: Credits,
    available: Credits,
    debt: Credits,
    version: u64,
}

impl AccountJson {
    pub(super) const fn new(standing: &Standing) -> Self {
        let Standing { totals, version, .. } = *standing;
        let (balance, reserved) = (totals.balance, totals.reserved);
        Self { balance, reserved, available: totals.available, debt: totals.debt, version }
    }
}

/// A block.
#[derive(Debug, Serialize)]
pub(super) struct BlockJson<'a> {
    id: BlockId,
    kind: BlockKind,
    original: Credits,
    remaining: Credits,
    held: Credits,
    expired: Credits,
    withdrawn: Credits,
    priority: u8,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    feature_keys: &'a [FeatureKey],
    cap_group: Option<&'a CapGroup>,
    settle_debt: bool,
    price_paid: Option<i64>,
    currency: Option<&'a str>,
    metadata: Option<&'a BTreeMap<String, String>>,
    status: &'static str,
}

impl<'a> BlockJson<'a> {
    pub(super) fn new(block: &'a Block, notes: Option<&'a BlockNotes>, now: Timestamp) -> Self {
        let lot = &block.lot;
        Self {
            id: block.id,
            kind: lot.kind,
            original: block.original,
            remaining: lot.remaining,
            held: lot.held,
            expired: block.expired,
            withdrawn: block.withdrawn,
            priority: lot.priority,
            effective_at: lot.effective_at,
            expires_at: lot.expires_at,
            feature_keys: &lot.scope,
            cap_group: lot.cap_group.as_ref(),
            settle_debt: lot.settles_debt,
            price_paid: notes.and_then(|notes| notes.price_paid),
            currency: notes.and_then(|notes| notes.currency.as_deref()),
            metadata: notes.map(|notes| &notes.metadata),
            status: status(block, now),
        }
    }
}

fn status(block: &Block, now: Timestamp) -> &'static str {
    let lot = &block.lot;
    match lot.ended {
        Some(Ending::Voided) => "voided",
        Some(Ending::Refunded) => "refunded",
        None if lot.has_expired(now) => "expired",
        None if !lot.has_started(now) => "scheduled",
        None if lot.remaining.is_zero() => "depleted",
        None => "active",
    }
}

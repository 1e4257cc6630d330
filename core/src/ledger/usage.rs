//! Usage: priced first, then debited in burn order. Source: docs/ledger.md, "Usage".
//!
//! [`decide`] is the rule, over blocks and over published tranches alike: the ledger records what it says, a
//! sidecar admits by it and predicts with it what the ledger will do.

use crate::catalogue::{Catalogue, OveragePolicy};
use crate::credits::Credits;
use crate::ledger::block::HasLot;
use crate::ledger::book::{Book, allocations};
use crate::ledger::command::{OnInsufficient, Outcome, Refusal, Usage, UsageRecord};
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::wallet::Wallet;
use crate::limits::{AHEAD_WINDOW_MICROS, LATE_WINDOW_MICROS};
use crate::time::Timestamp;

/// What an event will do to a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// When it counts.
    pub effective_at: Timestamp,
    /// Its price.
    pub cost: Credits,
    /// What is there and will be taken.
    pub taken: Credits,
    /// What will be owed.
    pub owed: Credits,
    /// The policy that decided.
    pub policy: OveragePolicy,
}

impl Charge {
    /// What is taken and owed: less than `cost` only where it is capped.
    pub fn charged(&self) -> Credits {
        self.taken + self.owed
    }
}

/// Prices `usage` and decides what it takes from `wallet` at the wallet's time. Changes nothing.
pub fn decide<L: HasLot>(wallet: &Wallet<L>, catalogue: &Catalogue, usage: &Usage) -> Result<Charge, Refusal> {
    let feature_key = &usage.feature_key;
    let feature = catalogue.features.get(feature_key).ok_or_else(|| Refusal::FeatureUnknown(feature_key.clone()))?;
    let effective_at = when(usage, wallet.time)?;
    let price = feature.price_at(effective_at).ok_or_else(|| Refusal::FeatureUnpriced(feature_key.clone()))?;
    let cost = price.cost_of(usage.units)?;
    let policy = policy_of(usage, feature.overage_policy)?;

    let spendable = wallet.spendable(feature_key);
    let taken = cost.min(spendable);
    let short = cost - taken;
    let owed = match policy {
        _ if short.is_zero() => Credits::ZERO,
        OveragePolicy::Block => return Err(Refusal::InsufficientCredits { cost, spendable }),
        OveragePolicy::Cap => Credits::ZERO,
        OveragePolicy::Overdraft | OveragePolicy::Notify => {
            let debt = wallet.debt_of(feature_key).checked_add(short)?;
            let limit = feature.overdraft_limit.filter(|_| usage.admitted_at.is_none());
            if let Some(limit) = limit.filter(|limit| debt > *limit) {
                return Err(Refusal::OverdraftLimit { debt, limit });
            }
            wallet.totals().debt.checked_add(short)?;
            short
        }
    };
    Ok(Charge { effective_at, cost, taken, owed, policy })
}

pub(super) fn record(book: &mut Book<'_>, catalogue: &Catalogue, usage: &Usage) -> Result<Outcome, Refusal> {
    let now = book.now();
    let charge = decide(&book.account.wallet, catalogue, usage)?;
    let Charge { effective_at, cost, taken, owed, policy } = charge;
    let charged = charge.charged();
    let feature_key = &usage.feature_key;
    let lifetime_consumed = book.account.lifetime_consumed.checked_add(charged)?;

    let parts = book.account.wallet.burn(feature_key, taken);
    let taken_from = allocations(&book.account.wallet, parts.iter().map(|(index, part)| (*index, -*part)));
    let body = |kind, amount, allocations| EntryBody {
        kind,
        amount,
        allocations,
        granted: Vec::new(),
        cause: Cause::Usage { id: usage.id, feature_key: feature_key.clone(), units: usage.units },
        effective_at,
    };
    let seq = book.write(body(EntryKind::Usage, -taken, taken_from.clone()), Credits::ZERO);
    if owed.is_positive() {
        let debt_seq = book.write(body(EntryKind::Debt, -owed, Vec::new()), owed);
        if book.account.wallet.owe(feature_key, owed, debt_seq) {
            let notify = policy == OveragePolicy::Notify;
            book.announce(now, EventKind::CreditsOverdrawn { feature_key: feature_key.clone(), debt: owed, notify });
        }
    }
    book.account.lifetime_consumed = lifetime_consumed;
    let record = UsageRecord {
        id: usage.id,
        key: usage.key.clone(),
        fingerprint: usage.fingerprint(),
        feature_key: feature_key.clone(),
        units: usage.units,
        properties: usage.properties.clone(),
        cost,
        charged,
        effective_at,
        recorded_at: now,
        seq,
        totals: book.account.totals,
        version: 0,
        allocations: taken_from.into_iter().map(|part| Allocation { amount: -part.amount, ..part }).collect(),
    };
    Ok(Outcome::Used { record, replayed: false })
}

/// When the event counts. What a sidecar has admitted is held inside the window, never refused for its time.
fn when(usage: &Usage, now: Timestamp) -> Result<Timestamp, Refusal> {
    let earliest = now.saturating_add_micros(-LATE_WINDOW_MICROS);
    let latest = now.saturating_add_micros(AHEAD_WINDOW_MICROS);
    let asked = usage.effective_at.or(usage.admitted_at).unwrap_or(now);
    if usage.admitted_at.is_none() && !(earliest..=latest).contains(&asked) {
        return Err(Refusal::OutsideLateWindow { now });
    }
    Ok(asked.clamp(earliest, now))
}

fn policy_of(usage: &Usage, feature: OveragePolicy) -> Result<OveragePolicy, Refusal> {
    let asked = match usage.on_insufficient {
        None => feature,
        Some(OnInsufficient::Block) => OveragePolicy::Block,
        Some(OnInsufficient::Cap) => OveragePolicy::Cap,
        Some(OnInsufficient::Overdraft) => OveragePolicy::Overdraft,
        Some(OnInsufficient::Notify) => OveragePolicy::Notify,
    };
    if usage.admitted_at.is_some() {
        // The work is done and was acknowledged: what is short is owed, whatever the feature says by now.
        return Ok(if asked == OveragePolicy::Block { OveragePolicy::Overdraft } else { asked });
    }
    if usage.on_insufficient.is_some() && asked.allows_debt() && !feature.allows_debt() {
        return Err(Refusal::OverdraftNotAllowed { policy: feature });
    }
    Ok(asked)
}

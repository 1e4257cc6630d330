//! Usage: priced first, then debited in burn order. Source: docs/ledger.md, "Usage".
//!
//! [`decide`] is the rule, over blocks and over published tranches alike: the ledger records what it says, a
//! sidecar admits by it and predicts with it what the ledger will do.

use crate::catalogue::{Catalogue, OveragePolicy};
use crate::credits::Credits;
use crate::entitlement::evaluate::gate;
use crate::ids::{FeatureKey, ReservationId};
use crate::ledger::block::{Block, HasLot};
use crate::ledger::book::Book;
use crate::ledger::command::{OnInsufficient, Usage};
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::lease;
use crate::ledger::outcome::{Outcome, UsageRecord};
use crate::ledger::quote::{Quote, quote};
use crate::ledger::refusal::Refusal;
use crate::ledger::wallet::{Taken, Wallet};
use crate::limits::{AHEAD_WINDOW_MICROS, LATE_WINDOW_MICROS};
use crate::time::Timestamp;

/// What an event will do to a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How it was priced.
    pub quote: Quote,
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
    if !catalogue.features.contains_key(feature_key) {
        return Err(Refusal::FeatureUnknown(feature_key.clone()));
    }
    let effective_at = when(usage, wallet.time)?;
    let quote = quote(wallet, catalogue, feature_key, &usage.properties, effective_at)?;
    // What a lease has paid for costs what it did there.
    let cost = usage.leased.map_or_else(|| quote.cost_of(usage.units), |leased| Ok(leased.cost))?;
    if let Some(key) = &quote.counter {
        wallet.counters.check_room_for(key, usage.units)?;
    }
    let is_admitted = usage.admitted_at.is_some() || usage.leased.is_some();
    let policy = policy_of(usage.on_insufficient, quote.overage_policy, is_admitted)?;
    let spendable = wallet.spendable_for(feature_key, effective_at);
    let taken = cost.min(spendable);
    let short = cost - taken;
    let owed = match policy {
        _ if short.is_zero() => Credits::ZERO,
        OveragePolicy::Block => return Err(Refusal::InsufficientCredits { cost, spendable }),
        OveragePolicy::Cap => Credits::ZERO,
        OveragePolicy::Overdraft | OveragePolicy::Notify => {
            let limit = quote.overdraft_limit.filter(|_| !is_admitted);
            check_overdraft(wallet, feature_key, short, Credits::ZERO, limit)?;
            short
        }
    };
    Ok(Charge { effective_at, cost, taken, owed, policy, quote })
}

/// Refuses a debt of `short` more for `feature_key` where debt, what open holds could not cover, and the part of
/// `short` that is above the hold's `own` uncovered part would pass the limit.
pub(super) fn check_overdraft<L: HasLot>(
    wallet: &Wallet<L>,
    feature_key: &FeatureKey,
    short: Credits,
    own: Credits,
    limit: Option<Credits>,
) -> Result<(), Refusal> {
    let open = wallet.debts.amount_of_feature(feature_key).checked_add(wallet.uncovered(feature_key))?;
    let beyond = (short - own).max(Credits::ZERO);
    let debt = open.checked_add(beyond)?;
    // What was reserved can be committed, also where the debt has passed the limit since.
    if let Some(limit) = limit.filter(|limit| debt > *limit && beyond.is_positive()) {
        return Err(Refusal::OverdraftLimit { debt, limit });
    }
    wallet.debts.total().checked_add(short)?;
    Ok(())
}

/// Records `usage`: work that was done.
pub(super) fn record(book: &mut Book<'_>, catalogue: &Catalogue, usage: &Usage) -> Result<Outcome, Refusal> {
    let record = charge(book, catalogue, usage, None)?;
    Ok(Outcome::Used { record, replayed: false })
}

/// Records `usage` if the end user may: work that is about to be done.
pub(super) fn consume(book: &mut Book<'_>, catalogue: &Catalogue, usage: &Usage) -> Result<Outcome, Refusal> {
    gate(&book.account.wallet, catalogue, &usage.feature_key)?;
    record(book, catalogue, usage)
}

/// Charges `usage`, which a commit after its reservation's end may be.
pub(super) fn charge(
    book: &mut Book<'_>,
    catalogue: &Catalogue,
    usage: &Usage,
    reservation_id: Option<ReservationId>,
) -> Result<UsageRecord, Refusal> {
    if let Some(leased) = &usage.leased
        && let Some(record) = lease::spend(book, usage, leased)?
    {
        return Ok(record);
    }
    let reservation_id = reservation_id.or(usage.leased.map(|leased| leased.id));
    let charge = decide(&book.account.wallet, catalogue, usage)?;
    let Charge { effective_at, cost, taken, owed, policy, quote } = charge;
    let charged = taken + owed;
    let feature_key = &usage.feature_key;
    let cause = Cause::Usage { id: usage.id, feature_key: feature_key.clone(), units: usage.units };

    let parts = book.account.wallet.burn(feature_key, taken, effective_at);
    let revived: Vec<Taken> = parts.iter().copied().filter(|part| part.revived).collect();
    if !revived.is_empty() {
        let allocations = parts_of(&book.account.wallet, &revived);
        let amount = allocations.iter().map(|part| part.amount).sum();
        book.write(EntryBody { amount, allocations, ..EntryBody::new(EntryKind::Expire, cause.clone(), effective_at) });
    }
    let allocations = parts_of(&book.account.wallet, &parts);
    let counter = quote.counter.clone();
    let counted = counter.clone().map(|key| (key, usage.units.get())).filter(|(_, units)| *units != 0);
    if let Some((key, units)) = &counted {
        book.account.wallet.counters.add(key, *units);
    }
    let seq = book.write(EntryBody {
        amount: -taken,
        allocations: negated(&allocations),
        counted,
        ..EntryBody::new(EntryKind::Usage, cause.clone(), effective_at)
    });
    let notify = policy == OveragePolicy::Notify;
    book.owe(EntryBody::debt(DebtOf::Feature(feature_key.clone()), owed, cause, effective_at), notify);
    book.account.lifetime_consumed = (book.account.lifetime_consumed + charged).min(Credits::MAX);
    let record = UsageRecord {
        id: usage.id,
        key: usage.key.clone(),
        fingerprint: usage.fingerprint(),
        feature_key: feature_key.clone(),
        units: usage.units,
        properties: usage.properties.clone(),
        cost,
        charged,
        owed,
        priced_by: quote.priced_by,
        counter,
        reservation_id,
        effective_at,
        recorded_at: book.now(),
        seq,
        totals: book.account.totals,
        version: 0,
        allocations,
    };
    book.account.tallies.count(&record);
    if let Some(leased) = &usage.leased {
        let (lease_id, usage_id, cost) = (leased.id, usage.id, leased.cost);
        book.announce(book.now(), EventKind::LeaseLate { lease_id, usage_id, cost });
    }
    Ok(record)
}

/// What was taken, per block.
pub(super) fn parts_of(wallet: &Wallet<Block>, parts: &[Taken]) -> Vec<Allocation> {
    parts.iter().map(|part| Allocation::of(wallet.lots[part.lot].id, part.amount)).collect()
}

/// The same changes of `remaining`, the other way round.
pub(super) fn negated(allocations: &[Allocation]) -> Vec<Allocation> {
    allocations.iter().map(|part| Allocation { amount: -part.amount, ..part.clone() }).collect()
}

/// When the event counts. What a sidecar has admitted is held inside the window, never refused for its time.
pub(super) fn when(usage: &Usage, now: Timestamp) -> Result<Timestamp, Refusal> {
    let earliest = now.saturating_add_micros(-LATE_WINDOW_MICROS);
    let latest = now.saturating_add_micros(AHEAD_WINDOW_MICROS);
    let asked = usage.effective_at.or(usage.admitted_at).unwrap_or(now);
    if usage.admitted_at.is_none() && !(earliest..=latest).contains(&asked) {
        return Err(Refusal::OutsideLateWindow { now });
    }
    Ok(asked.clamp(earliest, now))
}

/// What happens on a shortfall: what the call asks for, where the feature's policy allows it.
pub(super) fn policy_of(
    asked: Option<OnInsufficient>,
    feature: OveragePolicy,
    is_admitted: bool,
) -> Result<OveragePolicy, Refusal> {
    let policy = match asked {
        None => feature,
        Some(OnInsufficient::Block) => OveragePolicy::Block,
        Some(OnInsufficient::Cap) => OveragePolicy::Cap,
        Some(OnInsufficient::Overdraft) => OveragePolicy::Overdraft,
        Some(OnInsufficient::Notify) => OveragePolicy::Notify,
    };
    if is_admitted {
        // The work is done and was acknowledged: what is short is owed, whatever the feature says by now.
        return Ok(if policy == OveragePolicy::Block { OveragePolicy::Overdraft } else { policy });
    }
    if asked.is_some() && policy.allows_debt() && !feature.allows_debt() {
        return Err(Refusal::OverdraftNotAllowed { policy: feature });
    }
    Ok(policy)
}

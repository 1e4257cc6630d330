//! What usage that is not yet in a state will take from it: burned from the tranches at the events' own times.
//!
//! The same rule as the ledger's ([`decide`]), so that base state + pending usage is what the ledger will publish,
//! if nothing else happens to the account.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::ledger::advance::read_at;
use crate::ledger::command::Usage;
use crate::ledger::debt::DebtOf;
use crate::ledger::hold::Hold;
use crate::ledger::refusal::Refusal;
use crate::ledger::tranche::Tranche;
use crate::ledger::usage::{Charge, decide};
use crate::ledger::wallet::Wallet;
use crate::state::AccountState;
use crate::time::Timestamp;

/// Decides `usage` at `now` and takes what it costs.
pub(crate) fn charge(
    wallet: &mut Wallet<Tranche>,
    catalogue: &Catalogue,
    usage: &Usage,
    now: Timestamp,
) -> Result<Charge, Refusal> {
    read_at(wallet, catalogue, now);
    let charge = decide(wallet, catalogue, usage)?;
    wallet.burn(&usage.feature_key, charge.taken, charge.effective_at);
    if let Some(key) = &charge.quote.counter {
        wallet.counters.add(key, usage.units.get());
    }
    if charge.owed.is_positive() {
        // The ledger has not numbered the entry yet: such a debt is the youngest.
        wallet.debts.raise(DebtOf::Feature(usage.feature_key.clone()), charge.owed, u64::MAX);
    }
    Ok(charge)
}

/// `base` without the holds that `is_own` names, whose credit is this sidecar's, and with `pending` taken from it, in
/// order.
pub(crate) fn effective<'a>(
    base: &Arc<AccountState>,
    catalogue: &Catalogue,
    pending: impl Iterator<Item = &'a Usage>,
    is_own: impl Fn(&Hold) -> bool,
) -> Arc<AccountState> {
    let mut pending = pending.peekable();
    let has_own = base.wallet.holds.iter().any(&is_own);
    if (pending.peek().is_none() && !has_own) || base.partial {
        return Arc::clone(base);
    }
    let mut state = AccountState::clone(base);
    let own: Vec<Hold> = state.wallet.holds.extract_if(.., |hold| is_own(hold)).collect();
    for hold in &own {
        state.wallet.give_back(hold);
    }
    for usage in pending {
        let at = usage.admitted_at.unwrap_or(state.wallet.time);
        // What the ledger will refuse takes nothing.
        let _refused = charge(&mut state.wallet, catalogue, usage, at);
    }
    Arc::new(state)
}

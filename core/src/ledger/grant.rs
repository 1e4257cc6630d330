//! Grants: one entry per cause, one block per lot, and what becomes free pays debts at once.
//!
//! Source: docs/ledger.md, "Block". Called for grants over the API and for those of plans.

use crate::credits::Credits;
use crate::ids::BlockId;
use crate::ledger::block::{Block, Lot};
use crate::ledger::book::Book;
use crate::ledger::command::{Grant, Outcome, Refusal};
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind, GrantedBlock};
use crate::ledger::event::EventKind;
use crate::limits::LIVE_BLOCKS_MAX;

/// Grants a block that a caller asked for.
pub(super) fn grant(book: &mut Book<'_>, grant: &Grant) -> Result<Outcome, Refusal> {
    let now = book.now();
    let effective_at = grant.effective_at.unwrap_or(now);
    if grant.expires_at.is_some_and(|end| end <= now || end <= effective_at) {
        return Err(Refusal::GrantAlreadyExpired { now });
    }
    let lot = Lot {
        kind: grant.kind,
        priority: grant.priority,
        paid: grant.paid,
        settles_debt: grant.settles_debt,
        effective_at,
        expires_at: grant.expires_at,
        scope: grant.feature_keys.clone(),
        remaining: grant.amount,
        held: Credits::ZERO,
        origin: None,
    };
    let granted = grant_lots(book, vec![lot], Cause::Grant)?;
    let block = book.account.wallet.lots.iter().find(|block| granted.contains(&block.id));
    let block = block.expect("a block just granted is in the wallet").clone();
    Ok(Outcome::Granted { block, totals: book.account.totals, version: 0, now: book.now() })
}

/// Grants one block per lot in one entry, then lets what became free pay debts. Refuses before anything changes.
pub(crate) fn grant_lots(book: &mut Book<'_>, lots: Vec<Lot>, cause: Cause) -> Result<Vec<BlockId>, Refusal> {
    let mut sum = Credits::ZERO;
    for lot in &lots {
        if !lot.remaining.is_positive() {
            return Err(Refusal::GrantNotPositive);
        }
        sum = sum.checked_add(lot.remaining)?;
    }
    book.check_room_for(sum)?;
    book.account.lifetime_granted.checked_add(sum)?;
    let live = book.account.wallet.lots.iter().filter(|block| block.lot.remaining.is_positive()).count();
    if live + lots.len() > LIVE_BLOCKS_MAX {
        return Err(Refusal::TooManyBlocks);
    }
    let now = book.now();
    let granted: Vec<GrantedBlock> =
        lots.into_iter().map(|lot| GrantedBlock { id: BlockId::from_uuid(book.ids.next_uuid()), lot }).collect();
    let counting = || granted.iter().filter(|block| block.lot.has_started(now));
    let body = EntryBody {
        kind: EntryKind::Grant,
        amount: counting().map(|block| block.lot.remaining).sum(),
        allocations: granted.iter().map(|block| Allocation::of(block.id, block.lot.remaining)).collect(),
        granted: granted.clone(),
        cause,
        effective_at: now,
    };
    let seq = book.write(body, Credits::ZERO);
    let mut ids = Vec::with_capacity(granted.len());
    for (place, GrantedBlock { id, lot }) in (0..).zip(granted) {
        ids.push(id);
        let original = lot.remaining;
        book.account.lifetime_granted += original;
        book.announce(now, EventKind::CreditsGranted { block_id: id, amount: original });
        book.account.wallet.insert(Block { id, granted: (seq, place), original, expired: Credits::ZERO, lot });
    }
    book.settle();
    Ok(ids)
}

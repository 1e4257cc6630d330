//! Grants: one entry per cause, one block per lot, trimmed by caps; then what is free pays debts at once.
//!
//! Source: docs/ledger.md, "Block". Called for grants over the API, top-ups, adjustments, and those of plans.

use crate::credits::Credits;
use crate::ids::BlockId;
use crate::ledger::block::{Block, Lot};
use crate::ledger::book::Book;
use crate::ledger::command::Grant;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind, GrantedBlock};
use crate::ledger::event::EventKind;
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::limits::LIVE_BLOCKS_MAX;

/// A lot to be granted, and the cap that may trim it.
pub(crate) struct LotOrder {
    pub(crate) lot: Lot,
    pub(crate) accumulation_cap: Option<Credits>,
}

/// A block that was granted.
pub(super) struct Granted {
    /// `None` where a cap trimmed it to nothing.
    pub(super) block: Option<Block>,
    pub(super) trimmed: Credits,
}

/// Grants a block that a caller asked for.
pub(super) fn grant(book: &mut Book<'_>, grant: &Grant) -> Result<Outcome, Refusal> {
    let Granted { block, trimmed } = grant_one(book, grant, EntryKind::Grant, Cause::Grant)?;
    Ok(Outcome::Granted { block, trimmed, standing: book.standing() })
}

/// Grants one block with an entry of this kind.
pub(super) fn grant_one(book: &mut Book<'_>, grant: &Grant, kind: EntryKind, cause: Cause) -> Result<Granted, Refusal> {
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
        cap_group: grant.cap_group.clone(),
        ended: None,
        claw_back: Credits::ZERO,
    };
    let order = LotOrder { lot, accumulation_cap: grant.accumulation_cap };
    let mut granted = grant_lots(book, vec![order], kind, cause)?;
    let GrantedBlock { id, trimmed, .. } = granted.pop().expect("one lot was granted");
    Ok(Granted { block: book.account.block(id).cloned(), trimmed })
}

/// Grants one block per lot in one entry, then lets what became free pay debts. Refuses before anything changes.
pub(crate) fn grant_lots(
    book: &mut Book<'_>,
    orders: Vec<LotOrder>,
    kind: EntryKind,
    cause: Cause,
) -> Result<Vec<GrantedBlock>, Refusal> {
    let now = book.now();
    let granted = trimmed(book, orders)?;
    let sum = granted.iter().try_fold(Credits::ZERO, |sum, block| sum.checked_add(block.lot.remaining))?;
    book.check_room_for(sum)?;
    let lifetime_granted = book.account.lifetime_granted.checked_add(sum)?;
    let live = book.account.wallet.lots.iter().filter(|block| block.lot.remaining.is_positive()).count();
    let made = || (0..).zip(&granted).filter(|(_, block)| block.lot.remaining.is_positive());
    if live + made().count() > LIVE_BLOCKS_MAX {
        return Err(Refusal::TooManyBlocks);
    }
    let counting = made().filter(|(_, block)| block.lot.has_started(now));
    let body = EntryBody {
        amount: counting.map(|(_, block)| block.lot.remaining).sum(),
        allocations: made().map(|(_, block)| Allocation::of(block.id, block.lot.remaining)).collect(),
        granted: granted.clone(),
        ..EntryBody::new(kind, cause, now)
    };
    let seq = book.write(body);
    book.account.lifetime_granted = lifetime_granted;
    for (place, GrantedBlock { id, lot, .. }) in made() {
        let (id, original, lot) = (*id, lot.remaining, lot.clone());
        book.announce(now, EventKind::CreditsGranted { block_id: id, amount: original });
        let (expired, withdrawn) = (Credits::ZERO, Credits::ZERO);
        book.account.wallet.insert(Block { id, granted: (seq, place), original, expired, withdrawn, lot });
    }
    book.after_return(Vec::new());
    Ok(granted)
}

/// The lots as blocks, each trimmed so that its cap holds over the usable blocks that share it and those before it.
fn trimmed(book: &mut Book<'_>, orders: Vec<LotOrder>) -> Result<Vec<GrantedBlock>, Refusal> {
    let now = book.now();
    let mut granted: Vec<GrantedBlock> = Vec::with_capacity(orders.len());
    for LotOrder { mut lot, accumulation_cap } in orders {
        if !lot.remaining.is_positive() {
            return Err(Refusal::GrantNotPositive);
        }
        let usable = book.account.wallet.lots.iter().map(|block| &block.lot).filter(|other| other.is_usable(now));
        let sharing = usable.chain(granted.iter().map(|block| &block.lot)).filter(|other| other.shares_cap(&lot));
        let there: Credits = sharing.map(|other| other.remaining).sum();
        let room = accumulation_cap.map_or(lot.remaining, |cap| (cap - there).max(Credits::ZERO).min(lot.remaining));
        let trimmed = lot.remaining - room;
        lot.remaining = room;
        granted.push(GrantedBlock { id: BlockId::from_uuid(book.ids.next_uuid()), lot, trimmed });
    }
    Ok(granted)
}

//! Grants by callers: one entry, one block, trimmed by its cap; then what is free pays debts at once.
//!
//! Source: docs/ledger.md, "Block". Called for grants over the API, top-ups and adjustments; plans grant in a `motion`.

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
        frozen: false,
        rollover: None,
    };
    if !lot.remaining.is_positive() {
        return Err(Refusal::GrantNotPositive);
    }
    give(book, lot, grant.accumulation_cap, kind, cause)
}

/// Writes the entry of one block, makes it unless its cap leaves nothing of it, then lets what became free pay debts.
/// Refuses before anything changes.
fn give(
    book: &mut Book<'_>,
    mut lot: Lot,
    accumulation_cap: Option<Credits>,
    kind: EntryKind,
    cause: Cause,
) -> Result<Granted, Refusal> {
    let now = book.now();
    let id = BlockId::from_uuid(book.ids.next_uuid());
    let asked = lot.remaining;
    lot.remaining = book.account.wallet.room_under_cap(&lot, accumulation_cap);
    let (amount, trimmed) = (lot.remaining, asked - lot.remaining);
    book.check_room_for(amount)?;
    let is_made = amount.is_positive();
    let live = book.account.wallet.lots.iter().filter(|block| block.lot.remaining.is_positive()).count();
    if is_made && live >= LIVE_BLOCKS_MAX {
        return Err(Refusal::TooManyBlocks);
    }
    let seq = book.write(EntryBody {
        amount: if lot.has_started(now) { amount } else { Credits::ZERO },
        allocations: if is_made { vec![Allocation::of(id, amount)] } else { Vec::new() },
        granted: vec![GrantedBlock { id, lot: lot.clone(), trimmed }],
        ..EntryBody::new(kind, cause, now)
    });
    // What it ever came to is for people: it stops at the end of its range, credit does not.
    book.account.lifetime_granted = (book.account.lifetime_granted + amount).min(Credits::MAX);
    if is_made {
        book.announce(now, EventKind::CreditsGranted { block_id: id, amount });
        book.account.wallet.insert(Block::new(id, (seq, 0), lot));
    }
    book.after_return(Vec::new());
    Ok(Granted { block: book.account.block(id).cloned(), trimmed })
}

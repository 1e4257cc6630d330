//! Corrections by people: adjustments of the balance, and blocks ended before their time.
//!
//! Source: docs/ledger.md, "Corrections by people".

use crate::credits::Credits;
use crate::ledger::block::{BlockKind, Ending};
use crate::ledger::book::Book;
use crate::ledger::command::{Adjust, Grant, VoidBlock};
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::grant::{Granted, grant_one};
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::ledger::wallet::{Taken, up_to};

/// Corrects the balance: above 0 by a block of its own, below 0 out of the blocks that the order names.
pub(super) fn adjust(book: &mut Book<'_>, order: &Adjust) -> Result<Outcome, Refusal> {
    if order.amount.is_zero() {
        return Err(Refusal::AdjustmentZero);
    }
    if order.amount.is_positive() { raise(book, order) } else { lower(book, order) }
}

fn raise(book: &mut Book<'_>, order: &Adjust) -> Result<Outcome, Refusal> {
    if order.block_id.is_some() {
        return Err(Refusal::AdjustmentNamesBlock);
    }
    let grant = Grant {
        kind: BlockKind::Adjustment,
        amount: order.amount,
        priority: order.priority,
        effective_at: None,
        expires_at: order.expires_at,
        paid: false,
        settles_debt: true,
        feature_keys: order.feature_key.iter().cloned().collect(),
        cap_group: None,
        accumulation_cap: None,
    };
    let seq = book.account.seq + 1;
    let Granted { block, .. } = grant_one(book, &grant, EntryKind::Adjust, Cause::Adjustment)?;
    book.effects.reasons.push((seq, order.reason.clone()));
    book.announce(book.now(), EventKind::CreditsAdjusted { amount: order.amount });
    let (amount, taken, owed) = (order.amount, Credits::ZERO, Credits::ZERO);
    Ok(Outcome::Adjusted { amount, taken, owed, block, standing: book.standing() })
}

fn lower(book: &mut Book<'_>, order: &Adjust) -> Result<Outcome, Refusal> {
    let cost = -order.amount;
    let wallet = &book.account.wallet;
    if let Some(id) = order.block_id {
        book.account.block(id).ok_or(Refusal::BlockUnknown(id))?;
    }
    let may_pay = |block: &crate::ledger::block::Block| match (order.block_id, &order.feature_key) {
        (Some(id), _) => block.id == id,
        (None, Some(feature)) => block.lot.pays_for(feature),
        (None, None) => block.lot.scope.is_empty(),
    };
    let usable = wallet.lots.iter().enumerate().filter(|(_, block)| block.lot.is_usable(wallet.time) && may_pay(block));
    let payers = usable.map(|(lot, block)| Taken { lot, amount: block.lot.free(), revived: false });
    let parts = up_to(cost, payers.filter(|part| part.amount.is_positive()));
    let taken: Credits = parts.iter().map(|part| part.amount).sum();
    let owed = cost - taken;
    if owed.is_positive() && !order.allow_negative {
        return Err(Refusal::InsufficientCredits { cost, spendable: taken });
    }
    wallet.debts.total().checked_add(owed)?;
    let mut allocations = Vec::with_capacity(parts.len());
    for Taken { lot, amount, .. } in parts {
        let block = &mut book.account.wallet.lots[lot];
        block.lot.remaining -= amount;
        block.withdrawn += amount;
        allocations.push(Allocation::of(block.id, -amount));
    }
    let now = book.now();
    book.write(EntryBody { amount: -taken, allocations, ..EntryBody::new(EntryKind::Adjust, Cause::Adjustment, now) });
    book.give_reason(&order.reason);
    book.owe(EntryBody::debt(DebtOf::Correction, owed, Cause::Adjustment, now), false);
    // A debt without feature may meet credit that the order did not name.
    book.after_return(Vec::new());
    book.announce(now, EventKind::CreditsAdjusted { amount: order.amount });
    let (amount, block) = (order.amount, None);
    Ok(Outcome::Adjusted { amount, taken, owed, block, standing: book.standing() })
}

/// Ends a block: what is free leaves now, what is held leaves when it comes back. Once more changes nothing.
pub(super) fn void_block(book: &mut Book<'_>, order: &VoidBlock) -> Result<Outcome, Refusal> {
    let id = order.block_id;
    let index = book.account.block_index(id).ok_or(Refusal::BlockUnknown(id))?;
    let now = book.now();
    let block = &mut book.account.wallet.lots[index];
    if block.lot.ended == Some(Ending::Voided) {
        let (block, withdrawn) = (block.clone(), Credits::ZERO);
        return Ok(Outcome::BlockVoided { block, withdrawn, standing: book.standing() });
    }
    if block.lot.has_ended(now) {
        return Err(Refusal::BlockEnded(id));
    }
    let withdrawn = block.lot.free();
    let counted = if block.lot.has_started(now) { withdrawn } else { Credits::ZERO };
    block.lot.remaining -= withdrawn;
    block.withdrawn += withdrawn;
    block.lot.ended = Some(Ending::Voided);
    let block = block.clone();
    book.write(EntryBody {
        amount: -counted,
        allocations: vec![Allocation::of(id, -withdrawn)],
        ends: Some(Ending::Voided),
        ..EntryBody::new(EntryKind::Withdraw, Cause::BlockVoid(id), now)
    });
    book.give_reason(&order.reason);
    book.announce(now, EventKind::CreditsWithdrawn { block_id: id, amount: withdrawn });
    Ok(Outcome::BlockVoided { block, withdrawn, standing: book.standing() })
}

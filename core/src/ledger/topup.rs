//! Top-ups: credit that was bought, found again by its payment, and refunds of them.
//!
//! Source: docs/ledger.md, "Corrections by people".

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, PackageId, PaymentReference, TopupId};
use crate::ledger::block::{BlockKind, Ending};
use crate::ledger::book::Book;
use crate::ledger::command::{Fingerprint, Grant, Refund, TopupOrder};
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::grant::grant_one;
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::time::Timestamp;

/// Credit that was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topup {
    /// Its id.
    pub id: TopupId,
    /// The payment, unique per end user for ever.
    pub payment_reference: PaymentReference,
    /// Of the order: a repeat must say the same.
    pub fingerprint: Fingerprint,
    /// The package, if it was one.
    pub package_id: Option<PackageId>,
    /// Its block.
    pub block_id: BlockId,
    /// What was bought.
    pub amount: Credits,
    /// What was paid, in the currency's smallest unit.
    pub price_paid: Option<Credits>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// What was refunded so far: taken back, or owed for it.
    pub refunded: Credits,
    /// The part of that which is owed, because it had been spent or is held.
    pub clawed_back: Credits,
    /// When it was made.
    pub created_at: Timestamp,
}

pub(super) fn top_up(book: &mut Book<'_>, order: &TopupOrder, known: Option<&Topup>) -> Result<Outcome, Refusal> {
    let fingerprint = order.fingerprint();
    if let Some(known) = known {
        if known.fingerprint != fingerprint {
            return Err(Refusal::PaymentReferenceUsed(known.id));
        }
        let block = book.account.block(known.block_id).cloned();
        return Ok(Outcome::ToppedUp { topup: known.clone(), block, standing: book.standing(), replayed: true });
    }
    if let Some(package_id) = order.package_id.filter(|_| !order.is_on_sale) {
        return Err(Refusal::PackageArchived(package_id));
    }
    let expires_after = order.expires_after.map(|period| period.end(book.now(), 0));
    let expires_at = order.grant.expires_at.or(expires_after);
    let grant = Grant { kind: BlockKind::Topup, expires_at, ..order.grant.clone() };
    let granted = grant_one(book, &grant, EntryKind::Grant, Cause::Topup(order.id))?;
    let block = granted.block.expect("a top-up has no cap that could trim it to nothing");
    let topup = Topup {
        id: order.id,
        payment_reference: order.payment_reference.clone(),
        fingerprint,
        package_id: order.package_id,
        block_id: block.id,
        amount: block.original,
        price_paid: order.price_paid,
        currency: order.currency.clone(),
        refunded: Credits::ZERO,
        clawed_back: Credits::ZERO,
        created_at: book.now(),
    };
    book.save_topup(topup.clone());
    Ok(Outcome::ToppedUp { topup, block: Some(block), standing: book.standing(), replayed: false })
}

/// Takes back what is free of a top-up's block. With `claw_back_spent`, what was spent of it, or is held, is owed; what
/// comes back to the block later pays that first. For the rest goes what has expired, so that no late usage has it any
/// more. A refund of all that is left ends the block.
pub(super) fn refund(book: &mut Book<'_>, order: &Refund) -> Result<Outcome, Refusal> {
    let unknown = Refusal::TopupUnknown(order.topup_id);
    let mut topup = book.account.topup(order.topup_id).ok_or(unknown)?.clone();
    let left = topup.amount - topup.refunded;
    let amount = order.amount.unwrap_or(left);
    if !amount.is_positive() || amount > left {
        return Err(Refusal::RefundOutOfRange { left });
    }
    let index = book.account.block_index(topup.block_id).expect("a top-up is loaded with its block");
    let block = &book.account.wallet.lots[index];
    let free = block.lot.free().min(amount);
    // Below 0 where voids have given back what earlier refunds made owed.
    let spent_or_held = (block.consumed() + block.lot.held - topup.clawed_back).max(Credits::ZERO);
    let owed = if order.claw_back_spent { (amount - free).min(spent_or_held) } else { Credits::ZERO };
    let revived = block.expired.min(amount - free - owed);
    let withdrawn = free + revived;
    let (block_id, has_started) = (block.id, block.lot.has_started(book.now()));
    book.account.wallet.debts.total().checked_add(owed)?;

    let (now, cause) = (book.now(), Cause::Refund(topup.id));
    if revived.is_positive() {
        let allocations = vec![Allocation::of(block_id, revived)];
        book.write(EntryBody { amount: revived, allocations, ..EntryBody::new(EntryKind::Expire, cause.clone(), now) });
    }
    let ends = (amount == left).then_some(Ending::Refunded);
    let block = &mut book.account.wallet.lots[index];
    block.lot.remaining -= free;
    block.expired -= revived;
    block.withdrawn += withdrawn;
    block.lot.ended = ends.or(block.lot.ended);
    block.lot.claw_back += owed;
    book.write(EntryBody {
        amount: if has_started { -withdrawn } else { Credits::ZERO },
        allocations: vec![Allocation::of(block_id, -withdrawn)],
        ends,
        ..EntryBody::new(EntryKind::Refund, cause.clone(), now)
    });
    if let Some(reason) = &order.reason {
        book.give_reason(reason);
    }
    let debt = EntryBody::debt(DebtOf::Correction, owed, cause, now);
    book.owe(EntryBody { allocations: vec![Allocation::of(block_id, Credits::ZERO)], ..debt }, false);
    topup.refunded += amount;
    topup.clawed_back += owed;
    book.save_topup(topup.clone());
    book.announce(now, EventKind::CreditsRefunded { topup_id: topup.id, block_id, withdrawn, owed });
    // More may be free than was asked for, and a debt without feature meets credit of other blocks.
    book.after_return(Vec::new());
    Ok(Outcome::Refunded { topup, withdrawn, owed, standing: book.standing() })
}

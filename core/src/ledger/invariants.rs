//! The invariants of an account that its own state shows: checked after every command in debug builds, and by a
//! verifier. Source: docs/ledger.md, "Invariants" 1 to 4 and 10.

use crate::credits::Credits;
use crate::ids::{BlockId, ReservationId};
use crate::ledger::account::Account;
use crate::ledger::block::HasLot;
use crate::ledger::reservation::ReservationStatus;

/// What does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The running totals are not what blocks, holds and debts add up to.
    #[error("the totals are not what blocks, holds and debts add up to")]
    Totals,
    /// Not `0 <= held <= remaining <= original`, or more has left the block than it had.
    #[error("the amounts of block {0} contradict each other")]
    Block(BlockId),
    /// A block's `held` is not what open holds have of it.
    #[error("block {0} holds something else than its holds say")]
    Held(BlockId),
    /// An open reservation without hold, or the other way round, or they disagree.
    #[error("reservation {0} and its hold disagree")]
    Reservation(ReservationId),
    /// Blocks are not in burn order.
    #[error("the blocks are not in burn order")]
    Order,
    /// An open debt stands beside free credit that may pay it.
    #[error("an open debt stands beside free credit of block {0} that may pay it")]
    UnsettledDebt(BlockId),
    /// Free credit is left in a block that is over.
    #[error("free credit is left in block {0}, which is over")]
    Unswept(BlockId),
}

/// Checks an account whose time has been applied.
pub fn check(account: &Account) -> Result<(), Broken> {
    let wallet = &account.wallet;
    if account.totals != wallet.totals() {
        return Err(Broken::Totals);
    }
    let mut held = vec![Credits::ZERO; wallet.lots.len()];
    for part in wallet.holds.iter().flat_map(|hold| &hold.parts) {
        held[part.lot] += part.amount;
    }
    for (block, held) in wallet.lots.iter().zip(held) {
        let lot = &block.lot;
        let amounts = [Credits::ZERO, lot.held, lot.remaining, block.original];
        let left = [block.expired, block.rolled, block.withdrawn, block.consumed()];
        if !amounts.is_sorted() || left.iter().any(|amount| *amount < Credits::ZERO) {
            return Err(Broken::Block(block.id));
        }
        if lot.held != held {
            return Err(Broken::Held(block.id));
        }
        if lot.has_ended(wallet.time) && lot.free().is_positive() {
            return Err(Broken::Unswept(block.id));
        }
        let pays = wallet.debts.iter().any(|debt| debt.of.is_payable_by(lot));
        if pays && lot.is_usable(wallet.time) && lot.free().is_positive() {
            return Err(Broken::UnsettledDebt(block.id));
        }
    }
    if !wallet.lots.is_sorted_by(|one, next| one.full_order(next).is_lt()) {
        return Err(Broken::Order);
    }
    for reservation in &account.reservations {
        let hold = wallet.holds.iter().find(|hold| hold.id == reservation.id);
        let agree = match (reservation.status, hold) {
            (ReservationStatus::Active, Some(hold)) => {
                (reservation.held, reservation.uncovered, reservation.expires_at)
                    == (hold.held(), hold.uncovered, hold.expires_at)
            }
            (ReservationStatus::Active, None) => false,
            (_, hold) => hold.is_none(),
        };
        if !agree {
            return Err(Broken::Reservation(reservation.id));
        }
    }
    let orphan = wallet.holds.iter().find(|hold| account.reservation(hold.id).is_none());
    orphan.map_or(Ok(()), |hold| Err(Broken::Reservation(hold.id)))
}

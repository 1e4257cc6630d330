//! A [`Tranche`]: credit as it is published, without the ids and the past of its blocks.
//!
//! Whoever reads a published state makes the same of it as the ledger makes of the blocks. So tranches say in which
//! order they were granted, and blocks become one only where no move of their ends can part them. Source:
//! docs/sync.md, "What is published".

use serde::{Deserialize, Serialize};

use crate::ledger::block::{Block, Granting, HasLot, Lot};
use crate::ledger::hold::{HeldPart, Hold};
use crate::ledger::wallet::Wallet;
use crate::time::Timestamp;

/// Neighbours in burn order that no rule tells apart, summed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tranche {
    /// Where it stands in the order of granting, among the tranches of its wallet.
    pub granted: u32,
    /// The credit itself.
    pub lot: Lot,
}

impl HasLot for Tranche {
    fn lot(&self) -> &Lot {
        &self.lot
    }
    fn lot_mut(&mut self) -> &mut Lot {
        &mut self.lot
    }
    fn granting(&self) -> Granting {
        (self.granted.into(), 0)
    }
    fn made(lot: Lot, _at: Timestamp, latest: Option<Granting>) -> Self {
        let granted = latest.map_or(0, |(place, _)| place + 1);
        Self { granted: u32::try_from(granted).unwrap_or(u32::MAX), lot }
    }
}

/// The tranches of a wallet, and its holds as parts of them.
pub(crate) fn publish(wallet: &Wallet<Block>) -> (Vec<Tranche>, Vec<Hold>) {
    let blocks = &wallet.lots;
    let mut plans: Vec<&Block> = blocks.iter().filter(|block| can_move(&block.lot) && has_credit(block)).collect();
    plans.sort_unstable_by_key(|block| block.granted);
    let mut tranches: Vec<Tranche> = Vec::new();
    // When the first and the last block of each tranche were granted.
    let mut spans: Vec<(Granting, Granting)> = Vec::new();
    // Which tranche each block is part of; one without credit is part of none, and no hold names it.
    let mut places = Vec::with_capacity(blocks.len());
    for block in blocks {
        if has_credit(block) {
            let last = tranches.last_mut().zip(spans.last_mut());
            match last.filter(|(tranche, span)| is_one(&tranche.lot, span.1, block, &plans)) {
                Some((tranche, span)) => {
                    tranche.lot.remaining += block.lot.remaining;
                    tranche.lot.held += block.lot.held;
                    span.1 = block.granted;
                }
                None => {
                    tranches.push(Tranche { granted: 0, lot: block.lot.clone() });
                    spans.push((block.granted, block.granted));
                }
            }
        }
        places.push(tranches.len().saturating_sub(1));
    }
    let mut order: Vec<usize> = (0..tranches.len()).collect();
    order.sort_unstable_by_key(|index| spans[*index].0);
    for (place, index) in (0..).zip(order) {
        tranches[index].granted = place;
    }
    let mut holds = wallet.holds.clone();
    for hold in &mut holds {
        hold.parts = merged(hold.parts.iter().map(|part| HeldPart { lot: places[part.lot], ..*part }));
    }
    (tranches, holds)
}

fn has_credit(block: &Block) -> bool {
    block.lot.remaining.is_positive()
}

/// Whether its end may move: what a subscription gave, and only that.
fn can_move(lot: &Lot) -> bool {
    lot.origin.is_some()
}

/// Whether `block` may join the tranche of `lot`, whose last block was granted at `last`: no rule tells them apart, and
/// none of `plans`, which are in the order of granting, can come to stand between them.
fn is_one(lot: &Lot, last: Granting, block: &Block, plans: &[&Block]) -> bool {
    if can_move(lot) || !lot.is_like(&block.lot) {
        return false;
    }
    let from = plans.partition_point(|plan| plan.granted < last);
    let between = plans[from..].iter().take_while(|plan| plan.granted < block.granted);
    !between.into_iter().any(|plan| plan.lot.may_tie(lot))
}

/// Neighbouring parts of one lot as one part.
fn merged(parts: impl Iterator<Item = HeldPart>) -> Vec<HeldPart> {
    let mut merged: Vec<HeldPart> = Vec::new();
    for part in parts {
        match merged.last_mut().filter(|last| last.lot == part.lot) {
            Some(last) => last.amount += part.amount,
            None => merged.push(part),
        }
    }
    merged
}

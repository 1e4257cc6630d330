//! Invariants 1 to 5 and 10 of docs/ledger.md, over the model itself. Each message begins with the number.

use std::collections::BTreeMap;

use super::command::{Code, Command, Micros};
use super::model::{HoldState, Model};

/// Invariants 1 to 4 and 10, and that what events owe is either open or was settled.
pub(crate) fn invariants(model: &Model) -> Result<(), String> {
    entries_add_up(model)?;
    for block in &model.blocks {
        let in_order = 0 <= block.held && block.held <= block.remaining && block.remaining <= block.original;
        if !in_order {
            return Err(format!("2: {block:?}"));
        }
        let parts = [block.consumed, block.expired, block.withdrawn];
        if parts.iter().any(|part| *part < 0) || block.original != block.remaining + parts.iter().sum::<i64>() {
            return Err(format!("3: {block:?}"));
        }
    }
    holds_add_up(model)?;
    no_debt_beside_free_credit(model)?;
    every_debt_is_known(model)
}

/// Invariant 5: `after` the refused command there is only what time did to the account as it was `before`.
pub(crate) fn refused_left_nothing(
    before: &Model,
    now: Micros,
    command: &Command,
    code: Code,
    after: &Model,
) -> Result<(), String> {
    let mut waited = before.clone();
    waited.advance(now);
    if waited == *after { Ok(()) } else { Err(format!("5: {command:?} was refused ({code}) and left something")) }
}

fn entries_add_up(model: &Model) -> Result<(), String> {
    let (mut balance, mut reserved, mut debt) = (0, 0, 0);
    let mut blocks: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
    for (index, entry) in model.entries.iter().enumerate() {
        let credit: i64 = entry.allocations.iter().map(|allocation| allocation.remaining).sum();
        let owed: i64 = entry.debts.iter().map(|(_, change)| change).sum();
        balance += entry.amount;
        reserved += entry.allocations.iter().map(|allocation| allocation.held).sum::<i64>();
        debt += owed;
        if entry.amount != credit - owed
            || (balance, reserved, debt) != (entry.balance_after, entry.reserved_after, entry.debt_after)
        {
            return Err(format!("1: seq {} does not add up: {entry:?}", index + 1));
        }
        for allocation in &entry.allocations {
            let block = blocks.entry(allocation.block).or_default();
            *block = (block.0 + allocation.remaining, block.1 + allocation.held);
        }
    }
    let figures = model.figures();
    if (figures.balance, figures.reserved, figures.debt) != (balance, reserved, debt) {
        return Err(format!("1: entries say {balance}, {reserved}, {debt}, the account {figures:?}"));
    }
    for block in &model.blocks {
        let told = blocks.get(&block.id).copied().unwrap_or_default();
        if told != (block.counted(), block.held) {
            return Err(format!("1: entries say {told:?} of {block:?}"));
        }
    }
    Ok(())
}

fn holds_add_up(model: &Model) -> Result<(), String> {
    let mut held: BTreeMap<usize, i64> = BTreeMap::new();
    for hold in &model.holds {
        if hold.state != HoldState::Active && (!hold.held.is_empty() || hold.uncovered != 0) {
            return Err(format!("4: closed, and holds: {hold:?}"));
        }
        for (block, amount) in &hold.held {
            *held.entry(*block).or_default() += amount;
        }
    }
    for block in &model.blocks {
        if block.held != held.get(&block.id).copied().unwrap_or_default() {
            return Err(format!("4: open holds say {held:?}, the block {block:?}"));
        }
    }
    Ok(())
}

fn no_debt_beside_free_credit(model: &Model) -> Result<(), String> {
    for debt in model.debts.iter().filter(|debt| debt.amount > 0) {
        for block in model.blocks.iter().filter(|block| block.is_usable() && block.settles_debt) {
            if block.may_pay(debt.feature.as_deref()) && block.free() > 0 {
                return Err(format!("10: {debt:?} beside {block:?}"));
            }
        }
    }
    if let Some(block) = model.blocks.iter().find(|block| block.ended.is_some() && block.free() > 0) {
        return Err(format!("10: free credit in a block that has ended: {block:?}"));
    }
    if model.debts.iter().any(|debt| debt.amount < 0) {
        return Err(format!("10: debt below 0: {:?}", model.debts));
    }
    Ok(())
}

fn every_debt_is_known(model: &Model) -> Result<(), String> {
    for feature in model.features.keys() {
        let standing = model.events.iter().filter(|event| event.feature == *feature && event.voided.is_none());
        let made: i64 = standing.map(|event| event.debt).sum();
        let paid = model.settled.iter().filter(|settled| settled.feature == *feature);
        let paid: i64 = paid.map(|settled| settled.amount - settled.undone).sum();
        if made != model.debt_of(Some(feature)) + paid {
            return Err(format!("debt: events of {feature} owe {made}, settled {paid}: {:?}", model.debts));
        }
    }
    Ok(())
}

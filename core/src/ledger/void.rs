//! Voids: a usage event is undone in reverse. Source: docs/ledger.md, "Void".

use std::collections::BTreeMap;

use crate::credits::Credits;
use crate::ledger::book::Book;
use crate::ledger::command::Void;
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use crate::ledger::refusal::Refusal;

/// Undoes `usage`: its debt lowers the feature's open debt, what of it was settled goes back along the settlements,
/// the newest first, and each allocation goes back to its own block. What is free then settles as ever. `before` is
/// the void of the same event, if there was one.
pub(super) fn void(
    book: &mut Book<'_>,
    order: &Void,
    usage: Option<&UsageRecord>,
    before: Option<&VoidRecord>,
) -> Result<Outcome, Refusal> {
    if let Some(before) = before {
        return Ok(Outcome::Voided { record: before.clone(), replayed: true });
    }
    let usage = usage.ok_or(Refusal::UsageUnknown(order.usage_id))?;
    let paid: Credits = usage.allocations.iter().map(|part| part.amount).sum();
    book.check_room_for(paid.checked_add(usage.owed)?)?;

    let of = DebtOf::Feature(usage.feature_key.clone());
    let account = &mut *book.account;
    let debt_undone = account.wallet.debts.lower(&of, usage.owed);
    let mut allocations = Vec::new();
    let mut billed = Credits::ZERO;
    for (block, amount) in account.settled.give_back(&of, usage.owed - debt_undone) {
        match block {
            Some(block) => allocations.push(Allocation { debt: Some(of.clone()), ..Allocation::of(block, amount) }),
            // The invoice has it: the next one takes it off, and no credit comes back.
            None => billed += amount,
        }
    }
    allocations.extend(usage.allocations.iter().map(|part| Allocation::of(part.block_id, part.amount)));
    let mut returned_to = BTreeMap::new();
    for part in &allocations {
        let index = account.block_index(part.block_id).expect("the blocks that a void returns to are loaded");
        account.wallet.lots[index].lot.remaining += part.amount;
        *returned_to.entry(index).or_default() += part.amount;
    }
    let clawed_back = account.wallet.claw_back(returned_to);
    let counted = usage.counter.clone().map(|key| (key, -usage.units.get())).filter(|(_, units)| *units != 0);
    if let Some((key, units)) = &counted {
        account.wallet.counters.add(key, *units);
    }
    account.tallies.uncount(usage, billed);
    let returned = allocations.iter().map(|part| part.amount).sum();
    let now = book.now();
    let seq = book.write(EntryBody {
        amount: returned + debt_undone,
        allocations,
        owed: Some((of, -debt_undone)),
        billed: if billed.is_zero() { Vec::new() } else { vec![(usage.feature_key.clone(), billed)] },
        counted,
        ..EntryBody::new(EntryKind::Void, Cause::Void(usage.id), now)
    });
    if let Some(reason) = &order.reason {
        book.give_reason(reason);
    }
    book.announce(now, EventKind::UsageVoided { usage_id: usage.id, amount: returned + debt_undone });
    book.after_return(clawed_back);
    let (usage_id, reason) = (usage.id, order.reason.clone());
    let record = VoidRecord { usage_id, reason, returned, debt_undone, seq, standing: book.standing() };
    Ok(Outcome::Voided { record, replayed: false })
}

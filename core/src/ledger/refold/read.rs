//! What each kind of entry does.

use crate::credits::{AMOUNT_MAX, Credits};
use crate::ids::{BlockId, ReservationId};
use crate::ledger::block::{Block, Lot};
use crate::ledger::debt::{Debt, DebtOf};
use crate::ledger::entry::{Allocation, Cause, Entry, EntryBody, EntryKind, verify_chain};
use crate::ledger::refold::{Fault, FoldedBlock, FoldedHold, Refold};

impl Refold {
    pub(super) fn read(&mut self, entry: &Entry) -> Result<(), Fault> {
        let after = (self.seq, self.last_hash, self.totals().balance);
        verify_chain(self.account, after, std::slice::from_ref(entry)).map_err(|_| Fault::Chain)?;
        let body = &entry.body;
        match body.kind {
            EntryKind::Grant => self.grant(entry)?,
            EntryKind::Adjust if !body.granted.is_empty() => self.grant(entry)?,
            EntryKind::Start => self.start(body)?,
            EntryKind::Usage => self.use_up(body)?,
            EntryKind::Commit => {
                self.use_up(body)?;
                self.commit(body)?;
            }
            EntryKind::Debt => self.borrow(body)?,
            EntryKind::DebtSettled => {
                for part in &body.allocations {
                    let of = part.debt.as_ref().ok_or(Fault::Debt)?;
                    let block = self.change(part)?;
                    if *of == DebtOf::Correction {
                        block.lot.claw_back -= (-part.amount).min(block.lot.claw_back);
                    }
                    self.pay(of, -part.amount)?;
                }
            }
            EntryKind::Rollover => self.roll_over(entry)?,
            EntryKind::Reschedule => {
                let how = body.reschedule.ok_or(Fault::Reschedule)?;
                for part in &body.allocations {
                    self.change_also_scheduled(part)?.lot.reschedule(how);
                }
            }
            EntryKind::DebtBilled => {
                for (feature_key, amount) in &body.billed {
                    self.pay(&DebtOf::Feature(feature_key.clone()), *amount)?;
                }
            }
            EntryKind::Expire => {
                for part in &body.allocations {
                    let block = self.change(part)?;
                    block.expired = block.expired.checked_add(-part.amount)?;
                }
            }
            EntryKind::Adjust | EntryKind::Withdraw | EntryKind::Refund => {
                for part in &body.allocations {
                    let block = self.change_also_scheduled(part)?;
                    block.withdrawn = block.withdrawn.checked_add(-part.amount)?;
                    if body.ends.is_some() {
                        block.lot.ended = body.ends;
                    }
                }
            }
            EntryKind::Void => {
                for part in &body.allocations {
                    self.change(part)?;
                }
                if let Some((of, change)) = body.owed.as_ref().filter(|(_, change)| !change.is_zero()) {
                    self.pay(of, -*change)?;
                }
            }
            EntryKind::Hold => self.hold(body)?,
            EntryKind::Extend => {
                let terms = body.hold.as_ref().ok_or(Fault::Hold)?;
                self.open_hold(&body.cause)?.expires_at = terms.expires_at;
            }
            EntryKind::Release | EntryKind::HoldExpired => self.release(body)?,
        }
        if let Some((key, units)) = &body.counted {
            let counter = self.counters.entry(key.clone()).or_default();
            *counter =
                counter.checked_add(*units).filter(|sum| (0..=AMOUNT_MAX).contains(sum)).ok_or(Fault::Counter)?;
        }
        let totals = self.totals();
        if (entry.balance_after, entry.reserved_after, entry.debt_after)
            != (totals.balance, totals.reserved, totals.debt)
        {
            return Err(Fault::Sums);
        }
        (self.seq, self.last_hash) = (entry.seq, entry.hash);
        (self.recorded_at, self.time) = (entry.recorded_at, entry.instant());
        Ok(())
    }

    fn grant(&mut self, entry: &Entry) -> Result<(), Fault> {
        let mut listed = entry.body.allocations.iter();
        for (place, granted) in (0..).zip(&entry.body.granted) {
            let (id, original, lot) = (granted.id, granted.lot.remaining, granted.lot.clone());
            if original.is_zero() {
                continue;
            }
            let counts = lot.has_started(entry.body.effective_at);
            let block = Block::new(id, (entry.seq, place), lot);
            let is_listed = listed.next() == Some(&Allocation::of(id, original));
            if !is_listed || self.blocks.insert(id, FoldedBlock { block, counts }).is_some() {
                return Err(Fault::Block(id));
            }
            if counts {
                self.counted = self.counted.checked_add(original)?;
            }
            // What time grants cannot be refused: the figure stays at its greatest.
            self.granted = self.granted.checked_add(original).unwrap_or(Credits::MAX);
        }
        listed.next().map_or(Ok(()), |part| Err(Fault::Block(part.block_id)))
    }

    /// Credit moves from blocks that are over into rollover blocks: the parts come in pairs.
    fn roll_over(&mut self, entry: &Entry) -> Result<(), Fault> {
        for (place, granted) in (0..).zip(&entry.body.granted) {
            let lot = Lot { remaining: Credits::ZERO, ..granted.lot.clone() };
            let block = Block::new(granted.id, (entry.seq, place), lot);
            if self.blocks.insert(granted.id, FoldedBlock { block, counts: true }).is_some() {
                return Err(Fault::Block(granted.id));
            }
        }
        let (pairs, rest) = entry.body.allocations.as_chunks::<2>();
        if let Some(part) = rest.first() {
            return Err(Fault::Block(part.block_id));
        }
        for [from, to] in pairs {
            if !to.amount.is_positive() || from.amount != -to.amount {
                return Err(Fault::Block(from.block_id));
            }
            let block = self.change(from)?;
            block.rolled = block.rolled.checked_add(to.amount)?;
            let target = self.blocks.get_mut(&to.block_id).ok_or(Fault::Block(to.block_id))?;
            target.block.original = target.block.original.checked_add(to.amount)?;
            self.change(to)?;
        }
        Ok(())
    }

    fn start(&mut self, body: &EntryBody) -> Result<(), Fault> {
        for folded in self.blocks.values_mut() {
            if !folded.counts && folded.block.lot.effective_at == body.effective_at {
                folded.counts = true;
                self.counted = self.counted.checked_add(folded.block.lot.remaining)?;
            }
        }
        Ok(())
    }

    /// Usage takes from blocks and is never given.
    fn use_up(&mut self, body: &EntryBody) -> Result<(), Fault> {
        for part in &body.allocations {
            if part.amount.is_positive() {
                return Err(Fault::Block(part.block_id));
            }
            self.change(part)?;
        }
        self.consumed = (self.consumed - body.amount).min(Credits::MAX);
        Ok(())
    }

    fn commit(&mut self, body: &EntryBody) -> Result<(), Fault> {
        let Cause::Commit { reservation_id, units, .. } = &body.cause else { return Err(Fault::Hold) };
        let hold = self.holds.get_mut(reservation_id).ok_or(Fault::Hold)?;
        for part in body.allocations.iter().filter(|part| !part.held.is_zero()) {
            hold.give(part.block_id, -part.held)?;
        }
        if let Some((_, counted)) = &mut hold.counted {
            *counted -= units.get().min(*counted);
        }
        hold.counted.take_if(|(_, counted)| *counted == 0);
        match &body.hold {
            Some(terms) => (hold.expires_at, hold.uncovered) = (terms.expires_at, terms.uncovered),
            // Final. What is left, if anything, is released by the next entry.
            None if hold.parts.is_empty() && hold.counted.is_none() => {
                self.holds.remove(reservation_id);
            }
            None => {}
        }
        Ok(())
    }

    fn hold(&mut self, body: &EntryBody) -> Result<(), Fault> {
        let Cause::Reservation { id, feature_key, .. } = &body.cause else { return Err(Fault::Hold) };
        let terms = body.hold.as_ref().ok_or(Fault::Hold)?;
        for part in &body.allocations {
            self.change(part)?;
        }
        let hold = FoldedHold {
            feature_key: feature_key.clone(),
            expires_at: terms.expires_at,
            parts: body.allocations.iter().map(|part| (part.block_id, part.held)).collect(),
            uncovered: terms.uncovered,
            counted: body.counted.clone(),
        };
        self.holds.insert(*id, hold).map_or(Ok(()), |_| Err(Fault::Hold))
    }

    fn release(&mut self, body: &EntryBody) -> Result<(), Fault> {
        let Cause::Reservation { id, .. } = &body.cause else { return Err(Fault::Hold) };
        if body.hold.is_some() {
            return self.release_part(*id, body);
        }
        let mut hold = self.holds.remove(id).ok_or(Fault::Hold)?;
        for part in &body.allocations {
            self.change(part)?;
            hold.give(part.block_id, -part.held)?;
        }
        let uncounted = hold.counted.map(|(key, units)| (key, -units));
        if hold.parts.is_empty() && uncounted == body.counted { Ok(()) } else { Err(Fault::Hold) }
    }

    /// A part comes back, the last first, and the hold stays open.
    fn release_part(&mut self, id: ReservationId, body: &EntryBody) -> Result<(), Fault> {
        for part in body.allocations.iter().rev() {
            let hold = self.holds.get_mut(&id).ok_or(Fault::Hold)?;
            let back = hold.parts.last_mut().filter(|(block, left)| *block == part.block_id && *left >= -part.held);
            back.ok_or(Fault::Hold)?.1 += part.held;
            hold.parts.pop_if(|(_, left)| left.is_zero());
            self.change(part)?;
        }
        let is_open = self.holds.get(&id).is_some_and(|hold| !hold.parts.is_empty());
        if is_open { Ok(()) } else { Err(Fault::Hold) }
    }

    fn open_hold(&mut self, cause: &Cause) -> Result<&mut FoldedHold, Fault> {
        let Cause::Reservation { id, .. } = cause else { return Err(Fault::Hold) };
        let id: &ReservationId = id;
        self.holds.get_mut(id).ok_or(Fault::Hold)
    }

    /// Changes what remains in a block that has begun, and what of it is held.
    fn change(&mut self, part: &Allocation) -> Result<&mut Block, Fault> {
        let counts = self.blocks.get(&part.block_id).is_some_and(|folded| folded.counts);
        if counts { self.change_also_scheduled(part) } else { Err(Fault::Block(part.block_id)) }
    }

    /// The same of a block that may not have begun: people may take from it.
    fn change_also_scheduled(&mut self, part: &Allocation) -> Result<&mut Block, Fault> {
        let fault = Fault::Block(part.block_id);
        let folded = self.blocks.get_mut(&part.block_id).ok_or(fault)?;
        let lot = &mut folded.block.lot;
        lot.remaining = lot.remaining.checked_add(part.amount)?;
        lot.held = lot.held.checked_add(part.held)?;
        if lot.held < Credits::ZERO || lot.held > lot.remaining || lot.remaining > folded.block.original {
            return Err(fault);
        }
        if folded.counts {
            self.counted = self.counted.checked_add(part.amount)?;
        } else if part.amount.is_positive() || !part.held.is_zero() {
            return Err(fault);
        }
        self.reserved = self.reserved.checked_add(part.held)?;
        Ok(&mut folded.block)
    }

    fn borrow(&mut self, body: &EntryBody) -> Result<(), Fault> {
        let (of, amount) = body.owed.clone().filter(|(_, amount)| *amount == -body.amount).ok_or(Fault::Debt)?;
        if !amount.is_positive() {
            return Err(Fault::Debt);
        }
        if matches!(body.cause, Cause::Usage { .. } | Cause::Commit { .. }) {
            self.consumed = (self.consumed + amount).min(Credits::MAX);
        }
        if matches!(body.cause, Cause::Refund(_)) {
            let [part] = body.allocations.as_slice() else { return Err(Fault::Debt) };
            let block = self.change(part)?;
            block.lot.claw_back = block.lot.claw_back.checked_add(amount)?;
        }
        self.owed = self.owed.checked_add(amount)?;
        match self.debts.iter_mut().find(|debt| debt.of == of) {
            Some(debt) => debt.amount = debt.amount.checked_add(amount)?,
            None => self.debts.push(Debt { of, amount, since: self.seq + 1 }),
        }
        Ok(())
    }

    fn pay(&mut self, of: &DebtOf, amount: Credits) -> Result<(), Fault> {
        let found = self.debts.iter_mut().find(|debt| debt.of == *of);
        let debt = found.filter(|debt| debt.amount >= amount && amount.is_positive()).ok_or(Fault::Debt)?;
        debt.amount -= amount;
        self.owed -= amount;
        self.debts.retain(|debt| debt.amount.is_positive());
        Ok(())
    }
}

impl FoldedHold {
    /// Takes `amount` off the front part, which must be of `block`.
    fn give(&mut self, block: BlockId, amount: Credits) -> Result<(), Fault> {
        let front = self.parts.first_mut().filter(|(id, left)| *id == block && *left >= amount).ok_or(Fault::Hold)?;
        front.1 -= amount;
        if front.1.is_zero() {
            self.parts.remove(0);
        }
        Ok(())
    }
}

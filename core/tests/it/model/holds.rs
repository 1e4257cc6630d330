//! Reservations in the naive ledger.

use super::{FEATURES, Model, ModelHold, Over, Owed, Policy, Status};

impl Model {
    pub(crate) fn reserve(
        &mut self,
        now: i64,
        feature: &'static str,
        units: i64,
        ttl: i64,
        asked: Option<Policy>,
    ) -> Result<(), &'static str> {
        self.advance(now);
        let (allowed, reason) = self.check(feature, 0);
        if !allowed && !matches!(reason, "insufficient_credits" | "overdraft_limit") {
            return Err(reason);
        }
        let known = FEATURES.iter().find(|known| known.name == feature).unwrap();
        let cost = self.cost(known, units, self.now, self.counted).unwrap();
        let makes_debt = |policy| matches!(policy, Policy::Overdraft | Policy::Notify);
        let policy = asked.unwrap_or(known.policy);
        if asked.is_some() && makes_debt(policy) && !makes_debt(known.policy) {
            return Err("validation_failed");
        }
        let amount = cost.min(self.spendable(feature));
        let short = cost - amount;
        let uncovered = if makes_debt(policy) { short } else { 0 };
        if short > 0 && policy == Policy::Block {
            return Err("insufficient_credits");
        }
        if uncovered > 0 && known.limit.is_some_and(|limit| self.committed_debt(feature) + uncovered > limit) {
            return Err("overdraft_limit");
        }
        let (mut left, mut parts) = (amount, Vec::new());
        for (place, _, has) in self.payers(feature, self.now) {
            let part = left.min(has);
            if part > 0 {
                self.blocks[place].held += part;
                parts.push((place, part));
                left -= part;
            }
        }
        self.reserved += amount;
        self.holds.push(ModelHold {
            status: Status::Active,
            feature,
            policy,
            created: self.now,
            end: self.now + ttl,
            units,
            place: self.counted,
            parts,
            uncovered,
            committed_units: 0,
            committed_cost: 0,
        });
        self.count(feature, units);
        self.line("hold", 0, self.now);
        Ok(())
    }

    /// The hold of this number, if it is open.
    pub(super) fn open(&self, number: usize) -> Result<(), &'static str> {
        match self.holds[number].status {
            Status::Active => Ok(()),
            Status::Committed => Err("reservation_committed"),
            Status::Released => Err("reservation_released"),
            Status::Expired => Err("reservation_expired"),
        }
    }

    pub(crate) fn extend(&mut self, now: i64, number: usize, ttl: i64) -> Result<(), &'static str> {
        self.advance(now);
        self.open(number)?;
        let hold = &mut self.holds[number];
        hold.end = hold.end.max((self.now + ttl).min(hold.created + 4));
        self.line("extend", 0, self.now);
        Ok(())
    }

    pub(crate) fn release(&mut self, now: i64, number: usize) -> Result<(), &'static str> {
        self.advance(now);
        self.open(number)?;
        let returned = self.close(number, Status::Released);
        self.line("release", 0, self.now);
        self.claw_back(&returned);
        self.sweep();
        self.settle();
        Ok(())
    }

    /// What the commit charged.
    pub(crate) fn commit(
        &mut self,
        now: i64,
        number: usize,
        units: i64,
        is_final: bool,
        over: Over,
    ) -> Result<i64, &'static str> {
        self.advance(now);
        self.open(number)?;
        let hold = self.holds[number].clone();
        let known = FEATURES.iter().find(|known| known.name == hold.feature).unwrap();
        let total = self.cost(known, hold.committed_units + units, hold.created, hold.place).unwrap();
        let cost = (total - hold.committed_cost).max(0);
        let held: i64 = hold.parts.iter().map(|(_, amount)| amount).sum();
        let from_hold = cost.min(held);
        let above = cost - from_hold;
        let (drawn, owed) = match over {
            Over::Reject if cost > held + hold.uncovered => return Err("over_commit"),
            Over::Cap => {
                let drawn = above.min(hold.uncovered).min(self.spendable(hold.feature));
                (drawn, above.min(hold.uncovered) - drawn)
            }
            Over::Reject | Over::Draw => {
                let drawn = above.min(self.spendable(hold.feature));
                match hold.policy {
                    Policy::Block if above > drawn => return Err("insufficient_credits"),
                    Policy::Block | Policy::Cap => (drawn, 0),
                    Policy::Overdraft | Policy::Notify => (drawn, above - drawn),
                }
            }
        };
        let beyond = (owed - hold.uncovered).max(0);
        if beyond > 0 && known.limit.is_some_and(|limit| self.committed_debt(hold.feature) + beyond > limit) {
            return Err("overdraft_limit");
        }
        let payers = self.payers(hold.feature, self.now);
        let drawn_parts = self.take(&payers, drawn, self.now);
        let (mut left, mut parts) = (from_hold, Vec::new());
        for (place, amount) in &mut self.holds[number].parts {
            let part = left.min(*amount);
            *amount -= part;
            left -= part;
            let block = &mut self.blocks[*place];
            block.held -= part;
            block.remaining -= part;
            block.consumed += part;
            parts.push((*place, part));
        }
        parts.extend(drawn_parts);
        self.reserved -= from_hold;
        // Its place was taken with the estimate: only units beyond it are new.
        let counted = hold.committed_units.max(hold.units);
        let hold = &mut self.holds[number];
        hold.parts.retain(|(_, amount)| *amount > 0);
        hold.uncovered -= (drawn + owed).min(hold.uncovered);
        hold.committed_units += units;
        hold.committed_cost += from_hold + drawn + owed;
        let (feature, created, more) = (hold.feature, hold.created, (hold.committed_units - counted).max(0));
        self.count(feature, more);
        self.line("commit", owed - (from_hold + drawn + owed), created);
        self.owe(Owed::Feature(feature), owed, created);
        self.remember(feature, units, parts, owed);
        if is_final {
            let hold = &self.holds[number];
            let rest = !hold.parts.is_empty() || (feature == "tiered" && hold.committed_units < hold.units);
            let returned = self.close(number, Status::Committed);
            if rest {
                self.line("release", 0, self.now);
            }
            self.claw_back(&returned);
        }
        self.sweep();
        self.settle();
        Ok(from_hold + drawn + owed)
    }

    /// What came back to which block.
    pub(super) fn close(&mut self, number: usize, status: Status) -> Vec<(usize, i64)> {
        let hold = &mut self.holds[number];
        hold.status = status;
        let returned = std::mem::take(&mut hold.parts);
        for (place, amount) in &returned {
            self.blocks[*place].held -= amount;
            self.reserved -= amount;
        }
        let (feature, rest) = (hold.feature, (hold.units - hold.committed_units).max(0));
        self.count(feature, -rest);
        returned
    }
}

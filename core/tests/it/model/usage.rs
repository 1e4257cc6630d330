//! Usage in the naive ledger: what it costs, who pays, what a check says, and how it is undone.

use super::{
    FEATURES, LATE_WINDOW_TICKS, Model, ModelBlock, ModelEvent, ModelFeature, ModelUse, Owed, Policy, VARIANTS, pays,
};

impl Model {
    /// What was charged, and whether it was a repeat.
    pub(crate) fn record(&mut self, now: i64, event: &ModelUse) -> Result<(i64, bool), &'static str> {
        if let Some((feature, units, at, charged)) = self.used.get(&event.key) {
            let same = (*feature, *units, *at) == (event.feature, event.units, event.at);
            return if same { Ok((*charged, true)) } else { Err("idempotency_conflict") };
        }
        self.advance(now);
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == event.feature) else {
            return Err("feature_unknown");
        };
        let asked = event.at.or(event.admitted).unwrap_or(self.now);
        let counts_at = asked.clamp(self.now - LATE_WINDOW_TICKS, self.now);
        if asked != counts_at && event.admitted.is_none() {
            return Err("validation_failed");
        }
        let cost = self.cost(feature, event.units, counts_at, self.counted).ok_or("feature_unpriced")?;
        let makes_debt = |policy| matches!(policy, Policy::Overdraft | Policy::Notify);
        let policy = match (event.admitted, event.asked) {
            (Some(_), _) if feature.policy == Policy::Block => Policy::Overdraft,
            (_, Some(asked)) if makes_debt(asked) && !makes_debt(feature.policy) => return Err("validation_failed"),
            (_, asked) => asked.unwrap_or(feature.policy),
        };
        let has = |payers: &[(usize, bool, i64)]| payers.iter().map(|(.., amount)| amount).sum::<i64>();
        let payers = self.payers(event.feature, counts_at);
        let taken = cost.min(has(&payers));
        let short = cost - taken;
        let limit = feature.limit.filter(|_| event.admitted.is_none());
        let owed = match policy {
            Policy::Block if short > 0 => return Err("insufficient_credits"),
            Policy::Block | Policy::Cap => 0,
            Policy::Overdraft | Policy::Notify => short,
        };
        if owed > 0 && limit.is_some_and(|limit| self.committed_debt(event.feature) + owed > limit) {
            return Err("overdraft_limit");
        }
        let parts = self.take(&payers, taken, counts_at);
        self.count(event.feature, event.units);
        self.line("usage", -taken, counts_at);
        self.owe(Owed::Feature(feature.name), owed, counts_at);
        self.remember(feature.name, event.units, parts, owed);
        self.used.insert(event.key, (event.feature, event.units, event.at, taken + owed));
        Ok((taken + owed, false))
    }

    pub(crate) const fn events(&self) -> usize {
        self.events.len()
    }

    /// Undoes the event of this number: true if it was undone before.
    pub(crate) fn void(&mut self, now: i64, number: usize) -> bool {
        self.advance(now);
        if self.events[number].voided {
            return true;
        }
        self.events[number].voided = true;
        let event = self.events[number].clone();
        let open = self.debts.iter_mut().find(|(owed, _)| *owed == Owed::Feature(event.feature));
        let mut lowered = 0;
        if let Some((_, debt)) = open {
            lowered = event.owed.min(*debt);
            *debt -= lowered;
        }
        self.debts.retain(|(_, debt)| *debt > 0);
        let (mut left, mut back) = (event.owed - lowered, event.taken.clone());
        for (owed, place, amount) in self.settled.iter_mut().rev() {
            if *owed == Owed::Feature(event.feature) {
                let part = left.min(*amount);
                *amount -= part;
                left -= part;
                back.push((*place, part));
            }
        }
        assert_eq!(left, 0, "debt that is not open was settled");
        let mut returned = 0;
        for (place, amount) in &back {
            self.blocks[*place].remaining += amount;
            self.blocks[*place].consumed -= amount;
            returned += amount;
        }
        self.count(event.feature, -event.units);
        self.line("void", returned + lowered, self.now);
        self.claw_back(&back);
        self.sweep();
        self.settle();
        false
    }

    pub(super) fn remember(&mut self, feature: &'static str, units: i64, taken: Vec<(usize, i64)>, owed: i64) {
        self.events.push(ModelEvent { feature, units, taken, owed, voided: false });
    }

    /// Who pays for usage that counts at `at`: the place of the block, whether it has expired since, and what it has.
    pub(super) fn payers(&self, feature: &str, at: i64) -> Vec<(usize, bool, i64)> {
        let was_usable = |block: &ModelBlock| block.start <= at && block.end.is_none_or(|end| at < end);
        let order: Vec<usize> = self.burn_order().into_iter().filter(|p| pays(&self.blocks[*p], feature)).collect();
        let then = order.iter().filter(|place| was_usable(&self.blocks[**place])).map(|place| {
            let block = &self.blocks[*place];
            let is_over = block.end.is_some_and(|end| end <= self.now);
            (*place, is_over, payer(block, is_over))
        });
        let others = order.iter().filter(|place| !was_usable(&self.blocks[**place]));
        let now = others.filter(|place| self.is_usable(&self.blocks[**place]));
        then.chain(now.map(|place| (*place, false, self.blocks[*place].free()))).collect()
    }

    /// Takes `amount` from the payers in order: the parts.
    pub(super) fn take(&mut self, payers: &[(usize, bool, i64)], mut amount: i64, at: i64) -> Vec<(usize, i64)> {
        let (mut revived, mut parts) = (0, Vec::new());
        for (place, is_over, has) in payers {
            let part = amount.min(*has);
            let block = &mut self.blocks[*place];
            if *is_over {
                block.expired -= part;
                revived += part;
            } else {
                block.remaining -= part;
            }
            block.consumed += part;
            amount -= part;
            parts.push((*place, part));
        }
        assert_eq!(amount, 0);
        if revived > 0 {
            self.line("expire", revived, at);
        }
        parts
    }

    pub(super) fn count(&mut self, feature: &str, units: i64) {
        if feature == "tiered" {
            self.counted += units;
        }
    }

    /// Whether a check allows it, and the reason.
    pub(crate) fn check(&self, feature: &str, units: i64) -> (bool, &'static str) {
        let Some(known) = FEATURES.iter().find(|known| known.name == feature) else {
            return (false, "feature_unknown");
        };
        let named = |base| {
            let live = self.subscriptions.iter().map(|(variant, _)| &VARIANTS[*variant]);
            let mut gives = live.filter(|live| live.base == base).filter_map(|live| live.gives);
            gives.find(|(name, _)| *name == feature).map(|(_, given)| given)
        };
        let given = match (named(true), named(false)) {
            (None, None) => true,
            (base, addon) => base == Some(true) || addon == Some(true),
        };
        if !given {
            let has_base = self.subscriptions.iter().any(|(variant, _)| VARIANTS[*variant].base);
            return (false, if has_base { "feature_not_in_plan" } else { "no_subscription" });
        }
        let Some(cost) = self.cost(known, units, self.now, self.counted) else { return (false, "feature_unpriced") };
        let short = cost - self.spendable(feature);
        match known.policy {
            _ if short <= 0 => (true, "ok"),
            Policy::Block | Policy::Cap => (false, "insufficient_credits"),
            _ if known.limit.is_some_and(|limit| self.committed_debt(feature) + short > limit) => {
                (false, "overdraft_limit")
            }
            Policy::Overdraft | Policy::Notify => (true, "within_overdraft"),
        }
    }

    /// What `units` cost in one event, rounded up, at the price in force at `at`, after `place` units in its window.
    pub(super) fn cost(&self, feature: &ModelFeature, units: i64, at: i64, place: i64) -> Option<i64> {
        if !feature.tiers.is_empty() {
            let of_unit = |unit: i64| feature.tiers.iter().find(|(last, _)| unit <= *last).unwrap().1;
            return Some((place + 1..=place + units).map(of_unit).sum());
        }
        let (_, cost, per_units) = feature.prices.iter().rev().find(|(from, ..)| *from <= at)?;
        Some((units * cost + per_units - 1) / per_units)
    }
}

/// What a block has for usage that counts when it was usable.
fn payer(block: &ModelBlock, is_over: bool) -> i64 {
    match (block.ended, is_over) {
        (Some(_), _) => 0,
        (None, true) => block.expired,
        (None, false) => block.free(),
    }
}

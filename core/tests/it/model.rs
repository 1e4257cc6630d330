//! A naive ledger, written from docs/ledger.md and sharing no code with the one under test.
//!
//! It keeps every block it ever saw in order of granting and recomputes all from that list at every step. Time is
//! counted in ticks of six hours, so that a billing period of a day has four of them.

use std::collections::BTreeMap;

pub(crate) const LATE_WINDOW_TICKS: i64 = 35 * 4;

/// A feature as the model knows it: `(from tick, cost, per units)` for each price.
pub(crate) struct ModelFeature {
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    pub(crate) limit: Option<i64>,
    pub(crate) prices: &'static [(i64, i64, i64)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Block,
    Cap,
    Overdraft,
    Notify,
}

pub(crate) const FEATURES: [ModelFeature; 5] = [
    ModelFeature { name: "blocked", policy: Policy::Block, limit: None, prices: &[(i64::MIN, 1, 1)] },
    ModelFeature { name: "endless", policy: Policy::Overdraft, limit: None, prices: &[(i64::MIN, 3, 2), (30, 2, 1)] },
    ModelFeature { name: "limited", policy: Policy::Notify, limit: Some(40), prices: &[(i64::MIN, 1, 1)] },
    ModelFeature { name: "capped", policy: Policy::Cap, limit: None, prices: &[(i64::MIN, 5, 3)] },
    ModelFeature { name: "unpriced", policy: Policy::Overdraft, limit: None, prices: &[] },
];

/// A plan's variant: ticks of its period, and `(amount, once, priority, scope)` of each grant.
pub(crate) struct ModelVariant {
    pub(crate) base: bool,
    pub(crate) ticks: i64,
    pub(crate) grants: &'static [(i64, bool, u8, &'static [&'static str])],
    /// The feature it names and whether it gives it.
    pub(crate) gives: Option<(&'static str, bool)>,
}

pub(crate) const VARIANTS: [ModelVariant; 3] = [
    ModelVariant {
        base: true,
        ticks: 4,
        grants: &[(20, false, 10, &[]), (7, true, 200, &["endless"])],
        gives: Some(("capped", false)),
    },
    ModelVariant { base: true, ticks: 28, grants: &[], gives: None },
    ModelVariant { base: false, ticks: 28, grants: &[(5, false, 100, &[])], gives: Some(("capped", true)) },
];

#[derive(Debug, Clone)]
pub(crate) struct ModelBlock {
    pub(crate) priority: u8,
    pub(crate) start: i64,
    pub(crate) end: Option<i64>,
    pub(crate) paid: bool,
    pub(crate) settles: bool,
    pub(crate) scope: Vec<&'static str>,
    pub(crate) original: i64,
    pub(crate) remaining: i64,
    pub(crate) consumed: i64,
    pub(crate) expired: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct ModelUse {
    pub(crate) key: u8,
    pub(crate) feature: &'static str,
    pub(crate) units: i64,
    pub(crate) asked: Option<Policy>,
    pub(crate) at: Option<i64>,
    pub(crate) admitted: Option<i64>,
}

/// A line of the statement: kind, amount, tick, balance after.
pub(crate) type Line = (&'static str, i64, i64, i64);

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) blocks: Vec<ModelBlock>,
    /// Feature and amount, the debt that rose first in front.
    pub(crate) debts: Vec<(&'static str, i64)>,
    /// Variant and end.
    pub(crate) subscriptions: Vec<(usize, i64)>,
    /// Variant and place of each grant that is given once and was.
    given_once: Vec<(usize, usize)>,
    pub(crate) lines: Vec<Line>,
    /// Per key: feature, units, time given, charged.
    used: BTreeMap<u8, (&'static str, i64, Option<i64>, i64)>,
}

impl Model {
    pub(crate) fn starting(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    pub(crate) fn advance(&mut self, now: i64) {
        let mut instants: Vec<i64> = self.blocks.iter().flat_map(|b| [Some(b.start), b.end]).flatten().collect();
        instants.extend(self.subscriptions.iter().map(|(_, end)| *end));
        instants.retain(|at| *at > self.now && *at <= now);
        instants.sort_unstable();
        instants.dedup();
        for at in instants {
            self.now = at;
            self.subscriptions.retain(|(_, end)| *end > at);
            let mut expired = 0;
            for block in self.blocks.iter_mut().filter(|b| b.end == Some(at)) {
                expired += block.remaining;
                block.expired += block.remaining;
                block.remaining = 0;
            }
            if expired > 0 {
                self.line("expire", -expired, self.now);
            }
            let started: i64 = self.blocks.iter().filter(|b| b.start == at).map(|b| b.remaining).sum();
            if started > 0 {
                self.line("start", started, self.now);
            }
            self.settle();
        }
        self.now = self.now.max(now);
    }

    pub(crate) fn grant(&mut self, now: i64, block: ModelBlock) -> Result<(), &'static str> {
        self.advance(now);
        if block.end.is_some_and(|end| end <= self.now || end <= block.start) {
            return Err("validation_failed");
        }
        self.add(vec![block]);
        Ok(())
    }

    pub(crate) fn subscribe(&mut self, now: i64, variant: usize, quantity: i64) -> Result<(), &'static str> {
        self.advance(now);
        let base_is_live = self.subscriptions.iter().any(|(live, _)| VARIANTS[*live].base);
        if VARIANTS[variant].base == base_is_live {
            return Err("invalid_transition");
        }
        let end = self.now + VARIANTS[variant].ticks;
        let block = |&(amount, once, priority, scope): &(i64, bool, u8, &[&'static str])| ModelBlock {
            priority,
            start: self.now,
            end: (!once).then_some(end),
            paid: false,
            settles: true,
            scope: scope.to_vec(),
            original: amount * quantity,
            remaining: amount * quantity,
            consumed: 0,
            expired: 0,
        };
        let mut blocks: Vec<ModelBlock> = Vec::new();
        for (index, grant) in VARIANTS[variant].grants.iter().enumerate() {
            let was_given = grant.1 && self.given_once.contains(&(variant, index));
            if !was_given {
                blocks.push(block(grant));
            }
            if grant.1 {
                self.given_once.push((variant, index));
            }
        }
        if !blocks.is_empty() {
            self.add(blocks);
        }
        self.subscriptions.push((variant, end));
        Ok(())
    }

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
        let cost = cost(feature, event.units, counts_at).ok_or("feature_unpriced")?;
        let makes_debt = |policy| matches!(policy, Policy::Overdraft | Policy::Notify);
        let policy = match (event.admitted, event.asked) {
            (Some(_), _) if feature.policy == Policy::Block => Policy::Overdraft,
            (_, Some(asked)) if makes_debt(asked) && !makes_debt(feature.policy) => return Err("validation_failed"),
            (_, asked) => asked.unwrap_or(feature.policy),
        };
        let taken = cost.min(self.spendable(event.feature));
        let short = cost - taken;
        let limit = feature.limit.filter(|_| event.admitted.is_none());
        let owed = match policy {
            Policy::Block if short > 0 => return Err("insufficient_credits"),
            Policy::Block | Policy::Cap => 0,
            Policy::Overdraft | Policy::Notify => short,
        };
        if owed > 0 && limit.is_some_and(|limit| self.debt(event.feature) + owed > limit) {
            return Err("overdraft_limit");
        }
        self.take(event.feature, taken);
        self.line("usage", -taken, counts_at);
        if owed > 0 {
            match self.debts.iter_mut().find(|(name, _)| *name == event.feature) {
                Some((_, amount)) => *amount += owed,
                None => self.debts.push((event.feature, owed)),
            }
            self.line("debt", -owed, counts_at);
        }
        self.used.insert(event.key, (event.feature, event.units, event.at, taken + owed));
        Ok((taken + owed, false))
    }

    pub(crate) fn balance(&self) -> i64 {
        let begun = self.blocks.iter().filter(|block| block.start <= self.now);
        begun.map(|block| block.remaining).sum::<i64>() - self.debts.iter().map(|(_, amount)| amount).sum::<i64>()
    }

    pub(crate) fn feature_balance(&self, feature: &str) -> i64 {
        let begun = self.blocks.iter().filter(|block| block.start <= self.now && pays(block, feature));
        begun.map(|block| block.remaining).sum::<i64>() - self.debt(feature)
    }

    pub(crate) fn spendable(&self, feature: &str) -> i64 {
        let usable = self.blocks.iter().filter(|block| self.is_usable(block) && pays(block, feature));
        usable.map(|block| block.remaining).sum()
    }

    pub(crate) fn debt(&self, feature: &str) -> i64 {
        self.debts.iter().find(|(name, _)| *name == feature).map_or(0, |(_, amount)| *amount)
    }

    /// Places in `blocks`, in burn order.
    pub(crate) fn burn_order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.blocks.len()).collect();
        places.sort_by_key(|place| {
            let b = &self.blocks[*place];
            (b.priority, b.end.unwrap_or(i64::MAX), b.paid, b.start, b.scope.is_empty(), b.scope.clone(), *place)
        });
        places
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
        let Some(cost) = cost(known, units, self.now) else { return (false, "feature_unpriced") };
        let short = cost - self.spendable(feature);
        match known.policy {
            _ if short <= 0 => (true, "ok"),
            Policy::Block | Policy::Cap => (false, "insufficient_credits"),
            _ if known.limit.is_some_and(|limit| self.debt(feature) + short > limit) => (false, "overdraft_limit"),
            Policy::Overdraft | Policy::Notify => (true, "within_overdraft"),
        }
    }

    fn add(&mut self, blocks: Vec<ModelBlock>) {
        let counts: i64 = blocks.iter().filter(|block| block.start <= self.now).map(|block| block.original).sum();
        self.blocks.extend(blocks);
        self.line("grant", counts, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        let mut paid = 0;
        for place in self.burn_order() {
            let usable = self.is_usable(&self.blocks[place]) && self.blocks[place].settles;
            let block = &mut self.blocks[place];
            for (feature, debt) in &mut self.debts {
                if usable && pays(block, feature) {
                    let part = block.remaining.min(*debt);
                    block.remaining -= part;
                    block.consumed += part;
                    *debt -= part;
                    paid += part;
                }
            }
        }
        self.debts.retain(|(_, debt)| *debt > 0);
        if paid > 0 {
            self.line("debt_settled", 0, self.now);
        }
    }

    fn take(&mut self, feature: &str, mut amount: i64) {
        for place in self.burn_order() {
            if self.is_usable(&self.blocks[place]) && pays(&self.blocks[place], feature) {
                let block = &mut self.blocks[place];
                let part = block.remaining.min(amount);
                block.remaining -= part;
                block.consumed += part;
                amount -= part;
            }
        }
        assert_eq!(amount, 0);
    }

    fn is_usable(&self, block: &ModelBlock) -> bool {
        block.start <= self.now && block.end.is_none_or(|end| self.now < end)
    }

    fn line(&mut self, kind: &'static str, amount: i64, at: i64) {
        let last = self.lines.last().map_or(0, |(.., balance)| *balance);
        self.lines.push((kind, amount, at, last + amount));
    }
}

fn pays(block: &ModelBlock, feature: &str) -> bool {
    block.scope.is_empty() || block.scope.contains(&feature)
}

/// What `units` cost in one event, rounded up, at the price in force at `at`.
pub(crate) fn cost(feature: &ModelFeature, units: i64, at: i64) -> Option<i64> {
    let (_, cost, per_units) = feature.prices.iter().rev().find(|(from, ..)| *from <= at)?;
    Some((units * cost + per_units - 1) / per_units)
}

//! A naive ledger, written from docs/ledger.md and sharing no code with the one under test.
//!
//! It keeps every block it ever saw in order of granting and recomputes all from that list at every step. Time is
//! counted in ticks of six hours, so that a billing period of a day has four of them.

mod corrections;
mod holds;
mod usage;

use std::collections::BTreeMap;

pub(crate) const LATE_WINDOW_TICKS: i64 = 35 * 4;

/// A feature as the model knows it: `(from tick, cost, per units)` for each price.
pub(crate) struct ModelFeature {
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    pub(crate) limit: Option<i64>,
    pub(crate) prices: &'static [(i64, i64, i64)],
    /// Graduated, over a lifetime: `(last unit, cost)`, the last one open.
    pub(crate) tiers: &'static [(i64, i64)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Block,
    Cap,
    Overdraft,
    Notify,
}

pub(crate) const FEATURES: [ModelFeature; 6] = [
    ModelFeature { name: "blocked", policy: Policy::Block, limit: None, prices: &[(i64::MIN, 1, 1)], tiers: &[] },
    ModelFeature {
        name: "endless",
        policy: Policy::Overdraft,
        limit: None,
        prices: &[(i64::MIN, 3, 2), (30, 2, 1)],
        tiers: &[],
    },
    ModelFeature { name: "limited", policy: Policy::Notify, limit: Some(40), prices: &[(i64::MIN, 1, 1)], tiers: &[] },
    ModelFeature { name: "capped", policy: Policy::Cap, limit: None, prices: &[(i64::MIN, 5, 3)], tiers: &[] },
    ModelFeature {
        name: "tiered",
        policy: Policy::Overdraft,
        limit: Some(60),
        prices: &[],
        tiers: &[(10, 3), (25, 1), (i64::MAX, 2)],
    },
    ModelFeature { name: "unpriced", policy: Policy::Overdraft, limit: None, prices: &[], tiers: &[] },
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
    pub(crate) held: i64,
    pub(crate) withdrawn: i64,
    /// What refunds made owed for it and nothing of it has paid.
    pub(crate) claw_back: i64,
    pub(crate) ended: Option<Ended>,
    /// The group that shares a cap, and the cap of this block's own grant.
    pub(crate) cap: Option<(u8, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Voided,
    Refunded,
}

/// What a debt is for: a feature, or a correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Feature(&'static str),
    Correction,
}

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Committed,
    Released,
    Expired,
}

#[derive(Debug, Clone)]
pub(crate) struct ModelHold {
    pub(crate) status: Status,
    pub(crate) feature: &'static str,
    pub(crate) policy: Policy,
    pub(crate) created: i64,
    pub(crate) end: i64,
    pub(crate) units: i64,
    /// Units of its tier counter before it.
    place: i64,
    pub(crate) parts: Vec<(usize, i64)>,
    pub(crate) uncovered: i64,
    committed_units: i64,
    committed_cost: i64,
}

/// What a commit does above its hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Draw,
    Cap,
    Reject,
}

/// Recorded usage: what a void must know.
#[derive(Debug, Clone)]
struct ModelEvent {
    feature: &'static str,
    units: i64,
    taken: Vec<(usize, i64)>,
    owed: i64,
    voided: bool,
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

/// A line of the statement: kind, amount, tick, balance after, reserved after.
pub(crate) type Line = (&'static str, i64, i64, i64, i64);

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) blocks: Vec<ModelBlock>,
    /// What for and how much, the debt that rose first in front.
    pub(crate) debts: Vec<(Owed, i64)>,
    pub(crate) holds: Vec<ModelHold>,
    /// The places of the blocks that were bought, what was refunded of each, and how much of that is owed.
    pub(crate) topups: Vec<(usize, i64, i64)>,
    /// Units of the feature with tiers so far.
    pub(crate) counted: i64,
    events: Vec<ModelEvent>,
    /// Debts paid: what for, by which block, how much of it has not been given back.
    settled: Vec<(Owed, usize, i64)>,
    reserved: i64,
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
        instants.extend(self.holds.iter().filter(|hold| hold.status == Status::Active).map(|hold| hold.end));
        instants.retain(|at| *at > self.now && *at <= now);
        instants.sort_unstable();
        instants.dedup();
        for at in instants {
            self.now = at;
            let mut returned = Vec::new();
            for place in 0..self.holds.len() {
                if self.holds[place].status == Status::Active && self.holds[place].end <= at {
                    returned.extend(self.close(place, Status::Expired));
                    self.line("hold_expired", 0, at);
                }
            }
            self.claw_back(&returned);
            self.subscriptions.retain(|(_, end)| *end > at);
            if !self.subscriptions.iter().any(|(live, _)| VARIANTS[*live].base) {
                // Add-ons end with their base; what they gave lives on.
                self.subscriptions.clear();
            }
            self.sweep();
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
        self.add("grant", vec![block]);
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
            ..ModelBlock::empty()
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
            self.add("grant", blocks);
        }
        self.subscriptions.push((variant, end));
        Ok(())
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
        usable.map(ModelBlock::free).sum()
    }

    pub(crate) fn debt(&self, feature: &str) -> i64 {
        let of_feature = |owed: &Owed| matches!(owed, Owed::Feature(name) if *name == feature);
        self.debts.iter().find(|(owed, _)| of_feature(owed)).map_or(0, |(_, amount)| *amount)
    }

    /// Debt of a feature, and what its open holds could not cover.
    pub(crate) fn committed_debt(&self, feature: &str) -> i64 {
        let open = self.holds.iter().filter(|hold| hold.status == Status::Active && hold.feature == feature);
        self.debt(feature) + open.map(|hold| hold.uncovered).sum::<i64>()
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

    fn add(&mut self, kind: &'static str, blocks: Vec<ModelBlock>) {
        let mut counts = 0;
        for mut block in blocks {
            if let Some((group, cap)) = block.cap {
                let same = |other: &&ModelBlock| other.cap.is_some_and(|(name, _)| name == group);
                let usable = self.blocks.iter().filter(same).filter(|other| self.is_usable(other));
                let room = (cap - usable.map(|other| other.remaining).sum::<i64>()).max(0);
                block.original = block.original.min(room);
                block.remaining = block.original;
            }
            if block.original > 0 {
                counts += if block.start <= self.now { block.original } else { 0 };
                self.blocks.push(block);
            }
        }
        self.line(kind, counts, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        let mut paid = 0;
        for place in self.burn_order() {
            let usable = self.is_usable(&self.blocks[place]) && self.blocks[place].settles;
            let block = &mut self.blocks[place];
            for (owed, debt) in &mut self.debts {
                let may = match owed {
                    Owed::Feature(feature) => pays(block, feature),
                    Owed::Correction => block.scope.is_empty(),
                };
                let part = block.free().min(*debt);
                if usable && may && part > 0 {
                    block.remaining -= part;
                    block.consumed += part;
                    if *owed == Owed::Correction {
                        block.claw_back = (block.claw_back - part).max(0);
                    }
                    *debt -= part;
                    paid += part;
                    self.settled.push((*owed, place, part));
                }
            }
        }
        self.debts.retain(|(_, debt)| *debt > 0);
        if paid > 0 {
            self.line("debt_settled", 0, self.now);
        }
    }

    /// What came back to blocks first pays what refunds of them made owed.
    fn claw_back(&mut self, returned: &[(usize, i64)]) {
        let mut clawed = 0;
        for place in self.burn_order() {
            let back: i64 = returned.iter().filter(|(to, _)| *to == place).map(|(_, amount)| amount).sum();
            let block = &mut self.blocks[place];
            if let Some((_, debt)) = self.debts.iter_mut().find(|(owed, _)| *owed == Owed::Correction) {
                let part = back.min(block.claw_back).min(*debt);
                block.remaining -= part;
                block.consumed += part;
                block.claw_back -= part;
                *debt -= part;
                clawed += part;
            }
        }
        self.debts.retain(|(_, debt)| *debt > 0);
        if clawed > 0 {
            self.line("debt_settled", 0, self.now);
        }
    }

    /// What is free in blocks that are over leaves them.
    fn sweep(&mut self) {
        let mut gone = [0; 3];
        for place in self.burn_order() {
            let block = &mut self.blocks[place];
            let is_over = block.ended.is_some() || block.end.is_some_and(|end| end <= self.now);
            if !is_over {
                continue;
            }
            let free = block.free();
            block.remaining -= free;
            match block.ended {
                None => block.expired += free,
                Some(_) => block.withdrawn += free,
            }
            let kind = match block.ended {
                None => 0,
                Some(Ended::Voided) => 1,
                Some(Ended::Refunded) => 2,
            };
            gone[kind] += free;
        }
        for (kind, amount) in ["expire", "withdraw", "refund"].into_iter().zip(gone) {
            if amount > 0 {
                self.line(kind, -amount, self.now);
            }
        }
    }

    fn owe(&mut self, owed: Owed, amount: i64, at: i64) {
        if amount > 0 {
            match self.debts.iter_mut().find(|(other, _)| *other == owed) {
                Some((_, debt)) => *debt += amount,
                None => self.debts.push((owed, amount)),
            }
            self.line("debt", -amount, at);
        }
    }

    fn is_usable(&self, block: &ModelBlock) -> bool {
        block.ended.is_none() && block.start <= self.now && block.end.is_none_or(|end| self.now < end)
    }

    fn line(&mut self, kind: &'static str, amount: i64, at: i64) {
        let last = self.lines.last().map_or(0, |(.., balance, _)| *balance);
        self.lines.push((kind, amount, at, last + amount, self.reserved));
    }
}

fn pays(block: &ModelBlock, feature: &str) -> bool {
    block.scope.is_empty() || block.scope.contains(&feature)
}

impl ModelBlock {
    /// A free block of nothing, for any feature, for ever.
    pub(crate) const fn empty() -> Self {
        Self {
            priority: 100,
            start: 0,
            end: None,
            paid: false,
            settles: true,
            scope: Vec::new(),
            original: 0,
            remaining: 0,
            consumed: 0,
            expired: 0,
            held: 0,
            withdrawn: 0,
            claw_back: 0,
            ended: None,
            cap: None,
        }
    }

    fn free(&self) -> i64 {
        self.remaining - self.held
    }
}

//! Short ways to say what happens to an account and what is then written, for the tables.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Answer, BlockKind, Code, Command, Commit, DAY, Feature, Figures, Grant, HoldId, Micros, Model, OverCommit, Policy,
    Price, Properties, SECOND, Use, invariants,
};

/// The first of January 2026.
pub(super) const START: Micros = 1_767_225_600 * SECOND;

pub(super) const HOUR: Micros = 3600 * SECOND;

/// An account, and how many of its entries were already looked at.
pub(super) struct Story {
    pub(super) model: Model,
    read: usize,
}

impl Story {
    pub(super) fn new<const N: usize>(features: [(&str, Feature); N]) -> Self {
        let features = features.into_iter().map(|(key, feature)| (key.to_owned(), feature)).collect();
        Self { model: Model::new(features, START), read: 0 }
    }

    /// At a time after the start.
    pub(super) fn at(&mut self, offset: Micros, command: impl Into<Command>) -> Result<Answer, Code> {
        let result = self.model.apply(START + offset, &command.into());
        invariants(&self.model).unwrap();
        result
    }

    pub(super) fn wait_until(&mut self, offset: Micros) {
        self.model.advance(START + offset);
        invariants(&self.model).unwrap();
    }

    pub(super) fn figures(&self) -> Figures {
        self.model.figures()
    }

    /// Balance, reserved, debt.
    pub(super) fn totals(&self) -> (i64, i64, i64) {
        let figures = self.figures();
        (figures.balance, figures.reserved, figures.debt)
    }

    /// What remains in each block, in order of granting.
    pub(super) fn remaining(&self) -> Vec<i64> {
        self.model.blocks.iter().map(|block| block.remaining).collect()
    }

    /// Entries since the last reading: `kind amount = balance reserved debt`.
    #[track_caller]
    pub(super) fn reads(&mut self, expected: &[&str]) {
        let lines: Vec<String> = self.model.entries[self.read..]
            .iter()
            .map(|entry| {
                let after = (entry.balance_after, entry.reserved_after, entry.debt_after);
                format!("{:?} {:+} = {} {} {}", entry.kind, entry.amount, after.0, after.1, after.2)
            })
            .collect();
        assert_eq!(lines, expected);
        self.read = self.model.entries.len();
    }
}

pub(super) fn feature(policy: Policy, overdraft_limit: Option<i64>) -> Feature {
    let price = Some(Price::PerUnit { cost: 1, per_units: 1 });
    Feature { policy, overdraft_limit, price, rules: Vec::new() }
}

pub(super) fn priced(policy: Policy, price: Price) -> Feature {
    Feature { price: Some(price), ..feature(policy, None) }
}

pub(super) fn grant(amount: i64) -> Grant {
    Grant {
        amount,
        kind: BlockKind::Promo,
        priority: 100,
        effective_at: None,
        expires_at: None,
        paid: false,
        scope: BTreeSet::new(),
        settles_debt: true,
        accumulation_cap: None,
        cap_group: None,
    }
}

/// A grant that ends at a time after the start.
pub(super) fn grant_until(amount: i64, end: Micros) -> Grant {
    Grant { expires_at: Some(START + end), ..grant(amount) }
}

pub(super) fn grant_for(amount: i64, feature: &str) -> Grant {
    Grant { scope: BTreeSet::from([feature.to_owned()]), ..grant(amount) }
}

pub(super) fn topup(payment_reference: &str, amount: i64) -> Command {
    Command::Topup {
        payment_reference: payment_reference.to_owned(),
        grant: Grant { kind: BlockKind::Topup, paid: true, ..grant(amount) },
    }
}

pub(super) fn refund(payment_reference: &str, amount: Option<i64>, claw_back_spent: bool) -> Command {
    Command::Refund { payment_reference: payment_reference.to_owned(), amount, claw_back_spent }
}

/// Of feature `f`, unless it is changed.
pub(super) fn usage(key: &str, units: i64) -> Use {
    Use {
        key: key.to_owned(),
        feature: "f".to_owned(),
        units,
        properties: Properties::new(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
    }
}

pub(super) fn usage_of(feature: &str, key: &str, units: i64) -> Use {
    Use { feature: feature.to_owned(), ..usage(key, units) }
}

/// Late usage, of a time after the start.
pub(super) fn usage_at(key: &str, units: i64, at: Micros) -> Use {
    Use { effective_at: Some(START + at), ..usage(key, units) }
}

/// Of feature `f`, for five minutes.
pub(super) fn reserve(units: i64) -> Command {
    let (feature, properties) = ("f".to_owned(), BTreeMap::new());
    Command::Reserve { feature, units, properties, ttl: 300 * SECOND }
}

pub(super) fn commit(hold: HoldId, units: i64) -> Commit {
    let over_commit = OverCommit::Draw;
    Commit { key: None, hold, units, is_final: true, over_commit, late_debit: false }
}

pub(super) fn days(count: i64) -> Micros {
    count * DAY
}

impl From<Grant> for Command {
    fn from(grant: Grant) -> Self {
        Self::Grant(grant)
    }
}

impl From<Use> for Command {
    fn from(asked: Use) -> Self {
        Self::Use(asked)
    }
}

impl From<Commit> for Command {
    fn from(commit: Commit) -> Self {
        Self::Commit(commit)
    }
}

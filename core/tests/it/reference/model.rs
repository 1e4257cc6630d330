//! The account as the model keeps it: every block, hold, event and debt there ever was, and how a command meets it.
//!
//! Nothing here is a running total but what a block knows of its own credit. `apply` does first what time alone does,
//! then the command; of a refused one nothing stays.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Answer, BlockId, BlockKind, Code, Command, EventId, HoldId, Micros};
use super::entry::{Entry, Sheet};
use super::price::{Feature, Properties};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) features: BTreeMap<String, Feature>,
    pub(crate) now: Micros,
    pub(crate) blocks: Vec<Block>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) events: Vec<Event>,
    pub(crate) debts: Vec<Debt>,
    /// Every part of every `debt_settled` entry that paid a feature's debt, newest last.
    pub(crate) settled: Vec<Settled>,
    pub(crate) entries: Vec<Entry>,
    /// What each grant and each positive adjustment gave.
    pub(crate) granted: Vec<i64>,
    /// The account as the last entry left it.
    pub(super) sealed: Sheet,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) kind: BlockKind,
    pub(crate) priority: u8,
    pub(crate) effective_at: Micros,
    pub(crate) expires_at: Option<Micros>,
    pub(crate) paid: bool,
    pub(crate) scope: BTreeSet<String>,
    pub(crate) settles_debt: bool,
    pub(crate) cap_group: Option<String>,
    pub(crate) payment_reference: Option<String>,

    pub(crate) original: i64,
    pub(crate) remaining: i64,
    pub(crate) held: i64,
    /// Paid for usage or a debt.
    pub(crate) consumed: i64,
    pub(crate) expired: i64,
    /// Taken by a void of the block, a refund or an adjustment.
    pub(crate) withdrawn: i64,

    /// It was effective at some instant; until then it does not count.
    pub(crate) started: bool,
    /// What ended it first, and when.
    pub(crate) ended: Option<(Fate, Micros)>,
    /// What refunds asked back, in all.
    pub(crate) refunded: i64,
    /// Debt that refunds made for it, in all.
    pub(crate) clawed_back: i64,
    /// How much of that was lowered by credit that came back into it.
    pub(crate) claw_back_undone: i64,
}

/// What happens to credit of a block that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Expire,
    Refund,
    Withdraw,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) feature: String,
    pub(crate) properties: Properties,
    pub(crate) rule: Option<usize>,
    pub(crate) reserved_at: Micros,
    pub(crate) expires_at: Micros,
    pub(crate) estimate: i64,
    /// Units of the same window before it.
    pub(crate) place: i64,
    /// What is still held, in the order in which it was taken.
    pub(crate) held: Vec<(BlockId, i64)>,
    pub(crate) uncovered: i64,
    pub(crate) state: HoldState,
    pub(crate) committed_units: i64,
    pub(crate) committed_cost: i64,
    /// Commits with a key: what was asked and answered.
    pub(crate) commits: Vec<(Command, Answer)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldState {
    Active,
    Committed,
    Released,
    Expired,
}

/// Usage that was recorded, or a commit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    /// What was asked, if it came as usage with a key.
    pub(crate) asked: Option<super::Use>,
    pub(crate) feature: String,
    pub(crate) rule: Option<usize>,
    pub(crate) units: i64,
    pub(crate) effective_at: Micros,
    pub(crate) taken: Vec<(BlockId, i64)>,
    pub(crate) debt: i64,
    /// It is a commit of this hold. (Usage that came after a hold's end is not.)
    pub(crate) commit_of: Option<HoldId>,
    pub(crate) answer: Answer,
    /// What its void answered.
    pub(crate) voided: Option<Answer>,
}

/// What is owed for a feature; without one, from an adjustment or a claw-back. It stays in the list when it is paid.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Debt {
    pub(crate) feature: Option<String>,
    pub(crate) amount: i64,
    /// The `seq` of the entry by which it last rose from 0.
    pub(crate) since: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settled {
    pub(crate) block: BlockId,
    pub(crate) feature: String,
    pub(crate) amount: i64,
    /// How much of it voids have given back.
    pub(crate) undone: i64,
}

impl Model {
    pub(crate) fn new(features: BTreeMap<String, Feature>, now: Micros) -> Self {
        Self {
            features,
            now,
            blocks: Vec::new(),
            holds: Vec::new(),
            events: Vec::new(),
            debts: Vec::new(),
            settled: Vec::new(),
            entries: Vec::new(),
            granted: Vec::new(),
            sealed: Sheet::default(),
        }
    }

    /// Does what is due until `now`, then the command. Time never goes back: an earlier `now` is the present.
    pub(crate) fn apply(&mut self, now: Micros, command: &Command) -> Result<Answer, Code> {
        self.advance(now);
        let before = self.clone();
        let result = self.run(command);
        if result.is_err() {
            *self = before;
        }
        result
    }

    fn run(&mut self, command: &Command) -> Result<Answer, Code> {
        match command {
            Command::Grant(grant) => self.grant(grant, None),
            Command::Topup { payment_reference, grant } => self.topup(payment_reference, grant),
            Command::Use(asked) => self.record_usage(asked),
            Command::Void { event } => self.void(*event),
            Command::Adjust { amount, block, feature, allow_negative } => {
                self.adjust(*amount, *block, feature.as_deref(), *allow_negative)
            }
            Command::VoidBlock { block } => self.void_block(*block),
            Command::Refund { payment_reference, amount, claw_back_spent } => {
                self.refund(payment_reference, *amount, *claw_back_spent)
            }
            Command::Reserve { feature, units, properties, ttl } => self.reserve(feature, *units, properties, *ttl),
            Command::Commit(commit) => self.commit(commit),
            Command::Release { hold } => self.release(*hold),
            Command::Extend { hold, ttl } => self.extend(*hold, *ttl),
        }
    }

    pub(super) fn feature(&self, key: &str) -> Result<&Feature, Code> {
        self.features.get(key).ok_or("feature_unknown")
    }

    pub(super) fn debt_of(&self, feature: Option<&str>) -> i64 {
        self.debts.iter().filter(|debt| debt.feature.as_deref() == feature).map(|debt| debt.amount).sum()
    }

    /// Only right before the entry that tells of it is sealed: that entry is what the debt rises by.
    pub(super) fn raise_debt(&mut self, feature: Option<&str>, amount: i64) -> Result<(), Code> {
        let since = self.entries.len() + 1;
        let total: i64 = self.debts.iter().map(|debt| debt.amount).sum();
        if total + amount > super::MAX_AMOUNT {
            return Err("amount_out_of_range");
        }
        match self.debts.iter_mut().find(|debt| debt.feature.as_deref() == feature) {
            Some(debt) => {
                if debt.amount == 0 {
                    debt.since = since;
                }
                debt.amount += amount;
            }
            None => self.debts.push(Debt { feature: feature.map(str::to_owned), amount, since }),
        }
        Ok(())
    }

    /// Lowers it by at most `amount`; how much that was.
    pub(super) fn lower_debt(&mut self, feature: Option<&str>, amount: i64) -> i64 {
        let mut lowered = 0;
        for debt in self.debts.iter_mut().filter(|debt| debt.feature.as_deref() == feature) {
            lowered = debt.amount.min(amount);
            debt.amount -= lowered;
        }
        lowered
    }
}

impl Block {
    pub(crate) fn free(&self) -> i64 {
        self.remaining - self.held
    }

    /// What counts towards the balance: after the end only what is held is left in it.
    pub(crate) fn counted(&self) -> i64 {
        if self.started { self.remaining } else { 0 }
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.started && self.ended.is_none()
    }

    pub(crate) fn may_pay(&self, feature: Option<&str>) -> bool {
        self.scope.is_empty() || feature.is_some_and(|key| self.scope.contains(key))
    }
}

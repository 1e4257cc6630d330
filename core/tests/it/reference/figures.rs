//! What a reader sees of the account, computed from all of it each time.

use std::collections::BTreeMap;

use super::command::{BlockId, Micros};
use super::model::{Block, Model};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub(crate) balance: i64,
    pub(crate) reserved: i64,
    /// Balance less reserved; may be below 0.
    pub(crate) available: i64,
    pub(crate) debt: i64,
    /// Debts above 0; that of adjustments and claw-backs under `None`.
    pub(crate) debts: BTreeMap<Option<String>, i64>,
    pub(crate) features: BTreeMap<String, FeatureFigures>,
    pub(crate) lifetime_granted: i64,
    pub(crate) lifetime_consumed: i64,
    /// Every block there ever was.
    pub(crate) blocks: BTreeMap<BlockId, BlockFigures>,
    /// Every counter that is not 0.
    pub(crate) counters: Vec<CounterFigures>,
}

/// The same over the blocks that may pay for a feature, and its own debt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeatureFigures {
    pub(crate) balance: i64,
    pub(crate) reserved: i64,
    pub(crate) available: i64,
    pub(crate) debt: i64,
    /// What a charge of now can take.
    pub(crate) spendable: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockFigures {
    pub(crate) original: i64,
    pub(crate) remaining: i64,
    pub(crate) held: i64,
    /// Paid for usage or a debt.
    pub(crate) consumed: i64,
    pub(crate) expired: i64,
    pub(crate) withdrawn: i64,
}

/// Units that count towards a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CounterFigures {
    pub(crate) feature: String,
    pub(crate) rule: Option<usize>,
    /// When the month began; `None` of a whole life.
    pub(crate) window_start: Option<Micros>,
    pub(crate) units: i64,
}

impl Model {
    /// As of the model's present.
    pub(crate) fn figures(&self) -> Figures {
        let (balance, reserved) = (self.balance_of(|_| true), self.reserved_of(|_| true));
        let debt: i64 = self.debts.iter().map(|debt| debt.amount).sum();
        let open = self.debts.iter().filter(|debt| debt.amount != 0);
        Figures {
            balance: balance - debt,
            reserved,
            available: balance - debt - reserved,
            debt,
            debts: open.map(|debt| (debt.feature.clone(), debt.amount)).collect(),
            features: self.features.keys().map(|key| (key.clone(), self.figures_of(key))).collect(),
            lifetime_granted: self.granted.iter().sum(),
            lifetime_consumed: self.events.iter().map(|event| event.answer.cost()).sum(),
            blocks: self.blocks.iter().map(|block| (block.id, BlockFigures::of(block))).collect(),
            counters: self.counters(),
        }
    }

    fn figures_of(&self, feature: &str) -> FeatureFigures {
        let may_pay = |block: &Block| block.may_pay(Some(feature));
        let (credit, reserved) = (self.balance_of(may_pay), self.reserved_of(may_pay));
        let debt = self.debt_of(Some(feature));
        let usable = self.blocks.iter().filter(|block| block.is_usable() && may_pay(block));
        FeatureFigures {
            balance: credit - debt,
            reserved,
            available: credit - debt - reserved,
            debt,
            spendable: usable.map(Block::free).sum(),
        }
    }

    fn balance_of(&self, counts: impl Fn(&Block) -> bool) -> i64 {
        self.blocks.iter().filter(|block| counts(block)).map(Block::counted).sum()
    }

    fn reserved_of(&self, counts: impl Fn(&Block) -> bool) -> i64 {
        self.blocks.iter().filter(|block| counts(block)).map(|block| block.held).sum()
    }
}

impl BlockFigures {
    fn of(block: &Block) -> Self {
        Self {
            original: block.original,
            remaining: block.remaining,
            held: block.held,
            consumed: block.consumed,
            expired: block.expired,
            withdrawn: block.withdrawn,
        }
    }
}

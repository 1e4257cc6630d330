//! What one can ask of the model, and what it answers.
//!
//! Things are named by the order in which they came to be: the first block is block 0, the first hold hold 0, the first
//! recorded event (usage or commit) event 0. Times are microseconds since 1970. Whoever drives another ledger with the
//! same commands keeps its own ids in three lists.

use std::collections::BTreeSet;

use super::price::{Policy, Properties};

pub(crate) type Micros = i64;
pub(crate) type BlockId = usize;
pub(crate) type HoldId = usize;
pub(crate) type EventId = usize;

/// The stable code of a refusal.
pub(crate) type Code = &'static str;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Grant(Grant),
    /// A grant of kind `topup`. The reference is its identity, for ever.
    Topup {
        payment_reference: String,
        grant: Grant,
    },
    Use(Use),
    Void {
        event: EventId,
    },
    /// By a person. Positive makes a block, scoped to `feature` if that is given. Negative takes from `block`, else from
    /// what may pay for `feature`, else from blocks without scope.
    Adjust {
        amount: i64,
        block: Option<BlockId>,
        feature: Option<String>,
        allow_negative: bool,
    },
    VoidBlock {
        block: BlockId,
    },
    /// `amount` `None`: all that was not refunded yet.
    Refund {
        payment_reference: String,
        amount: Option<i64>,
        claw_back_spent: bool,
    },
    Reserve {
        feature: String,
        units: i64,
        properties: Properties,
        ttl: Micros,
    },
    Commit(Commit),
    Release {
        hold: HoldId,
    },
    Extend {
        hold: HoldId,
        ttl: Micros,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grant {
    pub(crate) amount: i64,
    pub(crate) kind: BlockKind,
    pub(crate) priority: u8,
    /// `None`: now.
    pub(crate) effective_at: Option<Micros>,
    /// `None`: never.
    pub(crate) expires_at: Option<Micros>,
    pub(crate) paid: bool,
    /// Features that it may pay for; empty is any.
    pub(crate) scope: BTreeSet<String>,
    pub(crate) settles_debt: bool,
    /// What usable blocks of the same `cap_group` may hold in all, this one included.
    pub(crate) accumulation_cap: Option<i64>,
    pub(crate) cap_group: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Plan,
    Topup,
    Promo,
    Adjustment,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Use {
    pub(crate) key: String,
    pub(crate) feature: String,
    pub(crate) units: i64,
    pub(crate) properties: Properties,
    pub(crate) effective_at: Option<Micros>,
    pub(crate) on_insufficient: Option<Policy>,
    /// A sidecar admitted it at this instant, which is its time if it has no other: it is never refused for its time or
    /// for credit.
    pub(crate) admitted_at: Option<Micros>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Commit {
    /// The same key for the same hold: the first answer.
    pub(crate) key: Option<String>,
    pub(crate) hold: HoldId,
    pub(crate) units: i64,
    pub(crate) is_final: bool,
    pub(crate) over_commit: OverCommit,
    /// `late: "debit"`: after expiry it is ordinary usage.
    pub(crate) late_debit: bool,
}

/// What a commit does that costs more than is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverCommit {
    Draw,
    Cap,
    Reject,
}

/// What was done. Figures that a command does not have stay 0 or `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Answer {
    /// The first answer came again and nothing moved.
    pub(crate) replayed: bool,
    /// The block that was made.
    pub(crate) block: Option<BlockId>,
    /// The event that was recorded or voided.
    pub(crate) event: Option<EventId>,
    /// The hold that was made or that the command was about.
    pub(crate) hold: Option<HoldId>,
    /// Credit that blocks gave (usage, commit, refund, negative adjustment, void of a block) or got (grant, void).
    pub(crate) credit: i64,
    /// Debt that was made; by a void, undone as far as it was open.
    pub(crate) debt: i64,
    /// Cut off a grant by its cap.
    pub(crate) trimmed: i64,
    /// Held by a reservation.
    pub(crate) held: i64,
    /// Asked of a reservation beyond what it holds.
    pub(crate) uncovered: i64,
    /// Number of the dimension rule that priced it.
    pub(crate) rule: Option<usize>,
}

impl Answer {
    /// What usage or a commit cost.
    pub(crate) fn cost(&self) -> i64 {
        self.credit + self.debt
    }

    pub(super) fn again(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }
}

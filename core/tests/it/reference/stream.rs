//! Random streams of operations, for the model and for whatever is compared with it.
//!
//! An operation names things by number, modulo how many there are by then, so that every stream means something and goes
//! on meaning something while it shrinks. `Player` turns it into a command.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::command::{BlockKind, Micros, OverCommit};
use super::price::{Feature, Policy, Price, Rule, Tier, Window};
use super::{DAY, SECOND};

pub(crate) const STEPS_MAX: usize = 60;

/// Keys of the features of every stream.
pub(crate) const FEATURES: [&str; 3] = ["a", "b", "c"];

/// One account's life: what features there are, and what happens.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) features: BTreeMap<String, Feature>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) wait: Wait,
    pub(crate) op: Op,
}

/// How much time passes before an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    For(Micros),
    /// To exactly the next instant at which a hold or block ends or a block starts, if that is within 40 days.
    UntilNextDue,
    /// To one microsecond before it.
    JustBeforeNextDue,
}

/// An instant, told from the present.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Ago(Micros),
    Ahead(Micros),
    /// When that block starts.
    StartOf(usize),
    /// One microsecond before that block expires; of one that never does, now.
    BeforeEndOf(usize),
}

/// One thing to do. Blocks, holds, events, top-ups and commands are counted back from the newest, modulo how many there
/// are; where there is none yet, nothing is done. Open holds, and top-ups of which something was spent, are preferred. What
/// a sidecar admitted asks for no other policy than `Cap`.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Grant {
        amount: i64,
        kind: BlockKind,
        priority: u8,
        starts_in: Option<Micros>,
        /// How long after its start it ends.
        lives: Option<Micros>,
        paid: bool,
        /// Bit n: it may pay for feature n. 0: for any.
        scope: u8,
        settles_debt: bool,
        /// Of the cap group of its parity.
        cap: Option<i64>,
    },
    Topup {
        amount: i64,
        priority: u8,
        lives: Option<Micros>,
        scope: u8,
    },
    Use {
        /// Reuse the key of that event, most often for something else.
        key_of: Option<usize>,
        feature: usize,
        units: i64,
        /// With the property `model = large`.
        large: bool,
        at: Option<When>,
        on_insufficient: Option<Policy>,
        admitted: bool,
    },
    Void {
        event: usize,
    },
    Adjust {
        amount: i64,
        block: Option<usize>,
        feature: Option<usize>,
        allow_negative: bool,
    },
    VoidBlock {
        block: usize,
    },
    Refund {
        topup: usize,
        amount: Option<i64>,
        claw_back_spent: bool,
    },
    Reserve {
        feature: usize,
        units: i64,
        large: bool,
        ttl: Micros,
    },
    Commit {
        hold: usize,
        units: i64,
        is_final: bool,
        over_commit: OverCommit,
        late_debit: bool,
    },
    Release {
        hold: usize,
    },
    Extend {
        hold: usize,
        ttl: Micros,
    },
    /// One of the commands sent so far, word for word.
    Repeat {
        command: usize,
    },
}

/// Streams of 1 to 60 steps; they shrink to fewer, shorter and smaller ones.
pub(crate) fn streams() -> impl Strategy<Value = Stream> {
    (feature(), feature(), feature(), vec(step(), 1..=STEPS_MAX)).prop_map(|(a, b, c, steps)| Stream {
        features: FEATURES.into_iter().map(str::to_owned).zip([a, b, c]).collect(),
        steps,
    })
}

fn feature() -> impl Strategy<Value = Feature> {
    let limited = (Just(Policy::Overdraft), option::weighted(0.6, 0i64..40));
    let policy = prop_oneof![
        3 => Just((Policy::Block, None)),
        2 => Just((Policy::Cap, None)),
        4 => limited,
        2 => (Just(Policy::Notify), option::weighted(0.5, 0i64..40)),
    ];
    let rule = price().prop_map(|price| Rule { matches: large_model(), price });
    (policy, price(), option::weighted(0.4, rule)).prop_map(|((policy, overdraft_limit), price, rule)| Feature {
        policy,
        overdraft_limit,
        price: Some(price),
        rules: rule.into_iter().collect(),
    })
}

/// What `large` operations carry.
pub(super) fn large_model() -> BTreeMap<String, String> {
    BTreeMap::from([("model".to_owned(), "large".to_owned())])
}

fn price() -> impl Strategy<Value = Price> {
    let per_unit = |cost, per_units| Just(Price::PerUnit { cost, per_units });
    let window = prop_oneof![Just(Window::CalendarMonth), Just(Window::Lifetime), Just(Window::Event)];
    let tiers =
        || vec![Tier { up_to: Some(5), cost: 5 }, Tier { up_to: Some(12), cost: 3 }, Tier { up_to: None, cost: 1 }];
    prop_oneof![
        4 => per_unit(1, 1),
        2 => per_unit(3, 2),
        1 => Just(Price::Flat { cost: 4 }),
        1 => Just(Price::Package { size: 5, cost: 7 }),
        3 => (window.clone(), 1i64..3).prop_map(move |(window, per_units)| {
            Price::Graduated { tiers: tiers(), per_units, window }
        }),
        2 => (window, 1i64..3).prop_map(move |(window, per_units)| Price::Volume { tiers: tiers(), per_units, window }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (wait(), op()).prop_map(|(wait, op)| Step { wait, op })
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        8 => Just(Wait::For(0)),
        6 => (1i64..4).prop_map(Wait::For),
        6 => (1i64..120).prop_map(|seconds| Wait::For(seconds * SECOND)),
        4 => Just(Wait::UntilNextDue),
        1 => Just(Wait::JustBeforeNextDue),
        1 => (0..DAY).prop_map(Wait::For),
        1 => (0..=40i64).prop_map(|days| Wait::For(days * DAY)),
    ]
}

/// How long a block waits or lives.
fn span() -> impl Strategy<Value = Micros> {
    prop_oneof![
        3 => 1i64..4,
        4 => (1i64..600).prop_map(|seconds| seconds * SECOND),
        2 => (1i64..40).prop_map(|days| days * DAY),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => (0i64..4).prop_map(When::Ago),
        2 => (0i64..3600).prop_map(|seconds| When::Ago(seconds * SECOND)),
        1 => (0i64..37).prop_map(|days| When::Ago(days * DAY)),
        1 => (0i64..400).prop_map(|seconds| When::Ahead(seconds * SECOND)),
        2 => any::<u8>().prop_map(|block| When::StartOf(block.into())),
        4 => any::<u8>().prop_map(|block| When::BeforeEndOf(block.into())),
    ]
}

/// 0 is the newest of its kind.
fn number() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0usize..3, 2 => 0usize..24]
}

fn scope() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0u8), 2 => 1u8..8]
}

fn ttl() -> impl Strategy<Value = Micros> {
    prop_oneof![
        3 => (0i64..300).prop_map(|seconds| seconds * SECOND),
        4 => (1i64..26).prop_map(|hours| hours * 3600 * SECOND),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => grant(),
        4 => (0i64..40, 0u8..4, option::weighted(0.5, span()), scope())
            .prop_map(|(amount, priority, lives, scope)| Op::Topup { amount, priority, lives, scope }),
        12 => usage(),
        6 => number().prop_map(|event| Op::Void { event }),
        3 => (-20i64..12, option::weighted(0.3, number()), option::weighted(0.4, 0..FEATURES.len()), any::<bool>())
            .prop_map(|(amount, block, feature, allow_negative)| Op::Adjust { amount, block, feature, allow_negative }),
        1 => number().prop_map(|block| Op::VoidBlock { block }),
        4 => (number(), option::weighted(0.5, 1i64..20), proptest::bool::weighted(0.7))
            .prop_map(|(topup, amount, claw_back_spent)| Op::Refund { topup, amount, claw_back_spent }),
        7 => (0..FEATURES.len(), 0i64..16, any::<bool>(), ttl())
            .prop_map(|(feature, units, large, ttl)| Op::Reserve { feature, units, large, ttl }),
        8 => commit(),
        2 => number().prop_map(|hold| Op::Release { hold }),
        2 => (number(), ttl()).prop_map(|(hold, ttl)| Op::Extend { hold, ttl }),
        3 => number().prop_map(|command| Op::Repeat { command }),
    ]
}

fn grant() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(BlockKind::Promo), Just(BlockKind::Plan)];
    let often = |share| proptest::bool::weighted(share);
    (
        (0i64..40, kind, 0u8..4, often(0.2)),
        (option::weighted(0.3, span()), option::weighted(0.7, span())),
        (scope(), often(0.85), option::weighted(0.2, 0i64..40)),
    )
        .prop_map(|((amount, kind, priority, paid), (starts_in, lives), (scope, settles_debt, cap))| Op::Grant {
            amount,
            kind,
            priority,
            starts_in,
            lives,
            paid,
            scope,
            settles_debt,
            cap,
        })
}

fn usage() -> impl Strategy<Value = Op> {
    let asked = prop_oneof![
        3 => Just(Policy::Cap),
        3 => Just(Policy::Block),
        1 => Just(Policy::Overdraft),
        1 => Just(Policy::Notify),
    ];
    (
        (option::weighted(0.05, number()), 0..FEATURES.len(), 0i64..16, any::<bool>()),
        (option::weighted(0.35, when()), option::weighted(0.2, asked), proptest::bool::weighted(0.1)),
    )
        .prop_map(|((key_of, feature, units, large), (at, on_insufficient, admitted))| Op::Use {
            key_of,
            feature,
            units,
            large,
            at,
            on_insufficient,
            admitted,
        })
}

fn commit() -> impl Strategy<Value = Op> {
    let over_commit =
        prop_oneof![3 => Just(OverCommit::Draw), 2 => Just(OverCommit::Cap), 1 => Just(OverCommit::Reject)];
    (number(), 0i64..16, any::<bool>(), over_commit, any::<bool>()).prop_map(
        |(hold, units, is_final, over_commit, late_debit)| Op::Commit {
            hold,
            units,
            is_final,
            over_commit,
            late_debit,
        },
    )
}

//! The steps that random histories are made of.

use proptest::option;
use proptest::prelude::*;

use quotastack_core::ledger::block::BlockKind;

use crate::model::{FEATURES, Over, Policy, VARIANTS};

pub(super) const SCOPES: [&[&str]; 4] = [&[], &["blocked"], &["endless", "limited"], &["capped", "endless"]];
pub(super) const KINDS: [BlockKind; 3] = [BlockKind::Promo, BlockKind::Topup, BlockKind::Adjustment];

#[derive(Debug, Clone)]
pub(super) enum Op {
    Wait(i64),
    Grant {
        amount: i64,
        priority: u8,
        start: Option<i64>,
        length: Option<i64>,
        flags: [bool; 2],
        scope: usize,
        kind: usize,
        cap: Option<(u8, i64)>,
    },
    Use {
        key: u8,
        feature: usize,
        units: i64,
        asked: Option<Policy>,
        back: Option<i64>,
        admitted: Option<i64>,
    },
    Subscribe {
        variant: usize,
        quantity: u32,
    },
    Reserve {
        feature: usize,
        units: i64,
        ttl: i64,
        asked: Option<Policy>,
    },
    /// Of a hold that was made, counted round.
    Commit {
        hold: usize,
        units: i64,
        is_final: bool,
        over: Over,
    },
    Release(usize),
    Extend {
        hold: usize,
        ttl: i64,
    },
    /// Of an event that was recorded, counted round.
    Void(usize),
    Adjust {
        amount: i64,
        feature: Option<usize>,
        allow_negative: bool,
    },
    /// Of a block that was granted, counted round.
    VoidBlock(usize),
    TopUp(i64),
    Refund {
        topup: usize,
        amount: Option<i64>,
        claw_back: bool,
    },
}

/// One step of a history.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let policy = || prop_oneof![Just(Policy::Block), Just(Policy::Cap), Just(Policy::Overdraft), Just(Policy::Notify)];
    let grant = (
        1i64..60,
        prop_oneof![Just(1u8), Just(10), Just(100)],
        option::weighted(0.4, -3i64..8),
        option::weighted(0.7, 0i64..10),
        any::<[bool; 2]>(),
        0..SCOPES.len(),
        0..KINDS.len(),
        option::weighted(0.15, (0u8..2, 0i64..80)),
    );
    // One past the end of the features is one that does not exist.
    let used =
        (any::<u8>(), 0..=FEATURES.len(), 0i64..40, option::weighted(0.2, policy()), option::weighted(0.2, -1i64..145));
    let over = prop_oneof![Just(Over::Draw), Just(Over::Cap), Just(Over::Reject)];
    // A sidecar's event: on a feature with a price, and of any age.
    let admitted = (0u8..40, 0..3usize, 0i64..40, -1i64..160);
    prop_oneof![
        3 => (-2i64..9).prop_map(Op::Wait),
        4 => grant.prop_map(|(amount, priority, start, length, flags, scope, kind, cap)| {
            Op::Grant { amount, priority, start, length, flags, scope, kind, cap }
        }),
        6 => used.prop_map(|(key, feature, units, asked, back)| {
            Op::Use { key: key % 80, feature, units, asked, back, admitted: None }
        }),
        1 => admitted.prop_map(|(key, feature, units, ago)| {
            Op::Use { key, feature, units, asked: None, back: None, admitted: Some(ago) }
        }),
        1 => (0..VARIANTS.len(), 1u32..3).prop_map(|(variant, quantity)| Op::Subscribe { variant, quantity }),
        3 => (0..FEATURES.len(), 0i64..40, 1i64..5, option::weighted(0.2, policy()))
            .prop_map(|(feature, units, ttl, asked)| Op::Reserve { feature, units, ttl, asked }),
        3 => (any::<usize>(), 0i64..40, any::<bool>(), over).prop_map(|(hold, units, is_final, over)| {
            Op::Commit { hold, units, is_final, over }
        }),
        1 => any::<usize>().prop_map(Op::Release),
        1 => (any::<usize>(), 1i64..5).prop_map(|(hold, ttl)| Op::Extend { hold, ttl }),
        2 => any::<usize>().prop_map(Op::Void),
        1 => (-30i64..30, option::weighted(0.4, 0..FEATURES.len()), any::<bool>())
            .prop_map(|(amount, feature, allow_negative)| Op::Adjust { amount, feature, allow_negative }),
        1 => any::<usize>().prop_map(Op::VoidBlock),
        1 => (1i64..40).prop_map(Op::TopUp),
        1 => (any::<usize>(), option::weighted(0.5, 1i64..40), any::<bool>())
            .prop_map(|(topup, amount, claw_back)| Op::Refund { topup, amount, claw_back }),
    ]
}

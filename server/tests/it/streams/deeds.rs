//! What random histories are made of: the streams of the reference model, and between their steps what that model does
//! not know: subscriptions and what is asked of them, overrides, consume, and requests that come again under their own key.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::orders::{Order, Start, order, start};
use crate::reference::stream::{FEATURES, Op, STEPS_MAX, Wait, streams};
use crate::reference::{DAY, Feature, Micros};

/// Accounts that share a lane.
const HISTORIES_MAX: usize = 4;
/// Deeds in a history beside the steps of its stream.
const EXTRAS_MAX: usize = 20;

/// Some accounts of one environment, and the sizes of the groups that their commands are sent in, round and round.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) features: BTreeMap<String, Feature>,
    pub(crate) histories: Vec<Vec<(Wait, Deed)>>,
    pub(crate) sizes: Vec<usize>,
}

/// One thing to do. Things are named as [`Op`] names them.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Op(Op),
    Consume { feature: usize, units: i64 },
    Subscribe { variant: usize, quantity: u32, start: Start },
    Order { subscription: usize, order: Order },
    SetOverride { feature: usize, own: Own, lives: Option<Micros> },
    RemoveOverride { feature: usize },
    Advance,
    Again { command: usize, how: Again },
}

/// What an end user is given of a feature of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    Off,
    Free,
    Tiered,
    Indebted(Option<i64>),
}

/// How a request comes again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Again {
    /// The same run of it: its commit went unanswered.
    Rerun,
    /// Its caller sent it again, under the same key.
    Repeat,
    /// Another request under the same key.
    OtherBody,
}

pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let size = prop_oneof![4 => 1usize..4, 4 => 4usize..24, 1 => Just(1_000)];
    (vec(history(), 1..=HISTORIES_MAX), vec(size, 1..12)).prop_map(|(histories, sizes)| {
        let (features, histories): (Vec<_>, Vec<_>) = histories.into_iter().unzip();
        World { features: features[0].clone(), histories, sizes }
    })
}

/// Of the accounts in a world only the first one's features are used.
fn history() -> impl Strategy<Value = (BTreeMap<String, Feature>, Vec<(Wait, Deed)>)> {
    (streams(), vec((0..STEPS_MAX, wait(), extra()), 0..EXTRAS_MAX)).prop_map(|(stream, extras)| {
        let mut deeds: Vec<(Wait, Deed)> =
            stream.steps.into_iter().map(|step| (step.wait, Deed::Op(step.op))).collect();
        for (place, wait, deed) in extras {
            deeds.insert(place % (deeds.len() + 1), (wait, deed));
        }
        (stream.features, deeds)
    })
}

/// Mostly none: the steps of the streams have waits of their own.
fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        10 => Just(Wait::For(0)),
        4 => Just(Wait::UntilNextDue),
        2 => Just(Wait::JustBeforeNextDue),
        1 => (1i64..40).prop_map(|days| Wait::For(days * DAY)),
    ]
}

fn extra() -> impl Strategy<Value = Deed> {
    let feature = || 0..FEATURES.len();
    let own = prop_oneof![
        Just(Own::Off),
        Just(Own::Free),
        Just(Own::Tiered),
        option::weighted(0.5, 0i64..40).prop_map(Own::Indebted),
    ];
    let lives = option::weighted(0.5, (1i64..20).prop_map(|days| days * DAY));
    let again = prop_oneof![Just(Again::Rerun), Just(Again::Repeat), Just(Again::OtherBody)];
    prop_oneof![
        4 => (0..super::setting::VARIANTS, 1u32..3, start())
            .prop_map(|(variant, quantity, start)| Deed::Subscribe { variant, quantity, start }),
        9 => (0usize..6, order()).prop_map(|(subscription, order)| Deed::Order { subscription, order }),
        3 => (feature(), 0i64..16).prop_map(|(feature, units)| Deed::Consume { feature, units }),
        2 => (feature(), own, lives).prop_map(|(feature, own, lives)| Deed::SetOverride { feature, own, lives }),
        1 => feature().prop_map(|feature| Deed::RemoveOverride { feature }),
        1 => Just(Deed::Advance),
        4 => (0usize..24, again).prop_map(|(command, how)| Deed::Again { command, how }),
    ]
}

//! What random histories ask of subscriptions, and how these begin.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use quotastack_core::ids::VariantId;
use quotastack_core::subscription::order::{
    Action, ChangeCredits, EndCredits, Import, ImportGrants, Subscribe, Uncancel, When,
};
use quotastack_core::time::Timestamp;

use super::setting::VARIANTS;
use crate::reference::{DAY, Micros};

/// An [`Action`]; variants are named by their place, instants by how far ahead they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Plain(Action),
    Change { variant: usize, quantity: Option<u32>, at: When, credits: ChangeCredits },
    Pause { at: When, lasts: Option<Micros> },
}

/// From when on a subscription is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    Now,
    Ahead(Micros),
    /// Its period began elsewhere.
    Ago(Micros, ImportGrants),
}

impl Order {
    pub(crate) fn action(self, variants: &[VariantId], now: Timestamp) -> Action {
        match self {
            Self::Plain(action) => action,
            Self::Change { variant, quantity, at, credits } => {
                Action::Change { variant_id: variants[variant], quantity, at, credits }
            }
            Self::Pause { at, lasts } => {
                Action::Pause { at, resume_at: lasts.map(|micros| now.saturating_add_micros(micros)) }
            }
        }
    }
}

impl Start {
    pub(crate) fn subscribe(self, variant_id: VariantId, quantity: u32, now: Timestamp) -> Subscribe {
        let order = Subscribe::now(variant_id, quantity);
        match self {
            Self::Now => order,
            Self::Ahead(micros) => Subscribe { start_at: Some(now.saturating_add_micros(micros)), ..order },
            Self::Ago(micros, grants) => {
                let period_start = now.saturating_add_micros(-micros);
                Subscribe { import: Some(Import { period_start, grants }), ..order }
            }
        }
    }
}

pub(crate) fn start() -> impl Strategy<Value = Start> {
    let grants = select(vec![ImportGrants::Full, ImportGrants::Prorated, ImportGrants::None]);
    prop_oneof![
        6 => Just(Start::Now),
        1 => (1i64..20).prop_map(|days| Start::Ahead(days * DAY)),
        1 => (1i64..20, grants).prop_map(|(days, grants)| Start::Ago(days * DAY, grants)),
    ]
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    let when = || select(vec![When::Now, When::PeriodEnd]);
    let kept = || select(vec![ChangeCredits::Prorate, ChangeCredits::Reset, ChangeCredits::KeepAndAdd]);
    let change = (0..VARIANTS, option::of(1u32..4), when(), kept());
    let taken_back = select(vec![Uncancel::All, Uncancel::CancelAt, Uncancel::PauseAt, Uncancel::PendingChange]);
    let plain = prop_oneof![
        5 => Just(Action::Renew),
        1 => Just(Action::MarkPaid),
        1 => Just(Action::MarkOverdue),
        3 => when().prop_map(Action::Convert),
        1 => (1u32..4).prop_map(Action::SetQuantity),
        1 => (when(), kept()).prop_map(|(at, credits)| Action::Migrate { at, credits }),
        3 => Just(Action::Resume),
        2 => (when(), select(vec![EndCredits::Keep, EndCredits::Void]))
            .prop_map(|(at, credits)| Action::Cancel { at, credits }),
        1 => taken_back.prop_map(Action::Uncancel),
    ];
    prop_oneof![
        16 => plain.prop_map(Order::Plain),
        4 => change
            .prop_map(|(variant, quantity, at, credits)| Order::Change { variant, quantity, at, credits }),
        3 => (when(), option::of((1i64..30).prop_map(|days| days * DAY)))
            .prop_map(|(at, lasts)| Order::Pause { at, lasts }),
    ]
}

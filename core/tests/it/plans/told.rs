//! What is announced of subscriptions is in order and complete: each event begins where the one before has ended, moves
//! as the table says, and the last one says what stands.

use std::collections::BTreeMap;

use quotastack_core::ids::SubscriptionId;
use quotastack_core::ledger::event::{Event, EventKind};
use quotastack_core::subscription::Subscription;
use quotastack_core::subscription::machine::{Happening, next};

/// What a transition announces. Intervals of templates turn without a word, so allowances are not compared.
struct Told<'a> {
    before: Option<&'a Subscription>,
    after: &'a Subscription,
    happening: Option<Happening>,
}

impl<'a> Told<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        match &event.kind {
            EventKind::SubscriptionCreated { subscription } => {
                Some(Self { before: None, after: subscription, happening: None })
            }
            EventKind::SubscriptionUpdated { subscription, before, happening }
            | EventKind::SubscriptionCanceled { subscription, before, happening }
            | EventKind::SubscriptionExpired { subscription, before, happening } => {
                Some(Self { before: Some(before), after: subscription, happening: Some(*happening) })
            }
            _ => None,
        }
    }
}

fn without_allowances(own: &Subscription) -> Subscription {
    Subscription { allowances: Vec::new(), ..own.clone() }
}

/// Panics where an event is missing, out of order, or not what the table says.
pub(super) fn assert_in_order_and_complete(events: &[Event], live: &[Subscription]) {
    let mut states: BTreeMap<SubscriptionId, Subscription> = BTreeMap::new();
    assert!(events.is_sorted_by_key(|event| event.at), "events are in the order of their instants");
    for event in events {
        if let EventKind::ContractEnding { subscription, .. } = &event.kind {
            let known = states.insert(subscription.id, (**subscription).clone()).expect("it was announced before");
            assert!(known.contract_notice.is_some_and(|at| at <= event.at), "{}: once, and not too early", known.id);
            let known = Subscription { contract_notice: None, ..known };
            assert_eq!(without_allowances(&known), without_allowances(subscription), "nothing else has changed");
        }
        let Some(told) = Told::of(event) else { continue };
        let id = told.after.id;
        let known = states.insert(id, told.after.clone());
        let (Some(before), Some(happening)) = (told.before, told.happening) else {
            assert_eq!(known, None, "{id} is created once");
            continue;
        };
        let known = known.unwrap_or_else(|| panic!("{id} was announced before it changed"));
        assert_eq!(without_allowances(&known), without_allowances(before), "{id}: nothing was left out");
        assert_eq!(next(before.status, happening), Some(told.after.status), "{id}: {happening:?}");
    }
    states.retain(|_, own| !own.status.is_over());
    let stored: Vec<_> = live.iter().map(without_allowances).collect();
    let told: Vec<_> = states.values().map(without_allowances).collect();
    assert_eq!(told, stored, "what was announced last is what stands");
}

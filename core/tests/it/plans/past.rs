//! Late usage is priced by what was subscribed to when it counts, and counts in the tiers of that time.

use quotastack_core::catalogue::{Access, Entitlement};
use quotastack_core::credits::Units;
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::quote::Quote;
use quotastack_core::ledger::usage::decide;
use quotastack_core::pricing::{Price, PriceModel, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::subscription::order::{Action, ChangeCredits, Import, ImportGrants, Subscribe, When};

use super::*;
use crate::support::{feature_key, units, usage};

/// `variant` with this price of `endless`, which costs 1 per unit by itself.
fn priced(mut variant: Variant, model: PriceModel) -> Variant {
    let access = Access { enabled: true, value: None };
    let entitlement = Entitlement { price: Some(Price::plain(model)), ..Entitlement::plain(access) };
    variant.entitlements.insert(feature_key("endless"), entitlement);
    variant
}

fn at_cost(variant: Variant, cost: i64) -> Variant {
    priced(variant, PriceModel::PerUnit { cost: credits(cost), per_units: Units::ONE })
}

/// The first 10 units of a billing period are free, further ones cost 1 each.
fn ten_free(variant: Variant) -> Variant {
    let tiers = vec![Tier { up_to: Some(units(10)), cost: credits(0) }, Tier { up_to: None, cost: credits(1) }];
    let (mode, window) = (TierMode::Graduated, TierWindow::BillingPeriod);
    priced(variant, PriceModel::Tiered(Tiered { mode, per_units: Units::ONE, window, tiers }))
}

impl Story {
    /// What `count` units cost that are recorded `now` and count at `counts_at`. A reader of what was published finds the
    /// same price.
    fn cost(&mut self, now: Timestamp, count: i64, counts_at: Timestamp) -> i64 {
        let key = format!("{} {count} {}", now.as_micros(), self.recorded.len());
        let event = Usage { effective_at: Some(counts_at), ..usage(&key, "endless", count) };
        let mut blocks = self.account.wallet.clone();
        read_at(&mut blocks, &self.catalogue, now);
        let mut published = AccountState::publish(&self.account, 1, &self.catalogue).wallet;
        read_at(&mut published, &self.catalogue, now);
        let price = |quote: Quote| (quote.model, quote.priced_by, quote.counter);
        let predicted = decide(&published, &self.catalogue, &event).unwrap();
        assert_eq!(price(predicted.quote), price(decide(&blocks, &self.catalogue, &event).unwrap().quote));
        let Outcome::Used { record, .. } = self.apply(now, event).unwrap() else { panic!("usage is recorded") };
        record.cost.get()
    }
}

/// Right before a day begins.
fn eve(number: i64) -> Timestamp {
    day(number).saturating_add_micros(-1)
}

#[test]
fn each_instant_has_the_price_of_what_was_subscribed_to_then() {
    let mut story = life([
        at_cost(free(base(1, DAYS_30, 1)), 10),
        at_cost(free(base(2, DAYS_30, 1)), 20),
        at_cost(free(addon(3, DAYS_30, 1)), 30),
        at_cost(fallback(base(4, DAYS_30, 1)), 40),
    ]);
    let base = story.subscribe(day(5), 1);
    story.change(day(10), base, 2, ChangeCredits::KeepAndAdd);
    let addon = story.subscribe(day(15), 3);
    story.ask(day(20), addon, cancel(When::Now)).unwrap();
    story.ask(day(25), base, cancel(When::Now)).unwrap();
    let starts = [(0, 1), (5, 10), (10, 20), (15, 30), (20, 20), (25, 40), (27, 40)];
    for (place, (start, cost)) in starts.into_iter().enumerate() {
        assert_eq!(story.cost(day(28), 1, day(start)), cost, "day {start}");
        if let Some((end, _)) = starts.get(place + 1) {
            assert_eq!(story.cost(day(28), 1, eve(*end)), cost, "the eve of day {end}");
        }
    }
}

#[test]
fn a_reservation_that_is_committed_late_keeps_its_price_and_a_change_at_the_period_end_counts_from_there() {
    let mut story = life([at_cost(free(base(1, DAYS_30, 1)), 10), at_cost(free(base(2, DAYS_30, 1)), 20)]);
    let id = story.subscribe(day(0), 1);
    let (at, credits) = (When::PeriodEnd, ChangeCredits::Prorate);
    story.ask(day(3), id, Action::Change { variant_id: variant_id(2), quantity: None, at, credits }).unwrap();
    assert_eq!([eve(30), day(30)].map(|at| story.cost(day(31), 1, at)), [10, 20]);
}

#[test]
fn an_import_holds_since_its_period_began() {
    let mut story = life([at_cost(free(base(1, DAYS_30, 1)), 10)]);
    let import = Some(Import { period_start: day(5), grants: ImportGrants::None });
    story.try_subscribe(day(20), Subscribe { import, ..Subscribe::now(variant_id(1), 1) }).unwrap();
    assert_eq!([day(4), day(5), day(19)].map(|at| story.cost(day(21), 1, at)), [1, 10, 10]);
}

#[test]
fn what_is_older_than_usage_may_be_is_forgotten() {
    let mut story = life([at_cost(free(base(1, DAYS_30, 1)), 10), at_cost(free(base(2, DAYS_30, 1)), 20)]);
    let id = story.subscribe(day(0), 1);
    for number in 1..400 {
        story.change(day(number), id, 1 + u8::try_from(number % 2).unwrap(), ChangeCredits::KeepAndAdd);
    }
    assert_eq!((365..400).map(|number| story.cost(eve(400), 1, eve(number + 1))).collect::<Vec<_>>(), {
        (365..400).map(|number| if number % 2 == 0 { 10 } else { 20 }).collect::<Vec<_>>()
    });
    let stored = serde_json::to_value(&story.account.wallet.past).unwrap();
    assert!(stored.as_array().unwrap().len() <= 40, "{stored}");
}

#[test]
fn late_usage_counts_in_the_tiers_of_its_period_also_where_that_was_cut_short_or_is_of_what_has_ended() {
    let week = Period { count: 1, unit: PeriodUnit::Week };
    let variants = [ten_free(free(base(1, DAYS_30, 1))), ten_free(free(base(2, week, 1)))];
    let mut story = life(variants);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.cost(day(3), 8, day(3)), 0);
    story.change(day(10), id, 2, ChangeCredits::KeepAndAdd);
    assert_eq!(story.cost(day(10), 8, day(10)), 0, "another period");
    assert_eq!(story.cost(day(11), 8, day(9)), 6, "8 + 8 of the first period");
    assert_eq!(story.cost(day(11), 8, day(11)), 6, "8 + 8 of the second");
    story.ask(day(12), id, cancel(When::Now)).unwrap();
    assert_eq!(
        [day(9), day(11), day(12)].map(|at| story.cost(day(20), 3, at)),
        [3, 3, 3],
        "both are full; then 1 each"
    );
}

#[test]
fn a_period_that_pauses_make_longer_is_one_window() {
    let mut story = life([ten_free(free(base(1, DAYS_30, 1)))]);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.cost(day(3), 8, day(3)), 0);
    for (from, to) in [(5, 6), (10, 70)] {
        story.ask(day(from), id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
        story.ask(day(to), id, Action::Resume).unwrap();
        assert_eq!(story.cost(day(to), 4, day(to)), if from == 5 { 2 } else { 4 });
    }
    assert_eq!(story.cost(day(90), 1, day(90)), 1);
    assert_eq!(story.cost(day(91), 1, day(91)), 0, "the next one");
    assert_eq!(story.cost(day(92), 1, eve(91)), 1);
}

//! Random commands at random instants: whatever is asked, what must hold holds.
//!
//! After each command the entries alone rebuild the account and its invariants hold ([`Story::apply`] checks both), there
//! is at most one live base, no interval was granted twice, and what a reader made of the state published before is
//! what the ledger has written.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quotastack_core::catalogue::{Contract, GrantOn};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ledger::command::{Commit, Reserve, Void};
use quotastack_core::ledger::entry::{Cause, EntryKind};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::pricing::{Price, PriceModel};
use quotastack_core::subscription::machine::Happening;
use quotastack_core::subscription::order::{Action, ChangeCredits, Uncancel, When};

use super::tallied::Tallied;
use super::told::assert_in_order_and_complete;
use super::*;
use crate::support::{commit, feature_key, grant, reservation_id, reserve, twice_as_many, usage};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Hours(i64),
    /// To the next instant at which something is due, or right before it.
    Due {
        before: bool,
    },
    Subscribe {
        number: u8,
        ahead: i64,
    },
    Ask {
        which: usize,
        action: Action,
    },
    Use {
        feature: &'static str,
        units: i64,
        hours_ago: i64,
    },
    Reserve {
        units: i64,
    },
    Release {
        which: u8,
    },
    Commit {
        which: u8,
        units: i64,
        is_final: bool,
    },
    Void {
        which: usize,
    },
    Grant {
        amount: i64,
    },
    Own {
        feature: &'static str,
        enabled: Option<bool>,
        cost: Option<i64>,
        hours: Option<i64>,
    },
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![Just(When::Now), Just(When::PeriodEnd)]
}

fn change_credits() -> impl Strategy<Value = ChangeCredits> {
    prop_oneof![3 => Just(ChangeCredits::Prorate), 1 => Just(ChangeCredits::Reset), 1 => Just(ChangeCredits::KeepAndAdd)]
}

fn end_credits() -> impl Strategy<Value = EndCredits> {
    prop_oneof![Just(EndCredits::Keep), Just(EndCredits::Void)]
}

fn action() -> impl Strategy<Value = Action> {
    let change = (1u8..=VARIANTS, prop::option::of(1u32..4), when(), change_credits());
    prop_oneof![
        4 => Just(Action::Renew),
        1 => Just(Action::MarkPaid),
        1 => Just(Action::MarkOverdue),
        1 => when().prop_map(Action::Convert),
        4 => change.prop_map(|(number, quantity, at, credits)| Action::Change {
            variant_id: variant_id(number), quantity, at, credits
        }),
        1 => (1u32..4).prop_map(Action::SetQuantity),
        2 => (when(), any::<bool>()).prop_map(|(at, ends)| Action::Pause { at, resume_at: ends.then(|| day(200)) }),
        2 => Just(Action::Resume),
        2 => (when(), end_credits()).prop_map(|(at, credits)| Action::Cancel { at, credits }),
        1 => Just(Action::Uncancel(Uncancel::All)),
    ]
}

/// One step of a history in which these features are used.
pub(crate) fn op(features: &'static [&'static str]) -> impl Strategy<Value = Op> {
    let feature = || prop::sample::select(features);
    let own = (feature(), any::<Option<bool>>(), prop::option::of(0i64..4), prop::option::of(1i64..900));
    prop_oneof![
        4 => (0i64..400).prop_map(Op::Hours),
        4 => any::<bool>().prop_map(|before| Op::Due { before }),
        4 => (1u8..=VARIANTS, prop_oneof![4 => Just(0), 1 => 1i64..40])
            .prop_map(|(number, ahead)| Op::Subscribe { number, ahead }),
        10 => (0usize..6, action()).prop_map(|(which, action)| Op::Ask { which, action }),
        6 => (feature(), 1i64..400, prop_oneof![3 => Just(0), 1 => 1i64..200])
            .prop_map(|(feature, units, hours_ago)| Op::Use { feature, units, hours_ago }),
        2 => (1i64..300).prop_map(|units| Op::Reserve { units }),
        2 => any::<u8>().prop_map(|which| Op::Release { which }),
        2 => (any::<u8>(), 1i64..200, any::<bool>())
            .prop_map(|(which, units, is_final)| Op::Commit { which, units, is_final }),
        2 => (0usize..20).prop_map(|which| Op::Void { which }),
        1 => (1i64..100).prop_map(|amount| Op::Grant { amount }),
        1 => own.prop_map(|(feature, enabled, cost, hours)| Op::Own { feature, enabled, cost, hours }),
    ]
}

const FEATURES: &[&str] = &["f", "endless"];
pub(crate) const VARIANTS: u8 = 7;

fn variants() -> [Variant; VARIANTS as usize] {
    let every = |count, unit, amount| GrantTemplate {
        interval: GrantInterval::Every(Period { count, unit }),
        ..monthly(amount)
    };
    let mut pro = rolling(base(2, DAYS_30, 1_000), 50, Some(300));
    pro.trial_days = 7;
    // Where the grace begins, the other blocks of the period come to the same end: then the order of granting tells.
    let as_long_as_the_grace = Some(Period { count: 33, unit: PeriodUnit::Day });
    pro.grants.insert(0, GrantTemplate { expires_after: as_long_as_the_grace, ..monthly(25) });
    pro.grants.push(GrantTemplate { on: quotastack_core::catalogue::GrantOn::Trial, ..monthly(40) });
    pro.grants.push(GrantTemplate { interval: GrantInterval::Once, ..monthly(9) });
    let mut team = base(3, MONTH, 2_000);
    team.grants.push(GrantTemplate { rollover_percent: 100, ..every(1, PeriodUnit::Week, 70) });
    let mut metered = postpaid(base(4, Period { count: 10, unit: PeriodUnit::Day }, 100));
    metered.grants.push(every(6, PeriodUnit::Hour, 5));
    metered.trial_days = 3;
    metered.contract = Some(Contract::new(2, true));
    let mut strict = rolling(base(5, DAYS_30, 500), 100, None);
    strict.grants[0].accumulation_cap = Some(credits(700));
    strict.allow_usage_while_overdue = false;
    strict.contract = Some(Contract::new(1, false));
    let extra = rolling(free(addon(6, Period { count: 1, unit: PeriodUnit::Week }, 30)), 100, None);
    let usage_based = Variant { summary_delay_minutes: 72 * 60, ..postpaid(base(7, DAYS_30, 20)) };
    [fallback(base(1, MONTH, 50)), pro, team, metered, strict, extra, usage_based]
}

pub(crate) struct World {
    pub(crate) story: Story,
    pub(crate) now: Timestamp,
    ids: Vec<SubscriptionId>,
    holds: u8,
    used: usize,
    tallied: Tallied,
    /// Events that `tallied` has heard.
    heard: usize,
}

impl World {
    /// With nobody in it yet.
    pub(crate) fn new(catalogue: Catalogue) -> Self {
        Self {
            story: Story::new(catalogue),
            now: day(0),
            ids: Vec::new(),
            holds: 0,
            used: 0,
            tallied: Tallied::default(),
            heard: 0,
        }
    }

    /// Takes a step, and checks what must hold.
    pub(crate) fn apply(&mut self, op: &Op) {
        let later = |hours: i64| hours * 3_600_000_000;
        match op {
            Op::Hours(hours) => self.now = self.now.saturating_add_micros(later(*hours)),
            Op::Due { before } => {
                if let Some(due) = self.story.account.next_due().filter(|due| *due < day(3_650)) {
                    self.now = self.now.max(due.saturating_add_micros(-i64::from(*before)));
                }
            }
            _ => {}
        }
        self.reader_and_ledger_agree();
        self.hear();
        let now = self.now;
        match op {
            Op::Hours(_) | Op::Due { .. } => {}
            Op::Subscribe { number, ahead } => {
                let start_at = (*ahead > 0).then(|| now.saturating_add_micros(later(24 * ahead)));
                let order = Subscribe { start_at, ..Subscribe::now(variant_id(*number), 1) };
                self.ids.extend(self.story.try_subscribe(now, order).map(|own| own.id));
            }
            Op::Ask { which, action } => {
                let live = self.story.account.wallet.subscriptions.iter().map(|own| own.id);
                let ids: Vec<_> = live.chain(self.ids.last().copied()).collect();
                if let Some(id) = ids.get(which % ids.len().max(1)) {
                    let _refused = self.story.ask(now, *id, *action);
                }
            }
            Op::Use { feature, units, hours_ago } => {
                self.used += 1;
                let effective_at = (*hours_ago > 0).then(|| now.saturating_add_micros(-later(*hours_ago)));
                let event = usage(&format!("{}", self.used), feature, *units);
                let event = quotastack_core::ledger::command::Usage { effective_at, ..event };
                self.tally(Command::Usage(event));
            }
            Op::Reserve { units } => {
                self.holds = self.holds.wrapping_add(1);
                let hold =
                    Reserve { ttl_micros: later(20), ..reserve(&format!("h{}", self.holds), "endless", *units, 1) };
                let _refused = self.story.apply(now, Command::Reserve(hold));
            }
            Op::Release { which } => {
                let name = format!("h{}", which % self.holds.max(1) + 1);
                let _refused = self.story.apply(now, Command::Release(reservation_id(&name)));
            }
            Op::Commit { which, units, is_final } => {
                self.used += 1;
                let name = format!("h{}", which % self.holds.max(1) + 1);
                let part = commit(&name, &format!("{}", self.used), *units);
                self.tally(Command::Commit(Commit { is_final: *is_final, debit_late: true, ..part }));
            }
            Op::Void { which } => {
                let ids: Vec<_> = self.story.recorded.values().map(|record| record.id).collect();
                if let Some(usage_id) = ids.get(which % ids.len().max(1)).copied() {
                    self.tally(Command::Void(Void { usage_id, reason: None }));
                }
            }
            Op::Grant { amount } => {
                let _refused = self.story.apply(now, grant(*amount));
            }
            Op::Own { feature, enabled, cost, hours } => {
                let terms = Override {
                    feature_key: feature_key(feature),
                    enabled: *enabled,
                    value: None,
                    price: cost.map(|cost| Price::plain(PriceModel::Flat { cost: credits(cost) })),
                    overage_policy: None,
                    overdraft_limit: None,
                    expires_at: hours.map(|hours| now.saturating_add_micros(later(hours))),
                };
                let _refused = self.story.apply(now, Command::SetOverride(terms));
            }
        }
        self.hear();
        self.check();
    }

    /// Records or undoes usage, if that is not refused.
    fn tally(&mut self, command: Command) {
        let written = self.story.effects.entries.len();
        if let Ok(outcome) = self.story.apply(self.now, command) {
            self.tallied.carried_out(&outcome);
        }
        let new = &self.story.effects.entries[written..];
        new.iter()
            .filter(|entry| entry.body.kind == EntryKind::Void)
            .for_each(|void| self.tallied.taken_off(&void.body.billed));
    }

    fn hear(&mut self) {
        let events = &self.story.effects.events;
        self.tallied.hear(&events[self.heard..], &self.story.catalogue);
        self.heard = events.len();
    }

    /// A reader of what was published before finds at `now` what the ledger writes at `now`.
    fn reader_and_ledger_agree(&mut self) {
        let mut published = AccountState::whole(&self.story.account, 1, &self.story.catalogue).wallet;
        read_at(&mut published, &self.story.catalogue, self.now);
        self.story.touch(self.now);
        let written = AccountState::whole(&self.story.account, 1, &self.story.catalogue).wallet;
        same(&published, &written);
        assert_eq!(published.next_due(), written.next_due());
    }

    fn check(&self) {
        let wallet = &self.story.account.wallet;
        let bases = wallet.subscriptions.iter().filter(|own| own.plan_kind == PlanKind::Base && own.is_running());
        assert!(bases.count() <= 1, "at most one live base");
        assert!(wallet.subscriptions.is_sorted_by_key(|own| own.id));
        let addons = wallet.subscriptions.iter().any(|own| own.plan_kind == PlanKind::Addon && own.is_running());
        assert!(
            !addons || wallet.base().is_some_and(|base| base.plan_kind == PlanKind::Base),
            "no add-on without base"
        );
        self.check_contracts();
        let mut granted = BTreeSet::new();
        for entry in self.story.effects.entries.iter().filter(|entry| entry.body.kind == EntryKind::Grant) {
            let Cause::Subscription(id) = entry.body.cause else { continue };
            for block in entry.body.granted.iter().filter(|_| entry.body.effective_at < entry.recorded_at) {
                let origin = block.lot.origin.unwrap();
                let key = (id, origin.variant_id, origin.template, block.lot.effective_at);
                assert!(granted.insert(key), "{key:?} was granted twice");
            }
        }
        assert_in_order_and_complete(&self.story.effects.events, &wallet.subscriptions);
        self.check_grants();
    }

    /// Each period that has opened by itself has given what its variant gives.
    fn check_grants(&self) {
        let entries = self.story.effects.entries.iter().filter(|entry| entry.body.kind == EntryKind::Grant);
        let granted =
            entries.flat_map(|entry| entry.body.granted.iter().filter_map(|block| Some((block.lot.origin?, block))));
        let granted: BTreeSet<_> = granted
            .map(|(origin, block)| (origin.subscription_id, origin.variant_id, origin.template, block.lot.effective_at))
            .collect();
        for event in &self.story.effects.events {
            let EventKind::SubscriptionUpdated { subscription: own, happening, .. } = &event.kind else { continue };
            if !matches!(happening, Happening::PeriodTurns | Happening::Starts | Happening::TrialConverts) {
                continue;
            }
            let variant = self.story.catalogue.variant(own.variant_id, own.variant_version).unwrap();
            for (index, template) in (0..).zip(&variant.grants) {
                let gives = template.interval == GrantInterval::BillingPeriod && template.on == GrantOn::Period;
                let key = (own.id, own.variant_id, index, event.at);
                // What one falls back to gives once per interval, however one comes to it.
                assert!(!gives || variant.fallback || granted.contains(&key), "{key:?} was not granted");
            }
        }
    }

    /// Each term that ended was announced before, and none is announced more often than it is set to be.
    fn check_contracts(&self) {
        let mut terms: BTreeMap<SubscriptionId, [i32; 3]> = BTreeMap::new();
        for event in &self.story.effects.events {
            match &event.kind {
                EventKind::ContractEnding { subscription, .. } => terms.entry(subscription.id).or_default()[1] += 1,
                EventKind::SubscriptionCreated { subscription } => {
                    terms.entry(subscription.id).or_default()[0] += i32::from(subscription.contract_notice.is_some());
                }
                EventKind::SubscriptionUpdated { subscription, before, happening } => {
                    let [set, _, ended] = terms.entry(subscription.id).or_default();
                    let is_set = subscription.contract_notice.is_some_and(|at| before.contract_notice != Some(at));
                    let resumes = matches!(happening, Happening::Resume | Happening::ResumeFallsDue);
                    *set += i32::from(is_set && !resumes);
                    *ended += i32::from(*happening == Happening::ContractRenews);
                }
                EventKind::SubscriptionExpired { subscription, happening: Happening::ContractEnds, .. } => {
                    terms.entry(subscription.id).or_default()[2] += 1;
                }
                _ => {}
            }
        }
        for (id, [set, announced, ended]) in terms {
            assert!(ended <= announced && announced <= set, "{id}: {set} {announced} {ended}");
        }
    }
}

proptest! {
    #![proptest_config(twice_as_many())]

    #[test]
    fn whatever_is_asked_what_must_hold_holds(ops in prop::collection::vec(op(FEATURES), 1..40)) {
        let mut world = World::new(offering(variants()));
        for op in &ops {
            world.apply(op);
        }
        // All periods that are over have their summaries.
        world.apply(&Op::Hours(24 * 4));
    }

    /// Where nothing is spent, prorated changes of plan, version and seats leave no more than the most and no less than the
    /// least of what was subscribed to gives, but for a credit per change: whatever the credit is given for, whatever is
    /// paused, and on the free plan too.
    #[test]
    fn prorated_changes_neither_give_nor_take(
        amounts in prop::collection::vec(1i64..5_000, 2..5),
        moves in prop::collection::vec((0usize..5, 1u32..4, 1i64..160, prop::option::of(1i64..900)), 1..24),
        is_weekly in any::<bool>(),
        has_fallback in any::<bool>(),
    ) {
        let week = Period { count: 1, unit: PeriodUnit::Week };
        let offered = |(number, amount): (u8, &i64)| {
            let interval = if is_weekly { GrantInterval::Every(week) } else { GrantInterval::BillingPeriod };
            let grants = vec![GrantTemplate { interval, ..monthly(*amount) }];
            let variant = Variant { grants, ..postpaid(base(number, DAYS_30, 1)) };
            if has_fallback && number == 1 { fallback(variant) } else { variant }
        };
        let mut story = life((1..).zip(&amounts).map(offered));
        let id = story.subscribe(day(0), 1);
        let hours = |now: Timestamp, hours: i64| now.saturating_add_micros(hours * 3_600_000_000);
        let (mut now, mut ran, mut changes) = (day(0), 0, 0);
        let (mut least, mut most, mut was_on) = (amounts[0], amounts[0], 0);
        for (to, seats, runs, pauses) in moves {
            (now, ran) = (hours(now, runs), ran + runs);
            if ran >= 30 * 24 {
                break;
            }
            if let Some(pauses) = pauses {
                story.ask(now, id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
                now = hours(now, pauses);
                story.ask(now, id, Action::Resume).unwrap();
            }
            let place = to % amounts.len();
            let to = variant_id(u8::try_from(place).unwrap() + 1);
            let (at, credits) = (When::Now, ChangeCredits::Prorate);
            let change = Action::Change { variant_id: to, quantity: Some(seats), at, credits };
            if story.ask(now, id, change).is_ok() {
                changes += 1;
                let gives = amounts[place] * i64::from(seats);
                // Whoever comes back to the free plan has had what it gives.
                let comes_back = has_fallback && place == 0 && was_on != 0;
                let at_least = if comes_back { 0 } else { gives };
                (least, most, was_on) = (least.min(at_least), most.max(gives), place);
            }
            let there = story.balance(now);
            prop_assert!((least - changes..=most).contains(&there), "{there} is not {least} - {changes} to {most}");
        }
    }

    /// What is granted in a period, less what changes take back, is never more than the greatest of the plans gives.
    #[test]
    fn no_sequence_of_prorated_changes_gives_more_than_the_plans(
        amounts in prop::collection::vec(1i64..5_000, 2..5),
        moves in prop::collection::vec((0usize..5, 1i64..200, 0i64..=100), 1..30),
    ) {
        let mut story = life((1..).zip(&amounts).map(|(number, amount)| base(number, DAYS_30, *amount)));
        let id = story.subscribe(day(0), 1);
        let (mut now, mut spent) = (day(0), 0);
        for (number, (to, hours, percent)) in moves.iter().enumerate() {
            let use_now = story.balance(now) * percent / 100;
            if use_now > 0 {
                story.apply(now, usage(&format!("{number}"), "f", use_now)).unwrap();
                spent += use_now;
            }
            now = now.saturating_add_micros(hours * 3_600_000_000);
            if now >= day(30) {
                break;
            }
            let variant_id = variant_id(u8::try_from(to % amounts.len()).unwrap() + 1);
            let credits = ChangeCredits::Prorate;
            let _same = story.ask(now, id, Action::Change { variant_id, quantity: None, at: When::Now, credits });
            let given = spent + story.balance(now);
            prop_assert!(given <= *amounts.iter().max().unwrap(), "{given}");
        }
    }
}

/// Each history is one of those above.
#[test]
fn random_histories_come_to_every_happening_and_every_kind_of_entry_of_plans() {
    let mut runner = TestRunner::deterministic();
    let (mut happenings, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let (mut summaries, mut summaries_with_late) = (0, 0);
    for _ in 0..400 {
        let ops = prop::collection::vec(op(FEATURES), 40).new_tree(&mut runner).unwrap().current();
        let mut world = World::new(offering(variants()));
        ops.iter().for_each(|op| world.apply(op));
        summaries += world.tallied.summaries;
        summaries_with_late += world.tallied.summaries_with_late;
        happenings.extend(world.story.effects.events.iter().filter_map(|event| match &event.kind {
            EventKind::SubscriptionUpdated { happening, .. }
            | EventKind::SubscriptionCanceled { happening, .. }
            | EventKind::SubscriptionExpired { happening, .. } => Some(format!("{happening:?}")),
            _ => None,
        }));
        kinds.extend(world.story.effects.entries.iter().map(|entry| entry.body.kind));
    }
    let missing: Vec<_> =
        Happening::ALL.map(|one| format!("{one:?}")).into_iter().filter(|one| !happenings.contains(one)).collect();
    assert_eq!(missing, Vec::<String>::new());
    for kind in [EntryKind::Rollover, EntryKind::Reschedule, EntryKind::DebtBilled, EntryKind::Withdraw] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
    assert!(summaries > 150 && summaries_with_late > 10, "{summaries} {summaries_with_late}");
}

//! Random histories: the ledger against the naive one of `model`, and the invariants of docs/ledger.md after every
//! command. `PROPTEST_CASES` sets how many.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use quotastack_core::catalogue::{Access, Catalogue, GrantInterval, GrantTemplate, OveragePolicy, PlanKind, Variant};
use quotastack_core::credits::Credits;
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::{BlockId, PlanId, VariantId, uuid_v7};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::advance;
use quotastack_core::ledger::apply::apply;
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{
    Command, Grant, OnInsufficient, Outcome, Refusal, Request, Subscribe, Usage, UsageRecord,
};
use quotastack_core::ledger::entry::{Cause, Entry, EntryKind};
use quotastack_core::ledger::refold::Refold;
use quotastack_core::state::AccountState;
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use crate::model::{FEATURES, Line, Model, ModelBlock, ModelUse, Policy, VARIANTS};
use crate::support::{
    at, catalogue, credits, feature_key, grant, metered, new_account, price_from, request, units, usage,
};

const TICK_SECONDS: i64 = 6 * 3_600;
const COMMANDS_MAX: usize = 60;
/// Earlier than any command's clock.
const BEFORE_ALL_TICKS: i64 = -1_000;
/// How far ahead decisions are compared, in ticks.
const LOOKAHEADS: [i64; 4] = [0, 1, 5, 29];

#[derive(Debug, Clone)]
enum Op {
    Wait(i64),
    Grant {
        amount: i64,
        priority: u8,
        start: Option<i64>,
        length: Option<i64>,
        flags: [bool; 2],
        scope: usize,
        kind: usize,
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
}

/// What the model answers: for usage the charge and whether it is a repeat, or the code of a refusal.
type Answer = Result<Option<(i64, bool)>, &'static str>;

const SCOPES: [&[&str]; 4] = [&[], &["blocked"], &["endless", "limited"], &["capped", "endless"]];
const KINDS: [BlockKind; 3] = [BlockKind::Promo, BlockKind::Topup, BlockKind::Adjustment];

fn op() -> impl Strategy<Value = Op> {
    let policy = prop_oneof![Just(Policy::Block), Just(Policy::Cap), Just(Policy::Overdraft), Just(Policy::Notify)];
    let grant = (
        1i64..60,
        prop_oneof![Just(1u8), Just(10), Just(100)],
        option::weighted(0.4, -3i64..8),
        option::weighted(0.7, 0i64..10),
        any::<[bool; 2]>(),
        0..SCOPES.len(),
        0..KINDS.len(),
    );
    // One past the end of the features is one that does not exist.
    let used =
        (any::<u8>(), 0..=FEATURES.len(), 0i64..40, option::weighted(0.2, policy), option::weighted(0.2, -1i64..145));
    // A sidecar's event: on a feature with a price, and of any age.
    let admitted = (0u8..40, 0..3usize, 0i64..40, -1i64..160);
    prop_oneof![
        3 => (-2i64..9).prop_map(Op::Wait),
        4 => grant.prop_map(|(amount, priority, start, length, flags, scope, kind)| {
            Op::Grant { amount, priority, start, length, flags, scope, kind }
        }),
        6 => used.prop_map(|(key, feature, units, asked, back)| {
            Op::Use { key: key % 80, feature, units, asked, back, admitted: None }
        }),
        1 => admitted.prop_map(|(key, feature, units, ago)| {
            Op::Use { key, feature, units, asked: None, back: None, admitted: Some(ago) }
        }),
        1 => (0..VARIANTS.len(), 1u32..3).prop_map(|(variant, quantity)| Op::Subscribe { variant, quantity }),
    ]
}

proptest! {
    #[test]
    fn the_ledger_does_what_its_page_says(ops in vec(op(), 1..=COMMANDS_MAX)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op)?;
            world.check_invariants()?;
            world.check_decisions()?;
        }
        world.retry_everything()?;
        world.run_again_as_one_batch()?;
        world.run_again_with_refusals_in_between()?;
    }
}

struct World {
    catalogue: Catalogue,
    clock: i64,
    account: Account,
    model: Model,
    entries: Vec<Entry>,
    refold: Refold,
    /// The ledger's name of each of the model's blocks.
    block_ids: Vec<BlockId>,
    records: BTreeMap<String, (Usage, UsageRecord)>,
    /// Every command, with the record that it was applied with.
    history: Vec<(Request, Option<UsageRecord>)>,
}

impl World {
    fn new() -> Self {
        let account = new_account();
        Self {
            catalogue: property_catalogue(),
            clock: 0,
            refold: Refold::new(account.id),
            account,
            model: Model::starting(BEFORE_ALL_TICKS),
            entries: Vec::new(),
            block_ids: Vec::new(),
            records: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// Runs one command in both ledgers and compares what they answer and write.
    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let (command, expected) = match op {
            Op::Wait(ticks) => {
                self.clock += ticks;
                return Ok(());
            }
            Op::Grant { .. } => self.grant(op),
            Op::Use { .. } => self.record(op),
            Op::Subscribe { variant, quantity } => {
                let expected = self.model.subscribe(self.clock, *variant, i64::from(*quantity));
                let command = Subscribe { variant_id: variant_id(*variant), quantity: *quantity };
                (Command::Subscribe(command), expected.map(|()| None))
            }
        };
        let before = (self.account.version, self.account.clone());
        let (outcome, effects) = self.apply(command.clone());
        let answered = match &outcome {
            Ok(Outcome::Used { record, replayed }) => Ok(Some((record.charged.get(), *replayed))),
            Ok(_) => Ok(None),
            Err(refusal) => Err(refusal.code().as_str()),
        };
        prop_assert_eq!(&answered, &expected, "{:?}", outcome);
        prop_assert_eq!(self.account.version, before.0 + u64::from(!effects.is_empty()));
        if matches!(answered, Ok(Some((_, true)))) || answered == Err("idempotency_conflict") {
            prop_assert_eq!(&self.account, &before.1);
        }
        if let (Command::Usage(usage), Ok(Outcome::Used { record, replayed: false })) = (&command, &outcome) {
            let paid: Credits = record.allocations.iter().map(|allocation| allocation.amount).sum();
            prop_assert!(paid <= record.charged && record.charged <= record.cost);
            self.records.insert(usage.key.to_string(), (usage.clone(), record.clone()));
            self.retry(usage.clone(), record.clone())?;
        }
        for entry in effects.entries {
            self.block_ids.extend(entry.body.granted.iter().map(|block| block.id));
            prop_assert_eq!(self.refold.push(&entry), Ok(()));
            self.entries.push(entry);
        }
        Ok(())
    }

    fn grant(&mut self, op: &Op) -> (Command, Answer) {
        let Op::Grant { amount, priority, start, length, flags, scope, kind } = op else { unreachable!() };
        let [paid, settles_debt] = *flags;
        let now = self.clock.max(self.model.now);
        let start = start.map(|ticks| now + ticks);
        let end = length.map(|ticks| start.unwrap_or(now) + ticks);
        let block = ModelBlock {
            priority: *priority,
            start: start.unwrap_or(now),
            end,
            paid,
            settles: settles_debt,
            scope: SCOPES[*scope].to_vec(),
            original: *amount,
            remaining: *amount,
            consumed: 0,
            expired: 0,
        };
        let command = Grant {
            kind: KINDS[*kind],
            priority: *priority,
            effective_at: start.map(tick),
            expires_at: end.map(tick),
            paid,
            settles_debt,
            feature_keys: SCOPES[*scope].iter().map(|key| feature_key(key)).collect(),
            ..grant(*amount)
        };
        (Command::Grant(command), self.model.grant(self.clock, block).map(|()| None))
    }

    fn record(&mut self, op: &Op) -> (Command, Answer) {
        let Op::Use { key, feature, units, asked, back, admitted } = op else { unreachable!() };
        let now = self.clock.max(self.model.now);
        let event = ModelUse {
            key: *key,
            feature: FEATURES.get(*feature).map_or("ghost", |feature| feature.name),
            units: *units,
            asked: *asked,
            at: back.map(|ticks| now - ticks),
            admitted: admitted.map(|ticks| now - ticks),
        };
        let mut command = usage(&format!("key {key}"), event.feature, event.units);
        command.effective_at = event.at.map(tick);
        command.admitted_at = event.admitted.map(tick);
        command.on_insufficient = event.asked.map(|policy| match policy {
            Policy::Block => OnInsufficient::Block,
            Policy::Cap => OnInsufficient::Cap,
            Policy::Overdraft => OnInsufficient::Overdraft,
            Policy::Notify => OnInsufficient::Notify,
        });
        (Command::Usage(command), self.model.record(self.clock, &event).map(Some))
    }

    fn apply(&mut self, command: Command) -> (Result<Outcome, Refusal>, Effects) {
        let known = match &command {
            Command::Usage(usage) => self.records.get(usage.key.as_str()).map(|(_, record)| record.clone()),
            _ => None,
        };
        let number = u8::try_from(self.history.len()).unwrap();
        let request = request(tick(self.clock), number, command);
        let mut effects = Effects::default();
        let outcome = apply(&mut self.account, &self.catalogue, &request, known.as_ref(), &mut effects);
        self.history.push((request, known));
        (outcome, effects)
    }

    /// Invariants 1, 2, 3, 8 and 10, and every number against the model.
    fn check_invariants(&self) -> Result<(), TestCaseError> {
        let lines: Vec<Line> = self.entries.iter().map(line).collect();
        prop_assert_eq!(&lines, &self.model.lines);
        let (account, wallet) = (&self.account, &self.account.wallet);
        prop_assert_eq!(account.totals, wallet.totals());
        prop_assert_eq!(account.totals.balance.get(), self.model.balance());
        prop_assert_eq!(self.refold.compare(account), Ok(()));

        let debts: Vec<_> =
            wallet.debts.iter().map(|d| (d.feature.as_ref().unwrap().as_str(), d.amount.get())).collect();
        prop_assert_eq!(&debts, &self.model.debts);
        let order = self.model.burn_order();
        prop_assert_eq!(order.len(), wallet.lots.len());
        for (place, block) in order.into_iter().zip(&wallet.lots) {
            let expected = &self.model.blocks[place];
            prop_assert_eq!(block.id, self.block_ids[place]);
            let found = (block.original.get(), block.lot.remaining.get(), block.expired.get());
            prop_assert_eq!(found, (expected.original, expected.remaining, expected.expired));
            prop_assert_eq!(expected.original, expected.remaining + expected.consumed + expected.expired);
            prop_assert!(block.lot.held.is_zero() && block.lot.remaining >= Credits::ZERO);
            for debt in &wallet.debts {
                let may_pay = block.lot.is_usable(wallet.time) && block.lot.pays_debt_of(debt.feature.as_ref());
                prop_assert!(!may_pay || block.lot.free().is_zero(), "debt beside free credit");
            }
        }
        Ok(())
    }

    /// Invariant 9: a decision from what is published now, for a later instant, is the decision from the account
    /// brought there, and what the model says; and where it is about now, recording agrees with it.
    fn check_decisions(&self) -> Result<(), TestCaseError> {
        let published = AccountState::publish(&self.account, 1, &self.catalogue);
        let bytes = postcard::to_stdvec(&published).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<AccountState>(&bytes).unwrap(), &published);
        for ahead in LOOKAHEADS {
            let now = self.model.now + ahead;
            let mut account = self.account.clone();
            advance(&mut account.wallet, tick(now), |_, _| {});
            let then = AccountState::publish(&account, 1, &self.catalogue);
            let mut model = self.model.clone();
            model.advance(now);
            for (name, count) in FEATURES.iter().map(|f| f.name).chain(["ghost"]).zip([1, 9, 30, 4, 1, 1]) {
                let key = feature_key(name);
                let asked = CheckRequest { feature_key: &key, units: units(count) };
                let decision = evaluate(&published, &self.catalogue, asked, tick(now));
                prop_assert_eq!(&decision, &evaluate(&then, &self.catalogue, asked, tick(now)));
                prop_assert_eq!(
                    (decision.allowed, reason_text(decision.reason)),
                    model.check(name, count),
                    "{} {}",
                    name,
                    now
                );
                prop_assert_eq!(decision.balance.get(), model.feature_balance(name));
                self.check_affordable(&decision, &published, name, now)?;
                if ahead == 0 {
                    self.recording_agrees(&decision, name, count)?;
                }
            }
        }
        Ok(())
    }

    /// The affordable count is allowed, and one more is not.
    fn check_affordable(
        &self,
        decision: &Decision,
        state: &AccountState,
        name: &str,
        now: i64,
    ) -> Result<(), TestCaseError> {
        let Some(most) = decision.units_affordable else { return Ok(()) };
        let key = feature_key(name);
        let allowed = |count| {
            let asked = CheckRequest { feature_key: &key, units: units(count) };
            evaluate(state, &self.catalogue, asked, tick(now)).allowed
        };
        prop_assert!(allowed(most.get()) && !allowed(most.get() + 1), "{} {:?}", name, most);
        Ok(())
    }

    fn recording_agrees(&self, decision: &Decision, name: &str, count: i64) -> Result<(), TestCaseError> {
        let gated_by_plan = matches!(decision.reason, Reason::FeatureNotInPlan | Reason::NoSubscription);
        if gated_by_plan {
            return Ok(());
        }
        let mut command = usage("a key of its own", name, count);
        command.on_insufficient = (name == "capped").then_some(OnInsufficient::Block);
        let request = request(tick(self.model.now), 255, Command::Usage(command));
        let mut account = self.account.clone();
        let outcome = apply(&mut account, &self.catalogue, &request, None, &mut Effects::default());
        prop_assert_eq!(outcome.is_ok(), decision.allowed, "{} {:?} {:?}", name, decision.reason, outcome);
        Ok(())
    }

    /// Invariant 6, for one event: its first answer again, and nothing moves.
    fn retry(&self, usage: Usage, record: UsageRecord) -> Result<(), TestCaseError> {
        let mut account = self.account.clone();
        let mut effects = Effects::default();
        let request = request(tick(self.clock + 1), 254, Command::Usage(usage));
        let outcome = apply(&mut account, &self.catalogue, &request, Some(&record), &mut effects);
        prop_assert_eq!(outcome, Ok(Outcome::Used { record, replayed: true }));
        prop_assert_eq!((&account, effects.is_empty()), (&self.account, true));
        Ok(())
    }

    fn retry_everything(&self) -> Result<(), TestCaseError> {
        self.records.values().try_for_each(|(usage, record)| self.retry(usage.clone(), record.clone()))
    }

    /// Invariant 7: one batch that collects all effects writes the same as one command at a time.
    fn run_again_as_one_batch(&self) -> Result<(), TestCaseError> {
        let mut account = new_account();
        let mut effects = Effects::default();
        for (request, known) in &self.history {
            let _ = apply(&mut account, &self.catalogue, request, known.as_ref(), &mut effects);
        }
        prop_assert_eq!(&account, &self.account);
        prop_assert_eq!(&effects.entries, &self.entries);
        Ok(())
    }

    /// What is due may be written at any time: refused commands in between change no entry but `recorded_at`.
    fn run_again_with_refusals_in_between(&self) -> Result<(), TestCaseError> {
        let mut account = new_account();
        let mut effects = Effects::default();
        for (index, (history, known)) in self.history.iter().enumerate() {
            // Not beyond any later command, whose clock may have gone back.
            let latest = self.history[index..].iter().map(|(later, _)| later.now).min().unwrap();
            let between = Timestamp::from_micros(account.wallet.time.as_micros().midpoint(latest.as_micros())).unwrap();
            for now in [between, latest] {
                let refused = request(now, 253, Command::Usage(usage("refused", "ghost", 1)));
                let outcome = apply(&mut account, &self.catalogue, &refused, None, &mut effects);
                prop_assert!(outcome.is_err());
            }
            let _ = apply(&mut account, &self.catalogue, history, known.as_ref(), &mut effects);
        }
        let bodies = |entries: &[Entry]| entries.iter().map(|entry| entry.body.clone()).collect::<Vec<_>>();
        // A repeat writes nothing; a refused command just before it may have written what was due.
        let (common, rest) = effects.entries.split_at(self.entries.len());
        prop_assert_eq!(bodies(common), bodies(&self.entries));
        prop_assert!(rest.iter().all(|entry| entry.body.cause == Cause::Time));
        Ok(())
    }
}

fn tick(ticks: i64) -> Timestamp {
    at(ticks * TICK_SECONDS)
}

fn line(entry: &Entry) -> Line {
    let kind = match entry.body.kind {
        EntryKind::Grant => "grant",
        EntryKind::Start => "start",
        EntryKind::Usage => "usage",
        EntryKind::Debt => "debt",
        EntryKind::DebtSettled => "debt_settled",
        EntryKind::Expire => "expire",
    };
    let ticks = (entry.body.effective_at.as_micros() - at(0).as_micros()) / (TICK_SECONDS * 1_000_000);
    (kind, entry.body.amount.get(), ticks, entry.balance_after.get())
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Ok => "ok",
        Reason::WithinOverdraft => "within_overdraft",
        Reason::InsufficientCredits => "insufficient_credits",
        Reason::FeatureNotInPlan => "feature_not_in_plan",
        Reason::NoSubscription => "no_subscription",
        Reason::FeatureUnpriced => "feature_unpriced",
        Reason::FeatureUnknown => "feature_unknown",
        Reason::OverdraftLimit => "overdraft_limit",
        Reason::StaleReplica => "stale_replica",
    }
}

fn variant_id(index: usize) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [u8::try_from(index).unwrap(); 10], None))
}

fn property_catalogue() -> Catalogue {
    let mut built = catalogue(FEATURES.map(|known| {
        let policy = match known.policy {
            Policy::Block => OveragePolicy::Block,
            Policy::Cap => OveragePolicy::Cap,
            Policy::Overdraft => OveragePolicy::Overdraft,
            Policy::Notify => OveragePolicy::Notify,
        };
        let mut feature = metered(policy, known.limit);
        let from = |ticks| if ticks == i64::MIN { Timestamp::MIN } else { tick(ticks) };
        feature.prices = known.prices.iter().map(|(ticks, cost, per)| price_from(from(*ticks), *cost, *per)).collect();
        (known.name, feature)
    }));
    for (index, known) in VARIANTS.iter().enumerate() {
        let grants = known.grants.iter().map(|(amount, once, priority, scope)| GrantTemplate {
            amount: credits(*amount),
            interval: if *once { GrantInterval::Once } else { GrantInterval::BillingPeriod },
            priority: *priority,
            feature_keys: scope.iter().map(|key| feature_key(key)).collect(),
        });
        let given = known.gives.map(|(name, enabled)| (feature_key(name), Access { enabled, value: None }));
        let variant = Variant {
            plan_id: PlanId::from_uuid(uuid_v7(at(0), [9; 10], None)),
            plan_kind: if known.base { PlanKind::Base } else { PlanKind::Addon },
            version: 1,
            billing_period: Period { count: u16::try_from(known.ticks / 4).unwrap(), unit: PeriodUnit::Day },
            grants: grants.collect(),
            entitlements: given.into_iter().collect(),
        };
        built.variants.insert((variant_id(index), 1), variant);
    }
    built
}

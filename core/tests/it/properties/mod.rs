//! Random histories: the ledger against the naive one of `model`, and the invariants of docs/ledger.md after every
//! command. `PROPTEST_CASES` sets how many.

mod ops;
mod past;
mod proof;
mod setting;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::credits::Credits;
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::{BlockId, CapGroup};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{
    Adjust, Command, Commit, Extend, Grant, OnInsufficient, OverCommit, Refund, Request, Usage, Void, VoidBlock,
};
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{Allocation, Cause, Entry, EntryKind};
use quotastack_core::ledger::invariants;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use quotastack_core::ledger::refold::Refold;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::state::AccountState;
use quotastack_core::subscription::order::Subscribe;
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

use self::ops::{KINDS, Op, SCOPES, op};
use self::setting::{property_catalogue, variant_id};
use crate::model::{FEATURES, Line, Model, ModelBlock, ModelUse, Over, Owed, Policy};
use crate::support::{
    at, commit, credits, feature_key, grant, new_account, request, reservation_id, reserve, topup, twice_as_many,
    units, usage,
};

const TICK_SECONDS: i64 = 6 * 3_600;
const COMMANDS_MAX: usize = 60;
/// Earlier than any command's clock.
const BEFORE_ALL_TICKS: i64 = -1_000;
/// How far ahead decisions are compared, in ticks.
const LOOKAHEADS: [i64; 4] = [0, 1, 5, 29];

/// What the model answers: for usage the charge and whether it is a repeat, or the code of a refusal.
type Answer = Result<Option<(i64, bool)>, &'static str>;

proptest! {
    #![proptest_config(twice_as_many())]
    #[test]
    fn the_ledger_does_what_its_page_says(ops in vec(op(), 1..=COMMANDS_MAX)) {
        let mut world = World::new();
        let mut answers = BTreeMap::new();
        for op in &ops {
            world.step(op)?;
            world.check_invariants()?;
            world.check_decisions()?;
            world.record_answers(&mut answers);
        }
        world.answers_are_the_same(&answers)?;
        [1, 3, 10].into_iter().try_for_each(|stride| world.resumes_from_checkpoints(stride))?;
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
    /// Recorded usage in order, with its void; commits too.
    events: Vec<(UsageRecord, Option<VoidRecord>)>,
    /// Every command, with what it was applied with.
    history: Vec<(Request, Before)>,
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
            events: Vec::new(),
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
                let command = Subscribe::now(variant_id(*variant), *quantity);
                (Command::Subscribe(command), expected.map(|()| None))
            }
            _ => match self.named(op) {
                Some(asked) => asked,
                // There is nothing yet that it could be about.
                None => return Ok(()),
            },
        };
        let before = (self.account.version, self.account.clone());
        let (outcome, effects) = self.apply(command.clone());
        let answered = match &outcome {
            Ok(Outcome::Used { record, replayed }) => Ok(Some((record.charged.get(), *replayed))),
            Ok(Outcome::Committed { record, .. }) => Ok(Some((record.charged.get(), false))),
            Ok(Outcome::Voided { replayed, .. }) => Ok(Some((0, *replayed))),
            Ok(_) => Ok(None),
            Err(refusal) => Err(refusal.code().as_str()),
        };
        prop_assert_eq!(&answered, &expected, "{:?}", outcome);
        prop_assert_eq!(self.account.version, before.0 + u64::from(!effects.is_empty()));
        let is_usage = matches!(command, Command::Usage(_));
        if is_usage && (matches!(answered, Ok(Some((_, true)))) || answered == Err("idempotency_conflict")) {
            prop_assert_eq!(&self.account, &before.1);
        }
        self.note(&outcome);
        if let (Command::Usage(usage), Ok(Outcome::Used { record, replayed: false })) = (&command, &outcome) {
            let paid: Credits = record.allocations.iter().map(|allocation| allocation.amount).sum();
            prop_assert!(paid <= record.charged && record.charged <= record.cost);
            self.records.insert(usage.key.to_string(), (usage.clone(), record.clone()));
            self.retry(usage.clone(), record.clone())?;
        }
        for entry in effects.entries {
            let made = entry.body.granted.iter().filter(|block| block.lot.remaining > Credits::ZERO);
            self.block_ids.extend(made.map(|block| block.id));
            prop_assert_eq!(self.refold.push(&entry), Ok(()));
            self.entries.push(entry);
        }
        Ok(())
    }

    fn grant(&mut self, op: &Op) -> (Command, Answer) {
        let Op::Grant { amount, priority, start, length, flags, scope, kind, cap } = op else { unreachable!() };
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
            cap: *cap,
            ..ModelBlock::empty()
        };
        let command = Grant {
            cap_group: cap.map(|(group, _)| CapGroup::new(&format!("group {group}")).unwrap()),
            accumulation_cap: cap.map(|(_, cap)| credits(cap)),
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
        command.on_insufficient = event.asked.map(on_insufficient);
        (Command::Usage(command), self.model.record(self.clock, &event).map(Some))
    }

    /// A command about something that was made before, and what the model answers; `None` where there is nothing.
    fn named(&mut self, op: &Op) -> Option<(Command, Answer)> {
        let (clock, model) = (self.clock, &mut self.model);
        let round = |number: &usize, of: usize| (of > 0).then(|| number % of);
        let reservation = |number: usize| reservation_id(&format!("hold {number}"));
        Some(match op {
            Op::Reserve { feature, units, ttl, asked } => {
                let name = FEATURES[*feature].name;
                let mut command = reserve(&format!("hold {}", model.holds.len()), name, *units, ttl * TICK_SECONDS);
                command.on_insufficient = asked.map(on_insufficient);
                let expected = model.reserve(clock, name, *units, *ttl, *asked);
                (Command::Reserve(command), expected.map(|()| None))
            }
            Op::Commit { hold, units, is_final, over } => {
                let number = round(hold, model.holds.len())?;
                let usage = format!("use {}", self.history.len());
                let over_commit = match over {
                    Over::Draw => OverCommit::Draw,
                    Over::Cap => OverCommit::Cap,
                    Over::Reject => OverCommit::Reject,
                };
                let is_final = *is_final;
                let command = Commit { is_final, over_commit, ..commit(&format!("hold {number}"), &usage, *units) };
                let expected = model.commit(clock, number, *units, is_final, *over);
                (Command::Commit(command), expected.map(|charged| Some((charged, false))))
            }
            Op::Release(hold) => {
                let number = round(hold, model.holds.len())?;
                (Command::Release(reservation(number)), model.release(clock, number).map(|()| None))
            }
            Op::Extend { hold, ttl } => {
                let number = round(hold, model.holds.len())?;
                let ttl_micros = ttl * TICK_SECONDS * MICROS_PER_SECOND;
                let command = Extend { reservation_id: reservation(number), ttl_micros };
                (Command::Extend(command), model.extend(clock, number, *ttl).map(|()| None))
            }
            Op::Void(event) => {
                let number = round(event, model.events())?;
                let command = Void { usage_id: self.events[number].0.id, reason: None };
                (Command::Void(command), Ok(Some((0, model.void(clock, number)))))
            }
            Op::Adjust { amount, feature, allow_negative } => {
                let feature = feature.map(|feature| FEATURES[feature].name);
                let command = Adjust {
                    amount: credits(*amount),
                    reason: "because".to_owned(),
                    block_id: None,
                    feature_key: feature.map(feature_key),
                    allow_negative: *allow_negative,
                    priority: 100,
                    expires_at: None,
                };
                let expected = model.adjust(clock, *amount, feature, *allow_negative);
                (Command::Adjust(command), expected.map(|()| None))
            }
            Op::VoidBlock(block) => {
                let number = round(block, model.blocks.len())?;
                let command = VoidBlock { block_id: self.block_ids[number], reason: "because".to_owned() };
                (Command::VoidBlock(command), model.void_block(clock, number).map(|()| None))
            }
            Op::TopUp(amount) => {
                let name = format!("top {}", model.topups.len());
                model.top_up(clock, *amount);
                (Command::TopUp(topup(&name, *amount)), Ok(None))
            }
            Op::Refund { topup: number, amount, claw_back } => {
                let number = round(number, model.topups.len())?;
                let command = Refund {
                    topup_id: topup(&format!("top {number}"), 1).id,
                    amount: amount.map(credits),
                    claw_back_spent: *claw_back,
                    reason: None,
                };
                (Command::Refund(command), model.refund(clock, number, *amount, *claw_back).map(|()| None))
            }
            Op::Wait(_) | Op::Grant { .. } | Op::Use { .. } | Op::Subscribe { .. } => unreachable!("made elsewhere"),
        })
    }

    /// Keeps what later commands are about.
    fn note(&mut self, outcome: &Result<Outcome, Refusal>) {
        match outcome {
            Ok(Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. }) => {
                self.events.push((record.clone(), None));
            }
            Ok(Outcome::Voided { record, replayed: false }) => {
                let voided = self.events.iter_mut().find(|(event, _)| event.id == record.usage_id);
                voided.unwrap().1 = Some(record.clone());
            }
            _ => {}
        }
    }

    fn apply(&mut self, command: Command) -> (Result<Outcome, Refusal>, Effects) {
        let before = match &command {
            Command::Usage(usage) => (self.records.get(usage.key.as_str()).map(|(_, record)| record.clone()), None),
            Command::Void(void) => {
                let (event, voided) = self.events.iter().find(|(event, _)| event.id == void.usage_id).unwrap();
                (Some(event.clone()), voided.clone())
            }
            _ => (None, None),
        };
        let number = u8::try_from(self.history.len()).unwrap();
        let request = request(tick(self.clock), number, command);
        let mut effects = Effects::default();
        let outcome = apply(&mut self.account, &self.catalogue, &request, known(&before), &mut effects);
        self.history.push((request, before));
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

        prop_assert_eq!(invariants::check(account), Ok(()));
        let debts: Vec<_> = wallet.debts.iter().map(|debt| (debt.of.clone(), debt.amount.get())).collect();
        let expected = self.model.debts.iter().map(|(owed, amount)| {
            let of = match owed {
                Owed::Feature(name) => DebtOf::Feature(feature_key(name)),
                Owed::Correction => DebtOf::Correction,
            };
            (of, *amount)
        });
        prop_assert_eq!(&debts, &expected.collect::<Vec<_>>());
        prop_assert_eq!(wallet.counters.iter().map(|own| own.units.get()).sum::<i64>(), self.model.counted);
        let order = self.model.burn_order();
        prop_assert_eq!(order.len(), wallet.lots.len());
        for (place, block) in order.into_iter().zip(&wallet.lots) {
            let expected = &self.model.blocks[place];
            prop_assert_eq!(block.id, self.block_ids[place]);
            let lot = &block.lot;
            let found = [block.original, lot.remaining, block.expired, lot.held, block.withdrawn, block.consumed()];
            let expected = [
                expected.original,
                expected.remaining,
                expected.expired,
                expected.held,
                expected.withdrawn,
                expected.consumed,
            ];
            prop_assert_eq!(found.map(Credits::get), expected);
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
            read_at(&mut account.wallet, &self.catalogue, tick(now));
            let then = AccountState::publish(&account, 1, &self.catalogue);
            let mut model = self.model.clone();
            model.advance(now);
            for (name, count) in FEATURES.iter().map(|f| f.name).chain(["ghost"]).zip([1, 9, 30, 4, 20, 1, 1]) {
                let key = feature_key(name);
                let asked = CheckRequest { feature_key: &key, units: units(count), properties: &BTreeMap::new() };
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
            let asked = CheckRequest { feature_key: &key, units: units(count), properties: &BTreeMap::new() };
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
        let outcome = apply(&mut account, &self.catalogue, &request, Known::default(), &mut Effects::default());
        prop_assert_eq!(outcome.is_ok(), decision.allowed, "{} {:?} {:?}", name, decision.reason, outcome);
        Ok(())
    }

    /// Invariant 6, for one event: its first answer again, and nothing moves.
    fn retry(&self, usage: Usage, record: UsageRecord) -> Result<(), TestCaseError> {
        let mut account = self.account.clone();
        let mut effects = Effects::default();
        let request = request(tick(self.clock + 1), 254, Command::Usage(usage));
        let outcome = apply(&mut account, &self.catalogue, &request, known_usage(Some(&record)), &mut effects);
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
        for (request, before) in &self.history {
            let _ = apply(&mut account, &self.catalogue, request, known(before), &mut effects);
        }
        prop_assert_eq!(&account, &self.account);
        prop_assert_eq!(&effects.entries, &self.entries);
        Ok(())
    }

    /// What is due may be written at any time: refused commands in between change no entry but `recorded_at`.
    fn run_again_with_refusals_in_between(&self) -> Result<(), TestCaseError> {
        let mut account = new_account();
        let mut effects = Effects::default();
        for (index, (history, before)) in self.history.iter().enumerate() {
            // Not beyond any later command, whose clock may have gone back.
            let latest = self.history[index..].iter().map(|(later, _)| later.now).min().unwrap();
            let between = Timestamp::from_micros(account.wallet.time.as_micros().midpoint(latest.as_micros())).unwrap();
            for now in [between, latest] {
                let refused = request(now, 253, Command::Usage(usage("refused", "ghost", 1)));
                let outcome = apply(&mut account, &self.catalogue, &refused, Known::default(), &mut effects);
                prop_assert!(outcome.is_err());
            }
            let _ = apply(&mut account, &self.catalogue, history, known(before), &mut effects);
        }
        let bodies = |entries: &[Entry]| entries.iter().map(|entry| entry.body.clone()).collect::<Vec<_>>();
        // A repeat writes nothing; a refused command just before it may have written what was due.
        let (common, rest) = effects.entries.split_at(self.entries.len());
        prop_assert_eq!(bodies(common), bodies(&self.entries));
        let is_times = |entry: &Entry| entry.body.cause == Cause::Time || entry.body.kind == EntryKind::HoldExpired;
        prop_assert!(rest.iter().all(is_times));
        Ok(())
    }
}

pub(super) fn tick(ticks: i64) -> Timestamp {
    at(ticks * TICK_SECONDS)
}

fn line(entry: &Entry) -> Line {
    let kind = entry.body.kind.name();
    let ticks = (entry.body.effective_at.as_micros() - at(0).as_micros()) / (TICK_SECONDS * 1_000_000);
    (kind, entry.body.amount.get(), ticks, entry.balance_after.get(), entry.reserved_after.get())
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Ok => "ok",
        Reason::WithinOverdraft => "within_overdraft",
        Reason::InsufficientCredits => "insufficient_credits",
        Reason::FeatureNotInPlan => "feature_not_in_plan",
        Reason::NoSubscription => "no_subscription",
        Reason::SubscriptionPaused => "subscription_paused",
        Reason::SubscriptionPastDue => "subscription_past_due",
        Reason::FeatureUnpriced => "feature_unpriced",
        Reason::FeatureUnknown => "feature_unknown",
        Reason::OverdraftLimit => "overdraft_limit",
        Reason::StaleReplica => "stale_replica",
    }
}

/// What was recorded before under the identity of a command.
type Before = (Option<UsageRecord>, Option<VoidRecord>);

fn known((usage, void): &Before) -> Known<'_> {
    Known { usage: usage.as_ref(), void: void.as_ref(), topup: None }
}

const fn on_insufficient(policy: Policy) -> OnInsufficient {
    match policy {
        Policy::Block => OnInsufficient::Block,
        Policy::Cap => OnInsufficient::Cap,
        Policy::Overdraft => OnInsufficient::Overdraft,
        Policy::Notify => OnInsufficient::Notify,
    }
}

fn known_usage(usage: Option<&UsageRecord>) -> Known<'_> {
    Known { usage, ..Known::default() }
}

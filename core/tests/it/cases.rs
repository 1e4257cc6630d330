//! The shared cases of docs/cases, through `ledger::apply`: once as written, once with every write sent twice.

use std::collections::BTreeMap;

use quotastack_core::credits::Credits;
use quotastack_core::ids::BlockId;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::entry::{Hash, verify_chain};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::state::AccountState;
use quotastack_core::time::Timestamp;

use crate::case_commands::{Naming, check_outcome};
use crate::case_file::{self, Case, Expect, Step};
use crate::support::{Story, at, catalogue, credits};

#[test]
fn every_case_holds_as_written() {
    run_all(1);
}

#[test]
fn every_case_holds_with_every_write_sent_twice() {
    run_all(2);
}

fn run_all(sendings: u32) {
    for case in &case_file::ledger() {
        Run::new(case).all_steps(case, sendings);
    }
}

struct Run {
    naming: Naming,
    story: Story,
    blocks: BTreeMap<String, BlockId>,
}

impl Run {
    fn new(case: &Case) -> Self {
        let naming = Naming { prefix: String::new(), bucket: 1, start: at(0) };
        let mut built = catalogue([]);
        built.features.extend(naming.features(case));
        Self { naming, story: Story::new(built), blocks: BTreeMap::new() }
    }

    fn all_steps(mut self, case: &Case, sendings: u32) {
        for (index, step) in case.steps.iter().enumerate() {
            let place = format!("{} step {} ({})", case.id, index + 1, case.about);
            let outcome = self.send(step);
            for _ in 1..sendings {
                self.send_again(step, outcome.as_ref(), &place);
            }
            check_outcome(&step.expect, outcome.as_ref(), &place);
            self.check_account(&step.expect, at(step.at.seconds), &place);
        }
        let account = &self.story.account;
        verify_chain(account.id, (0, Hash::ZERO, Credits::ZERO), &self.story.effects.entries).unwrap();
        assert_eq!(account.seq, self.story.effects.entries.len() as u64, "{}", case.id);
    }

    fn send(&mut self, step: &Step) -> Option<Result<Outcome, Refusal>> {
        let outcome = self.story.apply(at(step.at.seconds), self.naming.command(step)?);
        if let (Some(given), Ok(Outcome::Granted { block: Some(block), .. })) = (&step.grant, &outcome) {
            assert!(self.blocks.insert(given.name.clone(), block.id).is_none());
        }
        Some(outcome)
    }

    /// The same write again: the same result, and nothing moves. (That a repeated grant or commit is one is the work of
    /// the API's `Idempotency-Key`, above the core: here only what has an identity of its own is repeated.)
    fn send_again(&mut self, step: &Step, first: Option<&Result<Outcome, Refusal>>, place: &str) {
        let Some(command) = self.naming.command(step) else { return };
        let first = first.expect("a step with a command has an outcome");
        if !matches!(first, Ok(Outcome::Used { .. } | Outcome::Voided { .. }) | Err(_)) {
            return;
        }
        let before = (self.story.account.clone(), self.story.effects.clone());
        let again = self.story.apply(at(step.at.seconds), command);
        assert_eq!(before, (self.story.account.clone(), self.story.effects.clone()), "{place}");
        match (first, again) {
            (Ok(Outcome::Used { record, .. }), Ok(Outcome::Used { record: repeated, replayed: true })) => {
                assert_eq!(*record, repeated, "{place}");
            }
            (Ok(Outcome::Voided { record, .. }), Ok(Outcome::Voided { record: repeated, replayed: true })) => {
                assert_eq!(*record, repeated, "{place}");
            }
            (Err(first), Err(again)) => assert_eq!(*first, again, "{place}"),
            (first, again) => panic!("{place}: {first:?}, then {again:?}"),
        }
    }

    /// Reads the account as any reader does, from the ledger's blocks and from what is published of them.
    fn check_account(&self, expect: &Expect, now: Timestamp, place: &str) {
        let account = &self.story.account;
        let mut wallet = account.wallet.clone();
        read_at(&mut wallet, &self.story.catalogue, now);
        let mut published = AccountState::publish(account, 1, &self.story.catalogue).wallet;
        read_at(&mut published, &self.story.catalogue, now);
        let totals = wallet.totals();
        assert_eq!(published.totals(), totals, "{place}");

        let amounts = [
            ("balance", expect.balance, totals.balance),
            ("reserved", expect.reserved, totals.reserved),
            ("available", expect.available, totals.available),
            ("debt", expect.debt, totals.debt),
        ];
        for (name, expected, found) in amounts {
            assert!(expected.is_none_or(|amount| amount == found.get()), "{place}: {name} {expected:?}, not {found:?}");
        }
        for (name, expected) in &expect.blocks {
            let block = wallet.lots.iter().find(|block| block.id == self.blocks[name]).unwrap();
            assert_eq!(block.lot.free(), credits(*expected), "{place}: block {name}");
        }
        for block in &wallet.lots {
            let lot = &block.lot;
            assert!(
                Credits::ZERO <= lot.held && lot.held <= lot.remaining && lot.remaining <= block.original,
                "{place}"
            );
        }
    }
}

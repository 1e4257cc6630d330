//! The ledger against the reference model, which somebody else wrote from the page alone: the same streams, and after
//! every command the same answer and the same figures. `PROPTEST_CASES` sets how many streams.

use std::collections::BTreeMap;

use proptest::prelude::*;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{BlockId, FeatureKey, IdempotencyKey, PaymentReference, TopupId, UsageId};
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::command::{
    Adjust, Command, Commit, Extend, Refund, Reserve, TopupOrder, Usage, Void, VoidBlock,
};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::time::Timestamp;

use crate::reference as naive;
use crate::reference::stream::streams;
use crate::support::{Story, catalogue, commit, credits, feature_key, reserve, topup, twice_as_many, usage};
use crate::translated::{asked_for, at, feature_of, grant_of, over_commit_of};

proptest! {
    #![proptest_config(twice_as_many())]
    #[test]
    fn the_ledger_does_what_the_reference_model_does(stream in streams()) {
        let mut player = naive::Player::new(&stream);
        let mut ledger = Ledger::new(&stream.features);
        for step in &stream.steps {
            let played = player.play(step);
            let Some(command) = &played.command else { continue };
            // That a commit with the same key is one commit is the work of the API, above the core.
            let repeated = played.result.as_ref().is_ok_and(|answer| answer.replayed);
            if repeated && matches!(command, naive::Command::Commit(_)) {
                continue;
            }
            let outcome = ledger.send(at(played.now), command);
            let code = outcome.as_ref().err().map(Refusal::code).map(|code| code.as_str());
            let expected = played.result.as_ref().err().copied();
            // The page names no code for what people may not do.
            let named = !matches!(command, naive::Command::Refund { .. } | naive::Command::VoidBlock { .. } | naive::Command::Adjust { .. });
            prop_assert_eq!(code.is_some(), expected.is_some(), "{:?} at {}: {:?} {:?}", command, played.now, outcome, expected);
            prop_assert!(!named || code == expected, "{:?} at {}: {:?} {:?}", command, played.now, outcome, expected);
            if let (Ok(outcome), Ok(answer)) = (&outcome, &played.result) {
                prop_assert_eq!(answer_of(outcome, answer), answer_figures(answer), "{:?}", outcome);
            }
            ledger.note(&outcome);
            ledger.agrees_with(&player.model.figures(), at(played.now))?;
        }
    }
}

/// The ledger, with the names that it gave to the model's things.
struct Ledger {
    story: Story,
    events: Vec<UsageId>,
    topups: BTreeMap<String, TopupId>,
    holds: usize,
    sent: usize,
}

impl Ledger {
    fn new(features: &BTreeMap<String, naive::Feature>) -> Self {
        let mut built: Catalogue = catalogue([]);
        built.features = features.iter().map(|(key, feature)| (feature_key(key), feature_of(feature))).collect();
        let (events, topups) = (Vec::new(), BTreeMap::new());
        Self { story: Story::new(built), events, topups, holds: 0, sent: 0 }
    }

    fn send(&mut self, now: Timestamp, command: &naive::Command) -> Result<Outcome, Refusal> {
        self.sent += 1;
        let command = self.translated(command);
        self.story.apply(now, command)
    }

    fn note(&mut self, outcome: &Result<Outcome, Refusal>) {
        match outcome {
            Ok(Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. }) => {
                self.events.push(record.id);
            }
            Ok(Outcome::ToppedUp { topup, .. }) => {
                self.topups.insert(topup.payment_reference.to_string(), topup.id);
            }
            _ => {}
        }
    }

    fn block(&self, number: usize) -> BlockId {
        self.blocks()[number]
    }

    /// Blocks in the order of granting: the model's numbers.
    fn blocks(&self) -> Vec<BlockId> {
        let mut blocks: Vec<_> = self.story.account.wallet.lots.iter().map(|block| (block.granted, block.id)).collect();
        blocks.sort_unstable();
        blocks.into_iter().map(|(_, id)| id).collect()
    }

    fn translated(&mut self, command: &naive::Command) -> Command {
        let hold = |number: &usize| format!("hold {number}");
        match command {
            naive::Command::Grant(asked) => Command::Grant(grant_of(asked)),
            naive::Command::Topup { payment_reference, grant } => {
                let grant = grant_of(grant);
                Command::TopUp(TopupOrder {
                    payment_reference: PaymentReference::new(payment_reference).unwrap(),
                    grant,
                    ..topup(&format!("t{}", self.sent), 1)
                })
            }
            naive::Command::Use(asked) => Command::Usage(Usage {
                key: IdempotencyKey::new(&asked.key).unwrap(),
                properties: asked.properties.clone(),
                effective_at: asked.effective_at.map(at),
                on_insufficient: asked.on_insufficient.map(asked_for),
                admitted_at: asked.admitted_at.map(at),
                ..usage(&format!("u{}", self.sent), &asked.feature, asked.units)
            }),
            naive::Command::Void { event } => Command::Void(Void { usage_id: self.events[*event], reason: None }),
            naive::Command::Adjust { amount, block, feature, allow_negative } => Command::Adjust(Adjust {
                amount: credits(*amount),
                reason: "because".to_owned(),
                block_id: block.map(|number| self.block(number)),
                feature_key: feature.as_deref().map(feature_key),
                allow_negative: *allow_negative,
                priority: 100,
                expires_at: None,
            }),
            naive::Command::VoidBlock { block } => {
                Command::VoidBlock(VoidBlock { block_id: self.block(*block), reason: "because".to_owned() })
            }
            naive::Command::Refund { payment_reference, amount, claw_back_spent } => Command::Refund(Refund {
                topup_id: self.topups[payment_reference],
                amount: amount.map(credits),
                claw_back_spent: *claw_back_spent,
                reason: None,
            }),
            naive::Command::Reserve { feature, units, properties, ttl } => {
                let name = hold(&self.holds);
                Command::Reserve(Reserve {
                    properties: properties.clone(),
                    ttl_micros: *ttl,
                    ..reserve(&name, feature, *units, 1)
                })
            }
            naive::Command::Commit(asked) => Command::Commit(Commit {
                is_final: asked.is_final,
                over_commit: over_commit_of(asked.over_commit),
                debit_late: asked.late_debit,
                ..commit(&hold(&asked.hold), &format!("c{}", self.sent), asked.units)
            }),
            naive::Command::Release { hold: number } => Command::Release(crate::support::reservation_id(&hold(number))),
            naive::Command::Extend { hold: number, ttl } => Command::Extend(Extend {
                reservation_id: crate::support::reservation_id(&hold(number)),
                ttl_micros: *ttl,
            }),
        }
    }

    fn agrees_with(&mut self, expected: &naive::Figures, now: Timestamp) -> Result<(), TestCaseError> {
        self.holds = self.story.account.reservations.len();
        let account = &self.story.account;
        let mut wallet = account.wallet.clone();
        read_at(&mut wallet, &self.story.catalogue, now);
        let totals = wallet.totals();
        let found = [totals.balance, totals.reserved, totals.available, totals.debt];
        prop_assert_eq!(
            found.map(Credits::get),
            [expected.balance, expected.reserved, expected.available, expected.debt]
        );
        let lifetime = (account.lifetime_granted.get(), account.lifetime_consumed.get());
        prop_assert_eq!(lifetime, (expected.lifetime_granted, expected.lifetime_consumed));
        for (key, figures) in &expected.features {
            let key: FeatureKey = feature_key(key);
            let totals = wallet.feature_totals(&key);
            let found = [totals.balance, totals.reserved, totals.available, totals.debt, wallet.spendable(&key)];
            prop_assert_eq!(
                found.map(Credits::get),
                [figures.balance, figures.reserved, figures.available, figures.debt, figures.spendable]
            );
        }
        let mut blocks: Vec<_> = wallet.lots.iter().collect();
        blocks.sort_by_key(|block| block.granted);
        let blocks = blocks.into_iter().map(|block| {
            let lot = &block.lot;
            [block.original, lot.remaining, lot.held, block.consumed(), block.expired, block.withdrawn]
                .map(Credits::get)
        });
        let expected_blocks = expected
            .blocks
            .values()
            .map(|block| [block.original, block.remaining, block.held, block.consumed, block.expired, block.withdrawn]);
        prop_assert_eq!(blocks.collect::<Vec<_>>(), expected_blocks.collect::<Vec<_>>());
        Ok(())
    }
}

/// What an answer says: credit, debt, trimmed, held, uncovered.
type AnswerFigures = [i64; 5];

const fn answer_figures(answer: &naive::Answer) -> AnswerFigures {
    [answer.credit, answer.debt, answer.trimmed, answer.held, answer.uncovered]
}

/// What the ledger answered, in the model's words; where it answers in others, what the model says.
fn answer_of(outcome: &Outcome, expected: &naive::Answer) -> AnswerFigures {
    let figures = match outcome {
        Outcome::Used { record, .. } | Outcome::Committed { record, .. } => {
            [record.charged - record.owed, record.owed, Credits::ZERO, Credits::ZERO, Credits::ZERO]
        }
        Outcome::Voided { record, .. } => {
            [record.returned, record.debt_undone, Credits::ZERO, Credits::ZERO, Credits::ZERO]
        }
        Outcome::Refunded { withdrawn, owed, .. } => [*withdrawn, *owed, Credits::ZERO, Credits::ZERO, Credits::ZERO],
        Outcome::Adjusted { taken, owed, block: None, .. } => {
            [*taken, *owed, Credits::ZERO, Credits::ZERO, Credits::ZERO]
        }
        Outcome::BlockVoided { withdrawn, .. } => {
            [*withdrawn, Credits::ZERO, Credits::ZERO, Credits::ZERO, Credits::ZERO]
        }
        Outcome::Granted { block, trimmed, .. } => {
            let original = block.as_ref().map_or(Credits::ZERO, |block| block.original);
            [original, Credits::ZERO, *trimmed, Credits::ZERO, Credits::ZERO]
        }
        _ => return answer_figures(expected),
    };
    figures.map(Credits::get)
}

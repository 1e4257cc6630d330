//! [`Alone`]: one account in memory, of which nothing is ever unloaded, and everything that was recorded of it.

use std::collections::{BTreeMap, HashMap};

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, EndUserId, UsageId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::topup::Topup;
use quotastack_server::app::decide::{Decided, Submission};
use quotastack_server::app::idempotency::RequestIdentity;

/// What a command came to.
#[expect(clippy::large_enum_variant, reason = "most of them are the large one")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Done { outcome: Outcome, replayed: bool },
    Refused(Refusal),
    KeyReused,
}

pub(crate) struct Alone {
    pub(crate) account: Account,
    pub(crate) effects: Effects,
    /// Recorded usage in order, commits too.
    pub(crate) events: Vec<UsageRecord>,
    pub(crate) voids: BTreeMap<UsageId, VoidRecord>,
    /// In order, each as it stands.
    pub(crate) topups: Vec<Topup>,
    requests: HashMap<[u8; 16], Request>,
}

struct Request {
    identity: RequestIdentity,
    seed: [u8; 16],
    outcome: Outcome,
}

impl Alone {
    pub(crate) fn new(id: AccountId, end_user_id: EndUserId) -> Self {
        Self {
            account: Account::new(id, end_user_id),
            effects: Effects::default(),
            events: Vec::new(),
            voids: BTreeMap::new(),
            topups: Vec::new(),
            requests: HashMap::new(),
        }
    }

    pub(crate) fn send(&mut self, catalogue: &Catalogue, submission: &Submission) -> Answer {
        let Submission { request, identity, .. } = submission;
        if let Some(identity) = identity
            && let Some(before) = self.requests.get(&identity.key_hash)
        {
            if before.identity != *identity {
                return Answer::KeyReused;
            }
            return Answer::Done { outcome: before.outcome.clone(), replayed: before.seed != request.seed };
        }
        let known = match &request.command {
            Command::Usage(event) | Command::Consume(event) => {
                let usage = self.events.iter().find(|record| record.key == event.key);
                Known { usage, ..Known::default() }
            }
            Command::Void(order) => Known {
                usage: self.events.iter().find(|record| record.id == order.usage_id),
                void: self.voids.get(&order.usage_id),
                topup: None,
            },
            Command::TopUp(order) => {
                let topup = self.topups.iter().find(|topup| topup.payment_reference == order.payment_reference);
                Known { topup, ..Known::default() }
            }
            _ => Known::default(),
        };
        let outcome = match apply(&mut self.account, catalogue, request, known, &mut self.effects) {
            Ok(outcome) => outcome,
            Err(refusal) => return Answer::Refused(refusal),
        };
        self.note(&outcome);
        if let Some(identity) = identity {
            let stored = Request { identity: *identity, seed: request.seed, outcome: outcome.clone() };
            self.requests.insert(identity.key_hash, stored);
        }
        let replayed = is_of_another_request(&request.command, &outcome);
        Answer::Done { outcome, replayed }
    }

    fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. } => {
                self.events.push(record.clone());
            }
            Outcome::Voided { record, replayed: false } => {
                self.voids.insert(record.usage_id, record.clone());
            }
            Outcome::ToppedUp { topup, replayed: false, .. } => self.topups.push(topup.clone()),
            Outcome::Refunded { topup, .. } => {
                let known = self.topups.iter_mut().find(|known| known.id == topup.id);
                known.expect("what is refunded was bought").clone_from(topup);
            }
            _ => {}
        }
    }
}

/// Whether an outcome is that of an earlier request: what was made has the id of that request.
fn is_of_another_request(command: &Command, outcome: &Outcome) -> bool {
    match (command, outcome) {
        (Command::Usage(usage) | Command::Consume(usage), Outcome::Used { record, .. }) => usage.id != record.id,
        (Command::TopUp(order), Outcome::ToppedUp { topup, .. }) => order.id != topup.id,
        (_, Outcome::Voided { replayed, .. }) => *replayed,
        _ => false,
    }
}

impl TryFrom<Decided> for Answer {
    type Error = String;
    fn try_from(decided: Decided) -> Result<Self, String> {
        match decided {
            Decided::Done { outcome, replayed } => Ok(Self::Done { outcome: *outcome, replayed }),
            Decided::Refused(refusal) => Ok(Self::Refused(refusal)),
            Decided::KeyReused => Ok(Self::KeyReused),
            Decided::Failed | Decided::Postponed => Err(format!("it was not carried out: {decided:?}")),
        }
    }
}

//! The pure part of a batch: from what was loaded and the commands to what must be written and answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, BlockId, EndUserId, uuid_v7};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::apply::apply;
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Outcome, Refusal, Request, UsageRecord};
use quotastack_core::state::AccountState;
use quotastack_core::subscription::Subscription;
use quotastack_core::time::Timestamp;

use crate::app::idempotency::RequestIdentity;
use crate::store::accounts::BlockNotes;
use crate::store::batch::{Batch, NewRequest};
use crate::store::requests::StoredRequest;
use crate::store::usage::{KeyHash, key_hash};

/// A command on its way to a lane's writer.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose account.
    pub end_user_id: EndUserId,
    /// The command; its `now` is the real time of its arrival.
    pub request: Request,
    /// What makes a repeat the same request; usage is its own identity and has none.
    pub identity: Option<RequestIdentity>,
    /// What people attach to the block that is granted.
    pub notes: Option<BlockNotes>,
}

/// What came of one command.
#[derive(Debug, Clone)]
pub enum Decided {
    /// Carried out, now or (`replayed`) by an earlier request with the same key.
    Done {
        /// What came of it.
        outcome: Outcome,
        /// Whether an earlier request did it.
        replayed: bool,
    },
    /// The rules refuse it.
    Refused(Refusal),
    /// Its key belongs to a request with another body.
    KeyReused,
    /// It alone makes the transaction fail; nothing was done.
    Failed,
    /// Nothing was done, and it may succeed later.
    Postponed,
}

/// What the transaction found.
#[derive(Debug)]
pub struct Loaded {
    /// The catalogue, as of this transaction.
    pub catalogue: Arc<Catalogue>,
    /// The lane's last place in the feed.
    pub feed_seq: u64,
    /// The lane's last instant.
    pub last_now: Timestamp,
    /// The accounts that exist, each with its stamp.
    pub accounts: HashMap<EndUserId, (Account, u64)>,
    /// Usage recorded before under the batch's keys.
    pub known_usage: HashMap<(AccountId, KeyHash), UsageRecord>,
    /// Requests carried out before under the batch's keys.
    pub requests: HashMap<[u8; 16], StoredRequest>,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Decisions {
    /// One per command, in order.
    pub results: Vec<Decided>,
    /// The lane's new place in the feed.
    pub feed_seq: u64,
    /// The lane's new last instant.
    pub now: Timestamp,
    accounts: HashMap<EndUserId, (Account, u64)>,
    changed: BTreeMap<u64, (EndUserId, Effects)>,
    usage: Vec<(AccountId, UsageRecord)>,
    notes: HashMap<BlockId, BlockNotes>,
    requests: Vec<(RequestIdentity, [u8; 16], Outcome)>,
}

/// Runs the commands in order.
pub fn decide(mut loaded: Loaded, commands: &[Submission]) -> Decisions {
    let mut decisions = Decisions {
        results: Vec::with_capacity(commands.len()),
        feed_seq: loaded.feed_seq,
        now: loaded.last_now,
        accounts: std::mem::take(&mut loaded.accounts),
        changed: BTreeMap::new(),
        usage: Vec::new(),
        notes: HashMap::new(),
        requests: Vec::new(),
    };
    for submission in commands {
        let decided = decisions.decide_one(&mut loaded, submission);
        decisions.results.push(decided);
    }
    decisions
}

impl Decisions {
    fn decide_one(&mut self, loaded: &mut Loaded, submission: &Submission) -> Decided {
        let seed = submission.request.seed;
        if let Some(identity) = submission.identity
            && let Some(before) = loaded.requests.get(&identity.key_hash)
        {
            if before.request_hash != identity.request_hash {
                return Decided::KeyReused;
            }
            // The same seed: an earlier run of this very request, whose commit went unanswered.
            return Decided::Done { outcome: before.outcome.clone(), replayed: before.seed != seed };
        }
        self.now = self.now.max(loaded.catalogue.clock.at(submission.request.now));
        let request = Request { now: self.now, ..submission.request.clone() };
        let end_user_id = &submission.end_user_id;
        let (mut account, stamp) = self
            .accounts
            .remove(end_user_id)
            .unwrap_or_else(|| (Account::new(new_account_id(&request, end_user_id), end_user_id.clone()), 0));
        let usage_key = match &request.command {
            Command::Usage(usage) => Some((account.id, key_hash(&usage.key))),
            _ => None,
        };
        let known = usage_key.and_then(|key| loaded.known_usage.get(&key));
        let stamped_in_batch = stamp > loaded.feed_seq;
        let mut fresh = Effects::default();
        let effects = match self.changed.get_mut(&stamp).filter(|_| stamped_in_batch) {
            Some((_, effects)) => effects,
            None => &mut fresh,
        };
        let outcome = apply(&mut account, &loaded.catalogue, &request, known, effects);
        let mut stamp = stamp;
        if !fresh.is_empty() {
            self.feed_seq += 1;
            stamp = self.feed_seq;
            self.changed.insert(stamp, (end_user_id.clone(), fresh));
        }
        let account_id = account.id;
        if stamp > 0 {
            self.accounts.insert(end_user_id.clone(), (account, stamp));
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => return Decided::Refused(refusal),
        };
        let replayed = match &outcome {
            Outcome::Used { record, replayed } => {
                if !replayed {
                    let key = usage_key.expect("only usage comes to a usage record");
                    loaded.known_usage.insert(key, record.clone());
                    self.usage.push((account_id, record.clone()));
                }
                let same_attempt = matches!(&request.command, Command::Usage(usage) if usage.id == record.id);
                *replayed && !same_attempt
            }
            Outcome::Granted { block, .. } => {
                if let Some(notes) = &submission.notes {
                    self.notes.insert(block.id, notes.clone());
                }
                false
            }
            Outcome::Subscribed { .. } => false,
        };
        if let Some(identity) = submission.identity {
            let stored = StoredRequest { request_hash: identity.request_hash, seed, outcome: outcome.clone() };
            loaded.requests.insert(identity.key_hash, stored);
            self.requests.push((identity, seed, outcome.clone()));
        }
        Decided::Done { outcome, replayed }
    }

    /// Whether there is anything to write.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.requests.is_empty()
    }

    /// What must be written.
    pub fn batch(&self) -> Batch<'_> {
        let mut batch = Batch::default();
        for (stamp, (end_user_id, effects)) in &self.changed {
            let (account, _) = &self.accounts[end_user_id];
            batch.accounts.push((account, *stamp));
            let touched = account.wallet.lots.iter().filter(|block| effects.blocks.contains(&block.id));
            batch.blocks.extend(touched.map(|block| (account.id, block, self.notes.get(&block.id))));
            batch.entries.extend(effects.entries.iter().map(|entry| (account.id, entry)));
            let last_states: BTreeMap<_, &Subscription> =
                effects.subscriptions.iter().map(|subscription| (subscription.id, subscription)).collect();
            batch.subscriptions.extend(last_states.into_values().map(|subscription| (account.id, subscription)));
            batch.events.extend((0..).zip(&effects.events).map(|(place, event)| (account.id, *stamp, place, event)));
        }
        batch.usage = self.usage.iter().map(|(account, record)| (*account, record)).collect();
        batch.requests = self
            .requests
            .iter()
            .map(|(identity, seed, outcome)| NewRequest {
                key_hash: identity.key_hash,
                request_hash: identity.request_hash,
                seed: *seed,
                outcome,
            })
            .collect();
        batch
    }

    /// The states of all accounts that the batch named and that exist, as of its commit.
    pub fn states(&self, catalogue: &Catalogue) -> HashMap<EndUserId, Arc<AccountState>> {
        let states = self.accounts.iter().map(|(end_user_id, (account, stamp))| {
            (end_user_id.clone(), Arc::new(AccountState::publish(account, *stamp, catalogue)))
        });
        states.collect()
    }
}

/// The id of an account that a command creates: the same at every run of it.
fn new_account_id(request: &Request, end_user_id: &EndUserId) -> AccountId {
    let mut random = [0; 10];
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"account").update(&request.seed);
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    AccountId::from_uuid(uuid_v7(request.now, random, Some(end_user_id.bucket())))
}
